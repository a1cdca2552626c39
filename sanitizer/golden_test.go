package sanitizer_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

// truth is what the corpus says of one call and one definition.
type truth struct {
	Dump       string           `json:"dump"`
	Flush      string           `json:"flush"`
	PlanDump   string           `json:"plan_dump"`
	Function   string           `json:"function"`
	Wrapper    string           `json:"wrapper"`
	Definition string           `json:"definition"` // empty: this call must give nothing
	Expected   bool             `json:"expected"`
	Reason     any              `json:"reason"`
	Axes       map[string]int64 `json:"axes"`
	PagesMin   int64            `json:"num_pages_min"`
	Inputs     map[string]struct {
		Kind  string          `json:"kind"`
		Class string          `json:"cls"`
		DType string          `json:"dtype"`
		Shape []int64         `json:"shape"`
		SHA   string          `json:"sha256"`
		Raw   json.RawMessage `json:"value"`
	} `json:"inputs"`
	Group string `json:"group"`
}

// TestConvert_Golden converts every call of the recorded corpus, paired as its truth says, for all definitions of its case. It
// leaves out what only the worker sees: pairing, order, torn records. The whole chain is judged in test/golden.
func TestConvert_Golden(t *testing.T) {
	t.Parallel()
	eachGoldenCase(t, judgeCase)
}

// eachGoldenCase runs judge on every case of the recorded corpus: its truth, its dumps, its definitions.
func eachGoldenCase(t *testing.T, judge func(t *testing.T, file, dumps string, defs []*fitrace.Definition)) {
	t.Helper()
	dir, dumps := goldentest.Dir(t), goldentest.Dumps(t)
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var corpus struct {
		Cases map[string]struct{ Definitions []string }
	}
	if err := json.Unmarshal(data, &corpus); err != nil {
		t.Fatal(err)
	}
	all, errs := fitrace.LoadDefinitions(dir)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for name, c := range corpus.Cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var defs []*fitrace.Definition
			for _, d := range all {
				for _, want := range c.Definitions {
					if d.Name == want {
						defs = append(defs, d)
					}
				}
			}
			judge(t, filepath.Join(dir, "truth", name+".jsonl"), filepath.Join(dumps, name), defs)
		})
	}
}

func judgeCase(t *testing.T, file, dumps string, defs []*fitrace.Definition) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	byCall := map[string][]truth{}
	var order []string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l truth
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		key := l.Dump + "/" + l.Flush
		if byCall[key] == nil {
			order = append(order, key)
		}
		byCall[key] = append(byCall[key], l)
	}
	uuids := map[string]string{} // by group
	for _, key := range order {
		m, ok := goldenManifest(t, dumps, byCall[key][0])
		if !ok {
			continue
		}
		got := map[string]*proto.Candidate{}
		verdict := convert(t, m, defs...).Verdict
		for i := range verdict.Candidates {
			got[verdict.Candidates[i].Definition] = &verdict.Candidates[i]
		}
		for _, l := range byCall[key] {
			if c := got[l.Definition]; c != nil {
				if diff := compare(&l, c); diff != "" {
					t.Errorf("%s for %s: %s", key, l.Definition, diff)
				}
				if uuids[l.Group] == "" {
					uuids[l.Group] = c.UUID
				}
				if uuids[l.Group] != c.UUID {
					t.Errorf("%s for %s: equal content, another uuid", key, l.Definition)
				}
				delete(got, l.Definition)
			} else if l.Expected {
				t.Errorf("%s for %s: missing, rejections %+v", key, l.Definition, verdict.Rejections)
			}
		}
		for def := range got {
			t.Errorf("%s was converted for %s, which it does not fit (%v)", key, def, byCall[key][0].Reason)
		}
	}
	seen := map[string]string{}
	for group, uuid := range uuids {
		if seen[uuid] != "" {
			t.Errorf("groups %s and %s differ in content and share the uuid %s", group, seen[uuid], uuid)
		}
		seen[uuid] = group
	}
}

