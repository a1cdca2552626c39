package judge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/publisher/baseline"
)

var statuses = []string{passed, incorrect, "INCORRECT_SHAPE", "INCORRECT_DTYPE", "RUNTIME_ERROR", "COMPILE_ERROR", "TIMEOUT"}

const (
	passed    = "PASSED"
	incorrect = "INCORRECT_NUMERICAL"
)

// trace is what is asked of a trace once its schema is known to hold.
type trace struct {
	definition, uuid string
	solution         string
	solved           bool    // it names a solution
	status           string  // "" without an evaluation
	relative         float64 // error
	absolute         float64
}

// parseTrace holds a line against flashinfer-bench's schema.
func parseTrace(raw []byte) (*trace, error) {
	if err := brokenLine(raw); err != nil {
		return nil, err
	}
	o := parseObject(raw)
	t := &trace{definition: o.name("definition"), solution: o.optional("solution"), solved: o.has("solution")}
	workload := o.need("workload")
	if o.has("evaluation") {
		t.evaluation(o.object("evaluation"))
	}
	if *o.err != nil {
		return nil, *o.err
	}
	// The workload in it is as in a workloads file, so that file's reader reads it.
	alone, err := json.Marshal(map[string]json.RawMessage{"definition": o.fields["definition"], "workload": workload})
	if err != nil {
		return nil, err
	}
	l, err := fitrace.ParseLine(alone)
	t.uuid = l.Workload.UUID
	return t, err
}

func (t *trace) evaluation(o object) {
	t.status = o.one("status", statuses)
	o.name("timestamp")
	environment := o.object("environment")
	environment.name("hardware")
	if raw, ok := environment.fields["libs"]; ok {
		var libs map[string]*string
		if environment.decode("libs", raw, &libs, "an object of strings") {
			for name, version := range libs {
				if version == nil {
					environment.fail("libs."+name, "must be a string")
				}
			}
		}
	}
	if raw, ok := o.fields["log"]; ok {
		var log string
		o.decode("log", raw, &log, "a string")
	}
	correctness, performance := o.has("correctness"), o.has("performance")
	if correctness {
		t.correctness(o.object("correctness"))
	}
	if performance {
		p := o.object("performance")
		for _, name := range []string{"latency_ms", "reference_latency_ms", "speedup_factor"} {
			if v := p.number(name); !(v >= 0) {
				p.fail(name, "is %v, must not be negative", v)
			}
		}
	}
	if want := t.status == passed || t.status == incorrect; correctness != want {
		o.fail("correctness", "is there: %t, with status %s it must be: %t", correctness, t.status, want)
	}
	if want := t.status == passed; performance != want {
		o.fail("performance", "is there: %t, with status %s it must be: %t", performance, t.status, want)
	}
}

func (t *trace) correctness(o object) {
	t.relative, t.absolute = o.number("max_relative_error"), o.number("max_absolute_error")
	if t.relative < 0 || t.absolute < 0 {
		o.fail("max_relative_error", "is %v and max_absolute_error %v, neither may be negative", t.relative, t.absolute)
	}
	if o.has("extra") {
		var extra map[string]any
		o.decode("extra", o.fields["extra"], &extra, "an object")
	}
}

// traces judges every author's traces of the definition.
func (s *subject) traces(solutions solutionNames) {
	uuids, traced := map[string]bool{}, false
	for _, l := range s.lines {
		uuids[l.Workload.UUID] = true
	}
	for _, p := range s.index.traces[s.name] {
		traced = traced || p.author == baseline.Author
		if p.opType != s.opType {
			s.add(TracePath, nil, p.path, "the definition is under %s: move the file", s.opType)
		}
		data, err := s.root.ReadFile(p.path)
		if err != nil {
			s.add(TraceParse, nil, p.path, "%s", oneLine(err))
			continue
		}
		s.traceFile(p, data, uuids, solutions)
	}
	switch {
	case len(solutions.baseline) == 0:
		s.add(NoBaseline, nil, "", "no solution in solutions/%s/%s/%s", baseline.Author, s.opType, s.name)
	case !traced:
		s.add(NoBaseline, nil, "", "no traces in traces/%s/%s/%s.jsonl", baseline.Author, s.opType, s.name)
	}
}

func (s *subject) traceFile(p place, data []byte, uuids map[string]bool, solutions solutionNames) {
	covered, number := map[string]bool{}, 0
	for raw := range bytes.Lines(data) {
		number++
		if raw = bytes.TrimSpace(raw); len(raw) == 0 {
			continue
		}
		place := at(p.path, number)
		t, err := parseTrace(raw)
		if err != nil {
			s.add(TraceParse, nil, place, "%s", oneLine(err))
			continue
		}
		s.rep.Counts.Traces++
		covered[t.uuid] = true
		l := &line{Line: fitrace.Line{Workload: fitrace.Workload{UUID: t.uuid}}}
		if t.definition != s.name {
			s.add(TraceDefinition, l, place, "definition is %q", t.definition)
			continue
		}
		if !t.solved || t.status == "" {
			s.add(TraceIncomplete, l, place, "solution or evaluation is missing: this is a workload, not a trace")
			continue
		}
		if !solutions.parsed[t.solution] {
			s.add(TraceSolution, l, place, "solution is %q, of which the dataset has no good file", t.solution)
		}
		if !uuids[t.uuid] {
			s.add(TraceWorkload, l, place, "uuid is of no workload of the definition")
		}
		if p.author == baseline.Author {
			s.baseline(t, l, place, solutions)
		}
	}
	missing := slices.DeleteFunc(s.uuidsOf(), func(uuid string) bool { return covered[uuid] })
	if len(covered) > 0 && len(missing) > 0 {
		s.add(TraceCoverage, nil, p.path, "%d of %d workloads have no trace, such as %s", len(missing), len(uuids), missing[0])
	}
}

func (s *subject) uuidsOf() []string {
	var list []string
	for _, l := range s.lines {
		list = append(list, l.Workload.UUID)
	}
	return list
}

// baseline judges a trace of the baseline.
func (s *subject) baseline(t *trace, l *line, place string, solutions solutionNames) {
	if !solutions.baseline[t.solution] {
		s.add(BaselineSolution, l, place, "solution is %q, the baseline has %s", t.solution, fmt.Sprint(slices.Sorted(maps.Keys(solutions.baseline))))
	}
	switch {
	case math.IsNaN(t.relative) || math.IsNaN(t.absolute):
		s.add(OutputNaN, l, place, "max_relative_error is %v and max_absolute_error %v: the baseline or the reference computes NaN", t.relative, t.absolute)
	case t.status != passed:
		s.add(BaselineFailed, l, place, "status is %s", t.status)
	}
}
