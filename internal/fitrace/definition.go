package fitrace

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Definition is a kernel's interface: symbolic axes, inputs and outputs over them, and reference code. Definitions are read
// only once parsed, and safe for use by many goroutines.
type Definition struct {
	Name        string
	OpType      string
	Description string
	Tags        []string
	Axes        []Axis       // in the file's order
	Inputs      []TensorSpec // in the order of the reference's parameters
	Outputs     []TensorSpec
	Constraints []string
	Reference   string // Python, with a top-level function run
	Raw         []byte // the file as it was

	digest string
	axis   map[string]int
}

// Axis is a symbolic dimension: a constant of the definition, or solved for each call.
type Axis struct {
	Name        string
	Const       bool
	Value       int64 // of a constant
	Description string
}

// TensorSpec is an input or output.
type TensorSpec struct {
	Name        string
	Shape       []string // axis names; nil: a scalar, and empty but not nil: a tensor of no dimensions
	DType       string   // as in DTypes
	Optional    bool     // may be None in the reference; the dataset's models ignore this
	Description string
}

// Scalar reports whether the input is a Python number instead of a tensor.
func (t TensorSpec) Scalar() bool { return t.Shape == nil }

// Integer reports whether the elements are integers or booleans, whose values a workload must keep.
func (t TensorSpec) Integer() bool {
	return t.DType == "bool" || strings.HasPrefix(t.DType, "int")
}

// DTypes are the schema's element types.
var DTypes = []string{
	"float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1", "int64", "int32", "int16", "int8", "bool",
}

// Digest is the hex SHA-256 of the file's bytes.
func (d *Definition) Digest() string { return d.digest }

// Axis gives the axis of that name.
func (d *Definition) Axis(name string) (Axis, bool) {
	i, ok := d.axis[name]
	if !ok {
		return Axis{}, false
	}
	return d.Axes[i], true
}

// Const gives the value of a constant axis.
func (d *Definition) Const(name string) (int64, bool) {
	a, ok := d.Axis(name)
	return a.Value, ok && a.Const
}

// VarAxes gives the names of the variable axes, in the definition's order: the axes of a workload.
func (d *Definition) VarAxes() []string {
	var names []string
	for _, a := range d.Axes {
		if !a.Const {
			names = append(names, a.Name)
		}
	}
	return names
}

// Input gives the input of that name.
func (d *Definition) Input(name string) (TensorSpec, bool) {
	i := slices.IndexFunc(d.Inputs, func(t TensorSpec) bool { return t.Name == name })
	if i < 0 {
		return TensorSpec{}, false
	}
	return d.Inputs[i], true
}

// PageSize is the constant axis page_size, or 0 where the definition has none.
func (d *Definition) PageSize() int64 {
	v, _ := d.Const("page_size")
	return v
}

// namePattern is what may become a path component: no separators, no leading dot or dash.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$`)

// CheckName reports whether s can be a definition's or an op type's name, which become file and directory names.
func CheckName(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty", what)
	}
	if !namePattern.MatchString(s) || strings.Contains(s, "..") {
		return fmt.Errorf("%s %q cannot be a file name: use letters, digits, _, - and single dots inside (at most 255)", what, s)
	}
	return nil
}

var runFunction = regexp.MustCompile(`(?m)^def[ \t]+run[ \t]*\(`)

// ParseDefinition reads a definition; file is named in errors. Errors tell the first thing that is wrong.
func ParseDefinition(data []byte, file string) (*Definition, error) {
	d, err := parseDefinition(data)
	if err != nil {
		return nil, fmt.Errorf("definition %s: %w", file, err)
	}
	return d, nil
}

