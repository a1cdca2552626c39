package sanitizer

import (
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/proto"
)

// The tables of this file are what the rules know by name: parameters, inputs, axes. The code that applies them is in bind.go,
// fit.go and meaning.go.

// call side of a source.
type side int

const (
	ofRun side = iota
	ofPlan
)

// part is how an input is taken out of an argument.
type part int

const (
	whole  part = iota // the argument itself
	first              // the first tensor of a pair, or the first of the two packed in one tensor
	second             // the second
)

// source is one place where an input may be found. Sources are tried in order; the first that was passed wins.
type source struct {
	side  side
	param string
	part  part
}

func run(params ...string) []source  { return sources(ofRun, whole, params) }
func plan(params ...string) []source { return sources(ofPlan, whole, params) }

func sources(s side, p part, params []string) []source {
	list := make([]source, len(params))
	for i, name := range params {
		list[i] = source{s, name, p}
	}
	return list
}

// role is what an input of an attention definition stands for, under whatever name.
type role string

const (
	roleNone        role = ""
	roleQOIndptr    role = "qo_indptr"
	roleKVIndptr    role = "kv_indptr"
	roleKVIndices   role = "kv_indices"
	roleLastPageLen role = "kv_last_page_len"
	roleKCache      role = "k_cache"
	roleVCache      role = "v_cache"
	roleCKVCache    role = "ckv_cache"
	roleKPECache    role = "kpe_cache"
	roleQ           role = "q"
	roleQNope       role = "q_nope"
	roleQPE         role = "q_pe"
	roleSMScale     role = "sm_scale"
)

// roles gives the role of an input of a wrapper's definition by its name there.
var roles = map[string]role{
	"qo_indptr": roleQOIndptr,
	"kv_indptr": roleKVIndptr, "paged_kv_indptr": roleKVIndptr, "indptr": roleKVIndptr,
	"kv_indices": roleKVIndices, "paged_kv_indices": roleKVIndices, "indices": roleKVIndices,
	"kv_last_page_len": roleLastPageLen, "paged_kv_last_page_len": roleLastPageLen, "last_page_len": roleLastPageLen,
	"k_cache": roleKCache, "paged_k_cache": roleKCache, "key_cache": roleKCache,
	"v_cache": roleVCache, "paged_v_cache": roleVCache, "value_cache": roleVCache,
	"ckv_cache": roleCKVCache, "kpe_cache": roleKPECache,
	"q": roleQ, "query": roleQ, "q_nope": roleQNope, "q_pe": roleQPE,
	"sm_scale": roleSMScale,
}

// wrapperSources says where the wrappers take each role from: structure from plan, tensors from run. sm_scale of a forward
// call overrides that of the plan, as it does in FlashInfer.
var wrapperSources = map[role][]source{
	roleQOIndptr:    plan("qo_indptr"),
	roleKVIndptr:    plan("paged_kv_indptr", "kv_indptr", "indptr"),
	roleKVIndices:   plan("paged_kv_indices", "kv_indices", "indices"),
	roleLastPageLen: plan("paged_kv_last_page_len", "last_page_len", "kv_last_page_len"),
	roleKCache:      {{ofRun, "paged_kv_cache", first}, {ofRun, "kv_cache", first}},
	roleVCache:      {{ofRun, "paged_kv_cache", second}, {ofRun, "kv_cache", second}},
	roleCKVCache:    {{ofRun, "ckv_cache", whole}, {ofRun, "kv_cache", first}},
	roleKPECache:    {{ofRun, "kpe_cache", whole}, {ofRun, "kv_cache", second}},
	roleQ:           run("q", "query"),
	roleQNope:       {{ofRun, "q_nope", whole}, {ofRun, "query", first}},
	roleQPE:         {{ofRun, "q_pe", whole}, {ofRun, "query", second}},
	roleSMScale:     append(run("sm_scale"), plan("sm_scale")...),
}

// functionSources gives, for plain functions, the parameters behind inputs that have another name in the dataset's
// definitions. A name that only differs in case needs no row.
var functionSources = map[string]map[string][]source{
	"rmsnorm":                               {"hidden_states": run("input")},
	"gemma_rmsnorm":                         {"hidden_states": run("input")},
	"fused_add_rmsnorm":                     {"hidden_states": run("input")},
	"gemma_fused_add_rmsnorm":               {"hidden_states": run("input")},
	"layernorm":                             {"hidden_states": run("input"), "weight": run("gemma"), "gamma": run("gemma"), "bias": run("beta")},
	"silu_and_mul":                          {"hidden_states": run("input"), "x": run("input")},
	"gelu_and_mul":                          {"hidden_states": run("input"), "x": run("input")},
	"gelu_tanh_and_mul":                     {"hidden_states": run("input"), "x": run("input")},
	"cutlass_fused_moe":                     {"hidden_states": run("input")},
	"apply_rope_with_cos_sin_cache_inplace": {"q": run("query"), "k": run("key"), "positions": run("positions", "pos_ids")},
	"apply_rope_with_cos_sin_cache":         {"q": run("query"), "k": run("key"), "positions": run("positions", "pos_ids")},
	"chunk_gated_delta_rule":                {"state": run("initial_state"), "a": run("g"), "b": run("beta")},
	"trtllm_batch_decode_with_kv_cache": {
		"q": run("query"), "k_cache": {{ofRun, "kv_cache", first}}, "v_cache": {{ofRun, "kv_cache", second}}, "sm_scale": run("bmm1_scale"),
	},
	"trtllm_batch_decode_with_kv_cache_mla": {
		"q_nope": {{ofRun, "query", first}}, "q_pe": {{ofRun, "query", second}},
		"ckv_cache": {{ofRun, "kv_cache", first}}, "kpe_cache": {{ofRun, "kv_cache", second}},
		"sparse_indices": run("block_tables"), "sm_scale": run("bmm1_scale"),
	},
}

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

// indexInto says which axis the values of an integer input of a plain function count along.
var indexInto = map[string]string{
	"state_batch_indices": "state_cache_size", "initial_state_indices": "pool_size", "positions": "max_seq_len",
}

// outputs are parameters that a call writes to: never the input of a definition under another name.
var outputs = []string{"out", "output", "lse", "out_tensor", "workspace_buffer", "profiler_buffer", "output_state"}

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

// planNotes gives the rejection for each pairing note.
var planNotes = map[proto.PlanNote]struct{ reason, detail string }{
	proto.PlanMissing:      {RejectPlanMissing, "no plan of this wrapper object was logged before the run: include its .plan in the dump, with graphs off"},
	proto.PlanStale:        {RejectPlanStale, "no plan was logged between the graph's capture, or the replay before, and this replay: turn decode graphs off"},
	proto.PlanUnreadable:   {RejectPlanUnreadable, "the dump of the plan before this run is incomplete or corrupt"},
	proto.PlanUnordered:    {RejectPlanUnordered, "neither the calls' times nor session.jsonl tell whether the plan came before the run"},
	proto.PlanEarly:        {RejectPlanStale, "the plan before this run was made before the first request: what the run worked on is not traffic, or its own plan was not logged"},
	proto.PlanUnloggedMeta: {RejectPlanUnlogged, "planned with metadata=…, of whose tensors the logger writes only a repr"},
}
