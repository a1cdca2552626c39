package modelconfig

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// Demand holds the ranks under which a model calls a definition's function with the definition's const axes. Zero fields demand
// nothing.
type Demand struct {
	Problem     string   // why no ranks of this model produce the definition, in words that follow the model's name: "has 32 attention heads: …"
	AttentionTP []int    // ranks that the attention heads are divided over, ascending
	EP          int      // expert ranks
	MoETP       int      // tensor ranks that each expert is divided over
	Unchecked   []string // axes that were not compared, because the configuration or this package has nothing to compare them with
}

// Layout holds the ranks of a launch: those that attention heads are divided over, those that experts are spread over, and those
// that each expert is divided over.
type Layout struct{ AttentionTP, EP, MoETP int }

// LayoutOf returns the layout of a launch: the tensor ranks that expert and MoE data parallelism leave divide each expert.
func LayoutOf(tp, ep, moeDP, attentionTP int) Layout {
	return Layout{AttentionTP: attentionTP, EP: ep, MoETP: max(tp/(ep*moeDP), 1)}
}

// Check returns why a launch with this layout does not produce the definition, or "".
func (demand *Demand) Check(l Layout) string {
	switch {
	case demand.Problem != "":
		return demand.Problem
	case len(demand.AttentionTP) > 0 && !slices.Contains(demand.AttentionTP, l.AttentionTP):
		return fmt.Sprintf("divides its heads over %d ranks, and the definition has those of %s", l.AttentionTP, orList(demand.AttentionTP))
	case demand.EP > 0 && demand.EP != l.EP:
		return fmt.Sprintf("spreads its experts over %d ranks (EP), and the definition has those of %d", l.EP, demand.EP)
	case demand.MoETP > 0 && demand.MoETP != l.MoETP:
		return fmt.Sprintf("divides each expert over %d ranks, and the definition has those of %d", l.MoETP, demand.MoETP)
	}
	return ""
}

func orList(list []int) string {
	var parts []string
	for _, n := range list {
		parts = append(parts, strconv.Itoa(n))
	}
	return strings.Join(parts, " or ")
}

// rule compares the const axes of definitions of one op type with a model.
type rule func(d *fitrace.Definition, c *Config) Demand

// rules by op_type. SGLang divides attention heads over the attention's tensor ranks, replicates KV heads where there are fewer than
// ranks, spreads whole experts over expert ranks, divides each expert over the remaining tensor ranks, and divides neither the hidden
// size of a norm nor, in what the samplers get, the vocabulary.
var rules = map[string]rule{
	"gqa_paged":  grouped,
	"gqa_ragged": grouped,
	"mla_paged":  latentPaged,
	"dsa_paged":  latentPaged,
	"mla_ragged": latentRagged,
	"gdn":        linear,
	"moe":        experts,
	"rmsnorm":    norm,
	"sampling":   sampling,
}

// Fit compares a definition with a model.
func Fit(d *fitrace.Definition, c *Config) Demand {
	compare := rules[d.OpType]
	if compare == nil {
		return Demand{Unchecked: []string{"op_type " + d.OpType}}
	}
	return compare(d, c)
}

// heads is an axis that counts heads: the definition's share of the model's.
type heads struct {
	axis       string
	total      int    // of the model; 0: not known
	what       string // of the model, for messages: "attention heads"
	replicated bool   // there is at least one on each rank
}

// perRank returns how many of the heads a rank has, or 0 if SGLang cannot divide them over so many ranks.
func (h heads) perRank(tp int) int {
	switch {
	case h.total%tp == 0:
		return h.total / tp
	case h.replicated && tp%h.total == 0:
		return 1
	}
	return 0
}

