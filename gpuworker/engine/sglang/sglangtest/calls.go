package sglangtest

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/modelconfig"
)

// geometry holds the sizes in a model's config.json.
type geometry struct {
	Heads   int64 `json:"num_attention_heads"`
	KVHeads int64 `json:"num_key_value_heads"`
	HeadDim int64 `json:"head_dim"`
	Hidden  int64 `json:"hidden_size"`
	Vocab   int64 `json:"vocab_size"`
	Layers  int   `json:"num_hidden_layers"`
	Latent  int64 `json:"kv_lora_rank"` // of latent attention (MLA); 0: another
	Nope    int64 `json:"qk_nope_head_dim"`
	Rope    int64 `json:"qk_rope_head_dim"`
	Value   int64 `json:"v_head_dim"`
	scale   float64
}

func geometryOf(modelPath string) geometry {
	g := geometry{Heads: 32, KVHeads: 8, HeadDim: 128, Hidden: 4096, Vocab: 32000, Layers: 2}
	if data, err := os.ReadFile(filepath.Join(modelPath, "config.json")); err == nil {
		_ = json.Unmarshal(data, &g) // what is not there stays
	}
	if s, err := modelconfig.ReadScale(modelPath); err == nil {
		g.scale = s.Value
	}
	return g
}

// The wrapper classes, and stand-ins for the ids of their objects.
const (
	decodeClass = "BatchDecodeWithPagedKVCacheWrapper"
	pagedClass  = "BatchPrefillWithPagedKVCacheWrapper"
	raggedClass = "BatchPrefillWithRaggedKVCacheWrapper"

	decodeID, pagedID, raggedID = 140000001000, 140000002000, 140000003000
)

// Signatures, as far as binding by name needs them.
const (
	decodePlanSig = "(self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim: int, page_size: int, *deprecated_positional_args: Any, **kwargs: Any) -> None"
	pagedPlanSig  = "(self, qo_indptr: torch.Tensor, paged_kv_indptr: torch.Tensor, paged_kv_indices: torch.Tensor, paged_kv_last_page_len: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim_qk: int, page_size: int, head_dim_vo: Optional[int] = None, custom_mask: Optional[torch.Tensor] = None, packed_custom_mask: Optional[torch.Tensor] = None, causal: bool = False, window_left: int = -1, q_data_type: Union[str, torch.dtype] = 'float16', kv_data_type: Union[str, torch.dtype, NoneType] = None, non_blocking: bool = True) -> None"
	raggedPlanSig = "(self, qo_indptr: torch.Tensor, kv_indptr: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim_qk: int, head_dim_vo: Optional[int] = None, custom_mask: Optional[torch.Tensor] = None, packed_custom_mask: Optional[torch.Tensor] = None, causal: bool = False, window_left: int = -1, q_data_type: Union[str, torch.dtype] = 'float16', kv_data_type: Union[str, torch.dtype, NoneType] = None) -> None"
	pagedRunSig   = "(self, q: torch.Tensor, paged_kv_cache: Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]], *args, **kwargs) -> torch.Tensor"
	raggedRunSig  = "(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args, **kwargs) -> torch.Tensor"
	normSig       = "(input: torch.Tensor, weight: torch.Tensor, eps: float = 1e-06, out: Optional[torch.Tensor] = None, enable_pdl: Optional[bool] = None) -> torch.Tensor"
	fusedSig      = "(input: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float = 1e-06, enable_pdl: Optional[bool] = None) -> None"
	samplingSig   = "(probs: torch.Tensor, top_k: Union[torch.Tensor, int], top_p: Union[torch.Tensor, float], indices: Optional[torch.Tensor] = None, filter_apply_order: str = 'top_k_first', deterministic: bool = True) -> torch.Tensor"
)

// forward makes the FlashInfer calls of forward passes in one rank.
type forward struct {
	o      *Options
	s      *setting
	g      geometry
	log    *logger
	page   int64 // tokens a page of the allocator
	failed error // the first dump that could not be written
}

func (f *forward) heads() (qo, kv int64) {
	return f.g.Heads / int64(f.s.TP), max(f.g.KVHeads/int64(f.s.TP), 1)
}

// call logs a call unless the test switched the function off.
func (f *forward) call(name, module, sig string, self int64, args []fidump.Value, results ...fidump.Value) {
	if len(f.o.Calls) > 0 && !slices.Contains(f.o.Calls, name) {
		return
	}
	numbered := []fidump.Value{}
	next := 0
	if self != 0 {
		numbered, next = append(numbered, fidump.ObjectArg("arg_0", module, "<wrapper>")), 1
	}
	for _, a := range args {
		if a.Key == "" {
			a.Key = "arg_" + strconv.Itoa(next)
			next++
		}
		numbered = append(numbered, a)
	}
	if err := f.log.log(fidump.Call{Function: name, Module: module, Signature: sig, SelfID: self, Args: numbered}, results...); err != nil && f.failed == nil {
		f.failed = err
	}
}

func floats(shape ...int64) fidump.Value { return fidump.TensorArg("", "bfloat16", shape, nil) }

func ints(values []int32) fidump.Value {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(v))
	}
	return fidump.TensorArg("", "int32", []int64{int64(len(values))}, data)
}

func dtype(name string) fidump.Value { return fidump.DTypeArg("kwarg_"+name, "bfloat16") }

func number(n int64) fidump.Value { return fidump.IntArg("", n) }

