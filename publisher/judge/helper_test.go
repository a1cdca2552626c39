package judge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/safetensors"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// The names of the dataset that the tests break.
const (
	decode    = "gqa_paged_decode_h2_kv1_d8_ps4"
	decodeOp  = "gqa_paged"
	first     = "6c4bb4a1-3a0b-5c39-9a58-3a4f8d0f9a11"
	second    = "6c4bb4a1-3a0b-5c39-9a58-3a4f8d0f9a12"
	third     = "6c4bb4a1-3a0b-5c39-9a58-3a4f8d0f9a13"
	decodeDef = "definitions/" + decodeOp + "/" + decode + ".json"
	decodeWls = "workloads/" + decodeOp + "/" + decode + ".jsonl"
	solved    = "solutions/baseline/" + decodeOp + "/" + decode + "/decode_wrapper.json"
	sourced   = "provenance/" + decodeOp + "/" + decode + ".jsonl"
	traced    = "traces/baseline/" + decodeOp + "/" + decode + ".jsonl"
)

const decodeJSON = `{
  "name": "` + decode + `", "description": "d", "op_type": "` + decodeOp + `", "tags": ["fi_api:flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper"],
  "axes": {
    "batch_size": {"type": "var", "description": "d"}, "num_pages": {"type": "var", "description": "d"},
    "len_indptr": {"type": "var", "description": "d"}, "num_kv_indices": {"type": "var", "description": "d"},
    "page_size": {"type": "const", "value": 4, "description": "d"}, "dim": {"type": "const", "value": 8, "description": "d"}
  },
  "inputs": {
    "q": {"shape": ["batch_size", "dim"], "dtype": "bfloat16", "description": "d"},
    "k_cache": {"shape": ["num_pages", "page_size", "dim"], "dtype": "bfloat16", "description": "d"},
    "kv_indptr": {"shape": ["len_indptr"], "dtype": "int32", "description": "d"},
    "kv_indices": {"shape": ["num_kv_indices"], "dtype": "int32", "description": "d"},
    "kv_last_page_len": {"shape": ["batch_size"], "dtype": "int32", "description": "d"},
    "sm_scale": {"shape": null, "dtype": "float32", "description": "d"}
  },
  "outputs": {"out": {"shape": ["batch_size", "dim"], "dtype": "bfloat16", "description": "d"}},
  "constraints": ["len_indptr == batch_size + 1", "num_kv_indices == kv_indptr[-1].item()"],
  "reference": "def run(q, k_cache, kv_indptr, kv_indices, kv_last_page_len, sm_scale):\n    return q\n"
}
`

const solutionJSON = `{"name": "decode_wrapper", "definition": "` + decode + `", "author": "baseline", "description": "d",
  "spec": {"language": "python", "target_hardware": ["cuda"], "entry_point": "main.py::run", "dependencies": [], "destination_passing_style": false},
  "sources": [{"path": "main.py", "content": "def run(*args):\n    return args[0]\n"}]}
`

// files is a dataset that is made and broken as text.
type files struct {
	t   *testing.T
	dir string
}

func (s files) write(name, content string) {
	s.t.Helper()
	file := filepath.Join(s.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s files) read(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, filepath.FromSlash(name)))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

// edit replaces the first place where a file has old.
func (s files) edit(name, old, new string) {
	s.t.Helper()
	content := s.read(name)
	if !strings.Contains(content, old) {
		s.t.Fatalf("%s has no %q", name, old)
	}
	s.write(name, strings.Replace(content, old, new, 1))
}

func (s files) remove(name string) {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.dir, filepath.FromSlash(name))); err != nil {
		s.t.Fatal(err)
	}
}

func (s files) move(from, to string) {
	s.t.Helper()
	s.write(to, s.read(from))
	s.remove(from)
}

// tensor is the input of a workload that lies in its blob.
type tensor struct {
	name   string
	values []int64
	dtype  safetensors.DType // empty: int32
	shape  []int64           // nil: of one dimension
}

func ints(name string, values ...int64) tensor { return tensor{name: name, values: values} }

// blob writes a blob and gives its path as lines have it.
func (s files) blob(opType, definition, uuid string, tensors ...tensor) string {
	s.t.Helper()
	var entries []safetensors.Entry
	for _, x := range tensors {
		e := safetensors.Entry{Name: x.name, DType: x.dtype, Shape: x.shape}
		if e.DType == "" {
			e.DType = safetensors.I32
		}
		if e.Shape == nil {
			e.Shape = []int64{int64(len(x.values))}
		}
		for _, v := range x.values {
			e.Data = append(e.Data, binary.LittleEndian.AppendUint64(nil, uint64(v))[:e.DType.Size()/8]...)
		}
		entries = append(entries, e)
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, entries, nil); err != nil {
		s.t.Fatal(err)
	}
	file := fitrace.BlobPath(opType, definition, uuid)
	s.write(strings.TrimPrefix(file, "./"), b.String())
	return file
}

