package sanitizer

import (
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/binding"
	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// target is a definition prepared for conversion: what can be known of it without a call.
type target struct {
	def         *fitrace.Definition
	apis        []fitrace.API
	functions   []string // as the logger writes them
	inputs      []input
	constraints []constraint

	planned bool // its API has a plan
	paged   bool // it walks a paged KV cache by kv_indptr and kv_indices
	latent  bool // multi-head latent attention: one API for decode and prefill
	causal  bool // requests have several query rows, each of which sees what is before it
	pages   int  // axis of the number of pages, -1: none or constant
}

// input is one input of a target.
type input struct {
	spec    fitrace.TensorSpec
	role    role
	axes    []int    // index in def.Axes of each dimension
	sources []source // where the API passes it, by its own name first
}

type constraint struct {
	expr *fitrace.Expr
	err  error // why it could not be parsed
}

// prepare does what needs no call.
func prepare(def *fitrace.Definition) *target {
	t := &target{def: def, apis: def.APIs(), pages: -1}
	t.planned = slices.ContainsFunc(t.apis, fitrace.API.Planned)
	for _, api := range t.apis {
		t.functions = append(t.functions, api.Functions()...)
	}
	has := map[role]bool{}
	for _, spec := range def.Inputs {
		in := input{spec: spec, sources: binding.Sources(t.apis, t.planned, spec.Name)}
		if t.planned {
			in.role = binding.Roles[spec.Name]
		}
		for _, axis := range spec.Shape {
			in.axes = append(in.axes, slices.IndexFunc(def.Axes, func(a fitrace.Axis) bool { return a.Name == axis }))
		}
		switch in.role {
		case roleQOIndptr, roleKVIndptr, roleKVIndices:
			has[in.role] = spec.Integer() && !spec.Scalar()
		default:
			has[in.role] = true
		}
		t.inputs = append(t.inputs, in)
	}
	t.paged = has[roleKVIndptr] && has[roleKVIndices]
	t.latent = has[roleCKVCache]
	t.causal = has[roleQOIndptr] && has[roleKVIndptr] && !strings.Contains(strings.ReplaceAll(def.Name, "_", ""), "noncausal")
	for _, in := range t.inputs {
		if t.paged && (in.role == roleKCache || in.role == roleCKVCache) && len(in.axes) > 0 && !def.Axes[in.axes[0]].Const {
			t.pages = in.axes[0]
		}
	}
	for _, source := range def.Constraints {
		expr, err := fitrace.ParseExpr(source)
		t.constraints = append(t.constraints, constraint{expr, err})
	}
	return t
}

// match returns the targets whose API a logged function is, whatever its module: modules move between releases.
func match(function string, defs []*fitrace.Definition) []*target {
	var list []*target
	for _, def := range defs {
		if t := targets.get(def, func() *target { return prepare(def) }); slices.Contains(t.functions, function) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *target) int { return strings.Compare(a.def.Name, b.def.Name) })
	return slices.CompactFunc(list, func(a, b *target) bool { return a.def.Name == b.def.Name })
}
