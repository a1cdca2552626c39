package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNearest_MissingPath_IsTheDirectoryAbove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "a"), filepath.Join(dir, "a", "b", "c")} {
		at, err := Nearest(path)
		require.NoError(t, err)
		require.Equal(t, dir, at)
	}
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err := Nearest(filepath.Join(file, "a"))
	require.ErrorContains(t, err, "not a directory")
}

func TestWritable_LeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, Writable(dir))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.EqualError(t, Writable(filepath.Join(dir, "none")), "write a file in "+filepath.Join(dir, "none")+": no such file or directory")
	require.ErrorContains(t, Writable("/proc"), "write a file in /proc")
	free, err := Free(dir)
	require.NoError(t, err)
	require.Positive(t, free)
}
