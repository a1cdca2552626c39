package safetensors

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tracefleet/tracefleet/internal/jsonscan"
)

// MaxHeaderBytes is the longest header accepted, as in the reference implementation.
const MaxHeaderBytes = 100_000_000

// maxRank bounds a shape; torch itself stops at 64 dimensions.
const maxRank = 64

// readAhead is what the first pread takes: nearly every header of a dump fits, and often the small tensors behind it.
const readAhead = 4096

// TensorInfo describes one tensor of a file.
type TensorInfo struct {
	Name  string
	DType DType
	Shape []int64 // empty for a scalar
	// Begin and End delimit the tensor's bytes within the data section, which begins at Header.DataStart.
	Begin, End int64
}

// Bytes gives the tensor's size in bytes.
func (t *TensorInfo) Bytes() int64 { return t.End - t.Begin }

// Header is the checked header of a file.
type Header struct {
	Tensors   []TensorInfo      // sorted by name
	Metadata  map[string]string // nil where the file has none
	DataStart int64             // offset of the data section in the file
}

// Find gives the tensor of that name, nil if there is none.
func (h *Header) Find(name string) *TensorInfo {
	i, ok := slices.BinarySearchFunc(h.Tensors, name, func(t TensorInfo, n string) int { return strings.Compare(t.Name, n) })
	if !ok {
		return nil
	}
	return &h.Tensors[i]
}

var headPool = sync.Pool{New: func() any { b := make([]byte, readAhead); return &b }}

// ReadHeader reads and checks the header of a file of size bytes. A fault is a *FormatError; other errors are r's own.
func ReadHeader(r io.ReaderAt, size int64) (*Header, error) {
	buf := headPool.Get().(*[]byte)
	defer headPool.Put(buf)
	h, _, err := readHeader(r, size, *buf)
	return h, err
}

// readHeader also gives how many bytes of head hold the start of the file.
func readHeader(r io.ReaderAt, size int64, head []byte) (*Header, int, error) {
	if size < 8 {
		return nil, 0, &FormatError{Field: "file_size", Value: strconv.FormatInt(size, 10), Reason: "too short for the 8 bytes of header length"}
	}
	n := int(min(size, int64(len(head))))
	if err := readFull(r, head[:n], 0); err != nil {
		return nil, 0, err
	}
	length := binary.LittleEndian.Uint64(head)
	switch {
	case length > MaxHeaderBytes:
		return nil, 0, &FormatError{Field: "header_length", Value: strconv.FormatUint(length, 10), Reason: fmt.Sprintf("over the limit of %d", MaxHeaderBytes)}
	case length > uint64(size-8):
		return nil, 0, &FormatError{Field: "header_length", Value: strconv.FormatUint(length, 10), Reason: fmt.Sprintf("reaches beyond the file of %d bytes; it was cut", size)}
	}
	var text string
	if end := 8 + int(length); end <= n {
		text = string(head[8:end])
	} else {
		rest := make([]byte, length)
		copied := copy(rest, head[8:n])
		if err := readFull(r, rest[copied:], int64(8+copied)); err != nil {
			return nil, 0, err
		}
		text = string(rest)
	}
	h, err := parseHeader(text, size-8-int64(length))
	if err != nil {
		return nil, 0, err
	}
	h.DataStart = 8 + int64(length)
	return h, n, nil
}

// readFull is ReadAt of all of p; a file that became shorter meanwhile is a cut file.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return &FormatError{Field: "file_size", Value: strconv.FormatInt(off+int64(n), 10), Reason: fmt.Sprintf("file ends %d bytes early; it was cut", len(p)-n)}
	}
	return err
}

// parseHeader parses and checks the JSON text for a data section of dataSize bytes.
func parseHeader(text string, dataSize int64) (*Header, error) {
	h := &Header{}
	p := headerParser{sc: jsonscan.New(text)}
	if p.sc.Peek() != jsonscan.Object {
		return nil, &FormatError{Field: "header", Value: strconv.Quote(shorten(text)), Reason: "does not begin with an opening brace"}
	}
	if !utf8.ValidString(text) {
		return nil, &FormatError{Field: "header", Reason: "not UTF-8"}
	}
	guess := strings.Count(text, `"dtype"`)
	h.Tensors = make([]TensorInfo, 0, guess)
	p.shapes = make([]int64, 0, 4*guess)
	described := false
	p.sc.BeginObject()
	for {
		name, ok := p.sc.NextKey()
		if !ok {
			break
		}
		if name == "__metadata__" {
			if described {
				return nil, &FormatError{Field: "name", Value: name, Reason: "appears twice"}
			}
			described = true
			h.Metadata = p.metadata()
			continue
		}
		t, err := p.tensor(name)
		if err != nil {
			return nil, err
		}
		h.Tensors = append(h.Tensors, t)
	}
	p.sc.End()
	if err := p.sc.Err(); err != nil {
		return nil, &FormatError{Field: "header", Reason: err.Error()}
	}
	if p.err != nil {
		return nil, p.err
	}
	h.keepLast()
	return h, h.check(dataSize)
}

type headerParser struct {
	sc     jsonscan.Scanner
	shapes []int64 // backing array of all shapes
	err    *FormatError
}

