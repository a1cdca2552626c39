package simulate

import (
	"math"
	"math/rand/v2"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/safetensors"
)

// forward turns a batch into the calls that a forward pass makes, in their order: every wrapper is planned once, before the
// first layer, and run in each layer.
type forward struct {
	model  *model
	layers int
	ragged bool                 // prefill runs ragged over the new tokens, and paged over a cached prefix
	slots  int64                // rows of a layer's KV pool, the padding page included
	wanted func(*function) bool // whether anyone dumps it: what nobody does is not built
	stale  *rand.Rand           // what uninitialised memory holds

	// Of the pass at hand.
	batch  *batch
	tokens int64   // new tokens
	qo     []int32 // where each row's new tokens begin
	calls  []*call
	runs   []*call // of a layer's attention
}

// What a backend's wrappers are, by their number within it.
const (
	decodeWrapper = iota
	prefillWrapper
	raggedWrapper
	wrapperKinds
)

// Parameters whose values no structural tensor depends on.
const (
	epsilon       = 1e-5
	routedScaling = 2.5
	renormalize   = 1 // FlashInfer's RoutingMethodType
	deepSeekV3    = 2
	staleTail     = 256 // entries that SGLang over-allocates behind a prefill plan's indices
)

// pass lists the calls of one forward pass.
func (f *forward) pass(b *batch) []*call {
	f.batch, f.tokens, f.calls, f.runs = b, 0, nil, nil
	f.qo = make([]int32, 1, len(b.rows)+1)
	for _, r := range b.rows {
		f.tokens += int64(r.seq - r.prefix)
		f.qo = append(f.qo, int32(f.tokens))
	}
	for i, a := range f.model.attention {
		f.attention(a, i*wrapperKinds)
	}
	for layer := range f.layers {
		for _, n := range f.model.norms {
			f.norm(n, layer)
		}
		f.calls = append(f.calls, f.runs...)
		for _, g := range f.model.gemms {
			f.gemm(g)
		}
		for _, m := range f.model.moes {
			f.moe(m)
		}
	}
	for _, v := range f.model.sampling {
		f.sample(v)
	}
	return f.calls
}

// emit adds a call that somebody wants; build makes it only then.
func (f *forward) emit(fn *function, build func(*function) *call) {
	if f.wanted(fn) {
		f.calls = append(f.calls, build(fn))
	}
}

// run adds a call to those that every layer makes.
func (f *forward) run(fn *function, build func(*function) *call) {
	if f.wanted(fn) {
		f.runs = append(f.runs, build(fn))
	}
}

// attention plans a backend's wrappers, which are numbered from wrapper on, and adds its runs.
func (f *forward) attention(a attention, wrapper int) {
	switch {
	case a.ckv > 0:
		f.latent(a, wrapper)
	case !f.batch.prefill:
		f.decode(a, wrapper+decodeWrapper)
	case f.ragged:
		f.raggedPrefill(a, wrapper)
	default:
		f.pagedPlan(a, wrapper+prefillWrapper, whole) // causal, over cached prefix and new tokens alike
		f.pagedRun(a, wrapper+prefillWrapper, false)
	}
}

// prefixes reports whether any row had cached tokens.
func (f *forward) prefixes() bool {
	for _, r := range f.batch.rows {
		if r.prefix > 0 {
			return true
		}
	}
	return false
}

// indices gives indptr and indices over each row's first tokens; tail stale entries follow.
func (f *forward) indices(length func(row) int, tail int) (indptr, indices []int32) {
	indptr = make([]int32, 1, len(f.batch.rows)+1)
	for _, r := range f.batch.rows {
		indices = append(indices, r.slots[:length(r)]...)
		indptr = append(indptr, int32(len(indices)))
	}
	for range tail {
		// Left over from other tensors: small numbers, slots and nonsense alike.
		switch f.stale.IntN(3) {
		case 0:
			indices = append(indices, f.stale.Int32N(4))
		case 1:
			indices = append(indices, f.stale.Int32N(int32(f.slots)))
		default:
			indices = append(indices, int32(f.stale.Uint32()))
		}
	}
	return indptr, indices
}

func whole(r row) int  { return r.seq }
func cached(r row) int { return r.prefix }

// ones is the last page lengths of pages of one token.
func (f *forward) ones() []int32 {
	list := make([]int32, len(f.batch.rows))
	for i := range list {
		list[i] = 1
	}
	return list
}

func (f *forward) pools(a attention) (k, v fidump.Value) {
	return floats(a.cache, f.slots, a.kvHeads, a.dim), floats(a.cache, f.slots, a.kvHeads, a.dim)
}

func (f *forward) decode(a attention, wrapper int) {
	f.emit(decodePlan, func(fn *function) *call {
		indptr, indices := f.indices(whole, 0)
		return newCall(fn, wrapper).values(ints(indptr), ints(indices), ints(f.ones())).
			values(number(a.heads), number(a.kvHeads), number(a.dim), number(1)).
			keyword(kw("data_type", dtypeValue(a.cache)), kw("q_data_type", dtypeValue(a.query)), kw("non_blocking", yes),
				kw("fixed_split_size", null), kw("disable_split_kv", no)).returns()
	})
	f.run(decodeRun, func(fn *function) *call {
		k, v := f.pools(a)
		return newCall(fn, wrapper).values(floats(a.query, f.tokens, a.heads, a.dim)).pair(k, v).
			keyword(kw("q_scale", null), kw("k_scale", null), kw("v_scale", null)).
			returns(floats(a.query, f.tokens, a.heads, a.dim))
	})
}

