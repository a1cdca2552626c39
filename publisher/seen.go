package publisher

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/tracefleet/tracefleet/internal/safetensors"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// maxAxisValues keeps a summary far below the size of a message: an axis with more values is counted in powers of two.
const maxAxisValues = 4096

// Names of the inputs that tell KV lengths.
const (
	inputKVIndptr    = "kv_indptr"
	inputLastPageLen = "kv_last_page_len"
)

// Seen counts axes and KV lengths over all candidates, the repeated ones as often as they came. pageSize is the definition's
// (0 or 1: indptr counts tokens).
func (g *Gathered) Seen(pageSize int64, tensors dataset.Tensors) (proto.Seen, error) {
	s := proto.Seen{Axes: map[string]map[int64]int{}, KVLen: map[int64]int{}}
	for _, c := range g.contents {
		for _, a := range c.Axes {
			if s.Axes[a.Name] == nil {
				s.Axes[a.Name] = map[int64]int{}
			}
			s.Axes[a.Name][a.Value] += c.Manifests
		}
		indptr, err := c.integers(inputKVIndptr, tensors)
		if err != nil {
			return s, err
		}
		last, err := c.integers(inputLastPageLen, tensors)
		if err != nil {
			return s, err
		}
		for _, n := range kvLengths(indptr, last, pageSize) {
			s.KVLen[bucket(n)] += c.Manifests
		}
	}
	for name, values := range s.Axes {
		if len(values) > maxAxisValues {
			coarse := map[int64]int{}
			for v, n := range values {
				coarse[bucket(v)] += n
			}
			s.Axes[name] = coarse
		}
	}
	return s, nil
}

// integers reads a candidate's integer tensor, nil where it has none of that name.
func (c *Content) integers(name string, tensors dataset.Tensors) ([]int64, error) {
	for _, in := range c.Inputs {
		if in.Name != name || in.Kind != proto.InputSafetensors {
			continue
		}
		t, err := tensorOf(in)
		if err != nil {
			return nil, err
		}
		data, err := tensors(in.Digest)
		if err != nil {
			return nil, fmt.Errorf("workload %s of %s: %s: %w", c.UUID, c.Definition, name, err)
		}
		return decodeIntegers(t.DType, data), nil
	}
	return nil, nil
}

// decodeIntegers reads little-endian int32 or int64; other types give nothing.
func decodeIntegers(dtype string, data []byte) []int64 {
	var list []int64
	switch safetensors.DType(dtype).Torch() {
	case "int32":
		for ; len(data) >= 4; data = data[4:] {
			list = append(list, int64(int32(binary.LittleEndian.Uint32(data))))
		}
	case "int64":
		for ; len(data) >= 8; data = data[8:] {
			list = append(list, int64(binary.LittleEndian.Uint64(data)))
		}
	}
	return list
}

// kvLengths gives the KV length of each request in tokens. indptr counts pages; where the length of the last page is not
// known, it is taken as full.
func kvLengths(indptr, last []int64, pageSize int64) []int64 {
	if len(indptr) < 2 {
		return nil
	}
	pageSize = max(pageSize, 1)
	lengths := make([]int64, len(indptr)-1)
	for i := range lengths {
		pages := indptr[i+1] - indptr[i]
		lengths[i] = pages * pageSize
		if pages > 0 && i < len(last) && last[i] > 0 && last[i] <= pageSize {
			lengths[i] -= pageSize - last[i]
		}
	}
	return lengths
}

// bucket is the smallest power of two that is not below n; 0 for none.
func bucket(n int64) int64 {
	if n <= 0 {
		return 0
	}
	return int64(1) << bits.Len64(uint64(n-1))
}
