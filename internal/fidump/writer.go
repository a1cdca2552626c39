package fidump

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/tracefleet/tracefleet/internal/safetensors"
)

// Writer writes dumps of one process as FlashInfer does, with float tensors as holes of full size. Safe for parallel use.
type Writer struct {
	root     string
	pid      int64
	versions map[string]string
	mu       sync.Mutex
	sequence map[string]int64 // calls so far, by function
}

// NewWriter makes a writer into root, a directory of dumps, which may be shared with other writers. versions has the keys
// torch, python and flashinfer.
func NewWriter(root string, pid int64, versions map[string]string) *Writer {
	return &Writer{root: root, pid: pid, versions: maps.Clone(versions), sequence: map[string]int64{}}
}

// Call is a call to write. Of Args and outputs, tensors are Values of KindTensor, made by TensorArg.
type Call struct {
	Time      time.Time // of the directory's name; its zone is kept
	Function  string    // "rmsnorm" or "Class.method"
	Module    string
	Signature string
	SelfID    int64   // id() of the wrapper object; 0: a plain function
	Args      []Value // in order, with keys arg_0, kwarg_q, …; keys of members are made from these
}

// Pending is a call that has been logged and has not returned.
type Pending struct {
	w   *Writer
	dir string
	rec *Record
}

// Dir gives the dump directory.
func (p *Pending) Dir() string { return p.dir }

// Begin writes what FlashInfer writes before it makes the call: the directory, the inputs (to a temporary file that is renamed,
// mode 0600), the first record, and the same in session.jsonl.
func (w *Writer) Begin(c Call) (*Pending, error) {
	w.mu.Lock()
	w.sequence[c.Function]++
	sequence := w.sequence[c.Function]
	w.mu.Unlock()
	stamp := []byte(c.Time.Format("20060102_150405.000"))
	stamp[15] = '_'
	name := fmt.Sprintf("%s_pid%d_%s_call%04d", stamp, w.pid, c.Function, sequence)
	p := &Pending{w: w, dir: filepath.Join(w.root, name)}
	p.rec = &Record{
		FunctionName: c.Function, Module: c.Module, Signature: c.Signature, Timestamp: string(stamp), CallSequence: sequence,
		ProcessID: w.pid, TensorFormat: "safetensors", Versions: w.versions, Status: "inputs_saved", DumpDir: p.dir,
	}
	if c.SelfID != 0 {
		p.rec.SelfID = strconv.FormatInt(c.SelfID, 10)
	}
	entries, values, tensors, size, err := split(c.Args)
	if err != nil {
		return nil, fmt.Errorf("write dump of %s: %w", c.Function, err)
	}
	p.rec.Input, p.rec.Tensors, p.rec.InputBytes = values, tensors, size
	if err := os.MkdirAll(p.dir, 0o777); err != nil {
		return nil, fmt.Errorf("write dump: %w", err)
	}
	if len(entries) > 0 {
		if err := safetensors.WriteSparse(filepath.Join(p.dir, "inputs.safetensors"), entries, nil); err != nil {
			return nil, fmt.Errorf("write dump: %w", err)
		}
	}
	return p, p.append(encodeRecord(p.rec, nil, 0, false))
}

// Return writes what FlashInfer writes when the call has returned: the outputs, if any is a tensor, and the second record. No
// output is None, one is the result itself, more are a tuple.
func (p *Pending) Return(outputs ...Value) error {
	list := make([]Value, len(outputs))
	for i, v := range outputs {
		if v.Key = "result"; len(outputs) > 1 {
			v.Key += "_" + strconv.Itoa(i)
		}
		list[i] = v
	}
	if len(list) == 0 {
		list = []Value{{Key: "result"}}
	}
	entries, values, tensors, size, err := split(list)
	if err != nil {
		return fmt.Errorf("write outputs of %s: %w", p.dir, err)
	}
	if len(entries) > 0 {
		if err := safetensors.WriteSparse(filepath.Join(p.dir, "outputs.safetensors"), entries, nil); err != nil {
			return fmt.Errorf("write dump: %w", err)
		}
	}
	p.rec.Outputs, p.rec.Status = tensors, "completed"
	return p.append(encodeRecord(p.rec, values, size, true))
}

