package judge

import (
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// The inputs whose values mean something, by the names that definitions give them; the first that a definition has counts.
var (
	queryNames    = []string{"q", "query", "q_nope"}
	keyNames      = []string{"k", "key"}
	poolNames     = []string{"k_cache", "paged_k_cache", "key_cache", "ckv_cache", "k_index_cache_fp8"}
	qoIndptrNames = []string{"qo_indptr"}
	kvIndptrNames = []string{"kv_indptr", "paged_kv_indptr", "indptr"}
	indicesNames  = []string{"kv_indices", "paged_kv_indices", "indices"}
	lastPageNames = []string{"kv_last_page_len", "paged_kv_last_page_len", "last_page_len"}
)

// first gives the first of the names that is an input tensor of the line's definition, or "".
func (l *line) first(names []string) string {
	for _, name := range names {
		if _, ok := l.shapes[name]; ok {
			return name
		}
	}
	return ""
}

// ints gives the values of the first of the names that has any.
func (l *line) ints(names []string) (name string, v integers, ok bool) {
	name = l.first(names)
	v, ok = l.loaded[name]
	return name, v, ok
}

// rows gives the first dimension of the first of the names, -1 of none.
func (l *line) rows(names []string) int64 {
	if shape := l.shapes[l.first(names)]; len(shape) > 0 {
		return shape[0]
	}
	return -1
}

// values judges what the numbers of a line's tensors say to each other.
func (s *subject) values(l *line) {
	if !l.sound {
		return
	}
	before := len(s.rep.Findings)
	for _, spec := range s.def.Inputs {
		if v, ok := l.loaded[spec.Name]; ok && len(spec.Shape) == 1 && prefixSums(spec.Name) {
			s.prefixSums(l, spec.Name, v)
		}
	}
	s.indices(l)
	if len(s.rep.Findings) == before { // lengths are only as good as the prefix sums
		s.requests(l)
		s.lastPages(l)
	}
	if len(s.rep.Findings) == before {
		s.hold(l)
	}
	l.sound = len(s.rep.Findings) == before
}

// prefixSums reports whether an input's name says that it holds prefix sums.
func prefixSums(name string) bool {
	return strings.HasSuffix(name, "indptr") || strings.HasPrefix(name, "cu_seqlens") || strings.HasPrefix(name, "cum_seq")
}

func (s *subject) prefixSums(l *line, name string, v integers) {
	if v.len() == 0 {
		s.add(PrefixSums, l, l.at, "inputs.%s is empty, must at least hold 0", name)
		return
	}
	if v.at(0) != 0 {
		s.add(PrefixSums, l, l.at, "inputs.%s begins with %d, must begin with 0", name, v.at(0))
	}
	for i := 1; i < v.len(); i++ {
		if v.at(i) < v.at(i-1) {
			s.add(PrefixSums, l, l.at, "inputs.%s falls from %d to %d at element %d", name, v.at(i-1), v.at(i), i)
			return
		}
	}
	if what, end := s.divided(l, name); end >= 0 && v.last() != end {
		s.add(PrefixSums, l, l.at, "inputs.%s ends at %d, %s has %d", name, v.last(), what, end)
	}
}

// divided gives what prefix sums divide and how long it is, -1 where that is not known.
func (s *subject) divided(l *line, indptr string) (what string, length int64) {
	names := queryNames // qo_indptr, and cu_seqlens of a linear attention
	if indptr == l.first(kvIndptrNames) {
		names = indicesNames
		if l.first(names) == "" {
			names = keyNames
		}
	}
	return l.first(names), l.rows(names)
}

// requests judges that every input speaks of the same number of requests. A definition without qo_indptr has one row a request.
func (s *subject) requests(l *line) {
	kv, lengths, ok := l.ints(kvIndptrNames)
	if !ok {
		return
	}
	if qo, rows, ok := l.ints(qoIndptrNames); ok {
		if rows.len() != lengths.len() {
			s.add(RequestCount, l, l.at, "inputs.%s has %d requests, inputs.%s %d", qo, rows.len()-1, kv, lengths.len()-1)
		}
		return
	}
	if q, n := l.first(queryNames), l.rows(queryNames); n >= 0 && l.first(qoIndptrNames) == "" && n != int64(lengths.len()-1) {
		s.add(RequestCount, l, l.at, "inputs.%s has %d requests, inputs.%s %d rows", kv, lengths.len()-1, q, n)
	}
}

// lastPages judges last_page_len. Where it shares the axis of the indptr, one longer than the requests, its last element is of none.
func (s *subject) lastPages(l *line) {
	name, last, ok := l.ints(lastPageNames)
	kv, indptr, both := l.ints(kvIndptrNames)
	page := s.def.PageSize()
	if !ok || !both || page < 1 {
		return
	}
	pages := indptr.steps()
	if n := last.len() - len(pages); n != 0 && n != 1 {
		s.add(RequestCount, l, l.at, "inputs.%s has %d elements, inputs.%s %d requests", name, last.len(), kv, len(pages))
		return
	}
	for i, n := range pages {
		// A request without pages has no last page; engines leave anything up to page_size there.
		if x := last.at(i); x > page || x < 0 || x == 0 && n > 0 {
			s.add(LastPageLen, l, l.at, "inputs.%s[%d] is %d, must be in 1..%d", name, i, x, page)
			return
		}
	}
}

// hold evaluates the constraints. What cannot be evaluated is reported once.
func (s *subject) hold(l *line) {
	for _, source := range s.def.Constraints {
		expr, err := fitrace.ParseExpr(source)
		if err != nil {
			continue
		}
		ok, err := expr.Holds(environment{l, s.def})
		if err != nil {
			if !s.unknown[source] {
				s.unknown[source] = true
				s.add(ConstraintUnknown, l, l.at, "%v", err)
			}
			continue
		}
		s.rep.Counts.Constraints++
		if !ok {
			s.add(Constraint, l, l.at, "%s does not hold", source)
		}
	}
}
