// Package modelconfig reads a Hugging Face config.json as far as it decides the shapes and element types of kernel calls, and compares
// definitions with it.
//
// config.go parses a configuration, fit.go derives the tensor- and expert-parallel ranks under which a model calls a definition's
// function with the definition's const axes, dtype.go compares element types, and scale.go computes softmax scales. find.go and
// ReadScale read files; the rest is pure. No other package parses a config.json.
package modelconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Config holds the numbers of a model's configuration that decide the shapes of kernel calls, under the keys of config.json. A
// zero is a number that the configuration does not have: nothing is concluded from it.
type Config struct {
	Architectures []string `json:"architectures,omitempty"`
	ModelType     string   `json:"model_type,omitempty"`

	HiddenSize       int `json:"hidden_size,omitempty"`
	IntermediateSize int `json:"intermediate_size,omitempty"`
	VocabSize        int `json:"vocab_size,omitempty"`

	Heads   int `json:"num_attention_heads,omitempty"`
	KVHeads int `json:"num_key_value_heads,omitempty"`
	HeadDim int `json:"head_dim,omitempty"` // its own, else hidden_size ÷ num_attention_heads

	// Latent attention.
	KVLoraRank int `json:"kv_lora_rank,omitempty"`
	QKNopeDim  int `json:"qk_nope_head_dim,omitempty"`
	QKRopeDim  int `json:"qk_rope_head_dim,omitempty"`
	VHeadDim   int `json:"v_head_dim,omitempty"`
	IndexTopK  int `json:"index_topk,omitempty"`

	// Experts.
	Experts         int `json:"num_experts,omitempty"` // also n_routed_experts and num_local_experts
	ExpertsPerToken int `json:"num_experts_per_tok,omitempty"`
	SharedExperts   int `json:"n_shared_experts,omitempty"`
	MoEIntermediate int `json:"moe_intermediate_size,omitempty"` // intermediate_size where experts have no size of their own

	// Linear attention.
	LinearKeyHeads   int `json:"linear_num_key_heads,omitempty"`
	LinearValueHeads int `json:"linear_num_value_heads,omitempty"`
	LinearKeyDim     int `json:"linear_key_head_dim,omitempty"`

	DType        string        `json:"dtype,omitempty"` // bfloat16; also torch_dtype
	Quantization *Quantization `json:"quantization_config,omitempty"`

	// Derived by Parse, and read back from what Summary wrote.
	Dims   []int `json:"tracefleet_dims,omitempty"`   // sizes a norm may have: hidden_size and everything named *_dim and *_rank
	Varies bool  `json:"tracefleet_varies,omitempty"` // attention heads differ between layers

	rope struct { // for Scale; a Summary has no such field
		name string // rope_parameters, else rope_scaling
		raw  json.RawMessage
	}
}

// Quantization is the part of quantization_config that decides element types.
type Quantization struct {
	Method  string `json:"quant_method,omitempty"`
	KVCache bool   `json:"tracefleet_kv_cache,omitempty"` // the checkpoint has its own scheme for the KV cache
}

// Architecture returns the model's class, or "".
func (c *Config) Architecture() string {
	if len(c.Architectures) == 0 {
		return ""
	}
	return c.Architectures[0]
}

// Latent reports whether the model has multi-head latent attention.
func (c *Config) Latent() bool { return c.KVLoraRank > 0 }

// Summary returns the configuration as JSON that Parse reads back. It is what messages between roles carry.
func (c *Config) Summary() string {
	data, err := json.Marshal(c)
	if err != nil { // the fields are strings, numbers and booleans
		return ""
	}
	return string(data)
}

// parts are the members that hold the language model's configuration in models of several parts.
var parts = []string{"text_config", "language_config", "llm_config", "thinker_config"}

// Parse reads a config.json. overrides is the value of --json-model-override-args, or "": SGLang puts its members over those of the
// file. Errors name the field and its value.
func Parse(data []byte, overrides string) (*Config, error) {
	fields, err := object(data)
	if err != nil {
		return nil, err
	}
	if overrides != "" {
		over, err := object([]byte(overrides))
		if err != nil {
			return nil, fmt.Errorf("--json-model-override-args: %w", err)
		}
		merge(fields, over)
	}
	for nested := nestedPart(fields); nested != nil; nested = nestedPart(nested) {
		for key, value := range nested {
			if _, has := fields[key]; has && (key == "architectures" || key == "model_type" || string(value) == "null") {
				continue // the class that SGLang runs is that of the whole
			}
			fields[key] = value
		}
	}
	return read(fields)
}

func object(data []byte) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("is not a JSON object: %w", err)
	}
	if fields == nil {
		return nil, errors.New("is null, must be a JSON object")
	}
	return fields, nil
}

// merge puts over on top of fields, an object into the object that is there.
func merge(fields, over map[string]json.RawMessage) {
	for key, value := range over {
		inner, err := object(value)
		below, err2 := object(fields[key])
		if err == nil && err2 == nil {
			merge(below, inner)
			if merged, err := json.Marshal(below); err == nil {
				value = merged
			}
		}
		fields[key] = value
	}
}

// nestedPart returns the language model's part of a configuration, or nil.
func nestedPart(fields map[string]json.RawMessage) map[string]json.RawMessage {
	for _, name := range parts {
		if part, err := object(fields[name]); err == nil {
			return part
		}
	}
	return nil
}

// differing are keys of models whose layers do not all have the same attention heads.
var differing = []string{
	"swa_num_attention_heads", "swa_num_key_value_heads", "swa_head_dim", "global_head_dim", "num_global_key_value_heads",
	"attention_other_setting", "block_configs", "num_attention_heads_per_layer", "num_kv_heads_per_layer",
}

