package modelconfig

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// Flags holds the server's flags that decide element types, as the release takes them; empty: not set.
type Flags struct {
	DType        string // --dtype
	KVCache      string // --kv-cache-dtype
	Quantization string // --quantization
}

// source names what decides the element type of an input.
type source int

const (
	fromModel   source = iota + 1 // the activations: --dtype, else the model's own
	fromKVCache                   // the KV cache: --kv-cache-dtype, else that of the activations
	fromWeights                   // the experts' weights: --quantization, else the checkpoint's
)

// sources names what decides the element types of inputs, by op_type. Inputs that are not here have types that neither flags nor the
// model change (indices, scales, probabilities), or that SGLang derives in ways that are not modelled.
var sources = map[string]map[string]source{
	"gqa_paged":  {"q": fromModel, "k_cache": fromKVCache, "v_cache": fromKVCache},
	"gqa_ragged": {"q": fromModel, "k": fromModel, "v": fromModel},
	"mla_paged":  {"q_nope": fromModel, "q_pe": fromModel, "ckv_cache": fromKVCache, "kpe_cache": fromKVCache},
	"dsa_paged":  {"q_nope": fromModel, "q_pe": fromModel, "ckv_cache": fromKVCache, "kpe_cache": fromKVCache},
	"mla_ragged": {"q": fromModel, "k": fromModel, "v": fromModel},
	"gdn":        {"q": fromModel, "k": fromModel, "v": fromModel},
	"rmsnorm":    {"hidden_states": fromModel, "residual": fromModel, "weight": fromModel},
	"moe":        {"gemm1_weights": fromWeights, "gemm2_weights": fromWeights},
}

// names of element types as flags and configurations write them.
var spellings = map[string]string{
	"half": "float16", "float": "float32", "bf16": "bfloat16", "fp8_e4m3": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2",
	"fp4_e2m1": "float4_e2m1", "fp4_mx_block16": "float4_e2m1", "nvfp4": "float4_e2m1",
}

func spelled(name string) string {
	if other := spellings[name]; other != "" {
		return other
	}
	return name
}

// decided is an element type with what decides it, in words.
type decided struct{ dtype, by string }

// activations returns the element type that the model computes in. SGLang's auto takes that of the checkpoint, and float16 for
// float32, or bfloat16 for Gemma.
func activations(c *Config, f Flags) decided {
	if f.DType != "" && f.DType != "auto" {
		return decided{spelled(f.DType), "--dtype " + f.DType}
	}
	switch {
	case c == nil || c.DType == "":
		return decided{}
	case c.DType != "float32":
		return decided{c.DType, "the model's dtype " + c.DType}
	case strings.HasPrefix(c.ModelType, "gemma"):
		return decided{"bfloat16", "the model's dtype float32, which SGLang runs as bfloat16"}
	}
	return decided{"float16", "the model's dtype float32, which SGLang runs as float16"}
}

// kvCache returns the element type of the KV cache. A checkpoint with its own scheme for it, and sparse attention, decide by more than
// is modelled here.
func kvCache(c *Config, f Flags) decided {
	if f.KVCache != "" && f.KVCache != "auto" {
		return decided{spelled(f.KVCache), "--kv-cache-dtype " + f.KVCache}
	}
	if c != nil && (c.IndexTopK > 0 || c.Quantization != nil && c.Quantization.KVCache) {
		return decided{}
	}
	return activations(c, f)
}

// packed stands for the element type of weights that have several values per element. Definitions write them in several types.
const packed = "packed"

// weights are the element types of expert weights by quantization method. Methods that are not here are not modelled.
var weights = map[string]string{
	"fp8": "float8_e4m3fn", "modelopt_fp8": "float8_e4m3fn", "w8a8_fp8": "float8_e4m3fn", "fbgemm_fp8": "float8_e4m3fn",
	"w8a8_int8": "int8", "blockwise_int8": "int8", "unquant": "",
	"awq": packed, "awq_marlin": packed, "gptq": packed, "gptq_marlin": packed, "moe_wna16": packed, "bitsandbytes": packed, "gguf": packed,
	"modelopt_fp4": packed, "petit_nvfp4": packed, "nvfp4_online": packed, "mxfp4": packed, "w4afp8": packed,
}

// expertWeights returns the element type of the experts' weights, or packed.
func expertWeights(c *Config, f Flags) decided {
	method, by := f.Quantization, "--quantization "+f.Quantization
	if method == "" {
		switch {
		case c == nil:
			return decided{}
		case c.Quantization == nil:
			d := activations(c, f)
			d.by += ", without quantization"
			return d
		}
		method, by = c.Quantization.Method, "the model's quantization "+c.Quantization.Method
	}
	dtype, known := weights[method]
	switch {
	case !known:
		return decided{}
	case dtype == "":
		d := activations(c, f)
		d.by = by
		return d
	}
	return decided{dtype, by}
}

// DTypes returns why the element types of a definition's inputs cannot be those of its calls, or "". c may be nil: then the flags
// alone are compared.
func DTypes(d *fitrace.Definition, c *Config, f Flags) string {
	type conflict struct {
		inputs []string
		want   string
	}
	found := map[string]*conflict{} // by what decides
	var order []string
	for _, in := range d.Inputs {
		var got decided
		switch sources[d.OpType][in.Name] {
		case fromModel:
			got = activations(c, f)
		case fromKVCache:
			got = kvCache(c, f)
		case fromWeights:
			if got = expertWeights(c, f); in.DType != "float8_e4m3fn" && in.DType != "bfloat16" && in.DType != "float16" {
				continue // packed weights, perhaps: which type a definition writes for them is not fixed
			}
		}
		if got.dtype == "" || got.dtype == in.DType || in.DType == "" {
			continue
		}
		if got.dtype == packed {
			got.dtype = "packed elements"
		}
		key := fmt.Sprintf("%s, and with %s its calls have %s", in.DType, got.by, got.dtype)
		if found[key] == nil {
			found[key] = &conflict{want: in.DType}
			order = append(order, key)
		}
		found[key].inputs = append(found[key].inputs, in.Name)
	}
	slices.Sort(order)
	var texts []string
	for _, key := range order {
		texts = append(texts, fmt.Sprintf("the dtype of %s is %s", strings.Join(found[key].inputs, ", "), key))
	}
	return strings.Join(texts, "; ")
}
