package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/cli"
)

// parsedCollect parses a command line of collect with more options of the parser.
func parsedCollect(t *testing.T, options []kong.Option, args ...string) *collectCmd {
	t.Helper()
	var a app
	parser, err := kong.New(&a, append(options, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))...)
	require.NoError(t, err)
	_, err = parser.Parse(expand(append([]string{"collect", "--trace-dir", "."}, args...)))
	require.NoError(t, err)
	return &a.Collect
}

// A flag is given where the user set it, to its default too, by whatever means.
func TestGivenFlags_Sources(t *testing.T) {
	configuration := kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if flag.Name == "osl" {
			return "7", nil
		}
		return nil, nil
	}))
	t.Setenv("TRACEFLEET_ISL", "9")
	t.Setenv("TRACEFLEET_DUMP_DIR", "")
	c := parsedCollect(t, []kong.Option{kong.DefaultEnvars("TRACEFLEET"), configuration}, "--batch-sizes", "8", "32", "64", "128", "--chat", "--def-name", "a")
	got := map[string]coordinator.GivenFlag{}
	for _, g := range c.list {
		got[g.Name] = g
	}
	require.Equal(t, map[string]coordinator.GivenFlag{
		"trace-dir":   {Name: "trace-dir", Value: "."},
		"batch-sizes": {Name: "batch-sizes", Value: "8,32,64,128"},
		"chat":        {Name: "chat"},
		"definitions": {Name: "definitions", Value: "a"},
		"isl":         {Name: "isl", Value: "9", Source: "TRACEFLEET_ISL"},
		"osl":         {Name: "osl", Value: "7", Source: "the configuration"},
	}, got)
}

// Every flag that chooses the engine's model, server, traffic or recording has its engines in the table.
func TestEngineFlags_TableIsComplete(t *testing.T) {
	t.Parallel()
	anyEngine := []string{"engine", "slots", "keep-dumps"}
	for _, flags := range []any{&engineFlags{}, &trafficFlags{}, &olderFlags{}, &nodeFlags{}} {
		parser, err := kong.New(flags, kong.NoDefaultHelp())
		require.NoError(t, err)
		for _, f := range parser.Model.Flags {
			require.Equal(t, !slices.Contains(anyEngine, f.Name), coordinator.EnginesOf(f.Name) != nil, f.Name)
		}
	}
}

// The help of collect and resolve names the engines of a flag by the table.
func TestHelp_NamesTheEnginesOfAFlag(t *testing.T) {
	t.Parallel()
	var a app
	parser, err := kong.New(&a, kong.PostBuild(engineHelp))
	require.NoError(t, err)
	seen := map[string]string{}
	for _, n := range parser.Model.Leaves(false) {
		for _, f := range n.Flags {
			seen[n.Path()+" "+f.Name] = f.Help
		}
	}
	for flag, prefix := range map[string]string{
		"collect batch-sizes": "sglang, simulate: Requests in flight", "collect recorded-model": "replay: Model", "collect gpus": "sglang: GPUs to lease",
		"definitions resolve tp": "sglang: Tensor parallel", "definitions harvest tp": "Tensor parallel", "sanitize dump-dir": "Level-10",
	} {
		require.True(t, strings.HasPrefix(seen[flag], prefix), "%s: %q", flag, seen[flag])
	}
}

