package harvest

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/pyjson"
)

// latentHead is the width of a query head of latent attention before absorption, whose values are narrower than its keys.
const latentHead = 192

// meaning refuses files whose axes and types are right and whose reference still computes something else than the calls did.
func (w *work) meaning() error {
	if err := w.partialPages(); err != nil {
		return err
	}
	if err := w.ignoredArguments(); err != nil {
		return err
	}
	paged := find(w.t.inputs, "k_cache") != nil && find(w.t.inputs, "qo_indptr") != nil
	if halves := w.halves(); paged && halves > 0 {
		if halves == len(w.runs) {
			return asideFor(ReasonHalf, "every call returns its lse: these are the non-causal halves, over a cached prefix, of a ragged prefill, and the reference is causal over everything. Collect with ragged prefill off")
		}
		w.doubt("%d calls of %d return their lse: non-causal halves of a ragged prefill, which this definition does not describe", halves, len(w.runs))
	}
	if find(w.t.inputs, "v") != nil && w.t.opType == "gqa_ragged" && w.t.constant("head_dim") == latentHead && len(w.runs) == 0 {
		return asideFor(ReasonNoEvidence, "head_dim is %d, as with latent attention, whose values are narrower than its keys; a dump of %s would tell", latentHead, w.api)
	}
	return w.returnedTypes(w.halfPrecision())
}

// halfPrecision makes the references of attention return what a float16 model computes in: they name bfloat16. It says
// whether one had to be changed.
func (w *work) halfPrecision() bool {
	if len(w.t.outputs) == 0 || w.t.outputs[0].dtype != "float16" {
		return false
	}
	if !strings.HasPrefix(w.t.opType, "gqa_") && !strings.HasPrefix(w.t.opType, "mla_") {
		return false
	}
	n := len(w.edits)
	for i, t := range w.ref.tokens {
		if t.name("bfloat16") && i > 1 && w.ref.attribute(i) && w.ref.tokens[i-2].name("torch") {
			w.edits = append(w.edits, edit{t.pos, len(t.text), "float16"})
		}
	}
	if len(w.edits) == n {
		return false
	}
	w.change("reference", "torch.bfloat16", "torch.float16", "the calls compute in float16, and the tracer's reference names its own type")
	return true
}

// returnedTypes refuses a reference that names another type, in returning a value, than the file has for the output;
// float16 in the place of bfloat16 where halved says so.
func (w *work) returnedTypes(halved bool) error {
	for _, c := range w.ref.casts() {
		if halved && c.dtype == "bfloat16" {
			c.dtype = "float16"
		}
		if c.value < len(w.t.outputs) && w.t.outputs[c.value].dtype != c.dtype {
			out := w.t.outputs[c.value]
			return asideFor(ReasonDType, "outputs.%s is %s, and reference line %d returns %s: the tracer had no output tensor to look at", out.name, out.dtype, c.line, c.dtype)
		}
	}
	return nil
}

// partialPages refuses pages of more than one token without an input that says how full the last one is: the references of the
// tracer attend to every slot of it.
func (w *work) partialPages() error {
	size := w.t.constant(pageSizeAxis)
	if size <= 1 || !uses(w.t.inputs, pageSizeAxis) || find(w.t.inputs, "kv_indptr") == nil && find(w.t.inputs, "paged_kv_indptr") == nil {
		return nil
	}
	for _, in := range w.t.inputs {
		if strings.Contains(in.name, "last_page_len") || strings.Contains(in.name, "seq_lens") || strings.Contains(in.name, "kv_len") {
			return nil
		}
	}
	return asideFor(ReasonPartialPages, "pages hold %d tokens, and no input says how many of the last one are filled: the reference attends to all of them, the calls did not", size)
}

// changing are arguments that change what is computed. Those which the definition has no input for are what its reference ignores.
var changing = map[string]func(argument) bool{
	"q_scale":            scales,
	"k_scale":            scales,
	"v_scale":            scales,
	"sinks":              func(a argument) bool { return a.tensor },
	"custom_mask":        func(a argument) bool { return a.tensor },
	"packed_custom_mask": func(a argument) bool { return a.tensor },
	"window_left":        func(a argument) bool { return a.number != nil && *a.number >= 0 },
	"logits_soft_cap":    func(a argument) bool { return a.number != nil && *a.number > 0 },
}

