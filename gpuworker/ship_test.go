package gpuworker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

// tensorsFunc is a TensorStore of one function.
type tensorsFunc func(digest string) error

func (f tensorsFunc) PutDigest(_ context.Context, digest string, _ []byte) error { return f(digest) }

func shippedManifest() *proto.Manifest {
	return &proto.Manifest{
		Collection: "c-1", Task: "t000", Attempt: 1, ID: "0a", Node: "node",
		Call: proto.Call{Dump: "20260101_000000_000_pid1_rmsnorm_call0001", Function: "rmsnorm"},
	}
}

// The tailer deletes a dump when ship returns nil: it must not, as long as the broker has not said that it stored the manifest.
func TestShip_ReturnsOnlyWhenStored(t *testing.T) {
	t.Parallel()
	broker := bustest.StartProcess(t, t.TempDir())
	b := broker.Connect("worker")
	s := &shipper{bus: b, store: tensorsFunc(func(string) error { return nil })}
	broker.Kill()
	returned := make(chan error, 1)
	go func() { returned <- s.ship(t.Context(), shippedManifest(), map[string][]byte{"d": {1}}) }()
	select {
	case err := <-returned:
		t.Fatalf("ship returned %v while there was no broker", err)
	case <-time.After(500 * time.Millisecond): // nothing to wait for: what must not happen has no signal
	}
	broker.Restart()
	require.NoError(t, <-returned)
	n, err := b.CountSubjects(t.Context(), proto.StreamManifests, ">")
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// A sanitizer must find what a manifest names: no tensor, no manifest.
func TestShip_TensorsFirst(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	refused := errors.New("no room")
	s := &shipper{bus: b, store: tensorsFunc(func(string) error { return refused })}
	require.ErrorIs(t, s.ship(t.Context(), shippedManifest(), map[string][]byte{"d": {1}}), refused)
	n, err := b.CountSubjects(t.Context(), proto.StreamManifests, ">")
	require.NoError(t, err)
	require.Equal(t, 0, n)
}
