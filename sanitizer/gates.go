package sanitizer

import (
	"fmt"
	"strings"

	"github.com/tracefleet/tracefleet/internal/binding"
	"github.com/tracefleet/tracefleet/proto"
)

// altering are parameters that change what a call computes, in FlashInfer 0.7.4 or before, with the reason. A call that passes one is no
// workload of a definition without an input of that name: the workload could not state it.
var altering = map[string]string{
	"use_token_head_sf":            "keys and values have a scale for each token and head",
	"sparse_top_k":                 "each row attends to chosen keys only, which block_tables holds in place of pages",
	"variable_window_token_starts": "each row attends to an interval of its own in place of what is before it",
	"state_indices":                "initial_state is a pool, of which the call takes the rows that state_indices names",
	"output_state_indices":         "the final states go to rows of a pool that output_state_indices names",
}

// altered rejects a call by what it passes besides the definition's inputs.
func (w *work) altered() error {
	for _, args := range []*arguments{w.plan, w.run} {
		if args == nil {
			continue
		}
		for i := range args.list {
			arg := &args.list[i]
			why, ok := altering[arg.name]
			if _, own := w.t.def.Input(arg.name); ok && !own && arg.given() {
				return reject(RejectVariant, "%s is passed: %s, which %s cannot state", args.describe(arg.name), why, w.t.def.Name)
			}
		}
	}
	return w.gates()
}

// given reports whether an argument has an effect: a tensor, or a value other than None, False, 0 and the empty string.
func (a *argument) given() bool {
	if a.tensor != nil || len(a.members) > 0 {
		return true
	}
	if a.value == nil {
		return false
	}
	switch v := a.value; v.Type {
	case proto.ValueNone:
		return false
	case proto.ValueBool:
		return v.Bool
	case proto.ValueInt:
		return v.Int != 0
	case proto.ValueString:
		return v.String != ""
	}
	return true
}

// gates compares a gated delta rule's gates with the definition. A call passes g and beta: computed, or, since FlashInfer 0.7.4, the raw inputs
// that the dataset calls a and b, with A_log and dt_bias. One parameter has both meanings, and its flag decides which.
func (w *work) gates() error {
	if w.m.Call.Function != "chunk_gated_delta_rule" {
		return nil
	}
	domain := "linear"
	if arg := w.run.find("gate_domain"); arg != nil && arg.value != nil {
		domain = arg.value.String
	}
	if domain != "linear" && !w.flag("use_gate_in_kernel") { // ignored with raw gates
		return reject(RejectVariant, "run's gate_domain is %q: g is the logarithm of the gate, which the definition does not take", domain)
	}
	var wrong []string
	for _, gate := range binding.RawGates {
		set := w.flag(gate.Flag)
		if _, ok := w.t.def.Input(gate.Input); ok && !set {
			wrong = append(wrong, fmt.Sprintf("%s is computed (%s is not set), and %s is its input", gate.Param, gate.Flag, gate.Input))
		}
		if _, ok := w.t.def.Input(gate.Param); ok && set {
			wrong = append(wrong, fmt.Sprintf("%s is raw (%s is set), and the definition takes it computed", gate.Param, gate.Flag))
		}
	}
	if len(wrong) > 0 {
		return reject(RejectInputMissing, "%s", strings.Join(wrong, "; "))
	}
	return nil
}

// flag reports whether a bool parameter is passed as true.
func (w *work) flag(name string) bool {
	v, _ := w.run.boolean(name)
	return v
}
