package coordinator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Plan is what a collection becomes.
type Plan struct {
	Tasks    []proto.Task // in planned order; Index and ID follow it
	Warnings []string     // for the user, of no task alone

	// Unverified is set for SGLang if its release is not known or was not read: whether a definition is collectable is then
	// decided by the tables of another release, which Warnings names.
	Unverified bool
}

// NewPlan makes the tasks of a collection: one per group of definitions that can share an engine, and batch size. It is pure,
// and the order of defs does not matter. defs must hold every definition that spec refers to; those that name no API are
// left out with a warning. The error is a *proto.Failure with code bad_collection, or unreachable or uncollectable if SGLang
// cannot collect a definition.
//
// A replay plays what was recorded whatever the definitions ask for, so it is one task for all of them. That task has no batch
// size, traffic, ranks or page size: those of the recorded calls are unknown.
func NewPlan(spec *proto.Collection, defs []*fitrace.Definition) (*Plan, error) {
	refs := map[string]proto.DefinitionRef{}
	for _, r := range spec.Definitions {
		refs[r.Name] = r
	}
	plan := &Plan{}
	var usable []*fitrace.Definition
	for _, d := range defs {
		if _, ok := refs[d.Name]; !ok {
			return nil, proto.Failf(proto.CodeBadCollection, "plan collection %s: definition %s is not one of it", spec.ID, d.Name)
		}
		delete(refs, d.Name)
		usable = append(usable, d)
	}
	for name := range refs {
		return nil, proto.Failf(proto.CodeBadCollection, "plan collection %s: definition %s was not found", spec.ID, name)
	}
	usable, left := withAPI(usable)
	for _, d := range left {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%s is left out: it has no fi_api tag, which names the call to dump", d.Name))
	}
	if len(usable) == 0 {
		return nil, proto.Failf(proto.CodeBadCollection, "plan collection %s: none of its definitions has a fi_api tag", spec.ID).
			WithHint("add a tag such as \"fi_api:flashinfer.norm.rmsnorm\" to the definitions")
	}

	s := newSetting(spec.Engine, spec.Dump.What, spec.Dump.SkipConst)
	s.chat, s.traceDir = spec.Traffic.Chat, spec.Publish.TraceDir
	// The submission has left out definitions that cannot be collected: every definition here was named or selected.
	usable, _, doubts, err := s.collectable(usable, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	usable, _, notes, err := s.fitting(usable, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	plan.Unverified = s.unverified(usable)
	groups, warnings := s.groups(usable)
	plan.Warnings = slices.Concat(plan.Warnings, doubts, notes, warnings)
	batchSizes := spec.BatchSizes
	if !spec.Engine.Kind.Serves() {
		batchSizes = []int{0}
	}
	for _, g := range groups {
		for _, batch := range batchSizes {
			task, err := g.task(s, spec, len(plan.Tasks), batch)
			if err != nil {
				return nil, err
			}
			plan.Tasks = append(plan.Tasks, task)
		}
	}
	slices.Sort(plan.Warnings)
	return plan, nil
}

// withAPI splits definitions into those that name an API and those that do not, each in the order given.
func withAPI(defs []*fitrace.Definition) (usable, left []*fitrace.Definition) {
	for _, d := range defs {
		if len(d.APIs()) > 0 {
			usable = append(usable, d)
		} else {
			left = append(left, d)
		}
	}
	return usable, left
}

// groups groups the definitions for the engine, explicit flags over what the definitions say, and fills in what neither
// settled. Every contradiction is a warning.
func (s setting) groups(defs []*fitrace.Definition) ([]*group, []string) {
	engine := s.engine
	if engine.Kind == proto.EngineReplay {
		g := &group{need: Need{Mode: proto.ModeAny}}
		g.defs = slices.SortedFunc(slices.Values(defs), func(a, b *fitrace.Definition) int { return strings.Compare(a.Name, b.Name) })
		return []*group{g}, nil
	}
	var warnings []string
	besides := map[string][]string{} // names by what their tags say that the catalogue does not
	m := catalogued(engine.ModelFlags)
	needs := map[string]Need{}
	for _, d := range defs {
		n, _ := s.needOf(d)
		for _, f := range []struct {
			flag, source     string
			asked, catalogue int
			has              *int
		}{
			{"--tp", "its tp tag", engine.TP, m.TP, &n.TP},
			{"--ep", "its ep tag", engine.EP, m.EP, &n.EP},
			{"--page-size", "its page_size axis", engine.PageSize, m.PageSize, &n.PageSize},
		} {
			if n.fromModel && f.flag != "--page-size" {
				f.source = "the model's configuration"
			}
			if f.asked == 0 {
				if *f.has != 0 && f.catalogue != 0 && *f.has != f.catalogue {
					say := fmt.Sprintf("%s %d, from %s; the catalogue has %d for %s", f.flag, *f.has, f.source, f.catalogue, engine.ModelKey)
					besides[say] = append(besides[say], d.Name)
				}
				continue
			}
			if *f.has != 0 && *f.has != f.asked && (!n.fromModel || f.flag == "--page-size") { // of ranks by the model, fitting tells
				warnings = append(warnings, fmt.Sprintf("%s is run with %s %d, but %s has %d: its const axes may not fit",
					d.Name, f.flag, f.asked, f.source, *f.has))
			}
			*f.has = f.asked
		}
		needs[d.Name] = n
	}
	for say, who := range besides {
		warnings = append(warnings, some(who)+": run with "+say)
	}
	groups := s.group(defs, needs)
	for _, g := range groups {
		g.need = s.settle(g.need)
		if g.need.TP%g.need.EP != 0 {
			warnings = append(warnings, fmt.Sprintf("%s: ep %d does not divide tp %d; SGLang refuses that without --extra-server-flag",
				names(g.defs), g.need.EP, g.need.TP))
		}
	}
	sortGroups(groups)
	return groups, warnings
}

func (g *group) task(s setting, spec *proto.Collection, index, batch int) (proto.Task, error) {
	t := proto.Task{
		Collection: spec.ID, ID: fmt.Sprintf("t%03d", index), Index: index,
		Engine: spec.Engine, BatchSize: batch, Traffic: spec.Traffic, Dump: spec.Dump,
	}
	t.Engine.Mode, t.Engine.TP, t.Engine.EP, t.Engine.PageSize = g.need.Mode, g.need.TP, g.need.EP, g.need.PageSize
	t.Engine.ModelFlags = catalogued(spec.Engine.ModelFlags).Flags
	if gpus := s.flags.Ranks(t.Engine.TP, t.Engine.EP).GPUs(); gpus > t.Engine.TP && s.sglang() {
		t.Engine.GPUs = gpus
	}
	if t.Engine.Mode == proto.ModeHTTPPaged || t.Engine.Mode == proto.ModeHTTPRagged {
		t.Traffic.OSL = 1 // all prefill; decoding would spend the dump budget of an API that both share, as latent attention's
		if slices.ContainsFunc(g.defs, fitrace.BorrowsScale) {
			t.Traffic.OSL = 2 // one decode step, whose plan states the softmax scale
		}
	}
	for _, d := range g.defs {
		i := slices.IndexFunc(spec.Definitions, func(r proto.DefinitionRef) bool { return r.Name == d.Name })
		t.Definitions = append(t.Definitions, spec.Definitions[i])
	}
	var err error
	t.Dump, err = s.dumpOf(spec.Dump, t.Engine.Mode, g.defs)
	return t, err
}

func names(defs []*fitrace.Definition) string {
	var list []string
	for _, d := range defs {
		list = append(list, d.Name)
	}
	return strings.Join(list, ", ")
}
