// Package evaluate is an engine that runs the baseline on a pull request's workloads: flashinfer-bench's own `run`, as a child
// process, on a dataset laid out from the tensor store.
//
// # Flow
//
// The files of the task are written below Options.Dir, which outlives the attempt. flashinfer-bench writes traces when it is through with all
// workloads it was given, so it is given a few at a time; another attempt on this node goes on after the last few. Then the solution is run
// once more on each workload that has a trace, and what it computes summed up: a kernel that does nothing would pass where that is the same
// number throughout. At the end Job.TraceDir has traces.json, an array of all trace lines, and outputs.json, which the worker stores.
//
// # Guarantees
//
// Exit codes say nothing of the outcome, and none is derived from them: whoever reads the traces judges. Every workload is tried
// even where others fail. Nothing is written outside of the two directories, whatever the paths in the task say.
//
// # What it does not do
//
// It does not judge, and dumps nothing.
package evaluate

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/proc"
	"github.com/tracefleet/tracefleet/internal/childenv"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Store gives files by digest.
type Store interface {
	Get(ctx context.Context, digest string) ([]byte, error)
}

// Options are for New.
type Options struct {
	Python string   // interpreter that has flashinfer-bench
	Env    []string // its environment, NAME=value, without CUDA_VISIBLE_DEVICES; nil: this process's
	Store  Store
	Dir    string        // datasets under evaluation, one a task; kept until its evaluation ends
	Grace  time.Duration // from asking the child to end to killing it; 0: 30 s
	Few    int           // workloads a run of flashinfer-bench; 0: 8
	SumUp  time.Duration // the longest that outputs may take to be summed up; 0: 15 minutes
}

// Engine evaluates.
type Engine struct{ o Options }

// New makes the engine.
func New(o Options) *Engine {
	if o.Grace <= 0 {
		o.Grace = proc.DefaultGrace
	}
	if o.Few <= 0 {
		o.Few = 8
	}
	if o.SumUp <= 0 {
		o.SumUp = 15 * time.Minute
	}
	return &Engine{o}
}

const (
	// module is how flashinfer-bench's command is run in every release: the first has no __main__.
	module = "from flashinfer_bench.cli.main import cli; cli()"
	// each is the longest that flashinfer-bench lets a solution take on a workload, compilation included.
	each = 900 * time.Second
	// mostLog is how much of a trace's log is kept, in bytes: all traces of a task are one message.
	mostLog = 4 << 10
)

//go:embed outputs.py
var outputsScript string

// Run implements engine.Engine. The error is for an evaluation that could not be run to its end; what it says of workloads is in the
// traces.
func (e *Engine) Run(ctx context.Context, job engine.Job, report func(engine.Progress)) (result engine.Result, err error) {
	began := time.Now()
	defer func() { result.EngineSeconds = time.Since(began).Seconds() }()
	task := job.Task.Evaluate
	if task == nil || len(job.Definitions) != 1 {
		return result, proto.Failf(proto.CodeInternal, "evaluate: task %s says nothing of what to evaluate", job.Task.ID)
	}
	result.GPUs = len(job.Devices)
	whole := ctx
	if task.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, task.Timeout, proto.Failf(proto.CodeStartTimeout, "evaluate: %s was not through after %s", task.Definition.Name, task.Timeout).
			WithHint("a slow reference takes hours; `tracefleet jobs retry %s` goes on where it stopped, on the same node", job.Task.Collection))
		defer cancel()
	}
	r := &run{e: e, job: &job, task: task, def: job.Definitions[0], report: report, dir: filepath.Join(e.o.Dir, job.Task.Collection+"."+job.Task.ID)}
	if err := r.layOut(ctx); err != nil {
		return result, err
	}
	if err := r.all(ctx); err != nil {
		return result, cmp.Or(context.Cause(ctx), err)
	}
	if err := r.deliver(); err != nil {
		return result, err
	}
	if err := r.outputs(whole); err != nil { // the traces are there: it is no matter of their deadline any more
		return result, err
	}
	result.Requests = int64(len(task.Workloads))
	return result, os.RemoveAll(r.dir)
}

// run is one evaluation.
type run struct {
	e      *Engine
	job    *engine.Job
	task   *proto.Evaluate
	def    *fitrace.Definition
	report func(engine.Progress)
	dir    string            // the dataset
	lines  map[string][]byte // workload lines, by uuid
}

