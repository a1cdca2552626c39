package harvest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// Evidence is what level-10 dumps say of the calls of a run: the arguments that FlashInfer's functions were really given.
type Evidence struct {
	calls map[string][]call // by the name the logger writes: "BatchDecodeWithPagedKVCacheWrapper.run", "rmsnorm"
	seen  map[string]bool
}

// call is one call's arguments, by the keys of the logger: arg_1, kwarg_q, and arg_2__0 for the members of a tuple.
type call struct {
	args       map[string]argument
	positional []string // names of the positions, self included; nil: not logged
}

// argument is one of a call's: a tensor, None, or a value.
type argument struct {
	tensor bool
	dtype  string  // of a tensor; of a torch.dtype argument, its name
	shape  []int64 // of a tensor; nil: not known
	none   bool
	number *float64 // of a number
	truth  *bool    // of a boolean
}

// Empty reports whether no call is known.
func (e *Evidence) Empty() bool { return e == nil || len(e.calls) == 0 }

// add takes a call unless it is known.
func (e *Evidence) add(function string, c call) {
	if e.calls == nil {
		e.calls, e.seen = map[string][]call{}, map[string]bool{}
	}
	if key := function + " " + c.key(); !e.seen[key] {
		e.seen[key] = true
		e.calls[function] = append(e.calls[function], c)
	}
}

// Merge adds the calls of other.
func (e *Evidence) Merge(other *Evidence) {
	if other == nil {
		return
	}
	for function, calls := range other.calls {
		for _, c := range calls {
			e.add(function, c)
		}
	}
}

// key tells calls apart.
func (c call) key() string {
	keys := make([]string, 0, len(c.args))
	for k, a := range c.args {
		keys = append(keys, k+"="+a.String())
	}
	slices.Sort(keys)
	return strings.Join(keys, " ") + "|" + strings.Join(c.positional, " ")
}

// String says what the argument is.
func (a argument) String() string {
	switch {
	case a.tensor:
		return fmt.Sprintf("%s%v", a.dtype, a.shape)
	case a.none:
		return "None"
	case a.number != nil:
		return strconv.FormatFloat(*a.number, 'g', -1, 64)
	case a.truth != nil:
		return strconv.FormatBool(*a.truth)
	}
	return "another value"
}

// param gives the argument of a parameter, by name or by position; part is a member of a tuple, or -1.
func (c call) param(function, name string, part int) (argument, bool) {
	suffix := ""
	if part >= 0 {
		suffix = "__" + strconv.Itoa(part)
	}
	if a, ok := c.args["kwarg_"+name+suffix]; ok {
		return a, true
	}
	positions := c.positional
	if positions == nil {
		positions = knownPositions[function]
	}
	if i := slices.Index(positions, name); i >= 0 {
		a, ok := c.args["arg_"+strconv.Itoa(i)+suffix]
		return a, ok
	}
	return argument{}, false
}

// of gives the calls of an API, and those of its plan.
func (e *Evidence) of(api fitrace.API) (runs, plans []namedCall) {
	if e == nil {
		return nil, nil
	}
	for _, function := range api.Functions() {
		for _, c := range e.calls[function] {
			runs = append(runs, namedCall{function, c})
		}
	}
	if api.Planned() {
		function := api.Class + ".plan"
		for _, c := range e.calls[function] {
			plans = append(plans, namedCall{function, c})
		}
	}
	return runs, plans
}

type namedCall struct {
	function string
	call
}

