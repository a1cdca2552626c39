package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func open(t *testing.T, dir string) *Tree {
	t.Helper()
	tree, err := OpenTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

func content(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := open(t, dir)
	for _, text := range []string{"old", "new", ""} {
		if err := tree.Write("a/b/file", Bytes([]byte(text))); err != nil {
			t.Fatal(err)
		}
		if got := content(t, filepath.Join(dir, "a/b/file")); got != text {
			t.Errorf("content %q, want %q", got, text)
		}
	}
	if err := tree.Create("a/c", Bytes([]byte("c"))); err != nil {
		t.Fatal(err)
	}
	if err := tree.Sync(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "a/c"))
	if err != nil || info.Mode().Perm() != FileMode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := errors.Join(tree.Remove("a/c"), tree.Remove("a/c"), tree.RemoveEmptyDir("a"), tree.Remove("a/b/file"),
		tree.RemoveEmptyDir("a/b"), tree.RemoveEmptyDir("a"), tree.Sync()); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Whatever fails, the old content is in place and nothing is beside it.
func TestWrite_Fails(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"create", "write", "sync", "rename", "the writer"} {
		dir := t.TempDir()
		tree := open(t, dir)
		if err := tree.Write("file", Bytes([]byte("old"))); err != nil {
			t.Fatal(err)
		}
		tree.Before = func(s Step) error {
			if s.Op == op {
				return syscall.ENOSPC
			}
			return nil
		}
		err := tree.Write("file", func(w io.Writer) error {
			if _, err := w.Write([]byte("new")); err != nil {
				return err
			}
			if op == "the writer" {
				return syscall.ENOSPC
			}
			return nil
		})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", op, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 || content(t, filepath.Join(dir, "file")) != "old" {
			t.Errorf("%s: %v, %q", op, left, content(t, filepath.Join(dir, "file")))
		}
	}
}

func TestTree_StaysInside(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	target := filepath.Join(outside, "target")
	if err := errors.Join(os.Symlink(outside, filepath.Join(dir, "link")), os.WriteFile(target, []byte("theirs"), 0o600),
		os.Symlink(target, filepath.Join(dir, "file")), os.Symlink(target, filepath.Join(dir, TempName))); err != nil {
		t.Fatal(err)
	}
	tree := open(t, dir)
	for _, name := range []string{"link/file", "link/sub/file", "../file", "/etc/file"} {
		if err := tree.Write(name, Bytes(nil)); err == nil {
			t.Errorf("wrote %s", name)
		}
	}
	if err := tree.Write("file", Bytes([]byte("ours"))); err != nil {
		t.Fatal(err)
	}
	if content(t, target) != "theirs" || content(t, filepath.Join(dir, "file")) != "ours" {
		t.Error("written through a link")
	}
	if left, _ := os.ReadDir(outside); len(left) != 1 {
		t.Errorf("written outside: %v", left)
	}
}
