package rawfile_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tracefleet/tracefleet/internal/rawfile"
)

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := rawfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 3)
	if n, err := f.ReadAt(buf, 1); n != 3 || err != nil || string(buf) != "ell" || f.Size() != 5 {
		t.Errorf("%d, %v, %q, size %d", n, err, buf, f.Size())
	}
	if n, err := f.ReadAt(buf, 4); n != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

func TestOpen_Refuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	var named *fs.PathError
	for path, want := range map[string]error{dir: rawfile.ErrNotRegular, pipe: rawfile.ErrNotRegular, filepath.Join(dir, "no"): fs.ErrNotExist} {
		if _, err := rawfile.Open(path); !errors.Is(err, want) || !errors.As(err, &named) || named.Path != path {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
}
