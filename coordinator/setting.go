package coordinator

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// EngineSpec is the engine that r asks for, with what the catalogue and the model's own directory add: path, architecture and
// flags. Explicit flags win. The warnings are for the user; the error is a *proto.Failure, or names a path.
//
// The catalogue's ranks and page size stay among ModelFlags: the definitions' own tags and axes come first, and
// only planning has read those.
func (r *Request) EngineSpec() (proto.EngineSpec, []string, error) {
	e := proto.EngineSpec{
		Kind: r.Engine, ModelKey: r.ModelKey, ModelPath: r.ModelPath, TP: r.TP, EP: r.EP, PageSize: r.PageSize, Flags: r.ServerFlags,
		DumpRate: r.DumpRate, Layers: r.Layers, PoolToken: r.PoolTokens,
	}
	if r.Recorded != (proto.Recorded{}) {
		recorded := r.Recorded
		e.Recorded = &recorded
	}
	if r.Engine != proto.EngineSGLang {
		return e, nil, nil // no model is loaded
	}
	e.SGLang, e.AnyRelease, e.GPUType, e.Host, e.Port = r.SGLang, r.AnyRelease, gpuType(r.GPUType), r.Host, r.Port
	e.StartTimeout = r.StartTimeout
	var warnings []string
	gpuKnown := e.GPUType == "" || reach.Capability(e.GPUType) > 0
	if r.ModelKey != "" {
		catalogue, err := LoadCatalogue(r.Catalogue)
		if err != nil {
			return e, nil, err
		}
		m, err := catalogue.Model(r.ModelKey, e.GPUType)
		if err != nil {
			return e, nil, err
		}
		gpuKnown = gpuKnown || slices.Contains(catalogue.GPUTypes(), e.GPUType)
		e.Architecture = m.Architecture
		if e.ModelPath == "" {
			e.ModelPath = m.Path
		}
		e.ModelFlags = m.flags()
	} else if r.Catalogue != "" {
		if _, err := LoadCatalogue(r.Catalogue); err != nil { // unused, but a file that is named must be valid
			return e, nil, err
		}
	}
	if !gpuKnown {
		warnings = append(warnings, fmt.Sprintf("--gpu-type %s is not a known GPU type: what depends on the GPU is not checked, and the catalogue's default flags are used", e.GPUType))
	}
	path, err := modelPath(e.ModelPath)
	if err != nil {
		return e, nil, err
	}
	e.ModelPath = path
	err = r.configure(&e)
	return e, warnings, err
}

// configure sets the model's configuration, as far as it is known. If this process can read the model's directory, it is that of the
// directory, which also decides the architecture; else the catalogue's for its key, or for a repository of the same name. The Hugging Face
// cache of this machine is not read, because the same command must produce the same plan before and after a download.
func (r *Request) configure(e *proto.EngineSpec) error {
	flags, _ := sglang.Settle(e.SGLang, e.AnyRelease, e.ModelFlags, e.Flags) // the launch reports what is wrong with them
	overrides := flags.Value("json_model_override_args")
	config, err := modelconfig.ReadDir(e.ModelPath, overrides)
	if err != nil {
		return proto.Failf(proto.CodeBadCollection, "--model-path: %v", err)
	}
	if config != nil {
		e.Architecture, e.ModelConfig, e.ModelSource = config.Architecture(), config.Summary(), filepath.Join(e.ModelPath, "config.json")
		return nil
	}
	if flags.Has("revision") { // the catalogue's numbers may be those of another
		return nil
	}
	catalogue, err := LoadCatalogue(r.Catalogue)
	if err != nil {
		return err
	}
	numbers, raw := catalogue.config(e.ModelKey, e.ModelPath)
	if raw == nil {
		return nil
	}
	if config, err = modelconfig.Parse(raw, overrides); err != nil {
		return proto.Failf(proto.CodeBadCollection, "%s: %v", numbers, err)
	}
	e.ModelConfig, e.ModelSource = config.Summary(), numbers
	return nil
}

// gpuType is how the catalogue and the plan write a GPU type: lower case, without the vendor.
func gpuType(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	for _, vendor := range []string{"nvidia-", "nvidia "} {
		s = strings.TrimPrefix(s, vendor)
	}
	return s
}

// modelPath makes a directory's path absolute, as far as the name is one: another process has another working directory. A
// repository's name, such as Qwen/Qwen3-8B, stays.
func modelPath(path string) (string, error) {
	if path == "" || filepath.IsAbs(path) {
		return path, nil
	}
	if info, err := os.Stat(path); (err != nil || !info.IsDir()) && !strings.HasPrefix(path, ".") {
		return path, nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("--model-path %s: %w", path, err)
	}
	return abs, nil
}

// The flags under which a collection's ModelFlags hold the catalogue's ranks and page size, until planning has taken them out.
const (
	tpFlag   = "--tp-size "
	epFlag   = "--ep-size "
	pageFlag = "--page-size "
)

// flags gives all that the catalogue says of a model as server flags.
func (m Model) flags() []string {
	var list []string
	for _, f := range []struct {
		flag  string
		value int
	}{{tpFlag, m.TP}, {epFlag, m.EP}, {pageFlag, m.PageSize}} {
		if f.value > 0 {
			list = append(list, f.flag+strconv.Itoa(f.value))
		}
	}
	return append(list, m.Flags...)
}

// catalogued parts a collection's ModelFlags into the ranks and the page size among them, and the rest.
func catalogued(flags []string) (m Model) {
	for _, flag := range flags {
		into, at := (*int)(nil), ""
		for _, f := range []struct {
			flag string
			into *int
		}{{tpFlag, &m.TP}, {epFlag, &m.EP}, {pageFlag, &m.PageSize}} {
			if rest, ok := strings.CutPrefix(flag, f.flag); ok {
				into, at = f.into, rest
			}
		}
		if n, err := strconv.Atoi(at); into != nil && err == nil {
			*into = n
			continue
		}
		m.Flags = append(m.Flags, flag)
	}
	return m
}
