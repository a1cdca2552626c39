package reach

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// Ask returns the best answer over the APIs that d names: a reachable one, else an unknown one, else one whose call does not bind, else
// the first that is never called.
func Ask(d *fitrace.Definition, q Query) Answer {
	t, err := known()
	if err != nil {
		return Answer{Verdict: Unknown, Why: err.Error()}
	}
	apis := d.APIs()
	if len(apis) == 0 {
		return Answer{Verdict: Unreachable, Why: "the definition has no fi_api tag: there is no FlashInfer call to log for it"}
	}
	var best Answer
	for i, api := range apis {
		a := t.ask(api, d, q)
		if i == 0 || rank(a.Verdict) > rank(best.Verdict) {
			best = a
		}
	}
	return best
}

func rank(v Verdict) int {
	return slices.Index([]Verdict{Unreachable, Uncollectable, Unknown, Reachable}, v)
}

// Stage is whether a definition is of prefill or decode: its tag, or what follows from its inputs, since queries of several rows a
// request have their own indptr. Empty: neither.
func Stage(d *fitrace.Definition) string {
	if stage := d.Stage(); stage != "" {
		return stage
	}
	if _, ok := d.Input("qo_indptr"); ok {
		return "prefill"
	}
	if _, ok := d.Input("kv_indptr"); ok {
		return "decode"
	}
	return ""
}

// ask narrows an API's cases to those of the definition, of the release and of the GPUs, and names the step at which none is left.
// Then it binds the definition against the call.
func (t *table) ask(api fitrace.API, d *fitrace.Definition, q Query) Answer {
	a := Answer{API: api, Verdict: Unknown}
	entry := t.entries[api]
	if entry == nil {
		a.Why = fmt.Sprintf("nothing is known of %s: it has to be looked for in the node's own SGLang", api)
		return a
	}
	v, number, note := t.version(q.Release)
	if v == nil {
		a.Why = note
		return a
	}
	said := v.said(number)
	if note != "" {
		a.Cautions, a.Unverified = []string{note}, true
	}
	ofDefinition := filter(entry.Cases, func(c *apiCase) bool { return c.fits(d) })
	if len(ofDefinition) == 0 {
		a.Why = fmt.Sprintf("nothing is known of %s for definitions of this kind (op_type %s, stage %q)", api, d.OpType, Stage(d))
		return a
	}
	a.Verdict = Unreachable
	ofRelease := filter(ofDefinition, func(c *apiCase) bool { return c.span.holds(number) })
	if len(ofRelease) == 0 {
		// Each range of a function that came late starts with the release it came with.
		first := ofDefinition[0]
		a.Why = fmt.Sprintf("SGLang %s does not call %s; releases from %s on do", said, api, first.span.from)
		a.Sources = t.earliest(first)
		return a
	}
	ofGPUs := filter(ofRelease, func(c *apiCase) bool { return onGPUs(c.gpus, q.Capability) })
	if len(ofGPUs) == 0 {
		a.Why = fmt.Sprintf("SGLang %s calls %s on %s only, and these GPUs are SM%d", said, api, architectures(ofRelease), q.Capability)
		a.Sources = v.places(ofRelease[0].Sources)
		return a
	}
	c := ofGPUs[0]
	a.Why, a.Instead, a.Sources = c.Why, c.Instead, v.places(c.Sources)
	if c.Never {
		return a
	}
	if page := d.PageSize(); page > 0 && len(c.PageSizes) > 0 && !slices.Contains(c.PageSizes, page) {
		a.Why = fmt.Sprintf("the backend that calls %s in SGLang %s keeps pages of %s tokens, and the definition's have %d", api, said, join(c.PageSizes), page)
		return a
	}
	if c.Parallel && q.TP == 1 {
		a.Why = fmt.Sprintf("%s joins tensor-parallel ranks, and tp is 1", api)
		return a
	}
	b, recorded := t.bind(api, d, v, number, q.Capability)
	requires := slices.Clone(c.Requires)
	for _, flag := range b.requires {
		if !slices.Contains(requires, flag) {
			requires = append(requires, flag)
		}
	}
	if flag := contradiction(requires); b.why == "" && flag != "" {
		b.why = fmt.Sprintf("SGLang %s calls %s with %s only, and the definition's element types need %s", said, api, strings.Join(c.Requires, " "), strings.Join(b.requires, " "))
	}
	if b.why != "" {
		a.Verdict, a.Binding, a.Mode, a.Why = Uncollectable, Unbound, c.Mode, b.why
		return a
	}
	a.Verdict, a.Binding, a.Mode = Reachable, Binds, c.Mode
	if !recorded {
		a.Binding = Unrecorded
		a.Cautions = append(a.Cautions, fmt.Sprintf("the arguments that SGLang passes to %s are not recorded: only its dumps show whether they fit", api))
	}
	a.Requires, a.Implied, a.Excludes = requires, slices.Clone(c.Implied), slices.Clone(c.Excludes)
	a.Cautions = slices.Concat(c.Cautions, settingCautions(ofRelease, c, d, q), a.Cautions)
	if c.Fused {
		t.unfuse(&a, *v, number, q)
	}
	return a
}

