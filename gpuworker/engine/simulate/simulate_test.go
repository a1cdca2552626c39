package simulate_test

import (
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEngine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		mode proto.EngineMode
		tp   int
		defs []string
	}{
		{"decode", proto.ModeOffline, 1, []string{"gqa_paged_decode_h32_kv8_d128_ps1"}},
		{"two ranks", proto.ModeOffline, 2, []string{"gqa_paged_decode_h16_kv4_d128_ps1"}},
		{"paged prefill", proto.ModeHTTPPaged, 1, []string{"gqa_paged_prefill_causal_h32_kv8_d128_ps1"}},
		{"ragged prefill", proto.ModeHTTPRagged, 1, []string{"gqa_ragged_prefill_causal_h32_kv8_d128"}},
		{"latent", proto.ModeHTTPPaged, 1, []string{"mla_paged_decode_h16_ckv512_kpe64_ps1", "mla_paged_prefill_causal_h16_ckv512_kpe64_ps1"}},
		{"everything", proto.ModeOffline, 1, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			enginetest.Run(t, func(t *testing.T) (engine.Engine, engine.Job) {
				defs := enginetest.Definitions(t, tc.defs...)
				task := enginetest.Task(proto.EngineSimulate, tc.mode, defs)
				task.Engine.TP, task.Traffic.NumBatches = tc.tp, 3
				return simulate.New(), engine.Job{Task: task, Definitions: defs}
			}, enginetest.Options{})
		})
	}
}

func BenchmarkDumps(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		defs := enginetest.Definitions(b, "gqa_paged_decode_h32_kv8_d128_ps1")
		task := enginetest.Task(proto.EngineSimulate, proto.ModeOffline, defs)
		task.BatchSize, task.Dump.Count = 64, 5000
		task.Traffic.ISL, task.Traffic.OSL, task.Traffic.NumBatches = 1024, 512, 4
		job := engine.Job{Task: task, Definitions: defs, DumpDir: b.TempDir(), Log: zerolog.Nop()}
		b.StartTimer()
		result, err := simulate.New().Run(b.Context(), job, func(engine.Progress) {})
		require.NoError(b, err)
		b.ReportMetric(float64(result.Dumps)/result.EngineSeconds, "dumps/s")
	}
}
