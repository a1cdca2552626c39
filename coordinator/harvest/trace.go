package harvest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// trace is a file of the tracer, in the order it was written, on its way to a definition.
type trace struct {
	name        string
	description string
	opType      string
	tags        []string
	axes        []axis
	constraints []string
	inputs      []tensor
	outputs     []tensor
	reference   string   // empty: the tracer has none for this function
	dropped     []string // keys that the schema does not have
}

type axis struct {
	name        string
	isConst     bool
	value       *int64 // of a constant; nil: the tracer found none
	description string
}

type tensor struct {
	name        string
	shape       []string
	scalar      bool
	dtype       string
	optional    bool
	description string
}

// unknownType is what the tracer writes for a tensor it was not given.
const unknownType = "unknown"

func (t *trace) axis(name string) *axis {
	for i := range t.axes {
		if t.axes[i].name == name {
			return &t.axes[i]
		}
	}
	return nil
}

// constant gives the value of a constant axis, or -1.
func (t *trace) constant(name string) int64 {
	if a := t.axis(name); a != nil && a.isConst && a.value != nil {
		return *a.value
	}
	return -1
}

func find(list []tensor, name string) *tensor {
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	return nil
}

// uses reports whether a tensor's shape names the axis.
func uses(list []tensor, axis string) bool {
	return slices.ContainsFunc(list, func(t tensor) bool { return slices.Contains(t.shape, axis) })
}

// parseTrace reads a file of the tracer. Errors name the field and its value.
func parseTrace(data []byte) (*trace, error) {
	members, err := object(data)
	if err != nil {
		return nil, err
	}
	t := &trace{}
	seen := map[string]bool{}
	for _, m := range members {
		seen[m.key] = true
		switch m.key {
		case "name":
			err = m.str(&t.name)
		case "description":
			err = m.str(&t.description)
		case "op_type":
			err = m.str(&t.opType)
		case "reference":
			err = m.str(&t.reference)
		case "tags":
			t.tags, err = m.strs()
		case "constraints":
			t.constraints, err = m.strs()
		case "axes":
			err = m.each(t.readAxis)
		case "inputs":
			err = m.each(func(in member) error { return readTensor(in, &t.inputs) })
		case "outputs":
			err = m.each(func(in member) error { return readTensor(in, &t.outputs) })
		default:
			t.dropped = append(t.dropped, m.key)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, key := range []string{"name", "op_type", "axes", "inputs", "outputs"} {
		if !seen[key] {
			return nil, fmt.Errorf("%s is missing: this is no file of FlashInfer's trace dump", key)
		}
	}
	return t, nil
}

func (t *trace) readAxis(m member) error {
	a := axis{name: m.key}
	fields, err := object(m.value)
	if err != nil {
		return err
	}
	kind := ""
	for _, f := range fields {
		switch f.key {
		case "type":
			err = f.str(&kind)
		case "value":
			if isNull(f.value) {
				break
			}
			var n int64
			if json.Unmarshal(f.value, &n) != nil || n < 0 {
				err = fmt.Errorf("value is %s, must be a whole number that is not negative", short(f.value))
			}
			a.value = &n
		case "description":
			err = f.str(&a.description)
		}
		if err != nil {
			return err
		}
	}
	if kind != "const" && kind != "var" {
		return fmt.Errorf("type is %q, must be const or var", kind)
	}
	if a.isConst = kind == "const"; !a.isConst {
		a.value = nil
	}
	t.axes = append(t.axes, a)
	return nil
}

func readTensor(m member, list *[]tensor) error {
	in := tensor{name: m.key, scalar: true}
	fields, err := object(m.value)
	if err != nil {
		return err
	}
	shaped := false
	for _, f := range fields {
		switch f.key {
		case "shape":
			shaped = true
			if isNull(f.value) {
				break
			}
			in.scalar = false
			in.shape, err = f.strs()
		case "dtype":
			err = f.str(&in.dtype)
		case "optional":
			if json.Unmarshal(f.value, &in.optional) != nil {
				err = fmt.Errorf("optional is %s, must be true or false", short(f.value))
			}
		case "description":
			err = f.str(&in.description)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case !shaped:
		return errors.New("shape is missing")
	case in.dtype == "":
		return errors.New("dtype is missing")
	}
	*list = append(*list, in)
	return nil
}

// member is one key of a JSON object, in its place.
type member struct {
	key   string
	value json.RawMessage
}

// object gives the members of a JSON object in order. A key given twice is an error: readers disagree which one counts.
func object(data []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.Token(); err != nil {
		return nil, jsonError(err)
	} else if tok != json.Delim('{') {
		return nil, fmt.Errorf("is %s, must be a JSON object", short(data))
	}
	var members []member
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, jsonError(err)
		}
		m := member{key: tok.(string)} // the decoder gives nothing else before a colon
		if err := dec.Decode(&m.value); err != nil {
			return nil, fmt.Errorf("%s: %w", m.key, jsonError(err))
		}
		if m.key == "" || seen[m.key] {
			return nil, fmt.Errorf("the key %q is empty or given twice", m.key)
		}
		seen[m.key] = true
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, jsonError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more after the JSON object")
	}
	return members, nil
}

func jsonError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("ends in the middle of the JSON: it was still being written, or its process died")
	}
	return fmt.Errorf("not JSON: %w", err)
}

func (m member) str(into *string) error {
	var s *string
	if json.Unmarshal(m.value, &s) != nil {
		return fmt.Errorf("%s is %s, must be a string", m.key, short(m.value))
	}
	if s != nil {
		*into = *s
	}
	return nil
}

func (m member) strs() ([]string, error) {
	var list []string
	if json.Unmarshal(m.value, &list) != nil || slices.Contains(list, "") {
		return nil, fmt.Errorf("%s is %s, must be a list of strings, none empty", m.key, short(m.value))
	}
	return list, nil
}

// each reads the members of an object with fn, whose errors get their path.
func (m member) each(fn func(member) error) error {
	list, err := object(m.value)
	if err != nil {
		return fmt.Errorf("%s: %w", m.key, err)
	}
	for _, in := range list {
		if err := fn(in); err != nil {
			return fmt.Errorf("%s.%s: %w", m.key, in.key, err)
		}
	}
	return nil
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// short keeps a quoted value from filling a message.
func short(raw []byte) string {
	const most = 60
	s := strings.TrimSpace(string(raw))
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
