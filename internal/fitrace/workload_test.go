package fitrace_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
)

var exampleLine = fitrace.Line{
	Definition: "scale_h16",
	Workload: fitrace.Workload{
		UUID: "0c2489b2-f878-528b-b1bd-d0c6d4c39338",
		Axes: []fitrace.AxisValue{{Name: "n", Value: 7}, {Name: "a", Value: 1}},
		Inputs: []fitrace.Input{
			{Name: "x", Type: fitrace.Random},
			{Name: "indptr", Type: fitrace.Safetensors, Path: fitrace.BlobPath("scale", "scale_h16", "u"), TensorKey: "indptr"},
			{Name: "f", Type: fitrace.ScalarInput, Scalar: fitrace.Scalar{Kind: fitrace.Float, Float: 1}},
			{Name: "i", Type: fitrace.ScalarInput, Scalar: fitrace.Scalar{Kind: fitrace.Int, Int: 1}},
			{Name: "b", Type: fitrace.ScalarInput, Scalar: fitrace.Scalar{Kind: fitrace.Bool, Bool: true}},
		},
	},
}

func TestMarshalLine(t *testing.T) {
	t.Parallel()
	const want = `{"definition": "scale_h16", "solution": null, "workload": {"uuid": "0c2489b2-f878-528b-b1bd-d0c6d4c39338", ` +
		`"axes": {"n": 7, "a": 1}, "inputs": {"x": {"type": "random"}, "indptr": {"type": "safetensors", ` +
		`"path": "./blob/workloads/scale/scale_h16/scale_h16_u.safetensors", "tensor_key": "indptr"}, "f": {"type": "scalar", "value": 1.0}, ` +
		`"i": {"type": "scalar", "value": 1}, "b": {"type": "scalar", "value": true}}}, "evaluation": null}`
	got := fitrace.MarshalLine(exampleLine)
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	back, err := fitrace.ParseLine(got)
	if err != nil {
		t.Fatal(err)
	}
	back.Raw = nil
	if !reflect.DeepEqual(back, exampleLine) {
		t.Errorf("came back as %+v", back)
	}
}

