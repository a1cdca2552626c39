package simulate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/disk"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// epoch is when every simulated lifetime begins. Time is simulated too: equal jobs give equal timestamps.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// version is what simulated dumps say made them; it changes when equal jobs give other tensors than before.
const version = "2"

// versions is written into every record, so that a simulated dump says so wherever it is taken.
func versions() map[string]string {
	return map[string]string{
		"torch": "simulated", "python": "simulated", "flashinfer": "0.7.2.post1+simulated", proto.VersionSimulate: version,
	}
}

// sink is what the ranks of a lifetime share.
type sink struct {
	job     *engine.Job
	include []string
	limiter *rate.Limiter // nil: as fast as possible
	dumps   atomic.Int64

	mu     sync.Mutex
	passed map[string]bool // include decisions by function name
}

// wanted reports whether calls of a function are dumped.
func (s *sink) wanted(fn *function) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok, known := s.passed[fn.name]
	if !known {
		ok = included(s.include, fn.name)
		s.passed[fn.name] = ok
	}
	return ok
}

// rank is one process of the engine, with FlashInfer's logger in it: its own pid, objects, clock, call numbers and budget.
type rank struct {
	*sink
	number   int
	pid      int
	budget   int // dumps left
	clock    time.Time
	jitter   *rand.Rand
	wrappers []int64
	writer   *fidump.Writer
}

func newRank(s *sink, number, wrappers int) *rank {
	t := &s.job.Task
	first := 2000 + seed(t, "pid").IntN(30000)
	r := &rank{
		sink: s, number: number, pid: first + number, budget: t.Dump.Count,
		clock: epoch, jitter: seed(t, fmt.Sprintf("rank %d", number)),
	}
	if r.budget <= 0 {
		r.budget = defaultBudget
	}
	for range wrappers {
		r.wrappers = append(r.wrappers, 0x7f0000000000+r.jitter.Int64N(1<<36)<<4)
	}
	r.writer = fidump.NewWriter(s.job.DumpDir, int64(r.pid), versions())
	return r
}

// spent reports whether no call will be dumped any more.
func (r *rank) spent() bool { return r.budget == 0 }

// run makes a pass's calls.
func (r *rank) run(ctx context.Context, calls []*call) error {
	for _, c := range calls {
		// A dumped call takes milliseconds; one at least, so that a process's names are in the order of its calls.
		r.clock = r.clock.Add(time.Millisecond + time.Duration(r.jitter.IntN(3000))*time.Microsecond)
		if r.spent() {
			return nil
		}
		if r.limiter != nil {
			if err := r.limiter.Wait(ctx); err != nil {
				return err
			}
		}
		if err := r.job.Wait(ctx); err != nil {
			return err
		}
		if err := r.dump(c); err != nil {
			return writeFailure(err)
		}
		r.budget--
		r.dumps.Add(1)
	}
	return nil
}

// dump writes a call as the logger does: inputs and first record before the kernel runs, outputs and second record after.
func (r *rank) dump(c *call) error {
	d := fidump.Call{Time: r.clock, Function: c.fn.name, Module: c.fn.module, Signature: c.fn.signature, Args: c.on(r.number)}
	if c.wrapper >= 0 {
		d.SelfID = r.wrappers[c.wrapper]
		class := c.fn.class()
		self := fidump.ObjectArg("arg_0", class, fmt.Sprintf("<%s.%s object at 0x%x>", c.fn.module, class, d.SelfID))
		d.Args = append([]fidump.Value{self}, d.Args...)
	}
	pending, err := r.writer.Begin(d)
	if err != nil {
		return err
	}
	return pending.Return(c.results...)
}

// writeFailure converts an error of writing a dump to a *proto.Failure with a remedy.
func writeFailure(err error) error {
	var f *proto.Failure
	switch {
	case errors.As(err, &f):
		return f
	case disk.Full(err):
		return proto.Failf(proto.CodeDiskFull, "simulate: write a dump: %v", err).
			WithHint("free space on this node, or lower the dump quota so that the engine waits in time").WithRetry()
	case errors.Is(err, fs.ErrNotExist):
		return proto.Failf(proto.CodeDumpDir, "simulate: write a dump: %v", err).
			WithHint("the dump directory was removed while the engine ran").WithRetry()
	}
	return proto.Failf(proto.CodeEngineFailed, "simulate: write a dump: %v", err).WithRetry()
}
