package gpuworker_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/proto"
)

// checking is an engine that refuses jobs before they are claimed.
type checking struct {
	scripted
	check func(engine.Job) *proto.Failure
}

func (c checking) Check(job engine.Job) *proto.Failure { return c.check(job) }

func TestWorker_RefusedTask_UsesNoAttempt(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000")
	var runs, seen atomic.Int64
	f.start(checking{
		scripted: func(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
			runs.Add(1)
			return simulated(ctx, job, report)
		},
		check: func(job engine.Job) *proto.Failure {
			seen.Store(int64(len(job.Definitions)))
			return proto.Failf(proto.CodeModelMismatch, "the model has 32 attention heads: no TP gives 5")
		},
	})
	s := f.until(key, func(s *proto.TaskState) bool { return s.State.Final() })
	require.Equal(t, proto.StateFailed, s.State)
	require.Equal(t, proto.CodeModelMismatch, s.Failure.Code)
	require.Empty(t, s.Failures, "no attempt was begun")
	require.Zero(t, s.Attempt)
	require.Zero(t, runs.Load())
	require.EqualValues(t, 2, seen.Load(), "it is asked with the definitions")
	f.queueEmpties()
	require.Equal(t, 1, f.count(proto.StreamDead, "tf.dead.tasks.>"))
}

func TestWorker_AcceptedTask_Runs(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000")
	f.start(checking{scripted: simulated, check: func(engine.Job) *proto.Failure { return nil }})
	s := f.until(key, func(s *proto.TaskState) bool { return s.State == proto.StateCollected })
	require.EqualValues(t, 1, s.Attempt)
}
