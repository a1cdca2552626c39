package sanitizer_test

import (
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

const (
	prefillRun  = "BatchPrefillWithPagedKVCacheWrapper.run"
	prefillPlan = "BatchPrefillWithPagedKVCacheWrapper.plan"
	raggedClass = "BatchPrefillWithRaggedKVCacheWrapper"

	prefillPlanSig = "(self, qo_indptr: torch.Tensor, paged_kv_indptr: torch.Tensor, paged_kv_indices: torch.Tensor, paged_kv_last_page_len: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim_qk: int, page_size: int, head_dim_vo: Optional[int] = None, custom_mask: Optional[torch.Tensor] = None, packed_custom_mask: Optional[torch.Tensor] = None, causal: bool = False) -> None"
	raggedRunSig   = "(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args, return_lse: bool = False) -> torch.Tensor"
	raggedPlanSig  = "(self, qo_indptr: torch.Tensor, kv_indptr: torch.Tensor, num_qo_heads: int, num_kv_heads: int, head_dim_qk: int, head_dim_vo: Optional[int] = None, causal: bool = False) -> None"
	forwardSig     = "(self, q, k, v, causal=False, sm_scale=None)"

	mlaRun     = "BatchMLAPagedAttentionWrapper.run"
	mlaPlan    = "BatchMLAPagedAttentionWrapper.plan"
	mlaRunSig  = "(self, q_nope: Optional[torch.Tensor] = None, q_pe: Optional[torch.Tensor] = None, ckv_cache: Optional[torch.Tensor] = None, kpe_cache: Optional[torch.Tensor] = None, out: Optional[torch.Tensor] = None, *, query: object = None, kv_cache: object = None) -> torch.Tensor"
	mlaPlanSig = "(self, qo_indptr: Optional[torch.Tensor] = None, kv_indptr: Optional[torch.Tensor] = None, kv_indices: Optional[torch.Tensor] = None, kv_len_arr: Optional[torch.Tensor] = None, num_heads: Optional[int] = None, head_dim_ckv: Optional[int] = None, head_dim_kpe: Optional[int] = None, page_size: Optional[int] = None, causal: Optional[bool] = None, sm_scale: Optional[float] = None, q_data_type: Optional[torch.dtype] = None) -> None"
)

func prefillDefinition(page, last string) string {
	text := `
	name gqa_paged_prefill_causal_h4_kv2_d8_ps` + page + ` gqa_paged
	tags fi_api:flashinfer.BatchPrefillWithPagedKVCacheWrapper
	axes num_qo_heads=4 num_kv_heads=2 head_dim=8 page_size=` + page + ` len_indptr total_q num_kv_indices num_pages BATCH
	in q[total_q,num_qo_heads,head_dim]:bfloat16
	in k_cache[num_pages,page_size,num_kv_heads,head_dim]:bfloat16 v_cache[num_pages,page_size,num_kv_heads,head_dim]:bfloat16
	in qo_indptr[len_indptr]:int32 kv_indptr[len_indptr]:int32 kv_indices[num_kv_indices]:int32 LAST sm_scale:float32
	hold total_q == qo_indptr[-1].item(); num_kv_indices == kv_indptr[-1].item()`
	batch := ""
	if last == "batch_size" {
		batch = last
	}
	if last != "" {
		last = "kv_last_page_len[" + last + "]:int32"
	}
	return strings.NewReplacer("BATCH", batch, "LAST", last).Replace(text)
}

const raggedDefinition = `
	name gqa_ragged_prefill_causal_h4_kv2_d8 gqa_ragged
	tags fi_api:flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper
	axes num_qo_heads=4 num_kv_heads=2 head_dim=8 len_indptr total_q total_kv
	in q[total_q,num_qo_heads,head_dim]:bfloat16 k[total_kv,num_kv_heads,head_dim]:bfloat16 v[total_kv,num_kv_heads,head_dim]:bfloat16
	in qo_indptr[len_indptr]:int32 kv_indptr[len_indptr]:int32 sm_scale:float32`

// prefill is two requests of 2 and 3 new rows over 3 and 3 pages of 4 tokens, 12 and 9 keys.
func prefill() *proto.Manifest {
	return manifest(
		call(prefillRun, decodeRunSig, tensor("arg_1", "bfloat16", 5, 4, 8), tensor("arg_2", "bfloat16", 9, 2, 4, 2, 8)),
		call(prefillPlan, prefillPlanSig, i32("arg_1", 0, 2, 5), i32("arg_2", 0, 3, 6), i32("arg_3", 1, 2, 3, 4, 5, 6, 77), i32("arg_4", 4, 1),
			value("arg_5", 4), value("arg_6", 2), value("arg_7", 8), value("arg_8", 4)))
}

// slotPrefill is prefill's sizes over token slots: 2 and 3 rows over 4 and 3 keys.
func slotPrefill() *proto.Manifest {
	return manifest(
		call(prefillRun, decodeRunSig, tensor("arg_1", "bfloat16", 5, 4, 8), tensor("arg_2__0", "bfloat16", 30, 2, 8), tensor("arg_2__1", "bfloat16", 30, 2, 8)),
		call(prefillPlan, prefillPlanSig, i32("arg_1", 0, 2, 5), i32("arg_2", 0, 4, 7), i32("arg_3", 9, 3, 4, 5, 6, 7, 8), i32("arg_4", 1, 1),
			value("arg_5", 4), value("arg_6", 2), value("arg_7", 8), value("arg_8", 1)))
}

// ragged is a prefill of 2 and 3 rows, the second over 4 keys.
func ragged() *proto.Manifest {
	return manifest(
		call(raggedClass+".run", raggedRunSig, tensor("arg_1", "bfloat16", 5, 4, 8), tensor("arg_2", "bfloat16", 6, 2, 8), tensor("arg_3", "bfloat16", 6, 2, 8), value("kwarg_return_lse", true)),
		call(raggedClass+".plan", raggedPlanSig, i32("arg_1", 0, 2, 5), i32("arg_2", 0, 2, 6), value("arg_3", 4), value("arg_4", 2), value("arg_5", 8)))
}

func TestConvert_Prefill(t *testing.T) {
	t.Parallel()
	const both = "q=random k_cache=random v_cache=random qo_indptr=int32[0 2 5] kv_indptr=int32[0 3 6] kv_indices=int32[1 2 3 4 5 6] "
	for name, c := range map[string]struct{ last, axes, inputs string }{
		"batch":  {"batch_size", "len_indptr=3 total_q=5 num_kv_indices=6 num_pages=7 batch_size=2", both + "kv_last_page_len=int32[4 1] sm_scale=0.35355339059327373"},
		"indptr": {"len_indptr", "len_indptr=3 total_q=5 num_kv_indices=6 num_pages=7", both + "kv_last_page_len=int32[4 1 0] sm_scale=0.35355339059327373"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := accepted(t, prefill(), definition(t, prefillDefinition("4", c.last)))
			if axes(got) != c.axes || inputs(t, got) != c.inputs {
				t.Errorf("axes   %s\nwant   %s\ninputs %s\nwant   %s", axes(got), c.axes, inputs(t, got), c.inputs)
			}
		})
	}
	got := accepted(t, slotPrefill(), definition(t, prefillDefinition("1", "")))
	if want := "len_indptr=3 total_q=5 num_kv_indices=7 num_pages=10"; axes(got) != want {
		t.Errorf("axes %s, want %s", axes(got), want)
	}
}

