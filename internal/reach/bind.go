package reach

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/binding"
	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// Binding is whether the call that SGLang makes has every input of a definition, in its element type.
type Binding string

// The bindings.
const (
	Binds      Binding = "binds"
	Unbound    Binding = "unbound"    // no call of this API can become a workload of the definition
	Unrecorded Binding = "unrecorded" // calls.json has no call of this API: only a dump shows it
)

// Argument is one argument that SGLang passes.
type Argument struct {
	Param    string `json:"param"`    // FlashInfer's name
	Position int    `json:"position"` // without self; -1: a keyword
	Optional bool   `json:"optional"` // it has a default
	Passed   string `json:"passed"`   // as calls.json writes it: an element type, "model", "kv", "none", …
}

// Call is what SGLang passes to an API of a definition. Plan is empty for a function.
type Call struct {
	API  fitrace.API `json:"-"`
	Run  []Argument  `json:"run"`
	Plan []Argument  `json:"plan,omitempty"`
}

// CallOf returns the call that a definition is bound against, and nil where none is recorded.
func CallOf(d *fitrace.Definition, q Query) *Call {
	b := bindFirst(d, q)
	if b == nil {
		return nil
	}
	return &Call{API: b.api, Run: b.run.arguments(), Plan: b.plan.arguments()}
}

// bindFirst binds d against the first of its APIs whose calls are recorded, or one that binds.
func bindFirst(d *fitrace.Definition, q Query) (first *bound) {
	t, err := known()
	if err != nil {
		return nil
	}
	v, number, _ := t.version(q.Release)
	if v == nil {
		return nil
	}
	for _, api := range d.APIs() {
		if b, ok := t.bind(api, d, v, number, q.Capability); ok && (first == nil || first.why != "" && b.why == "") {
			first = &b
		}
	}
	return first
}

func (c *callSite) arguments() []Argument {
	if c == nil {
		return nil
	}
	var list []Argument
	for _, a := range c.Passes {
		list = append(list, Argument{a.param, slices.Index(c.Positional, a.param), slices.Contains(c.Optional, a.param), a.what})
	}
	return list
}

// bound is the result of binding a definition against a call.
type bound struct {
	api       fitrace.API
	run, plan *callSite

	why      string   // why it does not bind; empty: it does
	requires []string // server flags that make the element types those of the definition
}

// bind binds d against the calls of one API. ok is false where none is recorded. Of several calls one that binds is enough.
func (t *table) bind(api fitrace.API, d *fitrace.Definition, v *version, number release, capability int) (b bound, ok bool) {
	methods := [2]string{"", ""}
	if api.Planned() {
		methods = [2]string{"run", "plan"}
	}
	runs := t.calls.of(api, methods[0], d, number, capability)
	plans := []*callSite{nil}
	if api.Planned() {
		plans = t.calls.of(api, methods[1], d, number, capability)
	}
	var first *bound
	for _, run := range runs {
		for _, plan := range plans {
			c := attempt{d: d, run: run, plan: plan}
			b = c.bind()
			b.api, b.run, b.plan = api, run, plan
			if b.why == "" {
				return b, true
			}
			b.why = fmt.Sprintf("%s: SGLang %s %s", name(api), v.said(number), b.why)
			if first == nil {
				first = &b
			}
		}
	}
	if first == nil {
		return bound{}, false
	}
	return *first, true
}

// name returns the name of an API for messages: the class of a wrapper.
func name(api fitrace.API) string {
	if api.Class != "" {
		return api.Class
	}
	return api.Method
}

// attempt is a definition and a call, which it is bound against as the sanitizer binds a dump.
type attempt struct {
	d         *fitrace.Definition
	run, plan *callSite // plan is nil for a function
	inputs    []boundInput
}

// boundInput is an input and the argument it comes from.
type boundInput struct {
	spec  fitrace.TensorSpec
	from  *callSite // nil: nothing is passed for it
	param string
	what  string
}

func (c *attempt) bind() bound {
	planned := slices.ContainsFunc(c.d.APIs(), fitrace.API.Planned)
	for _, spec := range c.d.Inputs {
		in := boundInput{spec: spec}
		for _, src := range binding.Sources(c.d.APIs(), planned, spec.Name) {
			if !c.computed(spec.Name, src) && in.take(c.side(src.Side), src) {
				break
			}
		}
		c.inputs = append(c.inputs, in)
	}
	if !planned {
		c.bindCase()
		c.bindOrder()
	}
	if why := c.missing(planned); why != "" {
		return bound{why: why}
	}
	return c.types()
}

func (c *attempt) side(s binding.Side) *callSite {
	if s == binding.OfPlan {
		return c.plan
	}
	return c.run
}

