package gpuworker

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/proto"
)

// modelScale returns the softmax scale that the configuration of a task's model states, for a real engine and a model in a local
// directory. A configuration that does not settle it is logged and gives none: the paged MLA plans may.
func (a *attempt) modelScale() proto.Scale {
	e := &a.began.Task.Engine
	if e.Kind != proto.EngineSGLang || !filepath.IsAbs(e.ModelPath) || overridesModel(e.Flags) || overridesModel(e.ModelFlags) {
		return proto.Scale{}
	}
	s, err := modelconfig.ReadScale(e.ModelPath)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			a.log.Warn().Err(err).Msg("the softmax scale of ragged MLA prefill is taken from paged MLA plans alone")
		}
		return proto.Scale{}
	}
	return proto.Scale{Model: s.Value, How: s.How}
}

// overridesModel reports whether server flags change what config.json states.
func overridesModel(flags []string) bool {
	return slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--json-model-override-args") })
}
