package publisher

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tracefleet/tracefleet/proto"
)

func shape(batch, kv int64) Shape {
	return Shape{{Name: "batch_size", Value: batch}, {Name: "num_pages", Value: batch*1000 + kv}, {Name: "num_kv_indices", Value: kv}}
}

func contentOf(uuid string, axes Shape) *Content {
	return &Content{Candidate: proto.Candidate{UUID: uuid, Axes: axes}, First: uuid, Manifests: 1, home: 1}
}

func uuidsOf(list []*Content) []string {
	out := []string{}
	for _, c := range list {
		out = append(out, c.UUID)
	}
	return out
}

func TestSelect(t *testing.T) {
	t.Parallel()
	abc := []*Content{contentOf("a", shape(8, 10)), contentOf("b", shape(8, 1000)), contentOf("c", shape(16, 500)), contentOf("d", shape(4, 90)), contentOf("e", shape(4, 90)), contentOf("f", shape(4, 90))}
	for _, tc := range []struct {
		name     string
		contents []*Content
		have     []Shape
		known    map[string]bool
		lim      Limits
		want     []string
	}{
		// d is the first of the smallest batch; a is farther from d than b is (9/10 beats 0.5 + 0.91 no: see distance), and so on.
		{"one a batch size, ascending", abc, nil, nil, Limits{New: 3, PerAxes: 2}, []string{"d", "b", "c"}},
		{"then the farthest", abc, nil, nil, Limits{New: 4, PerAxes: 2}, []string{"d", "b", "c", "a"}},
		{"at most two of equal axes, whatever num_pages", abc, nil, nil, Limits{New: 9, PerAxes: 2}, []string{"d", "b", "c", "a", "e"}},
		{"the dataset's lines count", abc, []Shape{shape(4, 90)}, nil, Limits{New: 9, PerAxes: 2}, []string{"b", "c", "a", "d"}},
		{"no room for equal axes", abc, []Shape{shape(4, 90), shape(4, 90)}, nil, Limits{New: 9, PerAxes: 2}, []string{"b", "c", "a"}},
		{"what is known is not chosen", abc, []Shape{shape(8, 1000)}, map[string]bool{"b": true}, Limits{New: 9, PerAxes: 2}, []string{"d", "c", "a", "e"}},
		{"the smallest batch sizes when there is no room", abc, nil, nil, Limits{New: 2, PerAxes: 2}, []string{"d", "b"}},
		{"but the batch size asked for has its place", abc, nil, nil, Limits{New: 2, PerAxes: 2, Asked: 16}, []string{"d", "c"}},
		{"nothing", nil, []Shape{shape(1, 1)}, nil, Limits{New: 2, PerAxes: 2}, []string{}},
		{"no room", abc, nil, nil, Limits{New: 0, PerAxes: 2}, []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := uuidsOf(Select(tc.contents, tc.have, tc.known, tc.lim).Chosen)
			if !slices.Equal(got, tc.want) {
				t.Errorf("chose %v, want %v", got, tc.want)
			}
		})
	}
}

func TestBatchOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		axes Shape
		want int64
	}{
		{Shape{{Name: "len_indptr", Value: 9}, {Name: "batch_size", Value: 8}}, 8},
		{Shape{{Name: "total_q", Value: 100}, {Name: "len_indptr", Value: 9}}, 8},
		{Shape{{Name: "total_seq_len", Value: 7}, {Name: "num_seqs", Value: 3}, {Name: "len_cu_seqlens", Value: 4}}, 3},
		{Shape{{Name: "M", Value: 7}}, -1},
		{nil, -1},
	} {
		if got := batchOf(tc.axes); got != tc.want {
			t.Errorf("%v: batch size %d, want %d", tc.axes, got, tc.want)
		}
	}
}

// naive is the farthest-point choice as one would write it down: every distance anew in every round.
func naive(open []*Content, have []Shape, lim Limits) []string {
	var picked []*Content
	far := func(c *Content) float64 {
		d := math.Inf(1)
		for _, h := range have {
			d = min(d, distance(c.Axes, h))
		}
		for _, p := range picked {
			d = min(d, distance(c.Axes, p.Axes))
		}
		return d
	}
	take := func(may func(*Content) bool) bool {
		var best *Content
		for _, c := range open {
			if slices.Contains(picked, c) || !may(c) {
				continue
			}
			if best == nil || far(c) > far(best) || far(c) == far(best) && c.UUID < best.UUID {
				best = c
			}
		}
		if best != nil {
			picked = append(picked, best)
		}
		return best != nil
	}
	var shown []int64
	for _, h := range have {
		shown = append(shown, batchOf(h))
	}
	var sizes []int64
	for _, c := range open {
		if n := batchOf(c.Axes); n >= 0 && !slices.Contains(shown, n) && !slices.Contains(sizes, n) {
			sizes = append(sizes, n)
		}
	}
	slices.Sort(sizes)
	for _, n := range sizes {
		if len(picked) < lim.New {
			take(func(c *Content) bool { return batchOf(c.Axes) == n })
		}
	}
	for len(picked) < lim.New && take(func(*Content) bool { return true }) {
	}
	return uuidsOf(picked)
}

