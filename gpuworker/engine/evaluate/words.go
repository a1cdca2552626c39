package evaluate

import (
	"regexp"
	"strings"
	"sync"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/proc"
	"github.com/tracefleet/tracefleet/proto"
)

// lastWords reads flashinfer-bench's log as it is written.
type lastWords struct {
	report func(engine.Progress)

	mu   sync.Mutex
	last []string // lines
	why  *proto.Failure
}

const lastLines = 12

// outcome is a line about one workload: "Solution 'x' for workload 6ba7…: PASSED with 1.02x speedup".
var outcome = regexp.MustCompile(`Solution '[^']*' for workload \S+: .*`)

// symptoms are what makes going on senseless, whatever workload comes next.
var symptoms = []struct {
	line *regexp.Regexp
	code proto.Code
	says string
	hint string
}{
	{regexp.MustCompile(`No module named '?flashinfer_bench`), proto.CodeEnvironment, "flashinfer-bench is not installed", "`tracefleet gpuworker setup` installs it; `tracefleet doctor` says what else is missing"},
	{regexp.MustCompile(`No module named '?(\w+)`), proto.CodeEnvironment, "a Python package is missing", "`tracefleet gpuworker setup` makes an environment with all of them"},
	{regexp.MustCompile(`No CUDA GPUs are available|no NVIDIA driver|No CUDA devices`), proto.CodeEnvironment, "no GPU is visible", "`nvidia-smi` and --gpus say which there are"},
	{regexp.MustCompile(`No solutions found for def=|No matching solutions for def=|Solutions not found in trace set`), proto.CodeInternal, "the solution was not found by its name", "report this"},
	{regexp.MustCompile(`No space left on device`), proto.CodeDiskFull, "the disk is full", "make room where the worker's directory and the compilers' caches are"},
}

func (w *lastWords) line(text string) {
	text = strings.TrimSpace(text)
	if text == "" {
		return
	}
	w.mu.Lock()
	w.last = append(w.last, text)
	if len(w.last) > lastLines {
		w.last = w.last[1:]
	}
	if w.why == nil {
		for _, s := range symptoms {
			if s.line.MatchString(text) {
				w.why = proto.Failf(s.code, "evaluate: %s: %s", s.says, text).WithHint("%s", s.hint)
				break
			}
		}
	}
	w.mu.Unlock()
	if m := outcome.FindString(text); m != "" {
		w.report(engine.Progress{Text: m})
	}
}

// diagnose says why the run cannot go on. A run that ended badly for its own reasons may do better with the next workloads.
func (w *lastWords) diagnose(exit proc.Exit) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.why != nil:
		return w.why
	case exit.Signal != 0 || exit.Lost:
		return proto.Failf(proto.CodeEngineFailed, "evaluate: flashinfer-bench %s; its last words: %s", exit, strings.Join(w.last, " | ")).WithRetry()
	}
	return nil
}
