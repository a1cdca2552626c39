package baseline_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/publisher/baseline"
)

func definitions(t *testing.T) []*fitrace.Definition {
	t.Helper()
	var defs []*fitrace.Definition
	for _, pattern := range []string{"../../testdata/dataset/definitions/*/*.json", "../../test/gpu/definitions/*/*.json"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			d, err := fitrace.ParseDefinition(data, name)
			require.NoError(t, err)
			defs = append(defs, d)
		}
	}
	require.Greater(t, len(defs), 10)
	return defs
}

type solution struct {
	Name, Definition, Author string
	Spec                     struct {
		EntryPoint string `json:"entry_point"`
		DPS        *bool  `json:"destination_passing_style"`
	}
	Sources []struct{ Path, Content string }
}

func TestFor(t *testing.T) {
	t.Parallel()
	for _, d := range definitions(t) {
		s, err := baseline.For(d)
		require.NoError(t, err)
		again, err := baseline.For(d)
		require.NoError(t, err)
		require.Equal(t, s, again, "equal bytes")
		var got solution
		require.NoError(t, json.Unmarshal(s.JSON, &got))
		require.Equal(t, d.Name, got.Definition)
		require.Equal(t, "solutions/baseline/"+d.OpType+"/"+d.Name+"/"+s.Name+".json", s.Path)
		require.NotNil(t, got.Spec.DPS, "the model's own default is true")
		require.False(t, *got.Spec.DPS)
		source := got.Sources[0].Content
		var params []string
		for _, in := range d.Inputs {
			params = append(params, in.Name)
		}
		require.Contains(t, source, "def run("+strings.Join(params, ", ")+"):")
		for _, text := range []string{source, s.Test.Source} {
			require.NotContains(t, text, "{{")
			require.NotContains(t, text, "<no value>")
			require.NotContains(t, text, d.Reference)
		}
		require.Equal(t, "tests/references/test_"+d.Name+".py", s.Test.Path)
	}
}

func TestFor_Constants(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"gqa_paged_decode_h32_kv8_d128_ps64":        {"kv_indices, last_page_len, 32, 8, 128, 64", "last_page_len = kv_last_page_len", "return_lse=True", "use_tensor_cores=True"},
		"gqa_paged_decode_h32_kv8_d128_ps1":         {"32, 8, 128, 1", "torch.ones_like(kv_indptr[1:])"},
		"gqa_paged_prefill_causal_h32_kv8_d128_ps1": {"causal=True"},
		"fused_add_rmsnorm_h4096":                   {"eps=1e-5", "hidden_states.clone()"},
		"top_k_top_p_sampling_from_probs_v128256":   {`filter_apply_order="joint"`, "torch.int64"},
		"mla_paged_decode_h16_ckv512_kpe64_ps1":     {"16, 512, 64, 1", "False, float(sm_scale)", "torch.arange"},
		"moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e64_h1024_i512": {
			"num_experts=64, local_num_experts=64, local_expert_offset=int(local_expert_offset)", "top_k=8, n_group=8, topk_group=4, routing_method_type=2",
		},
		"trtllm_fp8_per_tensor_scale_moe_topk1_e16_h1024_i512": {
			"num_experts=16, local_num_experts=16, local_expert_offset=0", "top_k=1, n_group=None, topk_group=None, routing_method_type=3", "scales_on_input=True",
		},
		"gdn_decode_qk4_v8_d128_k_last":                {"import flashinfer.gdn_decode\n", "gated_delta_rule_decode_pretranspose("},
		"rope_with_cos_sin_cache_neox_style_d128_rd64": {"128, cos_sin_cache, is_neox=True"},
	}
	for _, d := range definitions(t) {
		for _, text := range want[d.Name] {
			s, err := baseline.For(d)
			require.NoError(t, err)
			var got solution
			require.NoError(t, json.Unmarshal(s.JSON, &got))
			require.Contains(t, got.Sources[0].Content, text, d.Name)
		}
		delete(want, d.Name)
	}
	require.Empty(t, want, "definitions that are not there")
}

