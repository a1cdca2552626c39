package reach

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
)

// definitions loads a dataset's definitions by name.
func definitions(t *testing.T, root string) map[string]*fitrace.Definition {
	t.Helper()
	list, errs := fitrace.LoadDefinitions(root)
	require.Empty(t, errs)
	require.NotEmpty(t, list)
	byName := map[string]*fitrace.Definition{}
	for _, d := range list {
		byName[d.Name] = d
	}
	return byName
}

func ours(t *testing.T) map[string]*fitrace.Definition {
	return definitions(t, filepath.Join("..", "..", "testdata", "dataset"))
}

// define returns a definition of an API without inputs, which any call binds to.
func define(t *testing.T, api, opType, axes, tags string) *fitrace.Definition {
	t.Helper()
	d, err := fitrace.ParseDefinition([]byte(`{"name": "d", "op_type": "`+opType+`", "tags": ["fi_api:`+api+`"`+tags+`],
		"axes": {"n": {"type": "var"}`+axes+`}, "inputs": {"x": {"shape": ["n"], "dtype": "float32"}},
		"outputs": {"y": {"shape": ["n"], "dtype": "float32"}}, "reference": "def run(x):\n    return x\n"}`), "d.json")
	require.NoError(t, err)
	d.Inputs = nil
	return d
}

// want is what a row of a table asks of an answer. Nothing is asked of fields left empty, save of Requires.
type want struct {
	verdict  Verdict
	mode     string
	requires string // joined by commas
	why      string // a part of it
	caution  string // a part of one
	instead  string
}

func check(t *testing.T, d *fitrace.Definition, q Query, w want) {
	t.Helper()
	require.NotNil(t, d)
	a := Ask(d, q)
	require.Equal(t, w.verdict, a.Verdict, "%+v", a)
	if a.Verdict != Uncollectable {
		assert.Equal(t, w.mode, a.Mode)
	}
	assert.Equal(t, w.requires, strings.Join(a.Requires, ", "))
	assert.Contains(t, a.Why, w.why)
	assert.Contains(t, strings.Join(a.Cautions, "\n"), w.caution)
	assert.Equal(t, w.instead, a.Instead)
	if a.Verdict != Unknown {
		assert.NotEmpty(t, a.Why)
		assert.NotEmpty(t, a.Sources)
	}
}

const attention = "--attention-backend flashinfer"