// layOut writes the dataset's files. Workloads are kept back: they are given a few at a time.
func (r *run) layOut(ctx context.Context) error {
	workloads := fitrace.WorkloadsPath(r.def.OpType, r.def.Name)
	r.lines = map[string][]byte{}
	for _, f := range r.task.Files {
		data, err := r.e.o.Store.Get(ctx, f.Digest)
		if err != nil {
			return fmt.Errorf("evaluate: %s: %w", f.Path, err)
		}
		if f.Path == workloads {
			lines, errs := fitrace.ParseLines(bytes.NewReader(data), f.Path)
			if len(errs) > 0 {
				return proto.Failf(proto.CodeInternal, "evaluate: %v", errors.Join(errs...))
			}
			for _, l := range lines {
				r.lines[l.Workload.UUID] = l.Raw
			}
			continue
		}
		if err := r.write(f.Path, data); err != nil {
			return err
		}
	}
	for _, u := range r.task.Workloads {
		if r.lines[u] == nil {
			return proto.Failf(proto.CodeInternal, "evaluate: workload %s is not in %s", u, workloads)
		}
	}
	return nil
}

// write puts a file into the dataset; what is there already with the same content stays.
func (r *run) write(path string, data []byte) error {
	if !filepath.IsLocal(filepath.FromSlash(path)) {
		return proto.Failf(proto.CodeInternal, "evaluate: path %q leads out of the dataset", path)
	}
	name := filepath.Join(r.dir, filepath.FromSlash(path))
	if have, err := os.ReadFile(name); err == nil && bytes.Equal(have, data) {
		return nil
	}
	half := name + ".half" // of an attempt that died while it wrote
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		err = os.WriteFile(half, data, 0o644)
	}
	if err == nil {
		err = os.Rename(half, name)
	}
	if err != nil {
		return fmt.Errorf("evaluate: lay out the dataset: %w", err)
	}
	return nil
}

// all runs flashinfer-bench until every workload has a trace, or had its chance.
func (r *run) all(ctx context.Context) error {
	tried := map[string]bool{}
	for {
		traces, err := r.traces()
		if err != nil {
			return err
		}
		var few []string
		done := 0
		for _, u := range r.task.Workloads {
			switch {
			case traces[u] != nil || tried[u]:
				done++
			case len(few) < r.e.o.Few:
				few = append(few, u)
			}
		}
		r.report(engine.Progress{Done: int64(done), Total: int64(len(r.task.Workloads))})
		if len(few) == 0 {
			return nil
		}
		if err := r.some(ctx, few); err != nil {
			return err
		}
		for _, u := range few {
			tried[u] = true
		}
	}
}

// some runs flashinfer-bench once, on a few workloads.
func (r *run) some(ctx context.Context, uuids []string) error {
	if err := r.offer(uuids); err != nil {
		return err
	}
	words := &lastWords{report: r.report}
	exit, err := r.python(ctx, "flashinfer-bench.log", words.line, module, "run", "--local", r.dir, "--definitions", r.def.Name, "--solutions", r.task.Solution,
		"--save-results", "--resume", "--timeout", strconv.Itoa(int(each.Seconds())))
	if err != nil {
		return err
	}
	return words.diagnose(exit)
}

// offer makes these the dataset's workloads.
func (r *run) offer(uuids []string) error {
	var lines []byte
	for _, u := range uuids {
		lines = append(append(lines, r.lines[u]...), '\n')
	}
	return r.write(fitrace.WorkloadsPath(r.def.OpType, r.def.Name), lines)
}

// python runs code with arguments to its end.
func (r *run) python(ctx context.Context, log string, line func(string), code string, args ...string) (proc.Exit, error) {
	child, err := proc.Start(proc.Spec{
		Args: append([]string{r.e.o.Python, "-c", code}, args...), Env: r.environ(), Dir: r.job.ScratchDir,
		LogFile: filepath.Join(r.job.ScratchDir, log), Line: line, Grace: r.e.o.Grace, Hold: r.job.Locks,
	})
	if err != nil {
		return proc.Exit{}, proto.Failf(proto.CodeEnvironment, "evaluate: start %s: %v", r.e.o.Python, err).WithHint("`tracefleet doctor` says what is missing")
	}
	select {
	case <-child.Left():
	case <-ctx.Done():
	}
	exit, err := child.Stop(context.WithoutCancel(ctx), r.e.o.Grace)
	if err != nil {
		return exit, fmt.Errorf("evaluate: stop %s: %w", r.e.o.Python, err)
	}
	if ctx.Err() != nil {
		return exit, context.Cause(ctx)
	}
	return exit, nil
}

