package coordinator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/proto"
)

// engines lists the engines that a collection can name, with a line for each.
var engines = []struct {
	kind proto.EngineKind
	does string
}{
	{proto.EngineSGLang, "real inference on GPUs, with FlashInfer's logging on; needs --model-key or --model-path"},
	{proto.EngineReplay, "recorded dumps; --dump-dir PATH alone implies it"},
	{proto.EngineSimulate, "no GPU and no model: invented calls, marked as simulated"},
}

// EngineFor returns the engine of a request: the named one, or replay if a recorded directory is set; empty: none.
func EngineFor(named proto.EngineKind, dumpDir string) proto.EngineKind {
	if named == "" && dumpDir != "" {
		return proto.EngineReplay
	}
	return named
}

// CheckEngine returns an error that lists the engines unless kind is one of them.
func CheckEngine(kind proto.EngineKind) error {
	var list strings.Builder
	for _, e := range engines {
		if e.kind == kind {
			return nil
		}
		fmt.Fprintf(&list, "\n  --engine %-8s  %s", e.kind, e.does)
	}
	if kind == "" {
		return fmt.Errorf("no engine is named; pass --engine or set TRACEFLEET_ENGINE to one of%s", &list)
	}
	return fmt.Errorf("--engine is %q, must be one of%s", kind, &list)
}

// engineFlag is a flag that some engines take and others do not.
type engineFlag struct {
	name    string // without dashes
	engines []proto.EngineKind
	// pushing flags are also taken by every other engine where the collection is pushed: this node then evaluates the baseline.
	pushing bool
	// nodeVariable flags may be set by an environment variable that describes the node and not the collection: the variable is
	// ignored where the engine does not take the flag.
	nodeVariable bool
}

var (
	onlySGLang   = []proto.EngineKind{proto.EngineSGLang}
	onlyReplay   = []proto.EngineKind{proto.EngineReplay}
	onlySimulate = []proto.EngineKind{proto.EngineSimulate}
	serving      = []proto.EngineKind{proto.EngineSGLang, proto.EngineSimulate}
	dumpRated    = []proto.EngineKind{proto.EngineReplay, proto.EngineSimulate}
)

// engineFlags is the one table of which flag belongs to which engines. A flag that is not in it belongs to all.
var engineFlags = []engineFlag{
	// Traffic: what a replay plays was served elsewhere.
	{name: "batch-sizes", engines: serving},
	{name: "num-batches", engines: serving},
	{name: "num-samples", engines: serving},
	{name: "dataset", engines: serving},
	{name: "sharegpt-path", engines: serving},
	{name: "trace-path", engines: serving},
	{name: "trace-block-size", engines: serving},
	{name: "trace-speed", engines: serving},
	{name: "isl", engines: serving},
	{name: "osl", engines: serving},
	{name: "random-range-ratio", engines: serving},
	{name: "disable-ignore-eos", engines: serving},
	{name: "disable-radix-cache", engines: serving},
	{name: "seed", engines: serving},
	{name: "chat", engines: onlySGLang},

	// Model and server. Simulated ranks and pages are those of the definitions.
	{name: "model-key", engines: onlySGLang},
	{name: "model-path", engines: onlySGLang},
	{name: "model-catalogue", engines: onlySGLang, nodeVariable: true},
	{name: "gpu-type", engines: onlySGLang},
	{name: "sglang-version", engines: onlySGLang},
	{name: "tp", engines: onlySGLang},
	{name: "ep", engines: onlySGLang},
	{name: "page-size", engines: onlySGLang},
	{name: "extra-server-flag", engines: onlySGLang},
	{name: "any-release", engines: onlySGLang},
	{name: "start-timeout", engines: onlySGLang},
	{name: "trace-dump", engines: onlySGLang},
	{name: "quantization", engines: onlySGLang},
	{name: "cpu-offload-gb", engines: onlySGLang},
	{name: "mem-fraction-static", engines: onlySGLang},
	{name: "sglang-port", engines: onlySGLang},
	{name: "base-url", engines: onlySGLang},
	{name: "pool-tokens", engines: serving},
	{name: "layers", engines: onlySimulate},

	// Recorded dumps.
	{name: "dump-dir", engines: onlyReplay},
	{name: "recorded-engine", engines: onlyReplay},
	{name: "recorded-gpu", engines: onlyReplay},
	{name: "recorded-model", engines: onlyReplay},
	{name: "dump-rate", engines: dumpRated},

	// The node's GPUs and Python.
	{name: "gpus", engines: onlySGLang, pushing: true},
	{name: "python", engines: onlySGLang, pushing: true},
	{name: "conda-env", engines: onlySGLang, pushing: true},
	{name: "workspace-base", engines: onlySGLang, pushing: true, nodeVariable: true},
}

// EnginesOf returns the engines that take a flag, named without dashes; nil: all of them.
func EnginesOf(flag string) []proto.EngineKind {
	for _, f := range engineFlags {
		if f.name == flag {
			return f.engines
		}
	}
	return nil
}

// GivenFlag is a flag that the user set, by whatever means.
type GivenFlag struct {
	Name   string // without dashes
	Value  string // empty for a flag that is only switched on
	Source string // environment variable or configuration that set it; empty: the command line
}

// String returns the flag as the user set it.
func (g GivenFlag) String() string {
	text := strings.TrimSpace("--" + g.Name + " " + g.Value)
	if g.Source != "" {
		text += " (from " + g.Source + ")"
	}
	return text
}

// CheckFlags returns an error for the first of the given flags that the engine does not take. pushes reports whether the
// collection is pushed.
func CheckFlags(kind proto.EngineKind, given []GivenFlag, pushes bool) error {
	engine := fmt.Sprintf("--engine is %s", kind)
	find := func(name string) int {
		return slices.IndexFunc(given, func(g GivenFlag) bool { return g.Name == name })
	}
	at := find("engine")
	named := at >= 0 && given[at].Source != "" // by a variable, which a flag overrides
	switch {
	case at < 0 && find("dump-dir") >= 0:
		engine = fmt.Sprintf("--dump-dir implies --engine %s", kind)
	case named:
		engine = fmt.Sprintf("%s sets --engine %s", given[at].Source, kind)
	}
	for _, g := range given {
		i := slices.IndexFunc(engineFlags, func(f engineFlag) bool { return f.name == g.Name })
		if i < 0 {
			continue
		}
		f := &engineFlags[i]
		if slices.Contains(f.engines, kind) || f.pushing && pushes || f.nodeVariable && g.Source != "" {
			continue
		}
		remedy := "leave it out"
		switch {
		case named && len(f.engines) == 1:
			remedy += fmt.Sprintf(", or pass --engine %s", f.engines[0])
		case g.Source != "":
			remedy = "unset it"
		}
		return fmt.Errorf("%s is given, but %s: only %s takes it; %s", g, engine, EngineNames(f.engines, " or "), remedy)
	}
	return nil
}

// EngineNames returns engines in words, such as "sglang or simulate".
func EngineNames(kinds []proto.EngineKind, between string) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, between)
}
