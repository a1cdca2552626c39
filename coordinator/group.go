package coordinator

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Need is what a definition asks of the engine that serves it. A zero field (ModeAny for the mode) asks for nothing: such a
// definition rides in whichever engine runs.
type Need struct {
	Mode     proto.EngineMode `json:"mode"`
	Why      string           `json:"why"` // how the mode was found
	TP       int              `json:"tp"`
	EP       int              `json:"ep"`
	PageSize int              `json:"page_size"`
	stage    string           // "prefill", "decode" or "": what the riders prefer
}

// needOf reads a definition's need from its tags, constant axes and inputs.
func needOf(d *fitrace.Definition) Need {
	n := Need{TP: d.TP(), EP: d.EP(), PageSize: int(d.PageSize()), stage: stageOf(d)}
	n.Mode, n.Why = modeOf(d, n.stage)
	return n
}

// stageOf gives the stage tag, or what the inputs tell: queries of several rows a request have their own indptr.
func stageOf(d *fitrace.Definition) string {
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

// modeOf finds the engine mode that reaches one of the definition's APIs. Attention decides: SGLang takes the decode wrapper
// in every mode, but at the exact batch size only offline; the paged prefill wrapper only with its ragged path off; the
// ragged one only with it on. Everything else runs in each forward pass.
func modeOf(d *fitrace.Definition, stage string) (proto.EngineMode, string) {
	for _, api := range d.APIs() {
		name := strings.ToLower(api.String())
		switch {
		case strings.Contains(name, "mla") && strings.Contains(name, "wrapper") && stage == "prefill":
			return proto.ModeHTTPPaged, "MLA wrapper, prefill: the server with the ragged path off"
		case strings.Contains(name, "mla") && strings.Contains(name, "wrapper"):
			return proto.ModeOffline, "MLA wrapper, decode: the offline engine holds the batch size"
		case strings.Contains(name, "batchdecodewith"), strings.Contains(name, "batch_decode_with"):
			return proto.ModeOffline, "decode: the offline engine holds the batch size"
		case strings.Contains(name, "prefillwithpaged"), strings.Contains(name, "batch_context_with"):
			return proto.ModeHTTPPaged, "paged prefill: the server with the ragged path off"
		case strings.Contains(name, "prefillwithragged"):
			return proto.ModeHTTPRagged, "ragged prefill: the server with one new token a request"
		}
	}
	return proto.ModeAny, "runs in every forward pass"
}

// group is a set of definitions that one engine lifetime can serve.
type group struct {
	need Need
	defs []*fitrace.Definition // sorted by name
}

// groupDefinitions partitions defs. The definitions that ask for most go first and each joins the first group that is
// compatible with it, so that no two groups of the result could have been one; the order of defs does not matter.
func groupDefinitions(defs []*fitrace.Definition, needs map[string]Need) []*group {
	order := slices.Clone(defs)
	slices.SortFunc(order, func(a, b *fitrace.Definition) int {
		na, nb := needs[a.Name], needs[b.Name]
		return cmp.Or(cmp.Compare(nb.asks(), na.asks()), compareNeeds(na, nb), cmp.Compare(a.Name, b.Name))
	})
	var groups []*group
	for _, d := range order {
		n := needs[d.Name]
		var home *group
		for _, g := range groups {
			if _, ok := g.need.join(n); ok && (home == nil || n.prefers(g.need, home.need)) {
				home = g
			}
		}
		if home == nil {
			home = &group{need: n}
			groups = append(groups, home)
		}
		home.need, _ = home.need.join(n)
		home.defs = append(home.defs, d)
	}
	for _, g := range groups {
		slices.SortFunc(g.defs, func(a, b *fitrace.Definition) int { return cmp.Compare(a.Name, b.Name) })
	}
	return groups
}

func sortGroups(groups []*group) {
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(compareNeeds(a.need, b.need), cmp.Compare(a.defs[0].Name, b.defs[0].Name))
	})
}

// asks counts what n insists on.
func (n Need) asks() int {
	count := 0
	for _, asked := range []bool{n.Mode != proto.ModeAny, n.TP > 0, n.EP > 0, n.PageSize > 0} {
		if asked {
			count++
		}
	}
	return count
}

// join gives the need of an engine that serves both, if there is one. Expert ranks are a division of the tensor ranks in
// SGLang, so a tp that ep does not divide joins nothing.
func (n Need) join(o Need) (Need, bool) {
	out := n
	if n.Mode == proto.ModeAny {
		out.Mode, out.stage = o.Mode, o.stage
	} else if o.Mode != proto.ModeAny && o.Mode != n.Mode {
		return n, false
	}
	for _, f := range []struct {
		into *int
		from int
	}{{&out.TP, o.TP}, {&out.EP, o.EP}, {&out.PageSize, o.PageSize}} {
		switch {
		case *f.into == 0:
			*f.into = f.from
		case f.from != 0 && f.from != *f.into:
			return n, false
		}
	}
	changed := out.TP != n.TP || out.EP != n.EP
	if changed && out.TP > 0 && out.EP > 0 && out.TP%out.EP != 0 {
		return n, false
	}
	return out, true
}

// prefers reports whether a rider would rather be in a than in b: a prefill kernel sees more of its shapes where prefill is
// what is served. All else equal it stays where it was found first.
func (n Need) prefers(a, b Need) bool {
	if n.Mode != proto.ModeAny || n.stage != "prefill" {
		return false
	}
	return a.Mode != proto.ModeOffline && b.Mode == proto.ModeOffline
}

var modeRank = map[proto.EngineMode]int{proto.ModeOffline: 0, proto.ModeHTTPPaged: 1, proto.ModeHTTPRagged: 2, proto.ModeAny: 3}

func compareNeeds(a, b Need) int {
	return cmp.Or(cmp.Compare(modeRank[a.Mode], modeRank[b.Mode]), cmp.Compare(a.TP, b.TP), cmp.Compare(a.EP, b.EP),
		cmp.Compare(a.PageSize, b.PageSize))
}
