package modelconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Scale is the softmax scale of a model with latent attention (MLA), and how it follows from the configuration.
type Scale struct {
	Value float64
	How   string // "192^-0.5, YaRN factor 40, mscale_all_dim 0.707"
}

// scaleArchitectures are the architectures whose attention is SGLang's DeepseekV2AttentionMLA, from 0.5.8 to 0.5.23.
var scaleArchitectures = []string{
	"DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM", "Glm4MoeLiteForCausalLM", "GlmMoeDsaForCausalLM",
	"KimiK25ForConditionalGeneration", "MistralLarge3ForCausalLM",
}

// ropeScaling is rope_scaling, which newer configurations call rope_parameters.
type ropeScaling struct {
	Type         string   `json:"type"`
	RopeType     string   `json:"rope_type"`
	Factor       *float64 `json:"factor"`
	MScaleAllDim *float64 `json:"mscale_all_dim"`
	ApplyYarn    *bool    `json:"apply_yarn_scaling"`
	ApplyScale   *bool    `json:"apply_scale"`
}

// ReadScale reads the scale from a config.json, or from the one in a model's directory. The error names the file and the field.
func ReadScale(path string) (Scale, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, "config.json")
	}
	c, err := ReadFile(path, "")
	if err != nil {
		return Scale{}, err
	}
	s, err := c.Scale()
	if err != nil {
		return Scale{}, fmt.Errorf("read the softmax scale from model configuration %s: %w", path, err)
	}
	return s, nil
}

// Scale computes the scale as SGLang does for every layer of these models: the width of a query head to the power of -0.5, times the
// square of YaRN's mscale. The width alone is not enough: for factor 40 and mscale_all_dim 0.707 the scale is 1.59 times as large.
// A Config that was parsed from a Summary has no rope_scaling.
func (c *Config) Scale() (Scale, error) {
	if !slices.ContainsFunc(c.Architectures, func(a string) bool { return slices.Contains(scaleArchitectures, a) }) {
		return Scale{}, fmt.Errorf("architectures is %v; the scale is known for %s", c.Architectures, strings.Join(scaleArchitectures, ", "))
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"qk_nope_head_dim", c.QKNopeDim}, {"qk_rope_head_dim", c.QKRopeDim}} {
		if f.value < 1 {
			return Scale{}, fmt.Errorf("%s is %d, a positive width is expected", f.name, f.value)
		}
	}
	width := c.QKNopeDim + c.QKRopeDim
	s := Scale{Value: math.Pow(float64(width), -0.5), How: fmt.Sprintf("%d^-0.5", width)}
	r, err := c.readRope()
	if err != nil {
		return Scale{}, err
	}
	if r == nil || r.kind() == "default" {
		return s, nil
	}
	if kind := r.kind(); kind != "yarn" && kind != "deepseek_yarn" {
		return Scale{}, fmt.Errorf("%s has the type %q; the scale is known for yarn, deepseek_yarn and default", c.rope.name, kind)
	}
	if scaleOff(r.ApplyYarn) || scaleOff(r.ApplyScale) {
		return s, nil
	}
	factor, all := scaleNumber(r.Factor, 1), scaleNumber(r.MScaleAllDim, 0)
	mscale := 1.0
	if factor > 1 {
		mscale = 0.1*all*math.Log(factor) + 1
	}
	s.Value *= mscale * mscale
	if math.IsInf(s.Value, 0) || math.IsNaN(s.Value) || s.Value <= 0 {
		return Scale{}, fmt.Errorf("%s has factor %v and mscale_all_dim %v, which give the scale %v", c.rope.name, factor, all, s.Value)
	}
	s.How += fmt.Sprintf(", YaRN factor %v, mscale_all_dim %v", factor, all)
	return s, nil
}

// readRope returns the rope scaling of the configuration, or nil.
func (c *Config) readRope() (*ropeScaling, error) {
	if len(c.rope.raw) == 0 {
		return nil, nil
	}
	r := &ropeScaling{}
	var field *json.UnmarshalTypeError
	if err := json.Unmarshal(c.rope.raw, r); errors.As(err, &field) {
		return nil, fmt.Errorf("%s is a %s, a %s is expected", strings.TrimSuffix(c.rope.name+"."+field.Field, "."), field.Value, field.Type)
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", c.rope.name, err)
	}
	return r, nil
}

func (r *ropeScaling) kind() string {
	if r.RopeType != "" {
		return r.RopeType
	}
	return r.Type
}

func scaleOff(b *bool) bool { return b != nil && !*b }

func scaleNumber(v *float64, otherwise float64) float64 {
	if v == nil {
		return otherwise
	}
	return *v
}
