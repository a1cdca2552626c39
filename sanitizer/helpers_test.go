package sanitizer_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

// definition makes a definition from a short form:
//
//	name scale_h16 scale            name and op type
//	tags fi_api:flashinfer.scale    separated by blanks
//	axes n h=16                     variable, constant
//	in x[n,h]:bfloat16 factor:float32 state[n]?:float32
//	hold n % 2 == 0; n > 1          constraints
func definition(t testing.TB, text string) *fitrace.Definition {
	t.Helper()
	var name, op string
	var tags, constraints, axes, inputs []string
	for line := range strings.SplitSeq(text, "\n") {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		fields := strings.Fields(rest)
		switch word {
		case "":
		case "name":
			name, op = fields[0], fields[1]
		case "tags":
			tags = append(tags, fields...)
		case "axes":
			for _, f := range fields {
				if axis, value, ok := strings.Cut(f, "="); ok {
					axes = append(axes, fmt.Sprintf(`%q: {"type": "const", "value": %s}`, axis, value))
				} else {
					axes = append(axes, fmt.Sprintf(`%q: {"type": "var"}`, axis))
				}
			}
		case "in":
			for _, f := range fields {
				input, dtype, _ := strings.Cut(f, ":")
				shape, optional := "null", strings.HasSuffix(input, "?")
				input = strings.TrimSuffix(input, "?")
				if i := strings.IndexByte(input, '['); i >= 0 {
					shape = mustJSON(strings.Split(strings.Trim(input[i:], "[]"), ","))
					input = input[:i]
				}
				inputs = append(inputs, fmt.Sprintf(`%q: {"shape": %s, "dtype": %q, "optional": %v}`, input, shape, dtype, optional))
			}
		case "hold":
			for c := range strings.SplitSeq(rest, ";") {
				constraints = append(constraints, strings.TrimSpace(c))
			}
		default:
			t.Fatalf("definition line %q", line)
		}
	}
	file := fmt.Sprintf(`{"name": %q, "op_type": %q, "tags": %s, "axes": {%s}, "inputs": {%s}, "constraints": %s,
		"outputs": {"result": {"shape": null, "dtype": "float32"}}, "reference": "def run(*inputs):\n    return 0\n"}`,
		name, op, mustJSON(tags), strings.Join(axes, ", "), strings.Join(inputs, ", "), mustJSON(constraints))
	d, err := fitrace.ParseDefinition([]byte(file), name+".json")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// tensor is a tensor without content.
func tensor(key, dtype string, shape ...int64) proto.Tensor {
	return proto.Tensor{Key: key, DType: dtype, Shape: shape}
}

// i32 is a one-dimensional int32 tensor with its content inline.
func i32(key string, values ...int64) proto.Tensor { return integers(key, "int32", values...) }

func integers(key, dtype string, values ...int64) proto.Tensor {
	data := bytesOf(dtype, values...)
	return proto.Tensor{Key: key, DType: dtype, Shape: []int64{int64(len(values))}, Inline: data, Digest: digest(data)}
}

func bytesOf(dtype string, values ...int64) []byte {
	var data []byte
	for _, v := range values {
		switch dtype {
		case "int64":
			data = binary.LittleEndian.AppendUint64(data, uint64(v))
		case "int32":
			data = binary.LittleEndian.AppendUint32(data, uint32(v))
		case "int16":
			data = binary.LittleEndian.AppendUint16(data, uint16(v))
		default:
			data = append(data, byte(v))
		}
	}
	return data
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// value is a logged argument that is not a tensor; a nil is Python's None.
func value(key string, v any) proto.Value {
	switch v := v.(type) {
	case nil:
		return proto.Value{Key: key, Type: proto.ValueNone}
	case bool:
		return proto.Value{Key: key, Type: proto.ValueBool, Bool: v}
	case int:
		return proto.Value{Key: key, Type: proto.ValueInt, Int: int64(v)}
	case float64:
		return proto.Value{Key: key, Type: proto.ValueFloat, Float: v}
	case string:
		return proto.Value{Key: key, Type: proto.ValueObject, String: v}
	}
	panic(fmt.Sprintf("value %v", v))
}

// call makes a logged call of tensors and values.
func call(function, signature string, args ...any) proto.Call {
	c := proto.Call{Dump: "20260101_000000_000_pid1_" + function + "_call0001", Function: function, Signature: signature, Status: "completed", PID: 1}
	for _, a := range args {
		switch a := a.(type) {
		case proto.Tensor:
			c.Tensors = append(c.Tensors, a)
		case proto.Value:
			c.Values = append(c.Values, a)
		default:
			panic(fmt.Sprintf("argument %v", a))
		}
	}
	return c
}

func manifest(run proto.Call, plan ...proto.Call) *proto.Manifest {
	m := &proto.Manifest{Collection: "c-1", Task: "t000", Attempt: 1, ID: "0123", Node: "n", Call: run}
	if len(plan) > 0 {
		m.Plan = &plan[0]
	}
	return m
}

// set replaces an argument of a call, or adds it.
func set(c *proto.Call, a any) {
	switch a := a.(type) {
	case proto.Tensor:
		drop(c, a.Key)
		c.Tensors = append(c.Tensors, a)
	case proto.Value:
		drop(c, a.Key)
		c.Values = append(c.Values, a)
	default:
		panic(fmt.Sprintf("argument %v", a))
	}
}

// drop removes an argument of a call.
func drop(c *proto.Call, key string) {
	c.Tensors = slices.DeleteFunc(slices.Clone(c.Tensors), func(t proto.Tensor) bool { return t.Key == key })
	c.Values = slices.DeleteFunc(slices.Clone(c.Values), func(v proto.Value) bool { return v.Key == key })
}

func noTensors(digest string) ([]byte, error) { return nil, fmt.Errorf("no tensor %s", digest) }

// convert converts and checks what holds of every answer.
func convert(t testing.TB, m *proto.Manifest, defs ...*fitrace.Definition) *sanitizer.Converted {
	t.Helper()
	before := snapshot(m)
	out, err := sanitizer.Convert(m, defs, noTensors)
	if err != nil {
		t.Fatal(err)
	}
	if snapshot(m) != before {
		t.Error("Convert changed the manifest")
	}
	if err := out.Verdict.Validate(); err != nil {
		t.Error(err)
	}
	return out
}

// snapshot shows all of a manifest's calls.
func snapshot(m *proto.Manifest) string {
	s := fmt.Sprintf("%+v", m.Call)
	if m.Plan != nil {
		s += fmt.Sprintf("%+v", *m.Plan)
	}
	return s
}

// accepted gives the only candidate, or fails with the rejections.
func accepted(t testing.TB, m *proto.Manifest, def *fitrace.Definition) *proto.Candidate {
	t.Helper()
	out := convert(t, m, def)
	if len(out.Verdict.Candidates) != 1 || len(out.Verdict.Rejections) != 0 {
		t.Fatalf("no candidate: %+v", out.Verdict.Rejections)
	}
	return &out.Verdict.Candidates[0]
}

// rejected checks that the only answer is a rejection for this reason, whose detail has the text.
func rejected(t testing.TB, m *proto.Manifest, def *fitrace.Definition, reason, text string) {
	t.Helper()
	out := convert(t, m, def)
	if len(out.Verdict.Candidates) != 0 || len(out.Verdict.Rejections) != 1 {
		t.Fatalf("not rejected as %s: %+v", reason, out.Verdict)
	}
	if r := out.Verdict.Rejections[0]; r.Reason != reason || !strings.Contains(r.Detail, text) {
		t.Errorf("rejected as %s: %s; want %s with %q", r.Reason, r.Detail, reason, text)
	}
}

// axes gives a candidate's axes as "a=1 b=2".
func axes(c *proto.Candidate) string {
	var list []string
	for _, a := range c.Axes {
		list = append(list, fmt.Sprintf("%s=%d", a.Name, a.Value))
	}
	return strings.Join(list, " ")
}

// inputs gives a candidate's inputs as "q=random n=int32[1 2] f=0.5".
func inputs(t testing.TB, c *proto.Candidate) string {
	t.Helper()
	var list []string
	for _, in := range c.Inputs {
		s := string(in.Kind)
		switch in.Kind {
		case proto.InputScalar:
			s = scalar(in.Scalar)
		case proto.InputSafetensors:
			if digest(in.Inline) != in.Digest {
				t.Errorf("%s: digest %s is not that of the inline bytes", in.Name, in.Digest)
			}
			s = in.DType + fmt.Sprint(read(in.DType, in.Inline))
			if len(in.Shape) != 1 {
				s = in.DType + fmt.Sprint(in.Shape)
			}
		}
		list = append(list, in.Name+"="+s)
	}
	return strings.Join(list, " ")
}

func read(dtype string, data []byte) []int64 {
	var out []int64
	size := map[string]int{"int64": 8, "int32": 4, "int16": 2}[dtype]
	for size = max(size, 1); len(data) >= size; data = data[size:] {
		switch size {
		case 8:
			out = append(out, int64(binary.LittleEndian.Uint64(data)))
		case 4:
			out = append(out, int64(int32(binary.LittleEndian.Uint32(data))))
		case 2:
			out = append(out, int64(int16(binary.LittleEndian.Uint16(data))))
		default:
			out = append(out, int64(int8(data[0])))
		}
	}
	return out
}
