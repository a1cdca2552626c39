package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// setting is what decides whether a definition's calls can be had: the engine and what is to be dumped. Only SGLang bypasses
// an API; the other engines take whatever is asked for.
type setting struct {
	engine proto.EngineSpec
	dump   string // auto, run or plan
	chat   bool   // the traffic is chat completions, which only a server takes

	// SGLang's: see newSetting.
	flags     sglang.Settled      // of the model catalogue and the user, as the release takes them
	model     *modelconfig.Config // nil: not at hand
	skipConst bool                // --skip-const-axis-check
}

func (s setting) sglang() bool { return s.engine.Kind == proto.EngineSGLang }

// ask gives what is known of d at tp ranks (0: not known yet). planOnly says that its wrappers' runs are not dumped.
func (s setting) ask(d *fitrace.Definition, tp int, planOnly bool) reach.Answer {
	if !s.sglang() {
		return reach.Answer{Verdict: reach.Reachable, Mode: reach.Ask(d, reach.Query{}).Mode}
	}
	q := reach.Query{
		Release: s.engine.SGLang, Capability: reach.Capability(s.engine.GPUType), TP: tp, Architecture: s.engine.Architecture, PlanOnly: planOnly,
	}
	a := reach.Ask(d, q)
	if a.Verdict == reach.Reachable && !reach.Compatible(a, reach.Answer{Requires: paired(s.engine.Flags)}) {
		why := fmt.Sprintf("it is called only with %s", strings.Join(slices.Concat(a.Requires, a.Implied), ", "))
		if len(a.Excludes) > 0 {
			why += ", without " + strings.Join(a.Excludes, ", ")
		}
		a.Verdict, a.Why = reach.Unreachable, why+"; --extra-server-flag says "+strings.Join(paired(s.engine.Flags), ", ")
	}
	if a.Verdict == reach.Reachable && !planOnly && s.engine.SGLang != "" && sglang.Compare(s.engine.SGLang, firstNested) < 0 && strings.Contains(a.API.Class, pagedCache) {
		a.Verdict, a.Instead, a.Sources = reach.Unreachable, "", nil
		a.Why = fmt.Sprintf("the FlashInfer of SGLang %s does not dump the caches that a run is given as a pair, so that its runs make no workload; its plans do where they suffice (--dump auto), and runs from SGLang %s on",
			s.engine.SGLang, firstNested)
	}
	return a
}

// firstNested is the first release whose FlashInfer, 0.6.12, dumps tensors inside of tuples, as the keys and values of a paged
// cache are given to run.
const firstNested = "0.5.13"

// pagedCache is in the names of the wrappers that take a cache of keys and values as a pair.
const pagedCache = "WithPagedKVCacheWrapper"

// paired writes flags as reach does, "--flag value", however they were split.
func paired(flags []string) []string {
	var list []string
	for _, f := range flags {
		switch name, value, joined := strings.Cut(f, "="); {
		case !strings.HasPrefix(f, "-") && len(list) > 0:
			list[len(list)-1] += " " + f
		case joined && !strings.Contains(name, " "):
			list = append(list, name+" "+value)
		default:
			list = append(list, f)
		}
	}
	return list
}

// needOf reads a definition's need: tags, constant axes and inputs, and for SGLang what reaches its API.
func (s setting) needOf(d *fitrace.Definition) (Need, reach.Answer) {
	n := Need{TP: d.TP(), EP: d.EP(), PageSize: int(d.PageSize()), stage: reach.Stage(d)}
	s.divide(d, &n)
	tp := cmp.Or(s.engine.TP, n.TP, catalogued(s.engine.ModelFlags).TP, s.engine.EP, n.EP) // as settle will have it
	a := s.ask(d, tp, false)
	if s.planOnly(d, proto.EngineMode(a.Mode)) {
		a = s.ask(d, tp, true)
	}
	n.Mode, n.Why = proto.EngineMode(a.Mode), a.Why
	if n.Mode == "" {
		n.Mode = proto.ModeAny
	}
	if n.Why == "" {
		n.Why = whyMode(n.Mode)
	}
	n.Requires = slices.Clone(a.Requires)
	return n, a
}

