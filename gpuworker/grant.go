package gpuworker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// A task's GPUs are leased before its record says that it runs: a task that waits for devices is still anybody's.

const (
	waitSaidEvery = 5 * time.Minute  // that a task waits for GPUs
	forAnother    = 30 * time.Second // a task that only another worker can run is given back for so long
)

// grant leases the GPUs of a task that was delivered at a time. The error is the answer to its message.
func (w *Worker) grant(ctx, soft context.Context, s *proto.TaskState, queued time.Time) (Grant, error) {
	wait, cancel := context.WithTimeout(ctx, w.opt.LeaseWait)
	defer cancel()
	defer context.AfterFunc(soft, cancel)()
	g, err := w.opt.Leases.Acquire(wait, &s.Task)
	if err == nil {
		return w.announced(g), nil
	}
	key := proto.TaskKey(s.Task.Collection, s.Task.ID)
	var busy *lease.Busy
	var f *proto.Failure
	switch {
	case soft.Err() != nil:
		return g, bus.Later(0, "this worker takes no more tasks")
	case errors.As(err, &busy):
		w.log.Info().Str("task", key).Dur("again", busy.Again).Msg(busy.Error())
		if w.work.say(key, time.Now(), waitSaidEvery) {
			newReporter(w.opt.Bus, w.opt.Node, s).say(ctx, proto.LevelInfo, proto.StageEngine, busy.Error(), nil)
		}
		return g, bus.Later(busy.Again, "%v", busy)
	case errors.As(err, &f) && f.Code == proto.CodeNoGPUs:
		return g, w.noGPUs(ctx, &s.Task, f, queued)
	case errors.As(err, &f):
		return g, err
	}
	return g, proto.Failf(proto.CodeEnvironment, "lease GPUs for task %s: %v", key, err).
		WithHint("see the lock files of this node's GPUs; --gpus chooses devices").WithRetry()
}

// announced tells the fleet who holds a grant's devices, now and when they are released.
func (w *Worker) announced(g Grant) Grant {
	if len(g.Devices) == 0 {
		return g
	}
	release := g.Release
	g.Release = sync.OnceFunc(func() { release(); w.announce() })
	w.announce()
	return g
}

// announce tells the fleet what is new, soon; Refresh has said what that is.
func (w *Worker) announce() { w.ann.Set(func(*proto.Worker) {}) }

// noGPUs answers a task that needs more devices than this worker will ever have. While another worker has as many, it is that one's.
// Where none does, the task is told so; a fleet that is starting gets time for that.
func (w *Worker) noGPUs(ctx context.Context, t *proto.Task, f *proto.Failure, queued time.Time) error {
	workers, err := bus.OpenRecord[proto.Worker](ctx, w.opt.Bus, proto.BucketWorkers)
	if err != nil {
		return later(err)
	}
	list, err := workers.List(ctx, ">")
	if err != nil {
		return later(err)
	}
	for _, e := range list {
		if e.Value != nil && e.Value.ID != w.id && !e.Value.Draining && slices.Contains(e.Value.Engines, t.Engine.Kind) && len(e.Value.GPUs) >= lease.Need(t) {
			return bus.Later(forAnother, "%s; worker %s has enough", f.Message, e.Value.ID)
		}
	}
	if time.Since(queued) < w.opt.NoGPUsAfter {
		return bus.Later(min(w.opt.NoGPUsAfter, forAnother), "%s, and no other worker has more", f.Message)
	}
	return final(f)
}
