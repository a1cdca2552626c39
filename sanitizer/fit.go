package sanitizer

import (
	"slices"

	"github.com/tracefleet/tracefleet/internal/binding"
	"github.com/tracefleet/tracefleet/proto"
)

// types checks what needs no shapes: element types, and the sizes that the call states as numbers. It comes early, so that a
// call of another model is rejected for its heads and not for how its pages lie.
func (w *work) types() error {
	for i := range w.t.inputs {
		in, o := &w.t.inputs[i], &w.operands[i]
		if o.tensor == nil {
			if err := checkNumber(in, o); err != nil {
				return err
			}
		} else if o.tensor.DType != in.spec.DType && !packed(in, o) {
			return reject(RejectDType, "%s is %s, %s must be %s", o.arg, o.tensor.DType, in.spec.Name, in.spec.DType)
		}
	}
	return w.statedSizes()
}

// packed reports whether a tensor holds two of the definition's 4-bit floats in each of its elements: torch has no narrower ones.
func packed(in *input, o *operand) bool { return binding.Packed(in.spec.DType, o.tensor.DType) }

// fit checks rank and sizes of every tensor and solves the variable axes from them. It looks at the views that bind and
// structure made, so that a 3-D pool of token slots fits a definition with pages of one token.
func (w *work) fit() error {
	for i := range w.t.inputs {
		if err := w.fitInput(&w.t.inputs[i], &w.operands[i]); err != nil {
			return err
		}
	}
	for i, axis := range w.t.def.Axes {
		switch {
		case axis.Const:
			w.axes[i] = axis.Value
		case w.axes[i] < 0 && i != w.t.pages: // the number of pages follows from the indices
			return reject(RejectAxisUnsolved, "no input of the definition shows the size of axis %s", axis.Name)
		}
	}
	return nil
}

func (w *work) fitInput(in *input, o *operand) error {
	if o.tensor == nil {
		return nil
	}
	if len(o.shape) != len(in.axes) {
		return reject(RejectRank, "%s has shape %v, %s must have %d dimensions", o.arg, o.shape, in.spec.Name, len(in.axes))
	}
	for d, i := range in.axes {
		axis, size := w.t.def.Axes[i], o.shape[d]
		switch {
		case d == 0 && o.open:
		case axis.Const && size != axis.Value:
			if !w.relaxed(axis.Name, size, axis.Value) {
				return reject(RejectConstAxis, "%s has shape %v: %s is %d, must be %d", o.arg, o.shape, axis.Name, size, axis.Value)
			}
		case axis.Const:
		case w.axes[i] < 0:
			w.axes[i] = size
		case w.axes[i] != size:
			return reject(RejectAxisConflict, "%s has shape %v: %s is %d here and %d elsewhere", o.arg, o.shape, axis.Name, size, w.axes[i])
		}
	}
	return nil
}

// relaxed reports whether a constant may differ: the user allowed constants across TP, and one is a multiple of the other.
func (w *work) relaxed(axis string, size, want int64) bool {
	if !w.m.SkipConst || !tpAxis(axis) || size <= 0 || want <= 0 || size%want != 0 && want%size != 0 {
		return false
	}
	if note := "constant axes relaxed across TP"; !slices.Contains(w.notes, note) {
		w.notes = append(w.notes, note)
	}
	return true
}

// checkNumber checks a number's type against the definition's: a Python int may stand for a float, nothing else for another.
func checkNumber(in *input, o *operand) error {
	if o.value == nil {
		return nil // computed by policy, of the right type
	}
	want := proto.ValueFloat
	switch {
	case in.spec.DType == "bool":
		want = proto.ValueBool
	case in.spec.Integer():
		want = proto.ValueInt
	}
	if o.value.Type != want && !(want == proto.ValueFloat && o.value.Type == proto.ValueInt) {
		return reject(RejectDType, "%s is a Python %s, %s must be %s", o.arg, o.value.Type, in.spec.Name, in.spec.DType)
	}
	return nil
}

// statedSizes holds the sizes that a call states as numbers (num_qo_heads, head_dim, top_k) against constants of that name. Two
// definitions may differ in nothing else. The page size is structure's business: it may be folded.
func (w *work) statedSizes() error {
	for _, args := range []*arguments{w.plan, w.run} {
		if args == nil || args == w.plan && !w.t.planned {
			continue
		}
		for i := range args.list {
			arg := &args.list[i]
			if arg.value == nil || arg.value.Type != proto.ValueInt || arg.name == "page_size" {
				continue
			}
			axis, ok := w.t.def.Axis(arg.name)
			if !ok {
				axis, ok = w.t.def.Axis(argumentAxes[arg.name])
			}
			if ok && axis.Const && arg.value.Int != axis.Value && !w.relaxed(axis.Name, arg.value.Int, axis.Value) {
				return reject(RejectConstAxis, "%s is %d, %s must be %d", args.describe(arg.name), arg.value.Int, axis.Name, axis.Value)
			}
		}
	}
	return nil
}
