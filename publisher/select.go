package publisher

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/proto"
)

// DefaultPerAxes is how many workloads of different content a dataset may have for identical axes.
const DefaultPerAxes = 2

// poolAxis is the size of the KV pool. It says which pages the allocator happened to hand out, not what work was done, so
// it makes neither a shape nor a distance.
const poolAxis = "num_pages"

// batchAxes are the axes that count requests, the best first; the len_ ones count them plus one. A definition with none of
// them (a gemm's M, a prefill's total_q count tokens) has no batch size: one of each from the smallest up would spend all
// the room on the smallest shapes, and the farthest-point choice alone spreads them.
var batchAxes = []string{"batch_size", "num_seqs", "len_indptr", "len_cu_seqlens"}

// Shape is the axes of a workload: what selection looks at.
type Shape []proto.AxisValue

// Limits bound a selection.
type Limits struct {
	New     int // most new workloads
	PerAxes int // most workloads of equal axes (num_pages aside), those of the dataset included
	// Asked is the batch size the engine ran with. Where there are more batch sizes than room, its place is kept: a run
	// that fills up and drains passes through every smaller one. 0: unknown.
	Asked int
}

// Selection is a choice among contents.
type Selection struct {
	Chosen   []*Content // in the order of their lines
	chosen   map[string]bool
	existing map[string]bool // contents the dataset has already
}

// Select chooses the contents to write: first one for each batch size that the dataset does not show yet, ascending, then
// whichever is farthest from everything the dataset and the choice have. Within a batch size the farthest counts as well.
// Equal distances are settled by uuid, so the choice depends on the sets alone. contents must be sorted by uuid (Contents
// does); have is every line of the dataset for this definition; known are the uuids among contents that it holds already.
func Select(contents []*Content, have []Shape, known map[string]bool, lim Limits) Selection {
	sel := Selection{chosen: map[string]bool{}, existing: map[string]bool{}}
	room := map[string]int{} // shape → lines of that shape
	for _, s := range have {
		room[shapeKey(s)]++
	}
	var open []*Content
	for _, c := range contents {
		if known[c.UUID] {
			sel.existing[c.UUID] = true
			continue
		}
		key := shapeKey(c.Axes)
		if room[key] < lim.PerAxes {
			room[key]++
			open = append(open, c)
		}
	}
	p := newPicker(open, have)
	for _, n := range batchesToShow(open, have, lim) {
		p.pick(func(c *Content) bool { return batchOf(c.Axes) == n })
	}
	for len(p.picked) < lim.New && p.pick(func(*Content) bool { return true }) {
	}
	sel.Chosen = p.picked
	for _, c := range p.picked {
		sel.chosen[c.UUID] = true
	}
	return sel
}

// batchesToShow lists the batch sizes that get a workload each, ascending, as many as there is room for.
func batchesToShow(open []*Content, have []Shape, lim Limits) []int64 {
	shown := map[int64]bool{-1: true}
	for _, s := range have {
		shown[batchOf(s)] = true
	}
	var sizes []int64
	for _, c := range open {
		if n := batchOf(c.Axes); !shown[n] {
			shown[n] = true
			sizes = append(sizes, n)
		}
	}
	slices.Sort(sizes)
	if len(sizes) <= lim.New {
		return sizes
	}
	cut := sizes[:max(lim.New, 0)]
	if asked := int64(lim.Asked); len(cut) > 0 && asked > cut[len(cut)-1] && slices.Contains(sizes, asked) {
		cut[len(cut)-1] = asked
	}
	return cut
}

// batchOf gives the number of requests, or -1 where no axis tells it.
func batchOf(axes []proto.AxisValue) int64 {
	for _, name := range batchAxes {
		for _, a := range axes {
			if a.Name != name {
				continue
			}
			if strings.HasPrefix(name, "len_") {
				return a.Value - 1
			}
			return a.Value
		}
	}
	return -1
}

// picker is the greedy farthest-point choice. near holds each open content's distance to the nearest of all that is there,
// so that a pick costs one pass.
type picker struct {
	open   []*Content
	near   []float64
	taken  []bool
	picked []*Content
}

func newPicker(open []*Content, have []Shape) *picker {
	p := &picker{open: open, near: make([]float64, len(open)), taken: make([]bool, len(open))}
	for i := range p.near {
		p.near[i] = math.Inf(1)
	}
	seen := map[string]bool{}
	for _, s := range have {
		if key := shapeKey(s); !seen[key] {
			seen[key] = true
			p.moveNear(s)
		}
	}
	return p
}

// pick takes the farthest open content that may be taken, and reports whether there was one. open is sorted by uuid, and
// only a greater distance replaces a choice: the smallest uuid wins a tie.
func (p *picker) pick(may func(*Content) bool) bool {
	best := -1
	for i, c := range p.open {
		if !p.taken[i] && may(c) && (best < 0 || p.near[i] > p.near[best]) {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	p.taken[best] = true
	p.picked = append(p.picked, p.open[best])
	p.moveNear(p.open[best].Axes)
	return true
}

func (p *picker) moveNear(axes []proto.AxisValue) {
	for i, c := range p.open {
		p.near[i] = min(p.near[i], distance(c.Axes, axes))
	}
}

// distance sums |a-b| / max(a, b) over the axes: 0 for equal, up to 1 an axis, the same whatever the axis' scale. An axis
// that only one side has counts as 1. Divisions and sums only, in the order of a's axes: no platform fuses them into other
// roundings.
func distance(a, b []proto.AxisValue) float64 {
	sum := 0.0
	for _, x := range a {
		if x.Name == poolAxis {
			continue
		}
		d := 1.0
		for _, y := range b {
			if y.Name == x.Name {
				lo, hi := float64(min(x.Value, y.Value)), float64(max(x.Value, y.Value))
				d = (hi - lo) / max(hi, 1)
				break
			}
		}
		sum += d
	}
	return sum
}

// shapeKey is equal for equal axes, whatever their order, num_pages aside.
func shapeKey(axes []proto.AxisValue) string {
	parts := make([]string, 0, len(axes))
	for _, a := range axes {
		if a.Name != poolAxis {
			parts = append(parts, a.Name+"="+strconv.FormatInt(a.Value, 10))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
