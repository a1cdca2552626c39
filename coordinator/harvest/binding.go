package harvest

// source says which argument an input of a trace file is: a parameter, or a member of the tuple it takes.
type source struct {
	param string
	part  int // -1: the argument itself
}

func whole(names ...string) []source {
	var list []source
	for _, n := range names {
		list = append(list, source{n, -1})
	}
	return list
}

// runSources are the inputs whose parameter has another name than they, in the tracer's templates.
var runSources = map[string][]source{
	"k_cache":       {{"paged_kv_cache", 0}, {"kv_cache", 0}, {"k_cache", -1}},
	"v_cache":       {{"paged_kv_cache", 1}, {"kv_cache", 1}, {"v_cache", -1}},
	"hidden_states": whole("hidden_states", "input"),
	"bias":          whole("bias", "beta"),
	"A":             whole("A", "a"),
	"B":             whole("B", "b"),
}

// sources gives the arguments that an input may be, likeliest first.
func sources(input string) []source {
	if list := runSources[input]; list != nil {
		return list
	}
	return whole(input)
}

// planSources are the inputs that a wrapper is given at plan, with the names plan has for them.
var planSources = map[string][]string{
	"qo_indptr":        {"qo_indptr"},
	"kv_indptr":        {"paged_kv_indptr", "kv_indptr", "indptr"},
	"kv_indices":       {"paged_kv_indices", "kv_indices", "indices"},
	"kv_last_page_len": {"paged_kv_last_page_len", "last_page_len", "kv_last_page_len"},
	"paged_kv_indptr":  {"paged_kv_indptr", "kv_indptr", "indptr"},
	"paged_kv_indices": {"paged_kv_indices", "kv_indices", "indices"},
	"sm_scale":         {"sm_scale"},
}

// planned reports whether a wrapper's input is set at plan: its run is never given it, and still depends on it.
func planned(input string) bool { return planSources[input] != nil }

// knownPositions names the positions of the functions that are called by position, for evidence without signatures.
var knownPositions = map[string][]string{
	"BatchDecodeWithPagedKVCacheWrapper.run":       {"self", "q", "paged_kv_cache"},
	"BatchDecodeWithPagedKVCacheWrapper.plan":      {"self", "indptr", "indices", "last_page_len", "num_qo_heads", "num_kv_heads", "head_dim", "page_size"},
	"BatchPrefillWithPagedKVCacheWrapper.run":      {"self", "q", "paged_kv_cache"},
	"BatchPrefillWithPagedKVCacheWrapper.plan":     {"self", "qo_indptr", "paged_kv_indptr", "paged_kv_indices", "paged_kv_last_page_len", "num_qo_heads", "num_kv_heads", "head_dim_qk", "page_size"},
	"BatchPrefillWithRaggedKVCacheWrapper.run":     {"self", "q", "k", "v"},
	"BatchPrefillWithRaggedKVCacheWrapper.forward": {"self", "q", "k", "v"},
	"BatchPrefillWithRaggedKVCacheWrapper.plan":    {"self", "qo_indptr", "kv_indptr", "num_qo_heads", "num_kv_heads", "head_dim_qk"},
	"BatchMLAPagedAttentionWrapper.run":            {"self", "q_nope", "q_pe", "ckv_cache", "kpe_cache"},
	"BatchMLAPagedAttentionWrapper.plan":           {"self", "qo_indptr", "kv_indptr", "kv_indices", "kv_len_arr", "num_heads", "head_dim_ckv", "head_dim_kpe", "page_size", "causal", "sm_scale", "q_data_type", "kv_data_type"},
	"rmsnorm":                                      {"input", "weight", "eps", "out", "enable_pdl"},
	"gemma_rmsnorm":                                {"input", "weight", "eps", "out", "enable_pdl"},
	"fused_add_rmsnorm":                            {"input", "residual", "weight", "eps", "enable_pdl"},
	"gemma_fused_add_rmsnorm":                      {"input", "residual", "weight", "eps", "enable_pdl"},
	"top_k_sampling_from_probs":                    {"probs", "top_k"},
	"top_p_sampling_from_probs":                    {"probs", "top_p"},
	"min_p_sampling_from_probs":                    {"probs", "min_p"},
	"top_k_top_p_sampling_from_probs":              {"probs", "top_k", "top_p"},
	"top_k_renorm_probs":                           {"probs", "top_k"},
	"top_p_renorm_probs":                           {"probs", "top_p"},
	"silu_and_mul":                                 {"input"},
	"gelu_and_mul":                                 {"input"},
	"gelu_tanh_and_mul":                            {"input"},
}
