package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/gpuworker"
	"github.com/tracefleet/tracefleet/gpuworker/engine/evaluate"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/tensorstore"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher"
	"github.com/tracefleet/tracefleet/sanitizer"
)

type coordinatorCmd struct {
	connectFlags
	sizeFlags
	EmbeddedNATS bool   `name:"embedded-nats" help:"Bring the broker too, on --state-dir."`
	Listen       string `default:"127.0.0.1:4222" placeholder:"HOST:PORT" help:"Where the embedded broker listens (${default})."`
	StateDir     string `default:".tracefleet-state" placeholder:"DIR" help:"The embedded broker's files (${default})."`
}

// Run serves until a signal.
func (c *coordinatorCmd) Run(env *environ) error {
	if c.EmbeddedNATS && c.NATS != "" {
		return cli.Usagef("--embedded-nats and --nats: give one of them")
	}
	var s *session
	var err error
	if c.EmbeddedNATS {
		s, err = c.open(env.Soft, env, c.StateDir, c.Listen, c.sizeFlags)
	} else {
		var b *bus.Bus
		b, err = c.connectRole(env.Soft, env, "coordinator", c.sizeFlags)
		s = &session{bus: b}
	}
	if err != nil {
		return err
	}
	defer s.Close()
	env.listens(s)
	if s.server == nil {
		return runCoordinator(env.Soft, env, s.bus)
	}
	group, ctx := errgroup.WithContext(env.Soft)
	group.Go(func() error { return s.watchBroker(ctx) })
	group.Go(func() error {
		err := runCoordinator(ctx, env, s.bus.Patient())
		return errors.Join(err, context.Cause(ctx)) // ends the watching of the broker too
	})
	return named("coordinator", group.Wait())
}

// gpuworkerCmd runs a worker, unless it is told to set this node up for one.
type gpuworkerCmd struct {
	Work  workCmd  `cmd:"" default:"withargs" help:"Run the worker; the word may be left out."`
	Setup setupCmd `cmd:"" help:"Make this node's Python environment for sglang, or what is missing of it."`
}

type workCmd struct {
	connectFlags
	sizeFlags
	nodeFlags
	Engines      []string      `placeholder:"KIND,..." help:"Engines this worker offers: replay, simulate, sglang; by default the first two, and sglang where --python, --conda-env or gpuworker setup gave it an environment."`
	WorkDir      string        `default:".tracefleet-work" placeholder:"DIR" help:"Dumps in work; local disk, not shared with another worker (${default})."`
	StartTimeout time.Duration `placeholder:"DURATION" help:"sglang: longest wait for a server to be ready, where the collection says nothing, such as 90m."`
}

// Run serves until a signal: the first lets the tasks in hand finish, the second hands them back.
func (c *workCmd) Run(env *environ) error {
	n, err := c.node(env.Soft, env, c.Engines, c.WorkDir, c.StartTimeout)
	if err != nil {
		return err
	}
	b, err := c.connectRole(env.Soft, env, "gpuworker", c.sizeFlags)
	if err != nil {
		return err
	}
	defer b.Close()
	return runGPUWorker(env, b, n, gpuworker.Options{WorkDir: c.WorkDir, Slots: c.Slots, KeepDumps: c.KeepDumps})
}

type sanitizerCmd struct {
	connectFlags
	sizeFlags
	Parallel int `default:"2" help:"Manifests converted at once."`
}

// Run serves until a signal.
func (c *sanitizerCmd) Run(env *environ) error {
	if c.Parallel < 1 {
		return cli.Usagef("--parallel is %d, must be at least 1", c.Parallel)
	}
	b, err := c.connectRole(env.Soft, env, "sanitizer", c.sizeFlags)
	if err != nil {
		return err
	}
	defer b.Close()
	return runSanitizer(env.Soft, env, b, c.Parallel)
}

type publisherCmd struct {
	connectFlags
	sizeFlags
	TraceDir string `type:"existingdir" placeholder:"DIR" help:"Dataset directory on this node, instead of the one each collection names."`
	Python   string `placeholder:"PATH" help:"Interpreter with flashinfer-bench, whose validate is asked before each push; without it our own rules alone are."`
}

