package publisher

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// Content is one distinct content among the candidates of a definition. Layers, tensor-parallel ranks and repeated steps
// convert to equal candidates; they are one Content, counted.
type Content struct {
	proto.Candidate
	First      string             // smallest manifest id that has this content
	Provenance proto.Provenance   // of First
	Manifests  int                // how many manifests have it
	home       int                // how many of them are counted in Home
	source     dataset.Provenance // what all of them agree on
}

// Gathered sums up the verdicts about one definition. Adding the same verdicts in any order gives the same Gathered.
type Gathered struct {
	definition string
	index      int
	order      map[string]int // definition name → place in the task
	contents   map[string]*Content
	all, home  proto.Tally // rejections only, until Tallies
	unclaimed  proto.Tally
	examples   map[string]proto.Example  // by reason
	processes  map[string]map[int64]bool // pids by host, of all verdicts
	simulated  bool                      // a convertible call of the verdicts is simulated
	real       bool                      // one is not
	batchSize  int                       // the smallest requested batch size among the verdicts; 0: none was recorded
}

// NewGathered prepares to sum up verdicts about definitions[index]. definitions are the names of all definitions that the
// same manifests were converted for, in the task's order: they decide where a manifest that fits several is counted.
func NewGathered(definitions []string, index int) *Gathered {
	g := &Gathered{definition: definitions[index], index: index, order: map[string]int{}, contents: map[string]*Content{},
		examples: map[string]proto.Example{}, processes: map[string]map[int64]bool{}}
	for i, name := range definitions {
		if _, twice := g.order[name]; !twice {
			g.order[name] = i
		}
	}
	return g
}

// Add counts one verdict. Each manifest must be added once. The verdict is not kept: of equal contents only one is held.
func (g *Gathered) Add(v *proto.Verdict) {
	home := g.homeOf(v) == g.index
	g.meet(&v.Provenance)
	if n := v.Provenance.BatchSize; n > 0 && (g.batchSize == 0 || n < g.batchSize) {
		g.batchSize = n
	}
	if len(v.Candidates) > 0 { // the record of a call that cannot be converted may lack the mark
		g.simulated, g.real = g.simulated || v.Provenance.Simulated, g.real || !v.Provenance.Simulated
	}
	for i := range v.Candidates {
		if v.Candidates[i].Definition == g.definition {
			g.addCandidate(&v.Candidates[i], v, home)
			return
		}
	}
	for _, r := range v.Rejections {
		if r.Definition == g.definition {
			g.all.Reject(r.Reason)
			g.exemplify(r, v)
			if home {
				g.home.Reject(r.Reason)
			}
			return
		}
	}
	if g.index == 0 && g.homeOf(v) < 0 {
		g.unclaimed.Reject(unclaimedReason(v))
		if len(v.Rejections) > 0 {
			g.exemplify(v.Rejections[0], v)
		}
	}
}

func (g *Gathered) addCandidate(c *proto.Candidate, v *proto.Verdict, home bool) {
	have := g.contents[c.UUID]
	if have == nil {
		have = &Content{Candidate: *c, First: v.Manifest, Provenance: v.Provenance, source: sourceOf(&v.Provenance)}
		g.contents[c.UUID] = have
	} else {
		have.source = agree(have.source, sourceOf(&v.Provenance))
		if v.Manifest < have.First {
			have.First, have.Provenance = v.Manifest, v.Provenance
		}
	}
	have.Manifests++
	if home {
		have.home++
	}
}

// meet notes the process of a verdict.
func (g *Gathered) meet(p *proto.Provenance) {
	if g.processes[p.Host] == nil {
		g.processes[p.Host] = map[int64]bool{}
	}
	g.processes[p.Host][p.PID] = true
}

// rank gives the place of a process among those of its host that left a verdict, as the pids sort: the order in which a server
// starts its ranks. While dumps are eaten not all of them are known; here they are.
func (g *Gathered) rank(p *proto.Provenance) int {
	return slices.Index(slices.Sorted(maps.Keys(g.processes[p.Host])), p.PID)
}

// exemplify keeps the rejection of the smallest manifest id for each reason.
func (g *Gathered) exemplify(r proto.Rejection, v *proto.Verdict) {
	if have, ok := g.examples[r.Reason]; ok && have.Manifest <= v.Manifest {
		return
	}
	g.examples[r.Reason] = proto.Example{Reason: r.Reason, Manifest: v.Manifest, Dump: v.Provenance.Dump, Detail: r.Detail}
}

// Examples gives one rejection a reason.
func (g *Gathered) Examples() []proto.Example {
	return slices.SortedFunc(maps.Values(g.examples), func(a, b proto.Example) int { return cmp.Compare(a.Reason, b.Reason) })
}

// homeOf gives the place of the definition which counts the manifest: the first in the task's order for which it is a
// candidate, else that of its first rejection that names a definition of the task, else -1. Over all definitions of a task
// every manifest so counts exactly once.
func (g *Gathered) homeOf(v *proto.Verdict) int {
	home := -1
	for i := range v.Candidates {
		if at, ok := g.order[v.Candidates[i].Definition]; ok && (home < 0 || at < home) {
			home = at
		}
	}
	if home >= 0 {
		return home
	}
	for _, r := range v.Rejections {
		if at, ok := g.order[r.Definition]; ok {
			return at
		}
	}
	return -1
}

// reasonElsewhere counts a manifest whose verdict speaks only of definitions that its task does not have.
const reasonElsewhere = "other_definition"

func unclaimedReason(v *proto.Verdict) string {
	if len(v.Rejections) > 0 {
		return v.Rejections[0].Reason
	}
	return reasonElsewhere
}

// Contents gives the distinct contents, by uuid.
func (g *Gathered) Contents() []*Content {
	for _, c := range g.contents {
		if c.Provenance.Rank < 0 {
			c.Provenance.Rank = g.rank(&c.Provenance)
		}
	}
	return slices.SortedFunc(maps.Values(g.contents), func(a, b *Content) int { return cmp.Compare(a.UUID, b.UUID) })
}

// Tallies says how every manifest ended, once it is known which contents became lines and which the dataset had already.
// Of the manifests with equal content one stands for the content, and the others are duplicates.
func (g *Gathered) Tallies(s Selection) (all, home, unclaimed proto.Tally) {
	all.Add(g.all)
	home.Add(g.home)
	unclaimed.Add(g.unclaimed)
	count := func(t *proto.Tally, manifests int, uuid string) {
		if manifests == 0 {
			return
		}
		switch {
		case s.chosen[uuid]:
			t.Workload++
			manifests--
		case !s.existing[uuid]:
			t.NotSelected++
			manifests--
		}
		t.Duplicate += manifests
	}
	for uuid, c := range g.contents {
		count(&all, c.Manifests, uuid)
		count(&home, c.home, uuid)
	}
	return all, home, unclaimed
}

// Shapes counts the candidates by their axes, num_pages aside.
func (g *Gathered) Shapes() map[string]int {
	shapes := map[string]int{}
	for _, c := range g.contents {
		shapes[shapeKey(c.Axes)] += c.Manifests
	}
	return shapes
}
