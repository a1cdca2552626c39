package judge

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/safetensors"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// blob is a file of tensors that lines refer to.
type blob struct {
	at    string // the first line that refers to it
	line  *line
	names []string // its tensors; nil where it could not be read
	sum   string   // hex SHA-256 of the file, where it was asked for
	used  map[string]bool
	err   error
	told  *line // the line of which err was told last
}

// tensors reads every tensor that a line refers to and holds it against the definition, and makes the line's content.
func (s *subject) tensors(l *line) {
	parts, whole := make([]string, 0, len(l.Workload.Inputs)), true
	for _, in := range l.Workload.Inputs {
		switch in.Type {
		case fitrace.Random:
			parts = append(parts, strconv.Quote(in.Name)+" random")
		case fitrace.ScalarInput:
			parts = append(parts, scalarPart(in))
		case fitrace.Safetensors:
			t, ok := s.tensor(l, in)
			whole = whole && ok
			parts = append(parts, fmt.Sprintf("%q %s %v %s", in.Name, t.DType, t.Shape, t.Digest))
		}
	}
	if whole {
		l.content = content(l.Line, parts)
	}
}

// tensor reads one tensor. ok is false where it cannot be read or is not as the definition says.
func (s *subject) tensor(l *line, in fitrace.Input) (t dataset.Tensor, ok bool) {
	file, err := dataset.BlobFile(in.Path)
	if err != nil {
		s.add(BlobMissing, l, l.at, "inputs.%s: %v", in.Name, err)
		return t, false
	}
	open, err := s.open(file, l)
	if err != nil {
		s.unreadable(l, in, file, err)
		return t, false
	}
	defer open.Close()
	s.blobs[file].used[in.TensorKey] = true
	t, found, err := open.Tensor(in.TensorKey)
	switch {
	case err != nil:
		s.add(BlobUnreadable, l, l.at, "inputs.%s: %s", in.Name, oneLine(err))
		return t, false
	case !found:
		s.add(TensorMissing, l, l.at, "inputs.%s: path %s has no tensor_key %q, it has %q", in.Name, in.Path, in.TensorKey, open.Names())
		return t, false
	}
	s.rep.Counts.Tensors++
	t.Name = in.Name
	spec, _ := s.def.Input(in.Name)
	return t, !spec.Scalar() && s.exact(l, spec, t) && s.load(l, spec, in, open)
}

// open opens a blob and remembers it.
func (s *subject) open(file string, l *line) (*dataset.Blob, error) {
	b := s.blobs[file]
	if b == nil {
		b = &blob{at: l.at, line: l, used: map[string]bool{}}
		s.blobs[file] = b
	}
	if b.err != nil {
		return nil, b.err
	}
	open, err := s.r.OpenBlob(file)
	if err != nil {
		b.err = err
		return nil, err
	}
	if b.names == nil {
		b.names = open.Names()
		s.rep.Counts.Blobs++
	}
	return open, nil
}

// unreadable tells of a blob, once a line.
func (s *subject) unreadable(l *line, in fitrace.Input, file string, err error) {
	b := s.blobs[file]
	if b.told == l {
		return
	}
	b.told = l
	code := BlobUnreadable
	if errors.Is(err, fs.ErrNotExist) {
		code, err = BlobMissing, fs.ErrNotExist
	}
	s.add(code, l, l.at, "inputs.%s: path %s: %s", in.Name, in.Path, oneLine(err))
}

// exact is SOL-ExecBench's rule: its loader takes the element type and the shape of the definition and no other.
func (s *subject) exact(l *line, spec fitrace.TensorSpec, t dataset.Tensor) bool {
	want, got := slices.Clone(l.shapes[spec.Name]), t.Shape
	dtype, ok := safetensors.FromTorch(spec.DType)
	if spec.DType == "float4_e2m1" { // torch has it in pairs: the file counts each, and torch half of them
		dtype, ok = safetensors.F4, true
		if n := len(want); n > 0 {
			want[n-1] *= 2
		}
	}
	if !ok || t.DType != string(dtype) {
		s.add(TensorDType, l, l.at, "inputs.%s is %s, the definition says %s", spec.Name, t.DType, spec.DType)
		return false
	}
	if !slices.Equal(got, want) {
		s.add(TensorShape, l, l.at, "inputs.%s has shape %v, %v and the axes give %v", spec.Name, got, spec.Shape, want)
		return false
	}
	return true
}

// load reads the values of an integer tensor.
func (s *subject) load(l *line, spec fitrace.TensorSpec, in fitrace.Input, open *dataset.Blob) bool {
	if !spec.Integer() {
		return true
	}
	dtype, data, err := open.Data(in.TensorKey)
	if err != nil {
		s.add(BlobUnreadable, l, l.at, "inputs.%s: %s", in.Name, oneLine(err))
		return false
	}
	l.loaded[in.Name] = integers{data, int(safetensors.DType(dtype).Size() / 8)}
	return true
}

// leftOver judges what no line refers to: tensors in the blobs that were read, and files beside them.
func (s *subject) leftOver() error {
	for _, file := range slices.Sorted(maps.Keys(s.blobs)) {
		b := s.blobs[file]
		for _, name := range b.names {
			if !b.used[name] && !s.mentioned(file) {
				s.add(TensorUnused, b.line, b.at, "path %s has the tensor %q, to which no line refers", file, name)
			}
		}
	}
	files, err := s.r.Glob(path.Join(fitrace.BlobDir(s.opType, s.name), "*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if s.blobs[file] == nil && !s.mentioned(file) {
			s.add(BlobOrphan, nil, file, "no line refers to it: remove it")
		}
	}
	return nil
}

// mentioned reports whether a line of another definition, or one that was not read to its end, speaks of a blob.
func (s *subject) mentioned(file string) bool {
	name := []byte(path.Base(file))
	return bytes.Contains(s.others, name) || bytes.Contains(s.unread, name)
}

// content makes one text of axes and inputs, in no order of theirs.
func content(l fitrace.Line, inputs []string) string {
	return shape(l) + "\n" + strings.Join(slices.Sorted(slices.Values(inputs)), "\n")
}

// shape is equal for equal axes. num_pages stands aside: it says which pages the allocator handed out, not what work was done.
func shape(l fitrace.Line) string {
	var parts []string
	for _, a := range l.Workload.Axes {
		if a.Name != "num_pages" {
			parts = append(parts, a.Name+"="+strconv.FormatInt(a.Value, 10))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// scalarPart lets 1 and 1.0 be equal.
func scalarPart(in fitrace.Input) string {
	if in.Scalar.Kind == fitrace.Int {
		return strconv.Quote(in.Name) + " " + fitrace.FormatFloat(float64(in.Scalar.Int))
	}
	return strconv.Quote(in.Name) + " " + in.Scalar.String()
}