func (f *forward) pagedPlan(a attention, wrapper int, length func(row) int) {
	f.emit(pagedPlan, func(fn *function) *call {
		indptr, indices := f.indices(length, staleTail)
		return newCall(fn, wrapper).values(ints(f.qo), ints(indptr), ints(indices), ints(f.ones())).
			values(number(a.heads), number(a.kvHeads), number(a.dim), number(1)).
			keyword(kw("q_data_type", dtypeValue(a.query)), kw("kv_data_type", dtypeValue(a.cache)), kw("custom_mask", null),
				kw("non_blocking", yes), kw("fixed_split_size", null), kw("prefix_len_ptr", null), kw("token_pos_in_items_ptr", null),
				kw("token_pos_in_items_len", number(0)), kw("max_item_len_ptr", null)).returns()
	})
}

func (f *forward) pagedRun(a attention, wrapper int, lse bool) {
	f.run(pagedRun, func(fn *function) *call {
		k, v := f.pools(a)
		b := newCall(fn, wrapper).values(floats(a.query, f.tokens, a.heads, a.dim)).pair(k, v).
			keyword(kw("k_scale", null), kw("v_scale", null))
		if lse {
			b.keyword(kw("return_lse", yes))
		}
		return b.returns(f.attended(a.query, a.heads, a.dim, lse)...)
	})
}

// raggedPrefill is causal attention over the new tokens. The paged wrapper is planned over the cached prefixes each time, but
// run, not causal, only when there is one; the halves are then merged by their log-sum-exp.
func (f *forward) raggedPrefill(a attention, wrapper int) {
	lse := f.prefixes()
	f.emit(raggedPlan, func(fn *function) *call {
		return newCall(fn, wrapper+raggedWrapper).values(ints(f.qo), ints(f.qo)).
			values(number(a.heads), number(a.kvHeads), number(a.dim)).
			keyword(kw("q_data_type", dtypeValue(a.query))).returns()
	})
	f.pagedPlan(a, wrapper+prefillWrapper, cached)
	f.run(raggedRun, func(fn *function) *call {
		b := newCall(fn, wrapper+raggedWrapper).values(
			floats(a.query, f.tokens, a.heads, a.dim), floats(a.query, f.tokens, a.kvHeads, a.dim), floats(a.query, f.tokens, a.kvHeads, a.dim))
		if lse {
			b.keyword(kw("return_lse", yes))
		}
		return b.returns(f.attended(a.query, a.heads, a.dim, lse)...)
	})
	if lse {
		f.pagedRun(a, wrapper+prefillWrapper, true)
	}
}

// attended is what an attention returns.
func (f *forward) attended(dtype safetensors.DType, heads, dim int64, lse bool) []fidump.Value {
	out := []fidump.Value{floats(dtype, f.tokens, heads, dim)}
	if lse {
		out = append(out, floats(safetensors.F32, f.tokens, heads))
	}
	return out
}

// latent is MLA: decode and prefill over a cached prefix through the paged wrapper, prefill of whole prompts through the
// ragged one with keys and values expanded, unless that is switched off.
func (f *forward) latent(a attention, wrapper int) {
	scale := 1 / math.Sqrt(float64(latentNope+a.kpe))
	if f.batch.prefill && f.ragged && !f.prefixes() {
		qk, value := latentNope+a.kpe, int64(latentValue)
		f.emit(raggedPlan, func(fn *function) *call {
			return newCall(fn, wrapper+raggedWrapper).keyword(kw("qo_indptr", ints(f.qo))).keyword(kw("kv_indptr", ints(f.qo))).
				keyword(kw("num_qo_heads", number(a.heads)), kw("num_kv_heads", number(a.heads)), kw("head_dim_qk", number(qk)),
					kw("head_dim_vo", number(value)), kw("q_data_type", dtypeValue(a.query)), kw("causal", yes)).returns()
		})
		f.run(raggedRun, func(fn *function) *call {
			return newCall(fn, wrapper+raggedWrapper).values(floats(a.query, f.tokens, a.heads, qk),
				floats(a.query, f.tokens, a.heads, qk), floats(a.query, f.tokens, a.heads, value)).
				returns(f.attended(a.query, a.heads, value, false)...)
		})
		return
	}
	if f.batch.prefill {
		wrapper += prefillWrapper
	}
	f.emit(mlaPlan, func(fn *function) *call {
		indptr, indices := f.indices(whole, 0)
		lengths := make([]int32, len(f.batch.rows))
		for i, r := range f.batch.rows {
			lengths[i] = int32(r.seq)
		}
		causal := no
		if f.batch.prefill {
			causal = yes
		}
		return newCall(fn, wrapper).values(ints(f.qo), ints(indptr), ints(indices), ints(lengths)).
			values(number(a.heads), number(a.ckv), number(a.kpe), number(1), causal, decimal(scale), dtypeValue(a.query), dtypeValue(a.cache)).returns()
	})
	f.run(mlaRun, func(fn *function) *call {
		return newCall(fn, wrapper).values(
			floats(a.query, f.tokens, a.heads, a.ckv), floats(a.query, f.tokens, a.heads, a.kpe),
			floats(a.cache, f.slots, 1, a.ckv), floats(a.cache, f.slots, 1, a.kpe)).
			keyword(kw("out", floats(a.query, f.tokens, a.heads, a.ckv))).
			returns(floats(a.query, f.tokens, a.heads, a.ckv))
	})
}

