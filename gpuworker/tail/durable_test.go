package tail_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

func onDisk(t testing.TB, dir, dump string) bool {
	t.Helper()
	_, err := os.Stat(filepath.Join(dir, dump, "inputs.safetensors"))
	return err == nil
}

// eventually waits until ok holds; the Tailer polls each few milliseconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// TestDeletedOnlyWhenStored looks at the disk from within every Ship: the dump of the manifest, and that of its plan, must
// be there until Ship has returned nil.
func TestDeletedOnlyWhenStored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSink(t)
	var mu sync.Mutex
	storing := map[string]int{} // dump → ships under way that need it
	opt := options(dir, s)
	opt.Ship = func(ctx context.Context, m *proto.Manifest, tensors map[string][]byte) error {
		need := []string{m.Call.Dump}
		if m.Plan != nil {
			need = append(need, m.Plan.Dump)
		}
		mu.Lock()
		for _, dump := range need {
			storing[dump]++
		}
		mu.Unlock()
		time.Sleep(time.Duration(len(m.ID)%5) * time.Millisecond)
		for _, dump := range need {
			if !onDisk(t, dir, dump) {
				t.Errorf("%s was deleted before it was stored", dump)
			}
		}
		return s.ship(ctx, m, tensors)
	}
	r := start(t, opt)
	w := newSynth(t, dir, 100)
	for i := range 30 {
		w.step(int64(1+i%3), 4)
	}
	eventually(t, "all runs are shipped while the engine runs", func() bool { return s.len() == 120 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	empty(t, dir)
	checkCounts(t, r.counts, 120)
	if r.counts.Plans != 30 || r.counts.BytesSeen == 0 || r.counts.BytesRead == 0 || r.counts.PeakBytes == 0 {
		t.Errorf("counts: %+v", r.counts)
	}
}

// TestShipFails has Ship fail at each of its calls in turn: Run ends with that error, and what was not stored is on disk.
func TestShipFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("stream is offline")
	for at := range 9 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := newSink(t)
			calls := 0
			s.hook = func(*proto.Manifest) error {
				s.mu.Lock()
				defer s.mu.Unlock()
				if calls++; calls > at {
					return broken
				}
				return nil
			}
			w := newSynth(t, dir, 100)
			var plans, runs []string
			for range 3 {
				plans = append(plans, w.plan(1))
				runs = append(runs, w.run(1), w.run(1), w.run(1))
			}
			r := start(t, options(dir, s))
			<-r.ended // without the engine's end
			if !errors.Is(r.err, broken) || !strings.Contains(r.err.Error(), "ship manifest") {
				t.Fatalf("Run gave %v", r.err)
			}
			stored := map[string]bool{}
			for key, m := range s.got {
				stored[key.dump] = true
				if onDisk(t, dir, key.dump) {
					t.Errorf("%s is stored and still on disk", key.dump)
				}
				_ = m
			}
			for i, path := range runs {
				run, plan := filepath.Base(path), filepath.Base(plans[i/3])
				if stored[run] {
					continue
				}
				if !onDisk(t, dir, run) || !onDisk(t, dir, plan) {
					t.Errorf("%s is not stored, but it or its plan is not on disk", run)
				}
			}
		})
	}
}

// TestShipBlocks has Ship block: nothing is deleted, the Tailer still answers, and a cancelled context ends it.
func TestShipBlocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSink(t)
	opt := options(dir, s)
	opt.InFlight = 3
	opt.Ship = func(ctx context.Context, _ *proto.Manifest, _ map[string][]byte) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("drained")
	tailer := tail.New(opt)
	ended := make(chan error)
	go func() {
		_, err := tailer.Run(ctx, make(chan struct{}))
		ended <- err
	}()
	newSynth(t, dir, 100).step(1, 20)
	eventually(t, "the backlog is counted", func() bool { return tailer.Snapshot().Backlog >= 17 })
	cancel(stop)
	if err := <-ended; !errors.Is(err, stop) {
		t.Errorf("Run gave %v", err)
	}
	if names, err := fidump.List(dir); err != nil || len(names) != 21 {
		t.Errorf("%d dumps on disk, %v", len(names), err)
	}
}

// TestOrderOfCompletion has the writer stop in the middle of a call: what comes after it in the same process waits, another
// process does not, and a newer call long enough there ends the waiting.
func TestOrderOfCompletion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSink(t)
	opt := options(dir, s)
	opt.Grace = 300 * time.Millisecond
	r := start(t, opt)
	a, b := newSynth(t, dir, 100), newSynth(t, dir, 200)
	a.plan(1)
	open := a.beginRun(1)
	b.step(1, 2)
	eventually(t, "the other process's runs are shipped", func() bool { return s.len() == 2 })
	a.end(open)
	eventually(t, "the run is shipped when it is completed", func() bool { return s.len() == 3 })
	crashed := filepath.Base(a.beginRun(1).Dir())
	begun := time.Now()
	a.run(1)
	eventually(t, "what never completes is shipped when the process went on", func() bool { return s.len() == 5 })
	if since := time.Since(begun); since < opt.Grace {
		t.Errorf("an unfinished call was taken after %v, grace is %v", since, opt.Grace)
	}
	if m := s.got[dumpKey{dump: crashed}]; m == nil || m.Call.Status != "inputs_saved" || m.Defect != nil || m.Plan == nil {
		t.Errorf("the crashed call: %+v", m)
	}
	last := filepath.Base(a.beginRun(1).Dir())
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if m := s.got[dumpKey{dump: last}]; m == nil || m.Plan == nil {
		t.Errorf("the call the engine ended in: %+v", m)
	}
	empty(t, dir)
}

