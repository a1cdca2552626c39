package sglang

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/proc"
	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

// Options is what the node gives.
type Options struct {
	Python        string   // path of the interpreter that has SGLang
	Env           []string // NAME=value, for the engine only; wins over the worker's own environment
	WorkspaceBase string   // local disk for FlashInfer's builds (FLASHINFER_WORKSPACE_BASE); empty: the user's home
	// StartTimeout is from launch to ready, where the task sets none. Weights of hundreds of gigabytes are normal. 0: DefaultStartTimeout.
	StartTimeout time.Duration
	StopGrace    time.Duration // from being asked to being killed. 0: DefaultStopGrace
	AnyRelease   bool          // try a release outside the tested range, also where the task does not say so
	Capability   func() int    // of the node's GPUs: 90 for sm_90; nil or 0: not known
}

// Defaults of Options.
const (
	DefaultStartTimeout = 30 * time.Minute
	// SGLang looks for the end of its requests every 5 s, and then waits 15 s for its schedulers.
	DefaultStopGrace = 45 * time.Second
)

// spentGrace replaces StopGrace where the dump budget is spent and a batch still runs: nothing of it is wanted.
const spentGrace = 5 * time.Second

// Engine runs SGLang.
type Engine struct{ opt Options }

// New makes the engine. Nothing is looked at before Run.
func New(o Options) *Engine {
	if o.StartTimeout <= 0 {
		o.StartTimeout = DefaultStartTimeout
	}
	if o.StopGrace <= 0 {
		o.StopGrace = DefaultStopGrace
	}
	return &Engine{opt: o}
}

// lifetime is one run of the engine.
type lifetime struct {
	e      *Engine
	job    *engine.Job
	report func(engine.Progress)
	node   *node
	plan   *plan
	source *traffic.Source
	watch  *watch
	child  *proc.Child
	began  int64 // where the session log ended when traffic began
	before map[string]int
	served atomic.Int64
	tokens atomic.Int64 // generated
	serve  time.Duration
	grace  time.Duration
}

// errEnded is the cause of a context whose engine has ended by itself.
var errEnded = errors.New("the engine ended")

// Run implements engine.Engine.
func (e *Engine) Run(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
	began := time.Now()
	l := &lifetime{e: e, job: &job, report: report, grace: e.opt.StopGrace, before: map[string]int{}}
	result := engine.Result{GPUs: len(job.Devices)}
	err := l.run(ctx)
	result.EngineSeconds = time.Since(began).Seconds()
	result.Requests, result.Tokens, result.ServeSeconds = l.served.Load(), l.tokens.Load(), l.serve.Seconds()
	if l.node != nil {
		result.Versions = l.node.versions
	}
	all, _ := tally(job.DumpDir, 0)
	result.Dumps = int64(total(all))
	return result, err
}

func (l *lifetime) run(ctx context.Context) (err error) {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if l.node, err = l.e.look(ctx); err != nil {
		return l.ours(ctx, err)
	}
	if l.job.Task.Engine.Mode == proto.ModeAny || l.job.Task.Engine.Mode == "" {
		l.job.Task.Engine.Mode = proto.ModeOffline // every pass calls what it is after, and here batches are exact
	}
	if l.job.Identify != nil {
		l.job.Identify(engine.Identity{Versions: l.node.versions, Mode: l.job.Task.Engine.Mode})
	}
	mentioned, err := l.node.mentioned(l.job)
	if err != nil {
		return err
	}
	if l.plan, err = l.e.plan(ctx, l.job, l.node); err != nil {
		return err
	}
	// Traffic files are read before any GPU is used.
	if l.source, err = traffic.New(&l.job.Task, traffic.Options{Vocab: traffic.VocabSize(l.job.Task.Engine.ModelPath)}); err != nil {
		return err
	}
	for _, text := range slices.Concat(mentioned, l.plan.notes, l.source.Notes()) {
		l.tell(text)
	}
	l.watch = newWatch(l.tell)
	defer l.watch.mute()
	drive := l.serveHTTP
	if l.plan.offline() {
		drive = l.serveOffline
	}
	err = drive(ctx)
	if err != nil {
		return l.ours(ctx, err)
	}
	return l.account()
}

// ours returns ctx's own cause if it ended: the error is then a consequence of it.
func (l *lifetime) ours(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("sglang: stopped after %d requests: %w", l.served.Load(), cause)
	}
	return err
}

