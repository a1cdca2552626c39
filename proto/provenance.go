package proto

import "strings"

// Provenance returns what the task states of its calls: what was asked of an engine that serves, or what the user states of
// recorded dumps. The node, the process and the versions are not in it.
func (t *Task) Provenance() Provenance {
	e := &t.Engine
	p := Provenance{Engine: e.Kind}
	switch e.Kind {
	case EngineSGLang:
		p.Served, p.Model, p.Flags = Served{Engine: string(EngineSGLang), Release: e.SGLang}, e.ModelPath, e.Flags
	case EngineSimulate:
		p.Served, p.Simulated = Served{Engine: string(EngineSimulate)}, true
	case EngineReplay:
		e.Recorded.state(&p)
	}
	if e.Kind.Serves() {
		traffic := t.Traffic
		p.Mode, p.TP, p.EP, p.BatchSize, p.Traffic, p.Seed = e.Mode, e.TP, e.EP, t.BatchSize, &traffic, traffic.Seed
	}
	return p
}

// The names of the fields in Provenance.Stated.
const (
	StatedEngine = "engine" // Served
	StatedGPU    = "gpu"
	StatedMode   = "mode"
	StatedModel  = "model"
)

// Served returns the engine of r and its release.
func (r *Recorded) Served() Served {
	name, release, _ := strings.Cut(r.Engine, "==")
	return Served{Engine: name, Release: release}
}

// state copies what r states into p. A nil r states nothing.
func (r *Recorded) state(p *Provenance) {
	if r == nil {
		return
	}
	p.Served, p.Model, p.GPU = r.Served(), r.Model, r.GPU
	for _, f := range []struct{ name, value string }{{StatedEngine, r.Engine}, {StatedGPU, r.GPU}, {StatedModel, r.Model}} {
		if f.value != "" {
			p.Stated = append(p.Stated, f.name)
		}
	}
}

// ServedBy returns the engine that the versions of a dump record, and whether they record one. A simulated dump is never
// another engine's.
func ServedBy(versions map[string]string) (Served, bool) {
	for _, f := range []struct {
		key    string
		engine EngineKind
	}{{VersionSimulate, EngineSimulate}, {string(EngineSGLang), EngineSGLang}} {
		if release := versions[f.key]; release != "" {
			return Served{Engine: string(f.engine), Release: release}, true
		}
	}
	return Served{}, false
}

// String returns the engine and its release, such as "sglang 0.5.16"; empty: unknown.
func (s Served) String() string { return strings.TrimSpace(s.Engine + " " + s.Release) }

// Contradicts reports whether s names another engine or release than other does. What either leaves out contradicts nothing.
func (s Served) Contradicts(other Served) bool {
	return s.Engine != "" && other.Engine != "" && !strings.EqualFold(s.Engine, other.Engine) || s.Release != "" && other.Release != "" && s.Release != other.Release
}
