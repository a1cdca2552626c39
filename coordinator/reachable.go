package coordinator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// setting holds what decides whether a definition can be collected: the engine and what is dumped. Only SGLang may bypass an API; the
// other engines accept every definition.
type setting struct {
	engine proto.EngineSpec
	dump   string // auto, run or plan
	chat   bool   // the traffic is chat completions, which only a server takes

	traceDir string // for messages: the dataset that the definitions are of

	// SGLang's: see newSetting.
	flags     sglang.Settled      // of the model catalogue and the user, as the release takes them
	model     *modelconfig.Config // nil: not available
	skipConst bool                // --skip-const-axis-check
}

func (s setting) sglang() bool { return s.engine.Kind == proto.EngineSGLang }

// ask returns what is known of d at tp ranks (0: not known yet). planOnly is whether its wrappers' runs are not dumped.
func (s setting) ask(d *fitrace.Definition, tp int, planOnly bool) reach.Answer {
	if !s.sglang() {
		return reach.Answer{Verdict: reach.Reachable, Binding: reach.Binds, Mode: reach.Ask(d, reach.Query{}).Mode}
	}
	q := reach.Query{
		Release: s.engine.SGLang, Capability: reach.Capability(s.engine.GPUType), TP: tp, Architecture: s.engine.Architecture, PlanOnly: planOnly,
	}
	a := reach.Ask(d, q)
	if a.Verdict != reach.Reachable {
		return a
	}
	if why := reach.Contradiction(a, s.engine.Flags); why != "" {
		a.Verdict, a.Why = reach.Unreachable, why+" by --extra-server-flag"
		return a
	}
	if !planOnly && s.engine.SGLang != "" && sglang.Compare(s.engine.SGLang, firstNested) < 0 && strings.Contains(a.API.Class, pagedCache) {
		a.Verdict, a.Instead, a.Sources = reach.Uncollectable, "", nil
		a.Binding = reach.Unbound
		a.Why = fmt.Sprintf("the FlashInfer of SGLang %s does not dump caches that a run is passed as a pair; use --dump auto, which dumps plans where they suffice, or SGLang %s and later",
			s.engine.SGLang, firstNested)
	}
	return a
}

// firstNested is the first release whose FlashInfer, 0.6.12, dumps tensors inside of tuples, as the keys and values of a paged
// cache are given to run.
const firstNested = "0.5.13"

// pagedCache is in the names of the wrappers that take a cache of keys and values as a pair.
const pagedCache = "WithPagedKVCacheWrapper"

// needOf returns a definition's need: by its tags, constant axes and inputs, and for SGLang by what calls its API.
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

// whyMode returns in a few words how the mode was found, for engines that package reach does not describe.
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

// serves reports whether one engine with need serves all of defs: the flags that they require must agree, and at its number of
// ranks, with what it dumps, none may be refused.
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
		if a.Refused() || slices.ContainsFunc(answers, func(other reach.Answer) bool { return !reach.Compatible(a, other) }) {
			return false
		}
		answers = append(answers, a)
	}
	return true
}

// collectable splits defs into those that the engine can collect, as far as is known, and those that it cannot: SGLang never calls
// their API, or calls it with arguments that do not bind. Those of the latter that were named are refused together, before any GPU is
// taken: the error is a *proto.Failure with code unreachable or uncollectable. Those that only a wide selection brought are left out,
// one line of left for each reason. A definition of which nothing is known stays, with a doubt.
func (s setting) collectable(defs []*fitrace.Definition, named func(string) bool) (usable []*fitrace.Definition, left, doubts []string, err error) {
	if !s.sglang() {
		return defs, nil, nil, nil
	}
	refused, aside, cautions := map[string][]string{}, map[string][]string{}, map[string][]string{} // names by reason
	unreachable := map[string]bool{}                                                                // reasons
	for _, d := range defs {
		_, a := s.needOf(d)
		if a.Refused() {
			into, why := aside, refusal(a)
			if named(d.Name) {
				into = refused
			}
			into[why] = append(into[why], d.Name)
			unreachable[why] = a.Verdict == reach.Unreachable
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
	left = byReason(aside)
	why := byReason(refused)
	if len(usable) == 0 {
		why = append(why, left...) // nothing is left to collect: the reasons for all of it are the answer
		maps.Copy(refused, aside)
	}
	if len(why) == 0 {
		return usable, left, doubts, nil
	}
	code := proto.CodeUncollectable
	for reason := range refused {
		if unreachable[reason] {
			code = proto.CodeUnreachable
		}
	}
	hint := "leave these out; `" + s.resolveCommand() + "` lists what is collectable"
	if s.engine.SGLang == "" {
		hint += "; this is unverified, by the newest release known: --sglang-version plans for another"
	}
	return nil, left, doubts, proto.Failf(code, "SGLang cannot collect what was selected: %s", strings.Join(why, "; ")).WithHint("%s", hint)
}

// resolveCommand returns the command that shows what is collectable in this setting.
func (s setting) resolveCommand() string {
	args := []string{"tracefleet", "definitions", "resolve", "--engine", "sglang"}
	for _, f := range [][2]string{{"--trace-dir", s.traceDir}, {"--sglang-version", s.engine.SGLang}, {"--gpu-type", s.engine.GPUType}} {
		if f[1] != "" {
			args = append(args, f[:]...)
		}
	}
	return cli.ShellJoin(args)
}

// unverified reports whether the release that will run is not one whose calls were read.
func (s setting) unverified(defs []*fitrace.Definition) bool {
	return slices.ContainsFunc(defs, func(d *fitrace.Definition) bool { _, a := s.needOf(d); return a.Unverified })
}

// byReason returns a line for each reason, with the number and the names of the definitions. Sorted.
func byReason(names map[string][]string) []string {
	var list []string
	for why, who := range names {
		line := strings.Join(who, ", ") + " " + why
		if len(who) > 1 {
			line = fmt.Sprintf("%d definitions, %s", len(who), line)
		}
		list = append(list, line)
	}
	slices.Sort(list)
	return list
}

// refusal returns why a definition is not collected, what is called in its place, and where that was read:
// "(api): why, … [sources]". Why a call does not bind names the API itself.
func refusal(a reach.Answer) string {
	s := fmt.Sprintf("(%s): %s", a.API, a.Why)
	if a.Verdict == reach.Uncollectable {
		s = "(" + a.Why + ")"
	}
	if a.Instead != "" {
		s += " (" + a.Instead + " is called instead)"
	}
	if len(a.Sources) > 0 {
		s += " [" + strings.Join(a.Sources, ", ") + "]"
	}
	return s
}

// counted returns "1 definition", "2 definitions".
func counted(n int) string {
	if n == 1 {
		return "1 definition"
	}
	return fmt.Sprintf("%d definitions", n)
}

// some returns up to three names, and how many more there are.
func some(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}
