package fitrace

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBorrowsScale_RaggedLatentAttention_DumpsThePagedPlan: only a definition whose scale is in no dump of its own takes another wrapper's plan.
func TestBorrowsScale_RaggedLatentAttention_DumpsThePagedPlan(t *testing.T) {
	t.Parallel()
	const ragged, paged = "fi_api:flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper", "fi_api:flashinfer.mla.BatchMLAPagedAttentionWrapper"
	scale := []TensorSpec{{Name: "qo_indptr", DType: "int32", Shape: []string{"n"}}, {Name: "sm_scale", DType: "float32"}}
	for name, c := range map[string]struct {
		def  Definition
		want bool
	}{
		"ragged MLA":               {Definition{OpType: "mla_ragged", Tags: []string{ragged}, Inputs: scale}, true},
		"ragged GQA":               {Definition{OpType: "gqa_ragged", Tags: []string{ragged}, Inputs: scale}, false},
		"paged MLA":                {Definition{OpType: "mla_paged", Tags: []string{paged}, Inputs: scale}, false},
		"ragged MLA without scale": {Definition{OpType: "mla_ragged", Tags: []string{ragged}, Inputs: scale[:1]}, false},
	} {
		require.Equal(t, c.want, BorrowsScale(&c.def), name)
		patterns := IncludePatterns(&c.def)
		require.True(t, slices.IsSorted(patterns), name)
		if c.def.OpType != "mla_paged" {
			require.Equal(t, c.want, slices.Contains(patterns, "BatchMLAPagedAttentionWrapper.plan"), name)
		}
	}
}
