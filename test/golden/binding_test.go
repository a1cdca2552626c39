package golden_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/binding"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

// unbinding are the rejections that mean that a call does not bind: all others depend on shapes and contents, which a call site
// does not show.
var unbinding = []string{sanitizer.RejectInputMissing, sanitizer.RejectDType, sanitizer.RejectNotScalar, sanitizer.RejectNotTensor}

// TestBinding_PlanningAgreesWithTheSanitizer: for each definition, release and architecture, planning binds the definition to
// SGLang's call exactly if the sanitizer does not reject a dump with these arguments for what is missing or of another type.
func TestBinding_PlanningAgreesWithTheSanitizer(t *testing.T) {
	t.Parallel()
	var defs []*fitrace.Definition
	for _, root := range []string{filepath.Join("..", "..", "testdata", "dataset"), goldentest.Shared(t, "dataset"), goldentest.Shared(t, "golden")} {
		list, errs := fitrace.LoadDefinitions(root)
		require.Empty(t, errs)
		defs = append(defs, list...)
	}
	defs = append(defs, own(t)...)
	binds, refused := map[string]bool{}, map[string]bool{}
	for _, d := range defs {
		for _, release := range sglang.Known() {
			for _, capability := range []int{90, 100} {
				q := reach.Query{Release: release, Capability: capability}
				a, call := reach.Ask(d, q), reach.CallOf(d, q)
				if a.Binding == "" || call == nil {
					continue
				}
				verdict, err := sanitizer.Convert(dumpOf(d, call), []*fitrace.Definition{d}, func(string) ([]byte, error) { return nil, nil })
				require.NoError(t, err)
				why := ""
				for _, r := range verdict.Verdict.Rejections {
					if slices.Contains(unbinding, r.Reason) {
						why = r.Detail
					}
				}
				assert.Equal(t, a.Binding == reach.Binds, why == "", "%s, SGLang %s, SM%d: planning: %s %s; sanitizer: %s", d.Name, release, capability, a.Binding, a.Why, why)
				if a.Binding == reach.Binds {
					binds[d.Name] = true
				} else {
					refused[d.Name] = true
				}
			}
		}
	}
	t.Logf("%d definitions bind in some release, %d do not in some", len(binds), len(refused))
	assert.Greater(t, len(binds), 50)
	assert.Greater(t, len(refused), 10)
}

