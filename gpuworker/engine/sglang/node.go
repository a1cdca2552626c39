package sglang

import (
	"context"
	"maps"

	"github.com/tracefleet/tracefleet/gpuworker/pyenv"
	"github.com/tracefleet/tracefleet/proto"
)

// node is the Python environment that the engine runs in.
type node struct {
	release  string            // of SGLang
	versions map[string]string // for provenance: sglang, flashinfer, torch, python
	site     []string          // directories that hold packages, in import order
}

// look asks the interpreter for its packages. It is asked for each lifetime: an environment may be changed under a worker that
// runs for weeks, and provenance must not have yesterday's versions.
func (e *Engine) look(ctx context.Context) (*node, error) {
	if e.opt.Python == "" {
		return nil, proto.Failf(proto.CodeEnvironment, "this worker has no Python for SGLang").
			WithHint("start it with --python or --conda-env, or make an environment with `tracefleet gpuworker setup`")
	}
	r, err := pyenv.Probe(ctx, e.opt.Python, e.opt.Env...)
	if err != nil {
		return nil, err
	}
	n := &node{release: r.Packages["sglang"], site: r.Site, versions: map[string]string{"python": r.Version}}
	for name, distribution := range map[string]string{"sglang": "sglang", "flashinfer": "flashinfer-python", "torch": "torch"} {
		if v := r.Packages[distribution]; v != "" {
			n.versions[name] = v
		}
	}
	maps.DeleteFunc(n.versions, func(_, v string) bool { return v == "" })
	for _, needed := range []string{"sglang", "flashinfer-python", "torch"} {
		if r.Packages[needed] == "" {
			return nil, proto.Failf(proto.CodeEnvironment, "%s has no %s", e.opt.Python, needed).
				WithHint("`tracefleet doctor` shows what is there; `tracefleet gpuworker setup` makes an environment that has all of it")
		}
	}
	return n, nil
}
