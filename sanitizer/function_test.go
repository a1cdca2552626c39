package sanitizer_test

import (
	"math"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

const (
	rmsnormSig  = "(input: torch.Tensor, weight: torch.Tensor, eps: float = 1e-06, out: Optional[torch.Tensor] = None, enable_pdl: Optional[bool] = None) -> torch.Tensor"
	addNormSig  = "(input: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float = 1e-06, enable_pdl: Optional[bool] = None) -> None"
	samplingSig = "(probs: torch.Tensor, top_k: Union[torch.Tensor, int], top_p: Union[torch.Tensor, float], indices: Optional[torch.Tensor] = None, filter_apply_order: str = 'top_k_first', deterministic: bool = True) -> torch.Tensor"
	ropeSig     = "(positions: torch.Tensor, query: torch.Tensor, key: torch.Tensor, head_size: int, cos_sin_cache: torch.Tensor, is_neox: bool = True) -> None"
	moeSig      = "(routing_logits: torch.Tensor, routing_bias: Optional[torch.Tensor], hidden_states: torch.Tensor, num_experts: int, top_k: int, n_group: Optional[int], topk_group: Optional[int], local_expert_offset: int, routed_scaling_factor: Optional[float], routing_method_type: int = 0, kind: flashinfer.Kind = <Kind.A: 1>, *, bias: Optional[torch.Tensor] = None) -> torch.Tensor"
	oddSig      = "(x, y, mask, i8, i16, counts, half, packed=None, flag=True, top_k=4, scale=1.0)"
	bmmSig      = "(A: torch.Tensor, B: torch.Tensor, A_scale: torch.Tensor, B_scale: torch.Tensor, dtype: torch.dtype, out: Optional[torch.Tensor] = None, backend: Literal['cudnn', 'auto'] = 'cublas') -> torch.Tensor"
)

const rmsnorm = `
	name rmsnorm_h16 rmsnorm
	tags fi_api:flashinfer.norm.rmsnorm
	axes batch_size hidden_size=16
	in hidden_states[batch_size,hidden_size]:bfloat16 weight[hidden_size]:bfloat16`

const addNorm = `
	name fused_add_rmsnorm_h16 rmsnorm
	tags fi_api:flashinfer.norm.fused_add_rmsnorm
	axes batch_size hidden_size=16
	in hidden_states[batch_size,hidden_size]:bfloat16 residual[batch_size,hidden_size]:bfloat16 weight[hidden_size]:bfloat16`

const sampling = `
	name top_k_top_p_sampling_from_probs_v100 sampling
	tags fi_api:flashinfer.sampling.top_k_top_p_sampling_from_probs
	axes batch_size vocab_size=100
	in probs[batch_size,vocab_size]:float32 top_k[batch_size]:int32 top_p[batch_size]:float32`

const odd = `
	name odd_dtype_op_w16 odd
	tags fi_api:flashinfer.odd.odd_dtype_op
	axes n n1 w=16 five=5 four=4
	in x[n,w]:float8_e4m3fn y[n,w]:float8_e5m2 mask[n,five]:bool i8[n,four]:int8 i16[n]:int16 counts[n1]:int64 half[n,w]:float16
	in flag:bool top_k:int32 scale:float32
	hold n1 == n + 1`

const rope = `
	name rope_with_cos_sin_cache_neox_style_d8_rd4 rope
	tags fi_api:flashinfer.rope.apply_rope_with_cos_sin_cache_inplace
	axes num_tokens num_qo_heads num_kv_heads head_size=8 rotary_dim=4 max_seq_len
	in q[num_tokens,num_qo_heads,head_size]:bfloat16 k[num_tokens,num_kv_heads,head_size]:bfloat16
	in cos_sin_cache[max_seq_len,rotary_dim]:float32 positions[num_tokens]:int64`

func moe(name string) string {
	return `
	name ` + name + ` moe
	tags fi_api:flashinfer.fused_moe.trtllm_fp8_block_scale_moe
	axes seq_len num_experts=32 hidden_size=64
	in routing_logits[seq_len,num_experts]:float32 hidden_states[seq_len,hidden_size]:float8_e4m3fn
	in local_expert_offset:int32 routed_scaling_factor:float32`
}

const mamba = `
	name mamba_ssu_decode_h2 mamba_ssu
	tags fi_api:flashinfer.mamba.selective_state_update
	axes batch_size state_cache_size nheads=2
	in state[state_cache_size,nheads]:bfloat16 x[batch_size,nheads]:bfloat16 dt_bias[nheads]:bfloat16 state_batch_indices[batch_size]:int32
	hold state_cache_size >= batch_size`

const mambaSig = "(state: torch.Tensor, x: torch.Tensor, z: Optional[torch.Tensor] = None, dt_bias: Optional[torch.Tensor] = None, dt_softplus: bool = False, state_batch_indices: Optional[torch.Tensor] = None) -> torch.Tensor"

const gdn = `
	name gdn_prefill_qk2_d4 gdn
	tags fi_api:flashinfer.gdn.chunk_gated_delta_rule
	axes total num_seqs heads=2 len_cu
	in q[total,heads]:bfloat16 state[num_seqs,heads]?:float32 cu_seqlens[len_cu]:int64 scale:float32`

const gdnSig = "(q: torch.Tensor, g: Optional[torch.Tensor] = None, scale: Optional[float] = None, initial_state: Optional[torch.Tensor] = None, cu_seqlens: Optional[torch.Tensor] = None) -> torch.Tensor"

func TestConvert_Functions(t *testing.T) {
	t.Parallel()
	moeCall := func(args ...any) proto.Call {
		c := call("trtllm_fp8_block_scale_moe", moeSig, tensor("kwarg_routing_logits", "float32", 3, 32), tensor("kwarg_routing_bias", "bfloat16", 32), tensor("kwarg_hidden_states", "float8_e4m3fn", 3, 64),
			value("kwarg_num_experts", 32), value("kwarg_top_k", 8), value("kwarg_n_group", 8), value("kwarg_topk_group", 4), value("kwarg_local_expert_offset", 8),
			value("kwarg_routed_scaling_factor", 2.5), value("kwarg_routing_method_type", 2))
		for _, a := range args {
			set(&c, a)
		}
		return c
	}
	oddCall := func(args ...any) proto.Call {
		c := call("odd_dtype_op", oddSig, tensor("arg_0", "float8_e4m3fn", 2, 16), tensor("arg_1", "float8_e5m2", 2, 16), integers("arg_2", "bool", 1, 0, 1, 1, 0, 0, 1, 1, 1, 0),
			integers("arg_3", "int8", 1, -2, 3, 4, 5, 6, 7, -128), integers("arg_4", "int16", -5, 300), integers("arg_5", "int64", 1, 2, 3), tensor("arg_6", "float16", 2, 16),
			tensor("kwarg_packed", "uint8", 9), value("kwarg_flag", false), value("kwarg_top_k", 7), value("kwarg_scale", 0.25))
		c.Tensors[2].Shape, c.Tensors[3].Shape = []int64{2, 5}, []int64{2, 4}
		for _, a := range args {
			set(&c, a)
		}
		return c
	}
	const ds = "moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e4"
	ropeCall := func(args ...any) proto.Call {
		c := call("apply_rope_with_cos_sin_cache_inplace", ropeSig, integers("arg_0", "int64", 5, 6, 7), tensor("arg_1", "bfloat16", 3, 48), tensor("arg_2", "bfloat16", 3, 16),
			value("arg_3", 8), tensor("arg_4", "float32", 20, 4), value("arg_5", true))
		for _, a := range args {
			set(&c, a)
		}
		return c
	}
	notNeox := func(c proto.Call) proto.Call {
		c.Signature = strings.Replace(c.Signature, "is_neox: bool = True", "is_neox: bool = False", 1)
		return c
	}
	mambaCall := func(args ...any) proto.Call {
		c := call("selective_state_update", mambaSig, tensor("arg_0", "bfloat16", 5, 2), tensor("arg_1", "bfloat16", 3, 2), value("arg_2", nil),
			tensor("kwarg_dt_bias", "bfloat16", 2), i32("kwarg_state_batch_indices", 4, 0, 2), value("kwarg_dt_softplus", true))
		for _, a := range args {
			set(&c, a)
		}
		return c
	}
	const oddInputs = "x=random y=random mask=bool[2 5] i8=int8[2 4] i16=int16[-5 300] counts=int64[1 2 3] half=random "
	for name, c := range map[string]struct {
		def, axes, inputs string
		call              proto.Call
		reason, detail    string
	}{
		"rmsnorm": {def: rmsnorm, call: call("rmsnorm", rmsnormSig, tensor("arg_0", "bfloat16", 7, 16), tensor("arg_1", "bfloat16", 16), value("arg_2", 1e-6)),
			axes: "batch_size=7", inputs: "hidden_states=random weight=random"},
		"rmsnorm by keyword": {def: rmsnorm, call: call("rmsnorm", rmsnormSig, tensor("kwarg_weight", "bfloat16", 16), tensor("kwarg_input", "bfloat16", 7, 16), tensor("kwarg_out", "bfloat16", 7, 16)),
			axes: "batch_size=7", inputs: "hidden_states=random weight=random"},
		"rmsnorm, no signature": {def: rmsnorm, call: call("rmsnorm", "", tensor("arg_0", "bfloat16", 7, 16), tensor("arg_1", "bfloat16", 16)),
			axes: "batch_size=7", inputs: "hidden_states=random weight=random"},
		"rmsnorm 3-D":         {def: rmsnorm, call: call("rmsnorm", rmsnormSig, tensor("arg_0", "bfloat16", 4, 7, 16), tensor("arg_1", "bfloat16", 16)), reason: sanitizer.RejectRank, detail: "[4 7 16]"},
		"rmsnorm other width": {def: rmsnorm, call: call("rmsnorm", rmsnormSig, tensor("arg_0", "bfloat16", 7, 32), tensor("arg_1", "bfloat16", 32)), reason: sanitizer.RejectConstAxis, detail: "hidden_size is 32, must be 16"},
		"rmsnorm weight only": {def: rmsnorm, call: call("rmsnorm", rmsnormSig, tensor("arg_0", "bfloat16", 7, 16), tensor("arg_1", "bfloat16", 32)), reason: sanitizer.RejectConstAxis, detail: "weight"},
		"rmsnorm of no rows":  {def: rmsnorm, call: call("rmsnorm", rmsnormSig, tensor("arg_0", "bfloat16", 0, 16), tensor("arg_1", "bfloat16", 16)), reason: sanitizer.RejectAxisZero, detail: "batch_size is 0"},
		"another function":    {def: rmsnorm, call: call("gemma_rmsnorm", rmsnormSig, tensor("arg_0", "bfloat16", 7, 16)), reason: sanitizer.RejectNoDefinition, detail: "gemma_rmsnorm"},
		"add norm":            {def: addNorm, call: call("fused_add_rmsnorm", addNormSig, tensor("arg_0", "bfloat16", 7, 16), tensor("arg_1", "bfloat16", 7, 16), tensor("arg_2", "bfloat16", 16)), axes: "batch_size=7"},
		"add norm, two sizes": {def: addNorm, call: call("fused_add_rmsnorm", addNormSig, tensor("arg_0", "bfloat16", 7, 16), tensor("arg_1", "bfloat16", 8, 16), tensor("arg_2", "bfloat16", 16)),
			reason: sanitizer.RejectAxisConflict, detail: "batch_size is 8 here and 7 elsewhere"},

		"sampling": {def: sampling, call: call("top_k_top_p_sampling_from_probs", samplingSig, tensor("arg_0", "float32", 2, 100), i32("arg_1", 5, 50), tensor("arg_2", "float32", 2), value("kwarg_filter_apply_order", "joint")),
			axes: "batch_size=2", inputs: "probs=random top_k=int32[5 50] top_p=random"},
		"sampling, one top_k":   {def: sampling, call: call("top_k_top_p_sampling_from_probs", samplingSig, tensor("arg_0", "float32", 2, 100), value("arg_1", 5), tensor("arg_2", "float32", 2)), reason: sanitizer.RejectNotTensor, detail: "top_k is a int"},
		"sampling, top_k int64": {def: sampling, call: call("top_k_top_p_sampling_from_probs", samplingSig, tensor("arg_0", "float32", 2, 100), integers("arg_1", "int64", 5, 6), tensor("arg_2", "float32", 2)), reason: sanitizer.RejectDType, detail: "top_k must be int32"},

		"odd":                     {def: odd, call: oddCall(), axes: "n=2 n1=3", inputs: oddInputs + "flag=false top_k=7 scale=0.25"},
		"odd, int for a float":    {def: odd, call: oddCall(value("kwarg_scale", 2)), inputs: oddInputs + "flag=false top_k=7 scale=2"},
		"odd, float for an int":   {def: odd, call: oddCall(value("kwarg_top_k", 7.0)), reason: sanitizer.RejectDType, detail: "top_k is a Python float"},
		"odd, int for a bool":     {def: odd, call: oddCall(value("kwarg_flag", 1)), reason: sanitizer.RejectDType, detail: "flag is a Python int"},
		"odd, None":               {def: odd, call: oddCall(value("kwarg_scale", nil)), reason: sanitizer.RejectInputMissing, detail: "scale"},
		"odd, infinite":           {def: odd, call: oddCall(value("kwarg_scale", math.Inf(1))), reason: sanitizer.RejectScalar, detail: "+Inf"},
		"odd, constraint":         {def: odd, call: oddCall(integers("arg_5", "int64", 1, 2)), reason: sanitizer.RejectConstraint, detail: "n1 == n + 1"},
		"odd, mask not kept":      {def: odd, call: oddCall(tensor("arg_2", "bool", 2, 5)), reason: sanitizer.RejectNoContent, detail: "mask"},
		"odd, another fp8":        {def: odd, call: oddCall(tensor("arg_0", "float8_e5m2", 2, 16)), reason: sanitizer.RejectDType, detail: "x must be float8_e4m3fn"},
		"odd, tensor for a float": {def: odd, call: oddCall(tensor("kwarg_scale", "float32", 1)), reason: sanitizer.RejectNotScalar, detail: "scale is a tensor"},

		"moe":                    {def: moe(ds), call: moeCall(), axes: "seq_len=3", inputs: "routing_logits=random hidden_states=random local_expert_offset=8 routed_scaling_factor=2.5"},
		"moe, no factor":         {def: moe(ds), call: moeCall(value("kwarg_routed_scaling_factor", nil)), reason: sanitizer.RejectInputMissing, detail: "routed_scaling_factor"},
		"moe, other top_k":       {def: moe(ds), call: moeCall(value("kwarg_top_k", 6)), reason: sanitizer.RejectVariant, detail: "top_k is 6, the definition is for [8]"},
		"moe, other groups":      {def: moe(ds), call: moeCall(value("kwarg_n_group", 1)), reason: sanitizer.RejectVariant, detail: "n_group is 1"},
		"moe, other group top":   {def: moe(ds), call: moeCall(value("kwarg_topk_group", 1)), reason: sanitizer.RejectVariant, detail: "topk_group is 1"},
		"moe, other routing":     {def: moe(ds), call: moeCall(value("kwarg_routing_method_type", 1)), reason: sanitizer.RejectVariant, detail: "routing_method_type is 1"},
		"moe, default routing":   {def: moe("moe_fp8_renorm_topk8"), call: moeCall(value("kwarg_routing_method_type", nil)), reason: sanitizer.RejectVariant, detail: "routing_method_type is 0"},
		"moe, renormalised":      {def: moe("moe_fp8_renorm_topk8"), call: moeCall(value("kwarg_routing_method_type", 4)), axes: "seq_len=3"},
		"moe, not renormalised":  {def: moe("moe_fp8_renorm_topk8"), call: moeCall(), reason: sanitizer.RejectVariant, detail: "routing_method_type is 2, the definition is for [1 4]"},
		"moe, other experts":     {def: moe(ds), call: moeCall(value("kwarg_num_experts", 16)), reason: sanitizer.RejectConstAxis, detail: "num_experts is 16"},
		"bmm, B column-major":    {def: bmm, call: bmmCall(), axes: "m=3", inputs: "A=random B=random A_scale=random B_scale=random"},
		"bmm of no rows":         {def: bmm, call: resized(bmmCall(), tensor("arg_0", "float8_e4m3fn", 4, 0, 16)), reason: sanitizer.RejectAxisZero, detail: "m is 0"},
		"bmm, lower case names":  {def: strings.NewReplacer(" A[", " a[", " B[", " b_[").Replace(bmm), call: bmmCall(), axes: "m=3"},
		"rope":                   {def: rope, call: ropeCall(), axes: "num_tokens=3 num_qo_heads=6 num_kv_heads=2 max_seq_len=20", inputs: "q=random k=random cos_sin_cache=random positions=int64[5 6 7]"},
		"rope, neox by default":  {def: rope, call: ropeCall(value("arg_5", nil)), axes: "num_tokens=3 num_qo_heads=6 num_kv_heads=2 max_seq_len=20"},
		"rope, not by default":   {def: rope, call: notNeox(ropeCall(value("arg_5", nil))), reason: sanitizer.RejectVariant, detail: "is_neox is 0"},
		"rope, not neox":         {def: rope, call: ropeCall(value("arg_5", false)), reason: sanitizer.RejectVariant, detail: "is_neox is 0"},
		"rope, rows do not part": {def: rope, call: ropeCall(tensor("arg_1", "bfloat16", 3, 47)), reason: sanitizer.RejectRank, detail: "[3 47]"},
		"rope, other head":       {def: rope, call: ropeCall(value("arg_3", 16)), reason: sanitizer.RejectConstAxis, detail: "head_size is 16"},
		"rope, position beyond":  {def: rope, call: ropeCall(integers("arg_0", "int64", 5, 20, 7)), reason: sanitizer.RejectIndices, detail: "index 20, axis max_seq_len has 20"},
		"mamba":                  {def: mamba, call: mambaCall(), axes: "batch_size=3 state_cache_size=5", inputs: "state=random x=random dt_bias=random state_batch_indices=int32[4 0 2]"},
		"mamba, padded":          {def: mamba, call: mambaCall(i32("kwarg_state_batch_indices", 4, -1, 2)), axes: "batch_size=3 state_cache_size=5"},
		"mamba, beyond":          {def: mamba, call: mambaCall(i32("kwarg_state_batch_indices", 4, 5, 2)), reason: sanitizer.RejectIndices, detail: "index 5"},
		"gdn": {def: gdn, call: call("chunk_gated_delta_rule", gdnSig, tensor("arg_0", "bfloat16", 6, 2), value("kwarg_scale", 0.5), tensor("kwarg_initial_state", "float32", 2, 2), integers("kwarg_cu_seqlens", "int64", 0, 2, 6)),
			axes: "total=6 num_seqs=2 len_cu=3", inputs: "q=random state=random cu_seqlens=int64[0 2 6] scale=0.5"},
		"gdn, sums fall": {def: gdn, call: call("chunk_gated_delta_rule", gdnSig, tensor("arg_0", "bfloat16", 6, 2), value("kwarg_scale", 0.5), tensor("kwarg_initial_state", "float32", 2, 2), integers("kwarg_cu_seqlens", "int64", 0, 7, 6)),
			reason: sanitizer.RejectIndptr, detail: "falls from 7 to 6"},
		"gdn, no scale": {def: gdn, call: call("chunk_gated_delta_rule", gdnSig, tensor("arg_0", "bfloat16", 6, 2), value("kwarg_scale", nil), tensor("kwarg_initial_state", "float32", 2, 2), integers("kwarg_cu_seqlens", "int64", 0, 2, 6)),
			inputs: "q=random state=random cu_seqlens=int64[0 2 6] scale=0.7071067811865475"},
		"gdn, no state": {def: gdn, call: call("chunk_gated_delta_rule", gdnSig, tensor("arg_0", "bfloat16", 6, 2), value("kwarg_scale", 0.5), value("kwarg_initial_state", nil), integers("kwarg_cu_seqlens", "int64", 0, 2, 6)),
			reason: sanitizer.RejectInputMissing, detail: "state, which is optional"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, def := manifest(c.call), definition(t, c.def)
			if c.reason != "" {
				rejected(t, m, def, c.reason, c.detail)
				return
			}
			got := accepted(t, m, def)
			if c.axes != "" && axes(got) != c.axes {
				t.Errorf("axes %s, want %s", axes(got), c.axes)
			}
			if c.inputs != "" && inputs(t, got) != c.inputs {
				t.Errorf("inputs %s\nwant   %s", inputs(t, got), c.inputs)
			}
		})
	}
}

