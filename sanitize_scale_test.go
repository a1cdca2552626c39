package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/fidump"
)

const raggedMLADef = "mla_ragged_prefill_causal_h16_qk192_vo128"

// raggedMLA writes the dumps of a process that prefills latent attention: a ragged plan, a run without its softmax scale, and then one
// paged plan for each scale.
func raggedMLA(t *testing.T, scales ...float64) (dumps string) {
	t.Helper()
	dumps = t.TempDir()
	w, at := fidump.NewWriter(dumps, 7, nil), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	floats := func(key string, shape ...int64) fidump.Value { return fidump.TensorArg(key, "bfloat16", shape, nil) }
	ints := func(key string, values ...byte) fidump.Value {
		var data []byte
		for _, v := range values {
			data = append(data, v, 0, 0, 0)
		}
		return fidump.TensorArg(key, "int32", []int64{int64(len(values))}, data)
	}
	log := func(function string, self int64, args ...fidump.Value) {
		at = at.Add(time.Millisecond)
		p, err := w.Begin(fidump.Call{Time: at, Function: function, Module: "flashinfer", SelfID: self, Args: args})
		require.NoError(t, err)
		require.NoError(t, p.Return())
	}
	log("BatchPrefillWithRaggedKVCacheWrapper.plan", 1, ints("kwarg_qo_indptr", 0, 3, 7), ints("kwarg_kv_indptr", 0, 3, 7), fidump.IntArg("kwarg_num_qo_heads", 16),
		fidump.IntArg("kwarg_num_kv_heads", 16), fidump.IntArg("kwarg_head_dim_qk", 192), fidump.IntArg("kwarg_head_dim_vo", 128), fidump.DTypeArg("kwarg_q_data_type", "bfloat16"),
		fidump.BoolArg("kwarg_causal", true))
	log("BatchPrefillWithRaggedKVCacheWrapper.run", 1, floats("kwarg_q", 7, 16, 192), floats("kwarg_k", 7, 16, 192), floats("kwarg_v", 7, 16, 128))
	for _, scale := range scales {
		log("BatchMLAPagedAttentionWrapper.plan", 2, ints("arg_1", 0, 1, 2), fidump.FloatArg("arg_10", scale))
	}
	return dumps
}

// TestSanitize_RaggedMLA_ScaleFromPlanOrConfiguration: offline, the scale comes from a paged plan made after the run, or from --model-config.
func TestSanitize_RaggedMLA_ScaleFromPlanOrConfiguration(t *testing.T) {
	const yarn = 0.11472138679292611
	config := "test/gpu/tiny-deepseek/config.json"
	for _, c := range []struct {
		name   string
		scales []float64
		flags  []string
		want   float64 // 0: rejected
		reason string
	}{
		{"the plan's", []float64{yarn}, nil, yarn, ""},
		{"the configuration's", nil, []string{"--model-config", config}, yarn, ""},
		{"both", []float64{yarn}, []string{"--model-config", config}, yarn, ""},
		{"of the plan alone", []float64{yarn}, []string{"--dump", "plan"}, yarn, ""},
		{"none", nil, nil, 0, "input_missing"},
		{"two in one process", []float64{yarn, 0.0721}, nil, 0, "scale_conflict"},
		{"they disagree", []float64{0.0721}, []string{"--model-config", config}, 0, "scale_conflict"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dataset := t.TempDir()
			require.NoError(t, os.CopyFS(filepath.Join(dataset, "definitions"), os.DirFS("test/gpu/definitions")))
			s := sanitizing(t, raggedMLA(t, c.scales...), []string{raggedMLADef}, append(c.flags, "--flashinfer-trace-dir", dataset)...)
			if c.want == 0 {
				require.Equal(t, cli.ExitNothing, s.code, s.stderr)
				require.Equal(t, map[string]int{c.reason: 1}, s.report.Total.Rejected)
				return
			}
			require.Zero(t, s.code, s.stderr)
			data, err := os.ReadFile(filepath.Join(dataset, "workloads", "mla_ragged", raggedMLADef+".jsonl"))
			require.NoError(t, err)
			var line struct {
				Workload struct {
					Inputs map[string]struct{ Value float64 }
				}
			}
			require.NoError(t, json.Unmarshal([]byte(strings.SplitN(string(data), "\n", 2)[0]), &line))
			require.InEpsilon(t, c.want, line.Workload.Inputs["sm_scale"].Value, 1e-12)
			require.Equal(t, len(c.scales), int(s.report.Counts.Plans)+int(s.report.Counts.Manifests)-2, "paged plans are counted as plans")
		})
	}
}

// TestSanitize_ModelConfigWithoutScale_IsAUsageError: the error names the file and the field.
func TestSanitize_ModelConfigWithoutScale_IsAUsageError(t *testing.T) {
	s := sanitizing(t, raggedMLA(t), []string{raggedDef}, "--model-config", "test/gpu/tiny-llama/config.json")
	require.Equal(t, cli.ExitUsage, s.code)
	require.Contains(t, s.stderr, "test/gpu/tiny-llama/config.json: architectures is [LlamaForCausalLM]")
}