func TestConvert_PrefillMeaning(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change         func(m *proto.Manifest)
		reason, detail string
	}{
		"half":                 {func(m *proto.Manifest) { m.Beside = proto.BesideRagged; set(&m.Call, value("kwarg_return_lse", true)) }, sanitizer.RejectHalfAttention, "ragged"},
		"half, lse not logged": {func(m *proto.Manifest) { m.Beside = proto.BesideRagged }, sanitizer.RejectHalfAttention, "ragged"},
		"beside, no lse":       {func(m *proto.Manifest) { m.Beside = proto.BesideRagged; set(&m.Call, value("kwarg_return_lse", false)) }, "", ""},
		"lse alone":            {func(m *proto.Manifest) { set(&m.Call, value("kwarg_return_lse", true)) }, sanitizer.RejectHalfAttention, "log-sum-exp"},
		"lse, causal": {func(m *proto.Manifest) {
			set(&m.Call, value("kwarg_return_lse", true))
			set(m.Plan, value("kwarg_causal", true))
		}, "", ""},
		"said to be causal":    {func(m *proto.Manifest) { set(m.Plan, value("kwarg_causal", true)) }, "", ""},
		"said not to be":       {func(m *proto.Manifest) { set(m.Plan, value("kwarg_causal", false)) }, sanitizer.RejectNotCausal, ""},
		"fewer keys than rows": {func(m *proto.Manifest) { set(m.Plan, i32("arg_2", 0, 1, 7)) }, sanitizer.RejectHalfAttention, "request 0 has 2 query rows and only 1 keys"},
		"no prefix":            {func(m *proto.Manifest) { set(m.Plan, i32("arg_2", 0, 0, 7)) }, sanitizer.RejectHalfAttention, "only 0 keys"},
		"rows beyond the end":  {func(m *proto.Manifest) { set(&m.Call, tensor("arg_1", "bfloat16", 6, 4, 8)) }, sanitizer.RejectIndptr, "ends at 5, run's q has 6 rows"},
		"indptrs of two sizes": {func(m *proto.Manifest) { set(m.Plan, i32("arg_1", 0, 1, 2, 5)) }, sanitizer.RejectAxisConflict, "len_indptr"},
		"rows fall":            {func(m *proto.Manifest) { set(m.Plan, i32("arg_1", 0, 6, 5)) }, sanitizer.RejectIndptr, "falls"},
		"a request of no rows": {func(m *proto.Manifest) {
			set(m.Plan, i32("arg_1", 0, 2, 2))
			set(&m.Call, tensor("arg_1", "bfloat16", 2, 4, 8))
		}, "", ""},
		"plan of other width": {func(m *proto.Manifest) { set(m.Plan, value("arg_7", 16)) }, sanitizer.RejectConstAxis, "plan's head_dim_qk is 16, head_dim must be 8"},
		"masked":              {func(m *proto.Manifest) { set(m.Plan, integers("kwarg_custom_mask", "bool", 1, 1)) }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, def := slotPrefill(), definition(t, prefillDefinition("1", ""))
			c.change(m)
			if c.reason == "" {
				accepted(t, m, def)
				return
			}
			rejected(t, m, def, c.reason, c.detail)
		})
	}
	// Pages of 4: the second request has 2 pages, the last with 1 token, and 6 rows.
	m := prefill()
	set(m.Plan, i32("arg_1", 0, 2, 8))
	set(m.Plan, i32("arg_2", 0, 3, 5))
	set(&m.Call, tensor("arg_1", "bfloat16", 8, 4, 8))
	rejected(t, m, definition(t, prefillDefinition("4", "batch_size")), sanitizer.RejectHalfAttention, "request 1 has 6 query rows and only 5 keys")
}

