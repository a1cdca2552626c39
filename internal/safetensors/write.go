package safetensors

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Entry is a tensor to write. Data is its little-endian bytes; nil in WriteSparse leaves a hole of full size.
type Entry struct {
	Name  string
	DType DType
	Shape []int64
	Data  []byte
}

// Write writes a file of the entries, in the order given, with meta as its __metadata__ (sorted; none if empty). Equal
// arguments give equal bytes. The header is padded with spaces so that the data begins at a multiple of 8.
func Write(w io.Writer, entries []Entry, meta map[string]string) error {
	head, err := encodeHeader(entries, meta, false)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("write tensors: %w", err)
	}
	for _, e := range entries {
		if _, err := w.Write(e.Data); err != nil {
			return fmt.Errorf("write tensor %q: %w", e.Name, err)
		}
	}
	return nil
}

// WriteSparse makes the file path as the safetensors package does (a temporary file in its directory, mode 0600, then a
// rename), with holes of full size where an entry has no Data: the file is as long as a real one and takes hardly any disk.
func WriteSparse(path string, entries []Entry, meta map[string]string) (err error) {
	head, err := encodeHeader(entries, meta, true)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp*")
	if err != nil {
		return fmt.Errorf("write tensors: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write tensors to %s: %w", path, err)
		}
	}()
	total := int64(len(head))
	for _, e := range entries {
		n, _ := byteSize(e.DType, e.Shape) // encodeHeader has checked it
		total += n
	}
	if err = f.Truncate(total); err != nil {
		return err
	}
	if _, err = f.WriteAt(head, 0); err != nil {
		return err
	}
	at := int64(len(head))
	for _, e := range entries {
		if e.Data != nil {
			if _, err = f.WriteAt(e.Data, at); err != nil {
				return err
			}
		}
		n, _ := byteSize(e.DType, e.Shape)
		at += n
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// encodeHeader gives length and header, and refuses what ReadHeader would refuse.
func encodeHeader(entries []Entry, meta map[string]string, holes bool) ([]byte, error) {
	b := append(make([]byte, 8, 256+128*len(entries)), '{')
	if len(meta) > 0 {
		b = append(b, `"__metadata__":{`...)
		keys := make([]string, 0, len(meta))
		for k := range meta {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, k)
			b = append(b, ':')
			b = appendString(b, meta[k])
		}
		b = append(b, '}')
	}
	seen := make(map[string]bool, len(entries))
	at := int64(0)
	for _, e := range entries {
		size, ok := byteSize(e.DType, e.Shape)
		switch {
		case e.Name == "__metadata__" || seen[e.Name] || !utf8.ValidString(e.Name):
			return nil, &FormatError{Tensor: e.Name, Field: "name", Reason: "reserved, used twice or not UTF-8"}
		case !e.DType.Known():
			return nil, &FormatError{Tensor: e.Name, Field: "dtype", Value: strconv.Quote(string(e.DType)), Reason: "unknown"}
		case !ok || len(e.Shape) > maxRank || at+size < at:
			return nil, &FormatError{Tensor: e.Name, Field: "shape", Value: fmt.Sprint(e.Shape), Reason: "has no whole number of bytes for " + string(e.DType)}
		case int64(len(e.Data)) != size && (!holes || e.Data != nil):
			return nil, &FormatError{Tensor: e.Name, Field: "data_offsets", Value: strconv.Itoa(len(e.Data)), Reason: fmt.Sprintf("bytes of data, %s of shape %v takes %d", e.DType, e.Shape, size)}
		}
		seen[e.Name] = true
		if len(b) > 9 {
			b = append(b, ',')
		}
		b = appendString(b, e.Name)
		b = append(append(append(b, `:{"dtype":"`...), e.DType...), `","shape":[`...)
		for i, n := range e.Shape {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, n, 10)
		}
		b = strconv.AppendInt(append(b, `],"data_offsets":[`...), at, 10)
		at += size
		b = append(strconv.AppendInt(append(b, ','), at, 10), `]}`...)
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	if len(b)-8 > MaxHeaderBytes {
		return nil, &FormatError{Field: "header_length", Value: strconv.Itoa(len(b) - 8), Reason: fmt.Sprintf("over the limit of %d", MaxHeaderBytes)}
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	return b, nil
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range []byte(strings.ToValidUTF8(s, "\uFFFD")) {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// Arrange sorts entries as the reference implementation writes them: wide elements first, so that each tensor is aligned, then
// by name.
func Arrange(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(slices.Index(writeOrder[:], a.DType), slices.Index(writeOrder[:], b.DType)), strings.Compare(a.Name, b.Name))
	})
}

// writeOrder is the reference implementation's, from the widest to the narrowest.
var writeOrder = [...]DType{U64, I64, F64, C64, F32, U32, I32, BF16, F16, U16, I16, F8E5M2FNUZ, F8E4M3FNUZ, F8E8M0, F8E4M3, F8E5M2, I8, U8, F6E3M2, F6E2M3, F4, Bool}