// take binds the input to what a source has, if anything is passed there.
func (in *boundInput) take(from *callSite, src binding.Source) bool {
	if from == nil {
		return false
	}
	what := from.Passes.find(src.Param)
	pair := strings.Split(what, "+")
	switch {
	case what == "" || src.Part == binding.Whole && len(pair) > 1:
		return false
	case src.Part != binding.Whole && len(pair) == 2:
		what = pair[src.Part-binding.First]
	case src.Part != binding.Whole && slices.Contains(scalars, what):
		return false
	}
	in.from, in.param, in.what = from, src.Param, what
	return true
}

func (c *attempt) used(param string) bool {
	return slices.ContainsFunc(c.inputs, func(in boundInput) bool { return in.from == c.run && in.param == param })
}

// bindCase binds inputs to the one parameter whose name differs only in case or underscores.
func (c *attempt) bindCase() {
	for i := range c.inputs {
		in := &c.inputs[i]
		if in.from != nil {
			continue
		}
		var found []string
		for _, a := range c.run.Passes {
			if a.what != passedNone && binding.SameName(a.param, in.spec.Name) && !c.used(a.param) {
				found = append(found, a.param)
			}
		}
		if len(found) == 1 {
			in.take(c.run, binding.Source{Param: found[0]})
		}
	}
}

// bindOrder binds the inputs that are left to the tensors that are left, in order, where their numbers are the same and the
// types agree; of integer tensors at most one.
func (c *attempt) bindOrder() {
	var left []passed
	for _, a := range c.run.Passes {
		if c.run.tensor(a) && !slices.Contains(c.run.Optional, a.param) && !c.used(a.param) {
			left = append(left, a)
		}
	}
	var open []int
	integers := 0
	for i, in := range c.inputs {
		if in.from != nil {
			continue
		}
		n := len(open)
		if in.spec.Scalar() || n >= len(left) {
			return
		}
		if _, _, ok := resolve(left[n].what, in.spec.DType); !ok {
			return
		}
		if in.spec.Integer() {
			integers++
		}
		open = append(open, i)
	}
	if len(open) != len(left) || integers > 1 {
		return
	}
	for n, i := range open {
		c.inputs[i].take(c.run, binding.Source{Param: left[n].param})
	}
}

// tensor reports whether an argument is a tensor that the call reads.
func (c *callSite) tensor(a passed) bool {
	return !slices.Contains(slices.Concat(scalars, []string{passedNone, passedOther, passedNumber}), a.what) && !slices.Contains(binding.Outputs, a.param)
}

// missing returns which inputs the call does not pass, and what it passes instead; or nothing.
func (c *attempt) missing(planned bool) string {
	var never, none []string
	for _, in := range c.inputs {
		switch {
		case in.from != nil || c.derived(in.spec, planned):
		case slices.ContainsFunc(c.run.Passes, func(a passed) bool { return a.param == in.spec.Name && a.what == passedNone }):
			none = append(none, in.spec.Name)
		default:
			never = append(never, in.spec.Name)
		}
	}
	var parts []string
	if len(never) > 0 {
		var instead []string
		for _, a := range c.run.Passes {
			if c.run.tensor(a) && !c.used(a.param) && !planned {
				instead = append(instead, a.param)
			}
		}
		part := "never passes " + strings.Join(never, ", ")
		if len(instead) > 0 {
			part = "passes " + and(instead) + ", never " + strings.Join(never, ", ")
		}
		parts = append(parts, part)
	}
	if len(none) > 0 {
		part := "passes None for " + and(none)
		if c.run.Why != "" {
			part += " (" + c.run.Why + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", and ")
}

// derived reports whether the sanitizer derives an input that no argument holds: a softmax scale that follows from the head's width, or for
// ragged latent attention from the process's other plans or the model; and the lengths of last pages, which follow from the lengths that
// latent attention is planned with.
func (c *attempt) derived(spec fitrace.TensorSpec, planned bool) bool {
	if !planned {
		return spec.Scalar() && binding.DefaultScale[fitrace.ParseAPI(c.run.API).Method] == spec.Name
	}
	switch binding.Roles[spec.Name] {
	case binding.RoleSMScale:
		return spec.Scalar() && (!fitrace.LatentScale(c.d) || fitrace.BorrowsScale(c.d))
	case binding.RoleLastPageLen:
		_, latent := c.d.Input("ckv_cache")
		return latent && c.plan != nil && c.plan.Passes.find("kv_len_arr") != ""
	}
	return false
}

// computed reports whether an input is the raw form of a gate and the call passes the computed gate, because no flag marks it as raw.
func (c *attempt) computed(input string, src binding.Source) bool {
	return slices.ContainsFunc(binding.RawGates, func(g binding.RawGate) bool {
		return g.Input == input && g.Param == src.Param && c.run.Passes.find(g.Flag) == ""
	})
}

// and joins names: "g, beta and state".
func and(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}