// tell reports a line of text, and logs it.
func (l *lifetime) tell(text string) {
	l.job.Log.Info().Str("engine", "sglang").Msg(text)
	l.progress(text)
}

func (l *lifetime) progress(text string) {
	p := engine.Progress{Done: l.served.Load(), Text: text}
	if l.source != nil {
		p.Total = int64(l.source.Total())
	}
	l.report(p)
}

// launch starts a command under the job's environment.
func (l *lifetime) launch(spec proc.Spec) (err error) {
	if spec.Env, err = l.e.environ(l.job, l.plan.env); err != nil {
		return err
	}
	spec.Dir, spec.LogFile = l.job.ScratchDir, filepath.Join(l.job.ScratchDir, logName)
	spec.Line, spec.Grace, spec.Hold = l.watch.line, l.e.opt.StopGrace, l.job.Locks
	if l.child, err = proc.Start(spec); err != nil {
		return cannotStart(err, l.e.opt.Python)
	}
	l.job.Log.Info().Int("pid", l.child.PID()).Str("release", l.node.release).Msg("SGLang started")
	return nil
}

func cannotStart(err error, python string) error {
	return proto.Failf(proto.CodeEnvironment, "%v", err).WithHint("`%s --version` must work for the worker's user; see `tracefleet doctor`", python)
}

// stop ends the child. It asks first whatever happened: dumps of finished calls are final when it has ended by itself.
func (l *lifetime) stop(ctx context.Context, err error) error {
	exit, stopErr := l.child.Stop(context.WithoutCancel(ctx), l.grace)
	l.job.Log.Info().Stringer("exit", exit).Int("killed", exit.Killed).Msg("SGLang ended")
	if stopErr == nil {
		return err
	}
	f := proto.Failf(proto.CodeEngineFailed, "%v", stopErr).WithHint("its GPUs may still be in use; `nvidia-smi` shows by what").WithRetry()
	return errors.Join(f, err)
}

// begin tells the worker that traffic follows, and remembers what was dumped until then.
func (l *lifetime) begin(ctx context.Context) error {
	if l.job.Begin != nil {
		if err := l.job.Begin(ctx); err != nil {
			return err
		}
	}
	l.before, l.began = tally(l.job.DumpDir, 0)
	if n := total(l.before); n > 0 {
		l.tell(fmt.Sprintf("%d calls were dumped before the first request; they become no workloads", n))
	}
	return nil
}

// lastWords is how long the output of a process that has ended may take to be read; what it left behind may hold the pipe.
const lastWords = 5 * time.Second

// failed makes the failure of an engine that gave err while in a phase. It waits a little for its end: that says more.
func (l *lifetime) failed(phase string, err error) error {
	var f *proto.Failure
	if errors.As(err, &f) {
		return err
	}
	select {
	case <-l.child.Left():
		// Its end can be known before its last lines were read, and those say why.
		select {
		case <-l.child.Done():
		case <-time.After(lastWords):
		}
		exit := l.child.Exit()
		return l.watch.diagnose(l.node.release, phase, &exit, err)
	case <-time.After(l.e.patience()):
		return l.watch.diagnose(l.node.release, phase, nil, err)
	}
}

// patience is how long a broken connection is given to become the end of the process: SGLang prints, waits and then kills itself.
func (e *Engine) patience() time.Duration { return min(e.opt.StopGrace, 15*time.Second) }

// clock measures serving, from now until what it gives is called.
func (l *lifetime) clock() (stop func()) {
	began := time.Now()
	return func() { l.serve = time.Since(began) }
}

// account reports the dumps that traffic left, and returns an error if there are none.
func (l *lifetime) account() error {
	if l.job.Task.Dump.What == proto.DumpNone {
		return nil
	}
	facts := l.watch.known()
	h := harvest{before: l.before, budget: l.job.Task.Dump.Count}
	h.after, _ = tally(l.job.DumpDir, l.began)
	if total(h.after) == 0 {
		h.readLogs(filepath.Join(l.job.ScratchDir, flashinferDir))
		return h.nothing(&l.job.Task, facts, l.node.release)
	}
	for _, text := range h.lacking(l.job.Definitions) {
		l.tell(text)
	}
	if facts.Retractions > 0 {
		l.tell(fmt.Sprintf("%d requests were retracted from a full KV pool: not every batch had its size; raise --pool-tokens", facts.Retractions))
	}
	if len(facts.Captured) > 0 {
		l.tell("CUDA graphs were captured: what was replayed has no plan of its own")
	}
	return nil
}
