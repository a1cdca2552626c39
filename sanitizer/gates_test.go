package sanitizer_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

const rawGates = `
	name gdn_prefill_qk4_v8_d128_k_last gdn
	tags fi_api:flashinfer.gdn.chunk_gated_delta_rule
	axes total_seq_len num_seqs num_q_heads=4 num_k_heads=4 num_v_heads=8 head_size=128 len_cu_seqlens
	in q[total_seq_len,num_q_heads,head_size]:bfloat16 k[total_seq_len,num_k_heads,head_size]:bfloat16 v[total_seq_len,num_v_heads,head_size]:bfloat16
	in state[num_seqs,num_v_heads,head_size,head_size]?:float32 A_log[num_v_heads]:float32 a[total_seq_len,num_v_heads]:bfloat16 dt_bias[num_v_heads]:float32
	in b[total_seq_len,num_v_heads]:bfloat16 cu_seqlens[len_cu_seqlens]:int64 scale:float32
	hold len_cu_seqlens == num_seqs + 1; total_seq_len == cu_seqlens[-1].item()`

// chunkSig is the signature of FlashInfer 0.7.4.
const chunkSig = "(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: Optional[torch.Tensor] = None, beta: Optional[torch.Tensor] = None, scale: Optional[float] = None, " +
	"initial_state: Optional[torch.Tensor] = None, output_final_state: bool = False, cu_seqlens: Optional[torch.Tensor] = None, use_qk_l2norm_in_kernel: bool = False, " +
	"output: Optional[torch.Tensor] = None, output_state: Optional[torch.Tensor] = None, state_indices: Optional[torch.Tensor] = None, *, gate_domain: Literal['linear', 'log'] = 'linear', " +
	"use_gate_in_kernel: bool = False, A_log: Optional[torch.Tensor] = None, dt_bias: Optional[torch.Tensor] = None, beta_is_logit: bool = False, " +
	"output_state_indices: Optional[torch.Tensor] = None) -> torch.Tensor"

// chunk is a raw-gate call over 2 sequences of 6 tokens together.
func chunk(args ...any) *proto.Manifest {
	c := call("chunk_gated_delta_rule", chunkSig, tensor("arg_0", "bfloat16", 6, 4, 128), tensor("arg_1", "bfloat16", 6, 4, 128), tensor("arg_2", "bfloat16", 6, 8, 128),
		tensor("kwarg_g", "bfloat16", 6, 8), tensor("kwarg_beta", "bfloat16", 6, 8), value("kwarg_scale", 0.5), tensor("kwarg_initial_state", "float32", 2, 8, 128, 128),
		integers("kwarg_cu_seqlens", "int64", 0, 2, 6), tensor("kwarg_A_log", "float32", 8), tensor("kwarg_dt_bias", "float32", 8),
		value("kwarg_use_gate_in_kernel", true), value("kwarg_beta_is_logit", true))
	for _, a := range args {
		set(&c, a)
	}
	return manifest(c)
}

func text(key, s string) proto.Value {
	return proto.Value{Key: key, Type: proto.ValueString, String: s}
}

// TestConvert_GatedDeltaRule_FlagsDistinguishRawFromComputedGates: with both flags g is the dataset's a, and beta its b.
func TestConvert_GatedDeltaRule_FlagsDistinguishRawFromComputedGates(t *testing.T) {
	t.Parallel()
	computed := strings.NewReplacer("A_log[num_v_heads]:float32 a[", "g[", " dt_bias[num_v_heads]:float32", "", " b[", " beta[").Replace(rawGates)
	off := []any{value("kwarg_use_gate_in_kernel", false), value("kwarg_beta_is_logit", false)}
	for name, c := range map[string]struct {
		def            string
		args           []any
		reason, detail string
	}{
		"raw":                               {def: rawGates},
		"raw, log domain is ignored":        {def: rawGates, args: []any{text("kwarg_gate_domain", "log")}},
		"computed":                          {rawGates, off, sanitizer.RejectInputMissing, "g is computed (use_gate_in_kernel is not set), and a is its input; beta is computed"},
		"computed beta":                     {rawGates, off[1:], sanitizer.RejectInputMissing, "beta is computed (beta_is_logit is not set), and b is its input"},
		"computed, of logarithms":           {rawGates, append(off[:2:2], text("kwarg_gate_domain", "log")), sanitizer.RejectVariant, `gate_domain is "log"`},
		"of another definition":             {def: computed, args: off},
		"of another definition, logs":       {computed, append(off[:2:2], text("kwarg_gate_domain", "log")), sanitizer.RejectVariant, "logarithm"},
		"of another definition, raw":        {computed, nil, sanitizer.RejectInputMissing, "g is raw (use_gate_in_kernel is set)"},
		"of another definition, raw beta":   {computed, off[:1], sanitizer.RejectInputMissing, "beta is raw (beta_is_logit is set)"},
		"states by index":                   {rawGates, []any{i32("kwarg_state_indices", 0, 1)}, sanitizer.RejectVariant, "state_indices is passed: initial_state is a pool"},
		"states written by index":           {rawGates, []any{i32("kwarg_output_state_indices", 0, 1)}, sanitizer.RejectVariant, "output_state_indices is passed"},
		"no states by index":                {def: rawGates, args: []any{value("kwarg_state_indices", nil)}},
		"raw gates of another element type": {rawGates, []any{tensor("kwarg_g", "float32", 6, 8)}, sanitizer.RejectDType, "g is float32"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, def := chunk(c.args...), definition(t, c.def)
			if c.reason != "" {
				rejected(t, m, def, c.reason, c.detail)
				return
			}
			require.Equal(t, "total_seq_len=6 num_seqs=2 len_cu_seqlens=3", axes(accepted(t, m, def)))
		})
	}
}

