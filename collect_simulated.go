package main

import (
	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/gpuworker/engine/replay"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher"
)

// keepApart returns whether the calls of a collection are simulated, as far as this is known before an engine starts, and an error if
// they must not be added to the workloads files of the dataset directory. The publisher checks again before it writes.
func (c *collectCmd) keepApart(s *coordinator.Submission) (publisher.Calls, error) {
	spec := s.Collection
	calls := publisher.CallsOf(spec.Engine.Kind)
	if spec.Dump.What == coordinator.DumpNone {
		return calls, nil // nothing is published
	}
	if spec.Engine.Kind == proto.EngineReplay {
		switch marks := replay.Peek(spec.Engine.DumpDir); {
		case marks.Marked && marks.Unmarked:
			return calls, publisher.MixedDumps("replay " + spec.Engine.DumpDir)
		case marks.Marked:
			calls = publisher.CallsSimulated
		case marks.Unmarked:
			calls = publisher.CallsReal
		}
	}
	return calls, publisher.CheckMix(spec.Publish.TraceDir, s.Definitions, spec.Publish.ReplaceFirst, calls)
}
