package fitrace

import (
	"fmt"
	"slices"
)

// shownByPlan lists, for each wrapper whose plan stands for the runs after it, the inputs that follow from the plan's arguments: structure
// as it is, tensors by their sizes and element types. What a definition has besides (scales of quantised caches, masks, sinks) only
// a run shows. The sm_scale of ragged latent attention is in neither: both borrow it, see BorrowsScale.
var shownByPlan = map[string][]string{
	"BatchDecodeWithPagedKVCacheWrapper":   append([]string{"q", "query", "sm_scale"}, pagedInputs...),
	"BatchPrefillWithPagedKVCacheWrapper":  append([]string{"q", "query", "sm_scale", "qo_indptr"}, pagedInputs...),
	"BatchPrefillWithRaggedKVCacheWrapper": {"q", "k", "v", "qo_indptr", "kv_indptr", "sm_scale"},
	"BatchMLAPagedAttentionWrapper":        append([]string{"q_nope", "q_pe", "ckv_cache", "kpe_cache", "sm_scale", "qo_indptr"}, pagedInputs...),
}

var pagedInputs = []string{
	"kv_indptr", "paged_kv_indptr", "kv_indices", "paged_kv_indices", "kv_last_page_len", "paged_kv_last_page_len", "last_page_len",
	"k_cache", "v_cache", "paged_k_cache", "paged_v_cache", "key_cache", "value_cache",
}

// pagedPrefill is the wrapper that SGLang plans on every prefill, but runs over whole attentions only where its ragged path is off.
const pagedPrefill = "BatchPrefillWithPagedKVCacheWrapper"

// modePaged is the only mode in which the ragged path is off.
const modePaged = "http-paged"

// PlanSuffices reports whether a workload of d can be had from the plan calls of its API alone, and why not. Dumping a plan costs
// kilobytes, a run the layer's whole KV pool. mode is how the engine is driven: offline, http-paged, http-ragged or any.
//
// In all releases of SGLang with FlashInfer's logging, the decode, ragged and latent wrappers are planned when and only when they are
// run next, in each layer with that plan. The paged prefill wrapper is also planned, on every prefill, where the ragged path does
// the work: then it is run over the cached prefix only, not causally, or not at all.
func PlanSuffices(d *Definition, mode string) (ok bool, why string) {
	apis := d.APIs()
	if len(apis) == 0 {
		return false, "it names no API"
	}
	var shown []string
	for i, api := range apis {
		names, ok := shownByPlan[api.Class]
		switch {
		case !ok || api.Method != "run":
			return false, fmt.Sprintf("%s has no plan that stands for its runs", api)
		case api.Class == pagedPrefill && mode != modePaged:
			return false, fmt.Sprintf("where ragged prefill is on, %s is planned on every prefill and run over cached prefixes only", api.Class)
		}
		if i == 0 {
			shown = names
			continue
		}
		shown = slices.DeleteFunc(slices.Clone(shown), func(name string) bool { return !slices.Contains(names, name) })
	}
	for _, in := range d.Inputs {
		if !slices.Contains(shown, in.Name) {
			return false, fmt.Sprintf("plan does not show the input %s", in.Name)
		}
		if slices.Contains(pools, in.Name) && len(in.Shape) > 0 {
			if axis, _ := d.Axis(in.Shape[0]); axis.Const {
				return false, fmt.Sprintf("plan does not show the size of the pool, which is constant in %s", axis.Name)
			}
		}
	}
	return true, ""
}

// pools are the inputs whose first dimension is the engine's choice, and in no plan.
var pools = []string{
	"k_cache", "v_cache", "paged_k_cache", "paged_v_cache", "key_cache", "value_cache", "ckv_cache", "kpe_cache",
}