// whyMode says in a few words how the mode was found, for engines of which reach makes no statement.
func whyMode(m proto.EngineMode) string {
	switch m {
	case proto.ModeOffline:
		return "decode: the offline engine holds the batch size"
	case proto.ModeHTTPPaged:
		return "prefill over pages: the server with the ragged path off"
	case proto.ModeHTTPRagged:
		return "ragged prefill: the server with one new token a request"
	}
	return "runs in every forward pass"
}

// serves reports whether one engine with need calls the APIs of all of defs: what each of them requires must agree, and at so
// many ranks, and with what is dumped then, none may be bypassed.
func (s setting) serves(need Need, defs []*fitrace.Definition) bool {
	if !s.sglang() {
		return true
	}
	need = s.settle(need)
	dump, err := s.dumpOf(proto.DumpSpec{}, need.Mode, defs)
	if err != nil {
		return true // --dump plan: the error names the definition, wherever it is
	}
	var answers []reach.Answer
	for _, d := range defs {
		planned := slices.ContainsFunc(d.APIs(), func(api fitrace.API) bool { return slices.Contains(dump.PlanOnly, api.Class) })
		a := s.ask(d, need.TP, planned)
		if a.Verdict == reach.Unreachable || slices.ContainsFunc(answers, func(other reach.Answer) bool { return !reach.Compatible(a, other) }) {
			return false
		}
		answers = append(answers, a)
	}
	return true
}

// reachable parts defs into those that the engine reaches, as far as is known, and those that it does not. Those of them that
// were named are refused together, before any GPU is taken: the error is a *proto.Failure with code unreachable. Those that
// only a wide selection brought are left out, left says why. What is not known stays, with a doubt.
func (s setting) reachable(defs []*fitrace.Definition, named func(string) bool) (usable []*fitrace.Definition, left, doubts []string, err error) {
	if !s.sglang() {
		return defs, nil, nil, nil
	}
	refused, aside, cautions := map[string][]string{}, map[string][]string{}, map[string][]string{} // names by what is to be said of them
	for _, d := range defs {
		_, a := s.needOf(d)
		if a.Verdict == reach.Unreachable {
			if why := unreachable(a); named(d.Name) {
				refused[why] = append(refused[why], d.Name)
			} else {
				aside[why] = append(aside[why], d.Name)
			}
			continue
		}
		if a.Verdict == reach.Unknown {
			doubts = append(doubts, fmt.Sprintf("%s: %s; the worker looks for it before it starts", d.Name, a.Why))
		}
		for _, caution := range a.Cautions {
			cautions[caution] = append(cautions[caution], d.Name)
		}
		usable = append(usable, d)
	}
	for caution, who := range cautions {
		doubts = append(doubts, some(who)+": "+caution)
	}
	slices.Sort(doubts)
	left = told(aside)
	why := told(refused)
	if len(usable) == 0 {
		why = append(why, left...) // nothing else is left to do: say why of all
	}
	if len(why) > 0 {
		hint := "leave these out, or change what keeps them away; `tracefleet definitions resolve --engine sglang` says what can be reached, and how"
		if s.engine.SGLang == "" {
			hint += "; this is of the newest release known, --sglang-version asks of another"
		}
		return nil, left, doubts, proto.Failf(proto.CodeUnreachable, "SGLang does not call what is asked for: %s", strings.Join(why, "; ")).WithHint("%s", hint)
	}
	return usable, left, doubts, nil
}

// told gives a line for each reason, with every name that it is about. Sorted.
func told(names map[string][]string) []string {
	var list []string
	for why, who := range names {
		list = append(list, strings.Join(who, ", ")+" "+why)
	}
	slices.Sort(list)
	return list
}

// unreachable says why an API is not called, what is in its place, and how that is known: "(api): why, … [sources]".
func unreachable(a reach.Answer) string {
	s := fmt.Sprintf("(%s): %s", a.API, strings.TrimSuffix(a.Why, "."))
	if a.Instead != "" {
		s += " (" + a.Instead + " is called instead)"
	}
	if len(a.Sources) > 0 {
		s += " [" + strings.Join(a.Sources, ", ") + "]"
	}
	return s
}

// some gives up to three names, and how many more there are.
func some(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