// divide returns the tensor ranks that produce all of the axes.
func divide(d *fitrace.Definition, c *Config, axes ...heads) (demand Demand) {
	if c.Varies {
		return Demand{Unchecked: []string{"heads, which differ between the model's layers"}}
	}
	most := 0
	var known []heads
	for _, h := range axes {
		switch _, has := d.Const(h.axis); {
		case !has:
		case h.total == 0:
			demand.Unchecked = append(demand.Unchecked, h.axis)
		default:
			known = append(known, h)
		}
		most = max(most, h.total)
	}
	if len(known) == 0 {
		return demand
	}
	var wants []string
	for _, h := range known {
		want, _ := d.Const(h.axis)
		wants = append(wants, fmt.Sprintf("%s %d", h.axis, want))
		alone := slices.ContainsFunc(upTo(most), func(tp int) bool { return int64(h.perRank(tp)) == want })
		if !alone {
			demand.Problem = fmt.Sprintf("has %d %s: no TP gives %d", h.total, h.what, want)
			return demand
		}
	}
	for _, tp := range upTo(most) {
		fits := true
		for _, h := range axes { // SGLang refuses ranks that do not divide an axis, whether the definition fixes it or not
			want, has := d.Const(h.axis)
			fits = fits && (h.total == 0 || h.perRank(tp) > 0 && (!has || int64(h.perRank(tp)) == want))
		}
		if fits {
			demand.AttentionTP = append(demand.AttentionTP, tp)
		}
	}
	if len(demand.AttentionTP) == 0 {
		demand.Problem = fmt.Sprintf("has %s: no TP gives %s together", totals(known), strings.Join(wants, " and "))
	}
	return demand
}

// mostRanks bounds the tensor ranks that are tried.
const mostRanks = 1024

func upTo(n int) []int {
	list := make([]int, min(n, mostRanks))
	for i := range list {
		list[i] = i + 1
	}
	return list
}

func totals(list []heads) string {
	var parts []string
	for _, h := range list {
		parts = append(parts, fmt.Sprintf("%d %s", h.total, h.what))
	}
	return strings.Join(parts, " and ")
}

// same compares axes that no rank divides. An axis whose number is not known is unchecked.
func (demand *Demand) same(d *fitrace.Definition, axes map[string]int) {
	for _, a := range d.Axes {
		want, named := axes[a.Name]
		switch {
		case !named || !a.Const || demand.Problem != "":
		case want == 0:
			demand.Unchecked = append(demand.Unchecked, a.Name)
		case int64(want) != a.Value:
			demand.Problem = fmt.Sprintf("has %s %d, and the definition has %d", a.Name, want, a.Value)
		}
	}
}

func grouped(d *fitrace.Definition, c *Config) Demand {
	if c.Latent() {
		return Demand{Problem: fmt.Sprintf("has latent attention (kv_lora_rank %d), which is not called with KV heads", c.KVLoraRank)}
	}
	demand := divide(d, c, heads{"num_qo_heads", c.Heads, "attention heads", false}, heads{"num_kv_heads", c.KVHeads, "KV heads", true})
	if !c.Varies {
		demand.same(d, map[string]int{"head_dim": c.HeadDim})
	}
	return demand
}

// noLatent is the problem of a definition of latent attention with a model that has heads of another kind, as far as is known.
func noLatent(c *Config) string {
	if c.Latent() || c.Heads == 0 || c.Varies {
		return ""
	}
	return "has no latent attention (no kv_lora_rank)"
}

func latentPaged(d *fitrace.Definition, c *Config) Demand {
	if problem := noLatent(c); problem != "" {
		return Demand{Problem: problem}
	}
	demand := divide(d, c, heads{"num_qo_heads", c.Heads, "attention heads", false})
	demand.same(d, map[string]int{"head_dim_ckv": c.KVLoraRank, "head_dim_kpe": c.QKRopeDim, "topk": c.IndexTopK})
	return demand
}

func latentRagged(d *fitrace.Definition, c *Config) Demand {
	if problem := noLatent(c); problem != "" {
		return Demand{Problem: problem}
	}
	demand := divide(d, c, heads{"num_qo_heads", c.Heads, "attention heads", false}, heads{"num_kv_heads", c.Heads, "attention heads", false})
	qk := 0
	if c.QKNopeDim > 0 && c.QKRopeDim > 0 {
		qk = c.QKNopeDim + c.QKRopeDim
	}
	demand.same(d, map[string]int{"head_dim_qk": qk, "head_dim_vo": c.VHeadDim})
	return demand
}