// TestVanishing has dumps and the whole directory go away under the Tailer.
func TestVanishing(t *testing.T) {
	t.Parallel()
	t.Run("refused", func(t *testing.T) { // FlashInfer at its size limit
		t.Parallel()
		dir := t.TempDir()
		s := newSink(t)
		r := start(t, options(dir, s))
		refused := filepath.Join(dir, "20261123_090000_000_pid100_rmsnorm_call0001")
		if err := os.Mkdir(refused, 0o755); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is seen", func() bool { return r.tailer.Snapshot().Backlog == 1 })
		if err := os.Remove(refused); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is forgotten", func() bool { return r.tailer.Snapshot().Backlog == 0 })
		newSynth(t, dir, 100).step(1, 2)
		if err := r.stop(); err != nil || s.len() != 2 || r.counts.Dumps != 3 {
			t.Errorf("%v, %d manifests, %+v", err, s.len(), r.counts)
		}
	})
	t.Run("dump", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := newSink(t)
		opt := options(dir, s)
		opt.Grace = time.Hour
		r := start(t, opt)
		w := newSynth(t, dir, 100)
		w.plan(1)
		open := w.beginRun(1)
		after := filepath.Base(w.run(1))
		// A backlog of two with the plan read is both runs, and a listing that has the second saw the record of the first.
		eventually(t, "both runs are seen", func() bool {
			snapshot := r.tailer.Snapshot()
			return snapshot.Counts.Plans == 1 && snapshot.Backlog == 2
		})
		if err := os.RemoveAll(open.Dir()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what comes after it goes on", func() bool { return s.len() == 2 })
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if m := s.got[dumpKey{dump: filepath.Base(open.Dir())}]; m == nil || m.Defect == nil || m.Defect.Reason != proto.DefectVanished {
			t.Errorf("the dump that vanished: %+v", m)
		}
		if m := s.got[dumpKey{dump: after}]; m == nil || m.Plan == nil {
			t.Errorf("the dump after it: %+v", m)
		}
	})
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "dumps")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s := newSink(t)
		r := start(t, options(dir, s))
		newSynth(t, dir, 100).step(1, 2)
		eventually(t, "it works", func() bool { return s.len() == 2 })
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		<-r.ended
		checkFailure(t, r.err, proto.CodeDumpDir, dir)
	})
	t.Run("never there", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "dumps")
		r := start(t, options(dir, newSink(t)))
		<-r.ended
		checkFailure(t, r.err, proto.CodeDumpDir, dir)
		_, err := tail.Scan(t.Context(), dir, origin, func(*proto.Manifest, map[string][]byte) error { return nil })
		checkFailure(t, err, proto.CodeDumpDir, dir)
	})
}

func checkFailure(t *testing.T, err error, code proto.Code, mention string) {
	t.Helper()
	var f *proto.Failure
	if !errors.As(err, &f) || f.Code != code || !strings.Contains(f.Message, mention) || f.Hint == "" {
		t.Errorf("error is %v; want a failure with code %s that names %s and gives a hint", err, code, mention)
	}
}

// TestForeignContentStays puts things into the dump directory that FlashInfer never writes: none is deleted or followed.
func TestForeignContentStays(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir, outside := filepath.Join(root, "dumps"), filepath.Join(root, "outside")
	keep := map[string]string{
		"file beside the dumps":      filepath.Join(dir, "README.txt"),
		"directory beside the dumps": filepath.Join(dir, "unrelated", "x.json"),
		"file behind a link":         filepath.Join(outside, "inputs.safetensors"),
	}
	for _, path := range keep {
		write(t, path, "keep")
	}
	w := newSynth(t, dir, 100)
	w.plan(1)
	w.run(1)
	foreign := w.run(1)
	keep["file in a dump"] = filepath.Join(foreign, "notes.txt")
	write(t, keep["file in a dump"], "keep")
	linked := w.run(1)
	if err := os.Symlink(outside, filepath.Join(linked, "graph_flushes")); err != nil {
		t.Fatal(err)
	}
	keep["link in place of replays"] = filepath.Join(linked, "graph_flushes")
	fake := filepath.Join(dir, "20261123_090000_900_pid100_rmsnorm_call0001") // a link with a dump's name
	if err := os.Symlink(outside, fake); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(w.run(1), ".tmpAbC123"), "left by a killed writer")

	s := newSink(t)
	r := start(t, options(dir, s))
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for what, path := range keep {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s is gone: %v", what, err)
		}
	}
	if names, err := fidump.List(dir); err != nil || len(names) != 2 {
		t.Errorf("%d dump directories left (%v), two hold what is not FlashInfer's", len(names), err)
	}
	if s.len() != 4 {
		t.Errorf("%d manifests", s.len())
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}