// own are definitions of kinds that no corpus has, and some that differ from a real one in a name or a type.
func own(t *testing.T) (defs []*fitrace.Definition) {
	t.Helper()
	for i, d := range []struct{ op, api, inputs string }{
		{"dsa_paged", "decode.trtllm_batch_decode_with_kv_cache_mla", "q_nope:bfloat16:n,w q_pe:bfloat16:n,e ckv_cache:bfloat16:n,w kpe_cache:bfloat16:n,e sparse_indices:int32:n sm_scale:float32"},
		{"dsa_paged", "decode.trtllm_batch_decode_with_kv_cache_mla", "q_nope:float32:n,w q_pe:bfloat16:n,e"},
		{"norm", "norm.rmsnorm", "hidden_states:bfloat16:n weight:float32:n"},
		{"norm", "norm.rmsnorm", "hidden_states:float16:n scale:float16:n"},
		{"norm", "norm.rmsnorm", "hidden_states:float16:n weight:bfloat16:n"},
		{"norm", "norm.rmsnorm", "hidden_states:float16:n weight:float16:n eps:float32"},
		{"norm", "norm.rmsnorm", "hidden_states:float16:n weight:float16:n eps:float32:n"},
		{"norm", "norm.fused_add_rmsnorm", "x:bfloat16:n residual:bfloat16:n weight:bfloat16:n"},
		{"sampling", "sampling.top_k_top_p_sampling_from_probs", "probs:float32:n,w top_k:int64:n top_p:float32:n"},
		{"sampling", "sampling.top_k_top_p_sampling_from_probs", "probs:float32:n,w top_k:int32 top_p:float32:n"},
		{"sampling", "sampling.top_k_top_p_sampling_from_probs", "Probs:float32:n,w TopK:int32:n top_p:float32:n"},
		{"sampling", "sampling.top_k_top_p_sampling_from_probs", "a:float32:n,w b:int32:n c:float32:n"},
		{"sampling", "sampling.top_k_top_p_sampling_from_probs", "a:float32:n,w b:int32:n"},
		{"mla_paged", "decode.trtllm_batch_decode_with_kv_cache_mla", "query:bfloat16:n kv_cache:bfloat16:n tables:int32:n lengths:int32:n"},
		{"mla_paged", "decode.trtllm_batch_decode_with_kv_cache_mla", "query:bfloat16:n kv_cache:bfloat16:n block_tables:int32:n lengths:int32:n"},
		{"mamba_ssu", "mamba.selective_state_update", "state:bfloat16:n X:bfloat16:n a:float32:n"},
		{"gdn", "gdn.chunk_gated_delta_rule", "q:bfloat16:n k:bfloat16:n v:bfloat16:n g:float32:n beta:float32:n state:float32:n cu_seqlens:int64:n scale:float32"},
		{"gdn", "gdn.chunk_gated_delta_rule", "q:bfloat16:n a:float32:n b:float32:n"},
		{"mla_ragged", "prefill.BatchPrefillWithRaggedKVCacheWrapper", "q:bfloat16:n k:bfloat16:n v:bfloat16:n qo_indptr:int32:n kv_indptr:int32:n sm_scale:float32"},
		{"gqa_paged", "decode.BatchDecodeWithPagedKVCacheWrapper", "q:bfloat16:n k_cache:float8_e5m2:n v_cache:float8_e5m2:n kv_indptr:int32:n kv_indices:int32:n"},
		{"gqa_paged", "decode.BatchDecodeWithPagedKVCacheWrapper", "q:bfloat16:n k_cache:int8:n kv_indptr:int32:n kv_indices:int32:n"},
		{"gqa_paged", "decode.BatchDecodeWithPagedKVCacheWrapper", "q:bfloat16:n k_cache:bfloat16:n kv_indptr:int64:n kv_indices:int32:n sinks:float32:n"},
		{"mla_paged", "mla.BatchMLAPagedAttentionWrapper", "q_nope:bfloat16:n q_pe:bfloat16:n ckv_cache:bfloat16:n kpe_cache:bfloat16:n kv_indptr:int32:n kv_indices:int32:n kv_last_page_len:int32:n sm_scale:float32"},
		{"moe", "fused_moe.trtllm_fp4_block_scale_moe", "hidden_states:float4_e2m1:n,w gemm1_weights:float4_e2m1:n,w routing_logits:bfloat16:n"},
		{"moe", "fused_moe.trtllm_fp8_block_scale_moe", "hidden_states:float8_e4m3fn:n,w routing_bias:float32:n routed_scaling_factor:float32 top_k:int32"},
	} {
		var inputs []string
		for spec := range strings.FieldsSeq(d.inputs) {
			f := strings.Split(spec, ":")
			shape := "null"
			if len(f) > 2 {
				shape = `["` + strings.ReplaceAll(f[2], ",", `","`) + `"]`
			}
			inputs = append(inputs, fmt.Sprintf(`"%s": {"shape": %s, "dtype": "%s"}`, f[0], shape, f[1]))
		}
		text := fmt.Sprintf(`{"name": "own_%d", "op_type": "%s", "tags": ["fi_api:flashinfer.%s"], "axes": {"n": {"type": "var"}, "w": {"type": "const", "value": 512}, "e": {"type": "const", "value": 64}},
			"inputs": {%s}, "outputs": {"y": {"shape": ["n"], "dtype": "float32"}}, "reference": "def run(x):\n    return x\n"}`, i, d.op, d.api, strings.Join(inputs, ", "))
		def, err := fitrace.ParseDefinition([]byte(text), "own")
		require.NoError(t, err)
		defs = append(defs, def)
	}
	return defs
}

