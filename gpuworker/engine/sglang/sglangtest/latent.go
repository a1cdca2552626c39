package sglangtest

import (
	"github.com/tracefleet/tracefleet/internal/fidump"
)

const (
	latentClass = "BatchMLAPagedAttentionWrapper"
	latentID    = 140000004000

	latentPlanSig = "(self, qo_indptr: torch.Tensor, kv_indptr: torch.Tensor, kv_indices: torch.Tensor, kv_len_arr: torch.Tensor, num_heads: int, head_dim_ckv: int, head_dim_kpe: int, page_size: int, causal: bool, sm_scale: float, q_data_type: torch.dtype, kv_data_type: torch.dtype, use_profiler: bool = False) -> None"
	latentRunSig  = "(self, q_nope: torch.Tensor, q_pe: torch.Tensor, ckv_cache: torch.Tensor, kpe_cache: torch.Tensor, out: Optional[torch.Tensor] = None, lse: Optional[torch.Tensor] = None, return_lse: bool = False) -> torch.Tensor"
)

// latentPrefill is attention of a latent model (MLA) over whole prompts: expanded through the ragged wrapper, whose scale is in no dump, or
// absorbed through the paged one, if the flag turns the ragged path off.
func (f *forward) latentPrefill(indptr, indices []int32, lens []int64) (attention func()) {
	heads, _ := f.heads()
	if f.s.MLAPaged {
		return f.latent(indptr, indptr, indices, lens, true, false)
	}
	width, tokens := f.g.Nope+f.g.Rope, int64(len(indices))
	keyword := func(v fidump.Value, key string) fidump.Value { v.Key = "kwarg_" + key; return v }
	f.call(raggedClass+".plan", "flashinfer.prefill", raggedPlanSig, raggedID, []fidump.Value{
		keyword(ints(indptr), "qo_indptr"), keyword(ints(indptr), "kv_indptr"), keyword(number(heads), "num_qo_heads"), keyword(number(heads), "num_kv_heads"),
		keyword(number(width), "head_dim_qk"), keyword(number(f.g.Value), "head_dim_vo"), dtype("q_data_type"), fidump.BoolArg("kwarg_causal", true),
	})
	return func() {
		f.call(raggedClass+".run", "flashinfer.prefill", raggedRunSig, raggedID,
			[]fidump.Value{floats(tokens, heads, width), floats(tokens, heads, width), floats(tokens, heads, f.g.Value)}, floats(tokens, heads, f.g.Value))
	}
}

// latent plans the paged wrapper, and returns its run in a layer. captured: it is made in a CUDA graph, which leaves no plan.
func (f *forward) latent(qo, indptr, indices []int32, lens []int64, causal, captured bool) (attention func()) {
	heads, _ := f.heads()
	lengths := make([]int32, len(lens))
	for i, n := range lens {
		lengths[i] = int32(n)
	}
	element := fidump.DTypeArg("", "bfloat16")
	if !captured {
		f.call(latentClass+".plan", "flashinfer.mla", latentPlanSig, latentID, []fidump.Value{
			ints(qo), ints(indptr), ints(indices), ints(lengths), number(heads), number(f.g.Latent), number(f.g.Rope), number(1), fidump.BoolArg("", causal),
			fidump.FloatArg("", f.g.scale), element, element,
		})
	}
	rows := int64(qo[len(qo)-1])
	return func() {
		f.call(latentClass+".run", "flashinfer.mla", latentRunSig, latentID, []fidump.Value{
			floats(rows, heads, f.g.Latent), floats(rows, heads, f.g.Rope), floats(f.s.Pool, 1, f.g.Latent), floats(f.s.Pool, 1, f.g.Rope),
		}, floats(rows, heads, f.g.Latent))
	}
}