// goldenManifest reads a call and the plan that the truth gives it; false where the dump itself is broken.
func goldenManifest(t *testing.T, dumps string, l truth) (*proto.Manifest, bool) {
	t.Helper()
	flush, _ := strconv.Atoi(strings.TrimLeft(strings.TrimPrefix(l.Flush, "flush_"), "0"))
	run, ok := goldenCall(t, dumps, l.Dump, flush)
	if !ok {
		return nil, false
	}
	m := manifest(run)
	reason, _ := l.Reason.(string)
	switch {
	case !strings.Contains(run.Function, "Wrapper."):
	case strings.Contains(reason, "metadata="):
		m.PlanNote = proto.PlanUnloggedMeta
	case l.PlanDump == "" || l.Definition == "" && strings.Contains(reason, "plan"):
		m.PlanNote = proto.PlanMissing
	default:
		plan, ok := goldenCall(t, dumps, l.PlanDump, 0)
		if !ok {
			return nil, false
		}
		m.Plan = &plan
	}
	if strings.Contains(reason, "the other half") {
		m.Beside = proto.BesideRagged
	}
	return m, true
}

func goldenCall(t *testing.T, dumps, dump string, flush int) (proto.Call, bool) {
	t.Helper()
	dir := fidump.FlushDir(filepath.Join(dumps, dump), flush)
	rec, _, err := fidump.ReadRecord(filepath.Join(dir, fidump.MetadataFile))
	if err != nil || rec == nil {
		return proto.Call{}, false
	}
	in, err := fidump.OpenInputs(dir, rec)
	if err != nil {
		return proto.Call{}, false
	}
	defer in.Close()
	c := proto.Call{Dump: dump, Flush: flush, Function: rec.FunctionName, Module: rec.Module, Signature: rec.Signature, Status: rec.Status, PID: rec.ProcessID}
	for _, x := range in.Tensors() {
		out := proto.Tensor{Key: x.Key, DType: x.DType, Shape: x.Shape, Stride: x.Stride, Contiguous: x.Contiguous}
		if x.DType == "bool" || strings.HasPrefix(x.DType, "int") || strings.HasPrefix(x.DType, "uint") {
			if out.Inline, err = in.Read(x.Key); err != nil {
				t.Fatal(err)
			}
			out.Digest = digest(out.Inline)
		}
		c.Tensors = append(c.Tensors, out)
	}
	for _, a := range rec.Input {
		v := proto.Value{Key: a.Key, Bool: a.Bool, Int: a.Int, Float: a.Float, String: a.Text}
		switch a.Kind {
		case fidump.KindNone:
			v.Type = proto.ValueNone
		case fidump.KindBool:
			v.Type = proto.ValueBool
		case fidump.KindInt:
			v.Type = proto.ValueInt
		case fidump.KindFloat:
			v.Type = proto.ValueFloat
		case fidump.KindDType:
			v.Type = proto.ValueDType
		case fidump.KindString:
			v.Type = proto.ValueString
		case fidump.KindObject:
			v.Type = proto.ValueObject
		default:
			continue
		}
		c.Values = append(c.Values, v)
	}
	return c, true
}

// compare tells how a candidate differs from the truth.
func compare(l *truth, c *proto.Candidate) string {
	for _, a := range c.Axes {
		want, ok := l.Axes[a.Name]
		if exact := a.Name != "num_pages" || l.PagesMin == 0; !ok || exact && a.Value != want || !exact && a.Value != l.PagesMin {
			return fmt.Sprintf("axis %s is %d, want %d (pages at least %d)", a.Name, a.Value, want, l.PagesMin)
		}
	}
	if len(c.Axes) != len(l.Axes) || len(c.Inputs) != len(l.Inputs) {
		return fmt.Sprintf("%d axes and %d inputs, want %d and %d", len(c.Axes), len(c.Inputs), len(l.Axes), len(l.Inputs))
	}
	for _, in := range c.Inputs {
		want, ok := l.Inputs[in.Name]
		switch {
		case !ok:
			return "extra input " + in.Name
		case want.Kind == "scalar":
			text := ""
			if in.Kind == proto.InputScalar {
				text = scalar(in.Scalar)
			}
			if text != string(want.Raw) {
				return fmt.Sprintf("%s is %s, want %s", in.Name, text, want.Raw)
			}
		case want.SHA == "" && in.Kind != proto.InputRandom && want.Class == "float":
			return in.Name + " is not random"
		case want.Class == "int" && (in.Digest != want.SHA || in.DType != want.DType || fmt.Sprint(in.Shape) != fmt.Sprint(want.Shape)):
			return fmt.Sprintf("%s is %s %v %s, want %s %v %s", in.Name, in.DType, in.Shape, in.Digest, want.DType, want.Shape, want.SHA)
		}
	}
	return ""
}

func scalar(v *proto.Value) string {
	switch v.Type {
	case proto.ValueInt:
		return strconv.FormatInt(v.Int, 10)
	case proto.ValueBool:
		return strconv.FormatBool(v.Bool)
	}
	return fitrace.FormatFloat(v.Float)
}
