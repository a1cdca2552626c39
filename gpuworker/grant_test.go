package gpuworker_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker"
	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// gpus is a node with n devices, which tells who asks for them.
type gpus struct {
	*lease.Node
	asked chan string
}

func (g *gpus) Acquire(ctx context.Context, t *proto.Task) (gpuworker.Grant, error) {
	select {
	case g.asked <- t.ID:
	default:
	}
	return g.Node.Acquire(ctx, t)
}

func newGPUs(t *testing.T, lockDir string, n int) *gpus {
	t.Helper()
	var have lease.Fixed
	for i := range n {
		have = append(have, lease.Device{Index: i, Name: "Fake"})
	}
	node, err := lease.Open(t.Context(), lease.Options{Inventory: have, LockDir: lockDir, Retry: 5 * time.Millisecond, Keep: 60 * time.Millisecond})
	require.NoError(t, err)
	return &gpus{node, make(chan string, 16)}
}

// served is an sglang engine of a test: it says what it was given, and goes on when it is let.
type served struct {
	jobs chan engine.Job
	goOn chan struct{}
	now  atomic.Int64
}

func newServed() *served {
	return &served{jobs: make(chan engine.Job, 16), goOn: make(chan struct{}, 16)}
}

func (s *served) Run(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
	s.now.Add(1)
	defer s.now.Add(-1)
	s.jobs <- job
	select {
	case <-s.goOn:
	case <-ctx.Done():
		return engine.Result{}, context.Cause(ctx)
	}
	if err := job.Begin(ctx); err != nil {
		return engine.Result{}, err
	}
	r, err := simulated(ctx, job, report)
	r.GPUs = len(job.Devices)
	return r, err
}

// onGPUs makes a worker one for sglang tasks on g.
func onGPUs(eng engine.Engine, g gpuworker.Leases) func(*gpuworker.Options) {
	return func(o *gpuworker.Options) {
		o.Engines, o.Leases = engine.Registry{proto.EngineSGLang: eng}, g
	}
}

func needs(tp int) func(*proto.TaskState) {
	return func(s *proto.TaskState) { s.Task.Engine.Kind, s.Task.Engine.TP = proto.EngineSGLang, tp }
}

func TestWorker_TasksSideBySide(t *testing.T) {
	t.Parallel()
	f, eng, g := newFleet(t), newServed(), newGPUs(t, t.TempDir(), 2)
	keys := []string{f.submit("t000", needs(1)), f.submit("t001", needs(1)), f.submit("t002", needs(1))}
	w := f.start(eng, onGPUs(eng, g))
	devices := [][]string{(<-eng.jobs).Devices, (<-eng.jobs).Devices}
	slices.SortFunc(devices, slices.Compare)
	require.Equal(t, [][]string{{"0"}, {"1"}}, devices)

	workers, err := bus.OpenRecord[proto.Worker](t.Context(), f.bus, proto.BucketWorkers)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // it is announced soon
		me, _, err := workers.Get(t.Context(), w.ID())
		return err == nil && me.Doing == keys[0]+" attempt 1, "+keys[1]+" attempt 1" && len(me.GPUs) == 2 &&
			slices.Contains(keys, me.GPUs[0].Holder) && slices.Contains(keys, me.GPUs[1].Holder)
	}, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, proto.StateQueued, f.state(keys[2]).State)

	for range keys {
		eng.goOn <- struct{}{}
	}
	for _, key := range keys {
		s := f.until(key, is(proto.StateCollected))
		require.Equal(t, uint32(1), s.Attempt)
		require.Positive(t, s.Counts.GPUSeconds)
	}
	f.queueEmpties()
	require.Eventually(t, func() bool {
		me, _, err := workers.Get(t.Context(), w.ID())
		return err == nil && me.Doing == "" && me.GPUs[0].Holder == "" && me.GPUs[1].Holder == ""
	}, 10*time.Second, 5*time.Millisecond)
	require.Empty(t, dirs(t, w.dir))
}

