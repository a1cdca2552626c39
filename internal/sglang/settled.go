package sglang

import (
	"slices"
	"strconv"
	"strings"
)

// Settled holds the settings of a launch by the field they set, after translation and after the stronger source has won.
type Settled map[string][]string

// Settle returns what a release makes of server flags: of the model catalogue's, and of the user's, which win. It checks each flag
// but nothing that depends on a task. Its errors are those of Launch.
func Settle(release string, anyRelease bool, model, user []string) (Settled, error) {
	if release == "" {
		known := Known()
		release = known[len(known)-1]
	}
	t, err := Lookup(release, anyRelease)
	if err != nil {
		return nil, err
	}
	var kept []*setting
	for _, layer := range []struct {
		flags []string
		from  origin
	}{{model, ofModel}, {user, ofUser}} {
		list, _, err := t.read(layer.flags, layer.from)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			kept, _ = t.put(kept, s, nil)
		}
	}
	kept, _ = t.joinDP(kept)
	return settled(kept), nil
}

func settled(kept []*setting) Settled {
	all := Settled{}
	for _, s := range kept {
		if !s.negated {
			all[s.key()] = s.values
		}
	}
	return all
}

// Value returns the only value of a field, or "" if the field is not set or has several.
func (s Settled) Value(field string) string {
	if len(s[field]) != 1 {
		return ""
	}
	return s[field][0]
}

// Int returns the value of a field that is a count, or otherwise if it is not set.
func (s Settled) Int(field string, otherwise int) int {
	n, err := strconv.Atoi(strings.TrimSpace(s.Value(field)))
	if err != nil {
		return otherwise
	}
	return n
}

// Has reports whether a field is set, with or without a value.
func (s Settled) Has(field string) bool { _, ok := s[field]; return ok }

// Ranks holds the widths of a launch. SGLang divides tensor ranks into groups: attention has TP ÷ (AttnDP × AttnCP) ranks that
// share its heads, and experts are spread over EP ranks.
type Ranks struct {
	TP, EP, PP, DP        int
	AttnDP, AttnCP, MoEDP int
	Open                  []string // flags that change what a rank gets in ways that are not modelled here
}

// Ranks returns the widths of a launch with tp tensor ranks and ep expert ranks.
func (s Settled) Ranks(tp, ep int) Ranks {
	r := Ranks{
		TP: max(tp, 1), EP: max(ep, 1), PP: max(s.Int("pp_size", 1), 1), DP: max(s.Int("dp_size", 1), 1),
		AttnDP: max(s.Int("attn_dp_size", 1), 1), AttnCP: max(s.Int("attn_cp_size", 1), 1), MoEDP: max(s.Int("moe_dp_size", 1), 1),
	}
	if s.Has("enable_dp_attention") { // until 0.5.21 --dp-size counts the attention's groups then, and no replicas
		r.AttnDP, r.DP = r.DP, 1
	}
	for _, field := range unmodelled {
		if v := s.Value(field); s.Has(field) && !slices.Contains([]string{"0", "1", "none"}, v) {
			r.Open = append(r.Open, "--"+strings.ReplaceAll(field, "_", "-"))
		}
	}
	return r
}

// unmodelled are the fields that change how heads or experts are spread over ranks. The expert back ends set the expert ranks
// themselves; the others divide attention once more.
var unmodelled = []string{"dcp_size", "dwdp_size", "enable_prefill_cp", "enable_prefill_context_parallel", "moe_a2a_backend", "ep_num_redundant_experts"}

// GPUs returns how many devices the launch takes. Attention's data parallelism is inside the tensor ranks and takes none.
func (r Ranks) GPUs() int { return r.TP * r.PP * r.DP }

// AttentionTP returns how many ranks the attention heads are divided over.
func (r Ranks) AttentionTP() int { return max(r.TP/(r.AttnDP*r.AttnCP), 1) }
