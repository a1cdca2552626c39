package fitrace_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
)

const scaleDefinition = `{
  "name": "scale_h16",
  "op_type": "scale",
  "description": "x times factor",
  "tags": ["fi_api:flashinfer.scale.scale_rows", "tp:4", "ep:2", "model:a", "model:b", "stage:decode"],
  "axes": {"n": {"type": "var"}, "h": {"type": "const", "value": 16, "description": "width"}, "n1": {"type": "var"}},
  "constraints": ["n1 == n + 1"],
  "inputs": {
    "x": {"shape": ["n", "h"], "dtype": "bfloat16"},
    "indptr": {"shape": ["n1"], "dtype": "int32", "optional": true},
    "zero_d": {"shape": [], "dtype": "float32"},
    "factor": {"shape": null, "dtype": "float32"}
  },
  "outputs": {"y": {"shape": ["n", "h"], "dtype": "bfloat16"}},
  "reference": "import torch\n\ndef run(x, indptr, zero_d, factor):\n    return x * factor\n"
}`

func TestParseDefinition(t *testing.T) {
	t.Parallel()
	d, err := fitrace.ParseDefinition([]byte(scaleDefinition), "scale.json")
	if err != nil {
		t.Fatal(err)
	}
	var inputs []string
	for _, in := range d.Inputs {
		inputs = append(inputs, in.Name)
	}
	if got := strings.Join(inputs, " "); got != "x indptr zero_d factor" {
		t.Errorf("inputs are %s, not in the file's order", got)
	}
	if got := strings.Join(d.VarAxes(), " "); got != "n n1" {
		t.Errorf("variable axes are %s", got)
	}
	if v, ok := d.Const("h"); !ok || v != 16 {
		t.Errorf("h is %d, %v", v, ok)
	}
	if _, ok := d.Const("n"); ok {
		t.Error("n counts as constant")
	}
	for name, want := range map[string]struct{ scalar, integer, optional bool }{
		"x": {}, "indptr": {integer: true, optional: true}, "zero_d": {}, "factor": {scalar: true},
	} {
		in, ok := d.Input(name)
		if !ok || in.Scalar() != want.scalar || in.Integer() != want.integer || in.Optional != want.optional {
			t.Errorf("input %s is %+v", name, in)
		}
	}
	if d.TP() != 4 || d.EP() != 2 || d.Stage() != "decode" || !slices.Equal(d.Models(), []string{"a", "b"}) || d.PageSize() != 0 {
		t.Errorf("tags read as tp %d, ep %d, stage %s, models %v, page size %d", d.TP(), d.EP(), d.Stage(), d.Models(), d.PageSize())
	}
	if len(d.Digest()) != 64 || string(d.Raw) != scaleDefinition {
		t.Errorf("digest %s, %d raw bytes", d.Digest(), len(d.Raw))
	}
}