const bmm = `
	name bmm_fp8_b4 gemm
	tags fi_api:flashinfer.gemm.bmm_fp8
	axes b=4 m n=8 k=16 one=1
	in A[b,m,k]:float8_e4m3fn B[b,k,n]:float8_e4m3fn A_scale[one]:float32 B_scale[one]:float32`

func resized(c proto.Call, a proto.Tensor) proto.Call {
	set(&c, a)
	return c
}

func bmmCall() proto.Call {
	no := false
	b := proto.Tensor{Key: "arg_1", DType: "float8_e4m3fn", Shape: []int64{4, 16, 8}, Stride: []int64{128, 1, 16}, Contiguous: &no}
	return call("bmm_fp8", bmmSig, tensor("arg_0", "float8_e4m3fn", 4, 3, 16), b, tensor("arg_2", "float32", 1), tensor("arg_3", "float32", 1), proto.Value{Key: "arg_4", Type: proto.ValueDType, String: "bfloat16"})
}

// TestConvert_ByPosition: inputs whose names the API does not have are bound in order, if number and types leave no choice.
func TestConvert_ByPosition(t *testing.T) {
	t.Parallel()
	const sig = "(first: torch.Tensor, second: torch.Tensor, ids: torch.Tensor, out: Optional[torch.Tensor] = None, extra: Optional[torch.Tensor] = None)"
	def := definition(t, "name op_w4 op\n tags fi_api:flashinfer.op.some_op\n axes n w=4\n in a[n,w]:bfloat16 b[w]:bfloat16 index[n]:int32")
	full := func() proto.Call {
		return call("some_op", sig, tensor("arg_0", "bfloat16", 2, 4), tensor("arg_1", "bfloat16", 4), i32("arg_2", 1, 0), tensor("kwarg_out", "bfloat16", 2, 4), tensor("kwarg_extra", "bfloat16", 2, 4))
	}
	c := accepted(t, manifest(full()), def)
	if got := inputs(t, c); got != "a=random b=random index=int32[1 0]" {
		t.Errorf("inputs %s", got)
	}
	if !strings.Contains(strings.Join(c.Notes, "; "), "by position") {
		t.Errorf("notes are %v", c.Notes)
	}
	swapped := full()
	swapped.Tensors[0].Shape, swapped.Tensors[1].Shape = swapped.Tensors[1].Shape, swapped.Tensors[0].Shape
	rejected(t, manifest(swapped), def, sanitizer.RejectRank, "")
	// Keywords come in any order; the signature has the right one. What is written to is no input.
	keywords := call("some_op", strings.Replace(sig, "(first", "(output: torch.Tensor, first", 1), i32("kwarg_ids", 1, 0), tensor("kwarg_second", "bfloat16", 4), tensor("kwarg_first", "bfloat16", 2, 4), tensor("kwarg_output", "bfloat16", 2, 4))
	if got := accepted(t, manifest(keywords), def); got.UUID != c.UUID {
		t.Errorf("by keyword: %s", inputs(t, got))
	}
	more := full()
	more.Signature = strings.Replace(sig, ", out:", ", more: torch.Tensor, out:", 1)
	set(&more, tensor("kwarg_more", "bfloat16", 2, 4))
	rejected(t, manifest(more), def, sanitizer.RejectInputMissing, "a")
	retyped := full()
	set(&retyped, tensor("arg_1", "float16", 4))
	rejected(t, manifest(retyped), def, sanitizer.RejectInputMissing, "a")
	fewer := full()
	drop(&fewer, "arg_2")
	rejected(t, manifest(fewer), def, sanitizer.RejectInputMissing, "a")
	ids := definition(t, "name op_w4 op\n tags fi_api:flashinfer.op.some_op\n axes n\n in a[n]:int32 b[n]:int32")
	twoIntegers := call("some_op", "(first, second)", i32("arg_0", 1), i32("arg_1", 2))
	rejected(t, manifest(twoIntegers), ids, sanitizer.RejectInputMissing, "a")
}

