package fidump

import (
	"fmt"
	"math/big"

	"github.com/nlpodyssey/gopickle/types"
)

// pickleNames are all names a pickle may mention, those that torch.load(weights_only=True) accepts, and what findClass resolves them to.
var pickleNames = map[[2]string]any{
	{"torch._utils", "_rebuild_tensor"}:               rebuildTensor{least: 4},
	{"torch._utils", "_rebuild_tensor_v2"}:            rebuildTensor{least: 6},
	{"torch._utils", "_rebuild_tensor_v3"}:            rebuildTensor{least: 7, dtype: true},
	{"torch._utils", "_rebuild_parameter"}:            rebuildParameter{},
	{"torch._utils", "_rebuild_parameter_with_state"}: rebuildParameter{},
	{"torch._tensor", "_rebuild_from_type_v2"}:        rebuildFromType{},
	{"torch", "Tensor"}:                               tensorClass{},
	{"torch.nn.parameter", "Parameter"}:               tensorClass{},

	{"torch._utils", "_rebuild_qtensor"}:                       unread("a quantized tensor"),
	{"torch._utils", "_rebuild_sparse_tensor"}:                 unread("a sparse tensor"),
	{"torch._utils", "_rebuild_nested_tensor"}:                 unread("a nested tensor"),
	{"torch._utils", "_rebuild_meta_tensor_no_storage"}:        unread("a meta tensor, which has no data"),
	{"torch._utils", "_rebuild_wrapper_subclass"}:              unread("a tensor subclass without a storage"),
	{"torch._utils", "_rebuild_device_tensor_from_numpy"}:      unread("a tensor of a device without storages"),
	{"torch._utils", "_rebuild_device_tensor_from_cpu_tensor"}: unread("a tensor of a device without storages"),
	{"torch.storage", "UntypedStorage"}:                        storageClass(""),
	{"torch", "DoubleStorage"}:                                 storageClass("float64"),
	{"torch", "FloatStorage"}:                                  storageClass("float32"),
	{"torch", "HalfStorage"}:                                   storageClass("float16"),
	{"torch", "BFloat16Storage"}:                               storageClass("bfloat16"),
	{"torch", "LongStorage"}:                                   storageClass("int64"),
	{"torch", "IntStorage"}:                                    storageClass("int32"),
	{"torch", "ShortStorage"}:                                  storageClass("int16"),
	{"torch", "CharStorage"}:                                   storageClass("int8"),
	{"torch", "ByteStorage"}:                                   storageClass("uint8"),
	{"torch", "BoolStorage"}:                                   storageClass("bool"),
	{"torch", "ComplexFloatStorage"}:                           storageClass("complex64"),
	{"torch", "ComplexDoubleStorage"}:                          storageClass("complex128"),
	{"torch", "QInt8Storage"}:                                  storageClass("qint8"), // of quantized tensors; no dtype of itemBytes
	{"torch", "QUInt8Storage"}:                                 storageClass("quint8"),
	{"torch", "QInt32Storage"}:                                 storageClass("qint32"),

	// Values of Python attributes.
	{"collections", "OrderedDict"}:                nil, // the library's own; also for backward hooks, which torch.save leaves empty
	{"collections", "Counter"}:                    attribute,
	{"torch", "Size"}:                             sizeClass{},
	{"torch", "device"}:                           attribute,
	{"torch", "per_tensor_affine"}:                attribute,
	{"torch", "per_tensor_symmetric"}:             attribute,
	{"torch", "per_channel_affine"}:               attribute,
	{"torch", "per_channel_symmetric"}:            attribute,
	{"torch.serialization", "_get_layout"}:        attribute,
	{"_codecs", "encode"}:                         attribute, // bytes
	{"__builtin__", "bytearray"}:                  attribute,
	{"__builtin__", "set"}:                        attribute,
	{"__builtin__", "complex"}:                    attribute,
	{"torch", "per_channel_affine_float_qparams"}: attribute,
}