func parseDefinition(data []byte) (*Definition, error) {
	members, err := readObject(data)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	d := &Definition{Raw: slices.Clone(data), digest: hex.EncodeToString(sum[:]), axis: map[string]int{}}
	var axes, inputs, outputs json.RawMessage
	for _, m := range members {
		switch m.key {
		case "name":
			err = readString(m, &d.Name)
		case "op_type":
			err = readString(m, &d.OpType)
		case "description":
			err = readOptionalString(m, &d.Description)
		case "reference":
			err = readString(m, &d.Reference)
		case "tags":
			d.Tags, err = readStrings(m)
		case "constraints":
			d.Constraints, err = readStrings(m)
		case "axes":
			axes = m.value
		case "inputs":
			inputs = m.value
		case "outputs":
			outputs = m.value
		}
		if err != nil {
			return nil, err
		}
	}
	if err := CheckName("name", d.Name); err != nil {
		return nil, err
	}
	if err := CheckName("op_type", d.OpType); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		name string
		raw  json.RawMessage
		read func(json.RawMessage) error
	}{
		{"axes", axes, d.readAxes},
		{"inputs", inputs, func(r json.RawMessage) (err error) { d.Inputs, err = d.readTensors(r); return err }},
		{"outputs", outputs, func(r json.RawMessage) (err error) { d.Outputs, err = d.readTensors(r); return err }},
	} {
		if part.raw == nil {
			return nil, fmt.Errorf("%s is missing", part.name)
		}
		if err := part.read(part.raw); err != nil {
			return nil, fmt.Errorf("%s%w", part.name, err)
		}
	}
	return d, d.check()
}

// check holds the fields against each other.
func (d *Definition) check() error {
	if len(d.Inputs) == 0 {
		return errors.New("inputs is empty")
	}
	if len(d.Outputs) == 0 {
		return errors.New("outputs is empty: the reference must return something")
	}
	for _, out := range d.Outputs {
		if _, ok := d.Input(out.Name); ok {
			return fmt.Errorf("outputs.%s is also the name of an input", out.Name)
		}
	}
	if d.Reference == "" {
		return errors.New("reference is missing")
	}
	if !runFunction.MatchString(d.Reference) {
		return errors.New("reference has no top-level function run: add `def run(...)` taking the inputs in order")
	}
	for _, tag := range d.Tags {
		for _, prefix := range []string{"tp:", "ep:"} {
			if rest, ok := strings.CutPrefix(tag, prefix); ok && atoi(rest) < 1 {
				return fmt.Errorf("tags: %q needs a positive number after the colon", tag)
			}
		}
		if api, ok := strings.CutPrefix(tag, apiTag); ok && strings.Trim(api, ". ") == "" {
			return fmt.Errorf("tags: %q names no function", tag)
		}
	}
	return nil
}

func (d *Definition) readAxes(raw json.RawMessage) error {
	members, err := readObject(raw)
	if err != nil {
		return fmt.Errorf(": %w", err)
	}
	for _, m := range members {
		if m.key == "" {
			return errors.New(" has an axis with an empty name")
		}
		var spec struct {
			Type        *string      `json:"type"`
			Value       *json.Number `json:"value"`
			Description *string      `json:"description"`
		}
		if err := json.Unmarshal(m.value, &spec); err != nil {
			return fmt.Errorf(".%s: %w", m.key, err)
		}
		axis := Axis{Name: m.key}
		if spec.Description != nil {
			axis.Description = *spec.Description
		}
		switch {
		case spec.Type == nil:
			return fmt.Errorf(".%s: type is missing, must be const or var", m.key)
		case *spec.Type == "const":
			if spec.Value == nil {
				return fmt.Errorf(".%s: is const but has no value", m.key)
			}
			v, err := spec.Value.Int64()
			if err != nil || v < 0 {
				return fmt.Errorf(".%s: value %s is not a non-negative integer", m.key, *spec.Value)
			}
			axis.Const, axis.Value = true, v
		case *spec.Type == "var":
			if spec.Value != nil {
				return fmt.Errorf(".%s: is var but has the value %s: make it const or drop the value", m.key, *spec.Value)
			}
		default:
			return fmt.Errorf(".%s: type is %q, must be const or var", m.key, *spec.Type)
		}
		d.axis[m.key] = len(d.Axes)
		d.Axes = append(d.Axes, axis)
	}
	return nil
}

