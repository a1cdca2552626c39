package gpuworker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/disk"
	"github.com/tracefleet/tracefleet/proto"
)

// Why an attempt is stopped from outside.
var (
	errCancelled = errors.New("the task was cancelled")
	errFailed    = errors.New("the coordinator ended the task as failed")
	errLost      = errors.New("the task belongs to another attempt now")
)

const writeTimeout = 30 * time.Second // for the record of an attempt that is stopped

// attempt is one attempt, from the claim to the record of its end.
type attempt struct {
	w      *Worker
	key    string
	log    zerolog.Logger
	report *reporter
	began  *proto.TaskState // as claimed
	grant  Grant            // its caller releases it

	harvest []proto.Harvested // what the engine's trace dump brought

	// As last written by us. While the attempt runs they are beat's alone; after it, end's.
	s   *proto.TaskState
	rev uint64
}

// attempt runs the claimed task s and returns the result of its message.
func (w *Worker) attempt(ctx context.Context, s *proto.TaskState, rev uint64, grant Grant) error {
	a := &attempt{
		w: w, key: proto.TaskKey(s.Task.Collection, s.Task.ID), began: s, grant: grant, s: s, rev: rev, report: newReporter(w.opt.Bus, w.opt.Node, s),
		log: w.log.With().Str("collection", s.Task.Collection).Str("task", s.Task.ID).Uint32("attempt", s.Attempt).Logger(),
	}
	w.work.runs(a.key, s.Attempt)
	w.announce()
	a.begins(ctx)

	work, stop := context.WithCancelCause(ctx)
	var guards sync.WaitGroup
	guards.Go(func() { a.beat(work, stop) })
	guards.Go(func() { a.watch(work, stop) })
	counts, err := a.run(work)
	cause := context.Cause(work)
	stop(nil)
	guards.Wait()
	if errors.Is(cause, errLost) {
		cause = a.lostTo(ctx) // the heartbeat may have met the new record before the watch did
	}

	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	switch {
	case err == nil:
		next := collected(a.s, counts, time.Now().UTC())
		next.Harvest = a.harvest
		return a.end(end, next, nil)
	case errors.Is(cause, errCancelled), errors.Is(cause, errFailed):
		a.log.Info().Msgf("attempt stopped: %v", cause)
		return nil
	case errors.Is(cause, errLost):
		a.log.Warn().Msg("attempt stopped: the task belongs to another attempt now")
		return bus.Later(w.opt.Lost, "another attempt owns task %s", a.key)
	case ctx.Err() != nil:
		a.log.Info().Msg("attempt interrupted, task handed back")
		return a.end(end, handedBack(a.s), err)
	}
	f := w.classify(err)
	next := failed(a.s, f, time.Now().UTC(), w.opt.Backoff(len(a.s.Failures)+1))
	level := proto.LevelWarn
	if next.State.Final() {
		f, level = next.Failure, proto.LevelError
	}
	a.log.Warn().Err(f).Str("state", string(next.State)).Msg("attempt failed")
	a.report.say(ctx, level, proto.StageEngine, fmt.Sprintf("attempt %d failed", a.s.Attempt), f)
	if next.State.Final() {
		return a.end(end, next, final(f))
	}
	return a.end(end, next, bus.Later(time.Until(next.NotBefore), "attempt %d failed: %s", a.s.Attempt, f.Code))
}

// end writes the record of the attempt's end and gives result, the answer to the message. When somebody else moved the record,
// this attempt has no say any more.
func (a *attempt) end(ctx context.Context, next *proto.TaskState, result error) error {
	_, err := a.w.tasks.Update(ctx, a.key, next, a.rev)
	for errors.Is(err, bus.ErrConflict) && a.adopt(ctx) {
		_, err = a.w.tasks.Update(ctx, a.key, next, a.rev)
	}
	if err != nil {
		a.log.Warn().Err(err).Str("state", string(next.State)).Msg("could not record the attempt's end")
		return later(err)
	}
	if next.State == proto.StateCollected {
		a.log.Info().Int64("dumps", next.Counts.Dumps).Int64("manifests", next.Counts.Manifests).Float64("engine_seconds", next.Counts.EngineSeconds).
			Msg("task collected")
		if next.Task.Evaluate == nil { // which dumps nothing
			a.report.say(ctx, proto.LevelInfo, proto.StageDump, summary(&next.Counts), nil)
		}
	}
	return result
}

// run does the attempt's work. All of its manifests are durable when it returns nil.
func (a *attempt) run(ctx context.Context) (counts proto.AttemptCounts, err error) {
	w, task := a.w, &a.began.Task
	eng, err := w.opt.Engines.Select(task.Engine.Kind)
	if err != nil {
		return counts, err
	}
	defs, err := w.definitions(ctx, task)
	if err != nil {
		return counts, err
	}
	dir, err := w.dir.make(a.began)
	if err != nil {
		return counts, fmt.Errorf("make dump directory: %w", err)
	}
	defer func() {
		if err := w.dir.remove(dir.root); err != nil {
			a.log.Warn().Err(err).Msg("could not remove the dump directory")
		}
	}()
	defer a.keepLogs(ctx, dir.scratch)
	return a.engineAndTail(ctx, eng, dir.kept, engine.Job{
		Task: *task, Definitions: defs, DumpDir: dir.dumps, ScratchDir: dir.scratch, TraceDir: dir.trace, Devices: a.grant.Devices, Locks: a.grant.Locks, Log: a.log,
	})
}

