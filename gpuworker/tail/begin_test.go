package tail_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

func early(m *proto.Manifest) bool {
	return m.Defect != nil && m.Defect.Reason == proto.DefectNoTraffic
}

// TestBegin: what was there when the engine began to serve becomes no workload and plans none, what comes after it does.
func TestBegin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSink(t)
	opt := options(dir, s)
	opt.Warmup = true
	r := start(t, opt)
	w := newSynth(t, dir, 100)
	for range 5 {
		w.step(1, 2)
	}
	w.plan(2)
	unfinished := filepath.Base(w.beginRun(2).Dir())
	if err := r.tailer.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Base(w.run(2)) // on a plan from before
	w.step(1, 3)
	if err := r.tailer.Begin(t.Context()); err != nil {
		t.Errorf("a second time: %v", err)
	}
	w.step(2, 3)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	before, traffic := 0, 0
	for key, m := range s.got {
		switch {
		case early(m):
			before++
			if len(m.Call.Tensors) > 0 || m.Plan != nil {
				t.Errorf("%v is of no use, and carries tensors or a plan", key)
			}
		case key.dump == orphan:
			if m.PlanNote != proto.PlanEarly || m.Plan != nil {
				t.Errorf("%v has the plan %q, note %q", key, planOf(m), m.PlanNote)
			}
		case m.Defect != nil || m.Plan == nil:
			t.Errorf("%v: defect %v, note %q", key, m.Defect, m.PlanNote)
		default:
			traffic++
		}
	}
	if before != 11 || traffic != 6 || !early(s.got[dumpKey{dump: unfinished}]) {
		t.Errorf("%d before traffic and %d of traffic, want 11 and 6", before, traffic)
	}
	checkCounts(t, r.counts, 18)
	if r.counts.Plans != 8 || r.counts.BeforeTraffic != 5*3+2 {
		t.Errorf("counts: %+v", r.counts)
	}
	empty(t, dir)
}

// TestBegin_NotAsked: without Warmup all is traffic, and Begin is nothing to wait for.
func TestBegin_NotAsked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSink(t)
	r := start(t, options(dir, s))
	w := newSynth(t, dir, 100)
	w.step(1, 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.tailer.Begin(ctx); err != nil {
		t.Error(err)
	}
	if err := r.stop(); err != nil || r.counts.BeforeTraffic != 0 || early(slices.Collect(maps.Values(s.got))[0]) {
		t.Errorf("%v, %+v", err, r.counts)
	}
}

// TestBegin_Never: an engine that ends before it serves had no traffic.
func TestBegin_Never(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSink(t)
	opt := options(dir, s)
	opt.Warmup, opt.Origin.PlanOnly = true, []string{"BatchDecodeWithPagedKVCacheWrapper"}
	r := start(t, opt)
	w := newSynth(t, dir, 100)
	w.step(1, 2)
	eventually(t, "shipped while it warms up", func() bool { return s.len() > 0 })
	w.step(1, 2)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for key, m := range s.got {
		if !early(m) || m.Implied {
			t.Errorf("%v: defect %v, implied %t", key, m.Defect, m.Implied)
		}
	}
	checkCounts(t, r.counts, 6)
	if r.counts.BeforeTraffic != 6 {
		t.Errorf("counts: %+v", r.counts)
	}
	if err := r.tailer.Begin(t.Context()); err == nil {
		t.Error("begun after the end")
	}
}

// TestBegin_Latest: a dump made just before Begin is before traffic, one made just after it is not, however listings fall.
func TestBegin_Latest(t *testing.T) {
	t.Parallel()
	for range 40 {
		dir := t.TempDir()
		s := newSink(t)
		opt := options(dir, s)
		opt.Warmup, opt.MaxPoll = true, time.Hour // Begin itself must bring the listing about
		r := start(t, opt)
		w := newSynth(t, dir, 100)
		w.plan(1)
		last := filepath.Base(w.run(1))
		if err := r.tailer.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.plan(1)
		first := filepath.Base(w.run(1))
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if !early(s.got[dumpKey{dump: last}]) || early(s.got[dumpKey{dump: first}]) {
			t.Fatalf("last before: %v, first after: %v", s.got[dumpKey{dump: last}].Defect, s.got[dumpKey{dump: first}].Defect)
		}
	}
}