func (d *Definition) readTensors(raw json.RawMessage) ([]TensorSpec, error) {
	members, err := readObject(raw)
	if err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	var list []TensorSpec
	for _, m := range members {
		if m.key == "" {
			return nil, errors.New(" has a tensor with an empty name")
		}
		var spec struct {
			Shape       json.RawMessage `json:"shape"`
			DType       *string         `json:"dtype"`
			Optional    bool            `json:"optional"`
			Description *string         `json:"description"`
		}
		if err := json.Unmarshal(m.value, &spec); err != nil {
			return nil, fmt.Errorf(".%s: %w", m.key, err)
		}
		t := TensorSpec{Name: m.key, Optional: spec.Optional}
		if spec.Description != nil {
			t.Description = *spec.Description
		}
		if spec.Shape == nil {
			return nil, fmt.Errorf(".%s: shape is missing: give a list of axes, or null for a scalar", m.key)
		}
		if err := json.Unmarshal(spec.Shape, &t.Shape); err != nil {
			return nil, fmt.Errorf(".%s: shape %s is not a list of axis names", m.key, shorten(spec.Shape))
		}
		for _, axis := range t.Shape {
			if _, ok := d.axis[axis]; !ok {
				return nil, fmt.Errorf(".%s: shape names the axis %q, which axes does not have", m.key, axis)
			}
		}
		if spec.DType == nil {
			return nil, fmt.Errorf(".%s: dtype is missing", m.key)
		}
		if !slices.Contains(DTypes, *spec.DType) {
			return nil, fmt.Errorf(".%s: dtype %q is none of %s", m.key, *spec.DType, strings.Join(DTypes, ", "))
		}
		t.DType = *spec.DType
		list = append(list, t)
	}
	return list, nil
}

// LoadDefinitions reads root/definitions/<op_type>/<name>.json, sorted by name. Each file that is no definition, or whose
// name or op type contradicts its path, or whose name another file took before, gives one error; the others load.
func LoadDefinitions(root string) ([]*Definition, []error) {
	dir := filepath.Join(root, "definitions")
	var (
		defs  []*Definition
		errs  []error
		files = map[string]string{}
	)
	if _, err := os.Stat(dir); err != nil {
		return nil, []error{fmt.Errorf("load definitions: %w", err)}
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			errs = append(errs, fmt.Errorf("load definitions: %w", err))
			return nil
		}
		rel, _ := filepath.Rel(dir, path)
		parts := strings.Split(filepath.ToSlash(rel), "/")
		if entry.IsDir() || filepath.Ext(path) != ".json" || len(parts) != 2 {
			return nil
		}
		def, err := loadFile(path, parts[0], strings.TrimSuffix(parts[1], ".json"))
		switch {
		case err != nil:
			errs = append(errs, err)
		case files[def.Name] != "":
			errs = append(errs, fmt.Errorf("definition %s: %s has the same name", path, files[def.Name]))
		default:
			files[def.Name] = path
			defs = append(defs, def)
		}
		return nil
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("load definitions: %w", err))
	}
	slices.SortFunc(defs, func(a, b *Definition) int { return strings.Compare(a.Name, b.Name) })
	return defs, errs
}

func loadFile(path, opType, name string) (*Definition, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("definition %s: %w", path, err)
	}
	def, err := ParseDefinition(data, path)
	if err != nil {
		return nil, err
	}
	if def.Name != name {
		return nil, fmt.Errorf("definition %s: name is %q, the file says %q: rename one of them", path, def.Name, name)
	}
	if def.OpType != opType {
		return nil, fmt.Errorf("definition %s: op_type is %q, the directory says %q: move the file", path, def.OpType, opType)
	}
	return def, nil
}
