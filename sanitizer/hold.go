package sanitizer

import (
	"fmt"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// hold evaluates the definition's constraints on the sizes and values the workload will have.
func (w *work) hold() error {
	for i, c := range w.t.constraints {
		if c.err != nil {
			return reject(RejectConstraintUnknown, "%v", c.err)
		}
		ok, err := c.expr.Holds((*constraintEnv)(w))
		switch {
		case err != nil:
			return reject(RejectConstraintUnknown, "%v", err)
		case !ok:
			return reject(RejectConstraint, "%s does not hold", w.t.def.Constraints[i])
		}
	}
	return nil
}

// constraintEnv answers an expression's questions.
type constraintEnv work

// Number gives an axis or a scalar input.
func (e *constraintEnv) Number(name string) (fitrace.Number, bool) {
	w := (*work)(e)
	if size, ok := w.axisOf(name); ok {
		return fitrace.IntNumber(size), true
	}
	o := w.named(name)
	if o == nil || o.value == nil {
		return fitrace.Number{}, false
	}
	switch o.value.Type {
	case proto.ValueFloat:
		return fitrace.FloatNumber(o.value.Float), true
	case proto.ValueInt:
		return fitrace.IntNumber(o.value.Int), true
	}
	return fitrace.IntNumber(asInt(o.value.Bool)), true
}

// Shape returns the shape an input will have in the workload.
func (e *constraintEnv) Shape(tensor string) ([]int64, bool) {
	for _, in := range e.t.inputs {
		if in.spec.Name != tensor || in.spec.Scalar() {
			continue
		}
		shape := make([]int64, len(in.axes))
		for d, axis := range in.axes {
			shape[d] = e.axes[axis]
		}
		return shape, true
	}
	return nil, false
}

// DType returns the element type of an input tensor, which is the definition's.
func (e *constraintEnv) DType(tensor string) (string, bool) {
	in, ok := e.t.def.Input(tensor)
	return in.DType, ok && !in.Scalar()
}

// Ints returns the content of a one-dimensional integer tensor.
func (e *constraintEnv) Ints(tensor string) ([]int64, error) {
	o := (*work)(e).named(tensor)
	if o == nil || !o.loaded {
		return nil, fmt.Errorf("the values of %s are not known", tensor)
	}
	if len(o.shape) != 1 {
		return nil, fmt.Errorf("%s has %d dimensions, only one is understood", tensor, len(o.shape))
	}
	v := o.ints()
	values := make([]int64, v.len())
	for i := range values {
		values[i] = v.at(i)
	}
	return values, nil
}