// append adds the line to the dump's own file and to the session, each in one write.
func (p *Pending) append(line []byte) error {
	line = append(line, '\n')
	for _, path := range []string{filepath.Join(p.dir, MetadataFile), filepath.Join(p.w.root, SessionFile)} {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
		if err != nil {
			return fmt.Errorf("write dump record: %w", err)
		}
		_, err = f.Write(line)
		if err2 := f.Close(); err == nil {
			err = err2
		}
		if err != nil {
			return fmt.Errorf("write dump record: %w", err)
		}
	}
	return nil
}

// split gives what goes into the tensor file, the metadata of what is not a tensor itself, and the description of all tensors.
func split(args []Value) (entries []safetensors.Entry, values []Value, tensors []Tensor, size int64, err error) {
	for _, arg := range args {
		arg = keyed(arg, arg.Key)
		if arg.Kind != KindTensor {
			values = append(values, arg)
		}
		arg.Walk(func(v *Value) {
			if v.Kind != KindTensor || err != nil {
				return
			}
			dtype, ok := safetensors.FromTorch(v.Tensor.DType)
			if !ok || dtype == safetensors.F4 {
				err = fmt.Errorf("tensor %s: cannot write dtype %q", v.Key, v.Tensor.DType)
				return
			}
			t := *v.Tensor
			t.Contiguous = nil
			tensors = append(tensors, t)
			entries = append(entries, safetensors.Entry{Name: t.Key, DType: dtype, Shape: t.Shape, Data: v.Data})
			bytes := dtype.Size() / 8
			for _, n := range t.Shape {
				bytes *= n
			}
			size += bytes
		})
	}
	safetensors.Arrange(entries)
	return entries, values, tensors, size, err
}

// keyed gives v and its members the keys the logger would.
func keyed(v Value, key string) Value {
	v.Key = key
	if v.Kind == KindTensor {
		t := *v.Tensor
		t.Key, t.DType = key, v.Tensor.DType
		v.Tensor = &t
	}
	if !v.Container() {
		return v
	}
	items := make([]Value, len(v.Items))
	for i := range items {
		member := key + "__" + strconv.Itoa(i)
		if v.Kind == KindDict {
			member = key + "__value_" + strconv.Itoa(i)
		}
		items[i] = keyed(v.Items[i], member)
	}
	v.Items, v.Length = items, len(items)
	return v
}

// TensorArg makes a tensor argument. data is its little-endian bytes; nil leaves a hole of full size, as is right for floats.
func TensorArg(key, dtype string, shape []int64, data []byte) Value {
	stride, n := make([]int64, len(shape)), int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		stride[i] = n
		n *= max(shape[i], 1)
	}
	return Value{Key: key, Kind: KindTensor, Tensor: &Tensor{DType: dtype, Shape: shape, Stride: stride}, Data: data}
}

// TupleArg makes a tuple of members, whose keys follow from its own.
func TupleArg(key string, members ...Value) Value {
	return Value{Key: key, Kind: KindTuple, Type: "tuple", Items: members}
}

// ObjectArg makes an argument of which the logger writes class and repr only, as it does of self.
func ObjectArg(key, class, repr string) Value {
	return Value{Key: key, Kind: KindObject, Type: class, Text: repr}
}

// IntArg makes an int argument.
func IntArg(key string, n int64) Value { return Value{Key: key, Kind: KindInt, Int: n} }

// FloatArg makes a float argument.
func FloatArg(key string, f float64) Value { return Value{Key: key, Kind: KindFloat, Float: f} }

// BoolArg makes a bool argument.
func BoolArg(key string, b bool) Value { return Value{Key: key, Kind: KindBool, Bool: b} }

// StringArg makes a str argument.
func StringArg(key, s string) Value { return Value{Key: key, Kind: KindString, Text: s} }

// DTypeArg makes a torch.dtype argument, named without "torch.".
func DTypeArg(key, dtype string) Value { return Value{Key: key, Kind: KindDType, Text: dtype} }

// NoneArg makes a None argument.
func NoneArg(key string) Value { return Value{Key: key} }
