package modelconfig_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/modelconfig"
)

// definition returns a definition with const axes, written "name=value name=value", and with inputs "name:dtype name:dtype".
func definition(t *testing.T, opType, api, axes, inputs string) *fitrace.Definition {
	t.Helper()
	consts, tensors := []string{`"n": {"type": "var"}`}, []string{}
	for _, a := range strings.Fields(axes) {
		name, value, _ := strings.Cut(a, "=")
		consts = append(consts, fmt.Sprintf(`%q: {"type": "const", "value": %s}`, name, value))
	}
	for _, in := range strings.Fields(inputs + " filler:int32") {
		name, dtype, _ := strings.Cut(in, ":")
		tensors = append(tensors, fmt.Sprintf(`%q: {"shape": ["n"], "dtype": %q}`, name, dtype))
	}
	text := fmt.Sprintf(`{"name": "d", "op_type": %q, "tags": ["fi_api:flashinfer.%s"], "axes": {%s}, "inputs": {%s},
		"outputs": {"y": {"shape": ["n"], "dtype": "bfloat16"}}, "reference": "def run(*a):\n    return a\n"}`,
		opType, api, strings.Join(consts, ", "), strings.Join(tensors, ", "))
	d, err := fitrace.ParseDefinition([]byte(text), "d.json")
	require.NoError(t, err)
	return d
}

