package coordinator

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// defJSON is a valid definition; const page and the tags are what planning reads.
func defJSON(name, opType string, pageSize string, inputs string, tags ...string) string {
	axes := `"n": {"type": "var"}, "h": {"type": "const", "value": 8}`
	if pageSize != "" {
		axes += `, "page_size": {"type": "const", "value": ` + pageSize + `}`
	}
	if inputs == "" {
		inputs = `"x": {"shape": ["n", "h"], "dtype": "bfloat16"}`
	}
	var quoted []string
	for _, t := range tags {
		quoted = append(quoted, `"`+t+`"`)
	}
	return `{"name": "` + name + `", "op_type": "` + opType + `", "tags": [` + strings.Join(quoted, ", ") + `],
		"axes": {` + axes + `}, "inputs": {` + inputs + `},
		"outputs": {"out": {"shape": ["n", "h"], "dtype": "bfloat16"}}, "reference": "def run(x):\n    return x\n"}`
}

func parseDef(t testing.TB, text string) *fitrace.Definition {
	t.Helper()
	d, err := fitrace.ParseDefinition([]byte(text), "test")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func writeDef(t *testing.T, root, opType, name, text string) {
	t.Helper()
	dir := filepath.Join(root, "definitions", opType)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "run[1]") // a name that is a glob pattern
	writeDef(t, root, "rmsnorm", "rmsnorm_h128", defJSON("rmsnorm_h128", "rmsnorm", "", ""))
	writeDef(t, root, "rmsnorm", "rmsnorm_h4096", defJSON("rmsnorm_h4096", "rmsnorm", "", ""))
	writeDef(t, root, "gemm", "gemm_n1", defJSON("gemm_n1", "gemm", "", ""))
	writeDef(t, root, "gemm", "torn", `{"name": "torn"`)
	writeDef(t, root, "moe", "misplaced", defJSON("elsewhere", "moe", "", ""))
	writeDef(t, root, "dup", "gemm_n1", defJSON("gemm_n1", "dup", "", ""))

	for _, tc := range []struct {
		name     string
		sel      Selection
		want     string
		warnings int
		code     proto.Code
		says     string
	}{
		{name: "one name", sel: Selection{Names: []string{"rmsnorm_h128"}}, want: "rmsnorm_h128"},
		{name: "names come sorted, once each", sel: Selection{Names: []string{"rmsnorm_h4096", "rmsnorm_h128", "rmsnorm_h4096"}},
			want: "rmsnorm_h128 rmsnorm_h4096"},
		{name: "op type and name add up", sel: Selection{OpTypes: []string{"gemm"}, Names: []string{"rmsnorm_h128"}},
			want: "gemm_n1 rmsnorm_h128", warnings: 1},
		{name: "all", sel: Selection{All: true}, want: "gemm_n1 rmsnorm_h128 rmsnorm_h4096", warnings: 3},
		{name: "nothing selected", code: proto.CodeNoDefinitions, says: "--all"},
		{name: "unknown names, all in one error", sel: Selection{Names: []string{"rmsnorm_h129", "what"}}, code: proto.CodeNoDefinitions,
			says: `"rmsnorm_h129" (did you mean rmsnorm_h128, rmsnorm_h4096?), "what"`},
		{name: "unknown op type", sel: Selection{OpTypes: []string{"gema"}}, code: proto.CodeNoDefinitions, says: "dup, gemm, moe, rmsnorm"},
		{name: "a broken file that was named", sel: Selection{Names: []string{"torn", "rmsnorm_h128"}}, code: proto.CodeBadDefinition, says: "torn.json"},
		{name: "a misplaced file that was named", sel: Selection{Names: []string{"misplaced"}}, code: proto.CodeBadDefinition, says: "elsewhere"},
		{name: "a name in two places", sel: Selection{Names: []string{"gemm_n1"}}, code: proto.CodeBadDefinition, says: "also in"},
		{name: "only a broken file", sel: Selection{OpTypes: []string{"moe"}}, code: proto.CodeNoDefinitions, warnings: 1, says: "can be read"},
		{name: "a name with separators", sel: Selection{Names: []string{"../gemm/gemm_n1"}}, code: proto.CodeNoDefinitions, says: "../gemm"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			defs, warnings, err := Resolve(root, tc.sel)
			if len(warnings) != tc.warnings {
				t.Errorf("warnings %q, want %d", warnings, tc.warnings)
			}
			if tc.code != "" {
				var fail *proto.Failure
				if !errors.As(err, &fail) || fail.Code != tc.code || !strings.Contains(err.Error(), tc.says) {
					t.Fatalf("error %v, want code %s and %q", err, tc.code, tc.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Fields(strings.ReplaceAll(names(defs), ",", " ")); strings.Join(got, " ") != tc.want {
				t.Errorf("got %v, want %s", got, tc.want)
			}
		})
	}
}

func TestResolve_NoDirectory(t *testing.T) {
	t.Parallel()
	_, _, err := Resolve(t.TempDir(), Selection{All: true})
	if err == nil || !strings.Contains(err.Error(), "no definitions directory") {
		t.Errorf("got %v", err)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"rmsnorm_h4096", "rmsnorm_h128", "gemm_n128_k2048", "fused_add_rmsnorm_h4096"}
	for _, tc := range []struct {
		name string
		want []string
	}{
		{"rmsnorm_h128", []string{"rmsnorm_h128", "rmsnorm_h4096"}},
		{"rmsnorm_h4069", []string{"rmsnorm_h4096", "rmsnorm_h128"}},
		{"sampling_top_k", nil},
		{"", nil},
	} {
		if got := nearest(tc.name, known, 2); !slices.Equal(got, tc.want) {
			t.Errorf("nearest(%q) = %q, want %q", tc.name, got, tc.want)
		}
	}
}

// What can be read and not be meant is said before anything runs.
func TestResolve_Doubts(t *testing.T) {
	t.Parallel()
	def, err := fitrace.ParseDefinition([]byte(`{"name": "d", "op_type": "o", "tags": ["fi_api:flashinfer.norm.rmsnorm", "tp:1", "tp:2", "tp:1", "ep:4"],
		"axes": {"n": {"type": "var"}}, "constraints": ["n > 0", "n === 1"], "inputs": {"x": {"shape": ["n"], "dtype": "float16"}},
		"outputs": {"y": {"shape": ["n"], "dtype": "float16"}}, "reference": "def run(x):\n    return x\n"}`), "d.json")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(doubts(def), "\n")
	for _, want := range []string{`"n === 1"`, "constraint_unknown", "tp:1 and tp:2"} {
		if !strings.Contains(got, want) {
			t.Errorf("the doubts %q do not mention %s", got, want)
		}
	}
	if strings.Contains(got, "ep:") || strings.Contains(got, "n > 0") {
		t.Errorf("the doubts %q are about what is fine", got)
	}
}
