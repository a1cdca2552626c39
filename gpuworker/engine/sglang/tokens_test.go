package sglang_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang/sglangtest"
	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

// asked is how many tokens a job's requests ask for; the stand-in generates every one of them.
func asked(t *testing.T, b *bench) (n int64) {
	t.Helper()
	source, err := traffic.New(&b.job.Task, traffic.Options{Vocab: traffic.VocabSize(b.job.Task.Engine.ModelPath)})
	require.NoError(t, err)
	for _, r := range source.NextBatch(source.Total()) {
		n += int64(r.MaxNewTokens)
	}
	return n
}

// TestEngine_Tokens: what was generated for our requests is counted, whichever way the release tells it: each request once, however
// often it was sent, and nothing of warm-up.
func TestEngine_Tokens(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		mode   proto.EngineMode
		def    string
		stand  sglangtest.Options
		change func(*proto.Task)
	}{
		{name: "offline", mode: proto.ModeOffline, def: decodeDef},
		{name: "server", mode: proto.ModeHTTPPaged, def: pagedDef},
		{name: "one token each", mode: proto.ModeHTTPRagged, def: raggedDef},
		{name: "chat", mode: proto.ModeHTTPPaged, def: pagedDef, change: func(task *proto.Task) { task.Traffic.Chat = true }},
		{name: "sent again", mode: proto.ModeHTTPPaged, def: pagedDef, stand: sglangtest.Options{Fail: sglangtest.FailHiccup, FailAfter: 3}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, tc.mode, tc.stand, tc.def)
			b.job.Task.Traffic.OSL, b.job.Task.Traffic.NumBatches = 24, 3
			if tc.change != nil {
				tc.change(&b.job.Task)
			}
			result, err := b.run(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, 12, result.Requests)
			want := asked(t, b)
			if tc.mode == proto.ModeHTTPRagged {
				require.EqualValues(t, 12, want)
			} else {
				require.Greater(t, want, int64(24))
			}
			require.Equal(t, want, result.Tokens)
			require.Positive(t, result.ServeSeconds)
			require.Less(t, result.ServeSeconds, result.EngineSeconds, "the start is no serving")
		})
	}
}

// TestEngine_DumpNone: a job that is to dump nothing serves the same requests as any, writes nothing, and that is no failure.
func TestEngine_DumpNone(t *testing.T) {
	t.Parallel()
	for mode, def := range map[proto.EngineMode]string{proto.ModeOffline: decodeDef, proto.ModeHTTPRagged: raggedDef} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, mode, sglangtest.Options{}, def)
			b.job.Task.Dump.What, b.job.Task.Dump.Count = proto.DumpNone, 1
			b.job.Begin = func(context.Context) error { return nil }
			result, err := b.run(t.Context())
			require.NoError(t, err)
			b.noneLeft(t)
			require.Empty(t, enginetest.Dumps(t, b.job.DumpDir))
			require.Zero(t, result.Dumps)
			require.EqualValues(t, 8, result.Requests)
			require.Equal(t, asked(t, b), result.Tokens)
			require.Positive(t, result.ServeSeconds)
			require.NotContains(t, b.said(), "no call for", "nobody asked for one")
		})
	}
}
