package gpuworker_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker"
	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

func TestWorker_CollectsATask(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000")
	w := f.start(simulate.New())
	s := f.until(key, is(proto.StateCollected))
	require.Equal(t, uint32(1), s.Attempt)
	require.Equal(t, w.ID(), s.Worker)
	require.Positive(t, s.Counts.Manifests)
	require.Positive(t, s.Counts.BytesShipped)
	require.Equal(t, s.Counts.Dumps, s.Counts.Manifests+s.Counts.Plans+s.Counts.Captures)
	require.Zero(t, s.Counts.GPUSeconds)
	f.queueEmpties()
	require.Equal(t, int(s.Counts.Manifests), f.count(proto.StreamManifests, "tf.manifests.c-test.t000.1.>"))
	require.Empty(t, dirs(t, w.dir))

	manifests := f.takeManifests(int(s.Counts.Manifests))
	require.Len(t, manifests, int(s.Counts.Manifests))
	for _, m := range manifests {
		require.True(t, m.Provenance.Simulated)
		require.Equal(t, 4, m.Provenance.BatchSize)
		require.Equal(t, uint32(1), m.Attempt)
	}

	workers, err := bus.OpenRecord[proto.Worker](t.Context(), f.bus, proto.BucketWorkers)
	require.NoError(t, err)
	me, _, err := workers.Get(t.Context(), w.ID())
	require.NoError(t, err)
	require.Equal(t, []proto.EngineKind{proto.EngineSimulate}, me.Engines)
	w.soft()
	require.NoError(t, w.wait())
	_, _, err = workers.Get(t.Context(), w.ID())
	require.ErrorIs(t, err, bus.ErrNotFound, "a worker that leaves takes its announcement back")

	stages := map[proto.Stage]int64{}
	require.NoError(t, f.bus.Flush(t.Context()))
	require.NoError(t, f.bus.Events(t.Context(), proto.EventFilter("c-test"), time.Time{}, func(e *proto.Event) error {
		if e.Level == proto.LevelProgress {
			stages[e.Stage] = e.Done
		}
		return nil
	}))
	require.Equal(t, s.Counts.Dumps, stages[proto.StageDump], "the last progress is the whole")
	require.Positive(t, stages[proto.StageEngine])
}

// Two workers have the same task: the first seems dead to the second, which takes over. When the first wakes up, nothing that it
// does counts.
func TestWorker_StaleAttemptCannotDisturb(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000")
	started, wake := make(chan struct{}), make(chan struct{})
	awake := sync.OnceFunc(func() { close(wake) })
	stale := f.start(scripted(func(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
		close(started)
		<-wake // deaf to ctx, as a process in an uninterruptible sleep
		return simulated(context.WithoutCancel(ctx), job, report)
	}), func(o *gpuworker.Options) { o.Heartbeat, o.Lost = time.Hour, 24*time.Hour })
	t.Cleanup(awake)
	<-started
	require.Equal(t, stale.ID(), f.state(key).Worker)

	fresh := f.start(simulate.New(), func(o *gpuworker.Options) { o.Heartbeat, o.Lost = 50*time.Millisecond, 200*time.Millisecond })
	f.queue(key, "again") // the delivery that JetStream makes when the keep-alives stop
	s := f.until(key, is(proto.StateCollected))
	require.Equal(t, fresh.ID(), s.Worker)
	require.Equal(t, uint32(2), s.Attempt)
	require.Len(t, s.Failures, 1)
	require.Equal(t, proto.CodeAttemptLost, s.Failures[0].Failure.Code)
	require.Equal(t, stale.ID(), s.Failures[0].Worker)

	awake()
	stale.soft()
	require.NoError(t, stale.wait())
	require.Equal(t, s, f.state(key))
	require.Equal(t, int(s.Counts.Manifests), f.count(proto.StreamManifests, "tf.manifests.c-test.t000.2.>"))
}

func TestWorker_HardStopHandsTheTaskBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000")
	started := make(chan struct{})
	first := f.start(scripted(func(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
		close(started)
		<-ctx.Done()
		return engine.Result{}, context.Cause(ctx)
	}))
	<-started
	first.soft()
	first.hard()
	require.NoError(t, first.wait())
	s := f.state(key)
	require.Equal(t, proto.StateQueued, s.State)
	require.Equal(t, 1, s.Interrupted)
	require.Empty(t, s.Failures, "an interruption burns no retry")
	require.Empty(t, dirs(t, first.dir))

	f.start(simulate.New())
	s = f.until(key, is(proto.StateCollected))
	require.Equal(t, uint32(2), s.Attempt)
	f.queueEmpties()
}

func TestWorker_DrainFinishesTheTaskInHand(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	started, finish := make(chan struct{}, 2), make(chan struct{})
	first := f.submit("t000")
	w := f.start(scripted(func(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
		started <- struct{}{}
		<-finish
		return simulated(ctx, job, report)
	}))
	<-started
	second := f.submit("t001")
	w.soft()
	close(finish)
	require.NoError(t, w.wait())
	require.Equal(t, proto.StateCollected, f.state(first).State)
	require.Equal(t, proto.StateQueued, f.state(second).State)
	require.Equal(t, 1, f.count(proto.StreamTasks, ">"))
}

func TestWorker_CancelStopsTheEngineWithinASecond(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000")
	started, stopped := make(chan struct{}), make(chan struct{})
	w := f.start(scripted(func(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
		close(started)
		<-ctx.Done()
		close(stopped)
		return engine.Result{}, context.Cause(ctx)
	}), func(o *gpuworker.Options) { o.Heartbeat, o.Lost = time.Hour, 24*time.Hour }) // not the heartbeat, the watch
	<-started
	f.update(key, func(s *proto.TaskState) { s.State = proto.StateCancelled })
	at := time.Now()
	<-stopped
	require.Less(t, time.Since(at), time.Second)
	f.queueEmpties()
	w.soft()
	require.NoError(t, w.wait())
	require.Equal(t, proto.StateCancelled, f.state(key).State)
	require.Empty(t, dirs(t, w.dir))
}

func TestWorker_TasksThatEndBadly(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		engine   scripted
		want     proto.Code
		failures int
		first    proto.Code
	}{
		"poison": {func(context.Context, engine.Job, func(engine.Progress)) (engine.Result, error) {
			return engine.Result{}, errors.New("CUDA error")
		}, proto.CodeAttemptsExhausted, proto.MaxAttempts, proto.CodeEngineFailed},
		"panic": {func(context.Context, engine.Job, func(engine.Progress)) (engine.Result, error) {
			panic("boom")
		}, proto.CodeAttemptsExhausted, proto.MaxAttempts, proto.CodeInternal},
		"nothing dumped": {func(context.Context, engine.Job, func(engine.Progress)) (engine.Result, error) {
			return engine.Result{Requests: 3}, nil
		}, proto.CodeNothingDumped, 1, proto.CodeNothingDumped},
		"not retryable": {func(context.Context, engine.Job, func(engine.Progress)) (engine.Result, error) {
			return engine.Result{}, proto.Failf(proto.CodeBadCollection, "no such recording")
		}, proto.CodeBadCollection, 1, proto.CodeBadCollection},
		"full disk": {func(context.Context, engine.Job, func(engine.Progress)) (engine.Result, error) {
			return engine.Result{}, proto.Failf(proto.CodeDiskFull, "no room")
		}, proto.CodeDiskFull, 1, proto.CodeDiskFull},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			key := f.submit("t000")
			w := f.start(tc.engine)
			s := f.until(key, func(s *proto.TaskState) bool { return s.State.Final() })
			require.Equal(t, proto.StateFailed, s.State)
			require.Equal(t, tc.want, s.Failure.Code)
			require.Len(t, s.Failures, tc.failures)
			require.Equal(t, tc.first, s.Failures[0].Failure.Code)
			f.queueEmpties()
			require.Equal(t, 1, f.count(proto.StreamDead, "tf.dead.tasks.>"))
			require.Empty(t, dirs(t, w.dir))
		})
	}
}

func TestWorker_AnotherMessageOfAnEndedTaskIsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var runs atomic.Int64
	key := f.submit("t000")
	f.start(scripted(func(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
		runs.Add(1)
		return simulated(ctx, job, report)
	}))
	s := f.until(key, is(proto.StateCollected))
	f.queueEmpties()
	f.queue(key, "again")
	f.queueEmpties()
	require.Equal(t, s, f.state(key))
	require.Equal(t, int64(1), runs.Load())
}