func TestAsk_OurDefinitions(t *testing.T) {
	t.Parallel()
	defs := ours(t)
	never, yes := want{verdict: Unreachable, why: "sgl_kernel"}, want{verdict: Reachable, mode: "any"}
	with := func(w want, change func(*want)) want { change(&w); return w }
	moe := with(yes, func(w *want) { w.requires = "--moe-runner-backend flashinfer_trtllm" })
	for _, c := range []struct {
		name       string
		definition string
		releases   string
		capability []int
		want       want
	}{
		{"decode, everywhere", "gqa_paged_decode_h32_kv8_d128_ps1", "0.5.8 0.5.16 0.5.23", []int{90, 100}, want{verdict: Reachable, mode: "offline", requires: attention}},
		{"decode in pages of 64, by regrouping slots", "gqa_paged_decode_h32_kv8_d128_ps64", "0.5.8 0.5.16 0.5.23", []int{90, 100},
			want{verdict: Reachable, mode: "offline", requires: attention, caution: "--page-size 64"}},
		{"paged prefill needs deterministic inference", "gqa_paged_prefill_causal_h32_kv8_d128_ps1", "0.5.8 0.5.10.post1", []int{90, 100},
			want{verdict: Reachable, mode: "http-paged", requires: attention, caution: "deterministic inference"}},
		{"paged prefill has an environment variable", "gqa_paged_prefill_causal_h32_kv8_d128_ps1", "0.5.12 0.5.16 0.5.23", []int{90, 100},
			want{verdict: Reachable, mode: "http-paged", requires: attention, why: "SGLANG_FLASHINFER_USE_PAGED"}},
		{"ragged prefill", "gqa_ragged_prefill_causal_h32_kv8_d128", "0.5.8 0.5.16 0.5.23", []int{90, 100}, want{verdict: Reachable, mode: "http-ragged", requires: attention}},
		{"MLA decode", "mla_paged_decode_h16_ckv512_kpe64_ps1", "0.5.8 0.5.16 0.5.23", []int{90, 100}, want{verdict: Reachable, mode: "offline", requires: attention, why: "decode"}},
		{"MLA prefill", "mla_paged_prefill_causal_h16_ckv512_kpe64_ps1", "0.5.8 0.5.16 0.5.23", []int{90, 100},
			want{verdict: Reachable, mode: "http-paged", requires: attention + ", --flashinfer-mla-disable-ragged", why: "prefill"}},
		{"norms were SGLang's own", "rmsnorm_h4096", "0.5.8", []int{90, 100}, with(never, func(w *want) { w.instead = "torch.ops.sgl_kernel.rmsnorm" })},
		{"norms", "rmsnorm_h4096", "0.5.10.post1 0.5.12 0.5.16 0.5.23", []int{90, 100}, yes},
		{"added norms were SGLang's own", "fused_add_rmsnorm_h4096", "0.5.8", []int{90}, with(never, func(w *want) { w.instead = "torch.ops.sgl_kernel.fused_add_rmsnorm" })},
		{"added norms", "fused_add_rmsnorm_h4096", "0.5.16 0.5.23", []int{90, 100}, yes},
		{"sampling was SGLang's own", "top_k_top_p_sampling_from_probs_v128256", "0.5.8", []int{90},
			with(never, func(w *want) { w.instead = "torch.ops.sgl_kernel.top_k_top_p_sampling_from_probs" })},
		{"sampling", "top_k_top_p_sampling_from_probs_v128256", "0.5.10.post1 0.5.16 0.5.23", []int{90, 100},
			with(yes, func(w *want) { w.requires, w.caution = "--sampling-backend flashinfer", "temperature above 0" })},
		{"experts on Blackwell", "moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e64_h1024_i512", "0.5.8 0.5.10.post1 0.5.12", []int{100, 103}, moe},
		{"experts on Blackwell, whose bias is float32", "moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e64_h1024_i512", "0.5.14 0.5.16 0.5.23", []int{100, 103},
			want{verdict: Uncollectable, why: "passes routing_bias as float32, not bfloat16"}},
		{"experts on Hopper", "moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e64_h1024_i512", "0.5.8 0.5.16 0.5.23", []int{90},
			want{verdict: Unreachable, why: "SM100"}},
		{"experts on GPUs not named", "moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e64_h1024_i512", "0.5.8 0.5.12", []int{0},
			with(moe, func(w *want) { w.caution = "SM100" })},
		{"batched FP8 products were SGLang's own", "bmm_fp8_b16_n512_k128", "0.5.8 0.5.14 0.5.16", []int{90, 100}, with(never, func(w *want) { w.instead = "sgl_kernel.bmm_fp8" })},
		{"batched FP8 products", "bmm_fp8_b16_n512_k128", "0.5.18 0.5.23", []int{90, 100}, yes},
	} {
		for _, release := range strings.Fields(c.releases) {
			for _, capability := range c.capability {
				t.Run(c.name+", "+release, func(t *testing.T) {
					t.Parallel()
					check(t, defs[c.definition], Query{Release: release, Capability: capability}, c.want)
				})
			}
		}
	}
}

