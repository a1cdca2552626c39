package bus_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

// configs returns the configuration of every stream of the broker, by name.
func configs(t *testing.T, b *bus.Bus) map[string]jetstream.StreamConfig {
	t.Helper()
	all := map[string]jetstream.StreamConfig{}
	list := b.JetStream().ListStreams(t.Context())
	for info := range list.Info() {
		all[info.Config.Name] = info.Config
	}
	require.NoError(t, list.Err())
	require.Len(t, all, len(proto.Streams())+len(proto.Buckets())+1)
	return all
}

// sum returns what all streams may hold, and requires that each may hold the largest messages.
func sum(t *testing.T, all map[string]jetstream.StreamConfig) (total int64) {
	t.Helper()
	for name, c := range all {
		require.GreaterOrEqual(t, c.MaxBytes, int64(2*proto.MaxMessageBytes), name)
		total += c.MaxBytes
	}
	return total
}

func TestEnsure_MaxBytes_IsSharedByAll(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	before := configs(t, b)
	require.Equal(t, int64(1<<30), before[proto.StreamEvents].MaxBytes)
	require.Equal(t, int64(-1), before[proto.StreamManifests].MaxBytes)
	for _, size := range []int64{bus.MinMaxBytes, 1 << 30, 100 << 30, 256 << 20} { // smaller and larger than before
		require.NoError(t, b.Ensure(t.Context(), bus.MaxBytes(size)))
		all := configs(t, b)
		require.LessOrEqual(t, sum(t, all), size)
		require.Greater(t, sum(t, all), size*9/10)
	}
	want := configs(t, b)
	require.NoError(t, b.Ensure(t.Context()))
	require.Equal(t, want, configs(t, b), "without a size none is changed")
}

// A managed account requires a size of every stream: they get one from what it may store.
func TestEnsure_AccountWithLimits_StaysWithinThem(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		limits     string
		most, size int64
		refused    string
	}{
		"sizes demanded":               {"{ max_file: 2G, max_streams: 40, max_consumers: 100, max_bytes_required: true }", 2e9, 0, ""},
		"sizes demanded, a size given": {"{ max_file: 2G, max_bytes_required: true }", 500e6, 500e6, ""},
		"small streams":                {"{ max_file: 2G, max_bytes_required: true, store_max_stream_bytes: 100M }", 400e6 + 1e6, 0, ""},
		"less than the log's own size": {"{ max_file: 512M }", 0, 0, ""},
		"a size beyond the account":    {"{ max_file: 512M }", 0, 1e9, "--stream-max-bytes is 1000000000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := as("app:pw", bustest.StartConfigured(t, account(tc.limits, "")))
			b, err := bus.Connect(t.Context(), bus.Config{URL: url, Name: "test", Log: bustest.Log(t)})
			require.NoError(t, err)
			t.Cleanup(b.Close)
			err = b.Ensure(t.Context(), bus.MaxBytes(tc.size))
			if tc.refused != "" {
				require.ErrorContains(t, err, tc.refused)
				return
			}
			require.NoError(t, err)
			require.NoError(t, b.Ensure(t.Context(), bus.MaxBytes(tc.size)), "again, with its own streams in the way")
			all := configs(t, b)
			if tc.most > 0 {
				require.LessOrEqual(t, sum(t, all), tc.most)
			}
			_, err = b.PutDefinition(t.Context(), []byte(`{"name":"x"}`))
			require.NoError(t, err)
		})
	}
}

// A stream of an earlier release drops what was acknowledged when it is full.
func TestEnsure_StreamThatDropsOldest_IsChanged(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	st, err := b.JetStream().Stream(t.Context(), proto.StreamManifests)
	require.NoError(t, err)
	old := st.CachedInfo().Config
	old.Discard = jetstream.DiscardOld
	_, err = b.JetStream().UpdateStream(t.Context(), old)
	require.NoError(t, err)
	require.NoError(t, b.Ensure(t.Context()))
	for name, c := range configs(t, b) {
		want := jetstream.DiscardNew
		if name == proto.StreamEvents {
			want = jetstream.DiscardOld
		}
		require.Equal(t, want, c.Discard, name)
	}
}
