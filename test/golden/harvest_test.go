package golden_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/coordinator/harvest"
	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

// TestHarvest_Collects: definitions harvested from a real run convert that run's dumps to the same workloads as the dataset's own.
func TestHarvest_Collects(t *testing.T) {
	t.Parallel()
	corpus, dumps, traces := goldentest.Dir(t), goldentest.RealDumps(t, "a"), goldentest.RealTraces(t, "a")
	own, staging := t.TempDir(), filepath.Join(t.TempDir(), "staging")
	got := tracefleet(t, "definitions", "harvest", "--from", traces, "--dump-dir", dumps, "--trace-dir", own, "--out", staging, "--tp", "1", "--json")
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	var report struct {
		Counts harvest.Counts `json:"counts"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		t.Fatalf("%v in %s", err, got.stdout)
	}
	if c := report.Counts; c.Files != 5 || c.Staged != 5 {
		t.Errorf("%+v, want all of 5 files staged", c)
	}
	names := []string{"gqa_paged_decode_h32_kv8_d128_ps1", "gqa_ragged_prefill_causal_h32_kv8_d128"}
	harvested, known := t.TempDir(), t.TempDir()
	copyDefinitions(t, filepath.Join(staging, "definitions"), harvested, names)
	copyDefinitions(t, filepath.Join(corpus, "definitions"), known, names)
	for _, dataset := range []string{harvested, known} {
		args := []string{"sanitize", "--dump-dir", dumps, "--flashinfer-trace-dir", dataset, "--max-new-workloads", "1000", "--definitions"}
		if got := tracefleet(t, append(args, names...)...); got.code != 0 {
			t.Fatalf("%s: exit code %d\n%s%s", dataset, got.code, got.stdout, got.stderr)
		}
	}
	lines, want := workloads(t, harvested), workloads(t, known)
	if len(want) != len(names) {
		t.Fatalf("the known definitions got workloads in %d files", len(want))
	}
	if !maps.Equal(lines, want) {
		t.Errorf("the harvested definitions get other workloads than the known ones:\n%v\n%v", lines, want)
	}
}

// TestHarvest_WorkerEvidence: what a gpuworker ships of its calls is evidence, of runs and of plans that stand for runs.
func TestHarvest_WorkerEvidence(t *testing.T) {
	t.Parallel()
	integer := func(key string, n int64) proto.Value { return proto.Value{Key: key, Type: proto.ValueInt, Int: n} }
	plan := proto.Call{
		Function:  "BatchDecodeWithPagedKVCacheWrapper.plan",
		Signature: "(self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim: int, page_size: int)",
		Tensors:   []proto.Tensor{{Key: "arg_1", DType: "int32", Shape: []int64{9}}},
		Values:    []proto.Value{integer("arg_4", 16), integer("arg_5", 4), integer("arg_6", 64), integer("arg_7", 1)},
	}
	run := proto.Call{
		Function:  "BatchDecodeWithPagedKVCacheWrapper.run",
		Signature: "(self, q: torch.Tensor, paged_kv_cache: Tuple[torch.Tensor, torch.Tensor], *args, k_scale: Optional[float] = None)",
		Tensors: []proto.Tensor{
			{Key: "arg_1", DType: "bfloat16", Shape: []int64{8, 16, 64}}, {Key: "arg_2__0", DType: "bfloat16", Shape: []int64{4097, 4, 64}},
			{Key: "arg_2__1", DType: "bfloat16", Shape: []int64{4097, 4, 64}},
		},
	}
	scaled := run
	scaled.Values = []proto.Value{{Key: "kwarg_k_scale", Type: proto.ValueFloat, Float: 0.5}}
	file, err := os.ReadFile("../../coordinator/harvest/testdata/traces/gqa_paged_decode_h16_kv64_d64_ps4.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		manifest proto.Manifest
		want     harvest.Status
		words    string
	}{
		"a run":                    {proto.Manifest{Call: run}, harvest.Staged, ""},
		"a run with its plan":      {proto.Manifest{Call: run, Plan: &plan}, harvest.Staged, "as the dump of plan has it"},
		"a plan that is a run":     {proto.Manifest{Call: plan, Implied: true}, harvest.Staged, "as the dump of plan has it"},
		"a run that scales":        {proto.Manifest{Call: scaled}, harvest.SetAside, "k_scale=0.5"},
		"a call of something else": {proto.Manifest{Call: proto.Call{Function: "rmsnorm"}}, harvest.SetAside, harvest.ReasonNoEvidence},
	} {
		var worker manifest.Evidence
		worker.Add(&c.manifest)
		data, err := worker.JSON()
		if err != nil {
			t.Fatal(err)
		}
		evidence, err := harvest.ParseEvidence(data, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		report := harvest.Run([]harvest.File{{Source: name, Data: file, Evidence: evidence}}, nil)
		if e := report.Entries[0]; e.Status != c.want || !strings.Contains(string(report.Markdown()), c.words) {
			t.Errorf("%s: %s, want %s with %q\n%s\n%s", name, e.Status, c.want, c.words, data, report.Markdown())
		}
	}
}
