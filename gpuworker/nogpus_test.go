package gpuworker

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

func TestNoGPUs(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	workers, err := bus.OpenRecord[proto.Worker](t.Context(), b, proto.BucketWorkers)
	require.NoError(t, err)
	w := &Worker{id: "me", opt: Options{Bus: b, NoGPUsAfter: time.Minute}}
	task := &proto.Task{Collection: "c-test", ID: "t000", Engine: proto.EngineSpec{Kind: proto.EngineSGLang, TP: 4}}
	announce := func(id string, kind proto.EngineKind, gpus int, draining bool) {
		t.Helper()
		_, err := workers.Put(t.Context(), id, &proto.Worker{ID: id, Role: "gpuworker", Engines: []proto.EngineKind{kind}, GPUs: make([]proto.GPU, gpus), Draining: draining})
		require.NoError(t, err)
	}
	ask := func(age time.Duration) error {
		return w.noGPUs(t.Context(), task, lease.TooFew(task, 2), time.Now().Add(-age))
	}
	failed := func(err error) bool {
		var f *proto.Failure
		return errors.As(err, &f) && f.Code == proto.CodeNoGPUs && !f.Retryable
	}
	announce("me", proto.EngineSGLang, 8, false)
	announce("other-engine", proto.EngineReplay, 8, false)
	announce("too-small", proto.EngineSGLang, 3, false)
	announce("leaving", proto.EngineSGLang, 8, true)
	require.True(t, failed(ask(2*time.Minute)), "nobody else can")
	require.ErrorContains(t, ask(time.Second), "not now: task c-test.t000 needs 4 GPUs", "a fleet that starts gets time")
	announce("large", proto.EngineSGLang, 4, false)
	require.ErrorContains(t, ask(time.Hour), "worker large has enough")
}