func TestParseDefinition_Errors(t *testing.T) {
	t.Parallel()
	edit := func(old, new string) string {
		if !strings.Contains(scaleDefinition, old) {
			t.Fatalf("the definition has no %s", old)
		}
		return strings.Replace(scaleDefinition, old, new, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "ends in the middle"},
		"cut":               {scaleDefinition[:200], "ends in the middle"},
		"not an object":     {`["a"]`, "not a JSON object"},
		"two objects":       {scaleDefinition + "{}", "more after"},
		"no name":           {edit(`"name": "scale_h16",`, ""), "name is empty"},
		"name climbs":       {edit(`"scale_h16"`, `"../scale"`), `name "../scale" cannot be a file name`},
		"name with dots":    {edit(`"scale_h16"`, `"a..b"`), `name "a..b" cannot be a file name`},
		"name a path":       {edit(`"scale_h16"`, `"a/b"`), `name "a/b" cannot be a file name`},
		"name a number":     {edit(`"scale_h16"`, `7`), "name is 7, must be a string"},
		"op type climbs":    {edit(`"op_type": "scale"`, `"op_type": ".."`), `op_type ".." cannot be a file name`},
		"key twice":         {edit(`"name": "scale_h16",`, `"name": "scale_h16", "name": "other",`), "name is given twice"},
		"axis twice":        {edit(`"axes": {`, `"axes": {"n": {"type": "var"}, `), "axes: n is given twice"},
		"no axes":           {edit(`"axes"`, `"exes"`), "axes is missing"},
		"const, no value":   {edit(`, "value": 16`, ""), "axes.h: is const but has no value"},
		"const, negative":   {edit(`"value": 16`, `"value": -1`), "axes.h: value -1 is not a non-negative integer"},
		"const, fraction":   {edit(`"value": 16`, `"value": 1.5`), "axes.h: value 1.5 is not a non-negative integer"},
		"var with value":    {edit(`"n": {"type": "var"}`, `"n": {"type": "var", "value": 3}`), "axes.n: is var but has the value 3"},
		"axis without type": {edit(`"n": {"type": "var"}`, `"n": {}`), "axes.n: type is missing"},
		"axis type":         {edit(`"n": {"type": "var"}`, `"n": {"type": "free"}`), `axes.n: type is "free"`},
		"axis no object":    {edit(`"n": {"type": "var"}`, `"n": 4`), "axes.n: "},
		"unknown axis":      {edit(`"shape": ["n", "h"]`, `"shape": ["n", "w"]`), `inputs.x: shape names the axis "w"`},
		"no shape":          {edit(`"shape": ["n", "h"], `, ""), "inputs.x: shape is missing"},
		"shape a number":    {edit(`"shape": ["n", "h"]`, `"shape": 3`), "inputs.x: shape 3 is not a list"},
		"no dtype":          {edit(`, "dtype": "bfloat16"`, ""), "inputs.x: dtype is missing"},
		"dtype":             {edit(`"dtype": "bfloat16"`, `"dtype": "uint8"`), `inputs.x: dtype "uint8" is none of`},
		"output is input":   {edit(`"outputs": {"y"`, `"outputs": {"x"`), "outputs.x is also the name of an input"},
		"no outputs":        {edit(`"outputs": {"y": {"shape": ["n", "h"], "dtype": "bfloat16"}}`, `"outputs": {}`), "outputs is empty"},
		"no reference":      {edit(`"reference"`, `"referents"`), "reference is missing"},
		"reference no run":  {edit(`def run(`, `def ran(`), "no top-level function run"},
		"reference nested":  {edit(`\ndef run(`, `\n  def run(`), "no top-level function run"},
		"tp zero":           {edit(`"tp:4"`, `"tp:0"`), `"tp:0" needs a positive number`},
		"ep word":           {edit(`"ep:2"`, `"ep:two"`), `"ep:two" needs a positive number`},
		"api of nothing":    {edit(`flashinfer.scale.scale_rows`, ``), "names no function"},
		"tags a string":     {edit(`"tags": [`, `"tags": "a", "x": [`), `tags is "a", must be a list`},
		"empty constraint":  {edit(`"n1 == n + 1"`, `""`), "constraints[0] is not a non-empty string"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := fitrace.ParseDefinition([]byte(c.text), "dir/file.json")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "dir/file.json") {
				t.Errorf("error is %v, want one of dir/file.json with %q", err, c.want)
			}
		})
	}
}

func TestLoadDefinitions_BadFilesAreOneErrorEach(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, "definitions", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("scale/scale_h16.json", scaleDefinition)
	write("scale/a_scale.json", strings.Replace(scaleDefinition, "scale_h16", "a_scale", 1))
	write("scale/bad.json", "{")
	write("scale/renamed.json", scaleDefinition)
	write("other/moved.json", strings.Replace(scaleDefinition, "scale_h16", "moved", 1))
	write("zcale/scale_h16.json", strings.Replace(scaleDefinition, `"op_type": "scale"`, `"op_type": "zcale"`, 1))
	write("readme.txt", "no definition")
	write("scale/deeper/x.json", "{")

	defs, errs := fitrace.LoadDefinitions(root)
	if len(defs) != 2 || defs[0].Name != "a_scale" || defs[1].Name != "scale_h16" {
		t.Errorf("loaded %d definitions", len(defs))
	}
	for _, want := range []string{"bad.json: ends in the middle", `renamed.json: name is "scale_h16", the file says "renamed"`,
		`moved.json: op_type is "scale", the directory says "other"`, "has the same name"} {
		if !slices.ContainsFunc(errs, func(err error) bool { return strings.Contains(err.Error(), want) }) {
			t.Errorf("no error with %q", want)
		}
	}
	if len(errs) != 4 {
		t.Errorf("%d errors, want 4: %v", len(errs), errs)
	}
	if _, errs := fitrace.LoadDefinitions(filepath.Join(root, "absent")); len(errs) != 1 {
		t.Errorf("an absent dataset gave %v", errs)
	}
}

