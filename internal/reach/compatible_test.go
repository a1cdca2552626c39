package reach

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

func TestCompatible(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		a, b Answer
		want bool
	}{
		{"nothing asked", Answer{}, Answer{Requires: []string{"--moe-runner-backend flashinfer_trtllm"}}, true},
		{"the same value", Answer{Requires: []string{attention}}, Answer{Requires: []string{attention}}, true},
		{"two values", Answer{Requires: []string{"--moe-runner-backend flashinfer_trtllm"}}, Answer{Requires: []string{"--moe-runner-backend flashinfer_trtllm_routed"}}, false},
		{"a part of a whole", Answer{Requires: []string{attention}}, Answer{Requires: []string{"--decode-attention-backend trtllm_mha"}}, false},
		{"a part that agrees", Answer{Requires: []string{attention}}, Answer{Requires: []string{"--decode-attention-backend flashinfer"}}, true},
		{"two parts", Answer{Requires: []string{"--prefill-attention-backend trtllm_mha"}}, Answer{Requires: []string{"--decode-attention-backend flashinfer"}}, true},
		{"an excluded switch", Answer{Requires: []string{noFusion}}, Answer{Excludes: []string{noFusion}}, false},
		{"an excluded switch that the mode brings", Answer{Excludes: []string{"--enable-deterministic-inference"}}, Answer{Implied: []string{"--enable-deterministic-inference"}}, false},
		{"another value than the excluded", Answer{Excludes: []string{"--attention-backend fa3"}}, Answer{Requires: []string{attention}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, Compatible(c.a, c.b))
			assert.Equal(t, c.want, Compatible(c.b, c.a))
		})
	}
}

func TestContradictions(t *testing.T) {
	t.Parallel()
	defs := ours(t)
	paged, sampling, norm := defs["gqa_paged_prefill_causal_h32_kv8_d128_ps1"], defs["top_k_top_p_sampling_from_probs_v128256"], defs["fused_add_rmsnorm_h4096"]
	require.NotNil(t, paged)
	list := []*fitrace.Definition{paged, sampling, norm}
	lines := Contradictions(list, Query{Release: "0.5.10.post1", Capability: 90})
	require.Len(t, lines, 2, "deterministic inference takes both from FlashInfer")
	assert.Contains(t, lines[0], paged.Name+" and "+sampling.Name)
	assert.Contains(t, lines[0], "--enable-deterministic-inference")
	assert.Empty(t, Contradictions(list, Query{Release: "0.5.12", Capability: 90}))
	assert.Empty(t, Contradictions(list, Query{Release: "0.5.8", Capability: 90}), "what is not reachable contradicts nothing")

	reduce := define(t, "flashinfer.comm.allreduce_fusion", "comm", "", "")
	q := Query{Release: "0.5.16", Capability: 90, TP: 2, Architecture: "Qwen3MoeForCausalLM"}
	assert.Len(t, Contradictions([]*fitrace.Definition{norm, reduce}, q), 1, "fusion on for one, off for the other")
}
