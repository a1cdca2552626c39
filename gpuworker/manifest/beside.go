package manifest

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/proto"
)

// beside finds the two halves of an attention over a cached prefix: a ragged run over the new tokens and a paged run over
// the prefix, joined by merge_state. Both return their log-sum-exp, have the same query rows (where both plans are known: the
// same qo_indptr), and were planned before either ran. SGLang runs the ragged half first in each layer. The other order is
// found where the two calls follow each other.
//
// So that the first half can say what it stands beside, it waits for the next call of its process, never for more. It holds
// one Result a process.
type beside struct {
	held   *half
	ragged []*half // the latest ragged run of each wrapper that may have a paged one beside it, the newest last
}

// maxRagged bounds how many wrappers' ragged runs are remembered: two-batch overlap has two in flight.
const maxRagged = 8

// half is a run that may be one side of such a pair.
type half struct {
	Result
	ragged  bool
	rows    int64
	at      int64 // position of the run
	planned int64 // position of its plan, -1 without
	paired  bool
}

// next takes the next call of the process and appends what is ready to out.
func (b *beside) next(r Result, at, planned int64, out []Result) []Result {
	h := newHalf(r, at, planned)
	if h == nil {
		return append(b.release(out), r)
	}
	first := b.held
	if (first == nil || !first.matches(h)) && !h.ragged {
		first = b.before(h) // let go, since other calls came between; the paged half still has to say what it is
	}
	if first != nil && first.matches(h) {
		first.mark()
		h.mark()
	}
	out = b.release(out)
	if h.ragged {
		b.remember(h)
	}
	if h.paired && !h.ragged {
		return append(out, h.Result) // its ragged half came before; more paged runs may follow, no ragged one is to come
	}
	b.held = h
	return out
}

// before gives the newest remembered ragged run that h is the other half of, nil if there is none.
func (b *beside) before(h *half) *half {
	for i := len(b.ragged) - 1; i >= 0; i-- {
		if b.ragged[i].matches(h) {
			return b.ragged[i]
		}
	}
	return nil
}

// remember keeps h in the place of the ragged run before it on the same wrapper.
func (b *beside) remember(h *half) {
	b.ragged = slices.DeleteFunc(b.ragged, func(o *half) bool { return o.Dump.Call.SelfID == h.Dump.Call.SelfID })
	if len(b.ragged) == maxRagged {
		b.ragged = slices.Delete(b.ragged, 0, 1)
	}
	b.ragged = append(b.ragged, h)
}

// release appends the Result that waits, if one does.
func (b *beside) release(out []Result) []Result {
	if b.held == nil {
		return out
	}
	out = append(out, b.held.Result)
	b.held = nil
	return out
}

func newHalf(r Result, at, planned int64) *half {
	class, _ := method(r.Dump.Call.Function)
	ragged := strings.Contains(class, "Ragged")
	paged := strings.Contains(class, "Paged") && !strings.Contains(class, "Decode")
	if r.Dump.Defect != nil || !needsPlan(r.Dump.Call.Function) || !ragged && !paged || !r.Dump.returnsLSE() {
		return nil
	}
	return &half{Result: r, ragged: ragged, rows: r.Dump.rows(), at: at, planned: planned}
}

func (h *half) mark() {
	h.paired = true
	h.Beside = proto.BesidePaged
	if !h.ragged {
		h.Beside = proto.BesideRagged
	}
}

// matches reports whether next, which ran after h, is the other half of the same attention.
func (h *half) matches(next *half) bool {
	if h.ragged == next.ragged || h.paired && next.ragged || h.rows != next.rows || h.rows < 0 || next.planned > h.at {
		return false
	}
	if h.Plan == nil || next.Plan == nil {
		return true
	}
	const first, keyword = "arg_1", "kwarg_qo_indptr"
	a, b := h.Plan.tensor(first, keyword), next.Plan.tensor(first, keyword)
	return a == nil || b == nil || a.DType != b.DType || a.Digest == b.Digest
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
