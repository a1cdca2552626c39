package judge

import (
	"slices"
	"strings"
)

// counted says what the values of an input count along.
type counted struct {
	names []string
	what  string
	// limit gives how many there are; -1: it is not known, and only negative values are wrong.
	limit func(s *subject, l *line) int64
	// padding: -1 stands for nothing.
	padding bool
}

// indexed is by input. Names that mean no index anywhere in the published definitions are not in it.
var indexed = []counted{
	{indicesNames, "pages", pool, false},
	{[]string{"block_table", "block_tables"}, "pages", pool, true},
	{[]string{"sparse_indices"}, "tokens of the cache", poolTokens, true},
	{[]string{"topk_ids", "token_selected_experts"}, "experts", experts, true}, // engines mask tokens, and other ranks' experts, with -1
	{[]string{"input_ids", "token_ids", "draft_token_ids", "target_token_ids"}, "tokens of the vocabulary", axis("vocab_size"), false},
	{[]string{"state_batch_indices"}, "states", axis("state_cache_size"), true},
	{[]string{"initial_state_indices"}, "states", axis("pool_size"), true},
	{[]string{"positions", "pos_ids"}, "positions", axis("max_seq_len"), false},
}

func axis(name string) func(*subject, *line) int64 {
	return func(_ *subject, l *line) int64 {
		if n, ok := l.axes[name]; ok {
			return n
		}
		return -1
	}
}

func pool(_ *subject, l *line) int64 { return l.rows(poolNames) }

func poolTokens(_ *subject, l *line) int64 {
	if shape := l.shapes[l.first(poolNames)]; len(shape) > 1 {
		return shape[0] * shape[1]
	}
	return -1
}

// experts is how many the ids count over: all ranks' where the definition tells, else its own on each rank.
func experts(s *subject, l *line) int64 {
	n := axis("num_experts")(s, l)
	if _, local := l.axes["num_local_experts"]; n >= 0 && !local {
		n *= int64(max(s.def.EP(), 1))
	}
	return n
}

func (s *subject) indices(l *line) {
	for _, rule := range indexed {
		for _, name := range rule.names {
			if v, ok := l.loaded[name]; ok {
				s.within(l, name, v, rule)
			}
		}
	}
	offset, ok := environment{l, s.def}.Number("local_expert_offset")
	if local, all := axis("num_local_experts")(s, l), experts(s, l); ok && local >= 0 && all >= 0 && (offset.Int < 0 || offset.Int+local > all) {
		s.add(IndexRange, l, l.at, "inputs.local_expert_offset is %d: %d local experts from there on are not within %d", offset.Int, local, all)
	}
}

// within checks every value, and returns the first that is out of range and how many are.
func (s *subject) within(l *line, name string, v integers, rule counted) {
	limit, least, shift := rule.limit(s, l), int64(0), 0
	if rule.padding {
		least = -1
	}
	if rule.what == "experts" && s.packed() {
		shift = 16
	}
	wrong, first := 0, 0
	for i := range v.len() {
		if x := v.at(i) >> shift; x < least || limit >= 0 && x >= limit {
			if wrong == 0 {
				first = i
			}
			wrong++
		}
	}
	switch {
	case wrong == 0:
	case limit < 0:
		s.add(IndexRange, l, l.at, "inputs.%s: element %d is %d (%d of %d are out of range), must not be below %d", name, first, v.at(first)>>shift, wrong, v.len(), least)
	default:
		s.add(IndexRange, l, l.at, "inputs.%s: element %d is %d (%d of %d are out of range), must be in %d..%d: there are %d %s",
			name, first, v.at(first)>>shift, wrong, v.len(), least, limit-1, limit, rule.what)
	}
}

// packed reports whether expert ids share their elements with the experts' weights, as FlashInfer's routed functions take them: the id
// in the upper half, a bfloat16 in the lower.
func (s *subject) packed() bool {
	for _, api := range s.def.APIs() {
		if strings.HasPrefix(api.Method, "trtllm_") && slices.Contains(strings.Split(api.Method, "_"), "routed") {
			return true
		}
	}
	return false
}
