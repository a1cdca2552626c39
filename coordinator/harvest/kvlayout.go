package harvest

import (
	"slices"
	"strconv"
)

const pageSizeAxis = "page_size"

// pages is the shape that the tracer's templates give a KV cache.
var pages = []string{"num_pages", pageSizeAxis, "num_kv_heads", "head_dim"}

// kvLayout corrects a file whose KV cache has no pages. SGLang keeps [slots, kv_heads, head_dim]; read by a template for
// [num_pages, page_size, num_kv_heads, head_dim], kv_heads becomes the page size and head_dim the number of KV heads. The
// definition of those calls has page_size 1. Only a dump tells: of a run, by the cache's dimensions, or of a plan, by its page
// size.
func (w *work) kvLayout() error {
	cache := find(w.t.inputs, "k_cache")
	if cache == nil || !slices.Equal(cache.shape, pages) {
		return nil
	}
	size, heads, dim := w.t.constant(pageSizeAxis), w.t.constant("num_kv_heads"), w.t.constant("head_dim")
	if size < 0 || heads < 0 || dim < 0 {
		return nil // said by axes
	}
	seen := w.cacheLayouts(size, heads, dim)
	swapped := heads == dim // as it is whenever slots were read as pages
	switch {
	case seen.slots && (seen.pages || seen.fourDims || seen.headsFirst):
		return asideFor(ReasonKVLayout, "some calls have a KV cache of slots and some of pages, under one name: which of them wrote this file?")
	case seen.slots:
		return w.unpage(size, heads)
	case seen.headsFirst && seen.pages:
		return asideFor(ReasonKVLayout, "some calls have KV heads before a page's tokens (HND) and some after (NHD), under one name")
	case seen.headsFirst:
		return asideFor(ReasonKVLayout, "plan has %d KV heads and pages of %d: the cache has heads before tokens (HND), which no definition of the dataset describes", size, heads)
	case seen.pages || seen.fourDims:
		return nil
	case swapped:
		return asideFor(ReasonNoEvidence, "num_kv_heads is %d like head_dim, as when a KV cache of [slots, %d heads, %d] is read as pages; a dump of %s or of its plan would tell", heads, size, dim, w.api)
	}
	w.doubt("no dump tells whether a page's tokens or its heads come first in k_cache; taken as [num_pages, page_size, num_kv_heads, head_dim]")
	return nil
}

// layouts are those that dumps show: slots without pages; pages of tokens; pages of heads; four dimensions, which are one of the
// latter two.
type layouts struct{ slots, pages, headsFirst, fourDims bool }

// cacheLayouts says which layouts of the cache the dumps show, among calls that give the file's sizes.
func (w *work) cacheLayouts(size, heads, dim int64) (seen layouts) {
	runs, plans := w.file.Evidence.of(w.api)
	for _, c := range runs {
		q, ok := c.argument("q")
		if !ok || len(q.shape) < 2 || q.shape[len(q.shape)-2] != w.t.constant("num_qo_heads") || q.shape[len(q.shape)-1] != dim {
			continue
		}
		k, _ := c.argument("k_cache")
		switch {
		case len(k.shape) == 3 && k.shape[1] == size && k.shape[2] == heads:
			seen.slots = true
		case len(k.shape) == 4 && k.shape[1] == size && k.shape[2] == heads && k.shape[3] == dim:
			seen.fourDims = true
		}
	}
	for _, c := range plans {
		planSize, planHeads := c.number(pageSizeAxis), c.number("num_kv_heads")
		planQO, planDim := c.number("num_qo_heads", "num_heads"), c.number("head_dim", "head_dim_qk")
		if planQO >= 0 && planQO != w.t.constant("num_qo_heads") || planDim >= 0 && planDim != dim || planSize < 0 {
			continue
		}
		switch {
		case planSize == size && (planHeads == heads || planHeads < 0 && heads != dim):
			seen.pages = true
		case planSize == 1 && heads == dim && (planHeads == size || planHeads < 0 && w.cannotBe(size, heads)):
			seen.slots = true
		case planSize == heads && planHeads == size:
			seen.headsFirst = true
		}
	}
	return seen
}

// cannotBe reports whether a plan of page size 1 contradicts the file's own sizes.
func (w *work) cannotBe(size, heads int64) bool {
	return size != 1 || heads == 0 || w.t.constant("num_qo_heads")%heads != 0
}

// unpage gives the definition the sizes that slots have.
func (w *work) unpage(size, heads int64) error {
	qo := w.t.constant("num_qo_heads")
	if size == 0 || qo%size != 0 || heads != w.t.constant("head_dim") {
		return asideFor(ReasonKVLayout, "the KV cache has slots of %d heads of %d, which do not go with %d query heads of %d", size, heads, qo, w.t.constant("head_dim"))
	}
	name, ok := resize(w.t.name, map[string]int64{"kv": size, "ps": 1})
	if !ok {
		return asideFor(ReasonKVLayout, "the name %s does not say the sizes that have to change (kv%d, ps%d)", w.t.name, heads, size)
	}
	w.setConstant("num_kv_heads", heads, size, "the KV cache is [slots, kv_heads, head_dim]: the tracer took head_dim for the number of KV heads")
	w.setConstant(pageSizeAxis, size, 1, "the KV cache is [slots, kv_heads, head_dim]: the tracer took kv_heads for the page size")
	w.change("name", w.t.name, name, "the sizes in it follow the axes")
	w.t.name = name
	if p := w.file.PageSize; p > 1 {
		w.note("the server ran with --page-size %d, which its kernels do not see: this is the definition of page size 1. Workloads of a definition with pages of %d come from these calls by folding slots", p, p)
	}
	return nil
}

func (w *work) setConstant(name string, old, now int64, why string) {
	if old == now {
		return
	}
	*w.t.axis(name).value = now
	w.edits = append(w.edits, w.ref.asserted(name, old, now)...)
	w.change("axes."+name, strconv.FormatInt(old, 10), strconv.FormatInt(now, 10), "%s", why)
}
