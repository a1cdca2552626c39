package coordinator

import (
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// planOnly reports whether d is collected from its wrapper's plans alone in a mode. Simulated and recorded dumps are runs
// unless somebody asks for plans: what they are for is to be as they were.
func (s setting) planOnly(d *fitrace.Definition, mode proto.EngineMode) bool {
	if s.dump == DumpRun || s.dump == DumpNone || s.dump == "" || s.dump == DumpAuto && !s.sglang() {
		return false
	}
	ok, _ := fitrace.PlanSuffices(d, string(mode))
	return ok
}

// dumpOf returns what a task for defs dumps. A wrapper class is dumped by plan alone only where that is enough for every
// definition that names it: the others would lose their runs. With --dump plan, a definition for which it is not enough is an
// error that says why.
func (s setting) dumpOf(spec proto.DumpSpec, mode proto.EngineMode, defs []*fitrace.Definition) (proto.DumpSpec, error) {
	runs := map[string]bool{} // classes of which some definition needs runs
	var all, refused []string
	plansOnly := true
	for _, d := range defs {
		only := s.planOnly(d, mode)
		if !only && s.dump == DumpPlan {
			_, why := fitrace.PlanSuffices(d, string(mode))
			refused = append(refused, d.Name+": "+why)
		}
		for _, api := range d.APIs() {
			plansOnly = plansOnly && only && api.Planned()
			if api.Class != "" {
				runs[api.Class] = runs[api.Class] || !only
			}
		}
		all = append(all, fitrace.IncludePatterns(d)...)
	}
	if len(refused) > 0 {
		return spec, proto.Failf(proto.CodeBadCollection, "--dump plan: plans alone do not make workloads of %s", strings.Join(refused, "; ")).
			WithHint("leave these out, or use --dump auto, which dumps runs where they are needed")
	}
	out := spec
	out.What, out.PlanOnly = DumpRun, nil
	for class, needed := range runs {
		if !needed {
			out.PlanOnly = append(out.PlanOnly, class)
		}
	}
	slices.Sort(out.PlanOnly)
	if plansOnly && len(out.PlanOnly) == len(runs) {
		out.What = DumpPlan
	}
	if s.dump == DumpNone {
		out.What = DumpNone // and the patterns stay: they also say which samplers the requests ask for
	}
	switch {
	case len(spec.Include) == 0:
		out.Include = planned(out.PlanOnly, all)
	case len(out.PlanOnly) > 0 && s.dump == DumpAuto:
		// The user states what is dumped. Runs may be among it, and a plan must not stand for a run that is there itself.
		out.What, out.PlanOnly = DumpRun, nil
	}
	return out, nil
}

// planned returns patterns with those of the classes in planOnly, and of subclasses that are planned as these, replaced by their plan. Those
// of another subclass of such a class are left out: its plan does not stand for its runs, which are too large to come along unasked. Sorted,
// each once.
func planned(planOnly, patterns []string) []string {
	out := make([]string, 0, len(patterns))
	for _, p := range patterns {
		class, _, _ := strings.Cut(p, ".")
		base, _, _ := strings.Cut(fitrace.BaseFunction(p), ".")
		switch {
		case slices.Contains(planOnly, fitrace.PlannedAs(class)):
			p = class + ".plan"
		case slices.Contains(planOnly, base):
			continue
		}
		out = append(out, p)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