func TestFit_DefinitionDividedByModel_GivesRanks(t *testing.T) {
	t.Parallel()
	const paged, mla, add, moe = "decode.BatchDecodeWithPagedKVCacheWrapper", "mla.BatchMLAPagedAttentionWrapper", "norm.fused_add_rmsnorm", "fused_moe.trtllm_fp8_block_scale_moe"
	for name, tc := range map[string]struct {
		model, opType, api, axes string
		tp                       []int
		ep, moeTP                int
		problem, unchecked       string
	}{
		"whole":                 {model: llama, opType: "gqa_paged", api: paged, axes: "num_qo_heads=32 num_kv_heads=8 head_dim=128", tp: []int{1}},
		"a fourth":              {model: llama, opType: "gqa_paged", api: paged, axes: "num_qo_heads=8 num_kv_heads=2 head_dim=128", tp: []int{4}},
		"replicated KV heads":   {model: llama, opType: "gqa_ragged", api: paged, axes: "num_qo_heads=2 num_kv_heads=1", tp: []int{16}},
		"KV heads alone":        {model: llama, opType: "gqa_paged", api: paged, axes: "num_kv_heads=1", tp: []int{8, 16, 32}},
		"40 heads over 8":       {model: scout, opType: "gqa_paged", api: paged, axes: "num_qo_heads=5 num_kv_heads=1 head_dim=128", tp: []int{8}},
		"no division":           {model: llama, opType: "gqa_paged", api: paged, axes: "num_qo_heads=5 num_kv_heads=1", problem: "has 32 attention heads: no TP gives 5"},
		"more than there are":   {model: llama, opType: "gqa_paged", api: paged, axes: "num_qo_heads=64 num_kv_heads=8", problem: "has 32 attention heads: no TP gives 64"},
		"no KV division":        {model: llama, opType: "gqa_paged", api: paged, axes: "num_qo_heads=32 num_kv_heads=16", problem: "has 8 KV heads: no TP gives 16"},
		"each, not together":    {model: llama, opType: "gqa_paged", api: paged, axes: "num_qo_heads=32 num_kv_heads=4", problem: "has 32 attention heads and 8 KV heads: no TP gives num_qo_heads 32 and num_kv_heads 4 together"},
		"head size":             {model: llama, opType: "gqa_paged", api: paged, axes: "num_qo_heads=32 num_kv_heads=8 head_dim=64", problem: "has head_dim 128, and the definition has 64"},
		"heads of latent":       {model: deepseek, opType: "gqa_paged", api: paged, axes: "num_qo_heads=16 num_kv_heads=1", problem: "has latent attention"},
		"heads that vary":       {model: `{"num_attention_heads": 8, "num_key_value_heads": 8, "swa_num_attention_heads": 16}`, opType: "gqa_paged", api: paged, axes: "num_qo_heads=3", unchecked: "differ between the model's layers"},
		"KV heads not known":    {model: `{"num_attention_heads": 8, "head_dim": 128}`, opType: "gqa_paged", api: paged, axes: "num_qo_heads=4 num_kv_heads=3 head_dim=128", tp: []int{2}, unchecked: "num_kv_heads"},
		"nothing known":         {model: `{}`, opType: "gqa_paged", api: paged, axes: "num_qo_heads=4 head_dim=3", unchecked: "num_qo_heads head_dim"},
		"latent of 128":         {model: deepseek, opType: "mla_paged", api: mla, axes: "num_qo_heads=16 head_dim_ckv=512 head_dim_kpe=64", tp: []int{8}},
		"latent of 16":          {model: lite, opType: "mla_paged", api: mla, axes: "num_qo_heads=16 head_dim_ckv=512 head_dim_kpe=64", tp: []int{1}},
		"latent, another size":  {model: lite, opType: "mla_paged", api: mla, axes: "num_qo_heads=16 head_dim_ckv=256", problem: "has head_dim_ckv 512, and the definition has 256"},
		"no latent":             {model: llama, opType: "mla_paged", api: mla, axes: "num_qo_heads=16", problem: "has no latent attention"},
		"latent ragged":         {model: deepseek, opType: "mla_ragged", api: mla, axes: "num_qo_heads=32 num_kv_heads=32 head_dim_qk=192 head_dim_vo=128", tp: []int{4}},
		"latent ragged, of 128": {model: deepseek, opType: "mla_ragged", api: mla, axes: "num_qo_heads=32 head_dim_qk=128", problem: "has head_dim_qk 192"},
		"linear":                {model: next, opType: "gdn", api: "gdn.chunk_gated_delta_rule", axes: "num_q_heads=4 num_k_heads=4 num_v_heads=8 head_size=128", tp: []int{4}},
		"no linear":             {model: llama, opType: "gdn", api: "gdn.chunk_gated_delta_rule", axes: "num_q_heads=4", problem: "has no linear attention"},
		"experts":               {model: deepseek, opType: "moe", api: moe, axes: "num_experts=256 num_local_experts=32 hidden_size=7168 intermediate_size=2048 top_k=8", ep: 8, moeTP: 1},
		"experts of a rank":     {model: next, opType: "moe", api: moe, axes: "num_experts=128 hidden_size=2048 intermediate_size=256 top_k=10", ep: 4, moeTP: 2},
		"no such experts":       {model: deepseek, opType: "moe", api: moe, axes: "num_experts=384 num_local_experts=48", problem: "has num_experts 256, and the definition has 384"},
		"no such share":         {model: next, opType: "moe", api: moe, axes: "num_experts=100", problem: "has 512 experts: no EP gives 100"},
		"no experts":            {model: llama, opType: "moe", api: moe, axes: "num_experts=8", problem: "has no experts"},
		"residual norm":         {model: deepseek, opType: "rmsnorm", api: add, axes: "hidden_size=7168"},
		"residual norm, other":  {model: deepseek, opType: "rmsnorm", api: add, axes: "hidden_size=1536", problem: "has hidden size 7168"},
		"latent norm":           {model: deepseek, opType: "rmsnorm", api: "norm.rmsnorm", axes: "hidden_size=1536"},
		"head norm":             {model: next, opType: "rmsnorm", api: "norm.rmsnorm", axes: "hidden_size=256"},
		"no such norm":          {model: llama, opType: "rmsnorm", api: "norm.rmsnorm", axes: "hidden_size=1536", problem: "has nothing of size 1536 to normalise"},
		"vocabulary":            {model: llama, opType: "sampling", api: "sampling.top_k_top_p_sampling_from_probs", axes: "vocab_size=128256"},
		"vocabulary, other":     {model: llama, opType: "sampling", api: "sampling.top_k_top_p_sampling_from_probs", axes: "vocab_size=129280", problem: "has vocab_size 128256"},
		"no rule":               {model: llama, opType: "mamba_ssu", api: "mamba.selective_state_update", axes: "nheads=3", unchecked: "op_type mamba_ssu"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := modelconfig.Fit(definition(t, tc.opType, tc.api, tc.axes, ""), parse(t, tc.model, ""))
			if tc.problem != "" {
				require.Contains(t, got.Problem, tc.problem)
				return
			}
			require.Empty(t, got.Problem)
			require.Equal(t, tc.tp, got.AttentionTP)
			require.Equal(t, [2]int{tc.ep, tc.moeTP}, [2]int{got.EP, got.MoETP})
			require.Contains(t, strings.Join(got.Unchecked, " "), tc.unchecked)
			require.Equal(t, tc.unchecked == "", len(got.Unchecked) == 0, "%v", got.Unchecked)
		})
	}
}

func TestDemand_Check_NamesWhatDiffers(t *testing.T) {
	t.Parallel()
	attention := modelconfig.Demand{AttentionTP: []int{8, 16}}
	require.Empty(t, attention.Check(modelconfig.LayoutOf(8, 1, 1, 8)))
	require.Contains(t, attention.Check(modelconfig.LayoutOf(8, 1, 1, 4)), "divides its heads over 4 ranks, and the definition has those of 8 or 16")
	moe := modelconfig.Demand{EP: 4, MoETP: 2}
	require.Empty(t, moe.Check(modelconfig.LayoutOf(8, 4, 1, 8)))
	require.Contains(t, moe.Check(modelconfig.LayoutOf(8, 2, 1, 8)), "spreads its experts over 2 ranks (EP), and the definition has those of 4")
	require.Contains(t, moe.Check(modelconfig.LayoutOf(4, 4, 1, 8)), "divides each expert over 1 ranks, and the definition has those of 2")
}