// TestConvert_FP4: two 4-bit floats lie in one element of a dump; a definition counts them singly, or as they lie.
func TestConvert_FP4(t *testing.T) {
	t.Parallel()
	const sig = "(a: torch.Tensor, b: torch.Tensor)"
	text := "name mm_fp4_k32 gemm\n tags fi_api:flashinfer.gemm.mm_fp4\n axes m n k=32\n in a[m,k]:float4_e2m1 b[n,k]:float4_e2m1"
	fp4 := manifest(call("mm_fp4", sig, tensor("arg_0", "uint8", 3, 16), tensor("arg_1", "float4_e2m1fn_x2", 5, 16)))
	if c := accepted(t, fp4, definition(t, text)); axes(c) != "m=3 n=5" || inputs(t, c) != "a=random b=random" {
		t.Errorf("%s; %s", axes(c), inputs(t, c))
	}
	accepted(t, fp4, definition(t, strings.Replace(text, "k=32", "k=16", 1)))
	rejected(t, fp4, definition(t, strings.Replace(text, "k=32", "k=8", 1)), sanitizer.RejectConstAxis, "k is 32, must be 8")
	rejected(t, fp4, definition(t, strings.Replace(text, "a[m,k]:float4_e2m1", "a[m,k]:int8", 1)), sanitizer.RejectDType, "a must be int8")
}

