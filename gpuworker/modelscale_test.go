package gpuworker

import (
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
)

func TestModelScale_LocalConfiguration_IsUsedOnlyIfServed(t *testing.T) {
	t.Parallel()
	const deepseek = "../test/gpu/tiny-deepseek"
	for name, c := range map[string]struct {
		engine proto.EngineSpec
		want   float64
	}{
		"a model with YaRN":       {proto.EngineSpec{Kind: proto.EngineSGLang, ModelPath: deepseek}, 0.11472138679},
		"overridden by a flag":    {proto.EngineSpec{Kind: proto.EngineSGLang, ModelPath: deepseek, Flags: []string{`--json-model-override-args {"rope_scaling": null}`}}, 0},
		"overridden by the model": {proto.EngineSpec{Kind: proto.EngineSGLang, ModelPath: deepseek, ModelFlags: []string{"--json-model-override-args={}"}}, 0},
		"no latent attention":     {proto.EngineSpec{Kind: proto.EngineSGLang, ModelPath: "../test/gpu/tiny-llama"}, 0},
		"not on this node":        {proto.EngineSpec{Kind: proto.EngineSGLang, ModelPath: "deepseek-ai/DeepSeek-V2-Lite"}, 0},
		"simulated":               {proto.EngineSpec{Kind: proto.EngineSimulate, ModelPath: deepseek}, 0},
	} {
		got := modelScale(&c.engine, zerolog.Nop())
		require.InDelta(t, c.want, got.Model, 1e-10, name)
		require.Equal(t, c.want != 0, got.How != "", name)
	}
}