func read(fields map[string]json.RawMessage) (*Config, error) {
	c := &Config{}
	for _, name := range []string{"rope_parameters", "rope_scaling"} {
		if raw := fields[name]; len(c.rope.raw) == 0 && len(raw) > 0 && string(raw) != "null" {
			c.rope.name, c.rope.raw = name, raw
		}
	}
	for _, f := range []struct {
		into *int
		keys []string
	}{
		{&c.HiddenSize, []string{"hidden_size"}},
		{&c.IntermediateSize, []string{"intermediate_size"}},
		{&c.VocabSize, []string{"vocab_size"}},
		{&c.Heads, []string{"num_attention_heads"}},
		{&c.KVHeads, []string{"num_key_value_heads"}},
		{&c.HeadDim, []string{"head_dim"}},
		{&c.KVLoraRank, []string{"kv_lora_rank"}},
		{&c.QKNopeDim, []string{"qk_nope_head_dim"}},
		{&c.QKRopeDim, []string{"qk_rope_head_dim"}},
		{&c.VHeadDim, []string{"v_head_dim"}},
		{&c.IndexTopK, []string{"index_topk"}},
		{&c.Experts, []string{"num_experts", "n_routed_experts", "num_local_experts"}},
		{&c.ExpertsPerToken, []string{"num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k"}},
		{&c.SharedExperts, []string{"n_shared_experts"}},
		{&c.MoEIntermediate, []string{"moe_intermediate_size"}},
		{&c.LinearKeyHeads, []string{"linear_num_key_heads"}},
		{&c.LinearValueHeads, []string{"linear_num_value_heads"}},
		{&c.LinearKeyDim, []string{"linear_key_head_dim"}},
	} {
		for _, key := range f.keys {
			n, differs, err := number(key, fields[key])
			if err != nil {
				return nil, err
			}
			c.Varies = c.Varies || differs && (f.into == &c.Heads || f.into == &c.KVHeads || f.into == &c.HeadDim)
			if *f.into == 0 {
				*f.into = n
			}
		}
	}
	var err error
	if c.Architectures, err = texts("architectures", fields["architectures"]); err != nil {
		return nil, err
	}
	if c.ModelType, err = text("model_type", fields["model_type"]); err != nil {
		return nil, err
	}
	for _, key := range []string{"dtype", "torch_dtype"} {
		name, err := text(key, fields[key])
		if err != nil {
			return nil, err
		}
		if c.DType == "" {
			c.DType = strings.TrimPrefix(name, "torch.")
		}
	}
	if err := c.readQuantization(fields["quantization_config"]); err != nil {
		return nil, err
	}
	for _, key := range differing {
		if raw, has := fields[key]; has && string(raw) != "null" {
			c.Varies = true
		}
	}
	if raw, has := fields["tracefleet_varies"]; has && string(raw) == "true" {
		c.Varies = true
	}
	if c.HeadDim == 0 && c.Heads > 0 && c.HiddenSize%c.Heads == 0 && !c.Latent() {
		c.HeadDim = c.HiddenSize / c.Heads
	}
	if c.MoEIntermediate == 0 && c.Experts > 0 {
		c.MoEIntermediate = c.IntermediateSize
	}
	c.Dims = dims(fields)
	if c.HeadDim > 0 {
		c.Dims = append(c.Dims, c.HeadDim)
	}
	slices.Sort(c.Dims)
	c.Dims = slices.Compact(c.Dims)
	return c, nil
}

// dims returns the sizes that a norm of the model may have.
func dims(fields map[string]json.RawMessage) (list []int) {
	if raw, has := fields["tracefleet_dims"]; has && json.Unmarshal(raw, &list) == nil {
		return list
	}
	for key, raw := range fields {
		if strings.HasPrefix(key, "hidden_size") || strings.HasSuffix(key, "_dim") || strings.HasSuffix(key, "_rank") {
			if n, _, err := number(key, raw); err == nil && n > 0 {
				list = append(list, n)
			}
		}
	}
	return list
}

func (c *Config) readQuantization(raw json.RawMessage) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	fields, err := object(raw)
	if err != nil {
		return fmt.Errorf("quantization_config %w", err)
	}
	q := &Quantization{}
	if q.Method, err = text("quantization_config.quant_method", fields["quant_method"]); err != nil {
		return err
	}
	for _, key := range []string{"kv_cache_scheme", "kv_cache_quant_algo", "tracefleet_kv_cache"} {
		v := string(fields[key])
		q.KVCache = q.KVCache || v != "" && v != "null" && v != "false" && v != `""`
	}
	c.Quantization = q
	return nil
}

// number reads a positive whole number. Absent, null and 0 are 0, and so is a list, which differs between layers.
func number(key string, raw json.RawMessage) (n int, differs bool, err error) {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return 0, false, nil
	case raw[0] == '[':
		return 0, true, nil
	}
	if err := json.Unmarshal(raw, &n); err != nil || n < 0 || n > 1<<31 {
		return 0, false, fmt.Errorf("%s is %s, must be a positive whole number", key, short(raw))
	}
	return n, false, nil
}

func text(key string, raw json.RawMessage) (s string, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("%s is %s, must be a string", key, short(raw))
	}
	return s, nil
}

func texts(key string, raw json.RawMessage) (list []string, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s is %s, must be a list of strings", key, short(raw))
	}
	return list, nil
}

func short(raw json.RawMessage) string {
	if len(raw) > 40 {
		return string(raw[:40]) + "…"
	}
	return string(raw)
}
