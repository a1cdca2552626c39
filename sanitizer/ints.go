package sanitizer

import (
	"encoding/binary"
	"math"
)

// ints reads the elements of an integer tensor's content in place.
type ints struct {
	data []byte
	size int // bytes an element: 1, 2, 4, 8
}

func (v ints) len() int { return len(v.data) / v.size }

// at gives element i; bool is 0 or 1, int8 is signed.
func (v ints) at(i int) int64 {
	switch v.size {
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(v.data[4*i:])))
	case 8:
		return int64(binary.LittleEndian.Uint64(v.data[8*i:]))
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(v.data[2*i:])))
	}
	return int64(int8(v.data[i]))
}

// last gives the last element, 0 of none.
func (v ints) last() int64 {
	if v.len() == 0 {
		return 0
	}
	return v.at(v.len() - 1)
}

// span gives the smallest and largest element; ok is false where there is none. It is the only loop over kv_indices, which has
// as many elements as there are tokens in the caches of a batch.
func (v ints) span() (least, most int64, ok bool) {
	if v.len() == 0 {
		return 0, 0, false
	}
	if v.size == 4 {
		lo, hi := int32(math.MaxInt32), int32(math.MinInt32)
		for d := v.data; len(d) >= 4; d = d[4:] {
			x := int32(binary.LittleEndian.Uint32(d))
			lo, hi = min(lo, x), max(hi, x)
		}
		return int64(lo), int64(hi), true
	}
	least, most = math.MaxInt64, math.MinInt64
	for i := range v.len() {
		x := v.at(i)
		least, most = min(least, x), max(most, x)
	}
	return least, most, true
}

// append adds an element to content of the same element size.
func (v ints) append(x int64) ints {
	switch v.size {
	case 8:
		v.data = binary.LittleEndian.AppendUint64(v.data, uint64(x))
	case 4:
		v.data = binary.LittleEndian.AppendUint32(v.data, uint32(x))
	case 2:
		v.data = binary.LittleEndian.AppendUint16(v.data, uint16(x))
	default:
		v.data = append(v.data, byte(x))
	}
	return v
}

// elementSize gives the bytes an element takes, of the dtypes whose content is ever read.
func elementSize(dtype string) (int, bool) {
	switch dtype {
	case "bool", "int8", "uint8":
		return 1, true
	case "int16", "uint16", "float16", "bfloat16":
		return 2, true
	case "int32", "uint32", "float32":
		return 4, true
	case "int64", "uint64", "float64":
		return 8, true
	}
	return 0, false
}

// byteSize gives the bytes of a tensor; ok is false for a shape no memory could hold.
func byteSize(shape []int64, size int) (n int64, ok bool) {
	n = int64(size)
	for _, dim := range shape {
		if dim < 0 || dim > 0 && n > math.MaxInt64/dim {
			return 0, false
		}
		n *= dim
	}
	return n, true
}
