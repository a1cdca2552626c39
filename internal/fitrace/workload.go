package fitrace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/tracefleet/tracefleet/internal/pyjson"
)

// Line is one line of a workloads file: an entry with neither solution nor evaluation.
type Line struct {
	Definition string
	Workload   Workload

	Raw    []byte // the line as it was read, without its newline; MarshalLine does not look at it
	Number int    // from 1, in the file it was read from
	Err    error  // why the line could not be parsed; then only Raw and Number are set
}

// Workload is one real call of a definition.
type Workload struct {
	UUID   string
	Axes   []AxisValue // the definition's variable axes
	Inputs []Input     // the definition's inputs
}

// AxisValue is a solved axis.
type AxisValue struct {
	Name  string
	Value int64
}

// InputType is how a workload gives an input.
type InputType string

// The types of inputs.
const (
	Random      InputType = "random"
	Safetensors InputType = "safetensors"
	ScalarInput InputType = "scalar"
)

// Input is one input of a workload.
type Input struct {
	Name      string
	Type      InputType
	Path      string // Safetensors: of the blob, from the dataset's root, with a leading "./"
	TensorKey string // Safetensors
	Scalar    Scalar // ScalarInput
}

// ScalarKind is the type of a scalar: JSON alone would let 1 and 1.0 be confused.
type ScalarKind string

// The kinds of scalars.
const (
	Int   ScalarKind = "int"
	Float ScalarKind = "float"
	Bool  ScalarKind = "bool"
)

// Scalar is a Python int, float or bool.
type Scalar struct {
	Kind  ScalarKind
	Int   int64
	Float float64
	Bool  bool
}

// MarshalLine gives the line in upstream's key order and with the separators of Python's json.dumps, without a newline. Equal
// lines have equal bytes.
func MarshalLine(l Line) []byte {
	b := []byte(`{"definition": `)
	b = pyjson.AppendString(b, l.Definition)
	b = append(b, `, "solution": null, "workload": {"uuid": `...)
	b = pyjson.AppendString(b, l.Workload.UUID)
	b = append(b, `, "axes": {`...)
	for i, a := range l.Workload.Axes {
		b = appendKey(b, i, a.Name)
		b = strconv.AppendInt(b, a.Value, 10)
	}
	b = append(b, `}, "inputs": {`...)
	for i, in := range l.Workload.Inputs {
		b = appendKey(b, i, in.Name)
		b = append(b, `{"type": `...)
		b = pyjson.AppendString(b, string(in.Type))
		switch in.Type {
		case Safetensors:
			b = pyjson.AppendString(append(b, `, "path": `...), in.Path)
			b = pyjson.AppendString(append(b, `, "tensor_key": `...), in.TensorKey)
		case ScalarInput:
			b = append(append(b, `, "value": `...), in.Scalar.String()...)
		}
		b = append(b, '}')
	}
	return append(b, `}}, "evaluation": null}`...)
}

// ParseLines reads a workloads file. Every line that is not blank is in the result, in order; one that does not parse has Err
// set, naming file and line, and is also among the errors. Reading stops at an I/O error, which is the last error then.
func ParseLines(r io.Reader, file string) ([]Line, []error) {
	var (
		lines []Line
		errs  []error
	)
	in := bufio.NewReader(r)
	for number := 1; ; number++ {
		raw, err := in.ReadBytes('\n')
		raw = bytes.TrimSuffix(raw, []byte("\n"))
		if len(bytes.TrimSpace(raw)) > 0 {
			line, perr := ParseLine(raw)
			if perr != nil {
				line = Line{Raw: raw, Err: fmt.Errorf("%s:%d: %w", file, number, perr)}
				errs = append(errs, line.Err)
			}
			line.Number = number
			lines = append(lines, line)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				errs = append(errs, fmt.Errorf("%s: %w", file, err))
			}
			return lines, errs
		}
	}
}

// ParseLine reads one line, with or without its newline.
func ParseLine(raw []byte) (Line, error) {
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	members, err := readObject(raw)
	if err != nil {
		return Line{}, err
	}
	line := Line{Raw: raw}
	var workload json.RawMessage
	for _, m := range members {
		switch m.key {
		case "definition":
			err = readString(m, &line.Definition)
		case "workload":
			workload = m.value
		case "solution", "evaluation":
			if !isNull(m.value) {
				err = fmt.Errorf("%s is not null: this is a trace, not a workload", m.key)
			}
		}
		if err != nil {
			return Line{}, err
		}
	}
	if line.Definition == "" {
		return Line{}, errors.New("definition is missing")
	}
	if workload == nil || isNull(workload) {
		return Line{}, errors.New("workload is missing")
	}
	line.Workload, err = parseWorkload(workload)
	if err != nil {
		return Line{}, fmt.Errorf("workload: %w", err)
	}
	return line, nil
}

func parseWorkload(raw json.RawMessage) (Workload, error) {
	var w Workload
	members, err := readObject(raw)
	if err != nil {
		return w, err
	}
	var axes, inputs json.RawMessage
	for _, m := range members {
		switch m.key {
		case "uuid":
			err = readString(m, &w.UUID)
		case "axes":
			axes = m.value
		case "inputs":
			inputs = m.value
		}
		if err != nil {
			return w, err
		}
	}
	if w.UUID == "" {
		return w, errors.New("uuid is missing")
	}
	if axes == nil || inputs == nil {
		return w, errors.New("axes or inputs is missing")
	}
	if members, err = readObject(axes); err != nil {
		return w, fmt.Errorf("axes: %w", err)
	}
	for _, m := range members {
		v, err := strconv.ParseInt(string(m.value), 10, 64)
		if err != nil || v < 0 {
			return w, fmt.Errorf("axes.%s is %s, must be a non-negative integer", m.key, shorten(m.value))
		}
		w.Axes = append(w.Axes, AxisValue{Name: m.key, Value: v})
	}
	if members, err = readObject(inputs); err != nil {
		return w, fmt.Errorf("inputs: %w", err)
	}
	for _, m := range members {
		in, err := parseInput(m)
		if err != nil {
			return w, fmt.Errorf("inputs.%s: %w", m.key, err)
		}
		w.Inputs = append(w.Inputs, in)
	}
	return w, nil
}

func parseInput(m member) (Input, error) {
	in := Input{Name: m.key}
	fields, err := readObject(m.value)
	if err != nil {
		return in, err
	}
	var value json.RawMessage
	for _, f := range fields {
		switch f.key {
		case "type":
			var s string
			err = readString(f, &s)
			in.Type = InputType(s)
		case "path":
			err = readString(f, &in.Path)
		case "tensor_key":
			err = readString(f, &in.TensorKey)
		case "value":
			value = f.value
		}
		if err != nil {
			return in, err
		}
	}
	switch in.Type {
	case Random:
	case Safetensors:
		if in.Path == "" || in.TensorKey == "" {
			return in, errors.New("is safetensors but path or tensor_key is missing")
		}
	case ScalarInput:
		in.Scalar, err = parseScalar(value)
	default:
		err = fmt.Errorf("type is %q, must be random, safetensors or scalar", in.Type)
	}
	return in, err
}