func TestAsk_OthersDefinitions(t *testing.T) {
	t.Parallel()
	defs := definitions(t, goldentest.Shared(t, "dataset"))
	for name, d := range definitions(t, goldentest.Shared(t, "golden")) {
		defs[name] = d
	}
	for _, c := range []struct {
		definition, release string
		capability          int
		want                want
	}{
		{"top_p_sampling_from_probs_v151936", "0.5.16", 90, want{verdict: Unreachable, why: "no release", instead: "top_k_top_p_sampling_from_probs"}},
		{"top_k_sampling_from_probs_v151936", "0.5.8", 100, want{verdict: Unreachable, why: "no release", instead: "top_k_top_p_sampling_from_probs"}},
		{"rope_with_cos_sin_cache_neox_style_d128_rd64", "0.5.23", 90, want{verdict: Unreachable, why: "own kernel"}},
		{"gdn_decode_qk8_v16_d128_k_last", "0.5.23", 90, want{verdict: Unreachable, instead: "gated_delta_rule_decode_pretranspose"}},
		{"gdn_decode_qk8_v16_d128_k_last", "0.5.8", 90, want{verdict: Unreachable, why: "Triton"}},
		{"gdn_prefill_qk8_v16_d128_k_last", "0.5.12", 90, want{verdict: Uncollectable, why: "chunk_gated_delta_rule: SGLang 0.5.12 passes g and beta, never A_log, a, dt_bias, b"}},
		{"gdn_prefill_qk8_v16_d128_k_last", "0.5.12", 100, want{verdict: Unreachable, why: "SM90 only"}},
		{"gdn_prefill_qk8_v16_d128_k_last", "0.5.16", 100, want{verdict: Uncollectable, why: "passes g and beta"}},
		{"mamba_ssu_decode_h64_d64_s128_ng4", "0.5.8", 90, want{verdict: Unreachable, why: "Triton"}},
		{"mamba_ssu_decode_h64_d64_s128_ng4", "0.5.16", 90, want{verdict: Reachable, mode: "any", requires: "--mamba-backend flashinfer, --mamba-ssm-dtype bfloat16"}},
		{"trtllm_fp4_block_scale_routed_moe_topk8_e64_h4096_i1536", "0.5.10.post1", 100, want{verdict: Unreachable, why: "releases from 0.5.12 on do"}},
		{"trtllm_fp4_block_scale_routed_moe_topk8_e64_h4096_i1536", "0.5.10.post1", 100, want{verdict: Unreachable, why: "SGLang 0.5.10.post1 does not call"}},
		{"gdn_prefill_qk8_v16_d128_k_last", "0.5.99", 90, want{verdict: Uncollectable, why: "SGLang 0.5.99 (unverified, by the calls of 0.5.23) passes g and beta"}},
		{"trtllm_fp4_block_scale_routed_moe_topk8_e64_h4096_i1536", "0.5.99", 90, want{verdict: Unreachable, why: "SGLang 0.5.99 (unverified, by the calls of 0.5.23) calls"}},
		{"trtllm_fp4_block_scale_routed_moe_topk8_e64_h4096_i1536", "0.5.16", 100, want{verdict: Uncollectable, why: "passes hidden_states as uint8, not bfloat16; gemm1_weights as uint8, not float32"}},
		{"trtllm_fp8_per_tensor_scale_moe_topk1_e16_h5120_i8192", "0.5.16", 100, want{verdict: Uncollectable, why: "passes None for routing_bias (the models whose experts are chosen one at a time"}},
		{"trtllm_fp8_per_tensor_scale_moe_topk8_e128_h2048_i768", "0.5.16", 120, want{verdict: Reachable, mode: "any", requires: "--moe-runner-backend flashinfer_trtllm", caution: "not known to work"}},
		{"gqa_paged_decode_h32_kv8_d128_ps1_fp8kv", "0.5.16", 90, want{verdict: Reachable, mode: "offline", requires: attention + ", --kv-cache-dtype fp8_e4m3"}},
		{"trtllm_fp4_block_scale_routed_moe_topk8_e64_h4096_i1536", "0.5.16", 90, want{verdict: Unreachable, why: "SM100, SM120 only"}},
		{"rmsnorm_h128", "0.5.16", 90, want{verdict: Reachable, mode: "any", caution: "Qwen3"}},
		{"rmsnorm_h512", "0.5.16", 90, want{verdict: Reachable, mode: "any"}},
	} {
		t.Run(c.definition+", "+c.release, func(t *testing.T) {
			t.Parallel()
			check(t, defs[c.definition], Query{Release: c.release, Capability: c.capability}, c.want)
		})
	}
	for name, d := range defs {
		if len(d.APIs()) == 0 {
			assert.Equal(t, Unreachable, Ask(d, Query{}).Verdict, name)
		}
	}
}

