package fidump

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/tracefleet/tracefleet/internal/safetensors"
)

// ErrNoTensor says that a dump has no input tensor of the key asked for.
var ErrNoTensor = errors.New("no such tensor in the dump")

// Inputs are the input tensors of one dump. Read is safe for parallel use; Close ends all use.
type Inputs interface {
	// Tensors gives the tensors sorted by key, as the file describes them, with strides as the record does.
	Tensors() []Tensor
	// Read gives the raw little-endian bytes of one tensor, contiguous in row-major order. ErrNoTensor if there is none.
	Read(key string) ([]byte, error)
	// BytesRead counts what was read from the file so far.
	BytesRead() int64
	Close() error
}

// InputsError says where a dump's tensors contradict its record.
type InputsError struct {
	File   string
	Tensor string
	Field  string // shape, dtype, tensor_details or file
	Reason string
}

// Error names file, tensor and field.
func (e *InputsError) Error() string {
	return fmt.Sprintf("dump inputs %s: tensor %q: %s: %s", e.File, e.Tensor, e.Field, e.Reason)
}

// OpenInputs opens the input tensors in dir, which may be a dump directory or a replay's below it: inputs.safetensors, or
// inputs.pt. rec, where given, is held against the file; a call without tensors has no file and gives empty Inputs. A missing
// file is fs.ErrNotExist, a damaged one a *safetensors.FormatError or *TorchError, a contradiction an *InputsError.
func OpenInputs(dir string, rec *Record) (Inputs, error) {
	names := []string{"inputs.safetensors", "inputs.pt"}
	if rec != nil {
		if len(rec.Tensors) == 0 {
			return noInputs{}, nil
		}
		if rec.TensorFormat == "torch" {
			slices.Reverse(names)
		}
	}
	var missing error
	for _, name := range names {
		in, err := openInputs(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			if missing == nil {
				missing = err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if rec == nil {
			return in, nil
		}
		if err := in.adopt(rec); err != nil {
			in.Close()
			return nil, err
		}
		return in, nil
	}
	return nil, missing
}

// openedInputs is what both formats give before the record has been held against them.
type openedInputs interface {
	Inputs
	adopt(rec *Record) error
}

func openInputs(path string) (openedInputs, error) {
	if filepath.Ext(path) == ".pt" {
		return openTorch(path)
	}
	return openSafetensors(path)
}

type noInputs struct{}

func (noInputs) Tensors() []Tensor { return nil }
func (noInputs) Read(key string) ([]byte, error) {
	return nil, fmt.Errorf("read tensor %q: %w", key, ErrNoTensor)
}
func (noInputs) BytesRead() int64 { return 0 }
func (noInputs) Close() error     { return nil }

// described is the part that both formats share: the list, and the check against the record.
type described struct {
	path    string
	tensors []Tensor
}

func (d *described) Tensors() []Tensor { return d.tensors }

// adopt takes strides and contiguity from the record, after holding the two against each other.
func (d *described) adopt(rec *Record) error {
	for i := range rec.Tensors {
		want := &rec.Tensors[i]
		at, ok := slices.BinarySearchFunc(d.tensors, want.Key, compareKey)
		if !ok {
			return &InputsError{d.path, want.Key, "tensor_details", "is in the record but not in the file"}
		}
		have := &d.tensors[at]
		switch {
		case want.DType != "" && have.DType != want.DType:
			return &InputsError{d.path, want.Key, "dtype", fmt.Sprintf("record says %s, file says %s", want.DType, have.DType)}
		case want.Shape != nil && !slices.Equal(have.Shape, want.Shape):
			return &InputsError{d.path, want.Key, "shape", fmt.Sprintf("record says %v, file says %v", want.Shape, have.Shape)}
		}
		if have.Stride == nil {
			have.Stride = want.Stride
		}
		have.Contiguous = want.Contiguous
	}
	for i := range d.tensors {
		if len(d.tensors) != len(rec.Tensors) && rec.Tensor(d.tensors[i].Key) == nil {
			return &InputsError{d.path, d.tensors[i].Key, "tensor_details", "is in the file but not in the record"}
		}
	}
	return nil
}

func compareKey(t Tensor, key string) int {
	switch {
	case t.Key < key:
		return -1
	case t.Key > key:
		return 1
	}
	return 0
}

type safetensorsInputs struct {
	described
	*safetensors.File
}

func openSafetensors(path string) (*safetensorsInputs, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	h := f.Header()
	in := &safetensorsInputs{described{path: path, tensors: make([]Tensor, len(h.Tensors))}, f}
	for i := range h.Tensors {
		t := &h.Tensors[i]
		shape := t.Shape
		if t.DType == safetensors.F4 && len(shape) > 0 { // torch packs two elements into one
			shape = slices.Clone(shape)
			shape[len(shape)-1] /= 2
		}
		in.tensors[i] = Tensor{Key: t.Name, DType: t.DType.Torch(), Shape: shape, Nbytes: t.Bytes()}
	}
	return in, nil
}

// Read gives one tensor; safetensors are contiguous by definition.
func (in *safetensorsInputs) Read(key string) ([]byte, error) {
	data, err := in.File.Read(key)
	if errors.Is(err, safetensors.ErrNoTensor) {
		return nil, fmt.Errorf("read tensor %q of %s: %w", key, in.path, ErrNoTensor)
	}
	return data, err
}
