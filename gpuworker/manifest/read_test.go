package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

const self = 140026803521488

func writeCall(t *testing.T, root, function string, args ...fidump.Value) (*fidump.Pending, fidump.Name) {
	t.Helper()
	w := fidump.NewWriter(root, 7, map[string]string{"torch": "2.11.0"})
	p, err := w.Begin(fidump.Call{
		Time: time.Date(2026, 11, 23, 9, 0, 0, 7e6, time.UTC), Function: function, Module: "flashinfer", Signature: "(self, q) -> None",
		SelfID: self, Args: args,
	})
	if err != nil {
		t.Fatal(err)
	}
	name, ok := fidump.ParseName(p.Dir())
	if !ok {
		t.Fatalf("name %s", p.Dir())
	}
	return p, name
}

func TestReadArguments(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	small, large := []byte{1, 0, 0, 0}, bytes.Repeat([]byte{2, 0, 0, 0}, 4096)
	p, name := writeCall(t, root, "SomeWrapper.run",
		fidump.ObjectArg("arg_0", "SomeWrapper", "<SomeWrapper object at 0x7f>"),
		fidump.TensorArg("arg_1", "int32", []int64{1}, small),
		fidump.TupleArg("arg_2", fidump.TensorArg("", "bfloat16", []int64{8, 2}, nil), fidump.IntArg("", 3), fidump.NoneArg("")),
		fidump.TensorArg("arg_3", "int32", []int64{4096}, large),
		fidump.TensorArg("arg_4", "bool", []int64{4}, []byte{1, 0, 1, 1}),
		fidump.TensorArg("arg_5", "uint8", []int64{MaxTensorBytes + 1}, nil),
		fidump.TensorArg("arg_6", "int64", []int64{0, 3}, nil),
		fidump.FloatArg("kwarg_scale", 1), fidump.BoolArg("kwarg_causal", true), fidump.StringArg("kwarg_layout", "NHD"),
		fidump.DTypeArg("kwarg_dtype", "float16"))
	if err := p.Return(); err != nil {
		t.Fatal(err)
	}
	d := Read(root, name, 0)
	if d.Defect != nil || d.Role != Run || d.Call.Status != "completed" || d.Call.SelfID != "140026803521488" || d.Versions["torch"] != "2.11.0" {
		t.Fatalf("%+v, defect %v", d, d.Defect)
	}
	values := map[string]proto.Value{}
	for _, v := range d.Call.Values {
		values[v.Key] = v
	}
	for key, want := range map[string]proto.Value{
		"arg_2__1":     {Type: proto.ValueInt, Int: 3},
		"arg_2__2":     {Type: proto.ValueNone},
		"kwarg_scale":  {Type: proto.ValueFloat, Float: 1},
		"kwarg_causal": {Type: proto.ValueBool, Bool: true},
		"kwarg_layout": {Type: proto.ValueString, String: "NHD"},
		"kwarg_dtype":  {Type: proto.ValueDType, String: "float16"},
		"arg_0":        {Type: proto.ValueObject, String: "SomeWrapper <SomeWrapper object at 0x7f>"},
	} {
		want.Key = key
		if values[key] != want {
			t.Errorf("value %s is %+v, want %+v", key, values[key], want)
		}
	}
	if len(values) != 7 {
		t.Errorf("values: %+v", d.Call.Values)
	}
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	for key, want := range map[string]struct {
		digest string
		inline []byte
	}{
		"arg_1": {sum(small), small}, "arg_2__0": {}, "arg_3": {sum(large), nil}, "arg_4": {sum([]byte{1, 0, 1, 1}), []byte{1, 0, 1, 1}},
		"arg_5": {}, "arg_6": {sum(nil), nil},
	} {
		got := d.tensor(key)
		if got == nil || got.Digest != want.digest || !bytes.Equal(got.Inline, want.inline) {
			t.Errorf("tensor %s: %+v", key, got)
		}
	}
	if !bytes.Equal(d.Tensors[sum(large)], large) || len(d.Tensors) != 1 {
		t.Errorf("%d larger tensors", len(d.Tensors))
	}
	if d.BytesSeen < MaxTensorBytes || d.BytesRead > 256<<10 || d.BytesDisk > 1<<20 {
		t.Errorf("seen %d, read %d, on disk %d", d.BytesSeen, d.BytesRead, d.BytesDisk)
	}
}

func TestUnloggedMetadata(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	p, name := writeCall(t, root, "BatchMLAPagedAttentionWrapper.plan", fidump.ObjectArg("arg_0", "W", "<W at 0x7f>"),
		fidump.ObjectArg("kwarg_metadata", "MLAPlanMetadata", "MLAPlanMetadata(qo_indptr=tensor([0, 1], dtype=torch.int32)"+strings.Repeat(" ", 4096)+")"))
	if err := p.Return(); err != nil {
		t.Fatal(err)
	}
	d := Read(root, name, 0)
	if !d.Unlogged || d.Role != Plan || len(d.Call.Values[1].String) > maxRepr+8 {
		t.Errorf("unlogged %v, role %v, %d bytes of repr", d.Unlogged, d.Role, len(d.Call.Values[1].String))
	}
}

