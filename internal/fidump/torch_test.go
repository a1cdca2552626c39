package fidump

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pickler writes pickles instruction by instruction, as torch.save does with protocol 2.
type pickler struct{ bytes.Buffer }

func (p *pickler) str(s string) {
	p.WriteByte('X')
	_ = binary.Write(p, binary.LittleEndian, uint32(len(s)))
	p.WriteString(s)
}

func (p *pickler) int(n int64) {
	if n >= 0 && n < 1<<31 {
		p.WriteByte('J')
		_ = binary.Write(p, binary.LittleEndian, int32(n))
		return
	}
	p.WriteString("\x8a\x08")
	_ = binary.Write(p, binary.LittleEndian, n)
}

func (p *pickler) ints(list []int64) {
	p.WriteByte('(')
	for _, n := range list {
		p.int(n)
	}
	p.WriteByte('t')
}

// tensor appends name and tensor to the dict that is open.
func (p *pickler) tensor(name, class, storage string, offset int64, size, stride []int64) {
	p.str(name)
	p.WriteString("ctorch._utils\n_rebuild_tensor_v2\n")
	p.arguments(class, storage, offset, size, stride)
	p.WriteString("R")
}

// arguments appends those of _rebuild_tensor_v2, and more of the caller's.
func (p *pickler) arguments(class, storage string, offset int64, size, stride []int64, more ...string) {
	p.WriteString("((")
	p.str("storage")
	p.WriteString("c" + class + "\n")
	p.str(storage)
	p.str("cpu")
	p.int(0)
	p.WriteString("tQ")
	p.int(offset)
	p.ints(size)
	p.ints(stride)
	p.WriteString("\x89ccollections\nOrderedDict\n)R" + strings.Join(more, "") + "t")
}

func dictOf(fill func(p *pickler)) string {
	var p pickler
	p.WriteString("\x80\x02}(")
	fill(&p)
	p.WriteString("u.")
	return p.String()
}