// TestMarshalLine_Published: every published line that json.dumps wrote has the same bytes after parsing and marshalling; one
// that another writer wrote (no blanks after commas, or the uuid last) has the same JSON.
func TestMarshalLine_Published(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(goldentest.Shared(t, "dataset"), "workloads", "*", "*.jsonl"))
	upstream, _ := filepath.Glob(filepath.Join(goldentest.Dir(t), "expected-upstream", "*", "workloads.jsonl"))
	if files = append(files, upstream...); err != nil || len(upstream) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	same, other := 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines, errs := fitrace.ParseLines(bytes.NewReader(data), file)
		if len(errs) > 0 || len(lines) != bytes.Count(data, []byte("\n")) && len(lines) != bytes.Count(data, []byte("\n"))+1 {
			t.Errorf("%s: %d lines, errors %v", file, len(lines), errs)
		}
		for _, l := range lines {
			got := fitrace.MarshalLine(l)
			switch {
			case bytes.Equal(got, l.Raw):
				same++
			case bytes.HasPrefix(l.Raw, []byte(`{"definition": "`)) && bytes.Contains(l.Raw, []byte(`, "solution": null, "workload": {"uuid": `)):
				t.Errorf("%s:%d\ngot  %s\nwant %s", file, l.Number, got, l.Raw)
			default:
				other++
				if !sameJSON(t, got, l.Raw) {
					t.Errorf("%s:%d means something else\ngot  %s\nwant %s", file, l.Number, got, l.Raw)
				}
			}
		}
	}
	if same < 100 {
		t.Errorf("only %d lines kept their bytes, %d their meaning", same, other)
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	for data, into := range map[*[]byte]*any{&a: &x, &b: &y} {
		dec := json.NewDecoder(bytes.NewReader(*data))
		dec.UseNumber()
		if err := dec.Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	return reflect.DeepEqual(x, y)
}

func TestParseLines_BadLinesAreKept(t *testing.T) {
	t.Parallel()
	good := string(fitrace.MarshalLine(exampleLine))
	edit := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	bad := map[string]string{
		good[:len(good)/2]: "ends in the middle",
		"not json":         "not JSON",
		"[]":               "not a JSON object",
		edit(`"solution": null`, `"solution": "s"`):           "solution is not null",
		edit(`"evaluation": null`, `"evaluation": {}`):        "evaluation is not null",
		edit(`"definition": "scale_h16"`, `"d": 1`):           "definition is missing",
		edit(`"workload"`, `"work"`):                          "workload is missing",
		edit(`"uuid"`, `"id"`):                                "uuid is missing",
		edit(`"n": 7`, `"n": 7.5`):                            "axes.n is 7.5",
		edit(`"n": 7`, `"n": -7`):                             "axes.n is -7",
		edit(`{"type": "random"}`, `{"type": "custom"}`):      `inputs.x: type is "custom"`,
		edit(`"tensor_key": "indptr"`, `"key": "indptr"`):     "inputs.indptr: is safetensors but path or tensor_key is missing",
		edit(`"value": 1.0`, `"value": "1"`):                  `inputs.f: value is "1"`,
		edit(`"value": 1.0`, `"value": NaN`):                  "not JSON",
		edit(`"value": 1.0`, `"val": 1.0`):                    "inputs.f: is scalar but value is missing",
		edit(`"value": 1}`, `"value": 99999999999999999999}`): "inputs.i: value is 99999999999999999999",
		edit(`"axes": {`, `"axes": {"n": 1, `):                "n is given twice",
	}
	for text, want := range bad {
		lines, errs := fitrace.ParseLines(strings.NewReader("\n"+text+"\n"+good), "w.jsonl")
		if len(lines) != 2 || len(errs) != 1 {
			t.Errorf("%s: %d lines, errors %v", text, len(lines), errs)
			continue
		}
		if !strings.HasPrefix(errs[0].Error(), "w.jsonl:2: ") || !strings.Contains(errs[0].Error(), want) || !errors.Is(lines[0].Err, errs[0]) {
			t.Errorf("%s: error is %v, want %q", text, errs[0], want)
		}
		if string(lines[0].Raw) != text || lines[1].Err != nil || lines[1].Number != 3 || string(lines[1].Raw) != good {
			t.Errorf("%s: lines came back as %q and %q", text, lines[0].Raw, lines[1].Raw)
		}
	}
}

func TestParseLines_ReadError(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk")
	lines, errs := fitrace.ParseLines(iotest.ErrReader(broken), "w.jsonl")
	if len(lines) != 0 || len(errs) != 1 || !errors.Is(errs[0], broken) {
		t.Errorf("%d lines, errors %v", len(lines), errs)
	}
}

// TestFormatFloat compares with what Python's repr gives.
func TestFormatFloat(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]float64{
		"0.0": 0, "-0.0": math.Copysign(0, -1), "1.0": 1, "0.08838834764831843": 1 / math.Sqrt(128), "0.1352337788608801": 0.1352337788608801,
		"0.0001": 1e-4, "1e-05": 1e-5, "1.5e-07": 1.5e-7, "1e+16": 1e16, "1000000000000000.0": 1e15, "123456789012345.6": 123456789012345.6,
		"1e+100": 1e100, "-2.5": -2.5, "5e-324": 5e-324, "1.7976931348623157e+308": math.MaxFloat64, "NaN": math.NaN(), "Infinity": math.Inf(1),
	} {
		if got := fitrace.FormatFloat(f); got != want {
			t.Errorf("%v is %s, want %s", f, got, want)
		}
	}
}

func TestMarshalLine_Strings(t *testing.T) {
	t.Parallel()
	got := string(fitrace.MarshalLine(fitrace.Line{Definition: "a\"\\\n\t\x01é€😀\x7f"}))
	want := `{"definition": "a\"\\\n\t\u0001\u00e9\u20ac\ud83d\ude00\u007f", `
	if !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s…", got, want)
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add(fitrace.MarshalLine(exampleLine))
	f.Add([]byte(`{"definition": "a", "workload": {"uuid": "u", "axes": {}, "inputs": {"x": {"type": "scalar", "value": 1e400}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		line, err := fitrace.ParseLine(data)
		if err != nil {
			return
		}
		first := fitrace.MarshalLine(line)
		again, err := fitrace.ParseLine(first)
		if err != nil {
			t.Fatalf("%s became %s: %v", data, first, err)
		}
		if second := fitrace.MarshalLine(again); !bytes.Equal(first, second) {
			t.Errorf("%s became %s, then %s", data, first, second)
		}
	})
}