// Run serves until a signal, and finishes the publication in hand.
func (c *publisherCmd) Run(env *environ) error {
	b, err := c.connectRole(env.Soft, env, "publisher", c.sizeFlags)
	if err != nil {
		return err
	}
	defer b.Close()
	return runPublisher(env, b, c.TraceDir, c.Python)
}

type serveCmd struct {
	connectFlags
	sizeFlags
	nodeFlags
	StateDir     string        `default:".tracefleet-state" placeholder:"DIR" help:"The broker's files, dumps in work, logs (${default})."`
	Listen       string        `placeholder:"HOST:PORT" help:"Let other processes join the broker there."`
	Sanitizers   int           `default:"2" help:"Manifests converted at once."`
	StartTimeout time.Duration `placeholder:"DURATION" help:"sglang: longest wait for a server to be ready, where the collection says nothing, such as 90m."`
}

// Run serves until a signal.
func (c *serveCmd) Run(env *environ) error {
	local, err := startLocal(env, c.connectFlags, localOptions{
		nodeFlags: c.nodeFlags, sizeFlags: c.sizeFlags, StateDir: c.StateDir, Listen: c.Listen, Sanitizers: c.Sanitizers, StartTimeout: c.StartTimeout,
	})
	if err != nil {
		return err
	}
	defer local.Close()
	return local.Wait()
}

func runCoordinator(ctx context.Context, env *environ, b *bus.Bus) error {
	return announced(ctx, b, "coordinator", coordinator.New(coordinator.Options{Bus: b, Log: env.Log}).Run)
}

// runGPUWorker runs a worker with this node's engines; opt has what else was chosen.
func runGPUWorker(env *environ, b *bus.Bus, n node, opt gpuworker.Options) error {
	store, err := tensorstore.Open(env.Soft, b)
	if err != nil {
		return err
	}
	if n.evaluate.Python != "" {
		n.evaluate.Store = store
		n.engines[proto.EngineEvaluate] = evaluate.New(n.evaluate)
	}
	opt.Bus, opt.Store, opt.Engines, opt.Leases = b, store, n.engines, n.leases
	opt.Node, opt.Version, opt.Log = nodeName(), version(), env.Log
	worker, err := gpuworker.New(opt)
	if err != nil {
		return err
	}
	return worker.Run(env.Soft, env.Hard)
}

// sanitizerCache holds the tensors of the latest plans: every layer and rank of a step names the same ones.
const sanitizerCache = 64 << 20

func runSanitizer(ctx context.Context, env *environ, b *bus.Bus, parallel int) error {
	store, err := tensorstore.Open(ctx, b, tensorstore.CacheBytes(sanitizerCache))
	if err != nil {
		return err
	}
	role := sanitizer.New(sanitizer.Options{Bus: b, Store: store, Parallel: parallel, Hard: env.Hard, Log: env.Log})
	return announced(ctx, b, "sanitizer", role.Run)
}

func runPublisher(env *environ, b *bus.Bus, traceDir, python string) error {
	store, err := tensorstore.Open(env.Soft, b)
	if err != nil {
		return err
	}
	o := publisherOptions(env)
	o.Bus, o.Store, o.TraceDir, o.Hard, o.Python = b, store, traceDir, env.Hard, python
	role := publisher.New(o)
	return announced(env.Soft, b, "publisher", role.Run)
}

// publisherOptions are what a publisher has of this process alone: the Hub's endpoint and token are in its environment and files.
func publisherOptions(env *environ) publisher.Options {
	return publisher.Options{Getenv: os.Getenv, Version: version(), Log: env.Log}
}

// announced runs a role and tells the fleet that it is there. The gpuworker does so itself: it has more to tell.
func announced(ctx context.Context, b *bus.Bus, name string, run func(context.Context) error) error {
	a, err := bus.NewAnnouncer(ctx, b, proto.Worker{ID: bus.NewWorkerID(name, nodeName()), Role: name, Host: nodeName(), Version: version()}, 0)
	if err != nil {
		return err
	}
	announcing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { a.Run(announcing) })
	defer wg.Wait()
	defer stop()
	return run(ctx)
}

