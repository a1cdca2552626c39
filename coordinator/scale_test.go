package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// TestNewPlan_RaggedMLA_HasADecodeStepAndDumpsItsPlan: the softmax scale comes from the paged plan of a decode step.
func TestNewPlan_RaggedMLA_HasADecodeStepAndDumpsItsPlan(t *testing.T) {
	t.Parallel()
	const latentPlan, raggedPlan, raggedRun = "BatchMLAPagedAttentionWrapper.plan", "BatchPrefillWithRaggedKVCacheWrapper.plan", "BatchPrefillWithRaggedKVCacheWrapper.run"
	defs, _, err := Resolve("../test/gpu", Selection{Names: []string{"mla_ragged_prefill_causal_h16_qk192_vo128"}})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		what     string
		planOnly []string
		include  []string
	}{
		"plans": {DumpAuto, []string{"BatchPrefillWithRaggedKVCacheWrapper"}, []string{latentPlan, raggedPlan}},
		"runs":  {DumpRun, nil, []string{latentPlan, "BatchPrefillWithRaggedKVCacheWrapper.forward", "BatchPrefillWithRaggedKVCacheWrapper.forward_return_lse", raggedPlan, raggedRun}},
	} {
		spec := specFor(sglangOn("0.5.16", "h200"), []int{8}, defs...)
		spec.Dump.What, spec.Traffic = c.what, proto.Traffic{OSL: 64, ISL: 64}
		plan, err := NewPlan(spec, defs)
		require.NoError(t, err, name)
		require.Len(t, plan.Tasks, 1, name)
		task := plan.Tasks[0]
		require.Equal(t, proto.ModeHTTPRagged, task.Engine.Mode, name)
		require.Equal(t, 2, task.Traffic.OSL, name)
		require.Equal(t, c.planOnly, task.Dump.PlanOnly, "%s: the paged plans are evidence, and stand for no run", name)
		require.Equal(t, c.include, task.Dump.Include, name)
	}
	defs = append(defs, realDefs(t, raggedGQA)...)
	for _, d := range defs {
		require.Equal(t, d.OpType == "mla_ragged", fitrace.BorrowsScale(d), d.Name)
	}
}
