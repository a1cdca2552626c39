package coordinator

import (
	"cmp"
	"slices"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Need is what a definition asks of the engine that serves it. A zero field (ModeAny for the mode) asks for nothing: such a
// definition rides in whichever engine runs.
type Need struct {
	Mode      proto.EngineMode `json:"mode"`
	Why       string           `json:"why"` // how the mode was found
	TP        int              `json:"tp"`
	EP        int              `json:"ep"`
	PageSize  int              `json:"page_size"`
	Requires  []string         `json:"requires,omitempty"` // sglang: server flags without which its API is not called
	hintTP    int              // ranks that its tag names, though it fits any
	fromModel bool             // TP and EP follow from the model's configuration
	notes     []string         // where its tags disagree with the model
	stage     string           // "prefill", "decode" or "": what the riders prefer
}

// group is a set of definitions that one engine lifetime can serve.
type group struct {
	need Need
	defs []*fitrace.Definition // sorted by name
}

// group partitions defs. The definitions that ask for most go first and each joins the first group that is
// compatible with it, so that no two groups of the result could have been one; the order of defs does not matter.
func (s setting) group(defs []*fitrace.Definition, needs map[string]Need) []*group {
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
			joined, ok := g.need.join(n)
			if ok && (home == nil || n.prefers(g.need, home.need)) && s.serves(joined, append(slices.Clone(g.defs), d)) {
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

// settle fills in what no definition of an engine asked for: the catalogue's word, else one rank for each that the experts are
// spread over.
func (s setting) settle(n Need) Need {
	m := catalogued(s.engine.ModelFlags)
	askedTP, askedEP := n.TP > 0, n.EP > 0
	n.EP = cmp.Or(n.EP, m.EP, 1)
	n.TP = cmp.Or(n.TP, m.TP, n.hintTP, n.EP)
	switch {
	case n.TP%n.EP == 0:
	case !askedEP:
		n.EP = 1 // the catalogue's belong to other tensor ranks
	case !askedTP:
		n.TP = n.EP
	}
	n.PageSize = cmp.Or(n.PageSize, m.PageSize)
	if n.Mode == proto.ModeAny {
		n.Mode = proto.ModeOffline // no attention definition asks for a server: take the mode with exact batch sizes
		if s.chat {
			n.Mode = proto.ModeHTTPRagged
		}
	}
	return n
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

// join returns the need of an engine that serves both, if there is one. Expert ranks are a division of the tensor ranks in
// SGLang, so a tp that ep does not divide joins nothing.
func (n Need) join(o Need) (Need, bool) {
	out := n
	out.hintTP = max(n.hintTP, o.hintTP)
	out.Requires = slices.Compact(slices.Sorted(slices.Values(slices.Concat(n.Requires, o.Requires))))
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