func linear(d *fitrace.Definition, c *Config) Demand {
	if c.LinearKeyHeads == 0 && c.Heads > 0 && c.LinearValueHeads == 0 {
		return Demand{Problem: "has no linear attention (no linear_num_key_heads)"}
	}
	demand := divide(d, c,
		heads{"num_q_heads", c.LinearKeyHeads, "linear key heads", false}, heads{"num_k_heads", c.LinearKeyHeads, "linear key heads", false},
		heads{"num_v_heads", c.LinearValueHeads, "linear value heads", false})
	demand.same(d, map[string]int{"head_size": c.LinearKeyDim})
	return demand
}

// experts compares a mixture of experts. An axis num_local_experts counts those of a rank, and num_experts then all of them; alone,
// num_experts counts those of a rank, as the first axis of the weights.
func experts(d *fitrace.Definition, c *Config) Demand {
	if c.Experts == 0 && c.HiddenSize > 0 && c.Heads > 0 {
		return Demand{Problem: "has no experts"}
	}
	demand := Demand{}
	demand.same(d, map[string]int{"hidden_size": c.HiddenSize})
	if top, has := d.Const("top_k"); has && demand.Problem == "" {
		switch {
		case c.ExpertsPerToken == 0:
			demand.Unchecked = append(demand.Unchecked, "top_k")
		case top != int64(c.ExpertsPerToken) && top != int64(c.ExpertsPerToken+c.SharedExperts): // SGLang may fuse the shared ones in
			demand.Problem = fmt.Sprintf("has num_experts_per_tok %d, and the definition has top_k %d", c.ExpertsPerToken, top)
		}
	}
	local := "num_local_experts"
	if _, has := d.Axis(local); has {
		demand.same(d, map[string]int{"num_experts": c.Experts})
	} else {
		local = "num_experts"
	}
	switch n, has := d.Const(local); {
	case !has || demand.Problem != "":
	case c.Experts == 0:
		demand.Unchecked = append(demand.Unchecked, local)
	default:
		own := int(n)
		if c.SharedExperts > 0 && (own == 0 || c.Experts%own != 0) {
			own -= c.SharedExperts // fused in, they are one more on each rank
		}
		if own < 1 || c.Experts%own != 0 {
			demand.Problem = fmt.Sprintf("has %d experts: no EP gives %d", c.Experts, n)
			return demand
		}
		demand.EP = c.Experts / own
	}
	switch n, has := d.Const("intermediate_size"); {
	case !has || demand.Problem != "":
	case c.MoEIntermediate == 0:
		demand.Unchecked = append(demand.Unchecked, "intermediate_size")
	case n < 1 || int64(c.MoEIntermediate)%n != 0:
		demand.Problem = fmt.Sprintf("has experts of intermediate size %d: no TP gives %d", c.MoEIntermediate, n)
	default:
		demand.MoETP = c.MoEIntermediate / int(n)
	}
	return demand
}

// norm compares a norm: of the residual stream with the hidden size alone, any other with each size that the model has.
func norm(d *fitrace.Definition, c *Config) (demand Demand) {
	size, has := d.Const("hidden_size")
	fused := slices.ContainsFunc(d.APIs(), func(api fitrace.API) bool { return strings.Contains(api.Method, "fused_add") })
	switch {
	case !has:
	case c.HiddenSize == 0:
		demand.Unchecked = []string{"hidden_size"}
	case fused && size != int64(c.HiddenSize):
		demand.Problem = fmt.Sprintf("has hidden size %d, and the definition has %d", c.HiddenSize, size)
	case !slices.Contains(c.Dims, int(size)) && (c.HeadDim == 0 && !c.Latent() || strings.HasPrefix(c.Architecture(), "Olmo")): // norms of all heads together
		demand.Unchecked = []string{"hidden_size"}
	case !slices.Contains(c.Dims, int(size)):
		demand.Problem = fmt.Sprintf("has nothing of size %d to normalise (hidden size %d)", size, c.HiddenSize)
	}
	return demand
}

func sampling(d *fitrace.Definition, c *Config) (demand Demand) {
	demand.same(d, map[string]int{"vocab_size": c.VocabSize})
	return demand
}