// TestConvert_SplitCache: a plain function takes a combined cache too.
func TestConvert_SplitCache(t *testing.T) {
	t.Parallel()
	const sig = "(query: torch.Tensor, kv_cache: torch.Tensor, workspace_buffer: torch.Tensor, block_tables: torch.Tensor, bmm1_scale: float = 1.0)"
	def := definition(t, `
		name trtllm_decode op
		tags fi_api:flashinfer.decode.trtllm_batch_decode_with_kv_cache
		axes n h=4 d=8 pages ps=2 kv=2 most
		in q[n,h,d]:bfloat16 k_cache[pages,kv,ps,d]:bfloat16 v_cache[pages,kv,ps,d]:bfloat16 block_tables[n,most]:int32 sm_scale:float32`)
	tables := i32("arg_3", 1, 0, 3, 2)
	tables.Shape = []int64{2, 2}
	m := manifest(call("trtllm_batch_decode_with_kv_cache", sig, tensor("arg_0", "bfloat16", 2, 4, 8), tensor("arg_1", "bfloat16", 6, 2, 2, 2, 8), tensor("arg_2", "uint8", 99), tables, value("arg_4", 0.5)))
	if c := accepted(t, m, def); axes(c) != "n=2 pages=6 most=2" {
		t.Errorf("axes %s", axes(c))
	}
	drop(&m.Call, "arg_4")
	rejected(t, m, def, sanitizer.RejectInputMissing, "sm_scale")
}

