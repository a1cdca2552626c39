package judge

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// line is a workload of the definition, and what was read for it.
type line struct {
	fitrace.Line
	at     string              // file and number
	axes   map[string]int64    // variable and constant
	shapes map[string][]int64  // of the definition's tensors, as the axes give them
	loaded map[string]integers // integer tensors that are as the definition says
	sound  bool                // axes, inputs and tensors are as the definition says: what they mean can be asked
	// content is equal for equal content: axes but for num_pages, scalars as numbers, tensors by type, shape and bytes. Empty: not
	// all of it could be read.
	content string
}

// workloads judges the workloads file by itself, and notes its lines.
func (s *subject) workloads() error {
	for _, p := range s.index.workloads[s.name] {
		if p.opType != s.opType {
			s.add(WorkloadsPath, nil, p.path, "the definition is under %s: move the file", s.opType)
		}
	}
	w, err := s.r.Workloads(s.opType, s.name)
	if err != nil {
		return err
	}
	if _, err := s.r.Size(w.File); errors.Is(err, fs.ErrNotExist) {
		s.add(NoWorkloads, nil, "", "no file %s", w.File)
		return nil
	}
	if err := text(w.Raw); err != nil {
		s.add(LineParse, nil, w.File, "%v", err)
	}
	for _, l := range w.Lines {
		l := &line{Line: l, at: at(w.File, l.Number), loaded: map[string]integers{}}
		if l.Err == nil {
			l.Err = brokenLine(l.Raw)
		} else if inner := errors.Unwrap(l.Err); inner != nil {
			l.Err = inner // without the place, which the finding names
		}
		if l.Err != nil {
			s.add(LineParse, nil, l.at, "%s", oneLine(l.Err))
			s.unread = append(s.unread, l.Raw...)
			continue
		}
		s.rep.Counts.Workloads++
		if first, met := s.uuids[l.Workload.UUID]; met {
			s.add(UUIDTwice, l, l.at, "uuid is that of %s too", first)
		} else {
			s.uuids[l.Workload.UUID] = l.at
		}
		if l.Definition != s.name {
			s.add(WorkloadDefinition, l, l.at, "definition is %q", l.Definition)
			s.unread = append(s.unread, l.Raw...)
			continue
		}
		s.lines = append(s.lines, l)
	}
	return nil
}

// fit judges axes, inputs and tensors against the definition.
func (s *subject) fit(l *line) {
	before := len(s.rep.Findings)
	s.axes(l)
	s.inputs(l)
	if len(s.rep.Findings) == before {
		s.types(l)
		s.tensors(l)
	}
	if l.sound = len(s.rep.Findings) == before; !l.sound {
		s.unread = append(s.unread, l.Raw...)
	}
}

func (s *subject) axes(l *line) {
	l.axes = map[string]int64{}
	for _, a := range l.Workload.Axes {
		if axis, ok := s.def.Axis(a.Name); !ok || axis.Const {
			s.add(Axes, l, l.at, "axes.%s is %d: the definition has no variable axis %s", a.Name, a.Value, a.Name)
			continue
		}
		l.axes[a.Name] = a.Value
		if a.Value <= 0 {
			s.add(AxisZero, l, l.at, "axes.%s is %d, must be positive", a.Name, a.Value)
		}
	}
	for _, a := range s.def.Axes {
		if _, given := l.axes[a.Name]; !given && !a.Const {
			s.add(Axes, l, l.at, "axes.%s is missing", a.Name)
		}
		if a.Const {
			l.axes[a.Name] = a.Value
		}
	}
}

func (s *subject) inputs(l *line) {
	for _, in := range l.Workload.Inputs {
		if _, ok := s.def.Input(in.Name); !ok {
			s.add(Inputs, l, l.at, "inputs.%s: the definition has no such input", in.Name)
		}
	}
	for _, spec := range s.def.Inputs {
		if !slices.ContainsFunc(l.Workload.Inputs, func(in fitrace.Input) bool { return in.Name == spec.Name }) {
			s.add(Inputs, l, l.at, "inputs.%s is missing", spec.Name)
		}
	}
}

// types judges how each input is given, and the numbers among them. The axes are known to be complete.
func (s *subject) types(l *line) {
	l.shapes = map[string][]int64{}
	for _, in := range l.Workload.Inputs {
		spec, _ := s.def.Input(in.Name)
		if (in.Type == fitrace.ScalarInput) != spec.Scalar() {
			s.add(InputType, l, l.at, "inputs.%s is %s, the definition has %s", in.Name, in.Type, kindOf(spec))
			continue
		}
		switch {
		case in.Type == fitrace.ScalarInput && in.Scalar.Kind != scalarKind(spec):
			s.add(ScalarType, l, l.at, "inputs.%s: value %s is no %s", in.Name, in.Scalar, spec.DType)
		case in.Type == fitrace.Random && spec.Integer() && spec.DType != "int8":
			s.add(RandomIntegers, l, l.at, "inputs.%s is random, its elements are %s", in.Name, spec.DType)
		}
		if !spec.Scalar() {
			shape := make([]int64, len(spec.Shape))
			for d, axis := range spec.Shape {
				shape[d] = l.axes[axis]
			}
			l.shapes[in.Name] = shape
		}
	}
}

func kindOf(spec fitrace.TensorSpec) string {
	if spec.Scalar() {
		return "a scalar"
	}
	return fmt.Sprintf("a tensor %v", spec.Shape)
}

// scalarKind is the type of number that a dtype asks for.
func scalarKind(spec fitrace.TensorSpec) fitrace.ScalarKind {
	switch {
	case spec.DType == "bool":
		return fitrace.Bool
	case spec.Integer():
		return fitrace.Int
	}
	return fitrace.Float
}
