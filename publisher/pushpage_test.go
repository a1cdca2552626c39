package publisher

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
)

// The text states the lengths that the engine was asked for, as provenance does.
func TestTrafficOf_Lengths(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		dataset string
		mode    proto.EngineMode
		want    string
	}{
		{"random", proto.ModeHTTPPaged, "random, at most 64 tokens in, 1 out, lengths from 0.5 of that, seed 7, 2 batches"},
		{"trace", proto.ModeOffline, "trace, seed 7, 2 batches"},
		{"trace", proto.ModeHTTPPaged, "trace, at most 1 tokens out, seed 7, 2 batches"},
		{"trace", proto.ModeHTTPRagged, "trace, at most 1 tokens out, seed 7, 2 batches"},
	} {
		require.Equal(t, tc.want, trafficOf(&proto.Traffic{Dataset: tc.dataset, ISL: 64, OSL: 1, RangeRatio: 0.5, Seed: 7, NumBatches: 2}, tc.mode))
	}
}
