package harvest

import (
	"fmt"
	"slices"
	"strings"
)

// argument gives the argument behind an input in a call.
func (c namedCall) argument(input string) (argument, bool) {
	for _, s := range sources(input) {
		if a, ok := c.param(c.function, s.param, s.part); ok {
			return a, true
		}
	}
	return argument{}, false
}

// number gives the value of the first of these parameters that is a whole number, or -1.
func (c namedCall) number(names ...string) int64 {
	for _, name := range names {
		if a, ok := c.param(c.function, name, -1); ok && a.number != nil && *a.number == float64(int64(*a.number)) {
			return int64(*a.number)
		}
	}
	return -1
}

// fits holds the tensors of a call against the shapes of the file. The tracer takes each constant from the first tensor that
// has it: a call where those differ is another definition's (ours is false). Where they agree and another tensor differs, the
// file is wrong, and wrong says where.
func (w *work) fits(c namedCall) (ours bool, wrong string) {
	known := map[string]bool{}
	for _, in := range w.t.inputs {
		arg, ok := c.argument(in.name)
		if !ok || !arg.tensor || arg.shape == nil || in.scalar {
			continue
		}
		shape := w.paged(in, arg.shape)
		if len(shape) != len(in.shape) {
			if len(known) == 0 && !w.misread(in, shape) {
				return false, ""
			}
			return true, fmt.Sprintf("%s has %d dimensions %v, the definition %d %v", in.name, len(shape), shape, len(in.shape), in.shape)
		}
		for i, axis := range in.shape {
			value := w.t.constant(axis)
			if value < 0 || value == shape[i] {
				known[axis] = true
				continue
			}
			if !known[axis] {
				return false, ""
			}
			return true, fmt.Sprintf("%s has %d where the definition has %s %d", in.name, shape[i], axis, value)
		}
	}
	return len(known) > 0, ""
}

// misread reports whether the file's constants are what the tracer makes of a tensor with another number of dimensions than its
// template has: it takes them by position, as those of a norm over heads, [tokens, heads, width], for [tokens, width].
func (w *work) misread(in tensor, shape []int64) bool {
	found := false
	for i, axis := range in.shape {
		if value := w.t.constant(axis); value >= 0 {
			if i >= len(shape) || shape[i] != value {
				return false
			}
			found = true
		}
	}
	return found
}

// paged gives the shape of a cache of single slots as one of pages of size 1.
func (w *work) paged(in tensor, shape []int64) []int64 {
	if len(shape)+1 == len(in.shape) && len(in.shape) > 1 && in.shape[1] == pageSizeAxis && w.t.constant(pageSizeAxis) == 1 {
		return slices.Insert(slices.Clone(shape), 1, 1)
	}
	return shape
}

// otherType says where a call's element types differ from the file's.
func (w *work) otherType(c namedCall) string {
	var parts []string
	for _, in := range w.t.inputs {
		if arg, ok := c.argument(in.name); ok && arg.tensor && !in.scalar && in.dtype != unknownType && arg.dtype != in.dtype {
			parts = append(parts, fmt.Sprintf("%s is %s, the file says %s", in.name, arg.dtype, in.dtype))
		}
	}
	return strings.Join(parts, "; ")
}

// match picks the calls that this file describes from the dumps of its function. The tracer writes one file a name and process,
// whatever the element types: of calls that share the name, those of other types are another kernel's.
func (w *work) match() error {
	runs, plans := w.file.Evidence.of(w.api)
	w.dumped = len(runs)+len(plans) > 0
	var wrong, types []string
	for _, c := range runs {
		ours, fault := w.fits(c)
		if !ours {
			continue
		}
		if fault != "" {
			wrong = append(wrong, fault)
			continue
		}
		if other := w.otherType(c); other != "" {
			types = append(types, other)
			continue
		}
		w.runs = append(w.runs, c)
	}
	for _, c := range plans {
		if !w.fitsPlan(c) {
			continue
		}
		if other := w.otherPlanType(c); other != "" {
			types = append(types, other)
			continue
		}
		w.plans = append(w.plans, c)
	}
	none := len(w.runs) == 0 && (len(runs) > 0 || len(w.plans) == 0)
	switch seen := slices.Concat(wrong, types); {
	case none && len(types) > 0:
		return asideFor(ReasonDisagrees, "no dump of %s agrees with it: %s. The tracer writes one file a name, whatever the types, and calls that no dump shows wrote this one",
			w.api, strings.Join(first(seen, 3), "; "))
	case none && len(wrong) > 0:
		return asideFor(ReasonDisagrees, "it describes none of the calls of %s: %s. The tracer takes sizes by position, whatever the number of dimensions",
			w.api, strings.Join(first(wrong, 3), "; "))
	case len(seen) > 0:
		w.doubt("other calls of %s share the name and are another kernel, of which the tracer wrote no file: %s", w.api, strings.Join(first(seen, 3), "; "))
	case w.tag != "" && len(w.runs)+len(w.plans) == 0:
		w.doubt("no dump of %s with these shapes is at hand: nothing but the file itself says that it is right", w.api)
	}
	return nil
}

// fitsPlan reports whether a plan is one of this definition's runs, as far as it states constants.
func (w *work) fitsPlan(c namedCall) bool {
	for axis, names := range map[string][]string{
		"num_qo_heads": {"num_qo_heads", "num_heads"}, "num_kv_heads": {"num_kv_heads"}, "head_dim": {"head_dim", "head_dim_qk"},
		"head_dim_ckv": {"head_dim_ckv"}, "head_dim_kpe": {"head_dim_kpe"}, pageSizeAxis: {pageSizeAxis},
	} {
		want, have := w.t.constant(axis), c.number(names...)
		if want >= 0 && have >= 0 && want != have {
			return false
		}
	}
	return true
}

// otherPlanType says where the types a plan announces differ from the file's.
func (w *work) otherPlanType(c namedCall) string {
	announced := func(names ...string) string {
		for _, name := range names {
			if a, ok := c.param(c.function, name, -1); ok && a.dtype != "" && !a.tensor {
				return a.dtype
			}
		}
		return ""
	}
	q := announced("q_data_type", "data_type")
	kv := announced("kv_data_type", "data_type")
	var parts []string
	for input, dtype := range map[string]string{"q": q, "q_nope": q, "k_cache": kv, "ckv_cache": kv} {
		if in := find(w.t.inputs, input); in != nil && dtype != "" && in.dtype != unknownType && in.dtype != dtype {
			parts = append(parts, fmt.Sprintf("%s is planned as %s, the file says %s", input, dtype, in.dtype))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

// first gives at most n different strings, in order.
func first(list []string, n int) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) && len(out) < n {
			out = append(out, s)
		}
	}
	return out
}

// passed counts the calls that pass the parameter, and those that do not; a call that leaves it open counts as neither.
func (w *work) passed(name string) (yes, no int) {
	for _, c := range w.runs {
		a, ok := c.argument(name)
		named := c.positional != nil || knownPositions[c.function] != nil
		switch {
		case ok && !a.none:
			yes++
		case ok || named:
			no++
		}
	}
	return yes, no
}
