package harvest

import (
	"fmt"
	"slices"
	"strings"
)

// outputs drops those that are inputs updated in place, which the schema's outputs must not repeat, and holds what is left
// against what the reference returns.
func (w *work) outputs() error {
	var kept []tensor
	for _, out := range w.t.outputs {
		if find(w.t.inputs, out.name) == nil {
			kept = append(kept, out)
			continue
		}
		w.change("outputs."+out.name, out.dtype, "", "dropped: it is the input %s, updated in place", out.name)
	}
	w.t.outputs = kept
	if len(kept) == 0 {
		return asideFor(ReasonNoOutputs, "it writes all its results into its inputs, and a definition's outputs must have other names")
	}
	counts := w.ref.returns()
	if len(counts) == 0 {
		return asideFor(ReasonBadReference, "reference returns nothing; outputs are %s", names(kept))
	}
	for _, n := range counts {
		if n >= 0 && n != len(kept) {
			return asideFor(ReasonArguments, "reference returns %d values where the outputs are %s", n, names(kept))
		}
	}
	return nil
}

func names(list []tensor) string {
	var out []string
	for _, t := range list {
		out = append(out, t.name)
	}
	return strings.Join(out, ", ")
}

// inputs makes the inputs exactly the arguments of run, which is called with them in their order: those it does not take go,
// optional ones that nobody passed go, the rest are put into the order of its parameters.
func (w *work) inputs() error {
	takes := w.pairs()
	type bound struct {
		in tensor
		at int // position of the parameter
	}
	var kept []bound
	for _, in := range w.t.inputs {
		at, ok := takes[in.name]
		if !ok {
			if err := w.untaken(in); err != nil {
				return err
			}
			continue
		}
		p := w.ref.params[at]
		keep, err := w.keeps(in, p)
		if err != nil {
			return err
		}
		if !keep {
			continue
		}
		if p.keywordRun {
			return asideFor(ReasonArguments, "reference takes %s by keyword only, and run is called with the inputs in order", p.name)
		}
		kept = append(kept, bound{in, at})
	}
	if !slices.IsSortedFunc(kept, func(a, b bound) int { return a.at - b.at }) {
		var old []tensor
		for _, b := range kept {
			old = append(old, b.in)
		}
		slices.SortStableFunc(kept, func(a, b bound) int { return a.at - b.at })
		var now []tensor
		for _, b := range kept {
			now = append(now, b.in)
		}
		w.change("inputs", names(old), names(now), "put in the order of the reference's parameters")
	}
	if len(w.assumed) > 0 {
		w.doubt("no dump tells whether these are passed: %s; without them the reference uses its defaults", strings.Join(w.assumed, ", "))
	}
	w.t.inputs = nil
	for i, b := range kept {
		if b.at != i {
			return w.missing(i)
		}
		w.t.inputs = append(w.t.inputs, b.in)
	}
	for i := len(kept); i < len(w.ref.params); i++ {
		if !w.ref.params[i].optional {
			return w.missing(i)
		}
	}
	if len(kept) == 0 {
		return asideFor(ReasonArguments, "no input is left")
	}
	return nil
}

// idle are arguments that no result depends on.
var idle = []string{"return_lse", "enable_pdl", "workspace_buffer", "float_workspace_buffer", "semaphores", "backend", "tune_max_num_tokens"}

// untaken drops an input that the reference has no parameter for, unless a dump shows that the calls scale or shift by it.
func (w *work) untaken(in tensor) error {
	for _, c := range w.runs {
		a, ok := c.argument(in.name)
		if ok && (strings.Contains(in.name, "scale") && scales(a) || strings.Contains(in.name, "bias") && a.tensor) {
			return asideFor(ReasonIgnored, "the calls pass %s=%s, and the reference does not take it", in.name, a)
		}
	}
	w.change("inputs."+in.name, in.dtype, "", "dropped: the reference does not take it")
	if !slices.Contains(idle, in.name) {
		w.doubt("the reference computes without %s; does the result depend on it?", in.name)
	}
	return nil
}

func (w *work) missing(at int) error {
	p := w.ref.params[at]
	if p.optional {
		return asideFor(ReasonArguments, "reference takes %s before inputs that the calls pass, and nothing is passed for it", p.name)
	}
	return asideFor(ReasonArguments, "reference takes %s, which is no input of the file", p.name)
}

// pairs gives the position of each input's parameter: that of its name; or its own position, where the reference has another
// word for it there, since run is not called by names.
func (w *work) pairs() map[string]int {
	takes := map[string]int{}
	for i, p := range w.ref.params {
		if find(w.t.inputs, p.name) != nil {
			takes[p.name] = i
		}
	}
	for i, in := range w.t.inputs {
		if _, ok := takes[in.name]; ok || i >= len(w.ref.params) || in.optional {
			continue
		}
		p := w.ref.params[i]
		if find(w.t.inputs, p.name) == nil && !p.optional && !p.keywordRun {
			takes[in.name] = i
		}
	}
	return takes
}

// keeps decides on an input that the reference takes.
func (w *work) keeps(in tensor, p param) (bool, error) {
	if in.name == "return_lse" {
		if !p.optional {
			return true, nil
		}
		w.change("inputs."+in.name, in.dtype, "", "dropped: it says what is returned, and the outputs say so already")
		return false, nil
	}
	if !in.optional || planned(in.name) && w.api.Planned() {
		return true, nil
	}
	yes, no := w.passed(in.name)
	switch {
	case p.optional && yes > 0 && no == 0:
		return true, nil
	case p.optional:
		why := "no call passes it"
		if yes > 0 {
			why = fmt.Sprintf("%d calls of %d pass it, the others are this definition's", yes, yes+no)
			w.doubt("some calls pass %s: their workloads are of another definition", in.name)
		} else if no == 0 {
			why = "taken as not passed"
			w.assumed = append(w.assumed, in.name)
		}
		w.change("inputs."+in.name, in.dtype, "", "dropped: optional, and %s", why)
		return false, nil
	case yes == 0 && no > 0:
		return false, asideFor(ReasonArguments, "the calls do not pass %s, and the reference needs it", in.name)
	}
	if yes == 0 && in.dtype != unknownType {
		w.doubt("%s is optional, and no dump tells whether it is passed; the reference needs it", in.name)
	}
	return true, nil
}
