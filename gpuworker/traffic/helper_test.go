package traffic_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func task(mode proto.EngineMode, batch, batches int, change func(*proto.Task)) *proto.Task {
	t := &proto.Task{
		ID: "t000", BatchSize: batch, Engine: proto.EngineSpec{Mode: mode},
		Traffic: proto.Traffic{NumBatches: batches, Dataset: "random", ISL: 64, OSL: 16, RangeRatio: 0.5, Seed: 7},
	}
	if change != nil {
		change(t)
	}
	return t
}

func source(t require.TestingT, task *proto.Task, o traffic.Options) *traffic.Source {
	s, err := traffic.New(task, o)
	require.NoError(t, err)
	return s
}

func all(s *traffic.Source) []traffic.Request { return s.NextBatch(s.Total() + 1) }

// fails asserts that New fails with bad_traffic, in words that hold all of the given ones, and says what to do.
func fails(t *testing.T, task *proto.Task, o traffic.Options, words ...string) {
	t.Helper()
	_, err := traffic.New(task, o)
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, proto.CodeBadTraffic, f.Code)
	require.NotEmpty(t, f.Hint)
	for _, w := range words {
		require.Contains(t, f.Message, w)
	}
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// shared is how many tokens two prompts begin with in common.
func shared(a, b []int32) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
