package main

import (
	"strings"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/replay"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

// chooseEngines gives the engines named, or all that this release has.
func chooseEngines(kinds []string) (engine.Registry, error) {
	all := engine.Registry{proto.EngineReplay: replay.New(), proto.EngineSimulate: simulate.New()}
	if len(kinds) == 0 {
		return all, nil
	}
	chosen := engine.Registry{}
	for _, k := range kinds {
		e, ok := all[proto.EngineKind(k)]
		if !ok {
			var have []string
			for _, h := range all.Kinds() {
				have = append(have, string(h))
			}
			return nil, cli.Usagef("--engines %s: this release has %s", k, strings.Join(have, " and "))
		}
		chosen[proto.EngineKind(k)] = e
	}
	return chosen, nil
}