// A kv_last_page_len on the axis of kv_indptr has one element more than there are requests, which no API takes.
func TestFor_PaddedLastPage(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../test/gpu/definitions/gqa_paged/gqa_paged_prefill_causal_h32_kv8_d128_ps64.json")
	require.NoError(t, err)
	var raw map[string]any
	require.NoError(t, json.Unmarshal(data, &raw))
	raw["inputs"].(map[string]any)["kv_last_page_len"].(map[string]any)["shape"] = []string{"len_indptr"}
	changed, err := json.Marshal(raw)
	require.NoError(t, err)
	for _, test := range []struct {
		data []byte
		want string
	}{{data, "last_page_len = kv_last_page_len\\n"}, {changed, "last_page_len = kv_last_page_len[:-1]\\n"}} {
		d, err := fitrace.ParseDefinition(test.data, "gqa_paged_prefill_causal_h32_kv8_d128_ps64.json")
		require.NoError(t, err)
		s, err := baseline.For(d)
		require.NoError(t, err)
		require.Contains(t, string(s.JSON), test.want)
	}
}

// changed gives a definition with a text in place of another.
func changed(t *testing.T, file, old, new string) *fitrace.Definition {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(data), old)
	text := strings.ReplaceAll(string(data), old, new)
	var named struct{ Name string }
	require.NoError(t, json.Unmarshal([]byte(text), &named))
	d, err := fitrace.ParseDefinition([]byte(text), named.Name+".json")
	require.NoError(t, err)
	return d
}

// What no source can know, or no call could pass with, has no baseline, and the error says why.
func TestFor_None(t *testing.T) {
	t.Parallel()
	const (
		tensor = "../../test/gpu/definitions/moe/trtllm_fp8_per_tensor_scale_moe_topk1_e16_h1024_i512.json"
		block  = "../../testdata/dataset/definitions/moe/moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e64_h1024_i512.json"
		norm   = "../../testdata/dataset/definitions/rmsnorm/rmsnorm_h4096.json"
	)
	for _, test := range []struct{ file, old, new, want string }{
		{tensor, "routing_method_type=3", "as Llama 4 does", "tells how tokens are routed"},
		{block, "_topk8_", "_", "how many experts a token is routed to"},
		{norm, "EPSILON", "TINY", "epsilon is not known"},
		{norm, "fi_api:flashinfer.norm.rmsnorm", "norm", "it has no tag fi_api"},
		{norm, "flashinfer.norm.rmsnorm", "flashinfer.mamba.selective_state_update", "one value a head"},
		{norm, "flashinfer.norm.rmsnorm", "flashinfer.fused_moe.trtllm_fp4_block_scale_moe", "packed fp4"},
		{norm, `"weight"`, `"gain"`, "called with weight, which it has no input for"},
	} {
		_, err := baseline.For(changed(t, test.file, test.old, test.new))
		require.ErrorContains(t, err, test.want)
	}
}

// A recurrent state whose values come last is what the other of FlashInfer's two kernels takes.
func TestFor_StateLayout(t *testing.T) {
	t.Parallel()
	const file = "../../test/gpu/definitions/gdn/gdn_decode_qk4_v8_d128_k_last.json"
	for _, test := range []struct {
		old, new string
		keysLast bool
	}{{"k_last", "k_first", true}, {"k-last", "k-first", true}, {"last", "first", false}} {
		s, err := baseline.For(changed(t, file, test.old, test.new))
		require.NoError(t, err)
		require.Equal(t, test.keysLast, strings.Contains(string(s.JSON), "_pretranspose("), "%s is %s", test.old, test.new)
	}
}

func TestFor_Compiles(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3, to compile the sources")
	}
	for _, d := range definitions(t) {
		s, err := baseline.For(d)
		if err != nil {
			continue
		}
		var got solution
		require.NoError(t, json.Unmarshal(s.JSON, &got))
		for _, source := range []string{got.Sources[0].Content, s.Test.Source} {
			cmd := exec.Command(python, "-c", "import sys; compile(sys.stdin.read(), 'main.py', 'exec')")
			cmd.Stdin = strings.NewReader(source)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s\n%s\n%s", d.Name, out, source)
		}
	}
}
