package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker"
	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/evaluate"
	"github.com/tracefleet/tracefleet/gpuworker/engine/replay"
	sglangengine "github.com/tracefleet/tracefleet/gpuworker/engine/sglang"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/gpuworker/pyenv"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

// nodeFlags say what this node gives to its engines, wherever a gpuworker runs: gpuworker, serve and collect have them.
type nodeFlags struct {
	GPUs          string `name:"gpus" placeholder:"LIST" help:"sglang: GPUs to lease, such as 0,1,2; all; none. All that CUDA_VISIBLE_DEVICES leaves visible, by default."`
	Slots         int    `placeholder:"N" help:"Tasks side by side; one a GPU by default, and one without GPUs."`
	KeepDumps     int    `placeholder:"N" help:"Keep the first N dumps of each function and attempt in the work directory's kept/, whole, to look at; none by default."`
	Python        string `placeholder:"PATH" help:"sglang: interpreter that has SGLang and FlashInfer, instead of the environment that gpuworker setup made."`
	CondaEnv      string `name:"conda-env" placeholder:"NAME" help:"sglang: conda environment that has them."`
	WorkspaceBase string `env:"FLASHINFER_WORKSPACE_BASE" placeholder:"DIR" help:"sglang: local disk for what FlashInfer compiles; beside the work directory by default."`
}

// check returns a usage error for values that are wrong whatever the node has.
func (f nodeFlags) check() error {
	if err := checkGPUs(f.GPUs); err != nil {
		return err
	}
	switch {
	case f.Slots < 0:
		return cli.Usagef("--slots is %d, must be at least 1", f.Slots)
	case f.KeepDumps < 0:
		return cli.Usagef("--keep-dumps is %d, must not be negative", f.KeepDumps)
	case f.Python != "" && f.CondaEnv != "":
		return cli.Usagef("--python and --conda-env: give one of them")
	}
	return nil
}

// checkGPUs returns a usage error for a --gpus that lists a device twice.
func checkGPUs(spec string) error {
	if twice := lease.RepeatedGPU(spec); twice != "" {
		return cli.Usagef("--gpus %s lists %s twice, and CUDA shows no device for a repeated id; list each device once", spec, twice)
	}
	return nil
}

// configured reports whether there is a Python that was made or named for SGLang. A python3 on the PATH is not enough to offer
// sglang unasked: most have none, and tasks would fail here that another worker could run.
func (f nodeFlags) configured() bool {
	if f.Python != "" || f.CondaEnv != "" {
		return true
	}
	python, err := pyenv.Find(pyenv.Wish{Dir: pyenv.DefaultDir()})
	return err == nil && strings.HasPrefix(python, pyenv.DefaultDir()+string(os.PathSeparator))
}

// node is what a gpuworker of this process works with.
type node struct {
	engines  engine.Registry
	leases   gpuworker.Leases // nil: no engine here needs GPUs
	evaluate evaluate.Options // the engine that is made once there is a broker; no Python: none
}

// node makes the engines named, or, with none named, all that this node is set up for. The leases are of the GPUs that --gpus names.
func (f nodeFlags) node(ctx context.Context, env *environ, kinds []string, workDir string, startTimeout time.Duration) (node, error) {
	if err := f.check(); err != nil {
		return node{}, err
	}
	if len(kinds) == 0 {
		kinds = []string{string(proto.EngineReplay), string(proto.EngineSimulate)}
		if f.configured() {
			kinds = append(kinds, string(proto.EngineSGLang))
		}
	}
	n := node{engines: engine.Registry{}}
	for _, k := range kinds {
		switch proto.EngineKind(k) {
		case proto.EngineReplay:
			n.engines[proto.EngineReplay] = replay.New()
		case proto.EngineSimulate:
			n.engines[proto.EngineSimulate] = simulate.New()
		case proto.EngineSGLang:
			if n.engines[proto.EngineSGLang] != nil {
				continue
			}
			leases, err := lease.Open(ctx, lease.Options{GPUs: f.GPUs, Visible: lease.VisibleHere(), Log: env.Log})
			if err != nil {
				return node{}, &cli.ExitError{Code: cli.ExitUsage, Err: err}
			}
			if n.engines[proto.EngineSGLang], err = f.sglang(leases, workDir, startTimeout); err != nil {
				return node{}, err
			}
			n.leases = leases
			if err := f.evaluating(&n, workDir); err != nil {
				return node{}, err
			}
		default:
			return node{}, cli.Usagef("--engines %s: this release has replay, simulate and sglang", k)
		}
	}
	return n, nil
}

// evaluating lets the node run the baseline, with the Python that has SGLang.
func (f nodeFlags) evaluating(n *node, workDir string) (err error) {
	if n.evaluate.Python, err = resolvePython(f.Python, f.CondaEnv); err != nil {
		return err
	}
	n.evaluate.Dir, err = filepath.Abs(filepath.Clean(workDir) + "-evaluations") // it outlives attempts
	return err
}

// evaluatingToo is evaluating on a node that no engine of the collection needs GPUs of. It says what is missing before anything starts.
func (f nodeFlags) evaluatingToo(env *environ, n *node, workDir string) error {
	missing := func(err error) error {
		return &cli.ExitError{Code: cli.ExitUsage, Err: proto.Failf(proto.CodeEnvironment, "the baseline cannot be evaluated here: %v", err).
			WithHint("--python names an interpreter that has flashinfer-bench, and --gpus the GPUs; --no-eval skips the evaluation, and the pull request states that")}
	}
	if err := f.evaluating(n, workDir); err != nil {
		return missing(err)
	}
	report, err := pyenv.Probe(env.Soft, n.evaluate.Python)
	if err != nil {
		return missing(err)
	}
	if report.Packages["flashinfer-bench"] == "" {
		return missing(fmt.Errorf("%s has no flashinfer-bench", n.evaluate.Python))
	}
	leases, err := lease.Open(env.Soft, lease.Options{GPUs: f.GPUs, Visible: lease.VisibleHere(), Log: env.Log})
	if err != nil {
		return missing(err)
	}
	if len(leases.Devices()) == 0 {
		return missing(errors.New("there is no GPU"))
	}
	n.leases = leases
	return nil
}

// sglang makes the engine of real inference.
func (f nodeFlags) sglang(leases *lease.Node, workDir string, startTimeout time.Duration) (engine.Engine, error) {
	python, err := resolvePython(f.Python, f.CondaEnv)
	if err != nil {
		return nil, err
	}
	base := f.WorkspaceBase
	if base == "" {
		base = filepath.Clean(workDir) + "-cache" // not in it: it outlives attempts, and workers
	}
	if base, err = filepath.Abs(base); err == nil {
		err = os.MkdirAll(base, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("--workspace-base: %w", err)
	}
	return sglangengine.New(sglangengine.Options{
		Python: python, WorkspaceBase: base, StartTimeout: startTimeout, Capability: leases.Capability,
	}), nil
}

// resolvePython finds the interpreter that --python or --conda-env names, else the one that setup made, else python3.
func resolvePython(python, condaEnv string) (string, error) {
	return pyenv.Find(pyenv.Wish{Python: python, CondaEnv: condaEnv, Dir: pyenv.DefaultDir()})
}

// enginesWith are the engines of a process that is to run one kind for sure: nil, for those it is set up for, where that suffices.
func enginesWith(kind string) []string {
	if kind != string(proto.EngineSGLang) {
		return nil
	}
	return []string{string(proto.EngineReplay), string(proto.EngineSimulate), string(proto.EngineSGLang)}
}
