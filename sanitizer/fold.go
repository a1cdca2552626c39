package sanitizer

import (
	"slices"

	"github.com/tracefleet/tracefleet/internal/binding"
	"github.com/tracefleet/tracefleet/proto"
)

// lengths reads what the plan says of the last page of each request: last_page_len itself, or latent attention's kv_len_arr,
// and holds it against the pages that kv_indptr gives the request. Both are checked even where the definition has no input
// for them, since they decide whether the rest can be trusted.
func (w *work) lengths() error {
	indptr := w.operand(roleKVIndptr)
	if arg := w.plan.find("kv_len_arr"); arg != nil && arg.tensor != nil {
		return w.lengthsOfRequests(arg, indptr.ints())
	}
	for _, src := range binding.WrapperSources[roleLastPageLen] {
		arg := w.plan.find(src.Param)
		if arg == nil || arg.tensor == nil {
			continue
		}
		o := operand{arg: w.plan.describe(arg.name), tensor: arg.tensor, shape: arg.tensor.Shape}
		if err := w.content(&o); err != nil {
			return err
		}
		return w.checkLastPage(&o, indptr.ints())
	}
	return nil
}

// checkLastPage checks that each request fills its last page with 1 to page_size tokens. A request without pages has no last
// page; engines leave anything up to page_size there.
func (w *work) checkLastPage(o *operand, indptr ints) error {
	last := o.ints()
	if len(o.shape) != 1 || last.len() != indptr.len()-1 {
		return reject(RejectLastPageLen, "%s has shape %v for %d requests", o.arg, o.shape, indptr.len()-1)
	}
	for i := range last.len() {
		n, empty := last.at(i), indptr.at(i) == indptr.at(i+1)
		if n > w.page || n < 0 || n == 0 && !empty {
			return reject(RejectLastPageLen, "%s[%d] is %d, must be in 1..%d", o.arg, i, n, w.page)
		}
	}
	w.last = last
	return nil
}

// lengthsOfRequests turns kv_len_arr, tokens a request, into last_page_len.
func (w *work) lengthsOfRequests(arg *argument, indptr ints) error {
	o := operand{arg: w.plan.describe(arg.name), tensor: arg.tensor, shape: arg.tensor.Shape}
	if err := w.content(&o); err != nil {
		return err
	}
	lengths, requests := o.ints(), indptr.len()-1
	if len(o.shape) != 1 || lengths.len() != requests {
		return reject(RejectKVLen, "%s has shape %v for %d requests", o.arg, o.shape, requests)
	}
	last := ints{size: 4}
	for i := range requests {
		n, pages := lengths.at(i), indptr.at(i+1)-indptr.at(i)
		if n < 0 || (n+w.page-1)/w.page != pages {
			return reject(RejectKVLen, "%s[%d] is %d tokens, kv_indptr gives the request %d pages of %d", o.arg, i, n, pages, w.page)
		}
		last = last.append(lastPageLen(n, w.page))
	}
	w.last = last
	w.derive(last, o.arg)
	return nil
}

// derive binds a last_page_len input that was not passed to what was computed.
func (w *work) derive(last ints, from origin) {
	for i := range w.t.inputs {
		in, o := &w.t.inputs[i], &w.operands[i]
		if in.role != roleLastPageLen || in.spec.DType != "int32" {
			continue
		}
		*o = operand{arg: from, tensor: &proto.Tensor{Key: in.spec.Name, DType: "int32"}}
		o.setData(last.data, int64(last.len()))
		w.note("%s from %s", in.spec.Name, from)
	}
}

// lastPageLen gives the tokens in the last page of a request of n tokens; page of n = 0, as Python's (n-1) % page + 1 does, so
// that the length which follows from it is 0 again.
func lastPageLen(n, page int64) int64 { return ((n-1)%page+page)%page + 1 }

// fold turns token slots into pages where the call was planned with pages of one token and the definition has larger ones. An
// engine whose allocator works in pages hands out aligned runs of slots, so that page = slot / size is exact; where a slot is
// out of line, nothing is, and the call is rejected. Slots are never taken for page numbers.
func (w *work) fold() error {
	size, ok := w.t.def.Const("page_size")
	if !ok || size == w.page {
		return nil
	}
	if w.page != 1 || size < 1 {
		return reject(RejectPageSize, "planned with pages of %d tokens, the definition has pages of %d", w.page, size)
	}
	indptr, indices := w.operand(roleKVIndptr), w.operand(roleKVIndices)
	starts, slots := indptr.ints(), indices.ints()
	pages, newStarts, last := ints{size: slots.size}, ints{size: starts.size}.append(0), ints{size: 4}
	for r := range starts.len() - 1 {
		from, to := starts.at(r), starts.at(r+1)
		for i := from; i < to; i++ {
			slot, offset := slots.at(int(i)), (i-from)%size
			switch {
			case offset == 0 && (slot < 0 || slot%size != 0):
				return reject(RejectFold, "token %d of request %d is in slot %d, not at the start of a page of %d", i-from, r, slot, size)
			case offset == 0:
				pages = pages.append(slot / size)
			case slot != slots.at(int(i-1))+1:
				return reject(RejectFold, "token %d of request %d is in slot %d, not beside the one before it in a page of %d", i-from, r, slot, size)
			}
		}
		newStarts = newStarts.append(int64(pages.len()))
		last = last.append(lastPageLen(to-from, size))
	}
	indptr.setData(newStarts.data, int64(newStarts.len()))
	indices.setData(pages.data, int64(pages.len()))
	w.last, w.page = last, size
	w.derive(last, origin{name: "the lengths of the requests"})
	for _, r := range []role{roleKCache, roleVCache, roleCKVCache, roleKPECache} {
		if o := w.operand(r); o != nil && len(o.shape) > 1 && o.shape[1] == 1 {
			o.shape = slices.Clone(o.shape)
			o.shape[0], o.shape[1] = (o.shape[0]+size-1)/size, size
		}
	}
	w.note("token slots folded into pages of %d", size)
	return nil
}

// kvLen gives the tokens of request r.
func (w *work) kvLen(indptr ints, r int) int64 {
	n := indptr.at(r+1) - indptr.at(r)
	if !w.t.paged || n == 0 {
		return n
	}
	if w.last.size == 0 { // no last_page_len: only whole pages are known
		return n * w.page
	}
	return (n-1)*w.page + w.last.at(r)
}
