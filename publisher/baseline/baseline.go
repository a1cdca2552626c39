// Package baseline writes the baseline solution of a definition: the call of the FlashInfer API that the definition is about, never its
// reference. It is what every workload must pass with before a pull request is opened.
//
// Sources are made from small templates, one an API, by the definition's constants. flashinfer-bench calls a solution with the definition's
// inputs in their order and takes its outputs as return values in theirs.
package baseline

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// Author is the baselines' author, and a directory in their paths.
const Author = "baseline"

// Solution is a definition's baseline.
type Solution struct {
	Name string // unique in a dataset
	Path string // in the dataset
	JSON []byte // flashinfer-bench's Solution
	Test Test
}

// Test is a definition's reference test.
type Test struct {
	Path   string // in the dataset
	Source string
}

//go:embed templates/*.py
var files embed.FS

var templates = template.Must(template.ParseFS(files, "templates/*.py"))

// wrapper is how an API is called.
type wrapper struct {
	template  string
	module    string   // what has to be imported beside the package
	needs     []string // inputs of the definition, beside others
	workspace bool
	random    bool
}

// wrappers are the APIs that have a baseline, by their name without the package.
var wrappers = map[string]wrapper{
	"BatchDecodeWithPagedKVCacheWrapper":    {template: "decode.py", needs: []string{"q", "k_cache", "v_cache", "kv_indptr", "kv_indices", "sm_scale"}, workspace: true},
	"BatchPrefillWithPagedKVCacheWrapper":   {template: "paged.py", needs: []string{"q", "k_cache", "v_cache", "qo_indptr", "kv_indptr", "kv_indices", "sm_scale"}, workspace: true},
	"BatchPrefillWithRaggedKVCacheWrapper":  {template: "ragged.py", needs: []string{"q", "k", "v", "qo_indptr", "kv_indptr", "sm_scale"}, workspace: true},
	"BatchMLAPagedAttentionWrapper":         {template: "mla.py", needs: []string{"q_nope", "q_pe", "ckv_cache", "kpe_cache", "kv_indptr", "kv_indices", "sm_scale"}, workspace: true},
	"rmsnorm":                               {template: "rmsnorm.py", needs: []string{"hidden_states", "weight"}},
	"fused_add_rmsnorm":                     {template: "fused_add_rmsnorm.py", needs: []string{"hidden_states", "residual", "weight"}},
	"top_k_top_p_sampling_from_probs":       {template: "top_k_top_p.py", needs: []string{"probs", "top_k", "top_p"}, random: true},
	"top_k_sampling_from_probs":             {template: "top_k.py", needs: []string{"probs", "top_k"}, random: true},
	"top_p_sampling_from_probs":             {template: "top_p.py", needs: []string{"probs", "top_p"}, random: true},
	"bmm_fp8":                               {template: "bmm_fp8.py", needs: []string{"A", "B", "A_scale", "B_scale"}},
	"apply_rope_with_cos_sin_cache_inplace": {template: "rope.py", needs: []string{"q", "k", "cos_sin_cache", "positions"}},
	"chunk_gated_delta_rule":                {template: "gdn_prefill.py", module: "flashinfer.gdn_prefill", needs: []string{"q", "k", "v", "state", "A_log", "a", "dt_bias", "b", "cu_seqlens", "scale"}},
	"gated_delta_rule_decode":               gatedDeltaDecode,
	"gated_delta_rule_decode_pretranspose":  gatedDeltaDecode,
	"trtllm_fp8_block_scale_moe": {template: "moe_fp8_block.py", needs: []string{
		"routing_logits", "hidden_states", "hidden_states_scale", "gemm1_weights", "gemm1_weights_scale", "gemm2_weights", "gemm2_weights_scale",
	}},
	"trtllm_fp8_per_tensor_scale_moe": {template: "moe_fp8_tensor.py", needs: []string{
		"routing_logits", "hidden_states", "gemm1_weights", "output1_scales_scalar", "output1_scales_gate_scalar", "gemm2_weights", "output2_scales_scalar",
	}},
}

