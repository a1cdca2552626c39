package sanitizer

import "strings"

// values checks what the numbers in structural tensors say to each other, and sets the number of pages to the smallest that
// holds the indices: the pool an engine happened to allocate is no property of the call, and the data set's users would have
// to allocate it.
func (w *work) values() error {
	for i := range w.t.inputs {
		in, o := &w.t.inputs[i], &w.operands[i]
		if !o.loaded || len(o.shape) != 1 {
			continue
		}
		if in.role == roleQOIndptr || in.role == roleKVIndptr || in.role == roleNone && prefixSums(in.spec.Name) {
			if err := checkIndptr(o); err != nil {
				return err
			}
		}
		if limit, ok := w.axisOf(indexInto[in.spec.Name]); ok {
			if _, most, some := o.ints().span(); some && most >= limit {
				return reject(RejectIndices, "%s has the index %d, axis %s has %d", o.arg, most, indexInto[in.spec.Name], limit)
			}
		}
	}
	if w.t.planned {
		if err := w.rows(); err != nil {
			return err
		}
	}
	if w.t.paged {
		if err := w.pages(); err != nil {
			return err
		}
	}
	for i, axis := range w.t.def.Axes {
		if !axis.Const && w.axes[i] < 1 {
			return reject(RejectAxisZero, "axis %s is %d, the dataset wants positive sizes", axis.Name, w.axes[i])
		}
	}
	return nil
}

// checkIndptr checks that prefix sums start at 0 and never fall.
func checkIndptr(o *operand) error {
	v := o.ints()
	if v.len() == 0 {
		return reject(RejectIndptr, "%s is empty, must at least hold 0", o.arg)
	}
	before := int64(0)
	for i := range v.len() {
		x := v.at(i)
		switch {
		case i == 0 && x != 0:
			return reject(RejectIndptr, "%s starts at %d, must start at 0", o.arg, x)
		case x < before:
			return reject(RejectIndptr, "%s falls from %d to %d at element %d", o.arg, before, x, i)
		}
		before = x
	}
	return nil
}

// prefixSums reports whether an input's name says that it holds prefix sums.
func prefixSums(name string) bool {
	return strings.HasSuffix(name, "indptr") || strings.HasPrefix(name, "cu_seqlens") || strings.HasPrefix(name, "cum_seq")
}

// rows checks the ends of the prefix sums against the tensors they divide.
func (w *work) rows() error {
	type pair struct{ indptr, rows *operand }
	q := w.operand(roleQ)
	if q == nil {
		q = w.operand(roleQNope)
	}
	pairs := []pair{{w.operand(roleQOIndptr), q}}
	if !w.t.paged {
		pairs = append(pairs, pair{w.operand(roleKVIndptr), w.named("k")}, pair{w.operand(roleKVIndptr), w.named("v")})
	}
	for _, p := range pairs {
		if p.indptr == nil || p.rows == nil || !p.indptr.loaded || len(p.rows.shape) == 0 {
			continue
		}
		if end := p.indptr.ints().last(); end != p.rows.shape[0] {
			return reject(RejectIndptr, "%s ends at %d, %s has %d rows", p.indptr.arg, end, p.rows.arg, p.rows.shape[0])
		}
	}
	return nil
}

// pages checks the indices against the pool and sets the number of pages.
func (w *work) pages() error {
	indices := w.operand(roleKVIndices)
	least, most, ok := indices.ints().span()
	if !ok {
		return reject(RejectAxisZero, "no request has a key: kv_indices is empty")
	}
	if least < 0 {
		return reject(RejectIndices, "%s has the index %d", indices.arg, least)
	}
	cache := w.operand(roleKCache)
	if cache == nil {
		cache = w.operand(roleCKVCache)
	}
	if cache == nil || len(cache.shape) == 0 {
		return nil
	}
	if err := w.closePools(most + 1); err != nil {
		return err
	}
	if most >= cache.shape[0] {
		return reject(RejectIndices, "%s has the index %d, %s has %d pages", indices.arg, most, cache.arg, cache.shape[0])
	}
	if w.t.pages >= 0 {
		w.axes[w.t.pages] = most + 1
	}
	return nil
}

// named gives the operand of an input by its name.
func (w *work) named(name string) *operand {
	for i := range w.t.inputs {
		if w.t.inputs[i].spec.Name == name {
			return &w.operands[i]
		}
	}
	return nil
}

// axisOf gives the solved size of an axis by name.
func (w *work) axisOf(name string) (int64, bool) {
	for i, axis := range w.t.def.Axes {
		if axis.Name == name {
			return w.axes[i], true
		}
	}
	return 0, false
}