// workload appends a line, and writes the blob of its tensors. Inputs that are no tensors are random, or the scalars given.
func (s files) workload(def *fitrace.Definition, uuid string, axes map[string]int64, scalars map[string]fitrace.Scalar, tensors ...tensor) {
	s.t.Helper()
	l := fitrace.Line{Definition: def.Name, Workload: fitrace.Workload{UUID: uuid}}
	for _, name := range def.VarAxes() {
		l.Workload.Axes = append(l.Workload.Axes, fitrace.AxisValue{Name: name, Value: axes[name]})
	}
	for _, spec := range def.Inputs {
		in := fitrace.Input{Name: spec.Name, Type: fitrace.Random}
		if v, ok := scalars[spec.Name]; ok {
			in.Type, in.Scalar = fitrace.ScalarInput, v
		}
		if slices.ContainsFunc(tensors, func(x tensor) bool { return x.name == spec.Name }) {
			in.Type, in.Path, in.TensorKey = fitrace.Safetensors, fitrace.BlobPath(def.OpType, def.Name, uuid), spec.Name
		}
		l.Workload.Inputs = append(l.Workload.Inputs, in)
	}
	if len(tensors) > 0 {
		s.blob(def.OpType, def.Name, uuid, tensors...)
	}
	file, before := fitrace.WorkloadsPath(def.OpType, def.Name), ""
	if _, err := os.Stat(filepath.Join(s.dir, filepath.FromSlash(file))); err == nil {
		before = s.read(file)
	}
	s.write(file, before+string(fitrace.MarshalLine(l))+"\n")
}

// define writes a definition.
func (s files) define(text string) *fitrace.Definition {
	s.t.Helper()
	def, err := fitrace.ParseDefinition([]byte(text), "test")
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(fitrace.DefinitionPath(def.OpType, def.Name), text)
	return def
}

// decodeOf appends a workload of requests with these pages and lengths of the last page.
func (s files) decodeOf(def *fitrace.Definition, uuid string, pages, last []int64) {
	s.t.Helper()
	indptr, indices := []int64{0}, []int64{}
	for _, n := range pages {
		for range n {
			indices = append(indices, int64(len(indices)))
		}
		indptr = append(indptr, int64(len(indices)))
	}
	s.workload(def, uuid, map[string]int64{
		"batch_size": int64(len(pages)), "num_pages": int64(len(indices)), "len_indptr": int64(len(indptr)), "num_kv_indices": int64(len(indices)),
	}, scale, ints("kv_indptr", indptr...), ints("kv_indices", indices...), ints("kv_last_page_len", last...))
}

var scale = map[string]fitrace.Scalar{"sm_scale": {Kind: fitrace.Float, Float: 0.125}}

// trace is a trace of a workload that passed.
func trace1(uuid, solution string) string {
	return fmt.Sprintf(`{"definition": %q, "workload": {"uuid": %q, "axes": {"batch_size": 2}, "inputs": {}}, "solution": %q, "evaluation": `+
		`{"status": "PASSED", "environment": {"hardware": "H100", "libs": {"torch": "2.11"}}, "timestamp": "2026-11-27T00:00:00", "log": "", `+
		`"correctness": {"max_relative_error": 0.001, "max_absolute_error": 1e-5, "extra": null}, `+
		`"performance": {"latency_ms": 0.1, "reference_latency_ms": 1.5, "speedup_factor": 15}}}`+"\n", decode, uuid, solution)
}

// source is the provenance of a workload.
func source(uuid, task string, simulated bool) string {
	line, err := dataset.Provenance{
		UUID: uuid, Collection: "c-1", Task: dataset.Text(task), Engine: "sglang", CallsWithContent: 1, CallsWithShape: 2, Simulated: simulated,
	}.MarshalLine()
	if err != nil {
		panic(err)
	}
	return string(line) + "\n"
}

// good is a dataset with which nothing is wrong: a definition, two workloads, the baseline's solution and its traces.
func good(t *testing.T) files {
	t.Helper()
	s := files{t, t.TempDir()}
	def := s.define(decodeJSON)
	s.decodeOf(def, first, []int64{2, 3}, []int64{4, 1})
	s.decodeOf(def, second, []int64{1, 1, 2}, []int64{3, 2, 4})
	s.write(solved, solutionJSON)
	s.write(traced, trace1(first, "decode_wrapper")+trace1(second, "decode_wrapper"))
	s.write(sourced, source(first, "t000", false)+source(second, "t000", false))
	return s
}

func (s files) check(opt Options, definitions ...string) *Report {
	s.t.Helper()
	r, err := dataset.OpenReader(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	rep, err := Check(r, definitions, opt)
	if err != nil {
		s.t.Fatal(err)
	}
	return rep
}

// codes gives the findings' codes in their order, repeated ones once.
func codes(rep *Report) []Code {
	var list []Code
	for _, f := range rep.Findings {
		if !slices.Contains(list, f.Code) {
			list = append(list, f.Code)
		}
	}
	return list
}