func TestSelect_AgainstNaive(t *testing.T) {
	t.Parallel()
	axes := rapid.Custom(func(t *rapid.T) Shape {
		return shape(rapid.Int64Range(1, 6).Draw(t, "batch"), rapid.Int64Range(0, 12).Draw(t, "kv"))
	})
	rapid.Check(t, func(t *rapid.T) {
		have := rapid.SliceOfN(axes, 0, 4).Draw(t, "have")
		var open []*Content
		for i, s := range rapid.SliceOfN(axes, 0, 14).Draw(t, "open") {
			open = append(open, contentOf(fmt.Sprintf("u%02d", i), s))
		}
		lim := Limits{New: rapid.IntRange(0, 8).Draw(t, "new"), PerAxes: 100}
		got := uuidsOf(Select(open, have, nil, lim).Chosen)
		if want := naive(open, have, lim); !slices.Equal(got, want) {
			t.Fatalf("chose %v, want %v", got, want)
		}
	})
}

func TestGathered_AnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c"}
		var verdicts []*proto.Verdict
		for i := range rapid.IntRange(0, 30).Draw(t, "manifests") {
			v := verdict(fmt.Sprintf("m%02d", i))
			v.Provenance.BatchSize = rapid.IntRange(0, 3).Draw(t, "asked")
			for _, def := range names {
				switch rapid.IntRange(0, 3).Draw(t, "verdict") {
				case 0:
					kv := rapid.Int64Range(0, 5).Draw(t, "kv")
					v.Candidates = append(v.Candidates, proto.Candidate{Definition: def, UUID: fmt.Sprintf("%s%d", def, kv), Axes: shape(1+kv%3, kv)})
				case 1:
					v.Rejections = append(v.Rejections, proto.Rejection{Definition: def, Reason: fmt.Sprint("r", i%3)})
				}
			}
			if len(v.Candidates)+len(v.Rejections) == 0 {
				v.Rejections = append(v.Rejections, proto.Rejection{Reason: "none"})
			}
			verdicts = append(verdicts, v)
		}
		type outcome struct {
			Chosen               []string
			From                 []string
			All, Home, Unclaimed proto.Tally
			Seen                 proto.Seen
		}
		run := func(list []*proto.Verdict) (out []outcome, sum int) {
			for i := range names {
				g := NewGathered(names, i)
				for _, v := range list {
					g.Add(v)
				}
				sel := Select(g.Contents(), []Shape{shape(1, 3)}, map[string]bool{"a3": true, "b0": true}, Limits{New: 3, PerAxes: 2, Asked: g.batchSize})
				o := outcome{Chosen: uuidsOf(sel.Chosen)}
				for _, c := range sel.Chosen {
					o.From = append(o.From, c.First)
				}
				o.All, o.Home, o.Unclaimed = g.Tallies(sel)
				o.Seen, _ = g.Seen(1, nil)
				out = append(out, o)
				sum += o.Home.Sum() + o.Unclaimed.Sum()
			}
			return out, sum
		}
		want, sum := run(verdicts)
		if sum != len(verdicts) {
			t.Fatalf("%d manifests are counted, of %d", sum, len(verdicts))
		}
		seed := rapid.Uint64().Draw(t, "shuffle")
		shuffled := slices.Clone(verdicts)
		r := rand.New(rand.NewPCG(seed, 0))
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got, _ := run(shuffled); !reflect.DeepEqual(got, want) {
			t.Fatalf("another order gives\n%+v\nnot\n%+v", got, want)
		}
	})
}

func TestKVLengths(t *testing.T) {
	t.Parallel()
	if got := kvLengths([]int64{0, 2, 2, 5}, []int64{1, 0, 4}, 4); !slices.Equal(got, []int64{5, 0, 12}) {
		t.Errorf("lengths %v", got)
	}
	if got := kvLengths([]int64{0, 2, 7}, nil, 0); !slices.Equal(got, []int64{2, 5}) {
		t.Errorf("lengths without pages %v", got)
	}
	for n, want := range map[int64]int64{-1: 0, 0: 0, 1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 1 << 40: 1 << 40} {
		if got := bucket(n); got != want {
			t.Errorf("bucket(%d) = %d, want %d", n, got, want)
		}
	}
}
