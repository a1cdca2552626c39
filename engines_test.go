package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/execfile"
	"github.com/tracefleet/tracefleet/proto"
)

// onNode puts a driver that tells of two GPUs and a python3 on the PATH, with nothing set up. It changes the environment.
func onNode(t *testing.T) *environ {
	t.Helper()
	bin := t.TempDir()
	for name, script := range map[string]string{
		"nvidia-smi": `echo "0, GPU-a, NVIDIA H200, 143771, 9.0"; echo "1, GPU-b, NVIDIA H200, 143771, 9.0"`, "python3": "exit 1",
	} {
		execfile.Write(t, filepath.Join(bin, name), "#!/bin/sh\n"+script+"\n")
	}
	t.Setenv("PATH", bin+":/bin:/usr/bin")
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("TRACEFLEET_GPU_LOCK_DIR", t.TempDir())
	t.Setenv("CUDA_VISIBLE_DEVICES", "") // is put back
	require.NoError(t, os.Unsetenv("CUDA_VISIBLE_DEVICES"))
	return &environ{Stdout: io.Discard, Stderr: io.Discard, Log: zerolog.Nop()}
}

func TestNode_Engines(t *testing.T) {
	env := onNode(t)
	work := filepath.Join(t.TempDir(), "work")
	for name, tc := range map[string]struct {
		flags nodeFlags
		kinds []string
		want  []proto.EngineKind
		gpus  int
	}{
		"nothing set up":      {want: []proto.EngineKind{proto.EngineReplay, proto.EngineSimulate}},
		"an interpreter":      {flags: nodeFlags{Python: "/bin/sh"}, want: []proto.EngineKind{proto.EngineReplay, proto.EngineSGLang, proto.EngineSimulate}, gpus: 2},
		"asked for":           {kinds: []string{"sglang", "sglang"}, want: []proto.EngineKind{proto.EngineSGLang}, gpus: 2},
		"one GPU":             {flags: nodeFlags{GPUs: "1"}, kinds: []string{"sglang"}, want: []proto.EngineKind{proto.EngineSGLang}, gpus: 1},
		"no GPUs are touched": {flags: nodeFlags{GPUs: "7"}, kinds: []string{"simulate"}, want: []proto.EngineKind{proto.EngineSimulate}},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := tc.flags.node(t.Context(), env, tc.kinds, work, 0)
			require.NoError(t, err)
			require.Equal(t, tc.want, n.engines.Kinds())
			if tc.gpus == 0 {
				require.Nil(t, n.leases)
				return
			}
			require.Len(t, n.leases.GPUs(), tc.gpus)
			require.DirExists(t, work+"-cache")
		})
	}
	require.Nil(t, enginesWith("simulate"))
	n, err := nodeFlags{}.node(t.Context(), env, enginesWith("sglang"), work, 0)
	require.NoError(t, err)
	require.Len(t, n.engines, 3, "collect --engine sglang runs it with whatever python3 there is, and is told what that lacks")
}

func TestNode_BadFlags(t *testing.T) {
	env := onNode(t)
	for want, tc := range map[string]struct {
		flags nodeFlags
		kinds []string
	}{
		"--slots is -1, must be at least 1":                                    {flags: nodeFlags{Slots: -1}},
		"--python and --conda-env: give one of them":                           {flags: nodeFlags{Python: "a", CondaEnv: "b"}},
		"--gpus 0,0 lists 0 twice, and CUDA shows no device for a repeated id": {flags: nodeFlags{GPUs: "0,0"}},
		"--engines vllm: this release has":                                     {kinds: []string{"vllm"}},
		"--gpus 2: there is no device 2; this node has devices 0, 1":           {flags: nodeFlags{GPUs: "2"}, kinds: []string{"sglang"}},
	} {
		_, err := tc.flags.node(t.Context(), env, tc.kinds, filepath.Join(t.TempDir(), "work"), 0)
		require.ErrorContains(t, err, want)
		require.Equal(t, cli.ExitUsage, cli.ExitCode(err), want)
	}
	_, err := nodeFlags{CondaEnv: "nowhere"}.node(t.Context(), env, nil, filepath.Join(t.TempDir(), "work"), 0)
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, proto.CodeEnvironment, f.Code)
}

// `tracefleet gpuworker` is the worker, as it was before it had a subcommand.
func TestGpuworker_TheWordMayBeLeftOut(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"gpuworker", "--gpus", "0,1", "--start-timeout", "90m", "--engines", "sglang,replay"},
		{"gpuworker", "work", "--gpus=0,1", "--start-timeout=90m", "--engines=sglang,replay"},
	} {
		var a app
		parser, err := kong.New(&a, kong.Writers(io.Discard, io.Discard))
		require.NoError(t, err)
		parsed, err := parser.Parse(args)
		require.NoError(t, err)
		require.Equal(t, "gpuworker work", parsed.Command())
		require.Equal(t, "0,1", a.Gpuworker.Work.GPUs)
		require.Equal(t, 90*time.Minute, a.Gpuworker.Work.StartTimeout)
		require.Equal(t, []string{"sglang", "replay"}, a.Gpuworker.Work.Engines)
	}
}

func TestGPUCell(t *testing.T) {
	t.Parallel()
	require.Empty(t, gpuCell(nil))
	require.Equal(t, "GPU 0 NVIDIA H200 150.8 GB, free\nGPU 3, c-0a.t001", gpuCell([]proto.GPU{
		{Name: "NVIDIA H200", Bytes: 143771 << 20}, {Index: 3, Holder: "c-0a.t001"},
	}))
}
