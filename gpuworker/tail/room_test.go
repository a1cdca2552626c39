package tail_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/proto"
)

// diskOf gives what one synthetic run takes on this file system.
func diskOf(t *testing.T) (plan, run int64) {
	t.Helper()
	w := newSynth(t, t.TempDir(), 1)
	_, plan = manifest.Measure(w.plan(1))
	_, run = manifest.Measure(w.run(1))
	if plan == 0 || run == 0 {
		t.Skip("this file system counts no blocks")
	}
	return plan, run
}

// TestGateHoldsTheQuota has an engine that asks before each dump, and manifests that are stored slowly: the directory never
// holds more than the quota, and all is collected.
func TestGateHoldsTheQuota(t *testing.T) {
	t.Parallel()
	plan, run := diskOf(t)
	dir := t.TempDir()
	s := newSink(t)
	opt := options(dir, s)
	opt.Quota, opt.InFlight = 2*plan+6*run, 2
	opt.Ship = func(ctx context.Context, m *proto.Manifest, tensors map[string][]byte) error {
		time.Sleep(4 * time.Millisecond)
		return s.ship(ctx, m, tensors)
	}
	r := start(t, opt)
	w := newSynth(t, dir, 100)
	held := 0
	for range 8 {
		for layer := range 6 {
			begun := time.Now()
			if err := r.tailer.Gate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if time.Since(begun) > 2*time.Millisecond {
				held++
			}
			if layer == 0 {
				w.plan(1)
			} else {
				w.run(1)
			}
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, r.counts, 40)
	if r.counts.PeakBytes > opt.Quota || r.counts.PeakBytes == 0 {
		t.Errorf("peak is %d, quota %d", r.counts.PeakBytes, opt.Quota)
	}
	if held == 0 {
		t.Error("the engine was never held back")
	}
	if err := r.tailer.Gate(t.Context()); err != nil {
		t.Errorf("gate after the end: %v", err)
	}
}

// TestGateReleasesTheLastOfAPair has room for hardly more than what waits for its process's next call: the gate must not
// wait for it for ever.
func TestGateReleasesTheLastOfAPair(t *testing.T) {
	t.Parallel()
	plan, run := diskOf(t)
	dir := t.TempDir()
	s := newSink(t)
	opt := options(dir, s)
	opt.Quota = plan + run + run/2
	r := start(t, opt)
	w := newSynth(t, dir, 100)
	w.ragged = true
	for i := range 5 {
		if err := r.tailer.Gate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			w.plan(1)
		} else {
			w.run(1)
		}
	}
	if err := r.stop(); err != nil || s.len() != 4 {
		t.Errorf("%d manifests, %v", s.len(), err)
	}
}

// pressure records what Options.Pressure hears.
type pressure struct {
	mu    sync.Mutex
	heard []bool
}

func (p *pressure) hear(over bool, _, _ int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, over)
}

// last reports whether what was heard last is want. Shedding outputs may make room for a moment in between.
func (p *pressure) last(want bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.heard) > 0 && p.heard[len(p.heard)-1] == want
}

// TestOverQuota has an engine that cannot pause, and a store that hangs: pressure is reported, outputs go, inputs stay; and
// when the store works again there is room again.
func TestOverQuota(t *testing.T) {
	t.Parallel()
	plan, run := diskOf(t)
	dir := t.TempDir()
	s := newSink(t)
	var p pressure
	opt := options(dir, s)
	opt.Quota, opt.InFlight, opt.Pressure = plan+4*run, 2, p.hear
	open := make(chan struct{})
	opt.Ship = func(ctx context.Context, m *proto.Manifest, tensors map[string][]byte) error {
		select {
		case <-open:
			return s.ship(ctx, m, tensors)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	r := start(t, opt)
	w := newSynth(t, dir, 100)
	w.plan(1)
	var runs []string
	for range 12 {
		runs = append(runs, w.run(1))
	}
	eventually(t, "pressure is reported", func() bool { return p.last(true) })
	eventually(t, "outputs are shed", func() bool {
		for _, path := range runs {
			if fileExists(filepath.Join(path, "outputs.safetensors")) {
				return false
			}
		}
		return true
	})
	for _, path := range runs {
		if !fileExists(filepath.Join(path, "inputs.safetensors")) {
			t.Errorf("%s lost its inputs before it was stored", path)
		}
	}
	close(open)
	eventually(t, "room is reported", func() bool { return p.last(false) })
	if err := r.stop(); err != nil || s.len() != 12 {
		t.Errorf("%d manifests, %v", s.len(), err)
	}
	empty(t, dir)
}

// TestQuotaFails has nothing freed while the directory is over its quota: that is one clear failure, and nothing is deleted.
func TestQuotaFails(t *testing.T) {
	t.Parallel()
	plan, run := diskOf(t)
	for name, c := range map[string]struct {
		quota int64
		ship  func(context.Context, *proto.Manifest, map[string][]byte) error
	}{
		"store hangs": {plan + 2*run, func(ctx context.Context, _ *proto.Manifest, _ map[string][]byte) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}},
		"smaller than a plan": {plan / 2, func(context.Context, *proto.Manifest, map[string][]byte) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			opt := options(dir, newSink(t))
			opt.Quota, opt.Ship, opt.Settle = c.quota, c.ship, 200*time.Millisecond
			r := start(t, opt)
			newSynth(t, dir, 100).step(1, 8)
			<-r.ended
			checkFailure(t, r.err, proto.CodeDiskFull, dir)
			var f *proto.Failure
			if errors.As(r.err, &f) && !f.Retryable {
				t.Error("the failure is not retryable")
			}
		})
	}
}

// TestPeakWithoutQuota measures even where nothing limits, and never deletes without leave.
func TestPeakWithoutQuota(t *testing.T) {
	t.Parallel()
	plan, run := diskOf(t)
	dir := t.TempDir()
	s := newSink(t)
	opt := options(dir, s)
	opt.Delete, opt.Quota = false, 1
	r := start(t, opt)
	newSynth(t, dir, 100).step(1, 5)
	eventually(t, "all is shipped", func() bool { return s.len() == 5 })
	if err := r.tailer.Gate(t.Context()); err != nil {
		t.Errorf("gate without deletion: %v", err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if r.counts.PeakBytes < plan+4*run || dumpsIn(t, dir) != 6 {
		t.Errorf("peak %d, %d dumps left", r.counts.PeakBytes, dumpsIn(t, dir))
	}
	got, err := tail.Scan(t.Context(), dir, origin, func(*proto.Manifest, map[string][]byte) error { return nil })
	if err != nil || got.Dumps != r.counts.Dumps || got.BytesRead != r.counts.BytesRead || got.BytesSeen != r.counts.BytesSeen {
		t.Errorf("scan %+v, tail %+v, %v", got, r.counts, err)
	}
}