// localOptions say how to run all roles in this process.
type localOptions struct {
	nodeFlags
	sizeFlags
	StateDir     string
	Listen       string // for other processes; empty: only this user's commands can join
	Sanitizers   int
	LogFile      string        // where the roles log instead of standard error; empty: there
	Engine       string        // one that must be among those offered, whatever this node is set up for; empty: none
	Evaluates    bool          // the baseline must be among what is offered
	StartTimeout time.Duration // of an engine's server; 0: the engine's default
}

// local is all roles on one broker in this process.
type local struct {
	*session
	done   chan struct{}
	err    error
	cancel context.CancelFunc
	undo   func()
}

// startLocal brings the broker up and the roles with it. The coordinator, the sanitizers and the publisher outlast the
// gpuworker at the first signal, so that what it finished is still sanitized and published.
func startLocal(env *environ, flags connectFlags, o localOptions) (*local, error) {
	if o.Sanitizers < 1 {
		return nil, cli.Usagef("--sanitizers is %d, must be at least 1", o.Sanitizers)
	}
	workDir := filepath.Join(o.StateDir, "work")
	n, err := o.node(env.Soft, env, enginesWith(o.Engine), workDir, o.StartTimeout)
	if err != nil {
		return nil, err // before anything is started
	}
	if o.Evaluates && n.evaluate.Python == "" {
		if err := o.evaluatingToo(env, &n, workDir); err != nil {
			return nil, err
		}
	}
	worker := gpuworker.Options{WorkDir: workDir, Slots: o.Slots, KeepDumps: o.KeepDumps}
	if o.Listen == "" {
		worker.NoGPUsAfter = -1 // no other worker will come: a task that this node can never run fails at once
	}
	roleEnv, undo, err := env.logTo(o.LogFile)
	if err != nil {
		return nil, err
	}
	s, err := flags.open(env.Soft, roleEnv, o.StateDir, o.Listen, o.sizeFlags)
	if err != nil {
		undo()
		return nil, err
	}
	if o.Listen != "" {
		env.listens(s)
	}
	l := &local{session: s, done: make(chan struct{}), undo: undo}
	ctx, cancel := context.WithCancel(env.Hard)
	l.cancel = cancel
	group, ctx := errgroup.WithContext(ctx)
	rest := *roleEnv
	rest.Soft, rest.Hard = ctx, ctx
	if s.server != nil {
		group.Go(func() error { return s.watchBroker(ctx) })
	}
	b := s.bus.Patient() // what the broker refuses ends the user's own requests; roles wait for it
	group.Go(func() error { return named("coordinator", runCoordinator(ctx, &rest, b)) })
	group.Go(func() error { return named("sanitizer", runSanitizer(ctx, &rest, b, o.Sanitizers)) })
	group.Go(func() error { return named("publisher", runPublisher(&rest, b, "", n.evaluate.Python)) })
	group.Go(func() error {
		workerEnv := *roleEnv
		soft, stop := context.WithCancel(env.Soft)
		defer stop()
		context.AfterFunc(ctx, stop)
		workerEnv.Soft, workerEnv.Hard = soft, ctx
		err := named("gpuworker", runGPUWorker(&workerEnv, b, n, worker))
		if env.Soft.Err() != nil {
			cancel() // it was the last to go on after the signal
		}
		return err
	})
	go func() {
		l.err = group.Wait()
		close(l.done)
	}()
	return l, nil
}

// Wait gives what ended the roles: nil after a signal or Close.
func (l *local) Wait() error {
	<-l.done
	return l.err
}

// Close stops the roles, then the broker.
func (l *local) Close() {
	l.cancel()
	<-l.done
	l.session.Close()
	l.undo()
}

// listens makes shown commands use the address of the broker in this process, because its state directory cannot be opened by others.
func (env *environ) listens(s *session) {
	if s.server != nil && s.server.URL() != "" {
		env.Commands.Use("nats", s.server.URL())
		env.Commands.Use("state-dir", "")
	}
}

func named(role string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", role, err)
}
