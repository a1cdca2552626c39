package coordinator

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/proto"
)

// headed returns a paged decode definition with so many heads.
func headed(t testing.TB, name string, qo, kv int, tags ...string) *fitrace.Definition {
	t.Helper()
	var quoted []string
	for _, tag := range append([]string{"fi_api:flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper", "stage:decode"}, tags...) {
		quoted = append(quoted, fmt.Sprintf("%q", tag))
	}
	return parseDef(t, fmt.Sprintf(`{"name": %q, "op_type": "gqa_paged", "tags": [%s],
		"axes": {"n": {"type": "var"}, "num_qo_heads": {"type": "const", "value": %d}, "num_kv_heads": {"type": "const", "value": %d}, "page_size": {"type": "const", "value": 1}},
		"inputs": {"q": {"shape": ["n"], "dtype": "bfloat16"}, "k_cache": {"shape": ["n"], "dtype": "bfloat16"}, "kv_indptr": {"shape": ["n"], "dtype": "int32"}},
		"outputs": {"out": {"shape": ["n"], "dtype": "bfloat16"}}, "reference": "def run(q):\n    return q\n"}`, name, strings.Join(quoted, ", "), qo, kv))
}

const heads32 = `{"hidden_size":4096,"num_attention_heads":32,"num_key_value_heads":8,"dtype":"bfloat16"}`

func sglangSpec(config string, flags ...string) proto.EngineSpec {
	return proto.EngineSpec{Kind: proto.EngineSGLang, ModelPath: "org/m", SGLang: "0.5.16", GPUType: "h200", ModelConfig: config, Flags: flags}
}

