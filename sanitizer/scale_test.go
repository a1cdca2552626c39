package sanitizer_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

// mlaRagged is an expanded latent attention: heads of 192 for queries and keys, of 128 for values.
const mlaRagged = `
	name mla_ragged_prefill_causal_h16_qk192_vo128 mla_ragged
	tags fi_api:flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper stage:prefill
	axes num_qo_heads=16 num_kv_heads=16 qk_dim=192 vo_dim=128 len_indptr total_q total_kv
	in q[total_q,num_qo_heads,qk_dim]:bfloat16 k[total_kv,num_kv_heads,qk_dim]:bfloat16 v[total_kv,num_kv_heads,vo_dim]:bfloat16
	in qo_indptr[len_indptr]:int32 kv_indptr[len_indptr]:int32 sm_scale:float32`

// expanded is a ragged run of latent attention as SGLang makes it: planned by keyword, its scale in no argument.
func expanded(scale *proto.Scale) *proto.Manifest {
	m := manifest(
		call("BatchPrefillWithRaggedKVCacheWrapper.run", "(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args, q_scale: Optional[float] = None)",
			tensor("arg_1", "bfloat16", 9, 16, 192), tensor("arg_2", "bfloat16", 9, 16, 192), tensor("arg_3", "bfloat16", 9, 16, 128)),
		call("BatchPrefillWithRaggedKVCacheWrapper.plan", "(self, qo_indptr: torch.Tensor, kv_indptr: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim_qk: int, head_dim_vo: Optional[int] = None, sm_scale: Optional[float] = None)",
			i32("kwarg_qo_indptr", 0, 4, 9), i32("kwarg_kv_indptr", 0, 4, 9), value("kwarg_num_qo_heads", 16), value("kwarg_num_kv_heads", 16),
			value("kwarg_head_dim_qk", 192), value("kwarg_head_dim_vo", 128), dtype("kwarg_q_data_type", "bfloat16"), value("kwarg_causal", true)))
	m.Scale = scale
	return m
}

const measured = 0.11472138679292611 // of a DeepSeek-V2 shape with YaRN on an H200

// TestConvert_RaggedMLA_ScaleOfItsProcess: a run, and a plan that stands for it, take the scale of the paged plans or of the model.
func TestConvert_RaggedMLA_ScaleOfItsProcess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scale      *proto.Scale
		want       float64
		note       string
		reason, in string
	}{
		"of the paged plans":        {&proto.Scale{Planned: []float64{measured}}, measured, "paged MLA plans of the same process", "", ""},
		"both agree":                {&proto.Scale{Planned: []float64{measured}, Model: measured * (1 + 1e-12)}, measured, "paged MLA plans", "", ""},
		"of the configuration":      {&proto.Scale{Model: measured, How: "192^-0.5, YaRN factor 40, mscale_all_dim 0.707"}, measured, "configuration: 192^-0.5, YaRN factor 40", "", ""},
		"two scales":                {&proto.Scale{Planned: []float64{0.0625, measured}, Model: measured}, 0, "", sanitizer.RejectScaleConflict, "2 softmax scales, 0.0625 to 0.1147"},
		"plan and model disagree":   {&proto.Scale{Planned: []float64{measured}, Model: 0.07216878364870323, How: "192^-0.5"}, 0, "", sanitizer.RejectScaleConflict, "0.0721"},
		"neither":                   {&proto.Scale{}, 0, "", sanitizer.RejectInputMissing, "sanitize --model-config"},
		"a worker that did not ask": {nil, 0, "", sanitizer.RejectInputMissing, "BatchMLAPagedAttentionWrapper.plan"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			def := definition(t, mlaRagged)
			ok, why := fitrace.PlanSuffices(def, string(proto.ModeHTTPRagged))
			require.True(t, ok, why)
			run := expanded(c.scale)
			plan := implied(run)
			if c.reason != "" {
				rejected(t, run, def, c.reason, c.in)
				rejected(t, plan, def, c.reason, c.in)
				return
			}
			got := accepted(t, run, def)
			require.True(t, same(got, accepted(t, plan, def)), "the plan alone gives another workload")
			scale := got.Inputs[len(got.Inputs)-1]
			require.Equal(t, &proto.Value{Key: "sm_scale", Type: proto.ValueFloat, Float: c.want}, scale.Scalar)
			require.Contains(t, strings.Join(got.Notes, "; "), c.note)
		})
	}
}

// TestConvert_RaggedMLA_OwnScale_IsUsedFirst: a plan with its own sm_scale needs no other.
func TestConvert_RaggedMLA_OwnScale_IsUsedFirst(t *testing.T) {
	t.Parallel()
	m := expanded(&proto.Scale{Planned: []float64{0.25, 0.5}})
	set(m.Plan, value("kwarg_sm_scale", measured))
	c := accepted(t, m, definition(t, mlaRagged))
	require.InDelta(t, measured, c.Inputs[len(c.Inputs)-1].Scalar.Float, 0)
}

// TestConvert_RaggedGQA_IgnoresTheProcessScale: grouped-query attention beside latent attention keeps the scale of its own heads.
func TestConvert_RaggedGQA_IgnoresTheProcessScale(t *testing.T) {
	t.Parallel()
	m := ragged()
	m.Scale = &proto.Scale{Planned: []float64{0.25, 0.5}}
	require.True(t, same(accepted(t, m, definition(t, raggedDefinition)), accepted(t, ragged(), definition(t, raggedDefinition))))
}
