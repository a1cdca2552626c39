package harvest

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// types settles element types: the tracer writes "unknown" for tensors that the call did not get, and knows types which the
// schema does not.
func (w *work) types() error {
	for i := range w.t.inputs {
		in := &w.t.inputs[i]
		if in.dtype == unknownType {
			if err := w.findType(in); err != nil {
				return err
			}
		}
		if err := allowed("inputs", in); err != nil {
			return err
		}
	}
	for i := range w.t.outputs {
		out := &w.t.outputs[i]
		if out.dtype == unknownType {
			return asideFor(ReasonDType, "outputs.%s: the tracer could not tell its element type", out.name)
		}
		if err := allowed("outputs", out); err != nil {
			return err
		}
	}
	return nil
}

func allowed(field string, t *tensor) error {
	switch {
	case slices.Contains(fitrace.DTypes, t.dtype):
		return nil
	case t.dtype == "uint8":
		return asideFor(ReasonDType, "%s.%s is uint8: bytes, or packed 4-bit floats, and the schema has no bytes; a person has to say what they hold", field, t.name)
	}
	return asideFor(ReasonDType, "%s.%s is %s, which the schema does not have; it has %s", field, t.name, t.dtype, strings.Join(fitrace.DTypes, ", "))
}

// findType takes an input's type from the dumps; index tensors that a wrapper was given at plan are int32, the only type
// FlashInfer takes.
func (w *work) findType(in *tensor) error {
	if names := planSources[in.name]; names != nil && w.api.Planned() && !in.scalar {
		dtype := "int32"
		why := "an index tensor, set at plan: FlashInfer takes int32"
		for _, c := range w.plans {
			for _, name := range names {
				if a, ok := c.param(c.function, name, -1); ok && a.tensor {
					dtype, why = a.dtype, "as the dump of plan has it"
				}
			}
		}
		w.change("inputs."+in.name+".dtype", unknownType, dtype, "%s", why)
		in.dtype = dtype
		return nil
	}
	for _, c := range w.runs {
		a, ok := c.argument(in.name)
		switch {
		case !ok || a.none:
			continue
		case !a.tensor || in.scalar:
			return asideFor(ReasonDType, "inputs.%s was passed as %s, and the file has it as a tensor %v", in.name, a, in.shape)
		}
		w.change("inputs."+in.name+".dtype", unknownType, a.dtype, "as the dumps have it")
		in.dtype = a.dtype
		return nil
	}
	if runs, _ := w.file.Evidence.of(w.api); in.name == "k_cache" || in.name == "v_cache" {
		for _, c := range runs {
			if a, ok := c.param(c.function, "paged_kv_cache", -1); ok && a.tensor {
				return asideFor(ReasonDType, "inputs.%s: the calls pass the KV cache as one tensor %v, which the tracer does not take apart", in.name, a.shape)
			}
		}
	}
	return asideFor(ReasonDType, "inputs.%s: the tracer could not tell its element type, and no dump of it is at hand", in.name)
}

// axes drops what is no longer used, and refuses what nothing gives a size to.
func (w *work) axes() error {
	var kept []axis
	for _, a := range w.t.axes {
		if v := w.implied(a.name); !a.isConst && v >= 0 && !uses(w.t.inputs, a.name) {
			w.change("axes."+a.name, "var", strconv.FormatInt(v, 10), "the constraints and the constants give its value, and no input has it")
			a.isConst, a.value = true, &v
		}
		used := uses(w.t.inputs, a.name) || uses(w.t.outputs, a.name)
		switch {
		case a.isConst && a.value == nil && used:
			return asideFor(ReasonAxis, "axes.%s has no value: the tracer was not given the tensor that has it", a.name)
		case a.isConst && a.value == nil:
			w.change("axes."+a.name, "const", "", "dropped: it has no value, and nothing that is left uses it")
			continue
		case !a.isConst && !used:
			w.change("axes."+a.name, "var", "", "dropped: nothing that is left uses it")
			continue
		case !a.isConst && !uses(w.t.inputs, a.name):
			return asideFor(ReasonAxis, "axes.%s is the size of an output and of no input: no call says how large it is", a.name)
		}
		kept = append(kept, a)
	}
	w.t.axes = kept
	var constraints []string
	for _, c := range w.t.constraints {
		if unknown := w.unknownIn(c); unknown != "" {
			w.change("constraints", c, "", "dropped: %s", unknown)
			continue
		}
		constraints = append(constraints, c)
	}
	w.t.constraints = constraints
	return nil
}

// implied gives the value that a constraint A == n * B gives one of its axes when the other is a constant, or -1.
func (w *work) implied(name string) int64 {
	for _, c := range w.t.constraints {
		tokens, err := scanPython(c)
		if err != nil || len(tokens) != 7 || !tokens[1].op("=") || !tokens[2].op("=") || !tokens[4].op("*") {
			continue
		}
		a, n, b := tokens[0], tokens[3], tokens[5]
		if n.kind != tokNumber {
			n, b = b, n
		}
		factor, err := strconv.ParseInt(n.text, 10, 32)
		if err != nil || factor <= 0 || a.kind != tokName || b.kind != tokName {
			continue
		}
		switch whole, part := w.t.constant(a.text), w.t.constant(b.text); {
		case b.text == name && whole >= 0 && whole%factor == 0:
			return whole / factor
		case a.text == name && part >= 0 && part < math.MaxInt32:
			return part * factor
		}
	}
	return -1
}

// unknownIn says what is wrong with a constraint: it must be an expression over axes and inputs.
func (w *work) unknownIn(constraint string) string {
	tokens, err := scanPython(constraint)
	if err != nil || len(tokens) == 0 {
		return "it is no expression"
	}
	r := reference{tokens: tokens}
	for i, t := range tokens {
		switch {
		case t.kind == tokEnd && i < len(tokens)-1:
			return "it is no expression"
		case t.kind != tokName || r.attribute(i) || slices.Contains(builtins, t.text) || slices.Contains(keywords, t.text):
			continue
		case w.t.axis(t.text) == nil && find(w.t.inputs, t.text) == nil:
			return "it is about " + t.text + ", which is no axis and no input now"
		}
	}
	return ""
}
