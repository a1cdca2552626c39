package tail_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// prefills writes ragged plans with two runs each, and a paged MLA plan after every one.
func (s *synth) prefills(n int, scale float64) {
	for range n {
		s.raggedStep()
		s.end(s.begin("BatchMLAPagedAttentionWrapper.plan", "", 9, fidump.FloatArg("arg_10", scale)))
	}
}

func (s *synth) raggedStep() {
	plan := s.begin("BatchPrefillWithRaggedKVCacheWrapper.plan", "", 7, int32s("kwarg_qo_indptr", []int32{0, int32(s.batch)}))
	s.end(plan)
	for range 2 {
		s.run(7)
	}
}

// borrowing are options of an attempt whose ragged runs need the scale of paged plans. What is shipped must still be on disk.
func borrowing(t *testing.T, dir string, s *sink) tail.Options {
	opt := options(dir, s)
	opt.Origin.Borrows, opt.Origin.Scale = true, proto.Scale{Model: 0.5, How: "a test"}
	var mu sync.Mutex
	opt.Ship = func(ctx context.Context, m *proto.Manifest, tensors map[string][]byte) error {
		mu.Lock()
		defer mu.Unlock()
		if !onDisk(t, dir, m.Call.Dump) || m.Plan != nil && !onDisk(t, dir, m.Plan.Dump) {
			t.Errorf("%s was deleted before it was stored", m.Call.Dump)
		}
		return s.ship(ctx, m, tensors)
	}
	return opt
}

// TestScale_LiveAndScanned_AreEqual: a run is shipped with the scales of its whole process, and nothing is deleted before.
func TestScale_LiveAndScanned_AreEqual(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newSynth(t, dir, 100)
	w.ragged = true
	w.prefills(3, 0.25)
	newSynth(t, dir, 200).step(3, 1)
	s := newSink(t)
	opt := borrowing(t, dir, s)
	scanned := map[dumpKey]*proto.Manifest{}
	_, err := tail.Scan(t.Context(), dir, opt.Origin, func(m *proto.Manifest, _ map[string][]byte) error {
		scanned[keyOf(m)] = m
		return nil
	})
	require.NoError(t, err)
	require.Len(t, scanned, 7)

	r := start(t, opt)
	eventually(t, "the process that prefills no MLA is done", func() bool { return s.len() == 1 })
	require.Equal(t, 1, s.len(), "a run waits for all plans of its process")
	require.NoError(t, r.stop())
	same(t, s.got, scanned)
	for key, m := range s.got {
		if m.Provenance.PID == 200 {
			require.Nil(t, m.Scale, key.dump)
			continue
		}
		require.Equal(t, &proto.Scale{Planned: []float64{0.25}, Model: 0.5, How: "a test"}, m.Scale, key.dump)
	}
	require.EqualValues(t, 7, r.counts.Plans, "paged MLA plans are plans")
	checkCounts(t, r.counts, 7)
	empty(t, dir)
}

// TestScale_NoRoom_ShipsWithTheKnownScale: over the quota runs do not wait for the engine's end, and a second scale then fails the attempt.
func TestScale_NoRoom_ShipsWithTheKnownScale(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSink(t)
	opt := borrowing(t, dir, s)
	opt.Quota = 64 << 10
	r := start(t, opt)
	w := newSynth(t, dir, 100)
	w.ragged = true
	w.prefills(4, 0.25)
	eventually(t, "runs are shipped before the engine ends", func() bool { return s.len() > 0 })
	w.end(w.begin("BatchMLAPagedAttentionWrapper.plan", "", 9, fidump.FloatArg("arg_10", 0.125)))
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the attempt goes on with two scales")
	}
	require.ErrorContains(t, r.err, "[0.125 0.25], after ragged runs were stored with [0.25] alone")
	require.Equal(t, proto.CodeEngineFailed, proto.AsFailure(r.err, "").Code)
	for _, m := range s.got {
		require.Equal(t, []float64{0.25}, m.Scale.Planned)
	}
}
