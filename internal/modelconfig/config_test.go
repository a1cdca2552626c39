package modelconfig_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/modelconfig"
)

func parse(t *testing.T, text, overrides string) *modelconfig.Config {
	t.Helper()
	c, err := modelconfig.Parse([]byte(text), overrides)
	require.NoError(t, err)
	return c
}

const (
	llama    = `{"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "torch_dtype": "bfloat16"}`
	scout    = `{"architectures": ["Llama4ForConditionalGeneration"], "text_config": {"architectures": null, "hidden_size": 5120, "intermediate_size": 8192, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 16, "num_experts_per_tok": 1, "vocab_size": 202048, "torch_dtype": "bfloat16"}, "vision_config": {"hidden_size": 1408}}`
	deepseek = `{"architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 7168, "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 2048, "vocab_size": 129280, "torch_dtype": "bfloat16", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}`
	lite     = `{"architectures": ["DeepseekV2ForCausalLM"], "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": null, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 102400}`
	next     = `{"architectures": ["Qwen3NextForCausalLM"], "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512}`
)

func TestParse_KnownForms_AreRead(t *testing.T) {
	t.Parallel()
	c := parse(t, llama, "")
	require.Equal(t, "LlamaForCausalLM", c.Architecture())
	require.Equal(t, []int{32, 8, 128, 4096, 128256}, []int{c.Heads, c.KVHeads, c.HeadDim, c.HiddenSize, c.VocabSize})
	require.Equal(t, "bfloat16", c.DType)
	require.False(t, c.Latent())

	c = parse(t, scout, "")
	require.Equal(t, "Llama4ForConditionalGeneration", c.Architecture(), "the class is that of the whole")
	require.Equal(t, []int{40, 8, 128, 16, 1, 8192}, []int{c.Heads, c.KVHeads, c.HeadDim, c.Experts, c.ExpertsPerToken, c.MoEIntermediate})
	require.NotContains(t, c.Dims, 1408, "the vision tower is no part of it")

	c = parse(t, deepseek, "")
	require.True(t, c.Latent())
	require.Equal(t, []int{512, 64, 128, 256, 2048}, []int{c.KVLoraRank, c.QKRopeDim, c.VHeadDim, c.Experts, c.MoEIntermediate})
	require.Equal(t, "fp8", c.Quantization.Method)

	c = parse(t, llama, `{"num_hidden_layers": 2, "num_attention_heads": 16, "head_dim": 256}`)
	require.Equal(t, []int{16, 256}, []int{c.Heads, c.HeadDim}, "SGLang puts --json-model-override-args over the file")
	c = parse(t, scout, `{"text_config": {"num_attention_heads": 20}}`)
	require.Equal(t, []int{20, 8}, []int{c.Heads, c.KVHeads}, "an object is merged into the object that is there")

	for _, varies := range []string{`{"num_attention_heads": [8, 16], "hidden_size": 64}`, `{"num_attention_heads": 8, "swa_num_attention_heads": 16}`} {
		require.True(t, parse(t, varies, "").Varies, varies)
	}
	for _, text := range []string{llama, scout, deepseek, lite, next, `{}`} {
		c := parse(t, text, "")
		require.Equal(t, c, parse(t, c.Summary(), ""), "a summary reads back as it was")
	}
}

func TestParse_WrongValues_AreNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"num_attention_heads": "32"}`:                    `num_attention_heads is "32", must be a positive whole number`,
		`{"num_attention_heads": -1}`:                      `num_attention_heads is -1`,
		`{"head_dim": 1.5}`:                                `head_dim is 1.5`,
		`{"vocab_size": 99999999999999999999}`:             `vocab_size is 99999999999999999999`,
		`{"torch_dtype": 7}`:                               `torch_dtype is 7, must be a string`,
		`{"architectures": "Llama"}`:                       `architectures is "Llama", must be a list of strings`,
		`{"quantization_config": []}`:                      `quantization_config is not a JSON object`,
		`{"quantization_config": {"quant_method": false}}`: `quantization_config.quant_method is false`,
		`[]`:   "is not a JSON object",
		`null`: "is null",
		``:     "is not a JSON object",
	} {
		_, err := modelconfig.Parse([]byte(text), "")
		require.ErrorContains(t, err, want, text)
	}
	_, err := modelconfig.Parse([]byte(llama), "{")
	require.ErrorContains(t, err, "--json-model-override-args: is not a JSON object")
}

func TestReadDir_NoDirectory_IsNoError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, path := range []string{"", "meta-llama/Llama-3.1-8B", filepath.Join(dir, "absent")} {
		c, err := modelconfig.ReadDir(path, "")
		require.NoError(t, err)
		require.Nil(t, c)
	}
	_, err := modelconfig.ReadDir(dir, "")
	require.ErrorContains(t, err, "config.json")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"head_dim": "x"}`), 0o644))
	_, err = modelconfig.ReadDir(dir, "")
	require.ErrorContains(t, err, filepath.Join(dir, "config.json")+`: head_dim is "x"`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"architectures": [], "head_dim": 64}`), 0o644))
	_, err = modelconfig.ReadDir(dir, "")
	require.ErrorContains(t, err, "architectures is empty")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), make([]byte, 16<<20+1), 0o644))
	_, err = modelconfig.ReadDir(dir, "")
	require.ErrorContains(t, err, "it has more than 16 MiB")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model.gguf"), nil, 0o644))
	c, err := modelconfig.ReadDir(filepath.Join(dir, "model.gguf"), "")
	require.NoError(t, err)
	require.Nil(t, c, "a file is no directory")
}