// TestConvert_ArgumentThatAltersTheCall_IsRejected: what no input of the definition states.
func TestConvert_ArgumentThatAltersTheCall_IsRejected(t *testing.T) {
	t.Parallel()
	m := prefill()
	set(m.Plan, value("kwarg_use_token_head_sf", true))
	rejected(t, m, definition(t, prefillDefinition("4", "batch_size")), sanitizer.RejectVariant, "plan's use_token_head_sf is passed: keys and values have a scale")
	m = prefill()
	set(m.Plan, value("kwarg_use_token_head_sf", false))
	accepted(t, m, definition(t, prefillDefinition("4", "batch_size")))

	const decode = "name d_h4 d\ntags fi_api:flashinfer.decode.trtllm_batch_decode_with_kv_cache\naxes n h=4\nin q[n,h]:bfloat16"
	sparse := func(args ...any) *proto.Manifest {
		return manifest(call("trtllm_batch_decode_with_kv_cache", "", append([]any{tensor("kwarg_query", "bfloat16", 3, 4)}, args...)...))
	}
	rejected(t, sparse(value("kwarg_sparse_top_k", 2048)), definition(t, decode), sanitizer.RejectVariant, "sparse_top_k")
	rejected(t, sparse(i32("kwarg_variable_window_token_starts", 0, 1)), definition(t, decode), sanitizer.RejectVariant, "variable_window_token_starts")
	accepted(t, sparse(value("kwarg_sparse_top_k", 0)), definition(t, decode))
	accepted(t, sparse(value("kwarg_sparse_top_k", 4)), definition(t, decode+" sparse_top_k:int32"))
	c := accepted(t, sparse(value("kwarg_window_right", 3), tensor("kwarg_sinks", "float32", 4)), definition(t, decode))
	require.Equal(t, []string{"run's sinks is not part of the workload", "run's window_right of 3 is not part of the workload"}, noteTexts(c))
}

func noteTexts(c *proto.Candidate) []string {
	out := make([]string, len(c.Notes))
	for i, n := range c.Notes {
		out[i] = strings.Replace(n, "trtllm_batch_decode_with_kv_cache's", "run's", 1)
	}
	return out
}

// TestConvert_MLAByKeyword_BindsAsByPosition: FlashInfer 0.7.4 warns that positional plan and run will go.
func TestConvert_MLAByKeyword_BindsAsByPosition(t *testing.T) {
	t.Parallel()
	keys := map[string][]string{
		mlaRun:  {"self", "q_nope", "q_pe", "ckv_cache", "kpe_cache"},
		mlaPlan: {"self", "qo_indptr", "kv_indptr", "kv_indices", "kv_len_arr", "num_heads", "head_dim_ckv", "head_dim_kpe", "page_size", "causal", "sm_scale", "q_data_type", "kv_data_type"},
	}
	keyword := func(m *proto.Manifest) *proto.Manifest {
		for _, c := range []*proto.Call{&m.Call, m.Plan} {
			for i, name := range keys[c.Function] {
				key := "arg_" + string(rune('0'+i))
				if i > 9 {
					key = "arg_1" + string(rune('0'+i-10))
				}
				for k := range c.Tensors {
					if c.Tensors[k].Key == key {
						c.Tensors[k].Key = "kwarg_" + name
					}
				}
				for k := range c.Values {
					if c.Values[k].Key == key {
						c.Values[k].Key = "kwarg_" + name
					}
				}
			}
		}
		return m
	}
	for def, m := range map[string]func() *proto.Manifest{
		mlaDecode:  func() *proto.Manifest { return typed(latent(false, 1, 1), "arg_11") },
		mlaPrefill: func() *proto.Manifest { return typed(latent(true, 2, 3), "arg_11") },
	} {
		d := definition(t, def)
		want := accepted(t, m(), d)
		require.True(t, same(want, accepted(t, keyword(m()), d)), d.Name)
		require.True(t, same(want, accepted(t, implied(keyword(m())), d)), d.Name)
	}
}
