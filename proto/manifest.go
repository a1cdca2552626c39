package proto

import (
	"errors"
	"fmt"
)

// InlineTensorBytes is the largest tensor that travels in a message; larger ones go through the tensor store. Small enough
// that a manifest with a plan stays far below MaxMessageBytes, large enough that most indptr arrays need no second trip.
const InlineTensorBytes = 8 << 10

// Manifest is the record of one dumped call, with the plan it belongs to and all else the sanitizer's rules need, so that
// the sanitizer never sees the dump directory. Plan calls have no manifest of their own: they travel with their runs.
type Manifest struct {
	Collection string     `msgpack:"collection" json:"collection"`
	Task       string     `msgpack:"task" json:"task"`
	Attempt    uint32     `msgpack:"attempt" json:"attempt"`
	ID         string     `msgpack:"id" json:"id"` // hex, of node, dump directory and flush: the same dump has the same id
	Node       string     `msgpack:"node" json:"node"`
	Call       Call       `msgpack:"call" json:"call"`
	Plan       *Call      `msgpack:"plan,omitempty" json:"plan,omitempty"`           // the plan this run belongs to
	PlanNote   PlanNote   `msgpack:"plan_note,omitempty" json:"plan_note,omitempty"` // why there is no plan, or why it cannot be used
	Beside     Beside     `msgpack:"beside,omitempty" json:"beside,omitempty"`       // what else ran in the same layer
	Implied    bool       `msgpack:"implied,omitempty" json:"implied,omitempty"`     // Call is a plan that stands for the runs after it, which were not dumped
	Scale      *Scale     `msgpack:"scale,omitempty" json:"scale,omitempty"`         // only for a run whose softmax scale is in no dump of its own
	Defect     *Defect    `msgpack:"defect,omitempty" json:"defect,omitempty"`       // the dump cannot be converted, and why
	Provenance Provenance `msgpack:"provenance" json:"provenance"`
	// Definitions are those of the task; every sanitizer converts for exactly these.
	Definitions []DefinitionRef `msgpack:"definitions" json:"definitions"`
	SkipConst   bool            `msgpack:"skip_const,omitempty" json:"skip_const,omitempty"`
}

// PlanNote is why the pairing found no usable plan.
type PlanNote string

// The pairing notes.
const (
	PlanNone         PlanNote = ""              // paired, or the function needs no plan
	PlanMissing      PlanNote = "missing"       // no plan of this wrapper object was logged before the run
	PlanStale        PlanNote = "stale"         // graph replay, and no plan was logged since the capture or the replay before
	PlanUnreadable   PlanNote = "unreadable"    // the plan's own dump is incomplete or corrupt
	PlanUnloggedMeta PlanNote = "unlogged_meta" // planned with an object whose tensors the logger does not write
	PlanUnordered    PlanNote = "unordered"     // neither time nor session log says whether the plan came before the run
	PlanEarly        PlanNote = "early"         // the latest plan was made before the first request of ours
)

// Beside says which calls of the same process and layer surround a run; a paged run beside a ragged one is only half of an
// attention, to be merged by its log-sum-exp.
type Beside string

// What a run can stand beside.
const (
	BesideNothing Beside = ""
	BesideRagged  Beside = "ragged" // a paged run, of the same rows, joined with a ragged run by merge_state
	BesidePaged   Beside = "paged"  // the ragged half of such a pair
)

// Scale is what is known of the softmax scale of a ragged run of latent attention (MLA). SGLang sets it on the wrapper, so that no dump
// of the run has it; the model uses one scale in all its layers.
type Scale struct {
	// Planned holds the distinct sm_scale of the paged MLA plans that the run's process made, in ascending order. More than one: the run's
	// own scale is unknown.
	Planned []float64 `msgpack:"planned,omitempty" json:"planned,omitempty"`
	Model   float64   `msgpack:"model,omitempty" json:"model,omitempty"` // computed from the model's configuration; 0: unknown
	How     string    `msgpack:"how,omitempty" json:"how,omitempty"`     // how Model was computed
}

// Defect is why a dump directory cannot become a workload whatever the definition.
type Defect struct {
	Reason string `msgpack:"reason" json:"reason"` // a rejection code, see the sanitizer's reject.go
	Detail string `msgpack:"detail" json:"detail"` // names the file and what is wrong with it
}

