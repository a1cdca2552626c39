package launch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/proto"
)

// wants is what the definitions of a task ask of its engine.
type wants struct {
	defs    []*fitrace.Definition
	answers []reach.Answer
	out     map[int]string // definitions that cannot be collected so, with the reason
	unbound int            // of those, the definitions that the call does not bind to
}

// wanted queries package reach for every definition. It refuses a task in which no definition can be collected, or whose definitions
// need different servers. A definition that cannot be collected, beside others that can, is named among the cautions. A definition that
// the task's mode is for has precedence over one that any mode serves.
func wanted(t *proto.Task, defs []*fitrace.Definition, n Node, release string) (*wants, error) {
	w := &wants{defs: defs, out: map[int]string{}}
	for i, d := range defs {
		planOnly := slices.ContainsFunc(d.APIs(), func(api fitrace.API) bool { return slices.Contains(t.Dump.PlanOnly, api.Class) })
		a := reach.Ask(d, reach.Query{
			Release: release, Capability: n.Capability, TP: t.Engine.TP, Architecture: n.Architecture, PlanOnly: planOnly,
		})
		w.answers = append(w.answers, a)
		switch {
		case a.Refused():
			w.out[i] = a.Why
			if a.Instead != "" {
				w.out[i] += "; called in its place: " + a.Instead
			}
			if a.Verdict == reach.Uncollectable {
				w.unbound++
			}
		case reach.Contradiction(reach.Answer{Requires: a.Requires, Implied: a.Implied}, t.Engine.Flags) != "":
			w.out[i] = reach.Contradiction(reach.Answer{Requires: a.Requires, Implied: a.Implied}, t.Engine.Flags)
		case !anyMode(a.Mode) && !anyMode(string(t.Engine.Mode)) && a.Mode != string(t.Engine.Mode):
			w.out[i] = fmt.Sprintf("SGLang %s calls %s in mode %s, and the task is of mode %s", release, a.API, a.Mode, t.Engine.Mode)
		}
	}
	for i := range defs {
		for j := range i {
			if w.out[i] != "" || w.out[j] != "" || reach.Compatible(w.answers[i], w.answers[j]) {
				continue
			}
			rides, rider := anyMode(w.answers[i].Mode), i
			if !rides {
				rides, rider = anyMode(w.answers[j].Mode), j
			}
			if !rides || anyMode(w.answers[i].Mode) && anyMode(w.answers[j].Mode) {
				return nil, proto.Failf(proto.CodeBadCollection, "%s and %s can not share a server: they are called with %s and with %s",
					defs[j].Name, defs[i].Name, orNone(w.answers[j]), orNone(w.answers[i])).WithHint("collect them one after the other")
			}
			w.out[rider] = fmt.Sprintf("it is called with %s, and %s with %s", orNone(w.answers[rider]), defs[i+j-rider].Name, orNone(w.answers[i+j-rider]))
		}
	}
	return w, w.refused(release)
}

func anyMode(mode string) bool { return mode == "" || mode == reach.ModeAny }

func orNone(a reach.Answer) string {
	list := slices.Concat(a.Requires, a.Implied)
	for _, e := range a.Excludes {
		list = append(list, "no "+e)
	}
	if len(list) == 0 {
		return "no flags"
	}
	return strings.Join(list, ", ")
}

// refused returns the failure of a task in which no definition can be collected, or nil.
func (w *wants) refused(release string) error {
	if len(w.defs) == 0 || len(w.out) < len(w.defs) {
		return nil
	}
	var reasons []string
	for i, d := range w.defs {
		reasons = append(reasons, d.Name+": "+w.out[i])
	}
	code := proto.CodeUnreachable
	if w.unbound == len(w.defs) {
		code = proto.CodeUncollectable
	}
	return proto.Failf(code, "SGLang %s has no call to collect for this task: %s", release, strings.Join(reasons, "; ")).
		WithHint("leave these out, or run a node with another release of SGLang; docs/collectable.md lists what is collectable, with which flags and on which GPUs")
}

// exclude takes out the definitions that are not called under the settled flags.
func (w *wants) exclude(flags []string, release string) error {
	for i, a := range w.answers {
		for _, no := range a.Excludes {
			hit := slices.IndexFunc(flags, func(f string) bool { return f == no || !strings.Contains(no, " ") && strings.HasPrefix(f, no+" ") })
			if hit >= 0 && w.out[i] == "" {
				w.out[i] = fmt.Sprintf("%s is not called under %s", a.API, flags[hit])
			}
		}
	}
	return w.refused(release)
}

// requires joins the flags that the definitions which can be had need, sorted.
func (w *wants) requires() []string {
	set := map[string]bool{}
	for i, a := range w.answers {
		for _, flag := range a.Requires {
			if w.out[i] == "" {
				set[flag] = true
			}
		}
	}
	return sorted(set)
}

// calls reports whether an API of a definition that can be had is such a one.
func (w *wants) calls(such func(fitrace.API) bool) bool {
	for i, d := range w.defs {
		if w.out[i] == "" && slices.ContainsFunc(d.APIs(), such) {
			return true
		}
	}
	return false
}

// paged reports whether the ragged path must be off for any of them; of an API that nothing is known of it may have to be.
func (w *wants) paged() bool {
	unknown := slices.ContainsFunc(w.answers, func(a reach.Answer) bool { return a.Verdict == reach.Unknown })
	return unknown || w.calls(func(api fitrace.API) bool { return strings.Contains(api.Class, "Paged") })
}

// cautions returns each caution once, after the names of its definitions.
func (w *wants) cautions() []string {
	names := map[string][]string{}
	for i, d := range w.defs {
		var texts []string
		switch a := w.answers[i]; {
		case w.out[i] != "":
			texts = []string{"will not be collected: " + w.out[i]}
		case a.Verdict == reach.Unknown:
			texts = append([]string{a.Why}, a.Cautions...)
		default:
			texts = a.Cautions
		}
		for _, text := range texts {
			names[text] = append(names[text], d.Name)
		}
	}
	var lines []string
	for text, of := range names {
		lines = append(lines, strings.Join(of, ", ")+": "+text)
	}
	slices.Sort(lines)
	return lines
}