func TestConvert_Ragged(t *testing.T) {
	t.Parallel()
	def := definition(t, raggedDefinition)
	got := accepted(t, ragged(), def)
	if want := "len_indptr=3 total_q=5 total_kv=6"; axes(got) != want {
		t.Errorf("axes %s, want %s", axes(got), want)
	}
	if want := "q=random k=random v=random qo_indptr=int32[0 2 5] kv_indptr=int32[0 2 6] sm_scale=0.35355339059327373"; inputs(t, got) != want {
		t.Errorf("inputs %s, want %s", inputs(t, got), want)
	}
	m := ragged()
	m.Beside = proto.BesidePaged
	accepted(t, m, def) // its own rows are all there
	m = ragged()
	set(m.Plan, i32("arg_2", 0, 2, 5))
	rejected(t, m, def, sanitizer.RejectIndptr, "ends at 5, run's k has 6 rows")
	m = ragged()
	set(m.Plan, value("kwarg_causal", false)) // a chunk of a prefix
	rejected(t, m, def, sanitizer.RejectNotCausal, "")
}

// TestConvert_RaggedForward: older FlashInfer logs forward itself, with a flag and a scale of its own.
func TestConvert_RaggedForward(t *testing.T) {
	t.Parallel()
	def := definition(t, raggedDefinition)
	for _, method := range []string{".forward", ".forward_return_lse"} {
		m := ragged()
		m.Call.Function, m.Call.Signature = raggedClass+method, forwardSig
		set(&m.Call, value("kwarg_causal", true))
		set(&m.Call, value("kwarg_sm_scale", 0.1))
		set(m.Plan, value("kwarg_sm_scale", 0.9))
		if got := inputs(t, accepted(t, m, def)); !strings.HasSuffix(got, "sm_scale=0.1") {
			t.Errorf("%s: %s", method, got)
		}
		drop(&m.Call, "kwarg_causal") // the default is False
		rejected(t, m, def, sanitizer.RejectNotCausal, "")
	}
}