// ParseEvidence reads the summary of its dumps that a gpuworker ships with a task's trace files:
//
//	{"functions": {"BatchDecodeWithPagedKVCacheWrapper.run": {
//	    "arguments": {"arg_1": {"dtype": "bfloat16", "shape": [8, 32, 128]}, "kwarg_k_scale": null, "arg_3": {"value": 1e-05}},
//	    "signature": "(self, q: …)",
//	    "plan": {"page_size": 1, "num_kv_heads": 8}}}}
//
// A function may have a list of such calls. Signature, plan and the arguments that are no tensors may be absent; plan holds
// the arguments of the plan of the wrapper by their names. file is named in errors.
func ParseEvidence(data []byte, file string) (*Evidence, error) {
	fail := func(err error) (*Evidence, error) { return nil, fmt.Errorf("evidence %s: %w", file, err) }
	members, err := object(data)
	if err != nil {
		return fail(err)
	}
	e := &Evidence{}
	i := slices.IndexFunc(members, func(m member) bool { return m.key == "functions" })
	if i < 0 {
		return fail(errors.New("functions is missing"))
	}
	err = members[i].each(func(m member) error {
		var list []json.RawMessage
		if json.Unmarshal(m.value, &list) != nil {
			list = []json.RawMessage{m.value}
		}
		for _, raw := range list {
			if err := e.readCall(m.key, raw); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return e, nil
}

func (e *Evidence) readCall(function string, raw json.RawMessage) error {
	members, err := object(raw)
	if err != nil {
		return err
	}
	run, planned := call{args: map[string]argument{}}, call{args: map[string]argument{}}
	for _, m := range members {
		switch m.key {
		case "arguments":
			err = m.each(func(in member) error {
				a, err := parseArgument(in.value)
				run.args[in.key] = a
				return err
			})
		case "plan":
			if isNull(m.value) {
				break
			}
			err = m.each(func(in member) error {
				a, err := parseArgument(in.value)
				planned.args["kwarg_"+in.key] = a
				return err
			})
		case "signature":
			var signature string
			err = m.str(&signature)
			run.positional = positions(signature)
		}
		if err != nil {
			return err
		}
	}
	if len(run.args) > 0 {
		e.add(function, run)
	}
	if class, _, ok := strings.Cut(function, "."); ok && len(planned.args) > 0 {
		planned.sizeOf(namedCall{function, run})
		e.add(class+".plan", planned)
	}
	return nil
}

// sizeOf says of a plan which sizes its run has, where the plan itself does not: without them it would be taken for that of a
// model of other sizes.
func (c call) sizeOf(run namedCall) {
	for input, names := range map[string][2]string{"q": {"num_qo_heads", "head_dim"}, "q_nope": {"num_heads", "head_dim_ckv"}} {
		q, ok := run.argument(input)
		if !ok || len(q.shape) < 2 {
			continue
		}
		for i, name := range names {
			size := float64(q.shape[len(q.shape)-2+i])
			if _, known := c.args["kwarg_"+name]; !known {
				c.args["kwarg_"+name] = argument{number: &size}
			}
		}
	}
}

// parseArgument reads {"dtype", "shape"}, {"value"}, or a bare value.
func parseArgument(raw json.RawMessage) (argument, error) {
	var a argument
	var bare any
	if err := json.Unmarshal(raw, &bare); err != nil {
		return a, jsonError(err)
	}
	fields, isObject := bare.(map[string]any)
	if !isObject {
		return valueArgument(bare), nil
	}
	if value, ok := fields["value"]; ok {
		a = valueArgument(value)
	}
	if dtype, ok := fields["dtype"].(string); ok {
		a.dtype = strings.TrimPrefix(dtype, "torch.")
	}
	shape, ok := fields["shape"].([]any)
	if !ok {
		return a, nil
	}
	a.tensor, a.shape = true, []int64{}
	for _, d := range shape {
		n, ok := d.(float64)
		if !ok || n < 0 || n != float64(int64(n)) {
			return a, fmt.Errorf("shape %v: %v is no size", shape, d)
		}
		a.shape = append(a.shape, int64(n))
	}
	return a, nil
}

func valueArgument(v any) argument {
	switch v := v.(type) {
	case nil:
		return argument{none: true}
	case float64:
		return argument{number: &v}
	case bool:
		return argument{truth: &v}
	case string:
		return argument{dtype: strings.TrimPrefix(v, "torch.")}
	}
	return argument{}
}

// positions gives the names of a signature's positions; nil where it has none.
func positions(signature string) []string {
	var names []string
	for _, p := range fidump.ParseSignature(signature).Positional {
		names = append(names, p.Name)
	}
	return names
}
