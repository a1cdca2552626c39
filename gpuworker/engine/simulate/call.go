package simulate

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/safetensors"
)

// call is one call of a FlashInfer function as the logger sees it, the same on every rank but for the wrapper's identity.
type call struct {
	fn      *function
	wrapper int                         // which wrapper object of the process; -1: a plain function
	args    []fidump.Value              // without self
	results []fidump.Value              // none: the function returned None
	ranked  func(rank int) fidump.Value // takes the place of the argument of its key; nil: all ranks pass the same
}

// on gives the arguments as one rank passes them.
func (c *call) on(rank int) []fidump.Value {
	if c.ranked == nil {
		return c.args
	}
	own := c.ranked(rank)
	list := slices.Clone(c.args)
	for i := range list {
		if list[i].Key == own.Key {
			list[i] = own
		}
	}
	return list
}

// floats is a tensor without content.
func floats(dtype safetensors.DType, shape ...int64) fidump.Value {
	return fidump.TensorArg("", dtype.Torch(), shape, nil)
}

// ints is an int32 vector.
func ints(values []int32) fidump.Value {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(v))
	}
	return fidump.TensorArg("", "int32", []int64{int64(len(values))}, data)
}

// bounds is a float32 vector whose values count, as few floats' do.
func bounds(values []float32) fidump.Value {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return fidump.TensorArg("", safetensors.F32.Torch(), []int64{int64(len(values))}, data)
}

// Values whose keys the builder sets.
var (
	null  = fidump.NoneArg("")
	yes   = fidump.BoolArg("", true)
	no    = fidump.BoolArg("", false)
	joint = fidump.StringArg("", "joint")
)

func number(n int64) fidump.Value                     { return fidump.IntArg("", n) }
func decimal(f float64) fidump.Value                  { return fidump.FloatArg("", f) }
func dtypeValue(d safetensors.DType) fidump.Value     { return fidump.DTypeArg("", d.Torch()) }
func kw(name string, value fidump.Value) fidump.Value { value.Key = "kwarg_" + name; return value }

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

// values adds positional arguments.
func (b *builder) values(list ...fidump.Value) *builder {
	for _, v := range list {
		v.Key = "arg_" + strconv.Itoa(b.next)
		b.next++
		b.args = append(b.args, v)
	}
	return b
}

// pair adds a positional tuple of two tensors, (k, v).
func (b *builder) pair(first, second fidump.Value) *builder {
	return b.values(fidump.TupleArg("", first, second))
}

// keyword adds keyword arguments, made by kw.
func (b *builder) keyword(list ...fidump.Value) *builder {
	b.args = append(b.args, list...)
	return b
}

// returns ends the call with what it returned.
func (b *builder) returns(list ...fidump.Value) *call {
	b.results = list
	return &b.call
}
