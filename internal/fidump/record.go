package fidump

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/jsonscan"
)

// Tensor describes a dumped tensor.
type Tensor struct {
	Key        string
	DType      string  // torch's name without "torch."
	Shape      []int64 // empty for a scalar
	Stride     []int64 // in elements, as logged; nil: not logged
	Contiguous *bool   // as logged, for members of containers only; nil: not logged
	Nbytes     int64   // size in the file; 0 in a Record, which does not tell
}

// Record is one record of a dump: what was called, with what.
type Record struct {
	FunctionName string // "rmsnorm" or "BatchDecodeWithPagedKVCacheWrapper.run"
	Module       string
	Signature    string // str(inspect.signature(f)), self included
	Timestamp    string // YYYYmmdd_HHMMSS_mmm
	CallSequence int64  // number among the calls of this function in this process
	ProcessID    int64
	SelfID       string // id() of the wrapper object in decimal, "" where it was not logged
	Input        []Value
	Tensors      []Tensor // input tensors in the order logged, members of containers included
	Outputs      []Tensor // output tensors, once the call has returned
	TensorFormat string   // safetensors | torch
	InputBytes   int64    // of all input tensors, as logged
	Versions     map[string]string
	Status       string // inputs_saved | completed | graph_capture_pending_flush
	DumpDir      string // as the process saw it
	GraphCapture bool   // made while a CUDA graph was captured, or replayed from one
	Flushed      bool   // tensors were written by a replay
	FlushIndex   int    // number of the replay from 1; 0: not a replay
	SnapshotDir  string
	BaseDumpDir  string // of a snapshot: the dump directory of the capture
}

// Dump gives the base name of the dump directory the record belongs to, and the number of the replay, 0 if it is none.
func (r *Record) Dump() (dir string, flush int) {
	if r.BaseDumpDir != "" {
		return baseName(r.BaseDumpDir), r.FlushIndex
	}
	return baseName(r.DumpDir), r.FlushIndex
}

// Arg gives the argument that is not a tensor of that key, nil if there is none.
func (r *Record) Arg(key string) *Value {
	for i := range r.Input {
		if r.Input[i].Key == key {
			return &r.Input[i]
		}
	}
	return nil
}

// Tensor gives the input tensor of that key, nil if there is none.
func (r *Record) Tensor(key string) *Tensor {
	for i := range r.Tensors {
		if r.Tensors[i].Key == key {
			return &r.Tensors[i]
		}
	}
	return nil
}

// parseRecord parses one line. A *jsonscan.SyntaxError means that the line is not whole; other errors that it is no record.
func parseRecord(line string) (*Record, error) {
	r := &Record{}
	p := recordParser{Record: r, sc: jsonscan.New(line)}
	p.sc.BeginObject()
	for {
		key, ok := p.sc.NextKey()
		if !ok {
			break
		}
		p.field(key)
	}
	p.sc.End()
	if err := p.sc.Err(); err != nil {
		return nil, err
	}
	p.settleTensors()
	return r, r.check()
}

type recordParser struct {
	*Record
	sc         jsonscan.Scanner
	inputKeys  []string
	outputKeys []string
	haveKeys   bool
	details    []Tensor
	sizes      []int64 // backing array of the details' shapes and strides
}

func (p *recordParser) field(key string) {
	sc := &p.sc
	switch key {
	case "function_name":
		p.FunctionName = text(sc)
	case "module":
		p.Module = text(sc)
	case "call_sequence":
		p.CallSequence = integer(sc)
	case "timestamp":
		p.Timestamp = text(sc)
	case "process_id":
		p.ProcessID = integer(sc)
	case "input_metadata":
		p.inputs()
	case "tensor_info":
		p.tensorInfo()
	case "tensor_details":
		p.tensorDetails()
	case "tensor_format":
		p.TensorFormat = text(sc)
	case "function_signature":
		p.Signature = text(sc)
	case "versions":
		p.versions()
	case "execution_status":
		p.Status = text(sc)
	case "graph_capture":
		p.GraphCapture = flag(sc)
	case "self_id":
		p.selfID()
	case "dump_dir":
		p.DumpDir = text(sc)
	case "graph_capture_flushed":
		p.Flushed = flag(sc)
	case "graph_capture_flush_index":
		if n := integer(sc); n > 0 && n <= math.MaxInt32 {
			p.FlushIndex = int(n)
		}
	case "graph_capture_snapshot_dir":
		p.SnapshotDir = text(sc)
	case "graph_capture_base_dump_dir":
		p.BaseDumpDir = text(sc)
	default:
		sc.Skip()
	}
}

// object begins an object; another type is skipped and gives false.
func (p *recordParser) object() bool {
	if p.sc.Peek() != jsonscan.Object {
		p.sc.Skip()
		return false
	}
	p.sc.BeginObject()
	return true
}

func (p *recordParser) inputs() {
	if !p.object() {
		return
	}
	p.Input = make([]Value, 0, 4)
	for {
		key, ok := p.sc.NextKey()
		if !ok {
			return
		}
		p.Input = append(p.Input, parseValue(&p.sc, key))
	}
}