// TestCollect_FlagsOfAnotherEngine_AreRefused tries each flag with an engine that does not take it, through the command line.
func TestCollect_FlagsOfAnotherEngine_AreRefused(t *testing.T) {
	for _, tc := range []struct {
		variable string // NAME=value
		args     string
		says     string
	}{
		{"", "--engine simulate --sglang-version 0.5.16", "--sglang-version 0.5.16 is given, but --engine is simulate: only sglang takes it"},
		{"", "--engine simulate --gpu-type h200", "--gpu-type h200 is given"},
		{"", "--engine simulate --tp 2", "--tp 2 is given"},
		{"", "--engine simulate --model-path m", "--model-path m is given"},
		{"", "--engine simulate --model-key llama-3.1-8b", "--model-key llama-3.1-8b is given"},
		{"", "--engine simulate --extra-server-flag=--a", "--extra-server-flag --a is given"},
		{"", "--engine simulate --gpus 0", "--gpus 0 is given"},
		{"", "--engine simulate --python python3", "--python python3 is given"},
		{"", "--engine simulate --mem-fraction-static 0.8", "--mem-fraction-static 0.8 is given"},
		{"", "--engine simulate --recorded-gpu H200", "--recorded-gpu H200 is given, but --engine is simulate: only replay takes it"},
		{"", "--engine sglang --model-path m --layers 2", "--layers 2 is given, but --engine is sglang: only simulate takes it"},
		{"", "--engine sglang --model-path m --dump-rate 2", "--dump-rate 2 is given, but --engine is sglang: only replay or simulate takes it"},
		{"", "--dump-dir . --batch-sizes 8 32 64 128", "--batch-sizes 8,32,64,128 is given, but --dump-dir implies --engine replay: only sglang or simulate takes it"},
		{"", "--dump-dir . --engine replay --num-batches 2", "--num-batches 2 is given, but --engine is replay"},
		{"", "--dump-dir . --num-samples 2", "--num-samples 2 is given"},
		{"", "--dump-dir . --dataset random", "--dataset random is given"},
		{"", "--dump-dir . --dataset /data/sharegpt.json", "--dataset /data/sharegpt.json is given"},
		{"", "--dump-dir . --sharegpt-path f", "--sharegpt-path f is given"},
		{"", "--dump-dir . --trace-path f", "--trace-path f is given"},
		{"", "--dump-dir . --trace-speed 0", "--trace-speed 0 is given"},
		{"", "--dump-dir . --isl 1024", "--isl 1024 is given"},
		{"", "--dump-dir . --osl 1024", "--osl 1024 is given"},
		{"", "--dump-dir . --random-range-ratio 0.5", "--random-range-ratio 0.5 is given"},
		{"", "--dump-dir . --seed 0", "--seed 0 is given"},
		{"", "--dump-dir . --chat", "--chat is given"},
		{"", "--dump-dir . --disable-ignore-eos", "--disable-ignore-eos is given"},
		{"", "--dump-dir . --disable-radix-cache", "--disable-radix-cache is given"},
		{"", "--dump-dir . --model-key llama-3.1-8b", "--model-key llama-3.1-8b is given"},
		{"", "--dump-dir . --tp 2", "--tp 2 is given"},
		{"", "--dump-dir . --page-size 16", "--page-size 16 is given"},
		{"", "--dump-dir . --quantization fp8", "--quantization fp8 is given"},
		{"", "--dump-dir . --recorded-model=", "--recorded-model is empty"},
		{"", "--dump-dir . --recorded-engine a,b", "--recorded-engine is \"a,b\""},
		{"", "--dump-dir . --engine simulate", "--dump-dir . is given, but --engine is simulate: only replay takes it"},
		{"TRACEFLEET_ENGINE=sglang", "--dump-dir .", "--dump-dir . is given, but TRACEFLEET_ENGINE sets --engine sglang: only replay takes it; leave it out, or pass --engine replay"},
		{"TRACEFLEET_ENGINE=vllm", "", `TRACEFLEET_ENGINE: --engine is "vllm", must be one of`},
		{"TRACEFLEET_ENGINE=", "", "no engine is named"},
		{"", "", "no engine is named; pass --engine or set TRACEFLEET_ENGINE to one of\n  --engine sglang "},
		{"", "--nats nats://127.0.0.1:1", "no engine is named"},
	} {
		t.Run(tc.variable+" "+tc.args, func(t *testing.T) {
			t.Setenv("TRACEFLEET_ENGINE", "")
			if name, value, ok := strings.Cut(tc.variable, "="); ok {
				t.Setenv(name, value)
			}
			var out, errs bytes.Buffer
			code := run(append([]string{"collect", "--plan-only", "--all", "--trace-dir", "testdata/dataset", "--state-dir", t.TempDir()}, strings.Fields(tc.args)...), &out, &errs)
			require.Equal(t, cli.ExitUsage, code, errs.String())
			require.Contains(t, errs.String(), tc.says)
			require.Empty(t, out.String())
		})
	}
}

// The environment may name the engine, and variables that describe the node are no flags of another engine.
func TestCollect_EngineOfTheEnvironment_IsUsed(t *testing.T) {
	t.Setenv("TRACEFLEET_ENGINE", "simulate")
	t.Setenv("TRACEFLEET_MODELS", "/no/models.json")
	t.Setenv("FLASHINFER_WORKSPACE_BASE", "/no/workspace")
	var out, errs bytes.Buffer
	code := run([]string{"collect", "--plan-only", "--all", "--trace-dir", "testdata/dataset"}, &out, &errs)
	require.Equal(t, cli.ExitDone, code, errs.String())
	require.Contains(t, out.String(), "simulate")
}

func TestResolve_Engine(t *testing.T) {
	for name, tc := range map[string]struct {
		variable, args string
		code           int
		says           string
	}{
		"real inference by default": {"", "", cli.ExitDone, "--attention-backend flashinfer"},
		"of the environment":        {"simulate", "", cli.ExitDone, "gqa_paged"},
		"no such engine":            {"", "--engine vllm", cli.ExitUsage, `--engine is "vllm"`},
		"another engine's flag":     {"", "--engine simulate --gpu-type h200", cli.ExitUsage, "--gpu-type h200 is given"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TRACEFLEET_ENGINE", tc.variable)
			var out bytes.Buffer
			code := run(append([]string{"definitions", "resolve", "--trace-dir", "testdata/dataset"}, strings.Fields(tc.args)...), &out, &out)
			require.Equal(t, tc.code, code, out.String())
			require.Contains(t, out.String(), tc.says)
		})
	}
}