// keepLogs stores the engine's log after the attempt, and reports its path.
func (a *attempt) keepLogs(ctx context.Context, scratch string) {
	path, err := a.w.dir.keepLogs(a.began, scratch)
	if err != nil {
		a.log.Warn().Err(err).Msg("could not keep the engine's log")
	}
	if path != "" {
		a.report.say(context.WithoutCancel(ctx), proto.LevelInfo, proto.StageEngine, fmt.Sprintf("the engine's log is %s:%s", a.w.opt.Node, path), nil)
	}
}

// pressureEvery is how often a full disk is said: it may come and go with every dump.
const pressureEvery = 10 * time.Second

// engineAndTail runs both at the same time, each until its end; the first error stops the other. Dumps are kept in the directory kept.
func (a *attempt) engineAndTail(ctx context.Context, eng engine.Engine, kept string, job engine.Job) (counts proto.AttemptCounts, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ship := &shipper{bus: a.w.opt.Bus, store: a.w.opt.Store}
	job.Identify = ship.identify
	if job.TraceDir != "" {
		ship.evidence = &manifest.Evidence{}
	}
	var lastPressure time.Time // the tailer calls from one goroutine
	tailer := tail.New(tail.Options{
		Dir: job.DumpDir, Origin: a.origin(job.Definitions), Quota: job.Task.Dump.QuotaBytes, Delete: true, Ship: ship.ship, Log: a.log,
		Keep:   tail.Keep{Dir: kept, Max: a.w.opt.KeepDumps},
		Warmup: job.Task.Engine.Kind == proto.EngineSGLang, Budget: job.Task.Dump.Count,
		Pressure: func(over bool, used, quota int64) {
			if over && time.Since(lastPressure) > pressureEvery {
				lastPressure = time.Now()
				text := fmt.Sprintf("dump directory holds %d bytes, over its quota of %d", used, quota)
				if quota == 0 || used <= quota {
					text = fmt.Sprintf("the disk of the dump directory, which holds %d bytes, is nearly full", used)
				}
				a.report.say(ctx, proto.LevelWarn, proto.StageDump, text, nil)
			}
		},
	})
	job.Gate, job.Begin, job.Spent = tailer.Gate, tailer.Begin, tailer.Spent
	began := time.Now()
	var result engine.Result
	var engineErr error
	engineDone := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		defer close(engineDone)
		result, engineErr = runEngine(ctx, eng, job, func(p engine.Progress) { a.report.engine(ctx, p) })
		if engineErr != nil {
			stop(engineErr)
		}
	})
	eating, ate := context.WithCancel(ctx)
	others.Go(func() { a.report.dumps(eating, func() int64 { return tailer.Snapshot().Counts.Dumps }) })
	counts, tailErr := tailer.Run(ctx, engineDone)
	if tailErr != nil {
		stop(tailErr)
	}
	ate()
	others.Wait()
	a.report.flush(ctx)
	a.report.progress(ctx, proto.StageDump, counts.Dumps, 0)
	counts.BytesShipped = ship.bytes.Load()
	if counts.EngineSeconds = result.EngineSeconds; counts.EngineSeconds == 0 {
		counts.EngineSeconds = time.Since(began).Seconds()
	}
	counts.Tokens, counts.ServeSeconds = result.Tokens, result.ServeSeconds
	counts.GPUSeconds = counts.EngineSeconds * float64(result.GPUs)
	// The context has the first error; the other one is its consequence.
	if cause := context.Cause(ctx); cause != nil {
		return counts, cause
	}
	if counts.Dumps == counts.BeforeTraffic && job.Task.Dump.What != proto.DumpNone {
		return counts, nothingDumped(&job.Task, counts, result.Requests)
	}
	if job.TraceDir != "" {
		a.harvest, err = a.gather(ctx, job.TraceDir, ship.evidence)
	}
	return counts, err
}

// nothingDumped returns why there are no dumps of traffic, as far as that is known here.
func nothingDumped(t *proto.Task, counts proto.AttemptCounts, requests int64) *proto.Failure {
	how := string(t.Engine.Kind)
	if t.Engine.Mode != "" {
		how += " in mode " + string(t.Engine.Mode)
	}
	key := proto.TaskKey(t.Collection, t.ID)
	if n := counts.BeforeTraffic; n > 0 {
		f := proto.Failf(proto.CodeNothingDumped, "task %s: all %d dumps were made before the first request (warm-up, autotuning, graph capture); %s then served %d requests and dumped nothing",
			key, n, how, requests)
		if t.Dump.Count > 0 && n >= int64(t.Dump.Count) {
			return f.WithHint("they spent the budget of %d dumps a process: turn off what makes them (graphs, warm-up, autotuning), or raise --dump-count", t.Dump.Count)
		}
		return f.WithHint("no call of traffic matched %q: graphs hide calls, and not every mode reaches every API; see `tracefleet definitions resolve`", t.Dump.Include)
	}
	return proto.Failf(proto.CodeNothingDumped, "task %s: %s served %d requests and dumped nothing", key, how, requests).
		WithHint("no call matched %q: see `tracefleet definitions resolve` for which engine mode reaches which API", t.Dump.Include)
}

