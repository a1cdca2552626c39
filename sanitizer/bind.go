package sanitizer

import (
	"slices"

	"github.com/tracefleet/tracefleet/internal/binding"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// bind finds the argument behind each input: at the sources of the tables, else by a name that differs only in case, else by
// position. What an input is bound to still has to fit.
func (w *work) bind() error {
	var unbound []int
	for i := range w.t.inputs {
		in, o := &w.t.inputs[i], &w.operands[i]
		if !w.bindSources(in, o) {
			unbound = append(unbound, i)
		}
	}
	if len(unbound) > 0 && !w.t.planned {
		unbound = w.bindCase(unbound)
		unbound = w.bindOrder(unbound)
	}
	for _, i := range unbound {
		if err := w.absent(i); err != nil {
			return err
		}
	}
	w.openPools()
	for i := range w.t.inputs {
		if err := checkKind(&w.t.inputs[i], &w.operands[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) arguments(s binding.Side) *arguments {
	if s == binding.OfPlan {
		return w.plan
	}
	return w.run
}

// bindSources takes the first source of an input that was passed.
func (w *work) bindSources(in *input, o *operand) bool {
	for _, src := range in.sources {
		args := w.arguments(src.Side)
		if arg := args.find(src.Param); arg != nil && w.take(in, o, arg, src, args) {
			return true
		}
	}
	return false
}

// take binds an input to an argument, or to the part of it that the source names.
func (w *work) take(in *input, o *operand, arg *argument, src source, args *arguments) bool {
	switch {
	case src.Part == binding.Whole:
		if arg.tensor == nil && arg.value == nil {
			return false
		}
		*o = operand{arg: args.describe(arg.name), tensor: arg.tensor, value: arg.value}
	case len(arg.members) == 2: // (k, v), (q_nope, q_pe)
		*o = operand{arg: args.describe(arg.name), tensor: arg.members[src.Part-binding.First]}
	case arg.tensor != nil && len(arg.members) == 0:
		*o = operand{arg: args.describe(arg.name), tensor: arg.tensor}
		if !w.split(in, o) {
			*o = operand{}
			return false
		}
		return true
	default:
		return false
	}
	if o.tensor != nil {
		o.shape = o.tensor.Shape
	}
	return true
}

// split returns one half of a pair that is packed in one tensor, as a view: of a combined KV cache [pages, 2, …], or of a latent
// tensor that has both parts in its last dimension. Only float tensors are packed, so that no content has to move.
func (w *work) split(in *input, o *operand) bool {
	shape := o.tensor.Shape
	if len(shape) == 5 && len(in.axes) == 4 {
		if shape[1] != 2 {
			return false
		}
		o.shape = append([]int64{shape[0]}, shape[2:]...)
		return true
	}
	width, other := w.lastConst(in), w.lastConst(w.partner(in))
	if len(shape) == 0 || width < 0 || other < 0 || shape[len(shape)-1] != width+other {
		return false
	}
	o.shape = slices.Clone(shape)
	o.shape[len(shape)-1] = width
	return true
}

// partner returns the input that shares a packed tensor with in.
func (w *work) partner(in *input) *input {
	for i := range w.t.inputs {
		other := &w.t.inputs[i]
		if other == in || other.spec.Name == in.spec.Name {
			continue
		}
		for _, a := range other.sources {
			for _, b := range in.sources {
				if a.Part != binding.Whole && b.Part != binding.Whole && a.Part != b.Part && a.Param == b.Param && a.Side == b.Side {
					return other
				}
			}
		}
	}
	return nil
}

// lastConst returns the size of an input's last dimension where it is a constant, else -1.
func (w *work) lastConst(in *input) int64 {
	if in == nil || len(in.axes) == 0 {
		return -1
	}
	if axis := w.t.def.Axes[in.axes[len(in.axes)-1]]; axis.Const {
		return axis.Value
	}
	return -1
}

// bindCase binds inputs whose parameter has the same name but for upper and lower case (A, a) or underscores.
func (w *work) bindCase(unbound []int) []int {
	return slices.DeleteFunc(unbound, func(i int) bool {
		in := &w.t.inputs[i]
		var found *argument
		for k := range w.run.list {
			arg := &w.run.list[k]
			if binding.SameName(arg.name, in.spec.Name) && !w.used(arg) && w.run.find(arg.name) != nil {
				if found != nil {
					return false // two that differ only in case: neither
				}
				found = arg
			}
		}
		return found != nil && w.take(in, &w.operands[i], found, source{}, w.run)
	})
}

// bindOrder binds the inputs that are left to the tensors that are left, in order, where their number is the same: a
// definition's input order is its API's tensor order, whatever the names. Two integer tensors could be swapped without any
// shape telling, so at most one of them may be bound this way.
func (w *work) bindOrder(unbound []int) []int {
	var left []*argument
	for k := range w.run.list {
		arg := &w.run.list[k]
		p, named := w.run.sig.Find(arg.name)
		optional := named && p.HasDefault
		if arg.tensor != nil && !optional && !w.used(arg) && !slices.Contains(binding.Outputs, arg.name) {
			left = append(left, arg)
		}
	}
	slices.SortStableFunc(left, func(a, b *argument) int { return w.position(a) - w.position(b) })
	integers := 0
	for n, i := range unbound {
		in := &w.t.inputs[i]
		if in.spec.Scalar() || len(left) != len(unbound) || left[n].tensor.DType != in.spec.DType {
			return unbound
		}
		if in.spec.Integer() {
			integers++
		}
	}
	if len(unbound) == 0 || integers > 1 {
		return unbound
	}
	for n, i := range unbound {
		w.take(&w.t.inputs[i], &w.operands[i], left[n], source{}, w.run)
		w.note("%s is %s, by position", w.t.inputs[i].spec.Name, w.operands[i].arg)
	}
	return nil
}

// position returns the place of an argument's parameter in the signature.
func (w *work) position(arg *argument) int {
	if arg.positional >= 0 {
		return arg.positional
	}
	i := slices.IndexFunc(w.run.sig.Positional, func(p fidump.Param) bool { return p.Name == arg.name })
	if i < 0 {
		i = len(w.run.sig.Positional) + slices.IndexFunc(w.run.sig.Named, func(p fidump.Param) bool { return p.Name == arg.name }) + 1
	}
	return i
}

// used reports whether an input is bound to a tensor or value of this argument.
func (w *work) used(arg *argument) bool {
	return slices.ContainsFunc(w.operands, func(o operand) bool {
		return o.tensor != nil && o.tensor == arg.tensor || o.value != nil && o.value == arg.value
	})
}

// absent handles an input for which nothing was passed. A softmax scale may be computed or borrowed later; last_page_len follows from
// the lengths that latent attention is planned with, or from folding; anything else is rejected.
func (w *work) absent(i int) error {
	in := &w.t.inputs[i]
	switch {
	case in.role == roleSMScale && in.spec.Scalar() && (!fitrace.LatentScale(w.t.def) || fitrace.BorrowsScale(w.t.def)):
		return nil
	case in.spec.Scalar() && binding.DefaultScale[w.m.Call.Function] == in.spec.Name:
		return nil
	case in.role == roleLastPageLen && w.t.latent && w.plan.find("kv_len_arr") != nil:
		return nil
	}
	if in.spec.Optional {
		return reject(RejectInputMissing, "the call has nothing for %s, which is optional in the definition; the dataset has no way to leave an input out", in.spec.Name)
	}
	return reject(RejectInputMissing, "the call has nothing for %s", in.spec.Name)
}

// checkKind holds numbers and tensors apart.
func checkKind(in *input, o *operand) error {
	if in.spec.Scalar() {
		switch {
		case o.tensor != nil:
			return reject(RejectNotScalar, "%s is a tensor of shape %v, the definition wants a number for %s", o.arg, o.tensor.Shape, in.spec.Name)
		case o.value == nil:
			return nil // to be computed
		}
		switch o.value.Type {
		case proto.ValueBool, proto.ValueInt, proto.ValueFloat:
			return nil
		}
		return reject(RejectNotScalar, "%s is a %s, the definition wants a number for %s", o.arg, o.value.Type, in.spec.Name)
	}
	if o.tensor == nil && o.value != nil {
		return reject(RejectNotTensor, "%s is a %s, the definition wants a tensor for %s", o.arg, o.value.Type, in.spec.Name)
	}
	return nil
}
