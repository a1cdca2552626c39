package system_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang/sglangtest"
)

// TestSGLang_LatentAttention_ScaleIsTheModels: decode, paged prefill and ragged prefill of a DeepSeek-V2 shape with YaRN, by plans and by runs.
// Every workload has the scale with YaRN's factor; ragged prefill takes it from the paged plan of a decode step.
func TestSGLang_LatentAttention_ScaleIsTheModels(t *testing.T) {
	t.Parallel()
	sglangtest.NeedPython(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	defs := []string{"mla_paged/mla_paged_decode_h16_ckv512_kpe64_ps1", "mla_paged/mla_paged_prefill_causal_h16_ckv512_kpe64_ps1", "mla_ragged/mla_ragged_prefill_causal_h16_qk192_vo128"}
	want := map[string]string{}
	for _, dump := range []string{"auto", "run"} {
		dataset := t.TempDir()
		for _, from := range []string{"testdata/dataset/definitions/mla_paged", "test/gpu/definitions/mla_ragged"} {
			if err := os.CopyFS(filepath.Join(dataset, "definitions", filepath.Base(from)), os.DirFS(filepath.Join(root, from))); err != nil {
				t.Fatal(err)
			}
		}
		stand := sglangtest.Python(t, sglangtest.Options{})
		out, code := run(t.Context(), t, bin, "collect", "--engine", "sglang", "--model-path", filepath.Join(root, "test/gpu/tiny-deepseek"), "--all", "--trace-dir", dataset,
			"--isl", "32", "--osl", "4", "--batch-sizes", "4", "--dump", dump, "--json", "--python", stand.Python, "--gpus", "2", "--state-dir", filepath.Join(t.TempDir(), "state"))
		if code != 0 {
			t.Fatalf("exit %d\n%s", code, out)
		}
		if a := parseAccount(t, out); a.Total.Pending != 0 || len(a.Total.Rejected) != 0 {
			t.Errorf("dump %s: account %+v", dump, a.Total)
		}
		for _, def := range defs {
			data, err := os.ReadFile(filepath.Join(dataset, "workloads", def+".jsonl"))
			if err != nil {
				t.Fatalf("dump %s: %v", dump, err)
			}
			for line := range strings.Lines(string(data)) {
				var l struct {
					Workload struct {
						Inputs map[string]struct{ Value float64 }
					}
				}
				if err := json.Unmarshal([]byte(line), &l); err != nil {
					t.Fatal(err)
				}
				if scale := l.Workload.Inputs["sm_scale"].Value; math.Abs(scale-0.11472138679) > 1e-10 {
					t.Errorf("dump %s: %s has the scale %v", dump, def, scale)
				}
			}
			if want[def] == "" {
				want[def] = string(data)
			} else if want[def] != string(data) {
				t.Errorf("%s: plans and runs give different workloads", def)
			}
		}
	}
}