// summary says what a finished attempt brought, and what it cost.
func summary(c *proto.AttemptCounts) string {
	text := fmt.Sprintf("collected %d dumps, %d manifests; %s of dumps were written", c.Dumps, c.Manifests, cli.Bytes(c.BytesSeen))
	if c.Manifests > 0 {
		text += fmt.Sprintf(", %s a manifest", cli.Bytes(c.BytesSeen/c.Manifests))
	}
	if c.BeforeTraffic > 0 {
		text += fmt.Sprintf("; %d dumps were made before the first request and are not used", c.BeforeTraffic)
	}
	return text
}

// runEngine runs the engine, and converts a panic and an error that has no code to a *proto.Failure.
func runEngine(ctx context.Context, eng engine.Engine, job engine.Job, report func(engine.Progress)) (result engine.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = proto.Failf(proto.CodeInternal, "engine %s: panic: %v", job.Task.Engine.Kind, p).WithRetry()
		}
	}()
	result, err = eng.Run(ctx, job, report)
	if err != nil {
		var f *proto.Failure
		if !errors.As(err, &f) && !disk.Full(err) && !disk.ReadOnly(err) {
			err = proto.Failf(proto.CodeEngineFailed, "engine %s: %v", job.Task.Engine.Kind, err).WithRetry()
		}
	}
	return result, err
}

// beat renews the heartbeat by compare-and-set until ctx ends. A conflict means that the task is not ours any more.
func (a *attempt) beat(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(a.w.opt.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		next := *a.s
		next.Heartbeat = time.Now().UTC()
		rev, err := a.w.tasks.Update(ctx, a.key, &next, a.rev)
		switch {
		case err == nil:
			a.s, a.rev = &next, rev
		case ctx.Err() != nil:
			return
		case errors.Is(err, bus.ErrConflict):
			if a.adopt(ctx) {
				continue
			}
			stop(errLost)
			return
		default:
			a.log.Warn().Err(err).Msg("heartbeat failed, trying on")
		}
	}
}

// adopt takes over the revision of a record that is still this attempt's, and reports whether it is. A heartbeat that was cut
// off while it waited for the answer may have been written: a conflict with it is one with ourselves.
func (a *attempt) adopt(ctx context.Context) bool {
	s, rev, err := a.w.tasks.Get(ctx, a.key)
	if err != nil || !owns(a.began, s) || rev == a.rev {
		return false
	}
	a.rev = rev
	return true
}

// ending returns why the attempt stops if its task's record is now s, or nil if the attempt still owns it.
func (a *attempt) ending(s *proto.TaskState) error {
	switch {
	case s.State == proto.StateCancelled:
		return errCancelled
	case s.State == proto.StateFailed && s.Attempt == a.began.Attempt:
		return errFailed
	case !owns(a.began, s):
		return errLost
	}
	return nil
}

// lostTo returns why the attempt does not own its task any more.
func (a *attempt) lostTo(ctx context.Context) error {
	if s, _, err := a.w.tasks.Get(ctx, a.key); err == nil && a.ending(s) != nil {
		return a.ending(s)
	}
	return errLost
}

// watch stops the attempt as soon as the record says that it is cancelled or another's; the next heartbeat would be late.
func (a *attempt) watch(ctx context.Context, stop context.CancelCauseFunc) {
	for e := range a.w.tasks.Watch(ctx, a.key) {
		switch {
		case e.Synced || e.Err != nil:
		case e.Deleted:
			stop(errLost)
		default:
			if err := a.ending(e.Value); err != nil {
				stop(err)
			}
		}
	}
}

// classify returns the failure of an attempt's error, which states whether another attempt may succeed. A full or read-only work directory
// fails this node only: another worker may take the task, unless there is none (Options.NoGPUsAfter).
func (w *Worker) classify(err error) *proto.Failure {
	var f *proto.Failure
	switch {
	case errors.As(err, &f):
	case disk.Full(err):
		f = proto.Failf(proto.CodeDiskFull, "%v", err).WithHint("free space in the work directory %s, or set --dump-quota", w.opt.WorkDir).WithRetry()
	case disk.ReadOnly(err):
		f = proto.Failf(proto.CodeDumpDir, "%v", err).WithHint("make the work directory %s writable", w.opt.WorkDir).WithRetry()
	default:
		return proto.Failf(proto.CodeInternal, "%v", err).WithRetry()
	}
	if w.opt.NoGPUsAfter < 0 && (f.Code == proto.CodeDiskFull || f.Code == proto.CodeDumpDir) {
		g := *f
		g.Retryable = false
		return &g
	}
	return f
}
