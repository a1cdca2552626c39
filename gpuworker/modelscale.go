package gpuworker

import (
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/proto"
)

// modelScale returns the softmax scale that the configuration of an engine's model states, for a real engine. The scale is
// zero if the configuration is not on this node or does not determine it; the paged MLA plans may have it.
func modelScale(e *proto.EngineSpec, log zerolog.Logger) proto.Scale {
	if e.Kind != proto.EngineSGLang || overridesModel(e.Flags) || overridesModel(e.ModelFlags) {
		return proto.Scale{}
	}
	path := traffic.ModelConfig(e.ModelPath)
	if path == "" {
		return proto.Scale{}
	}
	s, err := modelconfig.ReadScale(path)
	if err != nil {
		log.Info().Err(err).Msg("the softmax scale of ragged MLA prefill comes from paged MLA plans alone")
		return proto.Scale{}
	}
	return proto.Scale{Model: s.Value, How: s.How}
}

// overridesModel reports whether server flags change what config.json states, or take another than the one found here.
func overridesModel(flags []string) bool {
	return slices.ContainsFunc(flags, func(f string) bool {
		return strings.HasPrefix(f, "--json-model-override-args") || strings.HasPrefix(f, "--revision")
	})
}