const mlaDecode = `
	name mla_paged_decode_h4_ckv16_kpe8_ps1 mla_paged
	tags fi_api:flashinfer.mla.BatchMLAPagedAttentionWrapper stage:decode
	axes batch_size num_qo_heads=4 head_dim_ckv=16 head_dim_kpe=8 page_size=1 num_pages len_indptr num_kv_indices
	in q_nope[batch_size,num_qo_heads,head_dim_ckv]:bfloat16 q_pe[batch_size,num_qo_heads,head_dim_kpe]:bfloat16
	in ckv_cache[num_pages,page_size,head_dim_ckv]:bfloat16 kpe_cache[num_pages,page_size,head_dim_kpe]:bfloat16
	in kv_indptr[len_indptr]:int32 kv_indices[num_kv_indices]:int32 sm_scale:float32`

const mlaPrefill = `
	name mla_paged_prefill_causal_h4_ckv16_kpe8_ps1 mla_paged
	tags fi_api:flashinfer.mla.BatchMLAPagedAttentionWrapper stage:prefill
	axes num_qo_heads=4 head_dim_ckv=16 head_dim_kpe=8 page_size=1 total_q num_pages len_indptr num_kv_indices
	in q_nope[total_q,num_qo_heads,head_dim_ckv]:bfloat16 q_pe[total_q,num_qo_heads,head_dim_kpe]:bfloat16
	in ckv_cache[num_pages,page_size,head_dim_ckv]:bfloat16 kpe_cache[num_pages,page_size,head_dim_kpe]:bfloat16
	in qo_indptr[len_indptr]:int32 kv_indptr[len_indptr]:int32 kv_indices[num_kv_indices]:int32 sm_scale:float32`

var mlaPS4 = strings.NewReplacer("_ps1", "_ps4", "page_size=1", "page_size=4", "sm_scale:", "kv_last_page_len[batch_size]:int32 sm_scale:").Replace(mlaDecode)

// latent is an MLA call over requests of the given rows; request i has 4+i keys in aligned slots.
func latent(causal bool, rows ...int64) *proto.Manifest {
	qo, kv, lengths, slots := []int64{0}, []int64{0}, []int64{}, []int64{}
	for i, n := range rows {
		qo, kv, lengths = append(qo, qo[i]+n), append(kv, kv[i]+4+int64(i)), append(lengths, 4+int64(i))
		for k := range 4 + i {
			slots = append(slots, int64(16*i+k))
		}
	}
	total := qo[len(rows)]
	return manifest(
		call(mlaRun, mlaRunSig, tensor("arg_1", "bfloat16", total, 4, 16), tensor("arg_2", "bfloat16", total, 4, 8), tensor("arg_3", "bfloat16", 64, 1, 16), tensor("arg_4", "bfloat16", 64, 1, 8)),
		call(mlaPlan, mlaPlanSig, i32("arg_1", qo...), i32("arg_2", kv...), i32("arg_3", slots...), i32("arg_4", lengths...),
			value("arg_5", 4), value("arg_6", 16), value("arg_7", 8), value("arg_8", 1), value("arg_9", causal), value("arg_10", 0.135)))
}