// outputs leaves what the solution computes, summed up. Where that fails there is no such file, and whoever judges says so: the traces are
// not worth less for it.
func (r *run) outputs(ctx context.Context) error {
	traces, err := r.traces()
	if err != nil {
		return err
	}
	if err := r.offer(slices.DeleteFunc(slices.Clone(r.task.Workloads), func(u string) bool { return traces[u] == nil })); err != nil {
		return err
	}
	r.report(engine.Progress{Text: "summing up what the baseline computes"})
	limited, cancel := context.WithTimeoutCause(ctx, r.e.o.SumUp, fmt.Errorf("it was not through after %s", r.e.o.SumUp))
	defer cancel()
	var last string
	exit, err := r.python(limited, "outputs.log", func(line string) { last = cmp.Or(strings.TrimSpace(line), last) }, outputsScript,
		r.dir, r.def.Name, r.task.Solution, filepath.Join(r.job.TraceDir, proto.OutputsFile))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		r.report(engine.Progress{Text: "outputs are not all summed up: " + err.Error()})
	case !exit.Clean():
		r.report(engine.Progress{Text: fmt.Sprintf("outputs are not all summed up: %s: %s", exit, last)})
	}
	return nil
}

func (r *run) environ() []string {
	env := r.e.o.Env
	if env == nil {
		env = os.Environ()
	}
	out := make([]string, 0, len(env)+3)
	for _, v := range childenv.Without(env) {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case name == "CUDA_VISIBLE_DEVICES" || strings.HasPrefix(name, "FLASHINFER_DUMP") || strings.HasPrefix(name, "FLASHINFER_LOG"):
		default:
			out = append(out, v)
		}
	}
	return append(out, "CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES="+strings.Join(r.job.Devices, ","), "PYTHONUNBUFFERED=1")
}

// traces reads what flashinfer-bench wrote, below traces/ wherever its release puts it: the latest trace of each workload by our
// solution.
func (r *run) traces() (map[string]json.RawMessage, error) {
	found := map[string]json.RawMessage{}
	err := filepath.WalkDir(filepath.Join(r.dir, "traces"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".jsonl" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(data) {
			var t trace
			if json.Unmarshal(line, &t) == nil && t.Solution == r.task.Solution && t.Definition == r.def.Name {
				found[t.Workload.UUID] = bytes.TrimSpace(line)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("evaluate: read traces: %w", err)
	}
	return found, nil
}

// trace is what is looked at of a trace.
type trace struct {
	Definition string `json:"definition"`
	Solution   string `json:"solution"`
	Workload   struct {
		UUID string `json:"uuid"`
	} `json:"workload"`
}

// deliver leaves all traces where the worker takes them.
func (r *run) deliver() error {
	traces, err := r.traces()
	if err != nil {
		return err
	}
	if len(traces) == 0 {
		return proto.Failf(proto.CodeEngineFailed, "evaluate: flashinfer-bench ran and left no trace of solution %s", r.task.Solution).
			WithHint("its log is kept in the work directory's logs/")
	}
	list := []json.RawMessage{}
	for _, u := range r.task.Workloads {
		if t := traces[u]; t != nil {
			list = append(list, shortened(t))
		}
	}
	data, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("evaluate: %w", err)
	}
	if r.job.TraceDir == "" {
		return proto.Failf(proto.CodeInternal, "evaluate: task %s has no place for traces", r.job.Task.ID)
	}
	return os.WriteFile(filepath.Join(r.job.TraceDir, proto.TracesFile), data, 0o644)
}

// shortened keeps the end of a long log.
func shortened(line json.RawMessage) json.RawMessage {
	var t, ev map[string]json.RawMessage
	var log string
	if json.Unmarshal(line, &t) != nil || json.Unmarshal(t["evaluation"], &ev) != nil || json.Unmarshal(ev["log"], &log) != nil || len(log) <= mostLog {
		return line
	}
	cut := strings.ToValidUTF8(log[len(log)-mostLog:], "")
	ev["log"], _ = json.Marshal(fmt.Sprintf("(%d bytes before this are not kept)\n%s", len(log)-len(cut), cut))
	t["evaluation"], _ = json.Marshal(ev)
	short, err := json.Marshal(t)
	if err != nil {
		return line
	}
	return short
}
