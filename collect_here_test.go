package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/execfile"
)

// reporting writes an interpreter that has packages, and nothing else it could be asked for.
func reporting(t *testing.T, packages map[string]string) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{"version": "3.12.3", "packages": packages})
	require.NoError(t, err)
	return execfile.Write(t, filepath.Join(t.TempDir(), "python"), fmt.Sprintf("#!/bin/sh\n[ \"$1\" = -c ] || exit 9\necho '%s'\n", data))
}

// driver puts an nvidia-smi on the PATH that tells of these GPUs, by name.
func driver(t *testing.T, names ...string) {
	t.Helper()
	bin, script := t.TempDir(), "#!/bin/sh\n"
	for i, name := range names {
		script += fmt.Sprintf("echo '%d, GPU-%d, %s, 143771, 9.0'\n", i, i, name)
	}
	execfile.Write(t, filepath.Join(bin, "nvidia-smi"), script)
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// A request of this node's own gets the release and the GPU type from the node, unless the user said them.
func TestLookHere(t *testing.T) {
	env := onNode(t)
	env.Soft = t.Context()
	python := reporting(t, map[string]string{"sglang": "0.5.16"})
	for name, tc := range map[string]struct {
		gpus    []string
		flags   nodeFlags
		asked   coordinator.Request
		release string
		gpuType string
	}{
		"asked of the node":           {gpus: []string{"NVIDIA H200", "NVIDIA H200"}, release: "0.5.16", gpuType: "h200"},
		"the user's word for both":    {gpus: []string{"NVIDIA H200"}, flags: nodeFlags{Python: "/no/python"}, asked: coordinator.Request{SGLang: "0.5.20", GPUType: "b200"}, release: "0.5.20", gpuType: "b200"},
		"only those that are leased":  {gpus: []string{"NVIDIA T400", "NVIDIA H100 80GB HBM3"}, flags: nodeFlags{GPUs: "1"}, release: "0.5.16", gpuType: "h100"},
		"not the first of two kinds":  {gpus: []string{"NVIDIA H200", "NVIDIA T400"}, release: "0.5.16"},
		"not the second of two kinds": {gpus: []string{"NVIDIA T400", "NVIDIA H200"}, release: "0.5.16"},
		"a type of its own":           {gpus: []string{"NVIDIA GB200"}, release: "0.5.16", gpuType: "gb200"},
		"a type without an entry":     {gpus: []string{"NVIDIA L40S"}, release: "0.5.16", gpuType: "NVIDIA L40S"},
		"no GPUs":                     {flags: nodeFlags{GPUs: "none"}, release: "0.5.16"},
	} {
		t.Run(name, func(t *testing.T) {
			driver(t, tc.gpus...)
			if tc.flags.Python == "" {
				tc.flags.Python = python
			}
			c := collectCmd{nodeFlags: tc.flags}
			r := tc.asked
			require.NoError(t, c.lookHere(env, &r))
			require.Equal(t, tc.release, r.SGLang)
			require.Equal(t, tc.gpuType, r.GPUType)
		})
	}
}

func TestGPUType(t *testing.T) {
	t.Parallel()
	known := []string{"b200", "gb200", "h100", "h200", "l4"}
	for name, want := range map[string]string{
		"NVIDIA H100 80GB HBM3": "h100", "NVIDIA H200": "h200", "NVIDIA H200 NVL": "h200", "NVIDIA B200": "b200", "NVIDIA GB200": "gb200", "NVIDIA L4": "l4",
		"H100-SXM5-80GB": "h100", "NVIDIA GH200 480GB": "NVIDIA GH200 480GB", "NVIDIA L40S": "NVIDIA L40S", "NVIDIA T400": "", "": "",
	} {
		require.Equal(t, want, gpuType(name, known), name)
	}
}

// What this node cannot collect is refused in plain words before anything is started: no broker, no task, no state.
func TestCollect_RefusedByTheNode(t *testing.T) {
	onNode(t)
	whole := reporting(t, map[string]string{"sglang": "0.5.16", "flashinfer-python": "0.6.14"})
	without := reporting(t, map[string]string{"torch": "2.11.0"})
	for name, tc := range map[string]struct {
		args string
		says []string
	}{
		"no SGLang":            {"--python " + without, []string{without + " has no SGLang", "`tracefleet gpuworker setup`", "--conda-env", "`tracefleet doctor`"}},
		"python3 of the PATH":  {"", []string{"python3", "ask "}}, // it exits with 1
		"no such Python":       {"--python /no/python", []string{"/no/python"}},
		"no such conda":        {"--conda-env nowhere", []string{"nowhere"}},
		"two Pythons":          {"--python a --conda-env b", []string{"--python and --conda-env"}},
		"no such GPU":          {"--python " + whole + " --gpus 7", []string{"--gpus 7", "devices 0, 1"}},
		"no slots":             {"--python " + whole + " --slots=-1", []string{"--slots is -1"}},
		"not on these GPUs":    {"--python " + whole + " --definitions moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e64_h1024_i512", []string{"SM100", "SM90"}},
		"not by its release":   {"--python " + whole + " --extra-server-flag=--no-such-flag", []string{"--no-such-flag", "0.5.16"}},
		"not without a broker": {"--python " + whole + " --detach", []string{"--detach needs --nats"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			state := filepath.Join(t.TempDir(), "state")
			args := []string{"collect", "--engine", "sglang", "--model-path", "org/m", "--trace-dir", "testdata/dataset", "--state-dir", state, "--batch-sizes", "2"}
			if !strings.Contains(tc.args, "--definitions") {
				args = append(args, "--definitions", "gqa_paged_decode_h32_kv8_d128_ps1")
			}
			code := run(append(args, strings.Fields(tc.args)...), &out, &errs)
			require.Equal(t, cli.ExitUsage, code, errs.String())
			for _, words := range tc.says {
				require.Contains(t, errs.String(), words)
			}
			require.Empty(t, out.String())
			require.NoDirExists(t, state)
		})
	}
}