// TestConvert_MLAStage: decode and prefill share one API. A decode has one row a request; a prefill is causal.
func TestConvert_MLAStage(t *testing.T) {
	t.Parallel()
	decode, prefill := definition(t, mlaDecode), definition(t, mlaPrefill)
	c := accepted(t, latent(false, 1, 1), decode)
	if want := "batch_size=2 num_pages=21 len_indptr=3 num_kv_indices=9"; axes(c) != want {
		t.Errorf("axes %s, want %s", axes(c), want)
	}
	if got := inputs(t, c); !strings.HasSuffix(got, "sm_scale=0.135") {
		t.Errorf("inputs %s", got)
	}
	rejected(t, latent(false, 1, 1), prefill, sanitizer.RejectNotCausal, "")
	accepted(t, latent(true, 1, 1), decode)
	c = accepted(t, latent(true, 2, 3), prefill)
	if want := "total_q=5 num_pages=21 len_indptr=3 num_kv_indices=9"; axes(c) != want {
		t.Errorf("axes %s, want %s", axes(c), want)
	}
	rejected(t, latent(true, 2, 3), decode, sanitizer.RejectNotDecode, "5 rows for 2 requests")
	rejected(t, latent(true, 2, 0), decode, sanitizer.RejectNotDecode, "[1] is 2")
	rejected(t, latent(true, 2, 9), prefill, sanitizer.RejectHalfAttention, "request 1 has 9 query rows and only 5 keys")
}

func TestConvert_MLA(t *testing.T) {
	t.Parallel()
	def := definition(t, mlaDecode)
	m := latent(false, 1, 1)
	drop(m.Plan, "arg_10")
	rejected(t, m, def, sanitizer.RejectInputMissing, "sm_scale") // never computed: the width before compression is not known
	m = ragged()
	set(m.Plan, value("kwarg_causal", false))
	set(m.Plan, value("kwarg_sm_scale", 0.5))
	accepted(t, m, definition(t, strings.Replace(raggedDefinition, "_causal", "_non_causal", 1)))
	m = latent(false, 1, 1)
	set(m.Plan, i32("arg_4", 4, 7))
	rejected(t, m, def, sanitizer.RejectKVLen, "[1] is 7 tokens, kv_indptr gives the request 5 pages of 1")
	m = latent(false, 1, 1)
	set(m.Plan, i32("arg_4", 4))
	rejected(t, m, def, sanitizer.RejectKVLen, "2 requests")
	m = latent(false, 1, 1)
	set(m.Plan, value("arg_5", 8))
	rejected(t, m, def, sanitizer.RejectConstAxis, "num_heads is 8")

	// Pairs by the newer keywords, split or packed in one tensor.
	m = latent(false, 1, 1)
	for _, key := range []string{"arg_1", "arg_2", "arg_3", "arg_4"} {
		drop(&m.Call, key)
	}
	for _, a := range []any{tensor("kwarg_query__0", "bfloat16", 2, 4, 16), tensor("kwarg_query__1", "bfloat16", 2, 4, 8), tensor("kwarg_kv_cache", "bfloat16", 64, 1, 24)} {
		set(&m.Call, a)
	}
	accepted(t, m, def)
	set(&m.Call, tensor("kwarg_kv_cache", "bfloat16", 64, 1, 25))
	rejected(t, m, def, sanitizer.RejectInputMissing, "ckv_cache")
}

// TestConvert_MLALastPage: kv_last_page_len comes from kv_len_arr, with pages planned or folded.
func TestConvert_MLALastPage(t *testing.T) {
	t.Parallel()
	def := definition(t, mlaPS4)
	c := accepted(t, latent(false, 1, 1), def)
	if got, want := inputs(t, c), "kv_indptr=int32[0 1 3] kv_indices=int32[0 4 5] kv_last_page_len=int32[4 1] sm_scale=0.135"; !strings.HasSuffix(got, want) {
		t.Errorf("inputs %s, want %s", got, want)
	}
	m := latent(false, 1, 1)
	for _, a := range []any{i32("arg_2", 0, 1, 3), i32("arg_3", 0, 4, 5), i32("arg_4", 4, 5), value("arg_8", 4)} {
		set(m.Plan, a)
	}
	set(&m.Call, tensor("arg_3", "bfloat16", 16, 4, 16))
	set(&m.Call, tensor("arg_4", "bfloat16", 16, 4, 8))
	if native := accepted(t, m, def); native.UUID != c.UUID {
		t.Error("the same structure, planned in pages and folded, has two uuids")
	}
}
