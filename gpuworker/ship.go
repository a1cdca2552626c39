package gpuworker

import (
	"context"
	"maps"
	"sync/atomic"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// shipper stores manifests and their tensors; it is the tailer's Ship.
type shipper struct {
	bus   *bus.Bus
	store TensorStore
	bytes atomic.Int64 // messages, and tensors handed to the store
	// identity is what the engine reported of itself; nil until it does.
	identity atomic.Pointer[engine.Identity]
	// evidence, where given, learns what the calls' arguments were.
	evidence *manifest.Evidence
}

// identify is the engine's Job.Identify.
func (s *shipper) identify(id engine.Identity) { s.identity.Store(&id) }

// complete adds to a manifest's provenance what the engine reported of itself. Versions that the dump records win.
func (s *shipper) complete(p *proto.Provenance) {
	id := s.identity.Load()
	if id == nil {
		return
	}
	versions := make(map[string]string, len(id.Versions)+len(p.Versions))
	maps.Copy(versions, id.Versions)
	maps.Copy(versions, p.Versions)
	p.Versions, p.Mode = versions, id.Mode
	if release := versions[p.Served.Engine]; release != "" {
		p.Served.Release = release
	}
}

// ship returns nil when m and its tensors are durable. The tensors go first: a sanitizer must find what a manifest names.
func (s *shipper) ship(ctx context.Context, m *proto.Manifest, tensors map[string][]byte) error {
	s.complete(&m.Provenance)
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