func init() {
	for name := range itemBytes {
		pickleNames[[2]string{"torch", name}] = dtypeName(name)
	}
}

// itemBytes holds the bytes of an element by torch's name.
var itemBytes = map[string]int64{
	"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
	"uint16": 2, "uint32": 4, "uint64": 8, "bool": 1, "complex64": 8, "complex128": 16, "float8_e4m3fn": 1, "float8_e5m2": 1,
	"float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1, "float4_e2m1fn_x2": 1,
}

type (
	storageClass string // dtype of a typed storage
	dtypeName    string // torch.<name>
	tensorClass  struct{}
	// unread is a value that is not read, and what it is. Called, it returns itself: what torch would build stays a description.
	unread string
)

// attribute is a value that only a Python attribute of a tensor can have.
const attribute = unread("no tensor")

// Call returns u.
func (u unread) Call(...any) (any, error) { return u, nil }

// sizeClass is torch.Size.
type sizeClass struct{}

// Call takes (tuple) and returns the tuple.
func (sizeClass) Call(args ...any) (any, error) {
	if len(args) == 1 {
		if tuple, ok := args[0].(*types.Tuple); ok {
			return tuple, nil
		}
	}
	return attribute, nil
}

// findClass resolves a name that checkPickle accepted.
func findClass(module, name string) (any, error) {
	if c := pickleNames[[2]string{module, name}]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("names %s.%s, refused", module, name)
}

// persistentLoad takes ('storage', class, key, location, elements) and returns the storage; location and elements describe the machine that
// wrote it, and the archive's entry has the size.
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

// rebuildTensor takes (storage, offset, size, stride[, requires_grad, hooks[, dtype][, metadata]]).
type rebuildTensor struct {
	least int  // arguments
	dtype bool // there is a dtype
}

// Call returns a description of the tensor.
func (r rebuildTensor) Call(args ...any) (any, error) {
	if len(args) < r.least {
		return nil, fmt.Errorf("tensor of %d arguments", len(args))
	}
	if len(args) > r.least {
		if err := checkTensorMetadata(args[r.least]); err != nil {
			return nil, err
		}
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
		return nil, fmt.Errorf("tensor of dtype %q, which is not read", v.dtype)
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

// checkTensorMetadata refuses a tensor whose elements are not those of its storage: torch keeps a lazy conjugation or negation as
// metadata, such as {"neg": True}.
func checkTensorMetadata(v any) error {
	dict, ok := v.(*types.Dict)
	if v == nil || ok && dict.Len() == 0 {
		return nil
	}
	if !ok {
		return fmt.Errorf("tensor metadata of %T", v)
	}
	for _, entry := range *dict {
		if entry.Value != false {
			return fmt.Errorf("tensor with metadata %v = %v: its elements are not those of its storage", entry.Key, entry.Value)
		}
	}
	return nil
}

// rebuildFromType takes (function, class, arguments, state): a tensor with Python attributes.
type rebuildFromType struct{}

// Call returns what the function returns for the arguments; the attributes are left out.
func (rebuildFromType) Call(args ...any) (any, error) {
	if len(args) < 3 {
		return nil, fmt.Errorf("tensor with attributes of %d arguments", len(args))
	}
	inner, ok := args[2].(*types.Tuple)
	if !ok {
		return nil, fmt.Errorf("tensor with attributes made of a %T", args[2])
	}
	if _, ok := args[1].(tensorClass); !ok {
		return nil, fmt.Errorf("tensor of class %v", args[1])
	}
	switch function := args[0].(type) {
	case rebuildTensor:
		return function.Call(*inner...)
	case unread:
		return function, nil
	}
	return nil, fmt.Errorf("tensor made by a %T", args[0])
}

// rebuildParameter takes (tensor, requires_grad, hooks[, state]): a parameter is dumped as its tensor, without its attributes.
type rebuildParameter struct{}

// Call returns the tensor.
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