// Call is one logged call: its arguments, without the bytes of float tensors.
type Call struct {
	Dump      string   `msgpack:"dump" json:"dump"`                       // directory name
	Flush     int      `msgpack:"flush,omitempty" json:"flush,omitempty"` // graph replay number from 1; 0: not a replay
	Function  string   `msgpack:"function" json:"function"`               // "rmsnorm" or "BatchDecodeWithPagedKVCacheWrapper.run"
	Module    string   `msgpack:"module" json:"module"`
	Signature string   `msgpack:"signature" json:"signature"` // str(inspect.signature(f)), self included
	Sequence  int64    `msgpack:"sequence" json:"sequence"`   // number among the calls of this function in this process
	Timestamp string   `msgpack:"timestamp" json:"timestamp"` // YYYYmmdd_HHMMSS_mmm
	PID       int64    `msgpack:"pid" json:"pid"`
	SelfID    string   `msgpack:"self_id,omitempty" json:"self_id,omitempty"` // id() of the wrapper, or its repr where that is not logged
	Status    string   `msgpack:"status" json:"status"`                       // completed | inputs_saved
	Capture   bool     `msgpack:"capture,omitempty" json:"capture,omitempty"` // made while or from a CUDA graph
	Tensors   []Tensor `msgpack:"tensors" json:"tensors"`                     // in the order of their keys
	Values    []Value  `msgpack:"values" json:"values"`                       // arguments that are not tensors
}

// Tensor is a dumped input tensor. Integer and bool tensors have their content, inline or in the tensor store; of float
// tensors only the description was read.
type Tensor struct {
	Key        string  `msgpack:"key" json:"key"`     // arg_1, kwarg_q, arg_2__0, kwarg_x__value_1
	DType      string  `msgpack:"dtype" json:"dtype"` // torch name without "torch.": int32, bfloat16, float8_e4m3fn
	Shape      []int64 `msgpack:"shape" json:"shape"`
	Stride     []int64 `msgpack:"stride,omitempty" json:"stride,omitempty"`         // in elements, as logged; empty: not logged
	Contiguous *bool   `msgpack:"contiguous,omitempty" json:"contiguous,omitempty"` // as logged; nil: not logged
	Digest     string  `msgpack:"digest,omitempty" json:"digest,omitempty"`         // hex SHA-256 of the raw little-endian bytes
	Inline     []byte  `msgpack:"inline,omitempty" json:"inline,omitempty"`         // the bytes, when at most InlineTensorBytes
}

// HasContent reports whether the tensor's bytes are known.
func (t Tensor) HasContent() bool { return t.Digest != "" }

// ValueType is the type of a logged argument that is not a tensor.
type ValueType string

// The types of values.
const (
	ValueNone   ValueType = "none"
	ValueBool   ValueType = "bool"
	ValueInt    ValueType = "int"
	ValueFloat  ValueType = "float"
	ValueString ValueType = "string"
	ValueDType  ValueType = "dtype"  // String is the dtype's name without "torch."
	ValueObject ValueType = "object" // String is type and repr: the logger wrote no more of it
)

// Value is a logged argument that is not a tensor. Members of tuples, lists and dicts have keys like those of tensors
// (arg_2__0); a container has no value of its own.
type Value struct {
	Key    string    `msgpack:"key" json:"key"`
	Type   ValueType `msgpack:"type" json:"type"`
	Bool   bool      `msgpack:"bool,omitempty" json:"bool,omitempty"`
	Int    int64     `msgpack:"int,omitempty" json:"int,omitempty"`
	Float  float64   `msgpack:"float,omitempty" json:"float,omitempty"`
	String string    `msgpack:"string,omitempty" json:"string,omitempty"`
}

// VersionSimulate is the key in a dump's recorded versions (and in Provenance.Versions) by which what was simulated says so,
// even when it is recorded, moved and replayed later.
const VersionSimulate = "tracefleet-simulate"

