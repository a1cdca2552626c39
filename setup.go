package main

import (
	"fmt"

	"github.com/tracefleet/tracefleet/gpuworker/pyenv"
	"github.com/tracefleet/tracefleet/internal/cli"
)

// setupCmd makes the environment that gpuworkers of this node run SGLang in.
type setupCmd struct {
	EnvDir             string `placeholder:"DIR" help:"Where the environment is made (in the user's data directory)."`
	BasePython         string `placeholder:"PATH" help:"Interpreter to make it with; python3, or what uv finds, by default."`
	SGLang             string `name:"sglang" placeholder:"VERSION" help:"SGLang's version; the newest by default."`
	SGLangSrc          string `name:"sglang-src" placeholder:"DIR" help:"A local checkout of SGLang instead."`
	FlashInfer         string `name:"flashinfer" placeholder:"VERSION" help:"FlashInfer's version; the one SGLang asks for by default."`
	FlashInferSrc      string `name:"flashinfer-src" placeholder:"DIR" help:"A local checkout of FlashInfer instead."`
	FlashInferBench    string `name:"flashinfer-bench" placeholder:"VERSION" help:"flashinfer-bench's version; the newest by default."`
	FlashInferBenchSrc string `name:"flashinfer-bench-src" placeholder:"DIR" help:"A local checkout of flashinfer-bench instead."`
	NoUV               bool   `name:"no-uv" help:"Use venv and pip even where uv is installed."`
	DryRun             bool   `help:"Print the commands and run none."`
	JSON               bool   `name:"json" help:"Print what the environment has as JSON."`
}

// Run makes the environment, or what is missing of it.
func (c *setupCmd) Run(env *environ) error {
	spec := pyenv.Spec{
		Dir: c.EnvDir, Base: c.BasePython, SGLang: c.SGLang, SGLangSrc: c.SGLangSrc, FlashInfer: c.FlashInfer, FlashInferSrc: c.FlashInferSrc,
		Bench: c.FlashInferBench, BenchSrc: c.FlashInferBenchSrc,
	}
	if spec.Dir == "" {
		spec.Dir = pyenv.DefaultDir()
	}
	if !c.NoUV {
		spec.UV = pyenv.FindUV()
	}
	steps, err := spec.Steps()
	if err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: err}
	}
	if c.DryRun {
		for _, s := range steps {
			fmt.Fprintln(env.Stdout, cli.ShellJoin(s.Argv))
		}
		return nil
	}
	report, err := pyenv.Setup(env.Soft, spec, func(line string) { fmt.Fprintln(env.Stderr, line) }, nil)
	if err != nil {
		if env.Soft.Err() != nil {
			return &cli.ExitError{Code: cli.ExitInterrupted, Err: err}
		}
		return err
	}
	if c.JSON {
		return cli.JSON(env.Stdout, report)
	}
	for _, name := range pyenv.Distributions {
		if v := report.Packages[name]; v != "" {
			fmt.Fprintf(env.Stdout, "%-20s %s\n", name, v)
		}
	}
	fmt.Fprintf(env.Stdout, "%-20s %s\n", "python", report.Python)
	return nil
}