func TestWorker_UndecodableMessageFailsItsTask(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000", func(s *proto.TaskState) { s.NotBefore = time.Now().Add(time.Hour) })
	_, err := f.bus.JetStream().Publish(t.Context(), "tf.tasks.simulate.c-test.t000", []byte("not ours"))
	require.NoError(t, err)
	f.start(simulate.New())
	s := f.until(key, is(proto.StateFailed))
	require.Equal(t, proto.CodeMalformedMessage, s.Failure.Code)
}

// A worker that was killed leaves a lock file with its name, a running record and dumps; the next one in its directory goes on
// at once.
func TestWorker_TakesOverFromItsPredecessor(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000", func(s *proto.TaskState) {
		s.State, s.Attempt, s.Worker, s.Heartbeat = proto.StateRunning, 1, "gpuworker-node-1-dead", time.Now()
	})
	require.NoError(t, f.bus.Purge(t.Context(), proto.StreamTasks, ">")) // its message is in the dead worker's hands
	dir := filepath.Join(t.TempDir(), "work")
	writeFile(t, filepath.Join(dir, "worker.lock"), "gpuworker-node-1-dead\n")
	writeFile(t, filepath.Join(dir, "c-test", "t000", "1", "20260101_000000_000_pid1_rmsnorm_call0001", "inputs.safetensors"), "half")
	writeFile(t, filepath.Join(dir, "notes", "of", "mine.txt"), "keep")
	f.start(simulate.New(), func(o *gpuworker.Options) { o.WorkDir = dir })
	s := f.until(key, is(proto.StateCollected))
	require.Equal(t, uint32(2), s.Attempt)
	require.Equal(t, proto.CodeAttemptLost, s.Failures[0].Failure.Code)
	require.Eventually(t, func() bool { return len(dirs(t, dir)) == 1 }, 5*time.Second, 5*time.Millisecond)
	require.FileExists(t, filepath.Join(dir, "notes", "of", "mine.txt"), "only what has the shape of an attempt is removed")

	_, err := gpuworker.New(gpuworker.Options{})
	require.ErrorContains(t, err, "bus is nil")
	second := f.start(simulate.New(), func(o *gpuworker.Options) { o.WorkDir = dir })
	require.ErrorContains(t, second.wait(), "in use by worker")
}

func TestWorker_OneTaskAtATimeOverAllEngines(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var now, most atomic.Int64
	eng := scripted(func(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		return simulated(ctx, job, report)
	})
	var keys []string
	for _, id := range []string{"t000", "t001", "t002", "t003"} {
		kind := proto.EngineSimulate
		if id > "t001" {
			kind = proto.EngineReplay
		}
		keys = append(keys, f.submit(id, func(s *proto.TaskState) { s.Task.Engine.Kind = kind }))
	}
	f.start(eng, func(o *gpuworker.Options) {
		o.Engines = engine.Registry{proto.EngineSimulate: eng, proto.EngineReplay: eng}
	})
	for _, key := range keys {
		f.until(key, is(proto.StateCollected))
	}
	require.Equal(t, int64(1), most.Load())
	f.queueEmpties()
}

// The broker is killed in the middle of an attempt and comes back: the attempt goes on, and nothing it shipped is lost.
func TestWorker_OutlivesItsBroker(t *testing.T) {
	t.Parallel()
	broker := bustest.StartProcess(t, t.TempDir())
	f := newFleetOn(t, broker.Connect)
	key := f.submit("t000")
	shipped, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.start(scripted(func(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
		job.Gate = func(ctx context.Context) error {
			if f.count(proto.StreamManifests, ">") > 0 {
				once.Do(func() { close(shipped); <-goOn })
			}
			return nil
		}
		return simulated(ctx, job, report)
	}), func(o *gpuworker.Options) { o.Lost = time.Minute })
	<-shipped
	broker.Kill()
	close(goOn) // dumps are written, and found, while there is no broker
	broker.Restart()
	s := f.until(key, is(proto.StateCollected))
	require.Equal(t, uint32(1), s.Attempt)
	require.Equal(t, int(s.Counts.Manifests), f.count(proto.StreamManifests, ">"))
	f.queueEmpties()
}
