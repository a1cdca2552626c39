package fidump

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"
)

// A pickle is a program. Two fences stand before the library that runs it: checkPickle passes only the instructions and names
// that torch.save uses for a dict of tensors, with lengths that fit the text, and findClass resolves those names to nothing
// but the descriptions below. What is left cannot call, import or allocate anything.

// pickleNames are all names a pickle may mention; findClass knows what each becomes.
var pickleNames = map[[2]string]any{
	{"collections", "OrderedDict"}:         nil, // the library's own; empty, for backward hooks
	{"torch._utils", "_rebuild_tensor_v2"}: rebuildTensor{},
	{"torch._utils", "_rebuild_tensor_v3"}: rebuildTensor{dtype: true},
	{"torch._utils", "_rebuild_parameter"}: rebuildParameter{},
	{"torch.storage", "UntypedStorage"}:    storageClass(""),
	{"torch", "DoubleStorage"}:             storageClass("float64"),
	{"torch", "FloatStorage"}:              storageClass("float32"),
	{"torch", "HalfStorage"}:               storageClass("float16"),
	{"torch", "BFloat16Storage"}:           storageClass("bfloat16"),
	{"torch", "LongStorage"}:               storageClass("int64"),
	{"torch", "IntStorage"}:                storageClass("int32"),
	{"torch", "ShortStorage"}:              storageClass("int16"),
	{"torch", "CharStorage"}:               storageClass("int8"),
	{"torch", "ByteStorage"}:               storageClass("uint8"),
	{"torch", "BoolStorage"}:               storageClass("bool"),
	{"torch", "ComplexFloatStorage"}:       storageClass("complex64"),
	{"torch", "ComplexDoubleStorage"}:      storageClass("complex128"),
}

func init() {
	for name := range itemBytes {
		pickleNames[[2]string{"torch", name}] = dtypeName(name)
	}
}

// itemBytes gives the bytes of an element by torch's name.
var itemBytes = map[string]int64{
	"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
	"uint16": 2, "uint32": 4, "uint64": 8, "bool": 1, "complex64": 8, "complex128": 16, "float8_e4m3fn": 1, "float8_e5m2": 1,
	"float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1, "float4_e2m1fn_x2": 1,
}

type (
	storageClass string // dtype of a typed storage
	dtypeName    string // torch.<name>
)

// unpickle gives the tensors of a pickled dict of them.
func unpickle(data []byte) (views map[string]*torchView, err error) {
	fault := func(format string, args ...any) error {
		return &TorchError{Field: "pickle", Reason: fmt.Sprintf(format, args...)}
	}
	if err := checkPickle(data); err != nil {
		return nil, fault("%v", err)
	}
	defer func() {
		if r := recover(); r != nil { // the library indexes what a malformed program left out
			views, err = nil, fault("malformed: %v", r)
		}
	}()
	u := pickle.NewUnpickler(bytes.NewReader(data))
	u.FindClass = findClass
	u.PersistentLoad = persistentLoad
	top, err := u.Load()
	if err != nil {
		return nil, fault("%v", err)
	}
	dict, ok := top.(*types.Dict)
	if !ok {
		return nil, fault("holds %T, not a dict of tensors", top)
	}
	views = make(map[string]*torchView, dict.Len())
	for _, entry := range *dict {
		key, isString := entry.Key.(string)
		view, isTensor := entry.Value.(*torchView)
		if !isString || !isTensor || views[key] != nil {
			return nil, fault("dict member %v of %T: not one tensor under a name of its own", entry.Key, entry.Value)
		}
		own := *view // two names may share a tensor
		views[key] = &own
	}
	return views, nil
}