// A definition's qk-norm width is a caution, and a wider norm has none of it.
func TestAsk_Axes(t *testing.T) {
	t.Parallel()
	q := Query{Release: "0.5.16", Capability: 90, TP: 1}
	narrow := define(t, "flashinfer.norm.rmsnorm", "rmsnorm", `, "hidden_size": {"type": "const", "value": 128}`, "")
	wide := define(t, "flashinfer.norm.rmsnorm", "rmsnorm", `, "hidden_size": {"type": "const", "value": 4096}`, "")
	assert.Contains(t, strings.Join(Ask(narrow, q).Cautions, ""), "fused kernel")
	assert.Empty(t, Ask(wide, q).Cautions)
}

func TestAsk_Setting(t *testing.T) {
	t.Parallel()
	added := define(t, "flashinfer.norm.fused_add_rmsnorm", "rmsnorm", "", "")
	reduce := define(t, "flashinfer.comm.allreduce_fusion", "comm", "", "")
	trtllm := define(t, "flashinfer.decode.trtllm_batch_decode_with_kv_cache", "gqa_paged", `, "page_size": {"type": "const", "value": 128}`, "")
	sparse := define(t, "flashinfer.decode.trtllm_batch_decode_with_kv_cache_mla", "dsa_paged", "", "")
	dense := define(t, "flashinfer.decode.trtllm_batch_decode_with_kv_cache_mla", "mla_paged", "", "")
	odd := define(t, "flashinfer.mla.BatchMLAPagedAttentionWrapper", "mla_paged", "", `, "stage:verify"`)
	two := define(t, "flashinfer.sampling.top_p_sampling_from_probs", "sampling", "", `, "fi_api:flashinfer.sampling.top_k_top_p_sampling_from_probs"`)
	cutlass := define(t, "flashinfer.fused_moe.cutlass_fused_moe", "moe", "", "")
	both := define(t, "flashinfer.norm.rmsnorm", "norm", "", `, "fi_api:flashinfer.sampling.top_k_top_p_sampling_from_probs"`)
	mlaRagged := define(t, "flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper", "mla_ragged", "", "")
	unknown := define(t, "flashinfer.odd.thing", "odd", "", `, "fi_api:flashinfer.sampling.top_p_sampling_from_probs"`)
	ragged := define(t, "flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper", "gqa_ragged", "", "")
	qwen := "Qwen3MoeForCausalLM"
	for _, c := range []struct {
		name string
		d    *fitrace.Definition
		q    Query
		want want
	}{
		{"fusion bypasses the norm", added, Query{Release: "0.5.16", Capability: 90, TP: 2, Architecture: qwen}, want{verdict: Reachable, mode: "any", requires: noFusion, caution: qwen}},
		{"fusion, from the release that lists the model", added, Query{Release: "0.5.23", Capability: 100, TP: 4, Architecture: "MiMoV2ForCausalLM"}, want{verdict: Reachable, mode: "any", requires: noFusion}},
		{"no fusion in the release before", added, Query{Release: "0.5.20", Capability: 100, TP: 4, Architecture: "MiMoV2ForCausalLM"}, want{verdict: Reachable, mode: "any"}},
		{"no fusion on one rank", added, Query{Release: "0.5.16", Capability: 90, TP: 1, Architecture: qwen}, want{verdict: Reachable, mode: "any"}},
		{"no fusion for Llama", added, Query{Release: "0.5.16", Capability: 90, TP: 2, Architecture: "LlamaForCausalLM"}, want{verdict: Reachable, mode: "any"}},
		{"no fusion on Ada", added, Query{Release: "0.5.16", Capability: 89, TP: 2, Architecture: qwen}, want{verdict: Reachable, mode: "any"}},
		{"fusion of a model not named", added, Query{Release: "0.5.16", Capability: 90, TP: 2}, want{verdict: Reachable, mode: "any", caution: noFusion}},
		{"all-reduce on one rank", reduce, Query{Release: "0.5.16", Capability: 90, TP: 1}, want{verdict: Unreachable, why: "tp is 1"}},
		{"all-reduce", reduce, Query{Release: "0.5.16", Capability: 90, TP: 2}, want{verdict: Reachable, mode: "any", requires: "--flashinfer-allreduce-fusion-backend auto"}},
		{"all-reduce, older flag", reduce, Query{Release: "0.5.12", Capability: 90, TP: 2}, want{verdict: Reachable, mode: "any", requires: "--enable-flashinfer-allreduce-fusion"}},
		{"pages of 128 tokens, not yet", trtllm, Query{Release: "0.5.16", Capability: 100}, want{verdict: Unreachable, why: "128"}},
		{"pages of 128 tokens", trtllm, Query{Release: "0.5.20", Capability: 90}, want{verdict: Reachable, mode: "offline", requires: "--decode-attention-backend trtllm_mha"}},
		{"TensorRT-LLM decode on Hopper, not yet", trtllm, Query{Release: "0.5.8", Capability: 90}, want{verdict: Unreachable, why: "SM100 only"}},
		{"sparse attention, older flag", sparse, Query{Release: "0.5.12", Capability: 100}, want{verdict: Reachable, mode: "offline", requires: "--nsa-decode-backend trtllm"}},
		{"sparse attention", sparse, Query{Release: "0.5.14", Capability: 103}, want{verdict: Reachable, mode: "offline", requires: "--dsa-decode-backend trtllm"}},
		{"sparse attention, not yet", sparse, Query{Release: "0.5.8", Capability: 100}, want{verdict: Unreachable, why: "no TensorRT-LLM backend"}},
		{"dense MLA", dense, Query{Release: "0.5.8", Capability: 100}, want{verdict: Reachable, mode: "offline", requires: "--attention-backend trtllm_mla"}},
		{"a stage without a statement", odd, Query{Release: "0.5.16"}, want{verdict: Unknown, why: "verify"}},
		{"the reachable one of two", two, Query{Release: "0.5.16"}, want{verdict: Reachable, mode: "any", requires: "--sampling-backend flashinfer"}},
		{"an architecture, exactly", cutlass, Query{Release: "0.5.16", Capability: 89}, want{verdict: Reachable, mode: "any", requires: "--moe-runner-backend flashinfer_cutlass"}},
		{"another of the same major number", cutlass, Query{Release: "0.5.16", Capability: 80}, want{verdict: Unreachable, why: "SM89, SM90, SM100, SM120 only"}},
		{"the first of two", both, Query{Release: "0.5.16", TP: 1}, want{verdict: Reachable, mode: "any", why: "sgl_kernel"}},
		{"MLA ragged prefill", mlaRagged, Query{Release: "0.5.23"}, want{verdict: Reachable, mode: "http-ragged", requires: attention, why: "MLA", caution: "must not share prefixes"}},
		{"unknown before unreachable", unknown, Query{Release: "0.5.16"}, want{verdict: Unknown, why: "thing"}},
		{"a post release", added, Query{Release: "0.5.10", Capability: 90, TP: 1}, want{verdict: Reachable, mode: "any"}},
		{"a release between two", added, Query{Release: "0.5.17", Capability: 90, TP: 1}, want{verdict: Reachable, mode: "any", caution: "0.5.17 was not read, this is for 0.5.16"}},
		{"a release after the last", added, Query{Release: "0.6.1", Capability: 90, TP: 1}, want{verdict: Reachable, mode: "any", caution: "this is for 0.5.23"}},
		{"a development build", added, Query{Release: "0.5.16.dev3+gabc", Capability: 90, TP: 1}, want{verdict: Reachable, mode: "any"}},
		{"a release before the first", added, Query{Release: "0.5.6", Capability: 90, TP: 1}, want{verdict: Unknown, why: "0.5.8"}},
		{"no release", added, Query{Capability: 90, TP: 1}, want{verdict: Reachable, mode: "any", caution: "this is for 0.5.23"}},
		{"no release number", added, Query{Release: "main", Capability: 90, TP: 1}, want{verdict: Reachable, mode: "any", caution: `"main"`}},
		{"plans of what has none", added, Query{Release: "0.5.16", TP: 1, PlanOnly: true}, want{verdict: Reachable, mode: "any", caution: "no plan call"}},
		{"a multimodal model", ragged, Query{Release: "0.5.16", Architecture: "Llama4ForConditionalGeneration"}, want{verdict: Reachable, mode: "http-ragged", requires: attention, caution: "multimodal"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			check(t, c.d, c.q, c.want)
		})
	}
}

