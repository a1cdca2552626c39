package judge

import (
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// The thresholds of what looks real. Each is set so that the published decodes and norms pass, and what was sent back does not.
const (
	// tinyBatch: from four requests on, one length for all of them is no coincidence. Batches of one to three are common at the
	// beginning and end of a run.
	tinyBatch = 4
	// tinyKV tokens, or one page: the caches of the published decodes begin at an average of 64 tokens from batches of 16 on. An
	// engine that captures graphs or warms up fills every request with one token, and calls without traffic came in for one page.
	tinyKV = 16
	// uniformLines: with fewer batches it may be how the first requests came in.
	uniformLines = 3
	// sameBatch: four workloads are what one batch size of a collection gives by default.
	sameBatch = 4
	// perShape is upstream's own limit, and this publisher's. Two published ragged prefills have up to five of one shape: single
	// requests, so that all of them are the same workload.
	perShape = 2
	// constantElements: fewer may be equal by chance, as the tokens drawn for a few requests.
	constantElements = 16
)

// batchAxes count requests, the best first; the len_ ones count them plus one.
var batchAxes = []string{"batch_size", "num_seqs", "len_indptr", "len_cu_seqlens"}

// batch gives the number of requests, -1 where no axis tells it.
func batch(l fitrace.Line) int64 {
	for _, name := range batchAxes {
		for _, a := range l.Workload.Axes {
			if a.Name != name {
				continue
			}
			if strings.HasPrefix(name, "len_") {
				return a.Value - 1
			}
			return a.Value
		}
	}
	return -1
}

// real judges whether the workloads look like traffic: each by itself, then all of them together.
func (s *subject) real() {
	uniform, batches := 0, 0
	for _, l := range s.lines {
		if !l.sound {
			continue
		}
		s.empty(l)
		s.causal(l)
		if all := s.kvLengths(l); len(all) >= tinyBatch {
			batches++
			if s.uniform(l, all) {
				uniform++
			}
		}
	}
	if batches >= uniformLines && uniform == batches {
		s.add(UniformKV, nil, "", "in each of the %d workloads with %d requests or more, all requests have the same KV length: prompts of one length, or a window over longer ones; collect with --random-range-ratio below 1, or with --dataset sharegpt", batches, tinyBatch)
	}
	s.together()
}

// kvLengths gives the KV length of each request in tokens, of those that have any. Where the last page's length is not known, it is taken
// as full.
func (s *subject) kvLengths(l *line) []int64 {
	var lengths []int64
	for _, n := range s.kvLengthsAll(l) {
		if n > 0 {
			lengths = append(lengths, n)
		}
	}
	return lengths
}

func (s *subject) kvLengthsAll(l *line) []int64 {
	_, indptr, ok := l.ints(kvIndptrNames)
	if !ok {
		return nil
	}
	page := int64(1)
	if l.first(indicesNames) != "" {
		page = max(s.def.PageSize(), 1)
	}
	_, last, known := l.ints(lastPageNames)
	lengths := indptr.steps()
	for i, pages := range lengths {
		lengths[i] = pages * page
		if known && pages > 0 {
			lengths[i] -= page - last.at(i)
		}
	}
	return lengths
}

// uniform reports whether all requests have the same KV length, and judges a tiny one.
func (s *subject) uniform(l *line, lengths []int64) bool {
	if slices.Min(lengths) != slices.Max(lengths) {
		return false
	}
	page := s.def.PageSize()
	switch n := lengths[0]; {
	case n <= tinyKV:
		s.add(TinyKV, l, l.at, "all %d requests have a KV length of %d: of a warm-up or a graph's capture, not of traffic", len(lengths), n)
	case n <= page:
		s.add(TinyKV, l, l.at, "all %d requests have one page of %d tokens and the same length: of a warm-up or a graph's capture, not of traffic", len(lengths), page)
	}
	return true
}

// empty judges requests without keys or queries. A graph is replayed with as many requests as it was captured with, and those beyond the
// real ones, less than half of them, have none.
func (s *subject) empty(l *line) {
	for _, spec := range s.def.Inputs {
		v, ok := l.loaded[spec.Name]
		if !ok || len(spec.Shape) != 1 || !prefixSums(spec.Name) {
			continue
		}
		none, lengths := 0, v.steps()
		for _, n := range lengths {
			if n == 0 {
				none++
			}
		}
		switch {
		case none == 0:
		case 2*none > len(lengths):
			s.add(EmptyRequests, l, l.at, "inputs.%s: %d of %d requests have length 0", spec.Name, none, len(lengths))
		default:
			s.add(PaddedRequests, l, l.at, "inputs.%s: %d of %d requests have length 0", spec.Name, none, len(lengths))
		}
	}
}

// causal judges that each request's queries have their own keys: a definition with both indptrs is causal unless it says otherwise.
func (s *subject) causal(l *line) {
	_, qo, ok := l.ints(qoIndptrNames)
	if !ok || strings.Contains(strings.ReplaceAll(s.name, "_", ""), "noncausal") {
		return
	}
	keys := s.kvLengthsAll(l)
	wrong, first := 0, 0
	queries := qo.steps()
	for i := range min(len(queries), len(keys)) {
		if queries[i] > keys[i] {
			if wrong == 0 {
				first = i
			}
			wrong++
		}
	}
	if wrong > 0 {
		s.add(QueriesOverKV, l, l.at, "request %d has %d queries and %d keys (%d of %d requests have more queries than keys)", first, queries[first], keys[first], wrong, len(keys))
	}
}