// metadata parses the object of strings under __metadata__, or null. Of a key that appears twice the last value is kept, as the reference
// implementation does.
func (p *headerParser) metadata() map[string]string {
	if p.sc.Peek() == jsonscan.Null {
		p.sc.Null()
		return nil
	}
	m := map[string]string{}
	p.sc.BeginObject()
	for {
		key, ok := p.sc.NextKey()
		if !ok {
			return m
		}
		if p.sc.Peek() != jsonscan.String && p.sc.Err() == nil && p.err == nil {
			p.err = &FormatError{Field: "__metadata__", Value: shorten(key), Reason: "is not a string"}
			p.sc.Skip()
			continue
		}
		m[key] = p.sc.Str()
	}
}

// tensor parses one tensor's object; only faults which a later step would not find are its errors. Unknown fields are skipped, as the
// reference implementation does: other writers add strides and the like.
func (p *headerParser) tensor(name string) (TensorInfo, error) {
	t := TensorInfo{Name: name}
	var dtype, shape, offsets bool
	p.sc.BeginObject()
	for {
		key, ok := p.sc.NextKey()
		if !ok {
			break
		}
		var seen *bool
		switch key {
		case "dtype":
			seen = &dtype
			if name := p.sc.Str(); p.sc.Err() == nil {
				f := lookup(name)
				if f == nil {
					return t, &FormatError{Tensor: t.Name, Field: "dtype", Value: strconv.Quote(shorten(name)), Reason: "unknown"}
				}
				t.DType = f.dtype
			}
		case "shape":
			seen = &shape
			list, err := p.integers(t.Name, key, maxRank)
			if err != nil {
				return t, err
			}
			t.Shape = list
		case "data_offsets":
			seen = &offsets
			list, err := p.integers(t.Name, key, 2)
			if err != nil {
				return t, err
			}
			if len(list) != 2 && p.sc.Err() == nil {
				return t, &FormatError{Tensor: t.Name, Field: key, Value: fmt.Sprint(list), Reason: "must be begin and end"}
			} else if len(list) == 2 {
				t.Begin, t.End = list[0], list[1]
			}
		default:
			p.sc.Skip()
			continue
		}
		if *seen {
			return t, &FormatError{Tensor: t.Name, Field: key, Reason: "appears twice"}
		}
		*seen = true
	}
	if p.sc.Err() != nil {
		return t, nil
	}
	for _, f := range [...]struct {
		have bool
		name string
	}{{dtype, "dtype"}, {shape, "shape"}, {offsets, "data_offsets"}} {
		if !f.have {
			return t, &FormatError{Tensor: t.Name, Field: f.name, Reason: "missing"}
		}
	}
	return t, nil
}

// integers parses an array of at most most non-negative integers.
func (p *headerParser) integers(tensor, field string, most int) ([]int64, error) {
	start := len(p.shapes)
	for p.sc.BeginArray(); p.sc.NextItem(); {
		text := p.sc.Num()
		if p.sc.Err() != nil {
			break
		}
		n, ok := parseSize(text)
		if !ok {
			return nil, &FormatError{Tensor: tensor, Field: field, Value: shorten(text), Reason: "not an integer from 0 to 2^63-1"}
		}
		if p.shapes = append(p.shapes, n); len(p.shapes)-start > most {
			return nil, &FormatError{Tensor: tensor, Field: field, Reason: fmt.Sprintf("more than %d numbers", most)}
		}
	}
	return p.shapes[start:len(p.shapes):len(p.shapes)], nil
}

func parseSize(text string) (int64, bool) {
	if len(text) == 0 || len(text) > 19 {
		return 0, false
	}
	n := int64(0)
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int64(c-'0'); n < 0 {
			return 0, false
		}
	}
	return n, true
}

// keepLast sorts the tensors by name. Of several descriptions of one tensor the last is kept, as the reference implementation does.
func (h *Header) keepLast() {
	slices.SortStableFunc(h.Tensors, func(a, b TensorInfo) int { return strings.Compare(a.Name, b.Name) })
	kept := h.Tensors[:0]
	for i, t := range h.Tensors {
		if i+1 == len(h.Tensors) || h.Tensors[i+1].Name != t.Name {
			kept = append(kept, t)
		}
	}
	h.Tensors = kept
}

// check compares the tensors with each other and with the data section.
func (h *Header) check(dataSize int64) error {
	ordered := slices.Clone(h.Tensors)
	slices.SortFunc(ordered, func(a, b TensorInfo) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End))
	})
	end := int64(0)
	for i := range ordered {
		t := &ordered[i]
		offsets := func(reason string, args ...any) error {
			return &FormatError{Tensor: t.Name, Field: "data_offsets", Value: fmt.Sprintf("[%d, %d]", t.Begin, t.End), Reason: fmt.Sprintf(reason, args...)}
		}
		size, ok := byteSize(t.DType, t.Shape)
		switch {
		case !ok:
			return &FormatError{Tensor: t.Name, Field: "shape", Value: shorten(fmt.Sprint(t.Shape)), Reason: "has no whole number of bytes for " + string(t.DType)}
		case t.End < t.Begin:
			return offsets("end before begin")
		case t.End > dataSize:
			return offsets("reach beyond the data section of %d bytes; the file was cut", dataSize)
		case t.Begin < end:
			return offsets("overlap the tensor before, which ends at %d", end)
		case t.Begin > end:
			return offsets("leave a hole from %d", end)
		case t.End-t.Begin != size:
			return offsets("%s of shape %v takes %d bytes", t.DType, t.Shape, size)
		}
		end = t.End
	}
	if end != dataSize {
		return &FormatError{Field: "file_size", Value: strconv.FormatInt(dataSize, 10), Reason: fmt.Sprintf("bytes of data, but the tensors end at %d", end)}
	}
	return nil
}