var gatedDeltaDecode = wrapper{
	template: "gdn_decode.py", module: "flashinfer.gdn_decode", needs: []string{"q", "k", "v", "state", "A_log", "a", "dt_bias", "b", "scale"},
}

// unfit are the APIs for which no baseline could pass, and why.
var unfit = map[string]string{
	"selective_state_update":     "FlashInfer takes A, D, dt and dt_bias as one value a head, which the random tensors of a workload are not",
	"trtllm_fp4_block_scale_moe": packed, "trtllm_fp4_block_scale_routed_moe": packed,
}

const packed = "FlashInfer takes packed fp4 weights with their scales, and its definitions have them as float32"

// Supported lists the APIs that have a baseline.
func Supported() []string { return slices.Sorted(maps.Keys(wrappers)) }

// For gives the baseline of a definition. The error says which API has none, or which input is missing.
func For(def *fitrace.Definition) (*Solution, error) {
	var tried []string
	for _, api := range def.APIs() {
		name := api.Class
		if name == "" {
			name = api.Method
		}
		w, ok := wrappers[name]
		if why := unfit[name]; why != "" {
			return nil, fmt.Errorf("there is no baseline for %s of definition %s: %s", api, def.Name, why)
		}
		if !ok {
			tried = append(tried, api.String())
			continue
		}
		return w.solution(def, name)
	}
	if len(tried) == 0 {
		return nil, fmt.Errorf("there is no baseline for definition %s: it has no tag fi_api:… that names an API", def.Name)
	}
	return nil, fmt.Errorf("there is no baseline for %s of definition %s; those there are: %s", strings.Join(tried, ", "), def.Name, strings.Join(Supported(), ", "))
}