func TestLoadDefinitions_Published(t *testing.T) {
	t.Parallel()
	for _, root := range []string{goldentest.Shared(t, "dataset"), goldentest.Dir(t)} {
		defs, errs := fitrace.LoadDefinitions(root)
		if len(errs) > 0 || len(defs) < 20 {
			t.Errorf("%s: %d definitions, errors %v", root, len(defs), errs)
		}
		for _, d := range defs {
			for _, c := range d.Constraints {
				if _, err := fitrace.ParseExpr(c); err != nil {
					t.Errorf("%s: %v", d.Name, err)
				}
			}
		}
	}
}

func TestAPI(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]struct {
		functions string
		planned   bool
	}{
		"flashinfer.norm.rmsnorm": {"rmsnorm", false},
		"rmsnorm":                 {"rmsnorm", false},
		"flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper":            {"BatchDecodeWithPagedKVCacheWrapper.run", true},
		"flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper.run":        {"BatchDecodeWithPagedKVCacheWrapper.run", true},
		"flashinfer.mla._core.BatchMLAPagedAttentionWrapper.run":          {"BatchMLAPagedAttentionWrapper.run", true},
		"flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper":         {ragged, true},
		"flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper.run":     {ragged, true},
		"flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper.forward": {"BatchPrefillWithRaggedKVCacheWrapper.forward", true},
		"flashinfer.fused_moe.MoELayer":                                   {"MoELayer.run", false},
	} {
		api := fitrace.ParseAPI(path)
		if got := strings.Join(api.Functions(), " "); got != want.functions || api.Planned() != want.planned {
			t.Errorf("%s: functions %s, planned %v", path, got, api.Planned())
		}
		if !api.Matches(api.String()) || api.Matches("x."+api.String()) || api.Matches("") {
			t.Errorf("%s does not match its own name only", path)
		}
	}
}

const ragged = "BatchPrefillWithRaggedKVCacheWrapper.run BatchPrefillWithRaggedKVCacheWrapper.forward BatchPrefillWithRaggedKVCacheWrapper.forward_return_lse"

func TestIncludePatterns(t *testing.T) {
	t.Parallel()
	tag := func(api string, integers bool) *fitrace.Definition {
		text := strings.Replace(scaleDefinition, "flashinfer.scale.scale_rows", api, 1)
		if !integers {
			text = strings.Replace(text, `"dtype": "int32"`, `"dtype": "float32"`, 1)
		}
		d, err := fitrace.ParseDefinition([]byte(text), "x.json")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct {
		api      string
		integers bool
		want     string
	}{
		{"flashinfer.norm.rmsnorm", true, "rmsnorm"},
		{"flashinfer.decode.XWrapper", true, "XWrapper.plan XWrapper.run"},
		{"flashinfer.decode.XWrapper.run", false, "XWrapper.run"},
		{"flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper", true,
			"BatchPrefillWithRaggedKVCacheWrapper.forward BatchPrefillWithRaggedKVCacheWrapper.forward_return_lse " +
				"BatchPrefillWithRaggedKVCacheWrapper.plan BatchPrefillWithRaggedKVCacheWrapper.run"},
	} {
		if got := strings.Join(fitrace.IncludePatterns(tag(c.api, c.integers)), " "); got != c.want {
			t.Errorf("%s, integers %v: %s", c.api, c.integers, got)
		}
	}
}

func FuzzParseDefinition(f *testing.F) {
	f.Add([]byte(scaleDefinition))
	f.Add([]byte(`{"name":"a","axes":{"n":{"type":"const"}}}`))
	f.Add([]byte(`{"name":"a","axes":null,"inputs":[],"outputs":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := fitrace.ParseDefinition(data, "fuzz.json")
		if err != nil {
			return
		}
		if fitrace.CheckName("name", d.Name) != nil || len(d.Inputs) == 0 || len(d.Outputs) == 0 {
			t.Errorf("accepted %q", data)
		}
		fitrace.IncludePatterns(d)
		for _, in := range d.Inputs {
			for _, axis := range in.Shape {
				if _, ok := d.Axis(axis); !ok {
					t.Errorf("input %s has the unknown axis %s", in.Name, axis)
				}
			}
		}
	})
}