// TestConvert_BindCase: A and a are one name, unless the call has both.
func TestConvert_BindCase(t *testing.T) {
	t.Parallel()
	def := definition(t, "name op_x op\n tags fi_api:flashinfer.op.some_op\n axes n\n in A[n]:int32 B_scale[n]:int32")
	c := accepted(t, manifest(call("some_op", "(b_scale, a)", i32("arg_0", 1), i32("arg_1", 2))), def)
	if got := inputs(t, c); got != "A=int32[2] B_scale=int32[1]" {
		t.Errorf("inputs %s", got)
	}
	rejected(t, manifest(call("some_op", "(bscale, b_scale, a)", i32("arg_0", 1), i32("arg_1", 2), i32("arg_2", 3))), definition(t, "name op_x op\n tags fi_api:flashinfer.op.some_op\n axes n\n in A[n]:int32 B_SCALE[n]:int32 c[n]:int32"),
		sanitizer.RejectInputMissing, "B_SCALE")
}

// TestConvert_BoundOnce: one argument is one input.
func TestConvert_BoundOnce(t *testing.T) {
	t.Parallel()
	def := definition(t, "name op_x op\n tags fi_api:flashinfer.op.some_op\n axes n\n in a[n]:int32 A[n]:int32")
	rejected(t, manifest(call("some_op", "(a)", i32("arg_0", 1))), def, sanitizer.RejectInputMissing, "A")
}