func (w wrapper) solution(def *fitrace.Definition, api string) (*Solution, error) {
	v := &view{def: def, wrapper: w, Definition: def.Name, API: api, Name: "flashinfer_wrapper_" + def.Name, TestPath: "tests/references/test_" + def.Name + ".py"}
	for _, name := range w.needs {
		if !v.Has(name) {
			return nil, fmt.Errorf("there is no baseline for definition %s: %s is called with %s, which it has no input for", def.Name, api, name)
		}
	}
	source, err := v.render("head.py", w.template)
	if err != nil {
		return nil, err
	}
	test, err := v.render("test.py")
	if err != nil {
		return nil, err
	}
	type file struct {
		Path    string `json:"path"`
		Content string `json:"content"`
	}
	text, err := json.MarshalIndent(struct {
		Name        string         `json:"name"`
		Definition  string         `json:"definition"`
		Author      string         `json:"author"`
		Spec        map[string]any `json:"spec"`
		Sources     []file         `json:"sources"`
		Description string         `json:"description"`
	}{
		Name: v.Name, Definition: def.Name, Author: Author,
		Spec: map[string]any{
			"language": "python", "target_hardware": []string{"cuda"}, "entry_point": "main.py::run", "dependencies": []string{"flashinfer"},
			"destination_passing_style": false,
		},
		Sources: []file{{Path: "main.py", Content: source}}, Description: "FlashInfer's " + api + ", as serving engines call it.",
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("baseline of %s: %w", def.Name, err)
	}
	return &Solution{
		Name: v.Name, Path: fmt.Sprintf("solutions/%s/%s/%s/%s.json", Author, def.OpType, def.Name, v.Name), JSON: append(text, '\n'),
		Test: Test{Path: v.TestPath, Source: test},
	}, nil
}

// view is what a template sees of a definition.
type view struct {
	def *fitrace.Definition
	wrapper

	Definition, API, Name, TestPath string
	bad                             error
}

func (v *view) render(names ...string) (string, error) {
	var b bytes.Buffer
	for _, name := range names {
		if err := templates.ExecuteTemplate(&b, name, v); err != nil {
			return "", fmt.Errorf("baseline of %s: %w", v.def.Name, err)
		}
	}
	if v.bad != nil {
		return "", fmt.Errorf("there is no baseline for definition %s: %w", v.def.Name, v.bad)
	}
	return b.String(), nil
}

// Params are the definition's inputs, in their order.
func (v *view) Params() string {
	var names []string
	for _, in := range v.def.Inputs {
		names = append(names, in.Name)
	}
	return strings.Join(names, ", ")
}

// Has reports whether the definition has an input.
func (v *view) Has(name string) bool {
	return slices.ContainsFunc(v.def.Inputs, func(in fitrace.TensorSpec) bool { return in.Name == name })
}

// Returns reports whether the definition has an output.
func (v *view) Returns(name string) bool {
	return slices.ContainsFunc(v.def.Outputs, func(out fitrace.TensorSpec) bool { return out.Name == name })
}

// LastPageLen is the input kv_last_page_len, one a request. Some definitions share the axis of kv_indptr, one longer: what is beyond the
// requests is padding, and FlashInfer does not take it.
func (v *view) LastPageLen() string {
	last, _ := v.def.Input("kv_last_page_len")
	indptr, _ := v.def.Input("kv_indptr")
	if slices.Equal(last.Shape, indptr.Shape) {
		return "kv_last_page_len[:-1]"
	}
	return "kv_last_page_len"
}

// Output gives an output's dtype.
func (v *view) Output(i int) string {
	if i >= len(v.def.Outputs) {
		v.bad = fmt.Errorf("it has no output %d", i+1)
		return ""
	}
	return v.def.Outputs[i].DType
}

// Axis returns a constant.
func (v *view) Axis(name string) int64 {
	a, ok := v.def.Axis(name)
	if !ok || !a.Const {
		v.bad = fmt.Errorf("it has no constant axis %s", name)
	}
	return a.Value
}

// Width returns the constant that is the last axis of an input.
func (v *view) Width(name string) int64 {
	in, ok := v.def.Input(name)
	if !ok || len(in.Shape) == 0 {
		v.bad = fmt.Errorf("it has no tensor %s", name)
		return 0
	}
	return v.Axis(in.Shape[len(in.Shape)-1])
}

// Workspace reports whether the wrapper needs scratch memory.
func (v *view) Workspace() bool { return v.workspace }

// Module is what has to be imported beside the package.
func (v *view) Module() string { return v.module }

// Random says that equal inputs give different outputs.
func (v *view) Random() bool { return v.random }

// python gives a Python bool.
func python(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// Causal is a Python bool.
func (v *view) Causal() string { return python(strings.Contains(v.def.Name, "causal")) }

// Neox is a Python bool: whether a rotation is of a row's halves, and not of its pairs.
func (v *view) Neox() string { return python(strings.Contains(v.def.Name, "neox_style")) }

// KLast reports whether the recurrent state has the keys' width as its last axis.
func (v *view) KLast() bool {
	return slices.Contains(v.def.Tags, "layout:k-last") || strings.HasSuffix(v.def.Name, "_k_last")
}

// TensorCores is a Python bool: what serving engines choose for groups of four query heads and more.
func (v *view) TensorCores() string {
	kv := v.Axis("num_kv_heads")
	return python(kv > 0 && v.Axis("num_qo_heads")/kv >= 4)
}

var epsilon = regexp.MustCompile(`(?m)^\s*EPS(?:ILON)?\s*=\s*([0-9.]+(?:e-?[0-9]+)?)\s*(?:#.*)?$`)

// Epsilon is the reference's: it is no input.
func (v *view) Epsilon() string {
	m := epsilon.FindStringSubmatch(v.def.Reference)
	if m == nil {
		v.bad = fmt.Errorf("its reference has no line EPS = …, so that the norm's epsilon is not known")
		return ""
	}
	return m[1]
}