func (p *recordParser) tensorInfo() {
	if !p.object() {
		return
	}
	for {
		key, ok := p.sc.NextKey()
		if !ok {
			return
		}
		switch key {
		case "input_tensor_keys":
			p.inputKeys, p.haveKeys = p.strings(), true
		case "output_tensor_keys":
			p.outputKeys = p.strings()
		case "input_size_bytes":
			p.InputBytes = integer(&p.sc)
		default:
			p.sc.Skip()
		}
	}
}

func (p *recordParser) strings() []string {
	if p.sc.Peek() != jsonscan.Array {
		p.sc.Skip()
		return nil
	}
	list := make([]string, 0, 4)
	for p.sc.BeginArray(); p.sc.NextItem(); {
		list = append(list, text(&p.sc))
	}
	return list
}

func (p *recordParser) tensorDetails() {
	if !p.object() {
		return
	}
	p.details = make([]Tensor, 0, max(4, len(p.inputKeys)+1))
	p.sizes = make([]int64, 0, 8*cap(p.details))
	for {
		key, ok := p.sc.NextKey()
		if !ok {
			return
		}
		t := Tensor{Key: key}
		if p.object() {
			for {
				field, ok := p.sc.NextKey()
				if !ok {
					break
				}
				if !t.detail(&p.sc, field, &p.sizes) {
					p.sc.Skip()
				}
			}
		}
		p.details = append(p.details, t)
	}
}

// detail takes one field of a tensor's description, with lists from backing; false if it is another field.
func (t *Tensor) detail(sc *jsonscan.Scanner, field string, backing *[]int64) bool {
	switch field {
	case "shape":
		t.Shape = integers(sc, backing)
	case "stride":
		t.Stride = integers(sc, backing)
	case "dtype":
		t.DType = strings.TrimPrefix(text(sc), "torch.")
	case "is_contiguous":
		c := flag(sc)
		t.Contiguous = &c
	default:
		return false
	}
	return true
}

func integers(sc *jsonscan.Scanner, backing *[]int64) []int64 {
	if sc.Peek() != jsonscan.Array {
		sc.Skip()
		return nil
	}
	start := len(*backing)
	for sc.BeginArray(); sc.NextItem(); {
		*backing = append(*backing, integer(sc))
	}
	if *backing == nil {
		return []int64{} // a scalar's shape, which is not the same as no shape
	}
	return (*backing)[start:len(*backing):len(*backing)]
}

func (p *recordParser) versions() {
	if !p.object() {
		return
	}
	p.Versions = make(map[string]string, 4)
	for {
		key, ok := p.sc.NextKey()
		if !ok {
			return
		}
		p.Versions[key] = text(&p.sc)
	}
}

func (p *recordParser) selfID() {
	switch p.sc.Peek() {
	case jsonscan.Number:
		p.SelfID = p.sc.Num()
	case jsonscan.String:
		p.SelfID = p.sc.Str()
	default:
		p.sc.Skip()
	}
}

// settleTensors sorts the details into inputs and outputs, and adds what only a container's member says.
func (p *recordParser) settleTensors() {
	isInput := func(key string) bool { return strings.HasPrefix(key, "arg_") || strings.HasPrefix(key, "kwarg_") }
	switch {
	case len(p.inputKeys) > 64: // no real call; keep a hostile record from taking quadratic time
		set := make(map[string]bool, len(p.inputKeys))
		for _, key := range p.inputKeys {
			set[key] = true
		}
		isInput = func(key string) bool { return set[key] }
	case p.haveKeys:
		isInput = func(key string) bool { return slices.Contains(p.inputKeys, key) }
	}
	inputs := p.details[:0]
	for _, t := range p.details {
		if isInput(t.Key) {
			inputs = append(inputs, t)
		} else {
			p.Outputs = append(p.Outputs, t)
		}
	}
	p.Tensors = inputs
	find := p.Tensor
	if len(p.Tensors) > 64 {
		at := make(map[string]*Tensor, len(p.Tensors))
		for i := range p.Tensors {
			at[p.Tensors[i].Key] = &p.Tensors[i]
		}
		find = func(key string) *Tensor { return at[key] }
	}
	for i := range p.Input {
		if !p.Input[i].Container() {
			continue
		}
		p.Input[i].Walk(func(v *Value) {
			if v.Kind != KindTensor || v.Tensor.Key == "" {
				return
			}
			if t := find(v.Tensor.Key); t != nil {
				t.Contiguous = v.Tensor.Contiguous
			}
		})
	}
}

// check holds what every caller relies on.
func (r *Record) check() error {
	switch {
	case r.FunctionName == "":
		return errors.New("function_name is missing, empty or not a string")
	case r.Status == "":
		return errors.New("execution_status is missing, empty or not a string")
	}
	for i := range r.Tensors {
		t := &r.Tensors[i]
		for _, n := range t.Shape {
			if n < 0 {
				return fmt.Errorf("tensor_details %s: shape %v has a negative size", strconv.Quote(t.Key), t.Shape)
			}
		}
		if len(t.Stride) != 0 && len(t.Stride) != len(t.Shape) {
			return fmt.Errorf("tensor_details %s: stride %v does not belong to shape %v", strconv.Quote(t.Key), t.Stride, t.Shape)
		}
	}
	return nil
}