// TestBegin_Blocked: Begin comes through while nothing can be stored and the directory is over its quota; it heeds its context.
func TestBegin_Blocked(t *testing.T) {
	t.Parallel()
	_, size := diskOf(t)
	dir := t.TempDir()
	s := newSink(t)
	opt := options(dir, s)
	store := make(chan struct{})
	opt.Warmup, opt.InFlight, opt.Quota = true, 2, size
	opt.Ship = func(ctx context.Context, m *proto.Manifest, tensors map[string][]byte) error {
		<-store
		return s.ship(ctx, m, tensors)
	}
	tailer := tail.New(opt)
	gone, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("drained")
	cancel(stop)
	if err := tailer.Begin(gone); !errors.Is(err, stop) {
		t.Errorf("nobody runs, the context has ended, Begin gave %v", err)
	}

	r := start(t, opt)
	w := newSynth(t, dir, 100)
	for range 4 {
		w.step(1, 3)
	}
	eventually(t, "over its quota", func() bool { return r.tailer.Snapshot().Used > opt.Quota })
	if err := r.tailer.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.step(1, 3)
	close(store)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, r.counts, 15)
	if r.counts.BeforeTraffic != 16 {
		t.Errorf("counts: %+v", r.counts)
	}
}

// TestBegin_Golden plays every recording up to some point, begins, and plays on: graph captures from before with replays after
// are in them, and damage of every kind.
func TestBegin_Golden(t *testing.T) {
	t.Parallel()
	dumps := goldentest.Dumps(t)
	cases, err := os.ReadDir(dumps)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Name() == "select_many" {
			continue
		}
		for _, part := range []int{0, 1, 2, 3, 4} {
			t.Run(c.Name(), func(t *testing.T) {
				t.Parallel()
				from, dir := filepath.Join(dumps, c.Name()), t.TempDir()
				want := scanAll(t, from)
				s := newSink(t)
				opt := options(dir, s)
				opt.Warmup = true
				r := start(t, opt)
				p := newPlayer(t, from, dir)
				at := len(p.steps) * part / 4
				for _, step := range p.steps[:at] {
					step()
				}
				if err := r.tailer.Begin(t.Context()); err != nil {
					t.Fatal(err)
				}
				before := maps.Clone(p.begun)
				underWay(t, dir, before)
				for _, step := range p.steps[at:] {
					step()
				}
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				checkBegun(t, s.got, want, before)
				checkCounts(t, r.counts, len(want))
				if r.counts.BeforeTraffic != int64(len(before)) {
					t.Errorf("%d before traffic, %d were begun", r.counts.BeforeTraffic, len(before))
				}
				empty(t, dir)
			})
		}
	}
}

// TestBegin_UnloggedReplays: replays that the session log does not have are known by the time Begin returns, too.
func TestBegin_UnloggedReplays(t *testing.T) {
	t.Parallel()
	from, dir := filepath.Join(goldentest.Dumps(t), "graph_planned"), t.TempDir()
	for _, step := range newPlayer(t, from, dir).steps {
		step()
	}
	if err := os.Remove(filepath.Join(dir, fidump.SessionFile)); err != nil {
		t.Fatal(err)
	}
	s := newSink(t)
	opt := options(dir, s)
	opt.Warmup = true
	r := start(t, opt)
	if err := r.tailer.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for key, m := range s.got {
		if !early(m) {
			t.Errorf("%v: defect %v", key, m.Defect)
		}
	}
	if n := dumpsIn(t, from); r.counts.BeforeTraffic != n {
		t.Errorf("%d before traffic, want %d", r.counts.BeforeTraffic, n)
	}
}

// underWay adds the replay that the session log's last line tells of: FlashInfer writes the line of the captured call before
// that of the replay, and a recording may be cut between the two. An engine that calls Begin is idle.
func underWay(t *testing.T, dir string, before map[fidump.CallID]bool) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, fidump.SessionFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var r struct {
		Dir   string `json:"dump_dir"`
		Base  string `json:"graph_capture_base_dump_dir"`
		Flush int    `json:"graph_capture_flush_index"`
	}
	all := lines(data)
	if len(all) > 0 && json.Unmarshal(all[len(all)-1], &r) == nil && r.Base == "" && r.Flush > 0 {
		before[fidump.CallID{Dump: filepath.Base(r.Dir), Flush: r.Flush}] = true
	}
}

