package sglang_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang"
	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang/sglangtest"
	"github.com/tracefleet/tracefleet/proto"
)

func TestEngine_Check_ModelThatCannotGiveTheDefinitions_IsRefused(t *testing.T) {
	const heads32 = `{"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "dtype": "bfloat16"}`
	for name, tc := range map[string]struct {
		config string
		edit   func(*proto.Task)
		want   string
	}{
		"fits":              {config: heads32},
		"other heads":       {config: `{"hidden_size": 4096, "num_attention_heads": 28, "num_key_value_heads": 4}`, want: "has 28 attention heads: no TP gives 32"},
		"other ranks":       {config: heads32, edit: func(t *proto.Task) { t.Engine.TP = 2 }, want: "divides its heads over 2 ranks"},
		"ranks are skipped": {config: heads32, edit: func(t *proto.Task) { t.Engine.TP, t.Dump.SkipConst = 2, true }},
		"attention groups":  {config: heads32, edit: func(t *proto.Task) { t.Engine.TP, t.Engine.Flags = 2, []string{"--attn-dp-size 2"} }},
		"dtype":             {config: heads32, edit: func(t *proto.Task) { t.Engine.Flags = []string{"--kv-cache-dtype fp8_e4m3"} }, want: "dtype of k_cache"},
		"overridden": {config: heads32, edit: func(t *proto.Task) {
			t.Engine.Flags = []string{`--json-model-override-args {"num_attention_heads": 16}`}
		}, want: "has 16 attention heads"},
		"another revision": {config: `{"num_attention_heads": 28, "num_key_value_heads": 4}`, edit: func(t *proto.Task) { t.Engine.Flags = []string{"--revision abc"} }},
		"not readable":     {config: `{`},
		"not here":         {edit: func(t *proto.Task) { t.Engine.ModelPath = "org/model" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HF_HUB_CACHE", t.TempDir())
			defs := enginetest.Definitions(t, decodeDef)
			job := engine.Job{Task: enginetest.Task(proto.EngineSGLang, proto.ModeOffline, defs), Definitions: defs}
			job.Task.Engine.ModelPath, job.Task.Engine.TP, job.Task.Engine.EP = t.TempDir(), 1, 1
			require.NoError(t, os.WriteFile(filepath.Join(job.Task.Engine.ModelPath, "config.json"), []byte(tc.config), 0o644))
			if tc.edit != nil {
				tc.edit(&job.Task)
			}
			f := sglang.New(sglang.Options{}).Check(job)
			if tc.want == "" {
				require.Nil(t, f)
				return
			}
			require.NotNil(t, f)
			require.Equal(t, proto.CodeModelMismatch, f.Code)
			require.False(t, f.Retryable)
			require.Contains(t, f.Message, tc.want)
			require.Contains(t, f.Hint, "config.json")
		})
	}
}

// The worker reads what a download left in the Hugging Face cache.
func TestEngine_Check_HubCache_IsRead(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	dir := filepath.Join(cache, "models--org--model", "snapshots", "abc")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"num_attention_heads": 12, "num_key_value_heads": 12}`), 0o644))
	defs := enginetest.Definitions(t, decodeDef)
	job := engine.Job{Task: enginetest.Task(proto.EngineSGLang, proto.ModeOffline, defs), Definitions: defs}
	job.Task.Engine.ModelPath = "org/model"
	f := sglang.New(sglang.Options{}).Check(job)
	require.NotNil(t, f)
	require.Contains(t, f.Message, "org/model has 12 attention heads")

	both := enginetest.Definitions(t, decodeDef, "rmsnorm_h4096")
	job.Definitions = both
	require.Nil(t, sglang.New(sglang.Options{}).Check(job), "what fits is collected")
}

func TestEngine_Run_DefinitionThatDoesNotFit_IsNamedInTheLog(t *testing.T) {
	t.Parallel()
	b := newBench(t, proto.ModeOffline, sglangtest.Options{}, decodeDef, "rmsnorm_h4096")
	require.NoError(t, os.WriteFile(filepath.Join(b.job.Task.Engine.ModelPath, "config.json"),
		[]byte(`{"architectures": ["LlamaForCausalLM"], "text_config": {"hidden_size": 4096, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128}}`), 0o644))
	_, err := b.run(t.Context())
	require.NoError(t, err)
	require.Contains(t, b.said(), "not collected: "+decodeDef+": ")
	require.Contains(t, b.said(), "has 16 attention heads: no TP gives 32")
	require.NotContains(t, b.said(), "rmsnorm_h4096: "+b.job.Task.Engine.ModelPath)
}

func TestEngine_FlagsBeyondTheLease_AreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, proto.ModeHTTPRagged, sglangtest.Options{}, raggedDef)
	b.job.Devices = []string{"3"}
	b.job.Task.Engine.Flags = []string{"--pp-size 2"}
	_, err := b.run(t.Context())
	require.Equal(t, proto.CodeBadServerFlag, proto.AsFailure(err, "").Code)
	require.ErrorContains(t, err, "take 2 GPUs, and 1 were leased")
	require.Empty(t, b.stand.Entries(t, "env"), "no server was started")
}