// dumpOf is a dump of a call, on a server with the flags that planning asks for.
func dumpOf(d *fitrace.Definition, c *reach.Call) *proto.Manifest {
	m := &proto.Manifest{Collection: "c-1", Task: "t000", Attempt: 1, ID: "m", Call: logged(d, c, c.API.String(), c.Run, binding.OfRun)}
	if len(c.Plan) > 0 {
		plan := logged(d, c, c.API.Class+".plan", c.Plan, binding.OfPlan)
		m.Plan = &plan
	}
	return m
}

// logged is the record of one call, as FlashInfer's logger names arguments.
func logged(d *fitrace.Definition, c *reach.Call, function string, arguments []reach.Argument, side binding.Side) proto.Call {
	call := proto.Call{Function: function}
	var positional, named []string
	self := 0
	if c.API.Class != "" {
		positional, self = []string{"self"}, 1
	}
	arguments = slices.Clone(arguments)
	slices.SortStableFunc(arguments, func(a, b reach.Argument) int { return a.Position - b.Position })
	for _, a := range arguments {
		key, parameter := "kwarg_"+a.Param, a.Param
		if a.Optional {
			parameter += "=None"
		}
		if a.Position >= 0 {
			key = fmt.Sprintf("arg_%d", a.Position+self)
			positional = append(positional, parameter)
		} else {
			named = append(named, parameter)
		}
		halves := strings.Split(a.Passed, "+")
		for i, what := range halves {
			at := key
			if len(halves) > 1 {
				at = fmt.Sprintf("%s__%d", key, i)
			}
			dtype, shape := concrete(d, a.Param, what, i, len(halves) > 1, side)
			switch {
			case what == "int" || what == "float" || what == "bool" || what == "none":
				call.Values = append(call.Values, proto.Value{Key: at, Type: proto.ValueType(what)})
			case what == "number":
				call.Values = append(call.Values, proto.Value{Key: at, Type: proto.ValueFloat})
			case what == "other":
				call.Values = append(call.Values, proto.Value{Key: at, Type: proto.ValueObject})
			default:
				call.Tensors = append(call.Tensors, proto.Tensor{Key: at, DType: dtype, Shape: shape})
			}
		}
	}
	call.Signature = "(" + strings.Join(append(append(positional, "*"), named...), ", ") + ")"
	return call
}

// concrete is the element type and the shape of an argument: the type that an input from there has, if the argument can have it.
func concrete(d *fitrace.Definition, param, what string, half int, pair bool, side binding.Side) (dtype string, shape []int64) {
	possible := []string{}
	for one := range strings.SplitSeq(what, "|") {
		switch kind, _, _ := strings.Cut(one, "="); kind {
		case "model":
			possible = append(possible, modelType(d))
		case "kv":
			possible = append(possible, modelType(d), "float8_e4m3fn", "float8_e5m2")
		case "ssm":
			possible = append(possible, "bfloat16", "float16", "float32")
		default:
			possible = append(possible, kind)
		}
	}
	dtype, width := possible[0], int64(0)
	planned := slices.ContainsFunc(d.APIs(), fitrace.API.Planned)
	for _, in := range d.Inputs {
		for _, src := range binding.Sources(d.APIs(), planned, in.Name) {
			if src.Param != param && !binding.SameName(in.Name, param) || src.Side != side || pair && src.Part-binding.First != binding.Part(half) {
				continue
			}
			if slices.Contains(possible, in.DType) {
				dtype = in.DType
			}
			if n := len(in.Shape); n > 0 && src.Part != binding.Whole {
				size, _ := d.Const(in.Shape[n-1])
				width += size
			}
			break
		}
	}
	return dtype, []int64{2, max(width, 1)}
}

// modelType is the element type of a model that the definition could be of.
func modelType(d *fitrace.Definition) string {
	for _, in := range d.Inputs {
		if in.DType == "float16" || in.DType == "bfloat16" {
			return in.DType
		}
	}
	return "bfloat16"
}