// version returns the release that the answer is for: the one that was read, or the newest one read before it; without a release it is
// the newest. Where that is not the release asked for, a note starts with "unverified" and names both. For releases before the first
// there is none.
func (t *table) version(name string) (v *version, number release, note string) {
	newest := &t.Releases[len(t.Releases)-1]
	if name == "" {
		return newest, newest.number, "unverified: which SGLang release will run is not known, this is for " + newest.SGLang
	}
	number, ok := parseRelease(name)
	if !ok {
		return newest, newest.number, fmt.Sprintf("unverified: SGLang %q is not a release number, this is for %s", name, newest.SGLang)
	}
	for i := range t.Releases {
		if t.Releases[i].number.compare(number) <= 0 {
			v = &t.Releases[i]
		}
	}
	switch {
	case v == nil:
		return nil, number, fmt.Sprintf("nothing is known of SGLang %s: the first release that was read, and whose FlashInfer logs calls, is %s", name, t.Releases[0].SGLang)
	case v.number != number:
		note = fmt.Sprintf("unverified: SGLang %s was not read, this is for %s", name, v.SGLang)
	}
	return v, number, note
}

// said returns the release of an answer for messages. If the release was not read, the text also names the one that was used instead.
func (v *version) said(asked release) string {
	if v.number == asked {
		return v.SGLang
	}
	return fmt.Sprintf("%s (unverified, by the calls of %s)", asked, v.SGLang)
}

// fits reports whether a case is for definitions such as d. Where d leaves an axis open, any value fits.
func (c *apiCase) fits(d *fitrace.Definition) bool {
	if stage := Stage(d); c.Stage != "" && stage != "" && stage != c.Stage {
		return false
	}
	if len(c.OpTypes) > 0 && !slices.Contains(c.OpTypes, d.OpType) {
		return false
	}
	for name, values := range c.Axes {
		if v, ok := d.Const(name); ok && !slices.Contains(values, v) {
			return false
		}
	}
	return true
}

// onGPUs reports whether an entry for some architectures (none: for all) is for GPUs of this capability. A capability of 0 is not
// known, and fits.
func onGPUs(gpus []int, capability int) bool {
	return capability == 0 || len(gpus) == 0 || slices.Contains(gpus, capability) || slices.Contains(gpus, capability/10*10)
}

// settingCautions returns cautions about what the query leaves open and what is unusual in it.
func settingCautions(ofRelease []*apiCase, c *apiCase, d *fitrace.Definition, q Query) []string {
	var list []string
	if q.Capability == 0 && len(c.GPUs) > 0 {
		list = append(list, "only "+architectures(ofRelease)+" has it, and which GPUs will run it is not known")
	}
	planned := slices.ContainsFunc(d.APIs(), fitrace.API.Planned)
	if q.PlanOnly && !planned {
		list = append(list, "it has no plan call: dumping plans only makes its own dumps no smaller")
	}
	if c.Mode == ModeHTTPRagged && strings.HasSuffix(q.Architecture, "ForConditionalGeneration") {
		list = append(list, "models that SGLang runs as multimodal never take the ragged path")
	}
	if page := d.PageSize(); page > 1 && planned {
		list = append(list, fmt.Sprintf("SGLang plans in pages of one token: the server must run with --page-size %d, and its slots are regrouped into pages", page))
	}
	return list
}

// unfuse turns all-reduce fusion off where the model would have it, or warns where that is not known.
func (t *table) unfuse(a *Answer, v version, number release, q Query) {
	i := slices.IndexFunc(t.Fusion, func(f *fusion) bool { return f.span.holds(number) })
	if i < 0 || q.TP == 1 || q.Capability != 0 && q.Capability/10 != 9 && q.Capability/10 != 10 {
		return
	}
	f := t.Fusion[i]
	switch {
	case q.TP > 1 && slices.Contains(f.Architectures, q.Architecture):
		a.Requires = append(a.Requires, noFusion)
		a.Cautions = append(a.Cautions, "with tp above 1, "+q.Architecture+" fuses it with the all-reduce before it unless "+noFusion+" is given")
		a.Sources = append(a.Sources, v.places(f.Sources)...)
	case q.TP == 0 || q.Architecture == "":
		a.Cautions = append(a.Cautions, "with tp above 1, some models (DeepSeek V3 and Qwen3 MoE among them) fuse it with the all-reduce before it unless "+noFusion+" is given")
	}
}

const noFusion = "--enforce-disable-flashinfer-allreduce-fusion"

// earliest returns the sources of the first release that the case has any of.
func (t *table) earliest(c *apiCase) []string {
	for _, v := range t.Releases {
		if places := v.places(c.Sources); len(places) > 0 {
			return places
		}
	}
	return nil
}

// architectures lists the GPUs of several cases, for a person: "SM90, SM100".
func architectures(cases []*apiCase) string {
	var gpus []int
	for _, c := range cases {
		gpus = append(gpus, c.gpus...)
	}
	slices.Sort(gpus)
	names := make([]string, 0, len(gpus))
	for _, gpu := range slices.Compact(gpus) {
		names = append(names, fmt.Sprintf("SM%d", gpu))
	}
	return strings.Join(names, ", ")
}

func join(numbers []int64) string {
	parts := make([]string, len(numbers))
	for i, n := range numbers {
		parts[i] = fmt.Sprint(n)
	}
	return strings.Join(parts, ", ")
}

func filter(cases []*apiCase, keep func(*apiCase) bool) []*apiCase {
	var kept []*apiCase
	for _, c := range cases {
		if keep(c) {
			kept = append(kept, c)
		}
	}
	return kept
}
