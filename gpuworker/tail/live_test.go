package tail_test

import (
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

// sink is a Ship that keeps what it gets.
type sink struct {
	t    testing.TB
	mu   sync.Mutex
	got  map[dumpKey]*proto.Manifest
	hook func(m *proto.Manifest) error // before it is kept
}

func newSink(t testing.TB) *sink { return &sink{t: t, got: map[dumpKey]*proto.Manifest{}} }

func (s *sink) ship(_ context.Context, m *proto.Manifest, tensors map[string][]byte) error {
	if s.hook != nil {
		if err := s.hook(m); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.got[keyOf(m)] != nil {
		s.t.Errorf("manifest of %v shipped twice", keyOf(m))
	}
	s.got[keyOf(m)] = m
	return nil
}

func (s *sink) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// options are those of a Tailer in a hurry.
func options(dir string, s *sink) tail.Options {
	return tail.Options{
		Dir: dir, Origin: origin, Delete: true, Ship: s.ship, Log: zerolog.Nop(),
		MinPoll: time.Millisecond, MaxPoll: 5 * time.Millisecond, Grace: 100 * time.Millisecond,
	}
}

// run is a Tailer at work.
type run struct {
	tailer *tail.Tailer
	done   chan struct{} // close it when the engine ends
	ended  chan struct{}
	counts proto.AttemptCounts
	err    error
}

func start(t testing.TB, opt tail.Options) *run {
	r := &run{tailer: tail.New(opt), done: make(chan struct{}), ended: make(chan struct{})}
	ctx := t.Context()
	go func() {
		defer close(r.ended)
		r.counts, r.err = r.tailer.Run(ctx, r.done)
	}()
	return r
}

// stop ends the engine and waits for the Tailer.
func (r *run) stop() error {
	close(r.done)
	<-r.ended
	return r.err
}

// same compares manifests by content. Ranks are left out: while the engine runs they are not known.
func same(t *testing.T, got, want map[dumpKey]*proto.Manifest) {
	t.Helper()
	for key, w := range want {
		g := got[key]
		if g == nil {
			t.Errorf("%v: missing", key)
			continue
		}
		a, b := *g, *w
		a.Provenance.Rank, b.Provenance.Rank = 0, 0
		x, _ := json.Marshal(&a)
		y, _ := json.Marshal(&b)
		if string(x) != string(y) {
			t.Errorf("%v: differs\n got  plan %v note %q beside %q defect %v\n want plan %v note %q beside %q defect %v", key,
				planOf(g), g.PlanNote, g.Beside, g.Defect, planOf(w), w.PlanNote, w.Beside, w.Defect)
		}
	}
	for key := range got {
		if want[key] == nil {
			t.Errorf("%v: not wanted", key)
		}
	}
}

func planOf(m *proto.Manifest) string {
	if m.Plan == nil {
		return ""
	}
	return m.Plan.Dump
}

// empty checks that no dump is left on disk.
func empty(t *testing.T, dir string) {
	t.Helper()
	names, err := fidump.List(dir)
	if err != nil || len(names) != 0 {
		t.Errorf("%d dumps left on disk (%v), first %v", len(names), err, slices.Clip(names)[:min(1, len(names))])
	}
}

// TestLiveGolden plays every golden recording as FlashInfer wrote it, at several paces, and holds the outcome against a scan.
func TestLiveGolden(t *testing.T) {
	t.Parallel()
	dumps := goldentest.Dumps(t)
	cases, err := os.ReadDir(dumps)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		for name, pause := range map[string]time.Duration{"fast": 0, "slow": 3 * time.Millisecond} {
			if c.Name() == "select_many" && pause > 0 {
				continue
			}
			t.Run(c.Name()+"/"+name, func(t *testing.T) {
				t.Parallel()
				from, dir := filepath.Join(dumps, c.Name()), t.TempDir()
				want := scanAll(t, from)
				s := newSink(t)
				r := start(t, options(dir, s))
				for _, step := range newPlayer(t, from, dir).steps {
					step()
					if pause > 0 {
						time.Sleep(rand.N(pause))
					}
				}
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				same(t, s.got, want)
				empty(t, dir)
				checkCounts(t, r.counts, len(want))
				if n := dumpsIn(t, from); r.counts.Dumps != n {
					t.Errorf("%d dumps counted, %d were played", r.counts.Dumps, n)
				}
			})
		}
	}
}

// TestInterleaving plays two processes into one directory in random interleavings: the manifests are those of each alone.
func TestInterleaving(t *testing.T) {
	t.Parallel()
	dumps := goldentest.Dumps(t)
	cases := []string{"interleaved", "graph_planned", "ragged_plus_paged", "same_ms", "mixed_models"}
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 1))
		a, b := cases[rng.IntN(len(cases))], cases[rng.IntN(len(cases))]
		if a == b {
			continue
		}
		t.Run(a+"+"+b, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			want := scanAll(t, filepath.Join(dumps, a))
			maps.Copy(want, scanAll(t, filepath.Join(dumps, b)))
			s := newSink(t)
			r := start(t, options(dir, s))
			queues := [][]func(){newPlayer(t, filepath.Join(dumps, a), dir).steps, newPlayer(t, filepath.Join(dumps, b), dir).steps}
			for len(queues[0])+len(queues[1]) > 0 {
				i := rng.IntN(2)
				if len(queues[i]) == 0 {
					i = 1 - i
				}
				n := 1 + rng.IntN(min(6, len(queues[i])))
				for _, step := range queues[i][:n] {
					step()
				}
				queues[i] = queues[i][n:]
				if rng.IntN(4) == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			same(t, s.got, want)
			empty(t, dir)
		})
	}
}

// TestAlreadyThere starts on directories that are full, without the engine's end: all that is finished is shipped, with every
// replay before the plans that came after it.
func TestAlreadyThere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"graph_planned", "graph_fastplan", "interleaved", "same_ms", "ragged_plus_paged", "norms"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, dir := filepath.Join(goldentest.Dumps(t), name), t.TempDir()
			want := scanAll(t, from)
			for _, step := range newPlayer(t, from, dir).steps {
				step()
			}
			s := newSink(t)
			r := start(t, options(dir, s))
			eventually(t, "all is shipped", func() bool { return s.len() == len(want) })
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			same(t, s.got, want)
			empty(t, dir)
		})
	}
}

// TestDamagedCapture has the record of a captured call damaged: its replays are collected all the same, before it is deleted.
func TestDamagedCapture(t *testing.T) {
	t.Parallel()
	from, dir := filepath.Join(goldentest.Dumps(t), "graph_planned"), t.TempDir()
	for _, step := range newPlayer(t, from, dir).steps {
		step()
	}
	damaged := 0
	for _, capture := range glob(t, dir, "*.run_call*", "metadata.jsonl") {
		write(t, capture, "{\"function_name\": \"Batch")
		damaged++
	}
	want := scanAll(t, dir)
	s := newSink(t)
	s.hook = func(m *proto.Manifest) error {
		if m.Call.Flush > 0 && m.Defect != nil {
			t.Errorf("%v: %v", keyOf(m), m.Defect)
		}
		return nil
	}
	r := start(t, options(dir, s))
	eventually(t, "the replays are shipped", func() bool { return s.len() >= len(want)-damaged })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if damaged == 0 || len(want) != damaged+16 {
		t.Errorf("%d captures damaged, %d manifests wanted", damaged, len(want))
	}
	same(t, s.got, want)
	empty(t, dir)
}