func scales(a argument) bool { return a.tensor || a.number != nil && *a.number != 1 }

// ignored gives the arguments of a call that change its result and are no inputs, in words.
func (w *work) ignored(c namedCall) string {
	var parts []string
	for name, changes := range changing {
		if a, ok := c.param(c.function, name, -1); ok && changes(a) && find(w.t.inputs, name) == nil {
			parts = append(parts, name+"="+a.String())
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// ignoredArguments refuses calls that pass what the reference does not take.
func (w *work) ignoredArguments() error {
	for _, calls := range [][]namedCall{w.runs, w.plans} {
		var seen []string
		n := 0
		for _, c := range calls {
			if s := w.ignored(c); s != "" {
				seen = append(seen, s)
				n++
			}
		}
		switch what := strings.Join(first(seen, 3), "; "); {
		case n == 0:
		case n == len(calls):
			return asideFor(ReasonIgnored, "the calls pass %s, and the reference has no such input", what)
		default:
			w.doubt("some calls (%d kinds of %d) pass %s, which the reference does not take: their workloads are of another kernel", n, len(calls), what)
		}
	}
	scaled := slices.ContainsFunc(w.runs, func(c namedCall) bool {
		_, ok := c.param(c.function, "k_scale", -1)
		return ok
	})
	cache := find(w.t.inputs, "k_cache")
	if cache != nil && strings.HasPrefix(cache.dtype, "float8") && !scaled {
		w.doubt("an 8-bit KV cache: no dump tells whether the calls pass k_scale and v_scale, which the reference does not take")
	}
	return nil
}

// halves counts calls with return_lse.
func (w *work) halves() int {
	n := 0
	for _, c := range w.runs {
		if a, ok := c.param(c.function, "return_lse", -1); ok && a.truth != nil && *a.truth {
			n++
		}
	}
	return n
}

// epsilon gives a norm the epsilon of its calls: the tracer's references fix 1e-6, whatever the model uses.
func (w *work) epsilon() error {
	fixed, ok := w.ref.epsilon()
	if !ok {
		return nil
	}
	written, err := strconv.ParseFloat(strings.ReplaceAll(fixed.text, "_", ""), 64)
	if err != nil {
		return asideFor(ReasonBadReference, "reference line %d: epsilon %s is no number", fixed.line, fixed.text)
	}
	var seen []float64
	for _, c := range w.runs {
		for _, name := range []string{"eps", "epsilon"} {
			if a, ok := c.param(c.function, name, -1); ok && a.number != nil && !slices.Contains(seen, *a.number) {
				seen = append(seen, *a.number)
			}
		}
	}
	switch {
	case len(seen) > 1:
		slices.Sort(seen)
		return asideFor(ReasonEpsilon, "its calls have epsilons %v, and the reference has one", seen)
	case len(seen) == 0:
		w.doubt("the reference fixes epsilon at %s, as the tracer always does; no dump tells what the model uses", fixed.text)
		return nil
	}
	w.epsSeen = true
	if seen[0] == written {
		return nil
	}
	w.epsFrom, w.epsTo = fixed.text, epsilonText(seen[0])
	w.edits = append(w.edits, edit{fixed.pos, len(fixed.text), w.epsTo})
	w.change("reference", "EPS = "+w.epsFrom, "EPS = "+w.epsTo, "the calls pass this epsilon; the tracer fixes its own")
	return nil
}

// epsilonText is f as these references write it: 1e-5 for 1e-05.
func epsilonText(f float64) string {
	text := string(pyjson.AppendFloat(nil, f))
	return strings.Replace(text, "e-0", "e-", 1)
}

// epsilonText gives the epsilon that the finished reference has.
func (w *work) epsilonText() string {
	fixed, ok := w.ref.epsilon()
	if !ok {
		return ""
	}
	if w.epsTo != "" {
		return w.epsTo
	}
	return fixed.text
}
