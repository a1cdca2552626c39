// Package binding holds the tables that state which argument of a FlashInfer call becomes which input of a definition. Planning
// (package reach) binds a definition against what SGLang passes, and the sanitizer binds it against what was dumped; both use
// these tables, so that they agree.
//
// It holds names only. It reads no dump and no table of calls.
package binding

import (
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// Side is the call that a source belongs to.
type Side int

// The sides.
const (
	OfRun  Side = iota // the run, or the plain function
	OfPlan             // the plan of the wrapper
)

// Part is how an input is taken out of an argument.
type Part int

// The parts.
const (
	Whole  Part = iota // the argument itself
	First              // the first tensor of a pair, or the first of the two packed in one tensor
	Second             // the second
)

// Source is one place where an input may be found. Sources are tried in order; the first that was passed is used.
type Source struct {
	Side  Side
	Param string
	Part  Part
}

func run(params ...string) []Source  { return sources(OfRun, params) }
func plan(params ...string) []Source { return sources(OfPlan, params) }

func sources(s Side, params []string) []Source {
	list := make([]Source, len(params))
	for i, name := range params {
		list[i] = Source{s, name, Whole}
	}
	return list
}

// Role is what an input of an attention definition stands for, under any of its names.
type Role string

// The roles.
const (
	RoleNone        Role = ""
	RoleQOIndptr    Role = "qo_indptr"
	RoleKVIndptr    Role = "kv_indptr"
	RoleKVIndices   Role = "kv_indices"
	RoleLastPageLen Role = "kv_last_page_len"
	RoleKCache      Role = "k_cache"
	RoleVCache      Role = "v_cache"
	RoleCKVCache    Role = "ckv_cache"
	RoleKPECache    Role = "kpe_cache"
	RoleQ           Role = "q"
	RoleQNope       Role = "q_nope"
	RoleQPE         Role = "q_pe"
	RoleSMScale     Role = "sm_scale"
)

// Roles holds the role of an input of a wrapper's definition by its name there.
var Roles = map[string]Role{
	"qo_indptr": RoleQOIndptr,
	"kv_indptr": RoleKVIndptr, "paged_kv_indptr": RoleKVIndptr, "indptr": RoleKVIndptr,
	"kv_indices": RoleKVIndices, "paged_kv_indices": RoleKVIndices, "indices": RoleKVIndices,
	"kv_last_page_len": RoleLastPageLen, "paged_kv_last_page_len": RoleLastPageLen, "last_page_len": RoleLastPageLen,
	"k_cache": RoleKCache, "paged_k_cache": RoleKCache, "key_cache": RoleKCache,
	"v_cache": RoleVCache, "paged_v_cache": RoleVCache, "value_cache": RoleVCache,
	"ckv_cache": RoleCKVCache, "kpe_cache": RoleKPECache,
	"q": RoleQ, "query": RoleQ, "q_nope": RoleQNope, "q_pe": RoleQPE,
	"sm_scale": RoleSMScale,
}

// WrapperSources holds where the wrappers take each role from: structure from plan, tensors from run. sm_scale of a forward
// call overrides that of the plan, as it does in FlashInfer.
var WrapperSources = map[Role][]Source{
	RoleQOIndptr:    plan("qo_indptr"),
	RoleKVIndptr:    plan("paged_kv_indptr", "kv_indptr", "indptr"),
	RoleKVIndices:   plan("paged_kv_indices", "kv_indices", "indices"),
	RoleLastPageLen: plan("paged_kv_last_page_len", "last_page_len", "kv_last_page_len"),
	RoleKCache:      {{OfRun, "paged_kv_cache", First}, {OfRun, "kv_cache", First}},
	RoleVCache:      {{OfRun, "paged_kv_cache", Second}, {OfRun, "kv_cache", Second}},
	RoleCKVCache:    {{OfRun, "ckv_cache", Whole}, {OfRun, "kv_cache", First}},
	RoleKPECache:    {{OfRun, "kpe_cache", Whole}, {OfRun, "kv_cache", Second}},
	RoleQ:           run("q", "query"),
	RoleQNope:       {{OfRun, "q_nope", Whole}, {OfRun, "query", First}},
	RoleQPE:         {{OfRun, "q_pe", Whole}, {OfRun, "query", Second}},
	RoleSMScale:     append(run("sm_scale"), plan("sm_scale")...),
}

// FunctionSources holds, for plain functions, the parameters behind inputs that have another name in the dataset's
// definitions. A name that only differs in case needs no row.
var FunctionSources = map[string]map[string][]Source{
	"rmsnorm":                               {"hidden_states": run("input")},
	"gemma_rmsnorm":                         {"hidden_states": run("input")},
	"fused_add_rmsnorm":                     {"hidden_states": run("input")},
	"gemma_fused_add_rmsnorm":               {"hidden_states": run("input")},
	"layernorm":                             {"hidden_states": run("input"), "weight": run("gemma"), "gamma": run("gemma"), "bias": run("beta")},
	"silu_and_mul":                          {"hidden_states": run("input"), "x": run("input")},
	"gelu_and_mul":                          {"hidden_states": run("input"), "x": run("input")},
	"gelu_tanh_and_mul":                     {"hidden_states": run("input"), "x": run("input")},
	"cutlass_fused_moe":                     {"hidden_states": run("input")},
	"apply_rope_with_cos_sin_cache_inplace": {"q": run("query"), "k": run("key"), "positions": run("positions", "pos_ids")},
	"apply_rope_with_cos_sin_cache":         {"q": run("query"), "k": run("key"), "positions": run("positions", "pos_ids")},
	"chunk_gated_delta_rule":                {"state": run("initial_state"), "a": run("g"), "b": run("beta")},
	"trtllm_batch_decode_with_kv_cache": {
		"q": run("query"), "k_cache": {{OfRun, "kv_cache", First}}, "v_cache": {{OfRun, "kv_cache", Second}}, "sm_scale": run("bmm1_scale"),
	},
	"trtllm_batch_decode_with_kv_cache_mla": {
		"q_nope": {{OfRun, "query", First}}, "q_pe": {{OfRun, "query", Second}},
		"ckv_cache": {{OfRun, "kv_cache", First}}, "kpe_cache": {{OfRun, "kv_cache", Second}},
		"sparse_indices": run("block_tables"), "sm_scale": run("bmm1_scale"),
	},
}

// Outputs are parameters that a call writes to. They are never the input of a definition under another name.
var Outputs = []string{"out", "output", "lse", "out_tensor", "workspace_buffer", "profiler_buffer", "output_state"}

// DefaultScale holds, by function, the scalar parameter that is 1/sqrt of the head's width if None is passed, in FlashInfer 0.6.14 to 0.7.4.
var DefaultScale = map[string]string{"chunk_gated_delta_rule": "scale"}

// RawGate is a parameter of a gated delta rule that holds a computed gate, or with its flag set the raw input.
type RawGate struct{ Input, Param, Flag string }

// RawGates are those of chunk_gated_delta_rule. FlashInfer has the flags since 0.7.4.
var RawGates = []RawGate{{"a", "g", "use_gate_in_kernel"}, {"b", "beta", "beta_is_logit"}}

// Sources lists where an input of a definition with these APIs may come from: the parameter of its own name, then what the
// tables hold. planned is whether one of the APIs has a plan.
func Sources(apis []fitrace.API, planned bool, input string) []Source {
	own := Source{Side: OfRun, Param: input}
	if planned {
		if r, ok := Roles[input]; ok {
			return WrapperSources[r]
		}
		return []Source{own, {Side: OfPlan, Param: input}}
	}
	list := []Source{own}
	for _, api := range apis {
		list = append(list, FunctionSources[api.Method][input]...)
	}
	return list
}

// SameName reports whether two names differ only in case or underscores, as A and a do.
func SameName(a, b string) bool { return fold(a) == fold(b) }

func fold(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }

// Packed reports whether a tensor of element type got can hold an input of type want, two elements of 4 bits in each of its own.
func Packed(want, got string) bool {
	return want == "float4_e2m1" && (got == "float4_e2m1fn_x2" || got == "uint8")
}