// Dumping plans only is right for what has a plan, and draws no caution.
func TestAsk_PlanOnly(t *testing.T) {
	t.Parallel()
	d := ours(t)["gqa_paged_decode_h32_kv8_d128_ps1"]
	assert.Empty(t, Ask(d, Query{Release: "0.5.16", Capability: 90, PlanOnly: true}).Cautions)
}

// Zero fields make no statement: what is left open may only add cautions.
func TestAsk_OpenQueryRefusesNothing(t *testing.T) {
	t.Parallel()
	tab, err := known()
	require.NoError(t, err)
	for _, d := range ours(t) {
		for _, v := range tab.Releases {
			any := false
			for _, capability := range []int{80, 89, 90, 100, 103, 120} {
				any = any || Ask(d, Query{Release: v.SGLang, Capability: capability}).Verdict == Reachable
			}
			assert.Equal(t, any, Ask(d, Query{Release: v.SGLang}).Verdict == Reachable, "%s, %s", d.Name, v.SGLang)
		}
	}
}

// An answer is the caller's own: changing it changes no other.
func TestAsk_AnswersAreSeparate(t *testing.T) {
	t.Parallel()
	d := ours(t)["gqa_paged_decode_h32_kv8_d128_ps1"]
	a := Ask(d, Query{Release: "0.5.16"})
	a.Requires[0], a.Cautions = "--changed", append(a.Cautions, "changed")
	assert.Equal(t, []string{attention}, Ask(d, Query{Release: "0.5.16"}).Requires)
}