// A task that needs both devices waits while one is in use, and is anybody's until it has them.
func TestWorker_LeasesBeforeItClaims(t *testing.T) {
	t.Parallel()
	f, eng, g := newFleet(t), newServed(), newGPUs(t, t.TempDir(), 2)
	small := f.submit("t000", needs(1))
	f.start(eng, onGPUs(eng, g), func(o *gpuworker.Options) { o.LeaseWait = 20 * time.Millisecond })
	require.Equal(t, "t000", <-g.asked)
	require.Equal(t, []string{"0"}, (<-eng.jobs).Devices)
	large := f.submit("t001", needs(2))
	for range 3 { // it is given back and asks again
		require.Equal(t, "t001", <-g.asked)
		s := f.state(large)
		require.Equal(t, proto.StateQueued, s.State, "it has no GPUs")
		require.Zero(t, s.Attempt)
	}
	eng.goOn <- struct{}{}
	eng.goOn <- struct{}{}
	f.until(small, is(proto.StateCollected))
	require.Equal(t, []string{"0", "1"}, (<-eng.jobs).Devices)
	s := f.until(large, is(proto.StateCollected))
	require.Equal(t, uint32(1), s.Attempt)
	require.Empty(t, s.Failures, "to wait is no failure")
	f.queueEmpties()

	var said []string
	require.NoError(t, f.bus.Flush(t.Context()))
	require.NoError(t, f.bus.Events(t.Context(), proto.EventFilter("c-test"), time.Time{}, func(e *proto.Event) error {
		if strings.Contains(e.Text, "waits") {
			said = append(said, e.Text)
		}
		return nil
	}))
	require.Equal(t, []string{"task " + large + " waits for 2 GPUs of this node: other tasks of ours hold them"}, said, "said once, not at each try")
}

// Another process has this node's device; another node has one that is free.
func TestWorker_AnotherNodeTakesWhatWaits(t *testing.T) {
	t.Parallel()
	f, eng := newFleet(t), newServed()
	lockDir := t.TempDir()
	stranger, err := newGPUs(t, lockDir, 1).Node.Acquire(t.Context(), &proto.Task{Engine: proto.EngineSpec{Kind: proto.EngineSGLang, TP: 1}})
	require.NoError(t, err)
	t.Cleanup(stranger.Release)
	key := f.submit("t000", needs(1))
	f.start(eng, onGPUs(eng, newGPUs(t, lockDir, 1)))
	free := f.start(eng, onGPUs(eng, newGPUs(t, t.TempDir(), 1)))
	eng.goOn <- struct{}{}
	require.Equal(t, free.ID(), f.until(key, is(proto.StateCollected)).Worker)
}

func TestWorker_TooFewGPUs(t *testing.T) {
	t.Parallel()
	f, eng := newFleet(t), newServed()
	key := f.submit("t000", needs(4))
	f.start(eng, onGPUs(eng, newGPUs(t, t.TempDir(), 2)), func(o *gpuworker.Options) { o.NoGPUsAfter = -1 })
	s := f.until(key, is(proto.StateFailed))
	require.Equal(t, proto.CodeNoGPUs, s.Failure.Code)
	require.Equal(t, "task c-test.t000 needs 4 GPUs, one a rank; this worker has 2", s.Failure.Message)
	require.Zero(t, s.Attempt, "nothing ran")
	f.queueEmpties()
	require.Equal(t, 1, f.count(proto.StreamDead, "tf.dead.tasks.>"))
}