func TestNewPlan_RanksFollowFromTheModel(t *testing.T) {
	t.Parallel()
	whole, quarter, tagged := headed(t, "whole", 32, 8), headed(t, "quarter", 8, 2), headed(t, "tagged", 32, 8, "tp:8")
	replicated, kvAlone := headed(t, "replicated", 2, 1), headed(t, "other", 5, 1)
	norm := parseDef(t, defJSON("norm", "rmsnorm", "", `"input": {"shape": ["n"], "dtype": "bfloat16"}, "weight": {"shape": ["n"], "dtype": "bfloat16"}`, "fi_api:flashinfer.norm.rmsnorm", "tp:4"))
	for name, tc := range map[string]struct {
		engine proto.EngineSpec
		skip   bool
		defs   []*fitrace.Definition
		want   []string // tp and gpus of each task
		err    string
		warns  string
	}{
		"whole":                  {engine: sglangSpec(heads32), defs: []*fitrace.Definition{whole}, want: []string{"tp1 gpus0"}},
		"a quarter":              {engine: sglangSpec(heads32), defs: []*fitrace.Definition{whole, quarter}, want: []string{"tp1 gpus0", "tp4 gpus0"}},
		"replicated KV heads":    {engine: sglangSpec(heads32), defs: []*fitrace.Definition{replicated}, want: []string{"tp16 gpus0"}},
		"the model over the tag": {engine: sglangSpec(heads32), defs: []*fitrace.Definition{tagged}, want: []string{"tp1 gpus0"}, warns: "the tag tp:8 disagrees with the model"},
		"the tag, no model":      {engine: sglangSpec(""), defs: []*fitrace.Definition{tagged}, want: []string{"tp8 gpus0"}},
		"a norm fits any":        {engine: sglangSpec(heads32), defs: []*fitrace.Definition{whole, norm}, want: []string{"tp1 gpus0"}},
		"a norm alone":           {engine: sglangSpec(heads32), defs: []*fitrace.Definition{norm}, want: []string{"tp4 gpus0"}},
		"no such heads":          {engine: sglangSpec(heads32), defs: []*fitrace.Definition{kvAlone}, err: "org/m has 32 attention heads: no TP gives 5"},
		"attention groups":       {engine: sglangSpec(heads32, "--attn-dp-size 2"), defs: []*fitrace.Definition{quarter}, want: []string{"tp8 gpus0"}},
		"older attention groups": {engine: sglangSpec(heads32, "--dp-size=2", "--enable-dp-attention"), defs: []*fitrace.Definition{quarter}, want: []string{"tp8 gpus0"}},
		"replicas":               {engine: sglangSpec(heads32, "--dp-size 2"), defs: []*fitrace.Definition{quarter}, want: []string{"tp4 gpus8"}},
		"pipeline and replicas":  {engine: sglangSpec(heads32, "--pp=2", "--data-parallel-size=3"), defs: []*fitrace.Definition{whole}, want: []string{"tp1 gpus6"}},
		"overridden":             {engine: sglangSpec(`{"num_attention_heads":16,"num_key_value_heads":4}`), defs: []*fitrace.Definition{quarter}, want: []string{"tp2 gpus0"}},
		"--tp that fits":         {engine: with(sglangSpec(heads32), 4), defs: []*fitrace.Definition{quarter}, want: []string{"tp4 gpus0"}},
		"--tp that does not":     {engine: with(sglangSpec(heads32), 2), defs: []*fitrace.Definition{quarter}, err: "org/m with --tp 2 --ep 1 divides its heads over 2 ranks, and the definition has those of 4"},
		"--tp, axes skipped":     {engine: with(sglangSpec(heads32), 2), skip: true, defs: []*fitrace.Definition{quarter}, want: []string{"tp2 gpus0"}, warns: "--skip-const-axis-check accepts that"},
		"a flag not modelled":    {engine: sglangSpec(heads32, "--dcp-size 2"), defs: []*fitrace.Definition{tagged}, want: []string{"tp8 gpus0"}, err: ""},
		"KV dtype":               {engine: sglangSpec("", "--kv-cache-dtype=fp8_e5m2"), defs: []*fitrace.Definition{whole}, err: "the dtype of k_cache is bfloat16, and with --kv-cache-dtype fp8_e5m2 its calls have float8_e5m2"},
		"dtype of the model":     {engine: sglangSpec(`{"dtype":"float16"}`), defs: []*fitrace.Definition{whole}, err: "the model's dtype float16"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "a flag not modelled" {
				tc.engine.SGLang = "0.5.23"
			}
			spec := specFor(tc.engine, []int{8}, tc.defs...)
			spec.Traffic, spec.Dump = proto.Traffic{Dataset: "random", ISL: 8, OSL: 8, NumBatches: 1}, proto.DumpSpec{What: DumpAuto, SkipConst: tc.skip}
			plan, err := NewPlan(spec, tc.defs)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				require.Equal(t, proto.CodeModelMismatch, proto.AsFailure(err, "").Code)
				return
			}
			require.NoError(t, err)
			var got []string
			for _, task := range plan.Tasks {
				got = append(got, fmt.Sprintf("tp%d gpus%d", task.Engine.TP, task.Engine.GPUs))
			}
			require.Equal(t, tc.want, got)
			require.Contains(t, strings.Join(plan.Warnings, "\n"), tc.warns)
			require.NotContains(t, strings.Join(plan.Warnings, "\n"), "may not fit", "what is known is said once")
		})
	}
}

func with(e proto.EngineSpec, tp int) proto.EngineSpec {
	e.TP = tp
	return e
}

func request(t *testing.T, root string, sel Selection) Request {
	t.Helper()
	r := DefaultRequest()
	r.TraceDir, r.Engine, r.Selection, r.SGLang, r.GPUType, r.BatchSizes = root, proto.EngineSGLang, sel, "0.5.16", "h200", []int{8, 32, 64, 128}
	return r
}

