package simulate_test

import (
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// TestLatentRagged_ScaleIsInThePagedPlanAlone: as in SGLang, no dump of a ragged run has its scale, and a decode step's plan has.
func TestLatentRagged_ScaleIsInThePagedPlanAlone(t *testing.T) {
	t.Parallel()
	defs, errs := fitrace.LoadDefinitions("../../../test/gpu")
	require.Empty(t, errs)
	var ragged []*fitrace.Definition
	for _, d := range defs {
		if d.OpType == "mla_ragged" {
			ragged = append(ragged, d)
		}
	}
	require.Len(t, ragged, 1)
	task := enginetest.Task(proto.EngineSimulate, proto.ModeHTTPRagged, ragged)
	task.Traffic.OSL = 2
	job := engine.Job{Task: task, Definitions: ragged, DumpDir: t.TempDir(), Log: zerolog.Nop()}
	_, err := simulate.New().Run(t.Context(), job, func(engine.Progress) {})
	require.NoError(t, err)
	list := readAll(t, job.DumpDir)
	runs := of(list, "BatchPrefillWithRaggedKVCacheWrapper.run")
	require.NotEmpty(t, runs)
	for _, run := range runs {
		plan := planOf(t, list, run)
		require.Nil(t, plan.Arg("kwarg_sm_scale"))
		require.Nil(t, run.Arg("kwarg_sm_scale"))
		require.EqualValues(t, 192, plan.Arg("kwarg_head_dim_qk").Int)
		require.EqualValues(t, 128, plan.Arg("kwarg_head_dim_vo").Int)
		require.Equal(t, []int64{16, 192}, run.shape["arg_1"][1:])
		require.Equal(t, []int64{16, 128}, run.shape["arg_3"][1:])
	}
	plans := of(list, "BatchMLAPagedAttentionWrapper.plan")
	require.NotEmpty(t, plans)
	for _, plan := range plans {
		require.InDelta(t, 0.0721688, plan.Arg("arg_10").Float, 1e-6)
	}
	require.Empty(t, of(list, "BatchMLAPagedAttentionWrapper.run"), "its runs are not asked for")
}
