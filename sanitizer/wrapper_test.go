package sanitizer_test

import (
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

const (
	decodeRun  = "BatchDecodeWithPagedKVCacheWrapper.run"
	decodePlan = "BatchDecodeWithPagedKVCacheWrapper.plan"

	decodeRunSig  = "(self, q: torch.Tensor, paged_kv_cache: Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]], *args, q_scale: Optional[float] = None, out: Optional[torch.Tensor] = None, return_lse: bool = False) -> Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]]"
	decodePlanSig = "(self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim: int, page_size: int, *deprecated_positional_args: Any, **kwargs: Any) -> None"
)

const decodePS1 = `
	name gqa_paged_decode_h4_kv2_d8_ps1 gqa_paged
	tags fi_api:flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper stage:decode
	axes batch_size num_qo_heads=4 num_kv_heads=2 head_dim=8 num_pages page_size=1 len_indptr num_kv_indices
	in q[batch_size,num_qo_heads,head_dim]:bfloat16
	in k_cache[num_pages,page_size,num_kv_heads,head_dim]:bfloat16 v_cache[num_pages,page_size,num_kv_heads,head_dim]:bfloat16
	in kv_indptr[len_indptr]:int32 kv_indices[num_kv_indices]:int32 sm_scale:float32
	hold len_indptr == batch_size + 1; num_kv_indices == kv_indptr[-1].item()`

const decodePS4 = `
	name gqa_paged_decode_h4_kv2_d8_ps4 gqa_paged
	tags fi_api:flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper.run
	axes batch_size num_qo_heads=4 num_kv_heads=2 head_dim=8 num_pages page_size=4 len_indptr num_kv_indices
	in q[batch_size,num_qo_heads,head_dim]:bfloat16
	in k_cache[num_pages,page_size,num_kv_heads,head_dim]:bfloat16 v_cache[num_pages,page_size,num_kv_heads,head_dim]:bfloat16
	in kv_indptr[len_indptr]:int32 kv_indices[num_kv_indices]:int32 kv_last_page_len[batch_size]:int32 sm_scale:float32
	hold len_indptr == batch_size + 1; num_kv_indices == kv_indptr[-1].item()`

// sglangDecode is a decode of 3 requests as SGLang makes it: positional plan over token slots with entries left over, a tuple
// of 3-D pools, no softmax scale.
func sglangDecode() *proto.Manifest {
	return manifest(
		call(decodeRun, decodeRunSig, tensor("arg_1", "bfloat16", 3, 4, 8), tensor("arg_2__0", "bfloat16", 20, 2, 8), tensor("arg_2__1", "bfloat16", 20, 2, 8),
			value("kwarg_q_scale", nil)),
		call(decodePlan, decodePlanSig, i32("arg_1", 0, 2, 3, 6), i32("arg_2", 8, 9, 4, 12, 13, 14, 99, 0), i32("arg_3", 1, 1, 1),
			value("arg_4", 4), value("arg_5", 2), value("arg_6", 8), value("arg_7", 1), value("kwarg_non_blocking", true)))
}

// vllmDecode is a decode of 2 requests as vLLM makes it: keywords, pages of 4, one combined cache, its own softmax scale.
func vllmDecode() *proto.Manifest {
	return manifest(
		call(decodeRun, decodeRunSig, tensor("kwarg_q", "bfloat16", 2, 4, 8), tensor("kwarg_paged_kv_cache", "bfloat16", 9, 2, 4, 2, 8), tensor("kwarg_out", "bfloat16", 2, 4, 8)),
		call(decodePlan, decodePlanSig, i32("kwarg_indptr", 0, 2, 3), i32("kwarg_indices", 5, 1, 7), i32("kwarg_last_page_len", 3, 4),
			value("kwarg_num_qo_heads", 4), value("kwarg_num_kv_heads", 2), value("kwarg_head_dim", 8), value("kwarg_page_size", 4), value("kwarg_sm_scale", 0.25),
			value("kwarg_window_left", -1)))
}

func TestConvert_DecodeSGLang(t *testing.T) {
	t.Parallel()
	c := accepted(t, sglangDecode(), definition(t, decodePS1))
	if got, want := axes(c), "batch_size=3 num_pages=15 len_indptr=4 num_kv_indices=6"; got != want {
		t.Errorf("axes %s, want %s", got, want)
	}
	want := "q=random k_cache=random v_cache=random kv_indptr=int32[0 2 3 6] kv_indices=int32[8 9 4 12 13 14] sm_scale=0.35355339059327373"
	if got := inputs(t, c); got != want {
		t.Errorf("inputs %s\nwant   %s", got, want)
	}
}

func TestConvert_DecodeVLLM(t *testing.T) {
	t.Parallel()
	c := accepted(t, vllmDecode(), definition(t, decodePS4))
	if got, want := axes(c), "batch_size=2 num_pages=8 len_indptr=3 num_kv_indices=3"; got != want {
		t.Errorf("axes %s, want %s", got, want)
	}
	want := "q=random k_cache=random v_cache=random kv_indptr=int32[0 2 3] kv_indices=int32[5 1 7] kv_last_page_len=int32[3 4] sm_scale=0.25"
	if got := inputs(t, c); got != want {
		t.Errorf("inputs %s\nwant   %s", got, want)
	}
}

// TestConvert_DecodeVariations changes one thing each in a call that is otherwise converted.
func TestConvert_DecodeVariations(t *testing.T) {
	t.Parallel()
	type change func(m *proto.Manifest)
	inRun := func(args ...any) change {
		return func(m *proto.Manifest) {
			for _, a := range args {
				set(&m.Call, a)
			}
		}
	}
	inPlan := func(args ...any) change {
		return func(m *proto.Manifest) {
			for _, a := range args {
				set(m.Plan, a)
			}
		}
	}
	for name, c := range map[string]struct {
		change         change
		reason, detail string // of the rejection; empty: accepted
		axes           string // of the candidate, where it matters
	}{
		"as it is": {change: func(*proto.Manifest) {}},

		"no plan":              {change: func(m *proto.Manifest) { m.Plan = nil }, reason: sanitizer.RejectPlanMissing},
		"note missing":         {change: func(m *proto.Manifest) { m.PlanNote = proto.PlanMissing }, reason: sanitizer.RejectPlanMissing, detail: ".plan"},
		"note stale":           {change: func(m *proto.Manifest) { m.PlanNote = proto.PlanStale }, reason: sanitizer.RejectPlanStale, detail: "graph"},
		"note unreadable":      {change: func(m *proto.Manifest) { m.PlanNote = proto.PlanUnreadable }, reason: sanitizer.RejectPlanUnreadable},
		"note unordered":       {change: func(m *proto.Manifest) { m.PlanNote = proto.PlanUnordered }, reason: sanitizer.RejectPlanUnordered},
		"note unlogged":        {change: func(m *proto.Manifest) { m.PlanNote = proto.PlanUnloggedMeta }, reason: sanitizer.RejectPlanUnlogged, detail: "metadata"},
		"note of later":        {change: func(m *proto.Manifest) { m.PlanNote = "eaten" }, reason: sanitizer.RejectPlanMissing, detail: "eaten"},
		"defect":               {change: func(m *proto.Manifest) { m.Defect = &proto.Defect{Reason: "corrupt_dump", Detail: "cut"} }, reason: "corrupt_dump", detail: "cut"},
		"graph replay":         {change: func(m *proto.Manifest) { m.Call.Flush, m.Call.Capture = 2, true }},
		"crashed":              {change: func(m *proto.Manifest) { m.Call.Status = "inputs_saved" }},
		"another module":       {change: func(m *proto.Manifest) { m.Call.Module = "flashinfer.decode._new" }},
		"decode beside ragged": {change: func(m *proto.Manifest) { m.Beside = proto.BesideRagged }},

		"no q":             {change: func(m *proto.Manifest) { drop(&m.Call, "arg_1") }, reason: sanitizer.RejectInputMissing, detail: "q"},
		"no indices":       {change: func(m *proto.Manifest) { drop(m.Plan, "arg_2") }, reason: sanitizer.RejectInputMissing, detail: "kv_indices"},
		"no last_page_len": {change: func(m *proto.Manifest) { drop(m.Plan, "arg_3") }},
		"only a k cache":   {change: func(m *proto.Manifest) { drop(&m.Call, "arg_2__1") }, reason: sanitizer.RejectInputMissing, detail: "k_cache"},
		"indices a number": {change: inPlan(value("arg_2", 3)), reason: sanitizer.RejectNotTensor, detail: "plan's indices is a int"},

		"q another type":      {change: inRun(tensor("arg_1", "float16", 3, 4, 8)), reason: sanitizer.RejectDType, detail: "run's q is float16, q must be bfloat16"},
		"cache another type":  {change: inRun(tensor("arg_2__1", "float8_e4m3fn", 20, 2, 8)), reason: sanitizer.RejectDType, detail: "v_cache must be bfloat16"},
		"indices int64":       {change: inPlan(integers("arg_2", "int64", 8, 9, 4, 12, 13, 14)), reason: sanitizer.RejectDType, detail: "kv_indices must be int32"},
		"q flat":              {change: inRun(tensor("arg_1", "bfloat16", 3, 32)), reason: sanitizer.RejectRank, detail: "3 dimensions"},
		"other heads":         {change: inRun(tensor("arg_1", "bfloat16", 3, 8, 8)), reason: sanitizer.RejectConstAxis, detail: "num_qo_heads is 8, must be 4"},
		"other kv heads":      {change: inRun(tensor("arg_2__0", "bfloat16", 20, 1, 8)), reason: sanitizer.RejectConstAxis, detail: "num_kv_heads is 1, must be 2"},
		"other width":         {change: inRun(tensor("arg_1", "bfloat16", 3, 4, 16)), reason: sanitizer.RejectConstAxis, detail: "head_dim is 16, must be 8"},
		"plan of other heads": {change: inPlan(value("arg_4", 8)), reason: sanitizer.RejectConstAxis, detail: "plan's num_qo_heads is 8"},
		"pools of two sizes":  {change: inRun(tensor("arg_2__1", "bfloat16", 21, 2, 8)), reason: sanitizer.RejectAxisConflict, detail: "num_pages is 21 here and 20 elsewhere"},
		"pages of 16":         {change: inPlan(value("arg_7", 16)), reason: sanitizer.RejectPageSize, detail: "pages of 16 tokens, the definition has pages of 1"},
		"no page size":        {change: func(m *proto.Manifest) { drop(m.Plan, "arg_7") }},
		"page size 0":         {change: inPlan(value("arg_7", 0)), reason: sanitizer.RejectPageSize, detail: "page_size 0"},

		"indptr from 1":       {change: inPlan(i32("arg_1", 1, 2, 3, 6)), reason: sanitizer.RejectIndptr, detail: "starts at 1"},
		"indptr falls":        {change: inPlan(i32("arg_1", 0, 3, 2, 6)), reason: sanitizer.RejectIndptr, detail: "falls from 3 to 2 at element 2"},
		"indptr negative":     {change: inPlan(i32("arg_1", 0, -3, 2, 6)), reason: sanitizer.RejectIndptr, detail: "falls from 0 to -3"},
		"indptr empty":        {change: inPlan(i32("arg_1")), reason: sanitizer.RejectIndptr, detail: "is empty"},
		"indptr 2-D":          {change: func(m *proto.Manifest) { m.Plan.Tensors[0].Shape = []int64{2, 2} }, reason: sanitizer.RejectRank, detail: "1 dimensions"},
		"empty request":       {change: inPlan(i32("arg_1", 0, 2, 2, 6))},
		"too few indices":     {change: inPlan(i32("arg_2", 8, 9, 4, 12, 13)), reason: sanitizer.RejectIndices, detail: "ends at 6, plan's indices has only 5"},
		"index negative":      {change: inPlan(i32("arg_2", 8, 9, 4, -1, 13, 14)), reason: sanitizer.RejectIndices, detail: "index -1"},
		"index out of pool":   {change: inPlan(i32("arg_2", 8, 9, 4, 20, 13, 14)), reason: sanitizer.RejectIndices, detail: "index 20, run's paged_kv_cache has 20 pages"},
		"index last of pool":  {change: inPlan(i32("arg_2", 8, 9, 4, 19, 13, 14)), axes: "batch_size=3 num_pages=20 len_indptr=4 num_kv_indices=6"},
		"junk is not counted": {change: inPlan(i32("arg_2", 8, 9, 4, 2, 3, 4, -7, 1<<30)), axes: "batch_size=3 num_pages=10 len_indptr=4 num_kv_indices=6"},
		"no keys":             {change: inPlan(i32("arg_1", 0, 0, 0, 0)), reason: sanitizer.RejectAxisZero, detail: "kv_indices"},
		"last_page_len 2":     {change: inPlan(i32("arg_3", 1, 2, 1)), reason: sanitizer.RejectLastPageLen, detail: "[1] is 2, must be in 1..1"},
		"last_page_len 0":     {change: inPlan(i32("arg_3", 1, 0, 1)), reason: sanitizer.RejectLastPageLen, detail: "[1] is 0"},
		"last_page_len short": {change: inPlan(i32("arg_3", 1, 1)), reason: sanitizer.RejectLastPageLen, detail: "3 requests"},
		"no values":           {change: func(m *proto.Manifest) { m.Plan.Tensors[1].Inline, m.Plan.Tensors[1].Digest = nil, "" }, reason: sanitizer.RejectNoContent, detail: "plan's indices was dumped without its values"},
		"values cut": {change: func(m *proto.Manifest) { m.Plan.Tensors[1].Inline = m.Plan.Tensors[1].Inline[:8] }, reason: sanitizer.RejectNoContent,
			detail: "has 8 bytes of content, must have 32"},
		"absurd shape": {change: func(m *proto.Manifest) { m.Plan.Tensors[1].Shape = []int64{1 << 40, 1 << 40} }, reason: sanitizer.RejectNoContent, detail: "which no tensor has"},

		"more rows than requests": {change: inRun(tensor("arg_1", "bfloat16", 4, 4, 8)), reason: sanitizer.RejectNotDecode, detail: "4 rows for 3 requests"},
		"scale by keyword":        {change: inPlan(value("kwarg_sm_scale", 0.5))},
		"scale None":              {change: inPlan(value("kwarg_sm_scale", nil))},
		"scale a tensor":          {change: inPlan(tensor("kwarg_sm_scale", "float32", 1)), reason: sanitizer.RejectNotScalar, detail: "sm_scale is a tensor"},
		"scale an object":         {change: inPlan(value("kwarg_sm_scale", "Scale()")), reason: sanitizer.RejectNotScalar, detail: "object"},
		"scale a bool":            {change: inPlan(value("kwarg_sm_scale", true)), reason: sanitizer.RejectDType, detail: "Python bool"},
		"a mask outside":          {change: inPlan(integers("kwarg_custom_mask", "bool", 1, 0))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := sglangDecode()
			c.change(m)
			if c.reason != "" {
				rejected(t, m, definition(t, decodePS1), c.reason, c.detail)
				return
			}
			if got := axes(accepted(t, m, definition(t, decodePS1))); c.axes != "" && got != c.axes {
				t.Errorf("axes %s, want %s", got, c.axes)
			}
		})
	}
}