// checkBegun holds what was shipped against a scan of the whole, given which calls were begun before traffic.
func checkBegun(t *testing.T, got, want map[dumpKey]*proto.Manifest, before map[fidump.CallID]bool) {
	t.Helper()
	for key, w := range want {
		g := got[key]
		switch {
		case g == nil:
			t.Errorf("%v: missing", key)
		case before[fidump.CallID{Dump: key.dump, Flush: key.flush}] != early(g):
			t.Errorf("%v: begun before traffic %t, defect %v", key, !early(g), g.Defect)
		case early(g):
		case w.Plan != nil && before[fidump.CallID{Dump: w.Plan.Dump}]:
			if g.Plan != nil || g.PlanNote == proto.PlanNone {
				t.Errorf("%v has the plan %s, of before traffic", key, planOf(g))
			}
		case planOf(g) != planOf(w):
			t.Errorf("%v: plan %q, note %q; want %q", key, planOf(g), g.PlanNote, planOf(w))
		}
	}
}

// TestSpent: the budget is spent when every process that serves has made its dumps, those before traffic counted.
func TestSpent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSink(t)
	opt := options(dir, s)
	opt.Warmup, opt.Budget = true, 6
	r := start(t, opt)
	a, b, c := newSynth(t, dir, 100), newSynth(t, dir, 200), newSynth(t, dir, 300)
	c.run(1) // makes no more: a compiler, a profiler
	a.step(1, 2)
	if err := r.tailer.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	never := func(why string) {
		t.Helper()
		seen := r.tailer.Snapshot().Counts.Dumps
		for range 3 {
			if r.tailer.Spent() {
				t.Errorf("spent after %d dumps: %s", seen, why)
			}
			time.Sleep(2 * opt.MaxPoll)
		}
	}
	never("nobody serves yet")
	b.step(1, 2) // ranks serve side by side: none is done before another has begun
	a.step(1, 2)
	never("b has made 3 of 6")
	b.step(1, 2)
	eventually(t, "spent", r.tailer.Spent)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}

// TestSpent_BeforeTraffic: graphs and warm-up took all that there was. Serving would bring nothing.
func TestSpent_BeforeTraffic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opt := options(dir, newSink(t))
	opt.Warmup, opt.Budget = true, 3
	r := start(t, opt)
	newSynth(t, dir, 100).step(1, 2)
	if r.tailer.Spent() {
		t.Error("spent before the engine served")
	}
	if err := r.tailer.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !r.tailer.Spent() {
		t.Error("not spent, and nothing can come")
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}

// TestPlanOnly: where only plans are dumped, each is a manifest. It stays on disk until the next plan of its wrapper, since runs
// could still take it, and never goes before it is stored.
func TestPlanOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSink(t)
	opt := options(dir, s)
	opt.Origin.PlanOnly = []string{"BatchDecodeWithPagedKVCacheWrapper"}
	var mu sync.Mutex
	opt.Ship = func(ctx context.Context, m *proto.Manifest, tensors map[string][]byte) error {
		time.Sleep(time.Duration(len(m.ID)%3) * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		if !onDisk(t, dir, m.Call.Dump) || m.Plan != nil && !onDisk(t, dir, m.Plan.Dump) {
			t.Errorf("%s was deleted before it was stored", m.Call.Dump)
		}
		return s.ship(ctx, m, tensors)
	}
	r := start(t, opt)
	w := newSynth(t, dir, 100)
	for range 20 {
		w.plan(1)
		w.plan(2)
	}
	late := filepath.Base(w.run(2)) // should one come after all
	eventually(t, "all but the latest plans are gone", func() bool {
		names, err := fidump.List(dir)
		return err == nil && len(names) == 2 && s.len() == 41
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for key, m := range s.got {
		if key.dump == late {
			if m.Implied || m.Plan == nil {
				t.Errorf("the run: implied %t, plan %q, note %q", m.Implied, planOf(m), m.PlanNote)
			}
		} else if !m.Implied || m.Plan != nil || m.Defect != nil || len(m.Call.Tensors) != 3 {
			t.Errorf("%v: implied %t, plan %q, defect %v", key, m.Implied, planOf(m), m.Defect)
		}
	}
	checkCounts(t, r.counts, 41)
	if r.counts.Plans != 0 {
		t.Errorf("counts: %+v", r.counts)
	}
	empty(t, dir)
}
