package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/coordinator/harvest"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/fidump"
)

// rankedSet is a dataset whose norms are tagged by both kinds of ranks.
func rankedSet(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile("testdata/dataset/definitions/rmsnorm/rmsnorm_h4096.json")
	require.NoError(t, err)
	ranked := strings.Replace(string(data), `"tp:1"`, `"tp:1", "ep:1"`, 1)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "definitions", "rmsnorm"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "definitions", "rmsnorm", "rmsnorm_h4096.json"), []byte(ranked), 0o644))
	return dir
}

// What a job knows of its run is in the tags, unless a flag says otherwise.
func TestHarvest_JobsOwnRanks(t *testing.T) {
	t.Parallel()
	state, set := t.TempDir(), rankedSet(t)
	storeJob(t, state, 2, "rmsnorm_h1024.json", harvest.EvidenceFile)
	for name, tc := range map[string]struct {
		flags, tags []string
	}{
		"the job's": {nil, []string{`"model:demo-8b"`, `"tp:2"`, `"ep:2"`}},
		"the flags": {[]string{"--tp", "8", "--ep", "4", "--model", "org/Other"}, []string{`"model:other"`, `"tp:8"`, `"ep:4"`}},
	} {
		out := filepath.Join(t.TempDir(), "staging")
		code, stdout, stderr := harvestedFor(set, append(tc.flags, "--job", "c-0123", "--state-dir", state, "--out", out)...)
		require.Equal(t, cli.ExitDone, code, "%s: %s%s", name, stdout, stderr)
		data, err := os.ReadFile(filepath.Join(out, "definitions", "rmsnorm", "rmsnorm_h1024.json"))
		require.NoError(t, err)
		for _, tag := range tc.tags {
			require.Contains(t, string(data), tag, name)
		}
		require.NotContains(t, stderr, "no dumps of the run", "the job has evidence")
	}
}

// A job that was not collected for it is told how to, and nothing is staged.
func TestHarvest_JobWithoutTraces(t *testing.T) {
	t.Parallel()
	state, out := t.TempDir(), filepath.Join(t.TempDir(), "staging")
	storeJob(t, state, 1)
	code, stdout, stderr := harvested("--job", "c-0123", "--state-dir", state, "--out", out)
	require.Equal(t, cli.ExitUsage, code, stderr)
	require.Contains(t, stderr, "collect with --trace-dump")
	require.Empty(t, stdout)
	require.NoDirExists(t, out)
}

// Dumps that are at hand beside the job are evidence of its files; those that are not whole are counted.
func TestHarvest_JobAndDumps(t *testing.T) {
	t.Parallel()
	state, dumps, out := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "staging")
	storeJob(t, state, 1, "rmsnorm_h1024.json")
	w := fidump.NewWriter(dumps, 100, nil)
	for second := range 2 {
		p, err := w.Begin(fidump.Call{
			Time: time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC), Function: "rmsnorm", Module: "flashinfer.norm",
			Signature: "(input: torch.Tensor, weight: torch.Tensor, eps: float = 1e-06) -> torch.Tensor",
			Args: []fidump.Value{
				fidump.TensorArg("arg_0", "bfloat16", []int64{8, 1024}, nil), fidump.TensorArg("arg_1", "bfloat16", []int64{1024}, nil), fidump.FloatArg("arg_2", 1e-5),
			},
		})
		require.NoError(t, err)
		require.NoError(t, p.Return(fidump.TensorArg("", "bfloat16", []int64{8, 1024}, nil)))
	}
	names, err := fidump.List(dumps)
	require.NoError(t, err)
	require.Len(t, names, 2)
	require.NoError(t, os.Truncate(filepath.Join(dumps, names[1].Dir, fidump.MetadataFile), 10))

	code, stdout, stderr := harvested("--job", "c-0123", "--state-dir", state, "--out", out, "--dump-dir", dumps)
	require.Equal(t, cli.ExitDone, code, "%s%s", stdout, stderr)
	require.Contains(t, stderr, dumps+": 1 dumps have no whole record")
	require.NotContains(t, stderr, "no dumps of the run")
	data, err := os.ReadFile(filepath.Join(out, "definitions", "rmsnorm", "rmsnorm_h1024.json"))
	require.NoError(t, err)
	require.Contains(t, string(data), "EPS = 1e-5", "the tracer's file has 1e-6")
}
