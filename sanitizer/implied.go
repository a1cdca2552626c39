package sanitizer

import (
	"strings"

	"github.com/tracefleet/tracefleet/internal/binding"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// impliedFunction returns the call that a manifest is about, by the name of the class that defines it: the run that an implied plan stands
// for, else the call itself.
func impliedFunction(m *proto.Manifest) string {
	function := m.Call.Function
	if class, ok := planned(function); ok && m.Implied {
		function = class + ".run"
	}
	return fitrace.BaseFunction(function)
}

// planned returns the class of a plan call.
func planned(function string) (class string, ok bool) {
	for _, method := range []string{".plan", ".begin_forward"} {
		if class, ok := strings.CutSuffix(function, method); ok {
			return class, true
		}
	}
	return "", false
}

// shape says how the run's tensors follow from the plan of a wrapper class.
type shape struct {
	rows   string   // argument of plan whose last element is the number of query rows; empty: one a request
	tensor []member // arguments of run
}

// member is a tensor of the run that a plan implies.
type member struct {
	key  string   // as the logger would name it
	dims []string // rows, keys, pool: from the plan's tensors; else an argument of plan, or one of several
	kv   bool     // has the element type of keys and values
}

// The dimensions that no number of plan states.
const (
	dimRows = "rows" // query rows
	dimKeys = "keys" // keys of a ragged call
	dimPool = "pool" // pages of the engine's pool: not in the plan
)

// impliedRuns gives the tensors of the run that follows a plan, by wrapper class. Names of arguments are those of every FlashInfer
// release from 0.6.1 to 0.7.2; head_dim_vo is head_dim_qk where it is not passed.
var impliedRuns = map[string]shape{
	"BatchDecodeWithPagedKVCacheWrapper": {tensor: []member{
		{"kwarg_q", []string{dimRows, "num_qo_heads", "head_dim"}, false},
		{"kwarg_paged_kv_cache__0", []string{dimPool, "page_size", "num_kv_heads", "head_dim"}, true},
		{"kwarg_paged_kv_cache__1", []string{dimPool, "page_size", "num_kv_heads", "head_dim"}, true},
	}},
	"BatchPrefillWithPagedKVCacheWrapper": {rows: "qo_indptr", tensor: []member{
		{"kwarg_q", []string{dimRows, "num_qo_heads", "head_dim_qk"}, false},
		{"kwarg_paged_kv_cache__0", []string{dimPool, "page_size", "num_kv_heads", "head_dim_qk"}, true},
		{"kwarg_paged_kv_cache__1", []string{dimPool, "page_size", "num_kv_heads", "head_dim_vo"}, true},
	}},
	"BatchPrefillWithRaggedKVCacheWrapper": {rows: "qo_indptr", tensor: []member{
		{"kwarg_q", []string{dimRows, "num_qo_heads", "head_dim_qk"}, false},
		{"kwarg_k", []string{dimKeys, "num_kv_heads", "head_dim_qk"}, true},
		{"kwarg_v", []string{dimKeys, "num_kv_heads", "head_dim_vo"}, true},
	}},
	"BatchMLAPagedAttentionWrapper": {rows: "qo_indptr", tensor: []member{
		{"kwarg_q_nope", []string{dimRows, "num_heads", "head_dim_ckv"}, false},
		{"kwarg_q_pe", []string{dimRows, "num_heads", "head_dim_kpe"}, false},
		{"kwarg_ckv_cache", []string{dimPool, "page_size", "head_dim_ckv"}, true},
		{"kwarg_kpe_cache", []string{dimPool, "page_size", "head_dim_kpe"}, true},
	}},
}

// imply makes the run that the plan of an implied manifest stands for: tensors with the sizes and element types that the plan
// gives them. From there on it is converted as any other, so that it becomes the workload that the run would have become.
func (w *work) imply() error {
	class, ok := planned(fitrace.BaseFunction(w.m.Call.Function))
	of, known := impliedRuns[class]
	if !ok || !known {
		return reject(RejectNotImplied, "%s stands for no run", w.m.Call.Function)
	}
	if class == pagedPrefill && w.m.Provenance.Mode != proto.ModeHTTPPaged {
		return reject(RejectNotImplied, "where ragged prefill is on, %s is planned on every prefill and run over cached prefixes only", class)
	}
	q, kv, err := w.plannedTypes(class)
	if err != nil {
		return err
	}
	call := &proto.Call{Function: class + ".run"}
	for _, t := range of.tensor {
		dtype := q
		if t.kv {
			dtype = kv
		}
		dims := make([]int64, len(t.dims))
		for i, name := range t.dims {
			if dims[i], err = w.plannedSize(of, name); err != nil {
				return err
			}
		}
		call.Tensors = append(call.Tensors, proto.Tensor{Key: t.key, DType: dtype, Shape: dims})
	}
	w.run = readArguments(call)
	return nil
}

// pagedPrefill is planned also where it is not run; see fitrace.PlanSuffices.
const pagedPrefill = "BatchPrefillWithPagedKVCacheWrapper"

// plannedSize returns a dimension of the run's tensors.
func (w *work) plannedSize(of shape, name string) (int64, error) {
	switch name {
	case dimRows:
		if of.rows != "" {
			return w.plannedEnd(of.rows)
		}
		indptr := w.plan.first(binding.WrapperSources[roleKVIndptr])
		if indptr == nil || indptr.tensor == nil || len(indptr.tensor.Shape) != 1 {
			return 0, reject(RejectInputMissing, "plan's kv_indptr does not show the requests")
		}
		rows, ok := w.plan.integer("q_len_per_req")
		if !ok {
			rows = 1
		}
		return (indptr.tensor.Shape[0] - 1) * rows, nil
	case dimKeys:
		return w.plannedEnd("kv_indptr")
	case dimPool:
		return 0, nil // left open, see operand.open
	}
	for _, name := range []string{name, otherNames[name]} {
		if n, ok := w.plan.integer(name); ok {
			return n, nil
		}
	}
	return 0, reject(RejectInputMissing, "plan does not state %s", name)
}

// otherNames returns the argument that counts where one was not passed.
var otherNames = map[string]string{"head_dim_vo": "head_dim_qk"}

// plannedEnd gives the last element of a prefix sum among the plan's arguments.
func (w *work) plannedEnd(name string) (int64, error) {
	arg := w.plan.find(name)
	if arg == nil || arg.tensor == nil {
		return 0, reject(RejectInputMissing, "plan has no %s", name)
	}
	o := operand{arg: w.plan.describe(name), tensor: arg.tensor, shape: arg.tensor.Shape}
	if err := w.content(&o); err != nil {
		return 0, err
	}
	return o.ints().last(), nil // whether it is sound is seen later, as of any call
}

// plannedTypes gives the element types of queries and of keys and values, as the wrapper's plan derives them. All but the latent
// wrapper's have float16 for queries where nothing was passed; keys and values are like queries unless told. The decode wrapper has
// an older data_type, which counts for keys and values, and for queries where their own type is None.
func (w *work) plannedTypes(class string) (q, kv string, err error) {
	q, passed := w.plan.dtype("q_data_type")
	kv, _ = w.plan.dtype("kv_data_type")
	if class == "BatchDecodeWithPagedKVCacheWrapper" {
		both, _ := w.plan.dtype("data_type")
		if kv == "" {
			kv = both
		}
		if q == "" && passed {
			q = both
		}
	}
	if q == "" && !passed && class != "BatchMLAPagedAttentionWrapper" {
		q = "float16"
	}
	if kv == "" {
		kv = q
	}
	if q == "" {
		return "", "", reject(RejectInputMissing, "plan does not state the element type of queries")
	}
	return q, kv, nil
}

// dtype gives an argument that is an element type, by its torch name; empty where it is None or was not passed.
func (a *arguments) dtype(name string) (dtype string, passed bool) {
	for i := range a.list {
		arg := &a.list[i]
		if arg.name != name || arg.value == nil {
			continue
		}
		if arg.value.Type == proto.ValueDType || arg.value.Type == proto.ValueString {
			dtype = strings.TrimPrefix(arg.value.String, "torch.")
		}
		return dtype, true
	}
	return "", false
}

// first returns the argument at the first of some sources that was passed.
func (a *arguments) first(list []source) *argument {
	for _, src := range list {
		if arg := a.find(src.Param); arg != nil {
			return arg
		}
	}
	return nil
}

// openPools marks the caches of an implied run: the plan does not show how many pages the pool has, and a workload has no more
// than its indices need.
func (w *work) openPools() {
	if !w.m.Implied {
		return
	}
	for i := range w.t.inputs {
		switch w.t.inputs[i].role {
		case roleKCache, roleVCache, roleCKVCache, roleKPECache:
			w.operands[i].open = true
		}
	}
}

// closePools gives open pools the size that the indices need.
func (w *work) closePools(pages int64) error {
	for i := range w.t.inputs {
		in, o := &w.t.inputs[i], &w.operands[i]
		if !o.open || len(in.axes) == 0 {
			continue
		}
		if in.axes[0] != w.t.pages {
			return reject(RejectNotImplied, "plan does not show the size of axis %s", w.t.def.Axes[in.axes[0]].Name)
		}
		o.shape = append([]int64{pages}, o.shape[1:]...)
	}
	return nil
}
