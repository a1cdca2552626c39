package safetensors

// DType is an element type by its safetensors name.
type DType string

// Every dtype of safetensors 0.8.
const (
	Bool       DType = "BOOL"
	F4         DType = "F4"
	F6E2M3     DType = "F6_E2M3"
	F6E3M2     DType = "F6_E3M2"
	U8         DType = "U8"
	I8         DType = "I8"
	F8E5M2     DType = "F8_E5M2"
	F8E4M3     DType = "F8_E4M3"
	F8E8M0     DType = "F8_E8M0"
	F8E4M3FNUZ DType = "F8_E4M3FNUZ"
	F8E5M2FNUZ DType = "F8_E5M2FNUZ"
	I16        DType = "I16"
	U16        DType = "U16"
	F16        DType = "F16"
	BF16       DType = "BF16"
	I32        DType = "I32"
	U32        DType = "U32"
	F32        DType = "F32"
	C64        DType = "C64"
	F64        DType = "F64"
	I64        DType = "I64"
	U64        DType = "U64"
)

type dtypeFacts struct {
	dtype   DType
	bits    int64
	integer bool
	torch   string
}

// dtypes is ordered by how often dumps have them: the table is searched from its start.
var dtypes = [...]dtypeFacts{
	{I32, 32, true, "int32"},
	{BF16, 16, false, "bfloat16"},
	{F16, 16, false, "float16"},
	{F32, 32, false, "float32"},
	{I64, 64, true, "int64"},
	{F8E4M3, 8, false, "float8_e4m3fn"},
	{U8, 8, true, "uint8"},
	{Bool, 8, true, "bool"},
	{F8E5M2, 8, false, "float8_e5m2"},
	{I8, 8, true, "int8"},
	{I16, 16, true, "int16"},
	{U16, 16, true, "uint16"},
	{U32, 32, true, "uint32"},
	{U64, 64, true, "uint64"},
	{F64, 64, false, "float64"},
	{F4, 4, false, "float4_e2m1fn_x2"},
	{F8E8M0, 8, false, "float8_e8m0fnu"},
	{F8E4M3FNUZ, 8, false, "float8_e4m3fnuz"},
	{F8E5M2FNUZ, 8, false, "float8_e5m2fnuz"},
	{F6E2M3, 6, false, ""},
	{F6E3M2, 6, false, ""},
	{C64, 64, false, "complex64"},
}

func lookup(d string) *dtypeFacts {
	for i := range dtypes {
		if string(dtypes[i].dtype) == d {
			return &dtypes[i]
		}
	}
	return nil
}

// Known reports whether d is a dtype of the format.
func (d DType) Known() bool { return lookup(string(d)) != nil }

// Size gives the bits of one element, 0 for an unknown dtype. Below 8 for F4 and the F6 types.
func (d DType) Size() int64 {
	if f := lookup(string(d)); f != nil {
		return f.bits
	}
	return 0
}

// Integer reports whether elements are integers or booleans: the dtypes that carry structure, never random data.
func (d DType) Integer() bool {
	f := lookup(string(d))
	return f != nil && f.integer
}

// Torch gives torch's name without "torch.", "" where torch has no such dtype. F4 is torch's float4_e2m1fn_x2, which packs
// two elements: its last dimension is half of the one in the file.
func (d DType) Torch() string {
	if f := lookup(string(d)); f != nil {
		return f.torch
	}
	return ""
}

// FromTorch gives the dtype of a torch name, with or without "torch.".
func FromTorch(name string) (DType, bool) {
	if len(name) > 6 && name[:6] == "torch." {
		name = name[6:]
	}
	for i := range dtypes {
		if name != "" && dtypes[i].torch == name {
			return dtypes[i].dtype, true
		}
	}
	return "", false
}

// byteSize gives the bytes of a tensor; false if a size is negative, the product overflows, or sub-byte elements do not
// fill their last byte.
func byteSize(d DType, shape []int64) (int64, bool) {
	const most = int64(1) << 58 // elements: leaves room for 64 bits each within int64's bits
	n := int64(1)
	zero := false
	for _, s := range shape {
		switch {
		case s < 0:
			return 0, false
		case s == 0:
			zero = true
		case n > most/s:
			return 0, false
		default:
			n *= s
		}
	}
	if zero {
		return 0, true
	}
	bits := d.Size()
	if bits < 8 && n*bits%8 != 0 {
		return 0, false
	}
	if bits < 8 {
		return n * bits / 8, true
	}
	if n > (int64(1)<<62)/(bits/8) {
		return 0, false
	}
	return n * (bits / 8), true
}