// A second message for a task that runs here, and a message that cannot be decoded, start no second attempt. The third device stays
// free: a worker whose devices are all leased fetches no messages, so whether it had asked for the last one in time was a race.
func TestWorker_LiveTask_IsClaimedOnce(t *testing.T) {
	t.Parallel()
	f, eng, g := newFleet(t), newServed(), newGPUs(t, t.TempDir(), 3)
	key := f.submit("t000", needs(1))
	f.start(eng, onGPUs(eng, g), func(o *gpuworker.Options) { o.Lost, o.Slots = 200*time.Millisecond, 3 })
	<-eng.jobs
	f.queue(key, "again")
	other := f.submit("t001", needs(1)) // queued behind the second message, so that one was delivered before t001 runs
	require.Equal(t, "t001", (<-eng.jobs).Task.ID)
	_, err := f.bus.JetStream().Publish(t.Context(), "tf.tasks.sglang.c-test.t000", []byte("no task"))
	require.NoError(t, err)
	f.countBecomes(proto.StreamDead, ">", 1)
	require.Equal(t, proto.StateRunning, f.state(key).State, "the message was bad, the attempt is not")
	eng.goOn <- struct{}{}
	eng.goOn <- struct{}{}
	for _, key := range []string{key, other} {
		s := f.until(key, is(proto.StateCollected))
		require.Equal(t, uint32(1), s.Attempt)
		require.Empty(t, s.Failures)
	}
	f.queueEmpties()
	require.Empty(t, eng.jobs)
}

// A record of ourselves that nobody here works on is recovered, beside a task that runs.
func TestWorker_AnOrphanOfOurOwnIsRecovered(t *testing.T) {
	t.Parallel()
	f, eng, g := newFleet(t), newServed(), newGPUs(t, t.TempDir(), 2)
	f.submit("t000", needs(1))
	w := f.start(eng, onGPUs(eng, g))
	<-eng.jobs
	key := f.submit("t001", needs(1), func(s *proto.TaskState) {
		s.State, s.Attempt, s.Worker, s.Heartbeat = proto.StateRunning, 1, w.ID(), time.Now()
	})
	require.Equal(t, "t001", (<-eng.jobs).Task.ID)
	eng.goOn <- struct{}{}
	eng.goOn <- struct{}{}
	s := f.until(key, is(proto.StateCollected))
	require.Equal(t, uint32(2), s.Attempt)
	require.Equal(t, proto.CodeAttemptLost, s.Failures[0].Failure.Code)
}

func TestWorker_HardStopHandsAllBack(t *testing.T) {
	t.Parallel()
	f, eng, g := newFleet(t), newServed(), newGPUs(t, t.TempDir(), 2)
	keys := []string{f.submit("t000", needs(1)), f.submit("t001", needs(1))}
	w := f.start(eng, onGPUs(eng, g))
	<-eng.jobs
	<-eng.jobs
	w.hard()
	require.NoError(t, w.wait())
	for _, key := range keys {
		require.Equal(t, proto.StateQueued, f.state(key).State)
	}
	for _, d := range g.GPUs() {
		require.Empty(t, d.Holder)
	}
}

// A worker that is told to stop does not wait for GPUs first.
func TestWorker_DrainWaitsForNoGPUs(t *testing.T) {
	t.Parallel()
	f, eng, g := newFleet(t), newServed(), newGPUs(t, t.TempDir(), 2)
	f.submit("t000", needs(1))
	w := f.start(eng, onGPUs(eng, g), func(o *gpuworker.Options) { o.LeaseWait = time.Hour })
	<-g.asked
	<-eng.jobs
	large := f.submit("t001", needs(2))
	require.Equal(t, "t001", <-g.asked)
	w.soft()
	eng.goOn <- struct{}{}
	require.NoError(t, w.wait())
	require.Equal(t, proto.StateQueued, f.state(large).State)
	require.Zero(t, eng.now.Load())
}

type badLocks struct{ *gpus }

func (badLocks) Acquire(context.Context, *proto.Task) (gpuworker.Grant, error) {
	return gpuworker.Grant{}, errors.New("/tmp/flashinfer-bench-gpu-0.lock is a symbolic link")
}

// What is wrong with this node's lock files is another node's chance, not the task's end.
func TestWorker_BrokenLocks(t *testing.T) {
	t.Parallel()
	f, eng := newFleet(t), newServed()
	key := f.submit("t000", needs(1))
	f.start(eng, onGPUs(eng, badLocks{newGPUs(t, t.TempDir(), 1)}))
	f.start(eng, onGPUs(eng, newGPUs(t, t.TempDir(), 1)))
	eng.goOn <- struct{}{}
	require.Empty(t, f.until(key, is(proto.StateCollected)).Failures)
}