// checkPickle walks the instructions without running them.
func checkPickle(data []byte) error {
	for at := 0; at < len(data); {
		op := data[at]
		begin := at
		at++
		skip := uint64(0)
		switch op {
		case '.':
			return nil
		case '(', ')', '0', '1', '2', 'N', 'Q', 'R', 'a', 'e', ']', '}', 's', 't', 'u', 0x85, 0x86, 0x87, 0x88, 0x89:
		case 0x80, 'K', 'q', 'h':
			skip = 1
		case 'M':
			skip = 2
		case 'J', 'r', 'j':
			skip = 4
		case 'G':
			skip = 8
		case 'X':
			if len(data)-at < 4 {
				return fmt.Errorf("ends inside an instruction at byte %d", begin)
			}
			skip = 4 + uint64(binary.LittleEndian.Uint32(data[at:]))
		case 0x8a:
			if at < len(data) {
				skip = 1 + uint64(data[at])
			}
		case 'c':
			lines := bytes.SplitN(data[at:min(len(data), at+256)], []byte{'\n'}, 3)
			if len(lines) < 3 {
				return fmt.Errorf("name at byte %d does not end", begin)
			}
			if _, ok := pickleNames[[2]string{string(lines[0]), string(lines[1])}]; !ok {
				return fmt.Errorf("names %.60s.%.60s at byte %d, which a dict of tensors does not need; refused", lines[0], lines[1], begin)
			}
			skip = uint64(len(lines[0]) + len(lines[1]) + 2)
		default:
			return fmt.Errorf("instruction 0x%02x at byte %d, which torch.save does not write for a dict of tensors; refused", op, begin)
		}
		if skip > uint64(len(data)-at) {
			return fmt.Errorf("ends inside an instruction at byte %d", begin)
		}
		at += int(skip)
	}
	return fmt.Errorf("ends without a stop instruction after %d bytes", len(data))
}

func findClass(module, name string) (any, error) {
	if c := pickleNames[[2]string{module, name}]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("names %s.%s, refused", module, name)
}

// persistentLoad takes ('storage', class, key, location, elements); location and elements are of the machine that wrote it,
// and the archive's own entry tells the size.
func persistentLoad(id any) (any, error) {
	tuple, ok := id.(*types.Tuple)
	if !ok || tuple.Len() < 5 || tuple.Get(0) != "storage" {
		return nil, fmt.Errorf("persistent id %T is not that of a storage", id)
	}
	class, isClass := tuple.Get(1).(storageClass)
	key, isKey := tuple.Get(2).(string)
	if !isClass || !isKey {
		return nil, fmt.Errorf("storage of %T under %T", tuple.Get(1), tuple.Get(2))
	}
	return torchStorage{key: key, dtype: string(class)}, nil
}

// rebuildTensor takes (storage, offset, size, stride, requires_grad, hooks[, dtype[, metadata]]).
type rebuildTensor struct{ dtype bool }

// Call describes the tensor; it makes none.
func (r rebuildTensor) Call(args ...any) (any, error) {
	if len(args) < 6 || r.dtype && len(args) < 7 {
		return nil, fmt.Errorf("tensor of %d arguments", len(args))
	}
	storage, ok := args[0].(torchStorage)
	if !ok {
		return nil, fmt.Errorf("tensor on a %T", args[0])
	}
	v := &torchView{storage: storage, dtype: storage.dtype}
	if r.dtype {
		name, ok := args[6].(dtypeName)
		if !ok {
			return nil, fmt.Errorf("tensor of dtype %v", args[6])
		}
		v.dtype = string(name)
	}
	if v.item = itemBytes[v.dtype]; v.item == 0 {
		return nil, fmt.Errorf("tensor without a dtype")
	}
	var err error
	if v.offset, err = pickledInt(args[1]); err != nil {
		return nil, err
	}
	if v.size, err = pickledInts(args[2]); err != nil {
		return nil, err
	}
	v.stride, err = pickledInts(args[3])
	return v, err
}

// rebuildParameter takes (tensor, requires_grad, hooks): a parameter is dumped as its tensor.
type rebuildParameter struct{}

// Call gives the tensor.
func (rebuildParameter) Call(args ...any) (any, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("parameter without a tensor")
	}
	return args[0], nil
}

func pickledInts(v any) ([]int64, error) {
	tuple, ok := v.(*types.Tuple)
	if !ok || tuple.Len() > 64 {
		return nil, fmt.Errorf("size or stride is a %T", v)
	}
	list := make([]int64, tuple.Len())
	for i := range list {
		var err error
		if list[i], err = pickledInt(tuple.Get(i)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func pickledInt(v any) (int64, error) {
	switch n := v.(type) {
	case int:
		return int64(n), nil
	case *big.Int:
		if n.IsInt64() {
			return n.Int64(), nil
		}
	}
	return 0, fmt.Errorf("%v (%T) is not an integer of 64 bits", v, v)
}
