package bus_test

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

// BenchmarkPublishManifests publishes manifests of a usual size through PublishAsync and compares with a bare loop of the same
// bytes in the same run. The ratio is what counts: at least 0.5.
func BenchmarkPublishManifests(b *testing.B) {
	conn := bustest.Start(b)
	plan := make([]byte, 4<<10)
	_, err := rand.Read(plan)
	require.NoError(b, err)
	m := &proto.Manifest{
		Collection: "c-1", Task: "t000", Attempt: 1, Node: "node", Definitions: task("t000").Definitions,
		Call: proto.Call{Dump: "20260101_000000_000_pid1_rmsnorm_call0001", Function: "rmsnorm", Tensors: []proto.Tensor{
			{Key: "arg_1", DType: "int32", Shape: []int64{1024}, Digest: fmt.Sprintf("%064d", 1), Inline: plan},
		}},
	}
	m.ID = "size"
	wire, err := proto.Encode(m)
	require.NoError(b, err)
	const batch = 500
	n := 0
	bare := func() time.Duration {
		start := time.Now()
		js := conn.JetStream()
		for range batch {
			n++
			_, err := js.PublishAsync(fmt.Sprintf("tf.manifests.c-1.t000.1.bare%d", n), wire)
			require.NoError(b, err)
		}
		<-js.PublishAsyncComplete()
		return time.Since(start)
	}
	ours := func() time.Duration {
		start := time.Now()
		pending := make([]*bus.Pending, 0, batch)
		for range batch {
			n++
			m.ID = fmt.Sprintf("ours%d", n)
			p, err := conn.PublishAsync(b.Context(), proto.ManifestSubject(m.Collection, m.Task, m.Attempt, m.ID), m, "")
			require.NoError(b, err)
			pending = append(pending, p)
		}
		for _, p := range pending {
			require.NoError(b, p.Wait(b.Context()))
		}
		return time.Since(start)
	}
	bare()
	ours()
	var bareTime, oursTime time.Duration
	for b.Loop() {
		bareTime += bare()
		oursTime += ours()
	}
	b.ReportMetric(float64(bareTime)/float64(oursTime), "of-bare-rate")
	if bareTime < oursTime/2 {
		b.Errorf("%v for what a bare loop publishes in %v: less than half of its rate", oursTime, bareTime)
	}
	b.ReportMetric(float64(b.N*batch)/oursTime.Seconds(), "manifests/s")
}
