package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// inspect and sanitize read one dump directory. The error for anything else has the remedy for it.
func TestDumpDir_NoDumpsInIt_ErrorHasTheRemedy(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "nested", "attempt1"), os.DirFS("testdata/dumps/flashinfer-0.7.2")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	archive := filepath.Join(dir, "a b.tar.xz")
	require.NoError(t, os.WriteFile(archive, []byte("x"), 0o600))
	traces, err := filepath.Abs(harvestTraces)
	require.NoError(t, err)
	for _, tc := range []struct{ path, want string }{
		{filepath.Join(dir, "nested"), "name a directory that has some: " + filepath.Join(dir, "nested", "attempt1")},
		{filepath.Join(dir, "empty"), "name what FLASHINFER_DUMP_DIR was"},
		{archive, "mkdir dumps && tar -xf '" + archive + "' -C dumps"},
		{filepath.Join(dir, "none"), "no such file or directory"},
	} {
		for _, command := range [][]string{
			{"inspect", tc.path},
			{"sanitize", "--dump-dir", tc.path, "--definitions", normDef, "--flashinfer-trace-dir", "testdata/dataset", "--dry-run"},
			{"definitions", "harvest", "--from", traces, "--dump-dir", tc.path, "--trace-dir", "testdata/dataset", "--out", filepath.Join(t.TempDir(), "staging")},
		} {
			var out, errs bytes.Buffer
			require.NotZero(t, run(command, &out, &errs), command)
			require.Contains(t, errs.String(), tc.want, command)
		}
	}
}
