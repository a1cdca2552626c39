package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/internal/safetensors"
)

// file makes a file of a header as it stands and n bytes of data.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

func read(data []byte) (*safetensors.Header, error) {
	return safetensors.ReadHeader(bytes.NewReader(data), int64(len(data)))
}

func TestReadHeader_Corrupt(t *testing.T) {
	t.Parallel()
	tensor := func(fields string) []byte { return file(`{"a":{`+fields+`}}`, 4) }
	good := `"dtype":"I32","shape":[1],"data_offsets":[0,4]`
	for _, c := range []struct {
		fault  string
		data   []byte
		field  string
		tensor string
		says   string
	}{
		{"empty file", nil, "file_size", "", "too short"},
		{"seven bytes", make([]byte, 7), "file_size", "", "too short"},
		{"no header", make([]byte, 8), "header", "", "opening brace"},
		{"header length over the limit", append(binary.LittleEndian.AppendUint64(nil, 1<<40), "{}"...), "header_length", "", "over the limit"},
		{"header length of all ones", append(binary.LittleEndian.AppendUint64(nil, 1<<64-1), "{}"...), "header_length", "", "over the limit"},
		{"header cut", file(`{"a":{`+good+`}}`, 0)[:30], "header_length", "", "beyond the file"},
		{"data cut", tensor(good)[:8+len(`{"a":{`+good+`}}`)+3], "data_offsets", "a", "beyond the data section"},
		{"data after the last tensor", file(`{"a":{`+good+`}}`, 5), "file_size", "", "tensors end at 4"},
		{"text after the object", file(`{"a":{`+good+`}}x`, 4), "header", "", "after the end"},
		{"not closed", file(`{"a":{`+good+`}`, 4), "header", "", "text ends"},
		{"not UTF-8", file("{\"\xff\":{"+good+"}}", 4), "header", "", "UTF-8"},
		{"unknown field nested deeply", tensor(good + `,"x":` + strings.Repeat("[", 1<<20)), "header", "", "nested"},
		{"unknown field of no value", tensor(good + `,"x":}`), "header", "", "a value"},
		{"unknown field not closed", tensor(good + `,"x":[1`), "header", "", "closing bracket"},
		{"null", file(`null`, 0), "header", "", "opening brace"},
		{"only spaces", file("  \n", 0), "header", "", "opening brace"},
		{"tensor is a list", file(`{"a":[]}`, 0), "header", "", "an object"},
		{"unknown dtype", tensor(`"dtype":"I33","shape":[1],"data_offsets":[0,4]`), "dtype", "a", "unknown"},
		{"dtype in lower case", tensor(`"dtype":"i32","shape":[1],"data_offsets":[0,4]`), "dtype", "a", "unknown"},
		{"dtype missing", tensor(`"shape":[1],"data_offsets":[0,4]`), "dtype", "a", "missing"},
		{"shape missing", tensor(`"dtype":"I32","data_offsets":[0,4]`), "shape", "a", "missing"},
		{"offsets missing", tensor(`"dtype":"I32","shape":[1]`), "data_offsets", "a", "missing"},
		{"dtype twice", tensor(`"dtype":"I32",` + good), "dtype", "a", "appears twice"},
		{"negative size", tensor(`"dtype":"I32","shape":[-1],"data_offsets":[0,4]`), "shape", "a", "not an integer"},
		{"fractional size", tensor(`"dtype":"I32","shape":[1.0],"data_offsets":[0,4]`), "shape", "a", "not an integer"},
		{"size NaN", tensor(`"dtype":"I32","shape":[NaN],"data_offsets":[0,4]`), "shape", "a", "not an integer"},
		{"size over 63 bits", tensor(`"dtype":"I32","shape":[9223372036854775808],"data_offsets":[0,4]`), "shape", "a", "not an integer"},
		{"product over 63 bits", tensor(`"dtype":"I32","shape":[4294967296,4294967296],"data_offsets":[0,4]`), "shape", "a", "no whole number of bytes"},
		{"bytes over 63 bits", tensor(`"dtype":"I64","shape":[1152921504606846976],"data_offsets":[0,4]`), "shape", "a", "no whole number of bytes"},
		{"half a byte", tensor(`"dtype":"F4","shape":[3],"data_offsets":[0,4]`), "shape", "a", "no whole number of bytes"},
		{"three offsets", tensor(`"dtype":"I32","shape":[1],"data_offsets":[0,4,8]`), "data_offsets", "a", "more than 2"},
		{"one offset", tensor(`"dtype":"I32","shape":[1],"data_offsets":[0]`), "data_offsets", "a", "begin and end"},
		{"negative offset", tensor(`"dtype":"I32","shape":[1],"data_offsets":[-4,0]`), "data_offsets", "a", "not an integer"},
		{"end before begin", tensor(`"dtype":"I32","shape":[1],"data_offsets":[4,0]`), "data_offsets", "a", "end before begin"},
		{"offsets out of range", tensor(`"dtype":"I32","shape":[2],"data_offsets":[0,8]`), "data_offsets", "a", "beyond the data section"},
		{"size is not the shape's", tensor(`"dtype":"I32","shape":[2],"data_offsets":[0,4]`), "data_offsets", "a", "takes 8 bytes"},
		{"hole before the first", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}`, 4), "data_offsets", "a", "hole from 0"},
		{"hole between", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3), "data_offsets", "b", "hole from 1"},
		{"overlap", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), "data_offsets", "b", "overlap"},
		{"the same bytes twice", file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 2), "data_offsets", "", "overlap"},
		{"metadata twice", file(`{"__metadata__":{},"__metadata__":{}}`, 0), "name", "", "appears twice"},
		{"metadata twice, once null", file(`{"__metadata__":null,"__metadata__":{}}`, 0), "name", "", "appears twice"},
		{"metadata of null", file(`{"__metadata__":{"x":null}}`, 0), "__metadata__", "", "not a string"},
		{"name twice, the last leaves a hole", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), "data_offsets", "a", "hole from 0"},
		{"metadata of a number", file(`{"__metadata__":{"x":1}}`, 0), "__metadata__", "", "not a string"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			h, err := read(c.data)
			var fault *safetensors.FormatError
			if !errors.As(err, &fault) {
				t.Fatalf("got %v, %v, want a FormatError", h, err)
			}
			if fault.Field != c.field || c.tensor != "" && fault.Tensor != c.tensor || !strings.Contains(fault.Error(), c.says) {
				t.Errorf("got %q (field %s, tensor %s), want field %s, tensor %s, saying %q", fault, fault.Field, fault.Tensor, c.field, c.tensor, c.says)
			}
		})
	}
}

func TestReadHeader_Accepts(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"no tensors":                  file(`{}`, 0),
		"padded":                      file(`{}      `, 0),
		"scalar":                      file(`{"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}`, 8),
		"empty tensors":               file(`{"a":{"dtype":"I32","shape":[0],"data_offsets":[0,0]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"c":{"dtype":"F32","shape":[3,0],"data_offsets":[1,1]}}`, 1),
		"not in order of offsets":     file(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 2),
		"fields in another order":     file(`{"a":{"data_offsets":[0,1],"shape":[1],"dtype":"BOOL"}}`, 1),
		"four bits":                   file(`{"a":{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]}}`, 3),
		"six bits":                    file(`{"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}`, 3),
		"unknown fields":              file(`{"a":{"strides":[1],"x":{"y":[null,{"z":true}]},"x":"","Dtype":"I33","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1),
		"space before the brace":      file(" \n{}", 0),
		"metadata null":               file(`{"__metadata__":null}`, 0),
		"header longer than one read": file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"x":"`+strings.Repeat("y", 20000)+`"}}`, 1),
	} {
		if _, err := read(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReadHeader_RepeatedName_LastCounts: what the reference implementation (safetensors 0.8.0) reads of headers that repeat a name.
func TestReadHeader_RepeatedName_LastCounts(t *testing.T) {
	t.Parallel()
	h, err := read(file(`{"b":{"dtype":"I8","shape":[2],"data_offsets":[2,4]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},`+
		`"\u0061":{"dtype":"I16","shape":[1],"data_offsets":[0,2]},"__metadata__":{"x":"1","x":"2"}}`, 4))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"x": "2"}, h.Metadata)
	require.Equal(t, []safetensors.TensorInfo{
		{Name: "a", DType: safetensors.I16, Shape: []int64{1}, Begin: 0, End: 2}, {Name: "b", DType: safetensors.I8, Shape: []int64{2}, Begin: 2, End: 4},
	}, h.Tensors)
}

func TestWrite_RoundTrip(t *testing.T) {
	t.Parallel()
	entries := []safetensors.Entry{
		{Name: "kv_indptr", DType: safetensors.I32, Shape: []int64{3}, Data: []byte("abcdefghijkl")},
		{Name: "näme \"quoted\"\n", DType: safetensors.Bool, Shape: []int64{2, 1}, Data: []byte{1, 0}},
		{Name: "scalar", DType: safetensors.F8E4M3, Shape: []int64{}, Data: []byte{7}},
		{Name: "empty", DType: safetensors.U64, Shape: []int64{0, 5}, Data: []byte{}},
		{Name: "packed", DType: safetensors.F4, Shape: []int64{2, 2}, Data: []byte{1, 2}},
	}
	meta := map[string]string{"z": "1", "a": "2"}
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := safetensors.Write(b, entries, meta); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("equal entries gave different bytes")
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, first.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Header().DataStart%8 != 0 || len(f.Header().Tensors) != len(entries) || f.Header().Metadata["z"] != "1" {
		t.Errorf("header %+v", f.Header())
	}
	var wg sync.WaitGroup
	for _, e := range entries {
		wg.Go(func() {
			got, err := f.Read(e.Name)
			if err != nil || !bytes.Equal(got, e.Data) {
				t.Errorf("%q: got %q, %v, want %q", e.Name, got, err, e.Data)
			}
		})
	}
	wg.Wait()
	if _, err := f.Read("no such"); !errors.Is(err, safetensors.ErrNoTensor) {
		t.Errorf("missing tensor gave %v", err)
	}
}

func TestWrite_Refuses(t *testing.T) {
	t.Parallel()
	one := safetensors.Entry{Name: "a", DType: safetensors.U8, Shape: []int64{1}, Data: []byte{1}}
	for name, entries := range map[string][]safetensors.Entry{
		"name twice":       {one, one},
		"reserved name":    {{Name: "__metadata__", DType: safetensors.U8, Shape: []int64{1}, Data: []byte{1}}},
		"unknown dtype":    {{Name: "a", DType: "I33", Shape: []int64{1}, Data: []byte{1}}},
		"negative size":    {{Name: "a", DType: safetensors.U8, Shape: []int64{-1}}},
		"too little data":  {{Name: "a", DType: safetensors.I32, Shape: []int64{2}, Data: []byte{1}}},
		"no data, no hole": {{Name: "a", DType: safetensors.I32, Shape: []int64{2}}},
	} {
		var fault *safetensors.FormatError
		if err := safetensors.Write(new(bytes.Buffer), entries, nil); !errors.As(err, &fault) {
			t.Errorf("%s: got %v, want a FormatError", name, err)
		}
	}
}

func TestWriteSparse_HolesOfFullSize(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inputs.safetensors")
	indptr := []byte{0, 0, 0, 0, 9, 0, 0, 0}
	err := safetensors.WriteSparse(path, []safetensors.Entry{
		{Name: "arg_1", DType: safetensors.BF16, Shape: []int64{1 << 20, 512}},
		{Name: "arg_2", DType: safetensors.I32, Shape: []int64{2}, Data: indptr},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() < 1<<30 || st.Mode().Perm() != 0o600 {
		t.Errorf("size %d, mode %v", st.Size(), st.Mode())
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Blocks*512 > 1<<20 {
		t.Errorf("takes %d bytes of disk", sys.Blocks*512)
	}
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := f.Read("arg_2")
	if err != nil || !bytes.Equal(got, indptr) {
		t.Errorf("got %v, %v", got, err)
	}
	if f.BytesRead() > 64<<10 {
		t.Errorf("%d bytes were read", f.BytesRead())
	}
}

func TestRead_FileCutAfterOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inputs.safetensors")
	err := safetensors.WriteSparse(path, []safetensors.Entry{{Name: "a", DType: safetensors.U8, Shape: []int64{1 << 20}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, 1<<19); err != nil {
		t.Fatal(err)
	}
	var fault *safetensors.FormatError
	if _, err := f.Read("a"); !errors.As(err, &fault) || fault.File != path || fault.Tensor != "a" {
		t.Errorf("got %v, want a FormatError naming file and tensor", err)
	}
}

// TestRewrite_GoldenByteForByte holds Arrange and Write against files that the safetensors package wrote.
func TestRewrite_GoldenByteForByte(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(goldentest.Dumps(t), "*", "*", "inputs.safetensors"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	compared := 0
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil || st.Size() > 1<<20 || strings.Contains(path, "/corrupt/") {
			continue
		}
		f, err := safetensors.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var entries []safetensors.Entry
		for _, info := range f.Header().Tensors {
			data, err := f.Read(info.Name)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, safetensors.Entry{Name: info.Name, DType: info.DType, Shape: info.Shape, Data: data})
		}
		f.Close()
		safetensors.Arrange(entries)
		var out bytes.Buffer
		if err := safetensors.Write(&out, entries, nil); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s: written differently", path)
		}
		compared++
	}
	if compared < 100 {
		t.Errorf("only %d files compared", compared)
	}
}

func TestDType_TorchNamesReadBack(t *testing.T) {
	t.Parallel()
	for _, d := range []safetensors.DType{"BOOL", "F4", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64"} {
		back, ok := safetensors.FromTorch("torch." + d.Torch())
		if !ok || back != d || d.Size() == 0 {
			t.Errorf("%s: torch name %q gives %s, %v", d, d.Torch(), back, ok)
		}
		if want := strings.ContainsAny(string(d[0]), "IUB") && d != "BF16"; d.Integer() != want {
			t.Errorf("%s: integer %v", d, d.Integer())
		}
	}
	if _, ok := safetensors.FromTorch(""); ok {
		t.Error("an empty name is a dtype")
	}
}

// FuzzReadHeader: no panic, and what is accepted means the same when it is written again.
func FuzzReadHeader(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}`, 4))
	f.Add(file(`{"__metadata__":{"k":"v"},"b":{"dtype":"F4","shape":[2,4],"data_offsets":[0,4]},"\u00e9":{"dtype":"BOOL","shape":[],"data_offsets":[4,5]}}`, 5))
	f.Add(file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}  `, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := read(data)
		if err != nil {
			return
		}
		var entries []safetensors.Entry
		for _, info := range h.Tensors {
			entries = append(entries, safetensors.Entry{Name: info.Name, DType: info.DType, Shape: info.Shape, Data: data[h.DataStart+info.Begin : h.DataStart+info.End]})
		}
		safetensors.Arrange(entries)
		var out bytes.Buffer
		if err := safetensors.Write(&out, entries, h.Metadata); err != nil {
			t.Fatalf("accepted, but cannot be written: %v", err)
		}
		again, err := read(out.Bytes())
		if err != nil {
			t.Fatalf("accepted, but not when written again: %v", err)
		}
		describe := func(h *safetensors.Header) (s string) {
			for _, info := range h.Tensors {
				s += fmt.Sprintf("%q %s %v %d\n", info.Name, info.DType, info.Shape, info.Bytes())
			}
			return s
		}
		if describe(h) != describe(again) || fmt.Sprint(h.Metadata) != fmt.Sprint(again.Metadata) && len(h.Metadata) > 0 {
			t.Errorf("read as\n%s%v\nthen as\n%s%v", describe(h), h.Metadata, describe(again), again.Metadata)
		}
	})
}

func BenchmarkReadHeader(b *testing.B) {
	var out bytes.Buffer
	var entries []safetensors.Entry
	for i := range 8 {
		entries = append(entries, safetensors.Entry{Name: fmt.Sprintf("arg_%d", i), DType: safetensors.I32, Shape: []int64{8, 2}, Data: make([]byte, 64)})
	}
	if err := safetensors.Write(&out, entries, nil); err != nil {
		b.Fatal(err)
	}
	r := bytes.NewReader(out.Bytes())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := safetensors.ReadHeader(r, int64(out.Len())); err != nil {
			b.Fatal(err)
		}
	}
}
