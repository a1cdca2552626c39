package fitrace

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIncludePatterns_SubclassesOfTheWrapper_AreNamedExactly(t *testing.T) {
	t.Parallel()
	d := &Definition{Tags: []string{"fi_api:flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper"}, Inputs: []TensorSpec{{Name: "kv_indptr", DType: "int32", Shape: []string{"n"}}}}
	require.Equal(t, []string{
		"BatchDecodeWithAttentionSinkWrapper.plan", "BatchDecodeWithAttentionSinkWrapper.run",
		"BatchDecodeWithPagedKVCacheWrapper.plan", "BatchDecodeWithPagedKVCacheWrapper.run",
		"CUDAGraphBatchDecodeWithPagedKVCacheWrapper.plan", "CUDAGraphBatchDecodeWithPagedKVCacheWrapper.run",
	}, IncludePatterns(d))
}

func TestBaseFunction_Subclass_IsItsWrapper(t *testing.T) {
	t.Parallel()
	for function, want := range map[string]string{
		"CUDAGraphBatchDecodeWithPagedKVCacheWrapper.run":       "BatchDecodeWithPagedKVCacheWrapper.run",
		"BatchAttentionWithAttentionSinkWrapper.plan":           "BatchPrefillWithPagedKVCacheWrapper.plan",
		"BatchDecodeWithPagedKVCacheWrapper.run":                "BatchDecodeWithPagedKVCacheWrapper.run",
		"BatchPrefillWithCausalBidirectionalRangesWrapper.plan": "BatchPrefillWithCausalBidirectionalRangesWrapper.plan", // another mask
		"MyCUDAGraphBatchDecodeWithPagedKVCacheWrapper.run":     "MyCUDAGraphBatchDecodeWithPagedKVCacheWrapper.run",
		"rmsnorm": "rmsnorm",
	} {
		require.Equal(t, want, BaseFunction(function))
	}
	require.Equal(t, "BatchDecodeWithPagedKVCacheWrapper", PlannedAs("CUDAGraphBatchDecodeWithPagedKVCacheWrapper"))
	require.Equal(t, "BatchDecodeWithAttentionSinkWrapper", PlannedAs("BatchDecodeWithAttentionSinkWrapper"), "its plan does not show its scale")
}
