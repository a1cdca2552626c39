package gpuworker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// Worker is the role.
type Worker struct {
	opt   Options
	id    string
	log   zerolog.Logger
	tasks *bus.Record[proto.TaskState]
	dir   *workDir
	ann   *bus.Announcer
	work  inWork
}

// New makes a worker. Run starts it, once.
func New(opt Options) (*Worker, error) {
	opt.fill()
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	id := bus.NewWorkerID("gpuworker", opt.Node)
	return &Worker{opt: opt, id: id, log: opt.Log.With().Str("component", "gpuworker").Str("worker", id).Logger()}, nil
}

// ID names this worker in TaskStates and announcements.
func (w *Worker) ID() string { return w.id }

// Run takes tasks until soft ends, finishes those in hand, and returns. When hard ends it stops the engines, hands their tasks
// back and returns. A hard that ends before soft ends both.
func (w *Worker) Run(soft, hard context.Context) error {
	soft, cancel := context.WithCancel(soft)
	defer cancel()
	defer context.AfterFunc(hard, cancel)()
	if err := w.open(soft); err != nil {
		return fmt.Errorf("start gpuworker: %w", err)
	}
	defer w.dir.close()

	annCtx, stopAnn := context.WithCancel(context.WithoutCancel(hard))
	var ann sync.WaitGroup
	ann.Go(func() { w.ann.Run(annCtx) })
	defer ann.Wait()
	defer stopAnn()
	defer context.AfterFunc(soft, func() { w.ann.Set(func(me *proto.Worker) { me.Draining = true }) })()

	if err := w.recoverPredecessor(soft); err != nil {
		return ended(soft, fmt.Errorf("start gpuworker: %w", err))
	}
	w.log.Info().Strs("engines", w.kinds()).Str("dir", w.dir.root).Int("slots", w.opt.Slots).Int("gpus", len(w.opt.Leases.GPUs())).
		Msg("gpuworker is up")
	err := w.consume(soft, hard)
	w.log.Info().Msg("gpuworker stopped")
	return err
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (w *Worker) open(ctx context.Context) (err error) {
	if w.tasks, err = bus.OpenRecord[proto.TaskState](ctx, w.opt.Bus, proto.BucketTasks); err != nil {
		return err
	}
	w.ann, err = bus.NewAnnouncer(ctx, w.opt.Bus, proto.Worker{
		ID: w.id, Role: "gpuworker", Host: w.opt.Node, Version: w.opt.Version, Engines: w.opt.Engines.Kinds(),
	}, w.opt.Announce)
	if err != nil {
		return err
	}
	w.ann.Refresh(func(me *proto.Worker) { me.GPUs, me.Doing = w.opt.Leases.GPUs(), w.work.doing() })
	w.dir, err = openWorkDir(w.opt.WorkDir, w.id)
	return err
}

func (w *Worker) kinds() []string {
	var list []string
	for _, k := range w.opt.Engines.Kinds() {
		list = append(list, string(k))
	}
	return list
}

// consume takes tasks from the queue of each engine, as many at a time over all of them as there are slots.
func (w *Worker) consume(soft, hard context.Context) error {
	soft, cancel := context.WithCancel(soft)
	defer cancel()
	turn := bus.NewTurn(w.opt.Slots)
	handle := func(ctx context.Context, d *bus.Delivery, m *proto.Task) error { return w.handle(ctx, soft, d, m) }
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	for _, c := range proto.Consumers() {
		if !slices.ContainsFunc(w.opt.Engines.Kinds(), func(k proto.EngineKind) bool { return proto.TaskConsumer(k) == c.Name }) {
			continue
		}
		opt := bus.ConsumeOptions{Parallel: w.opt.Slots, Hard: hard, Turn: turn, OnDead: w.onDead}
		if c.Name == proto.TaskConsumer(proto.EngineSGLang) || c.Name == proto.TaskConsumer(proto.EngineEvaluate) {
			opt.Ready = w.opt.Leases.Ready
		}
		wg.Go(func() {
			err := w.opt.Bus.Consume(soft, c, bus.Decoded(handle), opt)
			if err != nil {
				mu.Lock()
				first = errors.Join(first, err)
				mu.Unlock()
				cancel()
			}
		})
	}
	wg.Wait()
	return first
}

// claimant is this worker at this moment, asking for a task that it has entered.
func (w *Worker) claimant() claimant {
	return claimant{id: w.id, predecessor: w.dir.predecessor, lost: w.opt.Lost, now: time.Now().UTC()}
}

// handle is one delivery of a task message. When soft ends it waits for nothing more, but runs what it has claimed.
func (w *Worker) handle(ctx, soft context.Context, d *bus.Delivery, m *proto.Task) error {
	key := proto.TaskKey(m.Collection, m.ID)
	if !w.work.enter(key) {
		return bus.Later(w.opt.Lost, "task %s is in work here", key)
	}
	defer func() {
		if w.work.leave(key) {
			w.announce()
		}
	}()
	c, rev, err := w.decide(ctx, key)
	if err != nil || c.next == nil {
		return err // without one, it ended, or is past the engine: the message has no more meaning
	}
	var grant Grant
	if c.run {
		f, err := w.refusal(ctx, &c.next.Task)
		if err != nil {
			return err
		}
		if f != nil {
			c.next, c.run = refused(c.next, f, time.Now().UTC()), false
			newReporter(w.opt.Bus, w.opt.Node, c.next).say(ctx, proto.LevelError, proto.StageEngine, "the task was refused before an attempt", f)
		}
	}
	if c.run {
		if grant, err = w.grant(ctx, soft, c.next, d.At); err != nil {
			return err
		}
		defer grant.Release()
		if len(grant.Devices) > 0 { // they may have been waited for: who moved the record meanwhile decides what is next
			if c, rev, err = w.decide(ctx, key); err != nil || c.next == nil {
				return err
			}
		}
	}
	if rev, err = w.tasks.Update(ctx, key, c.next, rev); err != nil {
		return later(err) // after a conflict too: who moved the record decides what is next
	}
	if !c.run {
		return final(c.next.Failure)
	}
	return w.attempt(ctx, c.next, rev, grant)
}

// decide reads a task's record and returns what is to be done with it. The error is the answer to its message.
func (w *Worker) decide(ctx context.Context, key string) (claim, uint64, error) {
	s, rev, err := w.tasks.Get(ctx, key)
	if errors.Is(err, bus.ErrNotFound) {
		return claim{}, 0, proto.Failf(proto.CodeInternal, "task %s: its message is queued but the tasks bucket has no record of it", key).
			WithHint("the coordinator writes the record first; if its bucket was lost, submit the collection again")
	}
	if err != nil {
		return claim{}, 0, later(err)
	}
	if _, err := w.opt.Engines.Select(s.Task.Engine.Kind); err != nil {
		return claim{}, 0, err
	}
	c := w.claimant().decide(s)
	if c.next == nil && c.wait > 0 {
		return c, rev, bus.Later(c.wait, "task %s is %s", key, s.State)
	}
	return c, rev, nil
}

// later gives the message back after an error that says nothing about the task.
func later(err error) error {
	var f *proto.Failure
	if errors.As(err, &f) {
		return err
	}
	return bus.Later(time.Second, "%v", err)
}

// final returns a copy of f that is not retryable: it ends its message.
func final(f *proto.Failure) error {
	g := *f
	g.Retryable = false
	return &g
}

// onDead records the end of a task whose message died without its record knowing, as when it cannot be decoded.
func (w *Worker) onDead(ctx context.Context, d *bus.Delivery, f *proto.Failure) error {
	_, collection, task, err := proto.ParseTaskSubject(d.Subject)
	if err != nil {
		w.log.Error().Err(err).Msg("dead message on a subject that names no task")
		return nil
	}
	key := proto.TaskKey(collection, task)
	s, rev, err := w.tasks.Get(ctx, key)
	var unreadable *proto.Failure
	if errors.Is(err, bus.ErrNotFound) || errors.As(err, &unreadable) {
		return nil // no record that could be changed; the dead letter remains
	}
	if err != nil {
		return err
	}
	c := w.claimant()
	c.busy = w.work.has(key)
	if s.State != proto.StateQueued && (s.State != proto.StateRunning || !c.ownerIsDead(s)) {
		return nil
	}
	next := *s
	next.State, next.Failure, next.FinishedAt = proto.StateFailed, f, time.Now().UTC()
	_, err = w.tasks.Update(ctx, key, &next, rev)
	return err
}

// recoverPredecessor queues what the worker before us in this work directory was running when it died. Else the fleet would
// wait for its heartbeat and its message to time out.
func (w *Worker) recoverPredecessor(ctx context.Context) error {
	if w.dir.predecessor == "" {
		return nil
	}
	list, err := w.tasks.List(ctx, ">")
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Value == nil || e.Value.State != proto.StateRunning || e.Value.Worker != w.dir.predecessor {
			continue
		}
		next := w.claimant().recover(e.Value)
		if _, err := w.tasks.Update(ctx, e.Key, next, e.Revision); err != nil {
			if errors.Is(err, bus.ErrConflict) {
				continue
			}
			return err
		}
		w.log.Warn().Str("task", e.Key).Str("predecessor", w.dir.predecessor).Msg("task of a dead worker queued again")
		if next.State.Final() {
			continue
		}
		t := &e.Value.Task
		subject := proto.TaskSubject(t.Engine.Kind, t.Collection, t.ID)
		// Beside the old message, which is still in the dead worker's hands; whichever comes second finds the task taken.
		if err := w.opt.Bus.Publish(ctx, subject, t, fmt.Sprintf("%s-after-%d", subject, e.Value.Attempt)); err != nil {
			return err
		}
	}
	return nil
}
