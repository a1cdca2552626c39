package sanitizer

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/proto"
)

// meaning checks that an attention call computes what its definition does: the whole of a causal attention, or one row a
// request.
func (w *work) meaning() error {
	w.noteIgnored()
	if !w.t.planned {
		return nil
	}
	if w.t.causal {
		return w.meaningCausal()
	}
	if w.t.paged {
		return w.meaningDecode()
	}
	return nil
}

// meaningCausal is for definitions with several rows a request.
func (w *work) meaningCausal() error {
	// A run that says that it keeps its log-sum-exp to itself cannot be merged, whatever it stands beside.
	lse, passed := w.run.boolean("return_lse")
	if w.m.Beside == proto.BesideRagged && (lse || !passed) {
		return reject(RejectHalfAttention, "a run over the cached prefix only, beside a ragged run over the new tokens: merged by log-sum-exp, and not causal")
	}
	causal, known := w.isCausal()
	if known && !causal {
		return reject(RejectNotCausal, "the call is not causal, the definition is")
	}
	// SGLang asks for the log-sum-exp of halves only, and says in no dump that they are not causal. The other half, over the new
	// tokens, may not have been dumped.
	if w.t.paged && !w.t.latent && !known && lse {
		return reject(RejectHalfAttention, "the run returns its log-sum-exp, to be merged with a run over other keys, and does not say that it is causal")
	}
	qo, kv := w.operand(roleQOIndptr), w.operand(roleKVIndptr)
	if !qo.loaded || !kv.loaded || qo.ints().len() != kv.ints().len() {
		return nil // no integers, or not of one axis in the definition: nothing to compare
	}
	rows, keys := qo.ints(), kv.ints()
	for r := range rows.len() - 1 {
		if q, k := rows.at(r+1)-rows.at(r), w.kvLen(keys, r); k < q {
			return reject(RejectHalfAttention, "request %d has %d query rows and only %d keys: its own keys are elsewhere", r, q, k)
		}
	}
	return nil
}

// meaningDecode is for definitions without qo_indptr: each row of q is a request.
func (w *work) meaningDecode() error {
	kv, q := w.operand(roleKVIndptr), w.operand(roleQ)
	if q == nil {
		q = w.operand(roleQNope)
	}
	if q == nil || len(q.shape) == 0 {
		return nil
	}
	if requests := int64(kv.ints().len() - 1); q.shape[0] != requests {
		return reject(RejectNotDecode, "%s has %d rows for %d requests", q.arg, q.shape[0], requests)
	}
	arg := w.plan.find("qo_indptr")
	if arg == nil || arg.tensor == nil {
		return nil
	}
	o := operand{arg: w.plan.describe(arg.name), tensor: arg.tensor, shape: arg.tensor.Shape}
	if err := w.content(&o); err != nil {
		return err
	}
	for i, v := 0, o.ints(); i < v.len(); i++ {
		if v.at(i) != int64(i) {
			return reject(RejectNotDecode, "%s[%d] is %d: the definition has one query row a request", o.arg, i, v.at(i))
		}
	}
	return nil
}

// isCausal reports whether the call is causal, as far as the dump tells. A forward call has its own flag, whose default is a
// statement. For run the plan's flag counts if it was passed; its default says nothing, since SGLang sets the flag on the
// object in forward, which calls run and is not logged.
func (w *work) isCausal() (causal, known bool) {
	if causal, known = w.run.boolean("causal"); known {
		return causal, true
	}
	if p, ok := w.run.sig.Find("causal"); ok && p.HasDefault {
		return p.Default == "True", true
	}
	return w.plan.boolean("causal")
}

// noteIgnored records arguments that change which scores count and have no place in a workload: what is kept is the structure
// of the call.
func (w *work) noteIgnored() {
	for _, args := range []*arguments{w.plan, w.run} {
		for _, name := range []string{"custom_mask", "packed_custom_mask", "sinks"} {
			if arg := args.find(name); arg != nil && arg.tensor != nil && !w.used(arg) {
				w.note("%s is not part of the workload", args.describe(name))
			}
		}
		for _, name := range []string{"window_left", "window_right"} {
			if window, ok := args.integer(name); ok && window >= 0 {
				w.note("%s of %d is not part of the workload", args.describe(name), window)
			}
		}
	}
}

// variant holds the words in a definition's name against the arguments they stand for.
func (w *work) variant() error {
	if w.t.planned {
		return nil
	}
	for _, v := range variants[w.m.Call.Function] {
		values, stated := v.values, strings.Contains("_"+w.t.def.Name+"_", "_"+v.word+"_")
		if v.number {
			var n int64
			n, stated = nameNumber(w.t.def.Name, v.word)
			values = []int64{n}
		}
		if !stated {
			continue
		}
		got, ok := w.number(v.param)
		if ok && !slices.Contains(values, got) {
			return reject(RejectVariant, "%s is %d, the definition is for %v", w.run.describe(v.param), got, values)
		}
	}
	return nil
}

// nameNumber gives the number after a word in a definition's name: 8 for "topk" in "moe_topk8_e32".
func nameNumber(name, word string) (int64, bool) {
	for part := range strings.SplitSeq(name, "_") {
		if rest, ok := strings.CutPrefix(part, word); ok {
			if n, err := strconv.ParseInt(rest, 10, 64); err == nil {
				return n, true
			}
		}
	}
	return 0, false
}

// number gives an integer or bool argument, or the signature's default for it.
func (w *work) number(name string) (int64, bool) {
	if arg := w.run.find(name); arg != nil && arg.value != nil {
		switch arg.value.Type {
		case proto.ValueInt:
			return arg.value.Int, true
		case proto.ValueBool:
			return asInt(arg.value.Bool), true
		}
		return 0, false
	}
	p, ok := w.run.sig.Find(name)
	if !ok || !p.HasDefault {
		return 0, false
	}
	if p.Default == "True" || p.Default == "False" {
		return asInt(p.Default == "True"), true
	}
	n, err := strconv.ParseInt(p.Default, 10, 64)
	return n, err == nil
}

func asInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