// covered are the APIs of the dataset's definitions, as tagged there, and those that SGLang is known for besides.
const covered = `prefill.BatchPrefillWithPagedKVCacheWrapper BatchPrefillWithPagedKVCacheWrapper decode.BatchDecodeWithPagedKVCacheWrapper
	prefill.BatchPrefillWithRaggedKVCacheWrapper decode.BatchDecodeWithPagedKVCacheWrapper.run mla._core.BatchMLAPagedAttentionWrapper.run
	mla.BatchMLAPagedAttentionWrapper norm.rmsnorm norm.fused_add_rmsnorm norm.gemma_rmsnorm norm.gemma_fused_add_rmsnorm
	sampling.top_p_sampling_from_probs sampling.top_k_top_p_sampling_from_probs sampling.top_k_sampling_from_probs
	fused_moe.trtllm_fp8_block_scale_moe fused_moe.trtllm_fp4_block_scale_moe fused_moe.trtllm_fp4_block_scale_routed_moe
	fused_moe.trtllm_fp8_per_tensor_scale_moe fused_moe.trtllm_bf16_moe fused_moe.cutlass_fused_moe gdn.gated_delta_rule_decode
	gdn.chunk_gated_delta_rule mamba.selective_state_update decode.trtllm_batch_decode_with_kv_cache_mla
	decode.trtllm_batch_decode_with_kv_cache prefill.trtllm_batch_context_with_kv_cache prefill.trtllm_ragged_attention_deepseek
	rope.apply_rope_with_cos_sin_cache_inplace gemm.bmm_fp8 gemm.gemm_fp8_nt_groupwise gemm.mm_fp4 cascade.merge_state
	comm.allreduce_fusion`

func TestData_CoversTheDataset(t *testing.T) {
	t.Parallel()
	tab, err := known()
	require.NoError(t, err)
	for name := range strings.FieldsSeq(covered) {
		assert.Contains(t, tab.entries, fitrace.ParseAPI("flashinfer."+name))
	}
	for _, root := range []func() string{
		func() string { return filepath.Join("..", "..", "testdata", "dataset") },
		func() string { return goldentest.Shared(t, "dataset") },
		func() string { return goldentest.Shared(t, "golden") },
	} {
		for name, d := range definitions(t, root()) {
			for _, api := range d.APIs() {
				if api.Method == "odd_dtype_op" { // made up, for the sanitizer's tests
					assert.NotContains(t, tab.entries, api)
					continue
				}
				assert.Contains(t, tab.entries, api, name)
			}
			assert.False(t, slices.Contains([]string{ModeHTTPPaged, ModeHTTPRagged}, Ask(d, Query{}).Mode) && Stage(d) == "decode", "%s: decode in a prefill mode", name)
		}
	}
}
