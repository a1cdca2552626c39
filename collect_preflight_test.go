package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/cli"
)

// TestCollect_Preflight_RefusesBeforeAnythingStarts: exit code 2 and the reason, and neither state directory nor dataset has changed.
func TestCollect_Preflight_RefusesBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		return path
	}
	simulate := []string{"--engine", "simulate", "--batch-sizes", "2"}
	replay := []string{"--engine", "replay", "--dump-dir"}
	badTrace := write("trace.jsonl", `{"timestamp": 0, "input_length": 60, "output_length": 9, "hash_ids": [0, 1, 2, 3]}`)
	for name, tc := range map[string]struct {
		args  []string
		words []string
	}{
		"trace is missing":              {append(simulate, "--dataset", "trace", "--trace-path", "/nowhere/t.jsonl"), []string{"/nowhere/t.jsonl", "--trace-path"}},
		"trace of other blocks":         {append(simulate, "--dataset", "trace", "--trace-path", badTrace), []string{badTrace, "line 1", "--trace-block-size 16"}},
		"trace is a directory":          {append(simulate, "--dataset", "trace", "--trace-path", empty), []string{empty, "not a regular file"}},
		"sharegpt is no JSON":           {append(simulate, "--dataset", "sharegpt", "--sharegpt-path", write("s.json", "[{]")), []string{"s.json", "entry 0"}},
		"sharegpt of other rows":        {append(simulate, "--dataset", "sharegpt", "--sharegpt-path", write("s.json", "[{}]")), []string{"s.json", "of 1 rows, 1 have no list of turns"}},
		"too many tokens":               {append(simulate[:2:2], "--batch-sizes", "60000", "--isl", "3000"), []string{"60000", "--batch-sizes"}},
		"recording is missing":          {append(replay, "/nowhere/dumps"), []string{"/nowhere/dumps"}},
		"recording of no dumps":         {append(replay, empty), []string{empty, "holds no dumps"}},
		"recording is no archive":       {append(replay, write("dumps.tar", "text")), []string{"dumps.tar", "entry 1"}},
		"recording is empty":            {append(replay, write("dumps.tar", "")), []string{"dumps.tar", "empty"}},
		"catalogue is no JSON":          {append(simulate, "--model-catalogue", write("models.json", "{")), []string{"--model-catalogue", "models.json"}},
		"state below a file":            {append(simulate, "--state-dir", filepath.Join(badTrace, "state")), []string{"--state-dir", badTrace, "not a directory"}},
		"state in a pseudo file system": {append(simulate, "--state-dir", "/proc/state"), []string{"--state-dir /proc/state", "write a file in /proc"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			set, state := filepath.Join(dir, "set"), filepath.Join(dir, "state")
			require.NoError(t, os.CopyFS(set, os.DirFS("testdata/dataset")))
			var out, errs bytes.Buffer
			args := append([]string{"collect", "--trace-dir", set, "--definitions", "rmsnorm_h4096", "--state-dir", state}, tc.args...)
			require.Equal(t, cli.ExitUsage, run(args, &out, &errs), errs.String())
			for _, w := range tc.words {
				require.Contains(t, errs.String(), w)
			}
			require.NoDirExists(t, state)
			entries, err := os.ReadDir(set)
			require.NoError(t, err)
			require.Len(t, entries, 1, "only definitions: %v", entries)
			require.Empty(t, out.String())
		})
	}
}

// TestCollect_Preflight_StateInsideTheDataset: also through links, whether it exists or not.
func TestCollect_Preflight_StateInsideTheDataset(t *testing.T) {
	t.Parallel()
	set := filepath.Join(t.TempDir(), "set")
	require.NoError(t, os.Mkdir(set, 0o755))
	alias := filepath.Join(t.TempDir(), "alias")
	require.NoError(t, os.Symlink(set, alias))
	for _, dir := range []string{set, filepath.Join(set, "a", "b"), filepath.Join(alias, "a"), filepath.Join(set, "..", "set", "a")} {
		require.ErrorContains(t, checkStateDir(dir, set), "inside the dataset", dir)
		require.ErrorContains(t, checkStateDir(dir, alias), "inside the dataset", dir)
	}
	for _, dir := range []string{set + "-state", filepath.Join(set, "..", "a", "b"), filepath.Join(set, "..")} {
		require.NoError(t, checkStateDir(dir, set), dir)
	}
	require.NoDirExists(t, filepath.Join(set, "a"))
}

// TestCollect_Preflight_DoubtfulBlocks_AreAWarning: the file can be read, and would then share less than was recorded.
func TestCollect_Preflight_DoubtfulBlocks_AreAWarning(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	set, trace := filepath.Join(dir, "set"), filepath.Join(dir, "trace.jsonl")
	require.NoError(t, os.CopyFS(set, os.DirFS("testdata/dataset")))
	line := `{"timestamp": 0, "input_length": 2048, "output_length": 2, "hash_ids": [0, 1]}` + "\n"
	require.NoError(t, os.WriteFile(trace, []byte(line+line), 0o644))
	var out, errs bytes.Buffer
	code := run([]string{"collect", "--engine", "simulate", "--trace-dir", set, "--definitions", "rmsnorm_h4096", "--state-dir", filepath.Join(dir, "state"),
		"--batch-sizes", "2", "--dataset", "trace", "--trace-path", trace, "--log-level", "error"}, &out, &errs)
	require.Equal(t, cli.ExitDone, code, errs.String())
	require.Contains(t, errs.String(), "warning: trace "+trace+": hash_ids cover a part of every prompt")
	require.Contains(t, errs.String(), "--trace-block-size 1024")
}
