package dataset

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// checked creates a dataset with the definition whose publication is checked.
func checked(t *testing.T) (string, []*fitrace.Definition) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "set")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "definitions", "rmsnorm"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "definitions", "rmsnorm", "n.json"), []byte("{}"), 0o644))
	return dir, []*fitrace.Definition{{Name: "n", OpType: "rmsnorm"}}
}

func refused(t *testing.T, err error, code proto.Code, words ...string) {
	t.Helper()
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, code, f.Code)
	require.NotEmpty(t, f.Hint)
	for _, w := range words {
		require.Contains(t, f.Error(), w)
	}
}

func TestCheck_GoodDataset_IsUnchanged(t *testing.T) {
	t.Parallel()
	dir, defs := checked(t)
	require.NoError(t, Check(dir, defs))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "only definitions: %v", entries)
	w, err := Open(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, Check(dir, defs), "one that is being written is no error: its writer ends")
	require.NoError(t, w.Close())
}

func TestCheck_NoSpace_NamesFreeBytes(t *testing.T) {
	t.Parallel()
	dir, defs := checked(t)
	refused(t, check(dir, defs, 1<<62), proto.CodeDiskFull, dir, "free (", " bytes)", "at least 4.6 EB")
}

func TestCheck_UnwritablePlaces_AreNamed(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(dir string) error{
		"workloads is a file": func(dir string) error { return os.WriteFile(filepath.Join(dir, "workloads"), nil, 0o644) },
		"workloads file is a directory": func(dir string) error {
			return os.MkdirAll(filepath.Join(dir, "workloads", "rmsnorm", "n.jsonl"), 0o755)
		},
		"provenance is a file": func(dir string) error { return os.WriteFile(filepath.Join(dir, "provenance"), nil, 0o644) },
		"provenance of the op_type is a file": func(dir string) error {
			if err := os.Mkdir(filepath.Join(dir, "provenance"), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "provenance", "rmsnorm"), nil, 0o644)
		},
		"provenance file is a directory": func(dir string) error {
			return os.MkdirAll(filepath.Join(dir, "provenance", "rmsnorm", "n.jsonl"), 0o755)
		},
		"private provenance is a file": func(dir string) error {
			if err := os.Mkdir(filepath.Join(dir, Private), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, Private, "provenance"), nil, 0o644)
		},
		"blob is a file":    func(dir string) error { return os.WriteFile(filepath.Join(dir, "blob"), nil, 0o644) },
		"private is a file": func(dir string) error { return os.WriteFile(filepath.Join(dir, Private), nil, 0o644) },
		"journal is broken": func(dir string) error {
			if err := os.Mkdir(filepath.Join(dir, Private), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, filepath.FromSlash(journalFile)), []byte("{"), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, defs := checked(t)
			require.NoError(t, breaks(dir))
			err := Check(dir, defs)
			require.ErrorContains(t, err, dir)
			require.Equal(t, proto.CodeDatasetWrite, proto.AsFailure(err, proto.CodeInternal).Code)
		})
	}
	refused(t, Check(filepath.Join(t.TempDir(), "none"), nil), proto.CodeDatasetWrite, "none", "no such file", "--trace-dir")
	refused(t, Check("/proc", nil), proto.CodeDatasetWrite, "open dataset /proc for writing: write a file in /proc", "writable --trace-dir")
	if os.Geteuid() != 0 { // root writes everywhere
		dir, defs := checked(t)
		readOnly(t, dir)
		refused(t, Check(dir, defs), proto.CodeDatasetWrite, dir, "permission denied", "writable --trace-dir")
		dir, defs = checked(t)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "provenance", "rmsnorm"), 0o755))
		readOnly(t, filepath.Join(dir, "provenance", "rmsnorm"))
		refused(t, Check(dir, defs), proto.CodeDatasetWrite, "provenance/rmsnorm", "permission denied")
	}
}

// readOnly makes a directory read-only until the test ends.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.Chmod(dir, 0o555))
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
}

// snapshot makes a repository of the Hugging Face cache with the definition and two workloads, and returns its one snapshot.
func snapshot(t *testing.T) string {
	t.Helper()
	repo := filepath.Join(t.TempDir(), "datasets--org--set-x--y")
	dir := filepath.Join(repo, "snapshots", "0123abcd")
	require.NoError(t, os.Mkdir(repo, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(repo, "blobs"), 0o755))
	for name, content := range map[string]string{
		"definitions/rmsnorm/n.json": "{}", "workloads/rmsnorm/n.jsonl": strings.Repeat(`{"definition": "n", "workload": {"uuid": "u", "axes": {}, "inputs": {}}}`+"\n", 2),
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(repo, "blobs", filepath.Base(name)), []byte(content), 0o644))
		require.NoError(t, os.Symlink("../../../../blobs/"+filepath.Base(name), file))
	}
	return dir
}

func TestCheck_CacheSnapshot_NamesTheDownloadCommand(t *testing.T) {
	t.Parallel()
	dir := snapshot(t)
	defs := []*fitrace.Definition{{Name: "n", OpType: "rmsnorm"}}
	refused(t, Check(dir, defs), proto.CodeDatasetWrite, dir, "Hugging Face cache", "definitions/rmsnorm/n.json is a link to ../../../../blobs/n.json",
		"hf download org/set-x--y --repo-type dataset --local-dir DIR")
	alias := filepath.Join(t.TempDir(), "alias")
	require.NoError(t, os.Symlink(dir, alias))
	refused(t, Check(alias, defs), proto.CodeDatasetWrite, "hf download org/set-x--y")
	w, err := Open(dir, Options{}) // as a publisher of a fleet does, unchecked
	require.NoError(t, err)
	_, err = w.Workloads("rmsnorm", "n")
	refused(t, err, proto.CodeDatasetWrite, "hf download")
	require.NoError(t, w.Close())
}

func TestCheck_LinkOutOfTheDataset_IsNamed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"blob", "provenance"} {
		dir, defs := checked(t)
		require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(dir, name)))
		refused(t, Check(dir, defs), proto.CodeDatasetWrite, name+" is a link to /", "cp -rL "+dir+" DIR")
	}
}

func TestOpenReader_CacheSnapshot_IsReadThroughItsLinks(t *testing.T) {
	t.Parallel()
	dir := snapshot(t)
	r, err := OpenReader(dir)
	require.NoError(t, err)
	defer r.Close()
	require.Equal(t, dir, r.Dir())
	names, err := r.Glob("*/*/n*")
	require.NoError(t, err)
	require.Equal(t, []string{"definitions/rmsnorm/n.json", "workloads/rmsnorm/n.jsonl"}, names)
	w, err := r.Workloads("rmsnorm", "n")
	require.NoError(t, err)
	require.Len(t, w.Lines, 2, "%v", w.Errs)
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "workloads", "rmsnorm", "m.jsonl")))
	_, err = r.Workloads("rmsnorm", "m")
	require.Error(t, err, "a link out of the repository is followed")
}
