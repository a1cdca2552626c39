package gpuworker

import (
	"context"
	"errors"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// refusal returns why the engine cannot collect anything of a task on this node, or nil. It is asked before GPUs are leased and an
// attempt is begun. The error ends the task's message.
func (w *Worker) refusal(ctx context.Context, t *proto.Task) (*proto.Failure, error) {
	eng, err := w.opt.Engines.Select(t.Engine.Kind)
	if err != nil {
		return nil, err
	}
	checker, has := eng.(engine.Checker)
	if !has {
		return nil, nil
	}
	defs, err := w.definitions(ctx, t)
	var f *proto.Failure
	switch {
	case errors.As(err, &f):
		return nil, nil // the attempt reports it
	case err != nil:
		return nil, later(err)
	}
	return checker.Check(engine.Job{Task: *t, Definitions: defs}), nil
}

// refused returns the record of a task that failed before an attempt was begun: begun is the record that would have been written.
func refused(begun *proto.TaskState, f *proto.Failure, now time.Time) *proto.TaskState {
	next := *begun
	next.State, next.Failure, next.FinishedAt = proto.StateFailed, f, now
	next.Attempt, next.Worker, next.StartedAt = begun.Attempt-1, "", time.Time{}
	return &next
}

// definitions reads the definitions of a task, in its order. The error is a *proto.Failure where they are missing or broken.
func (w *Worker) definitions(ctx context.Context, t *proto.Task) ([]*fitrace.Definition, error) {
	var defs []*fitrace.Definition
	for _, ref := range t.Definitions {
		json, err := w.opt.Bus.Definition(ctx, ref.Digest)
		if errors.Is(err, bus.ErrNotFound) {
			return nil, proto.Failf(proto.CodeBadDefinition, "definition %s of task %s: no JSON is stored under its digest %s", ref.Name,
				proto.TaskKey(t.Collection, t.ID), ref.Digest).WithHint("submit the collection again")
		}
		if err != nil {
			return nil, err
		}
		d, err := fitrace.ParseDefinition(json, ref.Name)
		if err != nil {
			return nil, proto.Failf(proto.CodeBadDefinition, "%v", err)
		}
		defs = append(defs, d)
	}
	return defs, nil
}
