package sanitizer

import (
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/binding"
	"github.com/tracefleet/tracefleet/proto"
)

// The tables of this file are what the rules know by name: parameters, inputs, axes. The code that applies them is in bind.go,
// fit.go and meaning.go.

// What an input is taken from is in package binding, which planning uses too. These are the names that the rules use.
type (
	source = binding.Source
	role   = binding.Role
)

const (
	roleNone        = binding.RoleNone
	roleQOIndptr    = binding.RoleQOIndptr
	roleKVIndptr    = binding.RoleKVIndptr
	roleKVIndices   = binding.RoleKVIndices
	roleLastPageLen = binding.RoleLastPageLen
	roleKCache      = binding.RoleKCache
	roleVCache      = binding.RoleVCache
	roleCKVCache    = binding.RoleCKVCache
	roleKPECache    = binding.RoleKPECache
	roleQ           = binding.RoleQ
	roleQNope       = binding.RoleQNope
	roleSMScale     = binding.RoleSMScale
)

// legacyPositions names what *args takes: former parameters, and those of a subclass's kernel.
var legacyPositions = map[string][]string{
	"BatchDecodeWithAttentionSinkWrapper.run":    {"sinks", "sm_scale"},
	"BatchAttentionWithAttentionSinkWrapper.run": {"sinks", "sm_scale"},
	"BatchDecodeWithPagedKVCacheWrapper.plan": {
		"pos_encoding_mode", "window_left", "logits_soft_cap", "q_data_type", "kv_data_type", "o_data_type", "data_type",
		"sm_scale", "rope_scale", "rope_theta", "non_blocking",
	},
}

// wrapperPositions names the positions of the wrappers' methods where a dump has no signature, as FlashInfer has kept them
// since its first releases.
var wrapperPositions = map[string][]string{
	"BatchDecodeWithPagedKVCacheWrapper.plan":   {"self", "indptr", "indices", "last_page_len", "num_qo_heads", "num_kv_heads", "head_dim", "page_size"},
	"BatchDecodeWithPagedKVCacheWrapper.run":    {"self", "q", "paged_kv_cache"},
	"BatchPrefillWithPagedKVCacheWrapper.plan":  {"self", "qo_indptr", "paged_kv_indptr", "paged_kv_indices", "paged_kv_last_page_len", "num_qo_heads", "num_kv_heads", "head_dim_qk", "page_size"},
	"BatchPrefillWithPagedKVCacheWrapper.run":   {"self", "q", "paged_kv_cache"},
	"BatchPrefillWithRaggedKVCacheWrapper.plan": {"self", "qo_indptr", "kv_indptr", "num_qo_heads", "num_kv_heads", "head_dim_qk"},
	"BatchPrefillWithRaggedKVCacheWrapper.run":  {"self", "q", "k", "v"},
	"BatchMLAPagedAttentionWrapper.plan":        {"self", "qo_indptr", "kv_indptr", "kv_indices", "kv_len_arr", "num_heads", "head_dim_ckv", "head_dim_kpe", "page_size", "causal", "sm_scale"},
	"BatchMLAPagedAttentionWrapper.run":         {"self", "q_nope", "q_pe", "ckv_cache", "kpe_cache"},
}

// argumentAxes gives, for integer arguments that state the size of an axis under another name, that axis.
var argumentAxes = map[string]string{
	"head_dim_qk": "head_dim", "num_heads": "num_qo_heads", "local_num_experts": "num_local_experts",
}

// joinRows are functions whose tensors have requests and rows a request as two dimensions, where definitions have rows only.
var joinRows = map[string]bool{"trtllm_batch_decode_with_kv_cache_mla": true}

// flatRows are functions that take flat rows (n, heads × width), where definitions have heads and width apart.
var flatRows = map[string]bool{"apply_rope_with_cos_sin_cache_inplace": true, "apply_rope_with_cos_sin_cache": true}

// indexInto returns which axis the values of an integer input of a plain function count along.
var indexInto = map[string]string{
	"state_batch_indices": "state_cache_size", "initial_state_indices": "pool_size", "positions": "max_seq_len",
}

// tpAxis reports whether the size of an axis depends on how many ranks share a model, so that --skip-const-axis-check may
// relax it: heads, experts, the split side of a weight and the scales over it, a vocabulary. A head's width or a page's size
// does not: another value of those is another kernel.
func tpAxis(name string) bool {
	for _, word := range []string{"heads", "experts", "ngroups", "intermediate", "gemm1_out", "vocab"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return slices.Contains([]string{"N", "K", "n", "k"}, name)
}

// variant is something that a definition's name states and its axes and inputs do not. Where the word is in the name, the
// argument must have one of the values; an argument that was not passed has the default of the signature.
type variant struct {
	word   string // "ng8": word "ng" and a number, where number is set
	number bool
	param  string
	values []int64
}

// variants by function. They keep apart definitions that share an API and every shape.
var variants = map[string][]variant{
	"trtllm_fp8_block_scale_moe": {
		{word: "topk", number: true, param: "top_k"},
		{word: "ng", number: true, param: "n_group"},
		{word: "kg", number: true, param: "topk_group"},
		{word: "ds_routing", param: "routing_method_type", values: []int64{2}}, // DeepSeekV3
		{word: "renorm", param: "routing_method_type", values: []int64{1, 4}},  // Renormalize, RenormalizeNaive
	},
	"trtllm_fp8_per_tensor_scale_moe":       {{word: "topk", number: true, param: "top_k"}},
	"trtllm_fp4_block_scale_moe":            {{word: "topk", number: true, param: "top_k"}},
	"trtllm_fp4_block_scale_routed_moe":     {{word: "topk", number: true, param: "top_k"}},
	"apply_rope_with_cos_sin_cache_inplace": {{word: "neox_style", param: "is_neox", values: []int64{1}}},
	"apply_rope_with_cos_sin_cache":         {{word: "neox_style", param: "is_neox", values: []int64{1}}},
	"trtllm_batch_decode_with_kv_cache_mla": {{word: "topk", number: true, param: "sparse_mla_top_k"}},
}

// planNotes returns the rejection for each pairing note.
var planNotes = map[proto.PlanNote]struct{ reason, detail string }{
	proto.PlanMissing:      {RejectPlanMissing, "no plan of this wrapper object was logged before the run: include its .plan in the dump, with graphs off"},
	proto.PlanStale:        {RejectPlanStale, "no plan was logged between the graph's capture, or the replay before, and this replay: turn decode graphs off"},
	proto.PlanUnreadable:   {RejectPlanUnreadable, "the dump of the plan before this run is incomplete or corrupt"},
	proto.PlanUnordered:    {RejectPlanUnordered, "neither the calls' times nor session.jsonl tell whether the plan came before the run"},
	proto.PlanEarly:        {RejectPlanStale, "the plan before this run was made before the first request: what the run worked on is not traffic, or its own plan was not logged"},
	proto.PlanUnloggedMeta: {RejectPlanUnlogged, "planned with metadata=…, of whose tensors the logger writes only a repr"},
}