// TestConvert_ScaleSources: the scale is the plan's by keyword or by a position that FlashInfer gave up, else computed.
func TestConvert_ScaleSources(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key  string
		v    any
		want string
	}{
		"keyword":  {"kwarg_sm_scale", 0.5, "sm_scale=0.5"},
		"int":      {"kwarg_sm_scale", 1, "sm_scale=1"},
		"position": {"arg_15", 0.125, "sm_scale=0.125"},
		"None":     {"kwarg_sm_scale", nil, "sm_scale=0.35355339059327373"},
	} {
		m := sglangDecode()
		set(m.Plan, value(c.key, c.v))
		if got := inputs(t, accepted(t, m, definition(t, decodePS1))); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestConvert_NoSignature: the wrappers' positions are known where a dump does not give them; self may be left out of a
// signature.
func TestConvert_NoSignature(t *testing.T) {
	t.Parallel()
	want := accepted(t, sglangDecode(), definition(t, decodePS1)).UUID
	for name, change := range map[string]func(s string) string{
		"none":    func(string) string { return "" },
		"no self": func(s string) string { return strings.Replace(s, "self, ", "", 1) },
	} {
		m := sglangDecode()
		m.Call.Signature, m.Plan.Signature = change(m.Call.Signature), change(m.Plan.Signature)
		set(&m.Call, value("arg_0", "BatchDecodeWithPagedKVCacheWrapper()"))
		if got := accepted(t, m, definition(t, decodePS1)).UUID; got != want {
			t.Errorf("%s: bound otherwise", name)
		}
	}
	for name, m := range map[string]*proto.Manifest{
		prefillDefinition("4", "batch_size"): prefill(), raggedDefinition: ragged(), mlaDecode: latent(false, 1, 1),
	} {
		m.Call.Signature, m.Plan.Signature = "", ""
		accepted(t, m, definition(t, name))
	}
}

// TestConvert_InlineDigest: what a message claims of one tensor is never remembered for another.
func TestConvert_InlineDigest(t *testing.T) {
	t.Parallel()
	honest, other := sglangDecode(), sglangDecode()
	claimed := honest.Plan.Tensors[1].Digest
	set(other.Plan, i32("arg_2", 1, 2, 3, 4, 5, 6, 99, 0))
	other.Plan.Tensors[2].Digest = claimed
	for _, m := range []*proto.Manifest{honest, other} {
		inputs(t, accepted(t, m, definition(t, decodePS1))) // compares bytes and digests
	}
}

// TestConvert_HND: a cache in heads-major order is told by the plan's numbers.
func TestConvert_HND(t *testing.T) {
	t.Parallel()
	m := vllmDecode()
	set(&m.Call, tensor("kwarg_paged_kv_cache", "bfloat16", 9, 2, 2, 4, 8))
	accepted(t, m, definition(t, decodePS4))
	set(&m.Call, tensor("kwarg_paged_kv_cache", "bfloat16", 9, 3, 2, 4, 8))
	rejected(t, m, definition(t, decodePS4), sanitizer.RejectInputMissing, "k_cache")
	set(&m.Call, tensor("kwarg_paged_kv_cache", "bfloat16", 9, 2, 2, 3, 8))
	rejected(t, m, definition(t, decodePS4), sanitizer.RejectConstAxis, "page_size is 2, must be 4")
}

func TestConvert_LastPageLen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		last   []int64
		detail string
	}{
		"0":         {[]int64{3, 0}, "[1] is 0, must be in 1..4"},
		"5":         {[]int64{5, 1}, "[0] is 5, must be in 1..4"},
		"too short": {[]int64{3}, "shape [1] for 2 requests"},
		"too long":  {[]int64{3, 1, 1}, "shape [3] for 2 requests"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := vllmDecode()
			set(m.Plan, i32("kwarg_last_page_len", c.last...))
			rejected(t, m, definition(t, decodePS4), sanitizer.RejectLastPageLen, c.detail)
		})
	}
}