// torchFile writes inputs.pt with this pickle and a storage "0" of sixteen int32, 0 to 15.
func torchFile(t testing.TB, pickled string, extra ...string) string {
	t.Helper()
	storage := make([]byte, 0, 64)
	for i := range uint32(16) {
		storage = binary.LittleEndian.AppendUint32(storage, i)
	}
	path := filepath.Join(t.TempDir(), "inputs.pt")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	add := func(name, content string, method uint16) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	add("inputs/data.pkl", pickled, zip.Store)
	add("inputs/data/0", string(storage), zip.Store)
	add("inputs/data/packed", string(storage), zip.Deflate)
	for i := 0; i+1 < len(extra); i += 2 {
		add(extra[i], extra[i+1], zip.Store)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

const ints32 = "torch\nIntStorage"

// attributes is a pickled dict of what the Python attributes of a tensor may be.
const attributes = "}(X\x01\x00\x00\x00aK\x00" + "X\x01\x00\x00\x00bG@\x00\x00\x00\x00\x00\x00\x00" + "X\x01\x00\x00\x00cctorch\nfloat8_e4m3fn\n" +
	"X\x01\x00\x00\x00dctorch\nSize\n(K\x04K\x02t\x85R" + "X\x01\x00\x00\x00ectorch\ndevice\nX\x04\x00\x00\x00cudaK\x00\x86R" +
	"X\x01\x00\x00\x00fc__builtin__\nset\n](K\x01K\x02e\x85R" + "X\x01\x00\x00\x00gc_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00latin1\x86R" +
	"X\x01\x00\x00\x00hccollections\nOrderedDict\n)R(X\x01\x00\x00\x00aNu" + "X\x01\x00\x00\x00i](NK\x01\x88e" +
	"X\x01\x00\x00\x00jctorch._utils\n_rebuild_sparse_tensor\nctorch.serialization\n_get_layout\nX\x10\x00\x00\x00torch.sparse_coo\x85R(t\x86Ru"

// TestOpenTorch_Attributes_AreLeftOut reads tensors that carry Python attributes, as torch.load(weights_only=True) does.
func TestOpenTorch_Attributes_AreLeftOut(t *testing.T) {
	t.Parallel()
	inner := func(p *pickler) { // of one Parameter
		p.WriteString("ctorch._utils\n_rebuild_tensor_v2\n")
		p.arguments(ints32, "0", 1, []int64{2}, []int64{1})
		p.WriteString("R")
	}
	path := torchFile(t, dictOf(func(p *pickler) {
		p.str("parameter")
		p.WriteString("ctorch._utils\n_rebuild_parameter_with_state\n(")
		inner(p)
		p.WriteString("\x89ccollections\nOrderedDict\n)R" + attributes + "tR")
		p.str("slots")
		p.WriteString("ctorch._utils\n_rebuild_parameter_with_state\n(")
		inner(p)
		p.WriteString("\x88ccollections\nOrderedDict\n)R" + attributes + attributes + "\x86tR")
		p.str("attribute is a tensor")
		p.WriteString("ctorch._utils\n_rebuild_parameter_with_state\n(")
		inner(p)
		p.WriteString("\x88ccollections\nOrderedDict\n)R}")
		p.tensor("weight_scale", ints32, "0", 3, []int64{1}, []int64{1})
		p.WriteString("stR")
		p.str("buffer") // a Buffer is a Tensor with attributes
		p.WriteString("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n")
		p.arguments(ints32, "0", 1, []int64{2}, []int64{1})
		p.WriteString("}(X\x0a\x00\x00\x00_is_buffer\x88X\x0a\x00\x00\x00persistent\x88utR")
		p.str("no metadata")
		p.WriteString("ctorch._utils\n_rebuild_tensor_v2\n")
		p.arguments(ints32, "0", 1, []int64{2}, []int64{1}, "}X\x03\x00\x00\x00neg\x89s")
		p.WriteString("R")
		p.str("size")
		p.WriteString("ctorch._utils\n_rebuild_tensor\n((")
		p.str("storage")
		p.WriteString("c" + ints32 + "\n")
		p.str("0")
		p.str("cpu")
		p.WriteString("K\x10tQK\x01ctorch\nSize\nK\x02\x85\x85RK\x01\x85tR")
	}))
	in, err := openTorch(path)
	require.NoError(t, err)
	defer in.Close()
	require.Len(t, in.Tensors(), 6)
	for _, tensor := range in.Tensors() {
		require.Equal(t, "int32", tensor.DType, tensor.Key)
		require.Equal(t, []int64{2}, tensor.Shape, tensor.Key)
		data, err := in.Read(tensor.Key)
		require.NoError(t, err, tensor.Key)
		require.Equal(t, []byte{1, 0, 0, 0, 2, 0, 0, 0}, data, tensor.Key)
	}
}

func TestOpenTorch_Strides(t *testing.T) {
	t.Parallel()
	path := torchFile(t, dictOf(func(p *pickler) {
		p.tensor("whole", ints32, "0", 0, []int64{4, 4}, []int64{4, 1})
		p.tensor("transposed", ints32, "0", 0, []int64{4, 4}, []int64{1, 4})
		p.tensor("column", ints32, "0", 2, []int64{4, 1}, []int64{4, 1})
		p.tensor("slice", ints32, "0", 5, []int64{2, 2}, []int64{4, 1})
		p.tensor("scalar", ints32, "0", 15, nil, nil)
		p.tensor("empty", ints32, "0", 16, []int64{0, 3}, []int64{3, 1})
		p.tensor("expanded", ints32, "0", 3, []int64{3}, []int64{0})
		p.str("parameter")
		p.WriteString("ctorch._utils\n_rebuild_parameter\n(")
		var inner pickler
		inner.tensor("", ints32, "0", 1, []int64{2}, []int64{1})
		p.Write(inner.Bytes()[5:]) // without the name
		p.WriteString("\x89ccollections\nOrderedDict\n)RtR")
		p.str("v3")
		p.WriteString("ctorch._utils\n_rebuild_tensor_v3\n((")
		p.str("storage")
		p.WriteString("ctorch.storage\nUntypedStorage\n")
		p.str("0")
		p.str("cpu")
		p.int(64)
		p.WriteString("tQ")
		p.int(2)
		p.ints([]int64{1})
		p.ints([]int64{1})
		p.WriteString("\x89ccollections\nOrderedDict\n)Rctorch\nuint64\ntR")
	}))
	in, err := openTorch(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for key, want := range map[string][]uint32{
		"whole":      {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		"transposed": {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15},
		"column":     {2, 6, 10, 14}, "slice": {5, 6, 9, 10}, "scalar": {15}, "empty": {}, "expanded": {3, 3, 3},
		"parameter": {1, 2}, "v3": {4, 5},
	} {
		data, err := in.Read(key)
		var got []uint32
		for ; len(data) >= 4; data = data[4:] {
			got = append(got, binary.LittleEndian.Uint32(data))
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", key, got, err, want)
		}
	}
	for _, tensor := range in.Tensors() {
		if want := map[string]string{"v3": "uint64"}[tensor.Key]; want != "" && tensor.DType != want || want == "" && tensor.DType != "int32" {
			t.Errorf("%s is %s", tensor.Key, tensor.DType)
		}
	}
	if _, err := in.Read("none"); !errors.Is(err, ErrNoTensor) {
		t.Errorf("missing tensor: %v", err)
	}
}

func TestOpenTorch_Corrupt(t *testing.T) {
	t.Parallel()
	one := func(class, storage string, offset int64, size, stride []int64) string {
		return dictOf(func(p *pickler) { p.tensor("a", class, storage, offset, size, stride) })
	}
	good := one(ints32, "0", 0, []int64{16}, []int64{1})
	made := func(function, class, more string) string {
		return dictOf(func(p *pickler) {
			p.str("a")
			p.WriteString("ctorch._tensor\n_rebuild_from_type_v2\n(c" + function + "\nc" + class + "\n")
			p.arguments(ints32, "0", 0, []int64{1}, []int64{1}, more)
			p.WriteString("}tR")
		})
	}
	other := func(function string) string {
		return dictOf(func(p *pickler) {
			p.str("a")
			p.WriteString("ctorch._utils\n" + function + "\n(")
			p.tensor("", ints32, "0", 0, []int64{1}, []int64{1})
			p.WriteString("tR")
		})
	}
	const v2 = "torch._utils\n_rebuild_tensor_v2"
	for _, c := range []struct {
		fault, pickled, says string
	}{
		{"sparse", other("_rebuild_sparse_tensor"), "a is a sparse tensor"},
		{"quantized", other("_rebuild_qtensor"), "a is a quantized tensor"},
		{"nested", other("_rebuild_nested_tensor"), "a is a nested tensor"},
		{"meta", other("_rebuild_meta_tensor_no_storage"), "a is a meta tensor"},
		{"wrapper", other("_rebuild_wrapper_subclass"), "a is a tensor subclass"},
		{"unknown rebuild", other("_rebuild_tensor_v9"), "torch._utils._rebuild_tensor_v9"},
		{"subclass", made(v2, "my.tensors\nScaled", ""), "my.tensors.Scaled"},
		{"class that is none", made(v2, "torch\nint32", ""), "tensor of class int32"},
		{"class as the function", made("torch\nTensor", "torch\nTensor", ""), "tensor made by"},
		{"attributes in attributes", made("torch._tensor\n_rebuild_from_type_v2", "torch\nTensor", ""), "tensor made by"},
		{"sparse with attributes", made("torch._utils\n_rebuild_sparse_tensor", "torch\nTensor", ""), "a is a sparse tensor"},
		{"negated", made(v2, "torch\nTensor", "}X\x03\x00\x00\x00neg\x88s"), "metadata neg = true"},
		{"conjugated", made(v2, "torch\nTensor", "}X\x04\x00\x00\x00conj\x88s"), "metadata conj = true"},
		{"quantized storage", one("torch\nQInt8Storage", "0", 0, []int64{1}, []int64{1}), "dtype \"qint8\""},
		{"parameter of nothing", "\x80\x02}(X\x01\x00\x00\x00actorch._utils\n_rebuild_parameter_with_state\n)Ru.", "without a tensor"},
		{"tensor of an attribute", "\x80\x02}(X\x01\x00\x00\x00actorch\ndevice\n)Ru.", "a is no tensor"},
		{"empty pickle", "", "without a stop"},
		{"cut pickle", good[:len(good)-20], ""},
		{"cut in a length", "\x80\x02X\x01", "ends inside"},
		{"string of 4 GB", "\x80\x02X\xff\xff\xff\xff.", "ends inside"},
		{"bytes of 2^63", "\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "refused"},
		{"frame of 2^62", "\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x40.", "refused"},
		{"long of no bytes", "\x80\x02\x8a\x00.", "malformed"},
		{"stack underflow", "\x80\x02R.", "empty"},
		{"odd dict items", "\x80\x02}(K\x01u.", "malformed"},
		{"not a dict", "\x80\x02N.", "not a dict"},
		{"dict of ints", "\x80\x02}(X\x01\x00\x00\x00aK\x01u.", "not one tensor"},
		{"os.system", "cos\nsystem\n(X\x02\x00\x00\x00idtR.", "os.system"},
		{"builtins.eval", "\x80\x02c__builtin__\neval\n(X\x01\x00\x00\x001tR.", "__builtin__.eval"},
		{"copy_reg", "\x80\x02ccopy_reg\n_reconstructor\n.", "copy_reg"},
		{"stack global", "\x80\x04\x8c\x02os\x8c\x06system\x93.", "refused"},
		{"build", "\x80\x02}}b.", "refused"},
		{"dtype as a class", one("torch\nint32", "0", 0, []int64{1}, []int64{1}), "storage of"},
		{"name twice", dictOf(func(p *pickler) {
			p.tensor("a", ints32, "0", 0, []int64{1}, []int64{1})
			p.tensor("a", ints32, "0", 0, []int64{1}, []int64{1})
		}), "name of its own"},
		{"no such storage", one(ints32, "7", 0, []int64{1}, []int64{1}), "no entry data/7"},
		{"storage outside of its folder", one(ints32, "../data.pkl", 0, []int64{1}, []int64{1}), "no entry"},
		{"compressed storage", one(ints32, "packed", 0, []int64{1}, []int64{1}), "compressed"},
		{"offset beyond", one(ints32, "0", 17, []int64{1}, []int64{1}), "offset 17"},
		{"offset at the end", one(ints32, "0", 16, []int64{1}, []int64{1}), "16 elements"},
		{"offset negative", one(ints32, "0", -1, []int64{1}, []int64{1}), "offset -1"},
		{"size beyond", one(ints32, "0", 0, []int64{17}, []int64{1}), "reaches beyond"},
		{"size negative", one(ints32, "0", 0, []int64{-1}, []int64{1}), "negative"},
		{"stride negative", one(ints32, "0", 0, []int64{2}, []int64{-1}), "negative"},
		{"stride beyond", one(ints32, "0", 0, []int64{2}, []int64{1 << 62}), "reaches beyond"},
		{"stride of another rank", one(ints32, "0", 0, []int64{2, 2}, []int64{1}), "does not belong"},
		{"expanded to terabytes", one(ints32, "0", 0, []int64{1 << 40}, []int64{0}), "more than a storage"},
		{"product overflows", one(ints32, "0", 0, []int64{1 << 40, 1 << 40}, []int64{0, 0}), "more than a storage"},
		{"wider elements than the storage has", one("torch\nLongStorage", "0", 0, []int64{16}, []int64{1}), "reaches beyond"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			path := torchFile(t, c.pickled)
			in, err := openTorch(path)
			var fault *TorchError
			if !errors.As(err, &fault) || fault.File != path || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, %v, want a TorchError saying %q", in, err, c.says)
			}
		})
	}
}

func TestOpenTorch_Zip(t *testing.T) {
	t.Parallel()
	good := dictOf(func(p *pickler) { p.tensor("a", ints32, "0", 0, []int64{16}, []int64{1}) })
	path := torchFile(t, good)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Replace(whole, []byte{3, 0, 0, 0, 4, 0, 0, 0}, []byte{3, 0, 0, 0, 9, 0, 0, 0}, 1)
	for name, content := range map[string][]byte{"cut": whole[:len(whole)/2], "empty": nil, "no zip": []byte("hello"), "storage flipped": flipped} {
		bad := filepath.Join(t.TempDir(), "inputs.pt")
		if err := os.WriteFile(bad, content, 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := openTorch(bad)
		if err == nil {
			_, err = in.Read("a")
			in.Close()
		}
		var fault *TorchError
		if !errors.As(err, &fault) || fault.File != bad {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, extra := range map[string][]string{
		"big endian": {"inputs/byteorder", "big"}, "two pickles": {"other/data.pkl", good}, "entry twice": {"inputs/data/0", "x"},
	} {
		if _, err := openTorch(torchFile(t, good, extra...)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestOpenInputs_Contradictions(t *testing.T) {
	t.Parallel()
	path := torchFile(t, dictOf(func(p *pickler) { p.tensor("arg_1", ints32, "0", 0, []int64{16}, []int64{1}) }))
	tensor := func(key, dtype string, n int64) Tensor { return Tensor{Key: key, DType: dtype, Shape: []int64{n}} }
	for field, tensors := range map[string][]Tensor{
		"":               {tensor("arg_1", "int32", 16)},
		"dtype":          {tensor("arg_1", "float32", 16)},
		"shape":          {tensor("arg_1", "int32", 15)},
		"tensor_details": {tensor("arg_1", "int32", 16), tensor("arg_2", "int32", 16)},
	} {
		in, err := OpenInputs(filepath.Dir(path), &Record{TensorFormat: "torch", Tensors: tensors})
		var fault *InputsError
		if field == "" {
			if err != nil || in.Close() != nil {
				t.Error(err)
			}
		} else if !errors.As(err, &fault) || fault.Field != field || fault.File != path {
			t.Errorf("%s: got %v", field, err)
		}
	}
	if _, err := OpenInputs(t.TempDir(), &Record{Tensors: []Tensor{tensor("arg_1", "int32", 1)}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if in, err := OpenInputs(t.TempDir(), &Record{}); err != nil || len(in.Tensors()) != 0 {
		t.Errorf("no tensors: %v", err)
	}
}

// FuzzUnpickle: whatever the pickle, an error or tensors that lie within their storage.
func FuzzUnpickle(f *testing.F) {
	f.Add([]byte(dictOf(func(p *pickler) {
		p.tensor("a", ints32, "0", 0, []int64{4, 4}, []int64{1, 4})
		p.tensor("b", "torch\nLongStorage", "0", 1, []int64{2}, []int64{3})
	})))
	f.Fuzz(func(t *testing.T, data []byte) {
		views, err := unpickle(data)
		if err != nil {
			return
		}
		path := torchFile(t, string(data))
		in, err := openTorch(path)
		if err != nil {
			return
		}
		defer in.Close()
		for key := range views {
			if _, err := in.Read(key); err != nil {
				t.Errorf("%q: accepted, but not read: %v", key, err)
			}
		}
	})
}

func ExampleWriter() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	w := NewWriter(dir, 42, map[string]string{"flashinfer": "0.7.2"})
	call, err := w.Begin(Call{Function: "rmsnorm", Args: []Value{
		TensorArg("arg_0", "bfloat16", []int64{64, 4096}, nil), FloatArg("kwarg_eps", 1e-6)}})
	if err != nil {
		panic(err)
	}
	if err := call.Return(TensorArg("", "bfloat16", []int64{64, 4096}, nil)); err != nil {
		panic(err)
	}
	rec, state, err := ReadRecord(filepath.Join(call.Dir(), MetadataFile))
	fmt.Println(state, rec.Tensors[0].Shape, rec.Arg("kwarg_eps").Float, err)
	// Output: completed [64 4096] 1e-06 <nil>
}