func TestDTypes_FlagsAndModel_AreCompared(t *testing.T) {
	t.Parallel()
	half := strings.Replace(llama, "bfloat16", "float16", 1)
	for name, tc := range map[string]struct {
		model, opType, inputs string
		flags                 modelconfig.Flags
		want                  string
	}{
		"bf16":               {llama, "gqa_paged", "q:bfloat16 k_cache:bfloat16", modelconfig.Flags{}, ""},
		"KV flag":            {llama, "gqa_paged", "q:bfloat16 k_cache:bfloat16 v_cache:bfloat16", modelconfig.Flags{KVCache: "fp8_e4m3"}, "the dtype of k_cache, v_cache is bfloat16, and with --kv-cache-dtype fp8_e4m3 its calls have float8_e4m3fn"},
		"KV flag, no model":  {"", "mla_paged", "ckv_cache:bfloat16", modelconfig.Flags{KVCache: "fp8_e5m2"}, "--kv-cache-dtype fp8_e5m2 its calls have float8_e5m2"},
		"KV flag that fits":  {"", "gqa_paged", "k_cache:float8_e4m3fn q:bfloat16", modelconfig.Flags{KVCache: "fp8_e4m3"}, ""},
		"KV flag auto":       {llama, "gqa_paged", "k_cache:bfloat16", modelconfig.Flags{KVCache: "auto"}, ""},
		"KV flag, ragged":    {llama, "gqa_ragged", "k:bfloat16 v:bfloat16", modelconfig.Flags{KVCache: "fp8_e4m3"}, ""},
		"dtype flag":         {llama, "rmsnorm", "hidden_states:bfloat16 weight:bfloat16", modelconfig.Flags{DType: "half"}, "the dtype of hidden_states, weight is bfloat16, and with --dtype half its calls have float16"},
		"dtype and KV flag":  {llama, "gqa_paged", "q:bfloat16 k_cache:bfloat16", modelconfig.Flags{DType: "float16", KVCache: "bf16"}, "the dtype of q is bfloat16"},
		"dtype flag reaches": {llama, "gqa_paged", "k_cache:bfloat16", modelconfig.Flags{DType: "float16"}, "the dtype of k_cache"},
		"the model's":        {half, "gqa_ragged", "q:bfloat16", modelconfig.Flags{}, "with the model's dtype float16 its calls have float16"},
		"flag over model":    {half, "gqa_ragged", "q:bfloat16", modelconfig.Flags{DType: "bfloat16"}, ""},
		"float32 model":      {strings.Replace(llama, "bfloat16", "float32", 1), "gqa_ragged", "q:bfloat16", modelconfig.Flags{}, "which SGLang runs as float16"},
		"float32 Gemma":      {`{"model_type": "gemma3", "dtype": "float32"}`, "gqa_ragged", "q:bfloat16", modelconfig.Flags{}, ""},
		"own KV scheme":      {`{"dtype": "bfloat16", "quantization_config": {"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}}`, "gqa_paged", "k_cache:float8_e4m3fn", modelconfig.Flags{}, ""},
		"fp8 experts":        {deepseek, "moe", "gemm1_weights:float8_e4m3fn", modelconfig.Flags{}, ""},
		"fp8 flag":           {next, "moe", "gemm1_weights:float8_e4m3fn", modelconfig.Flags{Quantization: "fp8"}, ""},
		"no quantization":    {strings.Replace(next, `"head_dim"`, `"dtype": "bfloat16", "head_dim"`, 1), "moe", "gemm1_weights:float8_e4m3fn", modelconfig.Flags{}, "without quantization its calls have bfloat16"},
		"unknown method":     {next, "moe", "gemm1_weights:float8_e4m3fn", modelconfig.Flags{Quantization: "quark"}, ""},
		"packed by a flag":   {next, "moe", "gemm1_weights:float8_e4m3fn", modelconfig.Flags{Quantization: "awq"}, "the dtype of gemm1_weights is float8_e4m3fn, and with --quantization awq its calls have packed elements"},
		"packed checkpoint":  {`{"dtype": "bfloat16", "quantization_config": {"quant_method": "gptq"}}`, "moe", "gemm1_weights:bfloat16", modelconfig.Flags{}, "the model's quantization gptq its calls have packed elements"},
		"packed":             {next, "moe", "gemm1_weights:float32", modelconfig.Flags{Quantization: "fp8"}, ""},
		"samplers":           {half, "sampling", "probs:float32", modelconfig.Flags{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c *modelconfig.Config
			if tc.model != "" {
				c = parse(t, tc.model, "")
			}
			got := modelconfig.DTypes(definition(t, tc.opType, "a.b", "", tc.inputs), c, tc.flags)
			require.Contains(t, got, tc.want)
			require.Equal(t, tc.want == "", got == "", got)
		})
	}
}
