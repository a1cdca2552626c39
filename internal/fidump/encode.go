package fidump

import (
	"slices"
	"strconv"

	"github.com/tracefleet/tracefleet/internal/pyjson"
)

// Records are written as Python's json.dumps writes them: ", " and ": " between, ASCII only, floats as repr gives them.

// encodeRecord gives the record as one line, without its newline. returned tells the second line of a call from the first.
func encodeRecord(r *Record, outputs []Value, outputBytes int64, returned bool) []byte {
	e := encoder{b: make([]byte, 0, 2048+len(r.Signature))}
	e.b = append(e.b, '{')
	e.str("function_name", r.FunctionName)
	e.str("module", r.Module)
	e.int("call_sequence", r.CallSequence)
	e.str("timestamp", r.Timestamp)
	e.int("process_id", r.ProcessID)
	e.values("input_metadata", r.Input)
	e.values("output_metadata", outputs)
	e.tensorInfo(r, outputBytes, returned)
	e.key("tensor_details")
	e.open('{')
	for _, list := range [][]Tensor{r.Tensors, r.Outputs} {
		for i := range list {
			t := &list[i]
			e.key(t.Key)
			e.open('{')
			e.ints("shape", t.Shape)
			e.str("dtype", "torch."+t.DType)
			e.ints("stride", t.Stride)
			e.str("device", "cpu")
			e.close('}')
		}
	}
	e.close('}')
	e.str("tensor_format", r.TensorFormat)
	e.str("function_signature", r.Signature)
	e.versions(r.Versions)
	e.str("execution_status", r.Status)
	e.bool("graph_capture", r.GraphCapture)
	if r.SelfID != "" {
		e.key("self_id")
		e.b = append(e.b, r.SelfID...)
	}
	e.str("dump_dir", r.DumpDir)
	if r.Flushed {
		e.bool("graph_capture_flushed", true)
		e.int("graph_capture_flush_index", int64(r.FlushIndex))
		e.str("graph_capture_snapshot_dir", r.SnapshotDir)
	}
	if r.BaseDumpDir != "" {
		e.str("graph_capture_base_dump_dir", r.BaseDumpDir)
	}
	return append(e.b, '}')
}

type encoder struct{ b []byte }

// comma separates from the member before, which is told by the byte written last.
func (e *encoder) comma() {
	if c := e.b[len(e.b)-1]; c != '{' && c != '[' {
		e.b = append(e.b, ", "...)
	}
}

func (e *encoder) key(name string) {
	e.comma()
	e.b = append(pyjson.AppendString(e.b, name), ": "...)
}

func (e *encoder) open(c byte)  { e.b = append(e.b, c) }
func (e *encoder) close(c byte) { e.b = append(e.b, c) }

func (e *encoder) str(name, value string) {
	e.key(name)
	e.b = pyjson.AppendString(e.b, value)
}

func (e *encoder) int(name string, n int64) {
	e.key(name)
	e.b = strconv.AppendInt(e.b, n, 10)
}

func (e *encoder) float(name string, f float64) {
	e.key(name)
	e.b = pyjson.AppendFloat(e.b, f)
}

func (e *encoder) bool(name string, v bool) {
	e.key(name)
	e.b = strconv.AppendBool(e.b, v)
}

func (e *encoder) ints(name string, list []int64) {
	e.key(name)
	e.open('[')
	for _, n := range list {
		e.comma()
		e.b = strconv.AppendInt(e.b, n, 10)
	}
	e.close(']')
}

func (e *encoder) versions(v map[string]string) {
	e.key("versions")
	e.open('{')
	order := []string{"torch", "python", "flashinfer"}
	for _, name := range order {
		if text, ok := v[name]; ok {
			e.str(name, text)
		}
	}
	rest := make([]string, 0, len(v))
	for name := range v {
		if !slices.Contains(order, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	for _, name := range rest {
		e.str(name, v[name])
	}
	e.close('}')
}

func (e *encoder) tensorInfo(r *Record, outputBytes int64, returned bool) {
	const mb = 1024 * 1024
	e.key("tensor_info")
	e.open('{')
	for _, list := range []struct {
		name    string
		tensors []Tensor
	}{{"input_tensor_keys", r.Tensors}, {"output_tensor_keys", r.Outputs}} {
		e.key(list.name)
		e.open('[')
		for i := range list.tensors {
			e.comma()
			e.b = pyjson.AppendString(e.b, list.tensors[i].Key)
		}
		e.close(']')
	}
	e.int("input_size_bytes", r.InputBytes)
	e.float("input_size_mb", float64(r.InputBytes)/mb)
	if returned {
		e.int("output_size_bytes", outputBytes)
		e.float("output_size_mb", float64(outputBytes)/mb)
		e.int("total_size_bytes", r.InputBytes+outputBytes)
		e.float("total_size_mb", float64(r.InputBytes+outputBytes)/mb)
	}
	e.close('}')
}

func (e *encoder) values(name string, list []Value) {
	e.key(name)
	e.open('{')
	for i := range list {
		e.key(list[i].Key)
		e.value(&list[i])
	}
	e.close('}')
}

func (e *encoder) value(v *Value) {
	switch v.Kind {
	case KindNone:
		e.b = append(e.b, "null"...)
	case KindBool:
		e.b = strconv.AppendBool(e.b, v.Bool)
	case KindInt:
		e.b = strconv.AppendInt(e.b, v.Int, 10)
	case KindBigInt:
		e.b = append(e.b, v.Text...)
	case KindFloat:
		e.b = pyjson.AppendFloat(e.b, v.Float)
	case KindString:
		e.b = pyjson.AppendString(e.b, v.Text)
	case KindDType:
		e.typed("torch.dtype")
		e.str("value", "torch."+v.Text)
		e.close('}')
	case KindEnum:
		e.typed("enum")
		e.str("name", v.Text)
		if len(v.Items) > 0 {
			e.key("value")
			e.value(&v.Items[0])
		}
		e.close('}')
	case KindDevice:
		e.typed("device")
		e.str("repr", v.Text)
		e.close('}')
	case KindObject:
		e.typed(v.Type)
		e.str("repr", v.Text)
		e.close('}')
	case KindTensor:
		e.tensor(v.Tensor)
	case KindTuple, KindList, KindDict:
		e.container(v)
	}
}

func (e *encoder) typed(name string) {
	e.open('{')
	e.str("type", name)
}

func (e *encoder) tensor(t *Tensor) {
	e.typed("torch.Tensor")
	e.ints("shape", t.Shape)
	e.str("dtype", "torch."+t.DType)
	e.ints("stride", t.Stride)
	e.str("device", "cpu")
	e.bool("requires_grad", false)
	e.bool("is_contiguous", t.Contiguous == nil || *t.Contiguous)
	if t.Key != "" {
		e.str("tensor_key", t.Key)
	}
	e.close('}')
}

func (e *encoder) container(v *Value) {
	e.typed(v.Type)
	e.int("length", int64(v.Length))
	if v.Items != nil {
		e.key("items")
		e.open('[')
		for i := range v.Items {
			e.comma()
			if v.Kind != KindDict {
				e.value(&v.Items[i])
				continue
			}
			e.open('{')
			e.key("key")
			e.value(v.Items[i].MapKey)
			e.key("value")
			e.value(&v.Items[i])
			e.close('}')
		}
		e.close(']')
	}
	e.bool("truncated", v.Truncated)
	e.close('}')
}
