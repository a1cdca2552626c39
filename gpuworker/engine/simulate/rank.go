package simulate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/safetensors"
	"github.com/tracefleet/tracefleet/proto"
)

// epoch is when every simulated lifetime begins. Time is simulated too: equal jobs give equal timestamps.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

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
	numbers  map[string]int
	session  *os.File
}

func newRank(s *sink, number, wrappers int) (*rank, error) {
	t := &s.job.Task
	first := 2000 + seed(t, "pid").IntN(30000)
	r := &rank{
		sink: s, number: number, pid: first + number, budget: t.Dump.Count,
		clock: epoch, jitter: seed(t, fmt.Sprintf("rank %d", number)), numbers: map[string]int{},
	}
	if r.budget <= 0 {
		r.budget = defaultBudget
	}
	for range wrappers {
		r.wrappers = append(r.wrappers, 0x7f0000000000+r.jitter.Int64N(1<<36)<<4)
	}
	session, err := os.OpenFile(filepath.Join(s.job.DumpDir, "session.jsonl"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, writeFailure(err)
	}
	r.session = session
	return r, nil
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
				return context.Cause(ctx)
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

// dump writes a call in the logger's order: inputs, first record, outputs, second record.
func (r *rank) dump(c *call) error {
	r.numbers[c.fn.name]++
	id := identity{rank: r.number, pid: r.pid, sequence: r.numbers[c.fn.name], time: stamp(r.clock)}
	if c.wrapper >= 0 {
		id.self = r.wrappers[c.wrapper]
	}
	id.dir = filepath.Join(r.job.DumpDir, fmt.Sprintf("%s_pid%d_%s_call%04d", id.time, id.pid, c.fn.name, id.sequence))
	if err := os.Mkdir(id.dir, 0o755); err != nil {
		return err
	}
	if err := safetensors.WriteSparse(filepath.Join(id.dir, "inputs.safetensors"), entries(c.inputs()), nil); err != nil {
		return err
	}
	meta, err := os.OpenFile(filepath.Join(id.dir, "metadata.jsonl"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer meta.Close()
	if err := r.log(meta, c.record(id, false)); err != nil {
		return err
	}
	if len(c.results) > 0 {
		if err := safetensors.WriteSparse(filepath.Join(id.dir, "outputs.safetensors"), entries(c.results), nil); err != nil {
			return err
		}
	}
	return r.log(meta, c.record(id, true))
}

func (r *rank) log(meta *os.File, line []byte) error {
	if _, err := meta.Write(line); err != nil {
		return err
	}
	_, err := r.session.Write(line)
	return err
}

// stamp is FlashInfer's timestamp: milliseconds.
func stamp(t time.Time) string {
	return t.Format("20060102_150405_") + fmt.Sprintf("%03d", t.Nanosecond()/int(time.Millisecond))
}

// writeFailure says what a person can do about a dump that could not be written.
func writeFailure(err error) error {
	var f *proto.Failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return proto.Failf(proto.CodeDiskFull, "simulate: write a dump: %v", err).
			WithHint("free space on this node, or lower the dump quota so that the engine waits in time").WithRetry()
	case errors.Is(err, fs.ErrNotExist):
		return proto.Failf(proto.CodeDumpDir, "simulate: write a dump: %v", err).
			WithHint("the dump directory was removed while the engine ran").WithRetry()
	}
	return proto.Failf(proto.CodeEngineFailed, "simulate: write a dump: %v", err).WithRetry()
}