// Provenance states where a call came from: only what was measured here, what the dumps record, or what the user stated.
// A zero field is unknown, and readers print it as "unknown". The dataset's copy is in provenance/ at its root; lines under
// workloads/ have no room for it.
type Provenance struct {
	Simulated bool              `msgpack:"simulated" json:"simulated"` // no GPU ran: must never be passed off as measured traffic
	Engine    EngineKind        `msgpack:"engine" json:"engine"`       // what tracefleet ran; a replay did not make the calls, see Served
	Served    Served            `msgpack:"served,omitempty" json:"served,omitzero"`
	Mode      EngineMode        `msgpack:"mode,omitempty" json:"mode,omitempty"` // how the engine was driven; what an implied paged plan stands for depends on it
	Model     string            `msgpack:"model,omitempty" json:"model,omitempty"`
	Versions  map[string]string `msgpack:"versions,omitempty" json:"versions,omitempty"` // flashinfer, torch, python, sglang, tracefleet
	Flags     []string          `msgpack:"flags,omitempty" json:"flags,omitempty"`
	GPU       string            `msgpack:"gpu,omitempty" json:"gpu,omitempty"` // model of the GPUs that the engine had, as the driver calls it
	TP        int               `msgpack:"tp,omitempty" json:"tp,omitempty"`   // tensor parallel ranks
	EP        int               `msgpack:"ep,omitempty" json:"ep,omitempty"`   // expert parallel ranks
	Host      string            `msgpack:"host" json:"host"`
	PID       int64             `msgpack:"pid" json:"pid"`
	Rank      int               `msgpack:"rank" json:"rank"`                           // order of the process among those of the attempt on its host; -1: not all are known yet
	BatchSize int               `msgpack:"batch_size" json:"batch_size"`               // requests in flight that were asked for
	Traffic   *Traffic          `msgpack:"traffic,omitempty" json:"traffic,omitempty"` // requests that tracefleet sent; nil where it sent none
	Seed      int64             `msgpack:"seed" json:"seed"`                           // of Traffic
	Stated    []string          `msgpack:"stated,omitempty" json:"stated,omitempty"`   // sorted names of the fields that only the user states: engine, gpu, mode, model
	Attempt   uint32            `msgpack:"attempt" json:"attempt"`
	Dump      string            `msgpack:"dump" json:"dump"` // directory name, with /flush_XXXX for a replay
}

// Served names the inference engine that made the calls.
type Served struct {
	Engine  string `msgpack:"engine,omitempty" json:"engine,omitempty"`   // sglang, simulate or what the user states; empty: unknown
	Release string `msgpack:"release,omitempty" json:"release,omitempty"` // of Engine, such as 0.5.16; empty: unknown
}

// Recorded is what the user states of dumps that are replayed (--recorded-model, --recorded-engine, --recorded-gpu). An empty
// field is not stated.
type Recorded struct {
	Engine string `msgpack:"engine,omitempty" json:"engine,omitempty"` // name or name==release, such as sglang==0.5.16
	Model  string `msgpack:"model,omitempty" json:"model,omitempty"`
	GPU    string `msgpack:"gpu,omitempty" json:"gpu,omitempty"`
}

// Kind implements Message.
func (*Manifest) Kind() Kind { return KindManifest }

// Validate implements Message.
func (m *Manifest) Validate() error {
	for _, f := range []struct{ name, value string }{{"collection", m.Collection}, {"task", m.Task}, {"id", m.ID}} {
		if err := checkToken(f.name, f.value); err != nil {
			return err
		}
	}
	if m.Call.Dump == "" {
		return errors.New("call.dump is empty")
	}
	if m.Defect == nil && m.Call.Function == "" {
		return errors.New("call.function is empty")
	}
	for i, d := range m.Definitions {
		if err := d.validate(); err != nil {
			return fmt.Errorf("definitions[%d]: %w", i, err)
		}
	}
	if err := m.Call.validate(); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	if m.Plan != nil {
		if err := m.Plan.validate(); err != nil {
			return fmt.Errorf("plan: %w", err)
		}
	}
	return nil
}

func (c *Call) validate() error {
	for i := range c.Tensors {
		t := &c.Tensors[i]
		if err := checkTensor(t.Key, t.Shape, t.Digest, t.Inline); err != nil {
			return fmt.Errorf("tensors[%d]: %w", i, err)
		}
	}
	return nil
}
