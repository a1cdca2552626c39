package sanitizer

import (
	"math"
	"slices"

	"github.com/tracefleet/tracefleet/proto"
)

// bounds are floats that decide what a sampler does: a random one, negative as often as not, asks it for nothing that it could do.
var bounds = []string{"top_p", "min_p"}

// decisive reports whether a float tensor's content is kept: that of a sampler's bound, one a request, where the dump's was read.
func decisive(in *input, o *operand) bool {
	return !in.spec.Integer() && !in.spec.Scalar() && len(in.axes) == 1 && slices.Contains(bounds, in.spec.Name) && o.tensor != nil && o.tensor.Digest != ""
}

// candidate writes the workload: axes and inputs in the definition's order. What decides behaviour is kept, whatever its
// width: integers, booleans and a sampler's bounds. Other floats are random: their values decide nothing, and they would be gigabytes.
func (w *work) candidate() (*proto.Candidate, error) {
	c := &proto.Candidate{Definition: w.t.def.Name}
	for i, axis := range w.t.def.Axes {
		if !axis.Const {
			c.Axes = append(c.Axes, proto.AxisValue{Name: axis.Name, Value: w.axes[i]})
		}
	}
	c.Inputs = make([]proto.Input, 0, len(w.t.inputs))
	for i := range w.t.inputs {
		in, o := &w.t.inputs[i], &w.operands[i]
		out := proto.Input{Name: in.spec.Name}
		switch {
		case in.spec.Scalar():
			value, err := w.scalar(in, o)
			if err != nil {
				return nil, err
			}
			out.Kind, out.Scalar = proto.InputScalar, value
		case in.spec.Integer() || decisive(in, o):
			out.Kind, out.DType, out.Shape, out.Digest = proto.InputSafetensors, in.spec.DType, o.shape, o.sum()
		default:
			out.Kind = proto.InputRandom
		}
		c.Inputs = append(c.Inputs, out)
	}
	c.Notes = w.notes
	c.UUID = identity(c)
	return c, nil
}

// scalar returns a number with the type it was passed with.
func (w *work) scalar(in *input, o *operand) (*proto.Value, error) {
	v := *o.value
	v.Key = in.spec.Name
	if v.Type == proto.ValueFloat && (math.IsNaN(v.Float) || math.IsInf(v.Float, 0)) {
		return nil, reject(RejectScalar, "%s is %v, which JSON cannot say", o.arg, v.Float)
	}
	return &v, nil
}