// The example of README.md plans what fits the model, and counts what it leaves out.
func TestPrepare_WideSelection_PlansOnlyWhatFits(t *testing.T) {
	t.Parallel()
	root := goldentest.Shared(t, "dataset")
	r := request(t, root, Selection{OpTypes: []string{"gqa_paged"}})
	r.ModelKey = "llama-3.1-8b"
	s, err := Prepare(r)
	require.NoError(t, err)
	require.Len(t, s.Plan.Tasks, 4)
	require.Contains(t, strings.Join(s.Warnings, "\n"), "left out: 23 of 24 definitions do not fit llama-3.1-8b, by the built-in catalogue's numbers for llama-3.1-8b")

	r = request(t, root, Selection{Names: []string{"gqa_paged_decode_h5_kv1_d128_ps1"}})
	r.ModelKey = "llama-3.1-8b"
	_, err = Prepare(r)
	require.ErrorContains(t, err, "the selected definitions, by the built-in catalogue's numbers for llama-3.1-8b: gqa_paged_decode_h5_kv1_d128_ps1: llama-3.1-8b has 32 attention heads: no TP gives 5")
	require.Contains(t, proto.AsFailure(err, "").Hint, "a local --model-path is read instead")

	r = request(t, root, Selection{OpTypes: []string{"moe"}})
	r.ModelKey, r.GPUType = "deepseek-v3", "b200"
	_, err = Prepare(r)
	require.ErrorContains(t, err, "definitions do not fit deepseek-v3; ")
	require.Equal(t, 1, strings.Count(err.Error(), "by the built-in catalogue's numbers"))

	r = request(t, root, Selection{Names: []string{"mla_paged_decode_h16_ckv512_kpe64_ps64"}})
	r.ModelKey, r.BatchSizes = "deepseek-v2-lite", []int{8}
	s, err = Prepare(r)
	require.NoError(t, err)
	require.Equal(t, 1, s.Plan.Tasks[0].Engine.TP, "a model of 16 heads gives 16 on one GPU, whatever the tag")
}

func TestPrepare_ConfigurationNotAtHand_IsUnchecked(t *testing.T) {
	t.Parallel()
	r := request(t, "../testdata/dataset", Selection{Names: []string{"gqa_paged_decode_h32_kv8_d128_ps1"}})
	r.ModelPath = "org/unheard-of"
	report := func() *PlanReport {
		s, err := Prepare(r)
		require.NoError(t, err)
		p, err := s.Plan.Report("c", s.Definitions)
		require.NoError(t, err)
		return p
	}
	p := report()
	require.Equal(t, []string{"gqa_paged_decode_h32_kv8_d128_ps1: the configuration of org/unheard-of is not available"}, p.Tasks[0].Unchecked)
	var text strings.Builder
	p.Write(&text)
	require.Contains(t, text.String(), "unchecked: gqa_paged_decode_h32_kv8_d128_ps1")

	r.ModelPath = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(r.ModelPath, "config.json"),
		[]byte(`{"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_attention_heads": 64, "num_key_value_heads": 16, "head_dim": 128}`), 0o644))
	p = report()
	require.Empty(t, p.Tasks[0].Unchecked)
	require.Equal(t, 2, p.Tasks[0].Engine.TP)
	require.Equal(t, 2, p.Tasks[0].Launch.GPUs)
	require.NoError(t, os.WriteFile(filepath.Join(r.ModelPath, "config.json"), []byte(`{"architectures": ["L"], "num_attention_heads": "64"}`), 0o644))
	_, err := Prepare(r)
	require.ErrorContains(t, err, `num_attention_heads is "64"`)

	// A refusal by the model's own file names that file.
	require.NoError(t, os.WriteFile(filepath.Join(r.ModelPath, "config.json"), []byte(`{"architectures": ["L"], "num_attention_heads": 12, "num_key_value_heads": 12}`), 0o644))
	_, err = Prepare(r)
	require.ErrorContains(t, err, "the model cannot produce the selected definitions: ")
	require.Contains(t, proto.AsFailure(err, "").Hint, "the model's sizes are from "+filepath.Join(r.ModelPath, "config.json"))
	require.NotContains(t, proto.AsFailure(err, "").Hint, "catalogue")
}

// TestPrepare_Revision_IsNotComparedWithTheCatalogue: its numbers are those of the model's main revision.
func TestPrepare_Revision_IsNotComparedWithTheCatalogue(t *testing.T) {
	t.Parallel()
	r := request(t, goldentest.Shared(t, "dataset"), Selection{Names: []string{"gqa_paged_decode_h5_kv1_d128_ps1"}})
	r.ModelKey = "llama-3.1-8b"
	_, err := Prepare(r)
	require.ErrorContains(t, err, "no TP gives 5")
	r.ServerFlags = []string{"--revision abc"}
	s, err := Prepare(r)
	require.NoError(t, err)
	p, err := s.Plan.Report("c", s.Definitions)
	require.NoError(t, err)
	require.NotEmpty(t, p.Tasks[0].Unchecked)
}

