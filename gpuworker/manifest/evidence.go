package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Evidence is what the calls of an attempt say of the functions that were called: of each the first few calls that differ in more
// than their number of rows. Whoever makes harvested definitions true reads it (coordinator/harvest):
//
//	{"functions": {"BatchDecodeWithPagedKVCacheWrapper.run": [{
//	    "signature": "(self, q: torch.Tensor, …)",
//	    "arguments": {"arg_1": {"dtype": "bfloat16", "shape": [8, 32, 128]}, "kwarg_k_scale": null, "kwarg_return_lse": {"value": true}},
//	    "plan": {"indptr": {"dtype": "int32", "shape": [9]}, "page_size": 1, "num_kv_heads": 8, "q_data_type": "bfloat16"}}]}}
//
// Arguments have the logger's keys; the plan that a wrapper's run had, its parameters' names. Of values that are neither numbers,
// booleans, None nor names of element types there is nothing. Where only plans were dumped, a run has no arguments.
//
// Its methods may be called from several goroutines at once.
type Evidence struct {
	mu        sync.Mutex
	functions map[string][]evidenceCall
	seen      map[string]bool
}

type evidenceCall struct {
	Signature string         `json:"signature,omitempty"`
	Arguments map[string]any `json:"arguments,omitempty"`
	Plan      map[string]any `json:"plan,omitempty"`
}

type evidenceTensor struct {
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`
}

// Most calls of a function, and functions, that are kept: no traffic fills a message.
const (
	evidenceCalls     = 8
	evidenceFunctions = 128
)

// Add takes the call of a manifest, unless it is defective or as those that are known.
func (e *Evidence) Add(m *proto.Manifest) {
	if m.Defect != nil {
		return
	}
	function, call := m.Call.Function, evidenceCall{}
	plan := m.Plan
	if m.Implied {
		class, _ := method(function)
		function, plan = class+".run", &m.Call
	} else {
		call.Signature, call.Arguments = m.Call.Signature, evidenceArguments(&m.Call)
	}
	if plan != nil {
		call.Plan = evidencePlan(plan)
	}
	function = fitrace.BaseFunction(function) // what FlashInfer's trace dump names it by
	key := function + " " + call.key()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.functions == nil {
		e.functions, e.seen = map[string][]evidenceCall{}, map[string]bool{}
	}
	known := e.functions[function]
	if e.seen[key] || len(known) == evidenceCalls || known == nil && len(e.functions) == evidenceFunctions {
		return
	}
	e.seen[key] = true
	e.functions[function] = append(known, call)
}

// JSON returns what was added, nil if there is nothing.
func (e *Evidence) JSON() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.functions) == 0 {
		return nil, nil
	}
	return json.Marshal(map[string]any{"functions": e.functions})
}

// key says what is the same in all layers and steps of a model: dtypes, shapes without their leading dimension, and values.
func (c *evidenceCall) key() string {
	var parts []string
	for of, args := range map[string]map[string]any{"run's": c.Arguments, "plan's": c.Plan} {
		for name, a := range args {
			if t, ok := a.(evidenceTensor); ok {
				a = fmt.Sprint(t.DType, len(t.Shape), t.Shape[min(1, len(t.Shape)):])
			}
			parts = append(parts, fmt.Sprint(of, " ", name, "=", a))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func evidenceArguments(c *proto.Call) map[string]any {
	out := make(map[string]any, len(c.Tensors)+len(c.Values))
	for i := range c.Tensors {
		out[c.Tensors[i].Key] = tensorEvidence(&c.Tensors[i])
	}
	for i := range c.Values {
		switch v, ok := evidenceValue(&c.Values[i]); {
		case !ok:
		case v == nil:
			out[c.Values[i].Key] = nil
		default:
			out[c.Values[i].Key] = map[string]any{"value": v}
		}
	}
	return out
}

func tensorEvidence(t *proto.Tensor) evidenceTensor {
	if t.Shape == nil {
		return evidenceTensor{t.DType, []int64{}}
	}
	return evidenceTensor{t.DType, t.Shape}
}

// evidencePlan gives a plan's arguments by the names of their parameters.
func evidencePlan(c *proto.Call) map[string]any {
	positional := fidump.ParseSignature(c.Signature).Positional
	out := map[string]any{}
	put := func(key string, v any) {
		name, keyword := strings.CutPrefix(key, "kwarg_")
		if !keyword {
			at, err := strconv.Atoi(strings.TrimPrefix(name, "arg_"))
			if err != nil || at < 0 || at >= len(positional) {
				return // a member of a tuple, or a position without a name
			}
			name = positional[at].Name
		}
		out[name] = v
	}
	for i := range c.Tensors {
		put(c.Tensors[i].Key, tensorEvidence(&c.Tensors[i]))
	}
	for i := range c.Values {
		if v, ok := evidenceValue(&c.Values[i]); ok {
			put(c.Values[i].Key, v)
		}
	}
	return out
}

func evidenceValue(v *proto.Value) (value any, ok bool) {
	switch v.Type {
	case proto.ValueNone:
		return nil, true
	case proto.ValueBool:
		return v.Bool, true
	case proto.ValueInt:
		return v.Int, true
	case proto.ValueFloat:
		if _, err := json.Marshal(v.Float); err != nil {
			return nil, false // NaN and infinities, which JSON cannot say
		}
		return v.Float, true
	case proto.ValueDType:
		return v.String, true
	}
	return nil, false
}
