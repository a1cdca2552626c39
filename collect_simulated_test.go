package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

// mixRig is a dataset directory whose file of a definition has one line.
func mixRig(t *testing.T, simulated bool) (dataset, state string) {
	t.Helper()
	dataset = filepath.Join(t.TempDir(), "set")
	require.NoError(t, os.CopyFS(dataset, os.DirFS(filepath.Join("testdata", "dataset"))))
	for name, data := range someLine(simulated) {
		file := filepath.Join(dataset, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, data, 0o644))
	}
	return dataset, filepath.Join(t.TempDir(), "state")
}

// someLine returns a workload's line, with provenance if it is simulated.
func someLine(simulated bool) map[string][]byte {
	const uuid = "11111111-2222-4333-8444-555555555555"
	files := map[string][]byte{"workloads/rmsnorm/rmsnorm_h4096.jsonl": []byte(`{"definition": "rmsnorm_h4096", "solution": null, "workload": {"uuid": "` + uuid +
		`", "axes": {"batch_size": 7}, "inputs": {"hidden_states": {"type": "random"}, "weight": {"type": "random"}}}, "evaluation": null}` + "\n")}
	if simulated {
		files["provenance/rmsnorm/rmsnorm_h4096.jsonl"] = []byte(`{"uuid": "` + uuid + `", "simulated": true, "calls_with_content": 1, "calls_with_shape": 1}` + "\n")
	}
	return files
}

const dumpsOfAnH200 = "testdata/recorded/sglang-0.5.16-h200.tar.xz"

// What may not share a file is refused before an engine starts: no state directory is made, and nothing is written.
func TestCollect_SimulatedAndOthers_AreRefusedBeforeTheEngine(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		simulated bool // what is there
		args      []string
		says      string
	}{
		"simulate into lines of unknown origin": {false, []string{"--engine", "simulate", "--batch-sizes", "4"}, "not known to be simulated (the first is line 1)"},
		"replay of real dumps into simulated":   {true, []string{"--engine", "replay", "--dump-dir", dumpsOfAnH200}, "1 of its 1 lines are simulated"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dataset, state := mixRig(t, test.simulated)
			var out, errs bytes.Buffer
			args := []string{"collect", "--trace-dir", dataset, "--state-dir", state, "--definitions", "rmsnorm_h4096"}
			require.Equal(t, cli.ExitUsage, run(append(args, test.args...), &out, &errs), errs.String())
			for _, words := range []string{test.says, "workloads/rmsnorm/rmsnorm_h4096.jsonl of dataset " + dataset, "cp -r " + dataset + "/definitions"} {
				require.Contains(t, errs.String(), words)
			}
			require.LessOrEqual(t, strings.Count(errs.String(), "\n"), 2)
			require.NoDirExists(t, state)
		})
	}
}

func TestCollect_NothingIsPublished_IsNotRefused(t *testing.T) {
	t.Parallel()
	dataset, state := mixRig(t, false)
	var out, errs bytes.Buffer
	code := run([]string{"collect", "--trace-dir", dataset, "--state-dir", state, "--definitions", "rmsnorm_h4096", "--engine", "simulate", "--batch-sizes", "4", "--plan-only"}, &out, &errs)
	require.Equal(t, cli.ExitDone, code, errs.String())
}

// The repository's file counts as the dataset's does. A file of simulated lines takes more.
func TestCollect_RepositoryOfOthers_IsRefusedBeforeTheEngine(t *testing.T) {
	for name, simulated := range map[string]bool{"of unknown origin": false, "simulated": true} {
		t.Run(name, func(t *testing.T) {
			h := hubtest.New(t, hubtest.Options{Seed: someLine(simulated)})
			for _, setting := range h.Env() {
				key, value, _ := strings.Cut(setting, "=")
				t.Setenv(key, value)
			}
			dataset := filepath.Join(t.TempDir(), "set")
			require.NoError(t, os.CopyFS(dataset, os.DirFS(filepath.Join("testdata", "dataset"))))
			var out, errs bytes.Buffer
			code := run([]string{"collect", "--trace-dir", dataset, "--state-dir", filepath.Join(t.TempDir(), "state"), "--definitions", "rmsnorm_h4096", "--engine", "simulate",
				"--batch-sizes", "4", "--dump-count", "20", "--repo-id", "flashinfer-ai/flashinfer-trace", "--no-eval"}, &out, &errs)
			if !simulated {
				require.Equal(t, cli.ExitUsage, code, errs.String())
				require.Contains(t, errs.String(), "workloads/rmsnorm/rmsnorm_h4096.jsonl of flashinfer-ai/flashinfer-trace at main: 1 of its 1 lines are not known to be simulated")
				require.Empty(t, h.PRs())
				return
			}
			require.Equal(t, cli.ExitDone, code, errs.String())
			files, err := h.Files("refs/pr/1")
			require.NoError(t, err)
			const file = "provenance/rmsnorm/rmsnorm_h4096.jsonl"
			require.True(t, bytes.HasPrefix(files[file], someLine(true)[file]), "lines that are there stay")
			local, err := os.ReadFile(filepath.Join(dataset, filepath.FromSlash(file)))
			require.NoError(t, err)
			require.Equal(t, string(local), strings.TrimPrefix(string(files[file]), string(someLine(true)[file])))
		})
	}
}
