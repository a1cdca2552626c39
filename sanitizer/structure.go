package sanitizer

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// structure reads the content of every integer input and brings it, and the views of the caches, into the form the definition
// describes: indices trimmed, lengths padded, flat rows split into heads, token slots folded into pages. It changes nothing in
// the manifest; what it makes is new.
func (w *work) structure() error {
	for i := range w.t.inputs {
		in, o := &w.t.inputs[i], &w.operands[i]
		if o.tensor == nil {
			continue
		}
		if in.spec.Integer() || decisive(in, o) {
			if err := w.content(o); err != nil {
				return err
			}
		}
		w.view(in, o)
	}
	if !w.t.paged {
		return nil
	}
	for _, step := range []func() error{w.pageSize, w.trim, w.lengths, w.fold, w.padLastPage} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// view brings a tensor's shape into the definition's rank where that is the same memory seen another way.
func (w *work) view(in *input, o *operand) {
	rank := len(in.axes)
	if last := len(o.shape) - 1; last >= 0 && packed(in, o) && o.shape[last] != w.lastConst(in) {
		o.shape = slices.Clone(o.shape)
		o.shape[last] *= 2
	}
	switch in.role {
	case roleKCache, roleVCache:
		if len(o.shape) == 3 && rank == 4 { // token slots: pages of one token
			o.shape = slices.Insert(slices.Clone(o.shape), 1, 1)
		}
	case roleCKVCache, roleKPECache:
		if len(o.shape) == 2 && rank == 3 {
			o.shape = slices.Insert(slices.Clone(o.shape), 1, 1)
		}
	case roleNone:
		w.viewRows(in, o)
	}
}

// viewRows splits flat rows (n, heads × width) into heads, and joins the first two dimensions (requests, rows each) of what
// the definition has as rows.
func (w *work) viewRows(in *input, o *operand) {
	rank, have := len(in.axes), len(o.shape)
	if flatRows[w.m.Call.Function] && rank == 3 && have == 2 {
		if width := w.lastConst(in); width > 0 && o.shape[1] > 0 && o.shape[1]%width == 0 {
			o.shape = []int64{o.shape[0], o.shape[1] / width, width}
		}
		return
	}
	if joinRows[w.m.Call.Function] && have == rank+1 && have >= 3 {
		o.shape = append([]int64{o.shape[0] * o.shape[1]}, o.shape[2:]...)
	}
}

// pageSize finds the tokens a page the call was planned with, and puts head-major caches into the definition's order.
func (w *work) pageSize() error {
	k := w.operand(roleKCache)
	if k == nil {
		k = w.operand(roleCKVCache)
	}
	page, ok := w.plan.integer("page_size")
	if !ok && k != nil && len(k.shape) > 1 {
		page = k.shape[1]
	}
	if page <= 0 {
		return reject(RejectPageSize, "the plan has page_size %d", page)
	}
	w.page = page
	// A cache in HND order is [pages, heads, page_size, width]. The layout was given to the wrapper's constructor, which is not
	// dumped; the plan's numbers tell it wherever it matters.
	heads, ok := w.plan.integer("num_kv_heads")
	for _, r := range []role{roleKCache, roleVCache} {
		o := w.operand(r)
		if o == nil || !ok || len(o.shape) != 4 || o.shape[1] == page || o.shape[1] != heads || o.shape[2] != page {
			continue
		}
		o.shape = []int64{o.shape[0], page, heads, o.shape[3]}
		w.note("%s is in HND order", o.arg)
	}
	return nil
}

// trim cuts kv_indices to what kv_indptr uses: engines allocate more and leave old entries behind.
func (w *work) trim() error {
	indptr, indices := w.operand(roleKVIndptr), w.operand(roleKVIndices)
	for _, o := range []*operand{indptr, indices} {
		if !o.loaded || len(o.shape) != 1 {
			return reject(RejectRank, "%s has shape %v and dtype %s, must be integers of 1 dimensions", o.arg, o.shape, o.tensor.DType)
		}
	}
	if err := checkIndptr(indptr); err != nil {
		return err
	}
	used, have := indptr.ints().last(), int64(indices.ints().len())
	switch {
	case used > have:
		return reject(RejectIndices, "%s ends at %d, %s has only %d elements", indptr.arg, used, indices.arg, have)
	case used < have:
		size := int64(indices.ints().size)
		whole := indices.digest
		indices.setData(indices.data[:used*size:used*size], used)
		if len(indices.tensor.Inline) == 0 { // the store holds content against its digest, a message does not
			indices.prefix = whole
		}
		w.note("kv_indices trimmed from %d to %d", have, used)
	}
	return nil
}

// padLastPage brings last_page_len to the length the definition gives it. Some definitions share the axis of kv_indptr, one
// longer than the number of requests: the last element is then 0, of no request.
func (w *work) padLastPage() error {
	for i := range w.t.inputs {
		in, last := &w.t.inputs[i], &w.operands[i]
		if in.role != roleLastPageLen || !last.loaded || len(in.axes) != 1 || len(last.shape) != 1 {
			continue
		}
		if w.sharesAxis(in.axes[0], roleKVIndptr) {
			v := ints{slices.Clone(last.data), last.ints().size}.append(0)
			last.setData(v.data, int64(v.len()))
			w.note("%s padded with 0 to %d", in.spec.Name, v.len())
		}
	}
	return nil
}

// sharesAxis reports whether the only axis of a role's input is this one.
func (w *work) sharesAxis(axis int, r role) bool {
	return slices.ContainsFunc(w.t.inputs, func(in input) bool {
		return in.role == r && len(in.axes) == 1 && in.axes[0] == axis
	})
}

// ints reads the content.
func (o *operand) ints() ints {
	size, _ := elementSize(o.tensor.DType)
	return ints{o.data, max(size, 1)}
}

// setData replaces the content of a one-dimensional tensor.
func (o *operand) setData(data []byte, n int64) {
	o.data, o.shape, o.loaded, o.digest, o.prefix = data, []int64{n}, true, "", ""
}

// sum gives the digest of the content.
func (o *operand) sum() string {
	switch {
	case o.digest != "":
	case o.prefix != "":
		o.digest = prefixes.get(prefix{o.prefix, len(o.data)}, func() string { return digest(o.data) })
	default:
		o.digest = digest(o.data)
	}
	return o.digest
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