// TestDefects damages a good dump in each way.
func TestDefects(t *testing.T) {
	t.Parallel()
	cut := func(name string, keep int64) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, name), keep); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		reason string
		detail string
	}{
		"no metadata":         {remove("metadata.jsonl"), proto.DefectIncomplete, "metadata.jsonl"},
		"metadata torn":       {cut("metadata.jsonl", 100), proto.DefectIncomplete, "metadata.jsonl"},
		"metadata empty":      {cut("metadata.jsonl", 0), proto.DefectIncomplete, "metadata.jsonl"},
		"metadata no record":  {replace("metadata.jsonl", "[1, 2]\n"), proto.DefectCorrupt, "metadata.jsonl"},
		"metadata not JSON":   {replace("metadata.jsonl", "\x00\x01\x02\n"), proto.DefectCorrupt, "metadata.jsonl"},
		"no inputs":           {remove("inputs.safetensors"), proto.DefectIncomplete, "inputs"},
		"inputs cut":          {cut("inputs.safetensors", 300), proto.DefectCorrupt, "inputs.safetensors"},
		"inputs empty":        {cut("inputs.safetensors", 0), proto.DefectCorrupt, "inputs.safetensors"},
		"inputs unknown type": {replace("inputs.safetensors", "\x40\x00\x00\x00\x00\x00\x00\x00"+`{"arg_1":{"dtype":"I33","shape":[1],"data_offsets":[0,4]}}      `+"\x01\x00\x00\x00"), proto.DefectCorrupt, "I33"},
		"gone":                {remove(""), proto.DefectVanished, "gone"},
	} {
		for _, function := range []string{"SomeWrapper.run", "SomeWrapper.plan"} {
			t.Run(name+"/"+function, func(t *testing.T) {
				t.Parallel()
				root := t.TempDir()
				p, dump := writeCall(t, root, function, fidump.TensorArg("arg_1", "int32", []int64{64}, make([]byte, 256)))
				if err := p.Return(); err != nil {
					t.Fatal(err)
				}
				c.damage(t, p.Dir())
				d := Read(root, dump, 0)
				if d.Defect == nil || d.Role != Run || d.Defect.Reason != c.reason || !strings.Contains(d.Defect.Detail, c.detail) {
					t.Fatalf("defect %+v, role %d; want %s of %s", d.Defect, d.Role, c.reason, c.detail)
				}
				if strings.Contains(d.Defect.Detail, root) || !strings.Contains(d.Defect.Detail, dump.Dir) {
					t.Errorf("detail %q must name the dump, and not where it lies", d.Defect.Detail)
				}
				if d.Call.Function != function || d.Call.PID != 7 || d.Call.Sequence != 1 {
					t.Errorf("call: %+v", d.Call)
				}
				m, _ := (&Origin{Collection: "c", Task: "t", Attempt: 1, Node: "n"}).Build(Result{Dump: d})
				if _, err := proto.Encode(m); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestUnfinishedCalls(t *testing.T) {
	t.Parallel()
	for function, defect := range map[string]bool{"SomeWrapper.run": false, "rmsnorm": false, "SomeWrapper.plan": true} {
		root := t.TempDir()
		_, name := writeCall(t, root, function, fidump.TensorArg("arg_1", "int32", []int64{1}, make([]byte, 4)))
		d := Read(root, name, 0)
		if (d.Defect != nil) != defect || d.Call.Status != "inputs_saved" {
			t.Errorf("%s: status %s, defect %v", function, d.Call.Status, d.Defect)
		}
	}
}

// TestManifestFits gives a call more than a message holds: small tensors move out of it, and what is still too large is a defect.
func TestManifestFits(t *testing.T) {
	t.Parallel()
	call := proto.Call{Dump: "d", Function: "f"}
	for range 200 {
		data := bytes.Repeat([]byte{byte(len(call.Tensors))}, proto.InlineTensorBytes)
		sum := sha256.Sum256(data)
		call.Tensors = append(call.Tensors, proto.Tensor{Key: "arg_1", DType: "uint8", Shape: []int64{8192}, Digest: hex.EncodeToString(sum[:]), Inline: data})
	}
	o := &Origin{Collection: "c", Task: "t", Attempt: 1, Node: "n"}
	m, tensors := o.Build(Result{Dump: &Dump{Call: call}})
	if _, err := proto.Encode(m); err != nil || m.Defect != nil {
		t.Fatalf("defect %v, %v", m.Defect, err)
	}
	for i := range m.Call.Tensors {
		if tensor := &m.Call.Tensors[i]; tensor.Inline == nil && tensors[tensor.Digest] == nil {
			t.Fatalf("content of tensor %d is nowhere", i)
		}
	}
	if call.Tensors[0].Inline == nil {
		t.Error("the dump itself was changed; a plan serves several manifests")
	}
	for range 20000 {
		call.Values = append(call.Values, proto.Value{Key: "arg_2__1", Type: proto.ValueString, String: "some text"})
	}
	m, _ = o.Build(Result{Dump: &Dump{Call: call}})
	if _, err := proto.Encode(m); err != nil || m.Defect == nil || m.Defect.Reason != proto.DefectTooLarge {
		t.Errorf("defect %v, %v", m.Defect, err)
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, id := range []string{ID("n", "d", 0), ID("n", "d", 1), ID("m", "d", 0), ID("n", "e", 0)} {
		if len(id) != 32 || seen[id] {
			t.Errorf("id %s", id)
		}
		seen[id] = true
	}
	sum := sha256.Sum256([]byte("n/d/1"))
	if ID("n", "d", 1) != hex.EncodeToString(sum[:])[:32] {
		t.Error("the form of ids changed: a repeated attempt would not be recognised")
	}
}
