package simulate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/safetensors"
	"github.com/tracefleet/tracefleet/proto"
)

// model is what the task's definitions say about the model that is served: which FlashInfer functions a forward pass calls,
// and with which shapes. Two definitions of one attention share a backend and its wrappers.
type model struct {
	attention []attention
	norms     []norm
	gemms     []gemm
	sampling  []int64 // vocabulary sizes
	moes      []moe
	pageSize  int
	notes     []string // definitions that get no calls, and why
}

// attention is one attention backend: grouped-query, or latent (MLA) where ckv is set.
type attention struct {
	heads, kvHeads, dim int64
	ckv, kpe            int64
	query, cache        safetensors.DType
}

type norm struct {
	function string // rmsnorm, fused_add_rmsnorm and their gemma variants
	columns  int64
	dtype    safetensors.DType
}

type gemm struct {
	matrices, n, k int64
	dtype          safetensors.DType
}

type moe struct {
	experts, local, hidden, inter int64
	topK, groups, topGroups       int64
	logits, bias, values          safetensors.DType
}

// Dimensions of a latent attention's ragged half and cache, where only one of the two definitions is in the task: those of
// the DeepSeek models, the only ones that SGLang serves this way.
const (
	latentCKV, latentKPE, latentNope, latentValue = 512, 64, 128, 128
)

// newModel reads the definitions. Those that cannot be simulated are noted; that none can is a failure.
func newModel(t *proto.Task, defs []*fitrace.Definition) (*model, error) {
	m := &model{pageSize: t.Engine.PageSize}
	for _, d := range defs {
		if t.Engine.PageSize == 0 {
			m.pageSize = max(m.pageSize, int(d.PageSize()))
		}
		apis := d.APIs()
		if len(apis) == 0 {
			m.notes = append(m.notes, d.Name+" has no fi_api tag")
		}
		for _, api := range apis {
			if err := m.add(d, api); err != nil {
				m.notes = append(m.notes, fmt.Sprintf("%s of %s: %v", api, d.Name, err))
			}
		}
	}
	m.pageSize = max(m.pageSize, 1)
	if len(m.attention)+len(m.norms)+len(m.gemms)+len(m.sampling)+len(m.moes) == 0 {
		return nil, proto.Failf(proto.CodeBadCollection, "simulate: nothing to call: %s", strings.Join(m.notes, "; ")).
			WithHint("simulate knows paged and ragged GQA and MLA wrappers, rmsnorm, bmm_fp8, top_k_top_p sampling and trtllm_fp8_block_scale_moe")
	}
	return m, nil
}

// add takes up one API of a definition.
func (m *model) add(d *fitrace.Definition, api fitrace.API) error {
	r := reader{def: d}
	switch api.String() {
	case decodeClass + ".run", pagedClass + ".run":
		q, k := r.shape("q", 3), r.shape("k_cache", 4)
		m.addAttention(attention{heads: q[1], dim: q[2], kvHeads: k[2], query: r.dtype("q"), cache: r.dtype("k_cache")}, r)
	case raggedClass + ".run":
		q, k, v := r.shape("q", 3), r.shape("k", 3), r.shape("v", 3)
		if q[2] != v[2] {
			m.addAttention(attention{heads: q[1], ckv: latentCKV, kpe: q[2] - latentNope, query: r.dtype("q"), cache: r.dtype("k")}, r)
			break
		}
		m.addAttention(attention{heads: q[1], dim: q[2], kvHeads: k[1], query: r.dtype("q"), cache: r.dtype("k")}, r)
	case mlaClass + ".run":
		nope, pe := r.shape("q_nope", 3), r.shape("q_pe", 3)
		m.addAttention(attention{heads: nope[1], ckv: nope[2], kpe: pe[2], query: r.dtype("q_nope"), cache: r.dtype("ckv_cache")}, r)
	case "rmsnorm", "gemma_rmsnorm", "fused_add_rmsnorm", "gemma_fused_add_rmsnorm":
		if len(d.Inputs) == 0 {
			return errors.New("it has no inputs")
		}
		x := d.Inputs[0].Name
		add(&m.norms, norm{function: api.String(), columns: r.shape(x, 2)[1], dtype: r.dtype(x)}, r.err)
	case "bmm_fp8":
		a, b := r.shape("A", 3), r.shape("B", 3)
		add(&m.gemms, gemm{matrices: max(a[0], 1), n: b[2], k: a[2], dtype: r.dtype("A")}, r.err)
	case "top_k_top_p_sampling_from_probs":
		add(&m.sampling, r.shape("probs", 2)[1], r.err)
	case "trtllm_fp8_block_scale_moe":
		logits, x, w := r.shape("routing_logits", 2), r.shape("hidden_states", 2), r.shape("gemm2_weights", 3)
		var bias safetensors.DType // none: the router is a plain softmax over all experts
		if _, ok := d.Input("routing_bias"); ok {
			bias = r.dtype("routing_bias")
		}
		add(&m.moes, moe{
			experts: logits[1], local: w[0], hidden: x[1], inter: w[2],
			topK: routing(d.Name, "topk", 8), groups: routing(d.Name, "ng", 8), topGroups: routing(d.Name, "kg", 4),
			logits: r.dtype("routing_logits"), bias: bias, values: r.dtype("hidden_states"),
		}, r.err)
	default:
		return errors.New("simulate has no model of this function")
	}
	return r.err
}

func (m *model) addAttention(a attention, r reader) {
	if r.err == nil && a.ckv == 0 && (a.heads <= 0 || a.kvHeads <= 0 || a.dim <= 0) {
		return
	}
	add(&m.attention, a, r.err)
}

func add[T comparable](list *[]T, v T, err error) {
	if err == nil && !slices.Contains(*list, v) {
		*list = append(*list, v)
	}
}

// reader takes constant shapes from a definition's inputs and keeps the first thing that is wrong.
type reader struct {
	def *fitrace.Definition
	err error
}

// shape gives the dimensions of an input, 0 for variable ones; always of the rank asked for.
func (r *reader) shape(input string, rank int) []int64 {
	dims := make([]int64, rank)
	t, ok := r.def.Input(input)
	switch {
	case r.err != nil:
	case !ok:
		r.err = fmt.Errorf("it has no input %s", input)
	case len(t.Shape) != rank:
		r.err = fmt.Errorf("input %s has shape %v, expected %d axes", input, t.Shape, rank)
	default:
		for i, axis := range t.Shape {
			dims[i], _ = r.def.Const(axis)
		}
		if i := rank - 1; dims[i] <= 0 {
			r.err = fmt.Errorf("axis %s of input %s is not a positive constant", t.Shape[i], input)
		}
	}
	return dims
}

func (r *reader) dtype(input string) safetensors.DType {
	t, _ := r.def.Input(input)
	d, ok := safetensors.FromTorch(t.DType)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("input %s has dtype %q, which no dump can hold", input, t.DType)
	}
	return d
}

// routing reads a router parameter from a definition's name (…_topk8_ng8_kg4_…): no axis says it.
func routing(name, key string, otherwise int64) int64 {
	if m := regexp.MustCompile(`_` + key + `(\d+)(_|$)`).FindStringSubmatch(name); m != nil {
		if n, err := strconv.ParseInt(m[1], 10, 32); err == nil {
			return n
		}
	}
	return otherwise
}
