// Package engine is how a gpuworker serves inference with FlashInfer's level-10 logging on: one interface over what runs
// the requests, so that the worker's loop and the dump tailing never know which it was.
//
// # Flow
//
// The worker makes an empty dump directory and a Job, calls Run, and tails the directory meanwhile. The engine writes dump
// directories as FlashInfer does and reports progress; when Run returns, the engine's lifetime is over.
//
// # Guarantees of every engine (held by package enginetest)
//
//   - Run returns when the engine's lifetime has ended: nothing it started is still running, and every dump it left is final.
//   - A cancelled ctx stops it, and Run returns ctx's error (or its cause) in the chain.
//   - It writes below Job.DumpDir, Job.ScratchDir and Job.TraceDir, and nowhere else. What is read (recordings, models) stays as it was. A name there that begins
//     with a dot is the engine's scratch, and gone when Run returns.
//   - It survives the removal of finished dump directories while it runs: the tailer deletes what it has eaten.
//   - An engine whose Result says Simulated gives equal structural tensors, in equal call order, for an equal Job.
//
// # What it does not do
//
// It does not read, pair, select or delete dumps, and does not talk to the broker.
package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Engine runs one engine lifetime: start, serve the job's traffic, stop.
type Engine interface {
	// Run serves job and returns when the engine's lifetime has ended. report may be called from any goroutine of the
	// engine, but never after Run returned; it must not block for long. Errors that a person should read are *proto.Failure.
	Run(ctx context.Context, job Job, report func(Progress)) (Result, error)
}

// Checker is an engine that can refuse a job before it is claimed and its GPUs are leased.
type Checker interface {
	// Check returns why no call of the job can become a workload on this node, or nil. It starts nothing, and the job has no
	// directories and no devices yet. The failure is not retryable.
	Check(job Job) *proto.Failure
}

// Job is what one engine lifetime is to do.
type Job struct {
	Task        proto.Task            // engine specification, batch size, traffic, dump include patterns and budget
	Definitions []*fitrace.Definition // those of the task, in its order; their JSON as the submission meant it
	DumpDir     string                // exists and is empty; the only place that is written to
	Devices     []string              // leased GPUs as CUDA_VISIBLE_DEVICES names them; empty: the engine needs none
	Locks       []*os.File            // held for Devices: what outlives this process must keep them open (proc.Spec.Hold)
	ScratchDir  string                // exists, is empty, local disk; the engine's own files and logs, removed with the attempt
	TraceDir    string                // exists and is empty where the task wants FlashInfer's trace dump; else empty
	// Begin tells the worker that the engine is ready, has done all of its own calls and serves its first request next: what is
	// dumped before Begin returns never becomes a workload. Engines whose dumps are all of traffic do not call it. Nil: not asked.
	Begin func(ctx context.Context) error
	// Identify reports to the worker what the engine runs on and in which mode, before anything is dumped: manifests state it. Engines
	// whose dumps record it, or that do not have it, do not call it. Nil: the worker does not need it.
	Identify func(Identity)
	// Spent reports that every process which dumps has used up its budget: serving on would bring nothing. Nil: never.
	Spent func() bool
	// Gate holds the engine back while the dump directory is over its quota: engines that can pause call it before they
	// write another dump. It returns nil when there is room, or the ctx's error. Nil: there is always room.
	Gate func(ctx context.Context) error
	Log  zerolog.Logger
}

// Identity holds what an engine reports about itself when it starts.
type Identity struct {
	Versions map[string]string // of the engine and what it runs on: sglang, flashinfer, torch, python
	Mode     proto.EngineMode  // in which it is driven
}

// Wait passes the job's gate, if it has one, and otherwise only checks ctx.
func (j *Job) Wait(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if j.Gate == nil {
		return nil
	}
	return j.Gate(ctx)
}

// Progress is how far a lifetime has come.
type Progress struct {
	Done  int64  // requests served; replay: dumps played
	Total int64  // of how many; 0: not known
	Dumps int64  // dump directories begun by all processes of the engine
	Text  string // a line for the log; empty: only the numbers changed
}

// Result is what a lifetime came to. On error it holds what is known.
type Result struct {
	EngineSeconds float64           // wall time of the lifetime
	GPUs          int               // devices held; 0 for engines that need none
	Versions      map[string]string // of the engine and what it runs on, where known: flashinfer, torch, sglang, tracefleet-simulate
	Simulated     bool              // no GPU ran: must never be passed off as measured traffic
	Requests      int64             // served
	Tokens        int64             // generated by them; 0: the engine does not count
	ServeSeconds  float64           // wall time from the first request to the last answer
	Dumps         int64             // dump directories written
}

// Registry holds the engines a worker has, by kind.
type Registry map[proto.EngineKind]Engine

// Kinds lists what the registry has, sorted.
func (r Registry) Kinds() []proto.EngineKind { return slices.Sorted(maps.Keys(r)) }

// Select gives the engine of a kind. What is not there is a failure with code engine_unavailable, worth a retry on another
// worker.
func (r Registry) Select(kind proto.EngineKind) (Engine, error) {
	if e, ok := r[kind]; ok && e != nil {
		return e, nil
	}
	var have []string
	for _, k := range r.Kinds() {
		have = append(have, string(k))
	}
	return nil, proto.Failf(proto.CodeEngineUnavailable, "select engine %q: this worker has %s", kind, orNone(have)).
		WithHint("start a gpuworker that has the %s engine, or choose another with --engine", kind).WithRetry()
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return fmt.Sprintf("only %s", strings.Join(list, ", "))
}