// TestPrepare_UserCatalogue_IsNamedAsTheSource: the numbers are those of the file and key that state them, also through "like".
func TestPrepare_UserCatalogue_IsNamedAsTheSource(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "models.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"models": {
		"own":          {"model_path": "org/own", "config": {"num_attention_heads": 12, "num_key_value_heads": 12, "source": "its model card"}},
		"own-too":      {"like": "own"},
		"llama-3.1-8b": {"like": "llama-3.1-8b", "model_path": "org/llama"}}}`), 0o644))
	for key, want := range map[string]string{
		"own":          ", by " + file + "'s numbers for own: ",
		"own-too":      ", by " + file + "'s numbers for own: ",
		"llama-3.1-8b": ", by the built-in catalogue's numbers for llama-3.1-8b: ",
	} {
		r := request(t, goldentest.Shared(t, "dataset"), Selection{Names: []string{"gqa_paged_decode_h5_kv1_d128_ps1"}})
		r.ModelKey, r.Catalogue = key, file
		_, err := Prepare(r)
		require.ErrorContains(t, err, want, key)
	}
}

// TestModels_Numbers_HaveASource: the built-in numbers name where they were read.
func TestModels_Numbers_HaveASource(t *testing.T) {
	t.Parallel()
	base, err := parseModels(builtinModels, builtinFile)
	require.NoError(t, err)
	for key, e := range base.models {
		if e.Config == nil {
			continue
		}
		var from struct {
			Source string `json:"source"`
		}
		require.NoError(t, json.Unmarshal(e.Config, &from))
		require.NotEmpty(t, from.Source, key)
	}
}

// TestModels_ConfigurationsAgreeWithTheDataset: a definition that names a model of the catalogue, and the ranks it was made for, fits
// that model under those ranks. Experts are left out: the dataset's have whole experts whatever their tags.
func TestModels_ConfigurationsAgreeWithTheDataset(t *testing.T) {
	t.Parallel()
	root := goldentest.Shared(t, "dataset")
	defs, _, err := Resolve(root, Selection{All: true})
	require.NoError(t, err)
	c, err := LoadCatalogue(filepath.Join(writeModelsDir(t), "models.json"))
	require.NoError(t, err)
	compared := 0
	for _, d := range defs {
		for _, tag := range d.Tags {
			key, isModel := strings.CutPrefix(tag, "model:")
			if !isModel || d.OpType == "moe" || d.OpType == "gemm" || !slices.Contains(c.Keys(), key) {
				continue
			}
			_, raw := c.config(key, "")
			if raw == nil {
				continue
			}
			config, err := modelconfig.Parse(raw, "")
			require.NoError(t, err)
			demand := modelconfig.Fit(d, config)
			require.Empty(t, demand.Problem, "%s of %s", d.Name, key)
			require.Empty(t, demand.Unchecked, "%s of %s", d.Name, key)
			if tp := d.TP(); tp > 0 && len(demand.AttentionTP) > 0 {
				require.Contains(t, demand.AttentionTP, tp, "%s of %s", d.Name, key)
			}
			compared++
		}
	}
	require.Greater(t, compared, 60)
}

func writeModelsDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "models.json"), []byte(`{"models": {}}`), 0o644))
	return dir
}

// TestNewPlan_CacheTypeOfTheDefinition_IsAskedFor: an FP8 cache is not refused for a bfloat16 model, because the flag for it is passed.
func TestNewPlan_CacheTypeOfTheDefinition_IsAskedFor(t *testing.T) {
	t.Parallel()
	d := parseDef(t, strings.Replace(string(headed(t, "fp8", 32, 8).Raw), `"k_cache": {"shape": ["n"], "dtype": "bfloat16"}`, `"k_cache": {"shape": ["n"], "dtype": "float8_e4m3fn"}`, 1))
	spec := specFor(sglangSpec(heads32), []int{8}, d)
	spec.Traffic, spec.Dump = proto.Traffic{Dataset: "random", ISL: 8, OSL: 8, NumBatches: 1}, proto.DumpSpec{What: DumpAuto}
	plan, err := NewPlan(spec, []*fitrace.Definition{d})
	require.NoError(t, err)
	report, err := plan.Report("c", []*fitrace.Definition{d})
	require.NoError(t, err)
	require.Equal(t, "fp8_e4m3", report.Tasks[0].Launch.Engine["kv_cache_dtype"])
}
