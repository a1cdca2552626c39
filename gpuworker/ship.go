package gpuworker

import (
	"context"
	"sync/atomic"

	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// shipper stores manifests and their tensors; it is the tailer's Ship.
type shipper struct {
	bus   *bus.Bus
	store TensorStore
	bytes atomic.Int64 // messages, and tensors handed to the store
	// evidence, where given, learns what the calls' arguments were.
	evidence *manifest.Evidence
}

// ship returns nil when m and its tensors are durable. The tensors go first: a sanitizer must find what a manifest names.
func (s *shipper) ship(ctx context.Context, m *proto.Manifest, tensors map[string][]byte) error {
	if s.evidence != nil {
		s.evidence.Add(m)
	}
	for digest, data := range tensors {
		if err := s.store.PutDigest(ctx, digest, data); err != nil {
			return err
		}
		s.bytes.Add(int64(len(data)))
	}
	p, err := s.bus.PublishAsync(ctx, proto.ManifestSubject(m.Collection, m.Task, m.Attempt, m.ID), m, "")
	if err != nil {
		return err
	}
	s.bytes.Add(int64(p.Size()))
	return p.Wait(ctx)
}