// table gives token slots of requests, each in pages of its own, and what follows from them.
func (f *forward) table(lens []int64) (indptr, indices, last []int32) {
	indptr = []int32{0}
	at := f.page // slot 0 is never used
	for _, n := range lens {
		for i := range n {
			indices = append(indices, int32(at+i))
		}
		at += (n + f.page - 1) / f.page * f.page
		indptr = append(indptr, indptr[len(indptr)-1]+int32(n))
		last = append(last, 1)
	}
	return indptr, indices, last
}

// prefill is the pass over all prompts of a batch.
func (f *forward) prefill(lens []int64) {
	indptr, indices, last := f.table(lens)
	tokens := int64(len(indices))
	qo, kv := f.heads()
	dim := f.g.HeadDim
	attention := func() {}
	switch {
	case f.s.Backend != "flashinfer":
	case f.g.Latent > 0:
		attention = f.latentPrefill(indptr, indices, lens)
	default:
		pagedIndptr, pagedIndices := indptr, append(slices.Clone(indices), make([]int32, 256)...) // garbage behind them, as there
		if !f.s.UsePaged {
			pagedIndptr, pagedIndices = make([]int32, len(indptr)), make([]int32, 256) // no prefix
		}
		f.call(pagedClass+".plan", "flashinfer.prefill", pagedPlanSig, pagedID, []fidump.Value{
			ints(indptr), ints(pagedIndptr), ints(pagedIndices), ints(last), number(qo), number(kv), number(dim), number(1),
			dtype("q_data_type"), dtype("kv_data_type"), fidump.NoneArg("kwarg_custom_mask"), fidump.BoolArg("kwarg_non_blocking", true),
		})
		attention = func() {
			f.call(pagedClass+".run", "flashinfer.prefill", pagedRunSig, pagedID, []fidump.Value{
				floats(tokens, qo, dim), fidump.TupleArg("", floats(f.s.Pool, kv, dim), floats(f.s.Pool, kv, dim)),
			}, floats(tokens, qo, dim))
		}
		if !f.s.UsePaged {
			f.call(raggedClass+".plan", "flashinfer.prefill", raggedPlanSig, raggedID, []fidump.Value{
				ints(indptr), ints(indptr), number(qo), number(kv), number(dim), dtype("q_data_type"),
			})
			attention = func() {
				f.call(raggedClass+".run", "flashinfer.prefill", raggedRunSig, raggedID,
					[]fidump.Value{floats(tokens, qo, dim), floats(tokens, kv, dim), floats(tokens, kv, dim)}, floats(tokens, qo, dim))
			}
		}
	}
	f.layers(tokens, attention)
	f.sample(int64(len(lens)))
}

// decode is one step of a batch. captured: it is made in a CUDA graph, which leaves no plan.
func (f *forward) decode(lens []int64, captured bool) {
	indptr, indices, last := f.table(lens)
	batch := int64(len(lens))
	qo, kv := f.heads()
	dim := f.g.HeadDim
	attention := func() {}
	switch {
	case f.s.Backend != "flashinfer":
	case f.g.Latent > 0:
		rows := make([]int32, batch+1)
		for i := range rows {
			rows[i] = int32(i)
		}
		attention = f.latent(rows, indptr, indices, lens, false, captured)
	default:
		if !captured {
			f.call(decodeClass+".plan", "flashinfer.decode", decodePlanSig, decodeID, []fidump.Value{
				ints(indptr), ints(indices), ints(last), number(qo), number(kv), number(dim), number(1),
				dtype("data_type"), dtype("q_data_type"), fidump.BoolArg("kwarg_non_blocking", true),
			})
		}
		attention = func() {
			f.call(decodeClass+".run", "flashinfer.decode", pagedRunSig, decodeID, []fidump.Value{
				floats(batch, qo, dim), fidump.TupleArg("", floats(f.s.Pool, kv, dim), floats(f.s.Pool, kv, dim)),
			}, floats(batch, qo, dim))
		}
	}
	f.layers(batch, attention)
	f.sample(batch)
}

func (f *forward) layers(tokens int64, attention func()) {
	for i := range f.g.Layers {
		if i == 0 {
			f.call("rmsnorm", "flashinfer.norm", normSig, 0, []fidump.Value{floats(tokens, f.g.Hidden), floats(f.g.Hidden), fidump.FloatArg("", 1e-5)}, floats(tokens, f.g.Hidden))
		} else {
			f.fused(tokens)
		}
		attention()
		f.fused(tokens)
	}
	f.fused(tokens)
}

func (f *forward) fused(tokens int64) {
	f.call("fused_add_rmsnorm", "flashinfer.norm", fusedSig, 0, []fidump.Value{
		floats(tokens, f.g.Hidden), floats(tokens, f.g.Hidden), floats(f.g.Hidden), fidump.FloatArg("", 1e-5),
	})
}

func (f *forward) sample(batch int64) {
	if f.s.Sampling != "flashinfer" {
		return
	}
	topP := fidump.TensorArg("", "float32", []int64{batch}, nil)
	f.call("top_k_top_p_sampling_from_probs", "flashinfer.sampling", samplingSig, 0, []fidump.Value{
		fidump.TensorArg("", "float32", []int64{batch, f.g.Vocab}, nil), ints(slices.Repeat([]int32{40}, int(batch))), topP,
		fidump.StringArg("kwarg_filter_apply_order", "joint"),
	}, ints(make([]int32, batch)))
}