// norm normalises the layer's rows; a norm as wide as an attention's heads is that of its queries and keys. The plain norm
// of the hidden state stands only at the model's start: later ones are fused with the residual add.
func (f *forward) norm(n norm, layer int) {
	fn := normFunctions[n.function]
	fused := n.function == fusedAddRMSNorm.name || n.function == "gemma_fused_add_rmsnorm"
	rows := []int64{f.tokens}
	perHead := false
	for _, a := range f.model.attention {
		if !fused && a.ckv == 0 && a.dim == n.columns {
			rows, perHead = []int64{f.tokens * a.heads, f.tokens * a.kvHeads}, true
			break
		}
	}
	if !fused && !perHead && layer > 0 {
		return
	}
	for _, count := range rows {
		f.emit(fn, func(fn *function) *call {
			x := floats(n.dtype, count, n.columns)
			if fused {
				return newCall(fn, -1).values(x, floats(n.dtype, count, n.columns), floats(n.dtype, n.columns)).values(decimal(epsilon)).returns()
			}
			return newCall(fn, -1).values(x, floats(n.dtype, n.columns)).values(decimal(epsilon)).returns(floats(n.dtype, count, n.columns))
		})
	}
}

// gemm multiplies by a weight stored transposed, as quantised weights are.
func (f *forward) gemm(g gemm) {
	f.emit(bmmFP8, func(fn *function) *call {
		weight := floats(g.dtype, g.matrices, g.k, g.n)
		weight.Tensor.Stride = []int64{g.k * g.n, 1, g.k}
		return newCall(fn, -1).values(floats(g.dtype, g.matrices, f.tokens, g.k), weight, floats(safetensors.F32, 1), floats(safetensors.F32, 1)).
			values(dtypeValue(safetensors.BF16)).returns(floats(safetensors.BF16, g.matrices, f.tokens, g.n))
	})
}

// moe routes each token to experts; with expert parallelism each rank holds its share of them.
func (f *forward) moe(m moe) {
	f.emit(moeFP8, func(fn *function) *call {
		const block = 128
		bias, groups, topGroups, method := null, null, null, int64(renormalize)
		if m.bias != "" {
			bias, groups, topGroups, method = floats(m.bias, m.experts), number(m.groups), number(m.topGroups), deepSeekV3
		}
		b := newCall(fn, -1).keyword(
			kw("routing_logits", floats(m.logits, f.tokens, m.experts)),
			kw("routing_bias", bias),
			kw("hidden_states", floats(m.values, f.tokens, m.hidden)),
			kw("hidden_states_scale", floats(safetensors.F32, m.hidden/block, f.tokens)),
			kw("gemm1_weights", floats(m.values, m.local, 2*m.inter, m.hidden)),
			kw("gemm1_weights_scale", floats(safetensors.F32, m.local, 2*m.inter/block, m.hidden/block)),
			kw("gemm2_weights", floats(m.values, m.local, m.hidden, m.inter)),
			kw("gemm2_weights_scale", floats(safetensors.F32, m.local, m.hidden/block, m.inter/block)),
			kw("num_experts", number(m.experts)), kw("top_k", number(m.topK)), kw("n_group", groups),
			kw("topk_group", topGroups), kw("intermediate_size", number(m.inter)))
		b.ranked = func(rank int) fidump.Value {
			return kw("local_expert_offset", number(int64(rank)*m.local%max(m.experts, 1)))
		}
		return b.keyword(kw("local_expert_offset", number(0)), kw("local_num_experts", number(m.local)), kw("routed_scaling_factor", decimal(routedScaling)),
			kw("routing_method_type", number(method)), kw("use_shuffled_weight", no), kw("tune_max_num_tokens", number(4096))).
			returns(floats(safetensors.BF16, f.tokens, m.hidden))
	})
}

// sample draws the next token of every row.
func (f *forward) sample(vocabulary int64) {
	f.emit(topKTopP, func(fn *function) *call {
		rows := int64(len(f.batch.rows))
		topK, topP := make([]int32, rows), make([]float32, rows)
		for i, r := range f.batch.rows {
			topK[i], topP[i] = r.req.topK, r.req.topP
		}
		return newCall(fn, -1).values(floats(safetensors.F32, rows, vocabulary), ints(topK), bounds(topP)).
			keyword(kw("filter_apply_order", joint), kw("check_nan", no)).returns(ints(make([]int32, rows)))
	})
}