// TestConvert_Fold: token slots in aligned runs become pages, exactly; anything else is rejected.
func TestConvert_Fold(t *testing.T) {
	t.Parallel()
	slots := func(indptr []int64, indices ...int64) *proto.Manifest {
		m := sglangDecode()
		set(m.Plan, i32("arg_1", indptr...))
		set(m.Plan, i32("arg_2", indices...))
		return m
	}
	c := accepted(t, slots([]int64{0, 6, 10, 11}, 8, 9, 10, 11, 4, 5, 12, 13, 14, 15, 16, 99), definition(t, decodePS4))
	if got, want := axes(c), "batch_size=3 num_pages=5 len_indptr=4 num_kv_indices=4"; got != want {
		t.Errorf("axes %s, want %s", got, want)
	}
	want := "q=random k_cache=random v_cache=random kv_indptr=int32[0 2 3 4] kv_indices=int32[2 1 3 4] kv_last_page_len=int32[2 4 1] sm_scale=0.35355339059327373"
	if got := inputs(t, c); got != want {
		t.Errorf("inputs %s\nwant   %s", got, want)
	}
	for name, c := range map[string]struct {
		m      *proto.Manifest
		detail string
	}{
		"page not aligned":        {slots([]int64{0, 4, 5, 6}, 9, 10, 11, 12, 0, 4), "token 0 of request 0 is in slot 9, not at the start of a page of 4"},
		"gap in a page":           {slots([]int64{0, 3, 4, 5}, 8, 9, 11, 0, 4), "token 2 of request 0 is in slot 11, not beside"},
		"second page off":         {slots([]int64{0, 5, 6, 7}, 8, 9, 10, 11, 13, 0, 4), "token 4 of request 0 is in slot 13"},
		"a request starts over":   {slots([]int64{0, 2, 4, 5}, 8, 9, 10, 11, 0), "token 0 of request 1 is in slot 10"},
		"another's partial page":  {slots([]int64{0, 2, 8, 9}, 8, 9, 16, 17, 18, 19, 10, 11, 0), "token 4 of request 1 is in slot 10, not at the start"},
		"negative slot":           {slots([]int64{0, 1, 2, 3}, -4, 0, 4), "slot -4"},
		"backwards":               {slots([]int64{0, 2, 3, 4}, 8, 7, 0, 4), "token 1 of request 0 is in slot 7"},
		"slot pages, as they are": {slots([]int64{0, 2, 3, 6}, 8, 9, 4, 12, 13, 15), "slot 15"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rejected(t, c.m, definition(t, decodePS4), sanitizer.RejectFold, c.detail)
		})
	}
}

