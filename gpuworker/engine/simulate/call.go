package simulate

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/safetensors"
)

// call is one call of a FlashInfer function as the logger sees it, the same on every rank but for the wrapper's identity.
type call struct {
	fn      *function
	wrapper int // which wrapper object of the process; -1: a plain function
	args    []arg
	results []tensor // written as outputs; none: the function returned None
}

// arg is an argument in the order of the call: a tensor, a tuple of tensors, or a value already written as JSON.
type arg struct {
	key    string // arg_1, kwarg_causal
	tensor *tensor
	tuple  []tensor
	value  string
	rank   func(rank int) string // a value that differs between ranks
}

// tensor is described in full; only integers have content.
type tensor struct {
	key    string
	dtype  safetensors.DType
	shape  []int64
	stride []int64 // nil: contiguous
	data   []byte
}

func (t *tensor) bytes() int64 {
	n := int64(t.dtype.Size())
	for _, d := range t.shape {
		n *= d
	}
	return n / 8
}

// floats is a tensor of the given key without content.
func floats(dtype safetensors.DType, shape ...int64) *tensor {
	return &tensor{dtype: dtype, shape: shape}
}

// ints is an int32 vector.
func ints(values []int32) *tensor {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(v))
	}
	return &tensor{dtype: safetensors.I32, shape: []int64{int64(len(values))}, data: data}
}

// Values as json.dumps writes them.
const (
	null  = "null"
	yes   = "true"
	no    = "false"
	joint = `"joint"`
)

func number(n int64) string    { return strconv.FormatInt(n, 10) }
func decimal(f float64) string { return fitrace.FormatFloat(f) }
func dtypeValue(d safetensors.DType) string {
	return `{"type": "torch.dtype", "value": "torch.` + d.Torch() + `"}`
}

// builder collects arguments: positional ones are numbered from where the function's own begin.
type builder struct {
	call
	next int
}

func newCall(fn *function, wrapper int) *builder {
	b := &builder{call: call{fn: fn, wrapper: wrapper}}
	if wrapper >= 0 {
		b.next = 1 // arg_0 is self
	}
	return b
}

func (b *builder) position() string {
	b.next++
	return "arg_" + strconv.Itoa(b.next-1)
}

func (b *builder) add(key string, t *tensor) {
	t.key = key
	b.args = append(b.args, arg{key: key, tensor: t})
}

// tensors adds positional tensors.
func (b *builder) tensors(list ...*tensor) *builder {
	for _, t := range list {
		b.add(b.position(), t)
	}
	return b
}

// pair adds a positional tuple of two tensors, (k, v).
func (b *builder) pair(first, second *tensor) *builder {
	key := b.position()
	first.key, second.key = key+"__0", key+"__1"
	b.args = append(b.args, arg{key: key, tuple: []tensor{*first, *second}})
	return b
}

// values adds positional values.
func (b *builder) values(list ...string) *builder {
	for _, v := range list {
		b.args = append(b.args, arg{key: b.position(), value: v})
	}
	return b
}

// keyword adds keyword values, given as name, value, name, value.
func (b *builder) keyword(pairs ...string) *builder {
	for i := 0; i+1 < len(pairs); i += 2 {
		b.args = append(b.args, arg{key: "kwarg_" + pairs[i], value: pairs[i+1]})
	}
	return b
}

// named adds a keyword tensor.
func (b *builder) named(name string, t *tensor) *builder {
	b.add("kwarg_"+name, t)
	return b
}

// returns ends the call with what it returned: one tensor is "result", several are a tuple.
func (b *builder) returns(list ...*tensor) *call {
	for i, t := range list {
		t.key = "result"
		if len(list) > 1 {
			t.key += "_" + strconv.Itoa(i)
		}
		b.results = append(b.results, *t)
	}
	return &b.call
}

// inputs lists the call's tensors in the order of its arguments.
func (c *call) inputs() []tensor {
	var list []tensor
	for _, a := range c.args {
		if a.tensor != nil {
			list = append(list, *a.tensor)
		}
		list = append(list, a.tuple...)
	}
	return list
}

// entries orders tensors as the safetensors package lays them out: wide elements first, then by name.
func entries(list []tensor) []safetensors.Entry {
	out := make([]safetensors.Entry, len(list))
	for i, t := range list {
		out[i] = safetensors.Entry{Name: t.key, DType: t.dtype, Shape: t.shape, Data: t.data}
	}
	slices.SortFunc(out, func(a, b safetensors.Entry) int {
		return cmp.Or(cmp.Compare(b.DType.Size(), a.DType.Size()), cmp.Compare(a.Name, b.Name))
	})
	return out
}
