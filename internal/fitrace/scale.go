package fitrace

import (
	"slices"
	"strings"
)

// latentPlan is the plan whose sm_scale is the model's.
const latentPlan = latentClass + ".plan"

const (
	raggedClass = "BatchPrefillWithRaggedKVCacheWrapper"
	latentClass = "BatchMLAPagedAttentionWrapper"
)

// LatentScale reports whether the softmax scale of d's calls is that of latent attention: it follows from the head's width before
// compression and from YaRN's factor, and from no shape of the call.
func LatentScale(d *Definition) bool {
	return strings.HasPrefix(d.OpType, "mla") || strings.HasPrefix(d.OpType, "dsa")
}

// BorrowsScale reports whether the softmax scale of d's calls is in none of their dumps. SGLang prefills latent attention through the
// ragged wrapper's forward, which is not logged and sets sm_scale on the wrapper. The paged plans of the same model state it, as does the
// model's configuration.
func BorrowsScale(d *Definition) bool {
	in, ok := d.Input("sm_scale")
	return ok && in.Scalar() && LatentScale(d) && slices.ContainsFunc(d.APIs(), func(a API) bool { return a.Class == raggedClass })
}