// TestConvert_FoldPool: the pool of slots bounds the pages; its last page may be cut short.
func TestConvert_FoldPool(t *testing.T) {
	t.Parallel()
	m := sglangDecode()
	set(m.Plan, i32("arg_1", 0, 1, 2, 4))
	set(m.Plan, i32("arg_2", 0, 4, 20, 21))
	for _, size := range []int64{22, 24} {
		set(&m.Call, tensor("arg_2__0", "bfloat16", size, 2, 8))
		set(&m.Call, tensor("arg_2__1", "bfloat16", size, 2, 8))
		if got := axes(accepted(t, m, definition(t, decodePS4))); !strings.Contains(got, "num_pages=6") {
			t.Errorf("axes %s", got)
		}
	}
	set(&m.Call, tensor("arg_2__0", "bfloat16", 20, 2, 8))
	set(&m.Call, tensor("arg_2__1", "bfloat16", 20, 2, 8))
	rejected(t, m, definition(t, decodePS4), sanitizer.RejectIndices, "index 5, run's paged_kv_cache has 5 pages")
}

// TestConvert_SkipConst: the user's flag relaxes what TP divides, by whole factors, and nothing else.
func TestConvert_SkipConst(t *testing.T) {
	t.Parallel()
	other := func(qHeads, kvHeads, width int64) *proto.Manifest {
		m := sglangDecode()
		m.SkipConst = true
		set(&m.Call, tensor("arg_1", "bfloat16", 3, qHeads, width))
		set(&m.Call, tensor("arg_2__0", "bfloat16", 20, kvHeads, width))
		set(&m.Call, tensor("arg_2__1", "bfloat16", 20, kvHeads, width))
		set(m.Plan, value("arg_4", int(qHeads)))
		set(m.Plan, value("arg_5", int(kvHeads)))
		set(m.Plan, value("arg_6", int(width)))
		return m
	}
	def := definition(t, decodePS1)
	accepted(t, other(8, 4, 8), def)
	accepted(t, other(2, 1, 8), def)
	rejected(t, other(6, 3, 8), def, sanitizer.RejectConstAxis, "num_qo_heads is 6")
	rejected(t, other(4, 2, 16), def, sanitizer.RejectConstAxis, "head_dim is 16")
	m := vllmDecode()
	m.SkipConst = true
	rejected(t, m, def, sanitizer.RejectPageSize, "pages of 4")
	m = other(8, 4, 8)
	set(m.Plan, i32("arg_1", 1, 2, 3, 6))
	rejected(t, m, def, sanitizer.RejectIndptr, "starts at 1")
	m = other(8, 4, 8)
	m.SkipConst = false
	rejected(t, m, def, sanitizer.RejectConstAxis, "must be 4")
}

func TestConvert_Constraints(t *testing.T) {
	t.Parallel()
	m := sglangDecode()
	rejected(t, m, definition(t, decodePS1+"; batch_size % 2 == 0"), sanitizer.RejectConstraint, "batch_size % 2 == 0 does not hold")
	rejected(t, m, definition(t, decodePS1+"; is_nice(q)"), sanitizer.RejectConstraintUnknown, "is_nice")
	rejected(t, m, definition(t, decodePS1+"; q[0] == 1"), sanitizer.RejectConstraintUnknown, "values of q")
	accepted(t, m, definition(t, decodePS1+"; sm_scale > 0 or batch_size == 3; num_pages == 15; kv_indices.max() < num_pages; q.shape[0] == 3"))
}
