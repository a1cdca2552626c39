package sglang

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/proc"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Phases of a lifetime, for messages.
const (
	phaseStart   = "starting"
	phaseServing = "serving"
)

const (
	quotedLines = 8
	mostQuoted  = 300 // bytes of a line
)

// cause gives the symptom that explains most, with its line.
func (w *watch) cause() (*symptom, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range symptoms {
		if line, ok := w.seen[s]; ok {
			return s, line
		}
	}
	return nil, ""
}

// diagnose makes the failure of an engine that ended, or stopped answering, though it should not have. err is what was noticed of it, or nil.
func (w *watch) diagnose(release, phase string, exit *proc.Exit, err error) *proto.Failure {
	how := ""
	if exit != nil {
		how = ", " + exit.String()
	} else if err != nil {
		how = fmt.Sprintf(" (%v)", err)
	}
	if s, line := w.cause(); s != nil {
		f := proto.Failf(s.code, "SGLang %s failed while %s%s: %s: %s", release, phase, how, s.what, clip(line)).WithHint("%s", s.hint)
		f.Retryable = s.again
		return f
	}
	w.mu.Lock()
	last := w.error
	w.mu.Unlock()
	if last == "" {
		last = w.tail()
	}
	f := proto.Failf(proto.CodeEngineFailed, "SGLang %s failed while %s%s: %s", release, phase, how, clip(last)).WithRetry()
	switch {
	case exit != nil && exit.Signal != 0 && !exit.Asked:
		return f.WithHint("nobody here sent that signal: SGLang kills itself when one of its processes fails, and the system does when memory runs out (`dmesg -T`)")
	case exit != nil && exit.Code == 2:
		f.Retryable = false
		return f.WithHint("exit status 2 means that the command line was refused: collect with --plan-only prints it")
	}
	return f.WithHint("the last lines it logged: %s", w.tail())
}

// late makes the failure of an engine that was not ready in time.
func (w *watch) late(release string, timeout time.Duration) *proto.Failure {
	return proto.Failf(proto.CodeStartTimeout, "SGLang %s was not ready after %s; it logged last: %s", release, timeout, w.tail()).
		WithHint("large weights and first builds of kernels take long: raise --start-timeout").WithRetry()
}

// tail gives the last lines of the log in one.
func (w *watch) tail() string {
	lines := w.quote(quotedLines)
	if len(lines) == 0 {
		return "(it logged nothing)"
	}
	for i, l := range lines {
		lines[i] = clip(l)
	}
	return strings.Join(lines, " | ")
}

func clip(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > mostQuoted {
		s = strings.ToValidUTF8(s[:mostQuoted], "") + "…"
	}
	return s
}

// harvest is what traffic left in the dump directory.
type harvest struct {
	before, after map[string]int // dumps by function: of the engine's own calls, and of traffic
	logs          bool           // FlashInfer logged something: it was imported with its logging on
	called        []string       // functions it logged, dumped or not; only older releases log those that are not included
	dumpErrors    []string       // what its log says went wrong with dumps
	budget        int            // dumps a process
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// nothing makes the failure of a lifetime whose traffic left no dump. The order is that of how much each explains.
func (h *harvest) nothing(task *proto.Task, f facts, release string) *proto.Failure {
	const none = "SGLang %s served %s, and no call was dumped: "
	mode := string(task.Engine.Mode)
	head := fmt.Sprintf(none, release, mode)
	switch {
	case len(h.dumpErrors) > 0:
		return proto.Failf(proto.CodeNothingDumped, "%sFlashInfer could not write them: %s", head, clip(h.dumpErrors[0])).
			WithHint("see the room and rights of the worker's work directory")
	case len(f.Captured) > 0:
		text := "CUDA graphs were captured (" + strings.Join(f.Captured, ", ") + ")"
		if spent := total(h.before); spent >= h.budget {
			text += fmt.Sprintf(", which spent the budget of %d dumps a process on dummy batches", h.budget)
		} else if f.Replayed {
			text += ", and calls inside a graph are replayed without being made"
		}
		return proto.Failf(proto.CodeGraphCapture, "%s%s", head, text).WithHint("drop the flag that turns graphs on: by default both phases run without")
	case h.budget > 0 && total(h.before) >= h.budget:
		return proto.Failf(proto.CodeNothingDumped, "%sthe budget of %d dumps a process was spent before the first request, by warm-up or autotuning", head, h.budget).
			WithHint("drop the flag that turns warm-up on, or raise --dump-count")
	case f.Backend != "" && f.Backend != "flashinfer":
		return proto.Failf(proto.CodeNothingDumped, "%sno attention backend was given, and SGLang chose %s", head, f.Backend).
			WithHint("add --attention-backend flashinfer by --extra-server-flag")
	case !h.logs:
		return proto.Failf(proto.CodeNothingDumped, "%sFlashInfer's own log is empty, so it was not imported, or runs without its log level", head).
			WithHint("does a flag choose another backend (--attention-backend, --sampling-backend), or something unset FLASHINFER_LOGLEVEL?")
	case task.Engine.Mode == proto.ModeHTTPRagged:
		return proto.Failf(proto.CodeNothingDumped, "%sragged prefill was not called: a paged path was taken", head).
			WithHint("multimodal models, deterministic inference and SGLANG_FLASHINFER_USE_PAGED turn ragged prefill off; so does a prefill CUDA graph for MLA")
	case len(h.called) > 0:
		return proto.Failf(proto.CodeNothingDumped, "%sFlashInfer was called (%s), but nothing that matches %s", head, strings.Join(h.called, ", "), strings.Join(task.Dump.Include, ",")).
			WithHint("`tracefleet definitions resolve` says which engine mode reaches which API; --include-pattern overrides the patterns")
	}
	return proto.Failf(proto.CodeNothingDumped, "%sFlashInfer's logging was on, and nothing that matches %s was called", head, strings.Join(task.Dump.Include, ",")).
		WithHint("`tracefleet definitions resolve` says which engine mode reaches which API; --include-pattern overrides the patterns")
}

// lacking tells what traffic left no dump of, though it left others: definitions of which nothing was called, and wrappers whose runs have no plan.
func (h *harvest) lacking(defs []*fitrace.Definition) (told []string) {
	for _, d := range defs {
		patterns := fitrace.IncludePatterns(d)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(h.after)), func(name string) bool {
			return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
		}) {
			told = append(told, "no call for "+d.Name+" was dumped")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.after)) {
		if class, ok := strings.CutSuffix(name, ".run"); ok && h.after[class+".plan"] == 0 {
			told = append(told, class+" ran and was planned without a dump, so that its runs cannot be used: CUDA graphs do that, and so does an --include-pattern without .plan")
		}
	}
	return told
}