// TestConvert_DSA: sparse latent attention has queries and caches packed, rows by request, and its indices as block tables.
func TestConvert_DSA(t *testing.T) {
	t.Parallel()
	def := definition(t, `
		name dsa_sparse_attention_h4_ckv16_kpe8_topk3_ps4 dsa_paged
		tags fi_api:flashinfer.decode.trtllm_batch_decode_with_kv_cache_mla
		axes num_tokens num_qo_heads=4 head_dim_ckv=16 head_dim_kpe=8 page_size=4 topk=3 num_pages
		in q_nope[num_tokens,num_qo_heads,head_dim_ckv]:bfloat16 q_pe[num_tokens,num_qo_heads,head_dim_kpe]:bfloat16
		in ckv_cache[num_pages,page_size,head_dim_ckv]:bfloat16 kpe_cache[num_pages,page_size,head_dim_kpe]:bfloat16
		in sparse_indices[num_tokens,topk]:int32 sm_scale:float32
		hold sparse_indices.shape[-1] == topk`)
	const sig = "(query: torch.Tensor, kv_cache: torch.Tensor, workspace_buffer: torch.Tensor, qk_nope_head_dim: int, block_tables: torch.Tensor, seq_lens: torch.Tensor, sparse_mla_top_k: int = 0, bmm1_scale: Union[float, torch.Tensor] = 1.0)"
	tables := i32("kwarg_block_tables", 1, 2, -1, 7, 8, 9)
	tables.Shape = []int64{2, 1, 3}
	c := call("trtllm_batch_decode_with_kv_cache_mla", sig, tensor("kwarg_query", "bfloat16", 2, 1, 4, 24), tensor("kwarg_kv_cache", "bfloat16", 9, 1, 4, 24), tables,
		i32("kwarg_seq_lens", 5, 6), value("kwarg_sparse_mla_top_k", 3), value("kwarg_bmm1_scale", 0.1))
	got := accepted(t, manifest(c), def)
	if axes(got) != "num_tokens=2 num_pages=9" || !strings.HasSuffix(inputs(t, got), "sparse_indices=int32[2 3] sm_scale=0.1") {
		t.Errorf("%s; %s", axes(got), inputs(t, got))
	}
	drop(&c, "kwarg_sparse_mla_top_k")
	rejected(t, manifest(c), def, sanitizer.RejectVariant, "sparse_mla_top_k is 0")
}

// A sampler's top_p is kept, since a random one asks for nothing that a sampler could do; probabilities stay random. Where an older
// worker did not read it, it is random, as it was.
func TestConvert_SamplerBounds(t *testing.T) {
	t.Parallel()
	def := definition(t, sampling)
	kinds := func(top proto.Tensor) string {
		c := accepted(t, manifest(call("top_k_top_p_sampling_from_probs", samplingSig, tensor("arg_0", "float32", 2, 100), i32("arg_1", 5, 50), top)), def)
		var out []string
		for _, in := range c.Inputs {
			out = append(out, in.Name+" "+string(in.Kind))
		}
		return strings.Join(out, ", ")
	}
	data := []byte{0x66, 0x66, 0x66, 0x3f, 0, 0, 0x80, 0x3f} // 0.9 and 1
	read := proto.Tensor{Key: "arg_2", DType: "float32", Shape: []int64{2}, Inline: data, Digest: digest(data)}
	if got, want := kinds(read), "probs random, top_k safetensors, top_p safetensors"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := kinds(tensor("arg_2", "float32", 2)), "probs random, top_k safetensors, top_p random"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
