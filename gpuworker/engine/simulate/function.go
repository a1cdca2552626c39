package simulate

import "strings"

// function is a FlashInfer function as its logger names it. Module and signature are those of FlashInfer 0.7.2.post1: the
// signature is what a reader binds positional arguments by.
type function struct {
	name      string
	module    string
	signature string
}

// The wrapper classes.
const (
	decodeClass = "BatchDecodeWithPagedKVCacheWrapper"
	pagedClass  = "BatchPrefillWithPagedKVCacheWrapper"
	raggedClass = "BatchPrefillWithRaggedKVCacheWrapper"
	mlaClass    = "BatchMLAPagedAttentionWrapper"
)

var (
	decodePlan = &function{decodeClass + ".plan", "flashinfer.decode", "(self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor, num_qo_heads: int, " +
		"num_kv_heads: int, head_dim: int, page_size: int, *deprecated_positional_args: Any, " +
		"**kwargs: Any) -> None"}
	decodeRun = &function{decodeClass + ".run", "flashinfer.decode", "(self, q: torch.Tensor, paged_kv_cache: Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]], *args, " +
		"q_scale: Optional[float] = None, k_scale: Optional[float] = None, v_scale: Optional[float] = None, " +
		"out: Optional[torch.Tensor] = None, lse: Optional[torch.Tensor] = None, return_lse: bool = False, " +
		"enable_pdl: Optional[bool] = None, window_left: Optional[int] = None, " +
		"sinks: Optional[torch.Tensor] = None, q_len_per_req: Optional[int] = None, " +
		"skip_softmax_threshold_scale_factor: Optional[float] = None, kv_cache_sf: Union[torch.Tensor, " +
		"Tuple[torch.Tensor, torch.Tensor], NoneType] = None) -> Union[torch.Tensor, Tuple[torch.Tensor, " +
		"torch.Tensor]]"}
	pagedPlan = &function{pagedClass + ".plan", "flashinfer.prefill", "(self, qo_indptr: torch.Tensor, paged_kv_indptr: torch.Tensor, paged_kv_indices: torch.Tensor, " +
		"paged_kv_last_page_len: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim_qk: int, " +
		"page_size: int, head_dim_vo: Optional[int] = None, custom_mask: Optional[torch.Tensor] = None, " +
		"packed_custom_mask: Optional[torch.Tensor] = None, causal: bool = False, " +
		"pos_encoding_mode: str = 'NONE', use_fp16_qk_reduction: bool = False, sm_scale: Optional[float] = None, " +
		"window_left: int = -1, logits_soft_cap: Optional[float] = None, rope_scale: Optional[float] = None, " +
		"rope_theta: Optional[float] = None, q_data_type: Union[str, torch.dtype] = 'float16', " +
		"kv_data_type: Union[str, torch.dtype, NoneType] = None, o_data_type: Union[str, torch.dtype, " +
		"NoneType] = None, non_blocking: bool = True, prefix_len_ptr: Optional[torch.Tensor] = None, " +
		"token_pos_in_items_ptr: Optional[torch.Tensor] = None, token_pos_in_items_len: int = 0, " +
		"max_item_len_ptr: Optional[torch.Tensor] = None, seq_lens: Optional[torch.Tensor] = None, " +
		"seq_lens_q: Optional[torch.Tensor] = None, block_tables: Optional[torch.Tensor] = None, " +
		"max_token_per_sequence: Optional[int] = None, max_sequence_kv: Optional[int] = None, " +
		"fixed_split_size: Optional[int] = None, disable_split_kv: bool = False, " +
		"uniform_q_len: Optional[int] = None) -> None"}
	pagedRun = &function{pagedClass + ".run", "flashinfer.prefill", "(self, q: torch.Tensor, paged_kv_cache: Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]], *args, " +
		"q_scale: Union[float, torch.Tensor, NoneType] = None, k_scale: Union[float, torch.Tensor, " +
		"NoneType] = None, v_scale: Union[float, torch.Tensor, NoneType] = None, " +
		"out: Optional[torch.Tensor] = None, lse: Optional[torch.Tensor] = None, return_lse: bool = False, " +
		"lse_base: str = 'log2', lse_layout: str = 'NH', enable_pdl: Optional[bool] = None, " +
		"window_left: Optional[int] = None, sinks: Optional[torch.Tensor] = None, " +
		"kv_cache_sf: Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor], NoneType] = None, " +
		"skip_softmax_threshold_scale_factor: Optional[float] = None, use_fp16_softmax: Optional[bool] = None, " +
		"uses_spcompress: Optional[bool] = None) -> Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]]"}
	raggedPlan = &function{raggedClass + ".plan", "flashinfer.prefill", "(self, qo_indptr: torch.Tensor, kv_indptr: torch.Tensor, num_qo_heads: int, num_kv_heads: int, " +
		"head_dim_qk: int, head_dim_vo: Optional[int] = None, custom_mask: Optional[torch.Tensor] = None, " +
		"packed_custom_mask: Optional[torch.Tensor] = None, causal: bool = False, " +
		"pos_encoding_mode: str = 'NONE', use_fp16_qk_reduction: bool = False, window_left: int = -1, " +
		"logits_soft_cap: Optional[float] = None, sm_scale: Optional[float] = None, " +
		"rope_scale: Optional[float] = None, rope_theta: Optional[float] = None, q_data_type: Union[str, " +
		"torch.dtype] = 'float16', kv_data_type: Union[str, torch.dtype, NoneType] = None, " +
		"o_data_type: Union[str, torch.dtype, NoneType] = None, non_blocking: bool = True, " +
		"prefix_len_ptr: Optional[torch.Tensor] = None, token_pos_in_items_ptr: Optional[torch.Tensor] = None, " +
		"token_pos_in_items_len: int = 0, max_item_len_ptr: Optional[torch.Tensor] = None, " +
		"fixed_split_size: Optional[int] = None, disable_split_kv: bool = False, " +
		"seq_lens: Optional[torch.Tensor] = None, seq_lens_q: Optional[torch.Tensor] = None, " +
		"max_token_per_sequence: Optional[int] = None, max_sequence_kv: Optional[int] = None, " +
		"v_indptr: Optional[torch.Tensor] = None, o_indptr: Optional[torch.Tensor] = None, " +
		"uniform_q_len: Optional[int] = None) -> None"}
	raggedRun = &function{raggedClass + ".run", "flashinfer.prefill", "(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args, q_scale: Optional[float] = None, " +
		"k_scale: Optional[float] = None, v_scale: Optional[float] = None, o_scale: Optional[float] = None, " +
		"out: Optional[torch.Tensor] = None, lse: Optional[torch.Tensor] = None, return_lse: bool = False, " +
		"lse_base: str = 'log2', lse_layout: str = 'NH', enable_pdl: Optional[bool] = None, " +
		"kv_cache_sf: Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor], " +
		"NoneType] = None) -> Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]]"}
	mlaPlan = &function{mlaClass + ".plan", "flashinfer.mla._batch_mla._wrapper", "(self, qo_indptr: Optional[torch.Tensor] = None, kv_indptr: Optional[torch.Tensor] = None, " +
		"kv_indices: Optional[torch.Tensor] = None, kv_len_arr: Optional[torch.Tensor] = None, " +
		"num_heads: Optional[int] = None, head_dim_ckv: Optional[int] = None, head_dim_kpe: Optional[int] = None, " +
		"page_size: Optional[int] = None, causal: Optional[bool] = None, sm_scale: Optional[float] = None, " +
		"q_data_type: Optional[torch.dtype] = None, kv_data_type: Optional[torch.dtype] = None, " +
		"use_profiler: bool = False, *, " +
		"metadata: Optional[flashinfer.mla._batch_mla._contracts.MLAPlanMetadata] = None, " +
		"cum_seq_lens_q: Optional[torch.Tensor] = None, block_tables: Optional[torch.Tensor] = None, " +
		"seq_lens: Optional[torch.Tensor] = None, max_q_len: Optional[int] = None, " +
		"query_layout: Optional[Literal['packed', 'split']] = None, kv_cache_layout: Optional[Literal['packed', " +
		"'split']] = None, lse_mode: Literal['none', 'base2', 'basee'] = 'none', " +
		"output_dtype: Optional[torch.dtype] = None, output_scale: Literal['none', 'per-tensor'] = 'none', " +
		"scale_mode: Literal['default', 'kv-per-tensor', 'bmm-scalar', 'bmm-tensor'] = 'default', " +
		"skip_softmax: bool = False, enable_pdl: Optional[bool] = None, use_sinks: bool = False) -> None"}
	mlaRun = &function{mlaClass + ".run", "flashinfer.mla._batch_mla._wrapper", "(self, q_nope: Optional[torch.Tensor] = None, q_pe: Optional[torch.Tensor] = None, " +
		"ckv_cache: Optional[torch.Tensor] = None, kpe_cache: Optional[torch.Tensor] = None, " +
		"out: Optional[torch.Tensor] = None, lse: Optional[torch.Tensor] = None, return_lse: bool = False, " +
		"profiler_buffer: Optional[torch.Tensor] = None, kv_len: Optional[torch.Tensor] = None, " +
		"page_table: Optional[torch.Tensor] = None, return_lse_base_on_e: bool = False, " +
		"o_scale: Optional[float] = None, *, query: object = None, kv_cache: object = None, " +
		"ckv_scale: Optional[float] = None, ckv_scale_arr: Optional[torch.Tensor] = None, " +
		"kpe_scale: Optional[float] = None, sinks: Optional[torch.Tensor] = None, " +
		"skip_softmax_threshold_scale_factor: Optional[float] = None, bmm1_scale: Union[float, torch.Tensor, " +
		"NoneType] = None, bmm2_scale: Union[float, torch.Tensor, NoneType] = None) -> Union[torch.Tensor, " +
		"Tuple[torch.Tensor, torch.Tensor]]"}
	rmsnorm = &function{"rmsnorm", "flashinfer.norm", "(input: torch.Tensor, weight: torch.Tensor, eps: float = 1e-06, out: Optional[torch.Tensor] = None, " +
		"enable_pdl: Optional[bool] = None) -> torch.Tensor"}
	fusedAddRMSNorm = &function{"fused_add_rmsnorm", "flashinfer.norm", "(input: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float = 1e-06, " +
		"enable_pdl: Optional[bool] = None) -> None"}
	bmmFP8 = &function{"bmm_fp8", "flashinfer.gemm.gemm_base", "(A: torch.Tensor, B: torch.Tensor, A_scale: torch.Tensor, B_scale: torch.Tensor, dtype: torch.dtype, " +
		"out: Optional[torch.Tensor] = None, backend: Literal['cudnn', 'cublas', 'cutlass', 'cute-dsl', " +
		"'auto'] = 'cublas') -> torch.Tensor"}
	topKTopP = &function{"top_k_top_p_sampling_from_probs", "flashinfer.sampling", "(probs: torch.Tensor, top_k: Union[torch.Tensor, int], top_p: Union[torch.Tensor, float], " +
		"indices: Optional[torch.Tensor] = None, filter_apply_order: str = 'top_k_first', " +
		"deterministic: bool = True, generator: Optional[torch._C.Generator] = None, check_nan: bool = False, " +
		"seed: Union[int, torch.Tensor, NoneType] = None, offset: Union[int, torch.Tensor, NoneType] = None, " +
		"return_valid: bool = False) -> Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]]"}
	moeFP8 = &function{"trtllm_fp8_block_scale_moe", "flashinfer.fused_moe.core", "(routing_logits: torch.Tensor, routing_bias: Optional[torch.Tensor], hidden_states: torch.Tensor, " +
		"hidden_states_scale: torch.Tensor, gemm1_weights: torch.Tensor, gemm1_weights_scale: torch.Tensor, " +
		"gemm2_weights: torch.Tensor, gemm2_weights_scale: torch.Tensor, num_experts: int, top_k: int, " +
		"n_group: Optional[int], topk_group: Optional[int], intermediate_size: int, local_expert_offset: int, " +
		"local_num_experts: int, routed_scaling_factor: Optional[float], routing_method_type: int = 0, " +
		"use_shuffled_weight: bool = False, weight_layout: int = 0, do_finalize: bool = True, " +
		"enable_pdl: Optional[bool] = None, tune_max_num_tokens: int = 8192, " +
		"fp8_quantization_type: flashinfer.tllm_enums.Fp8QuantizationType = <Fp8QuantizationType.DeepSeekFp8: 1>, " +
		"num_fused_shared_experts: Optional[int] = None, activation_type: int = 3, norm_topk_prob: bool = True, " +
		"routing_replay_out: Optional[torch.Tensor] = None, gemm1_alpha: Optional[torch.Tensor] = None, " +
		"gemm1_beta: Optional[torch.Tensor] = None, gemm1_clamp_limit: Optional[torch.Tensor] = None, " +
		"output: Optional[torch.Tensor] = None, valid_hidden_size: Optional[int] = None, " +
		"valid_intermediate_size: Optional[int] = None, *, gemm1_bias: Optional[torch.Tensor] = None, " +
		"gemm2_bias: Optional[torch.Tensor] = None) -> Union[List[torch.Tensor], torch.Tensor]"}
)

// norms by name; the gemma variants have the signatures of the others.
var normFunctions = map[string]*function{
	rmsnorm.name:              rmsnorm,
	fusedAddRMSNorm.name:      fusedAddRMSNorm,
	"gemma_rmsnorm":           {"gemma_rmsnorm", rmsnorm.module, rmsnorm.signature},
	"gemma_fused_add_rmsnorm": {"gemma_fused_add_rmsnorm", fusedAddRMSNorm.module, fusedAddRMSNorm.signature},
}

// class is the wrapper's class, or empty.
func (f *function) class() string {
	class, _, ok := strings.Cut(f.name, ".")
	if !ok {
		return ""
	}
	return class
}
