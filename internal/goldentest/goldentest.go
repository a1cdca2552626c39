// Package goldentest finds and unpacks the golden dumps for tests.
//
// The corpora are not part of the repository: they lie in the folder that TRACEFLEET_SHARED names, else in shared beside the
// checkout. A test that needs them is skipped where they are absent, and says so. Archives are unpacked once per machine, into
// a folder of the system's temporary directory named after the archive's size and time, so that all test binaries share it.
//
// What is unpacked is for reading only: a test that changes a dump copies it first.
package goldentest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Shared gives a path below the shared folder, or skips t where it does not exist.
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	root := os.Getenv("TRACEFLEET_SHARED")
	if root == "" {
		_, file, _, ok := runtime.Caller(0)
		if !ok {
			t.Skip("golden data: source folder unknown; set TRACEFLEET_SHARED")
		}
		root = filepath.Join(filepath.Dir(file), "..", "..", "..", "shared")
	}
	path := filepath.Join(append([]string{root}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("golden data absent: %v; set TRACEFLEET_SHARED to the folder that has it", err)
	}
	return path
}

// Dir gives the folder of golden corpus "a": definitions, truth, score.py and the archive itself.
func Dir(t testing.TB) string {
	t.Helper()
	return Shared(t, "golden")
}

// Dumps gives a folder with one directory of dumps per case of golden corpus "a".
func Dumps(t testing.TB) string {
	t.Helper()
	return filepath.Join(Unpacked(t, Shared(t, "golden", "dumps-a.tar.zst")), "dumps")
}

// RealDumps gives the directory of dumps of real run "a" or "c". Their float tensors are zeros, and take no disk.
func RealDumps(t testing.TB, run string) string {
	t.Helper()
	return filepath.Join(Unpacked(t, Shared(t, "golden-real", run+".tar.xz")), run)
}

// RealTraces gives the directory of definitions that FlashInfer's trace dump wrote in real run "a".
func RealTraces(t testing.TB, run string) string {
	t.Helper()
	return filepath.Join(Unpacked(t, Shared(t, "golden-real", "trace-"+run+".tar.xz")), run)
}

// Unpacked gives the folder that holds the archive's content, and makes it if this machine does not have it yet.
func Unpacked(t testing.TB, archive string) string {
	t.Helper()
	st, err := os.Stat(archive)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("tracefleet-golden-%d-%s-%d-%d", os.Getuid(), filepath.Base(archive), st.Size(), st.ModTime().Unix()))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	making, err := os.MkdirTemp(os.TempDir(), "tracefleet-golden-making-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(making)
	if err := unpack(archive, making); err != nil {
		t.Fatalf("unpack %s: %v", archive, err)
	}
	if err := os.Rename(making, dir); err != nil {
		if _, lost := os.Stat(dir); lost != nil { // else another process was faster
			t.Fatal(err)
		}
	}
	return dir
}

func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	var plain io.Reader
	switch filepath.Ext(archive) {
	case ".zst":
		z, err := zstd.NewReader(f)
		if err != nil {
			return err
		}
		defer z.Close()
		plain = z
	case ".xz":
		if plain, err = xz.NewReader(f); err != nil {
			return err
		}
	default:
		return errors.New("neither .zst nor .xz")
	}
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("entry %q leads out of the archive", h.Name)
		}
		path := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755)
		case tar.TypeReg:
			if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
				err = write(path, r, h)
			}
		default:
			err = fmt.Errorf("entry %q of type %c", h.Name, h.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

var zeros [64 << 10]byte

// write leaves holes where the content is zeros: the float tensors of the real dumps are nothing else.
func write(path string, r io.Reader, h *tar.Header) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, h.FileInfo().Mode().Perm())
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, len(zeros))
	for at := int64(0); at < h.Size; {
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), h.Size-at)])
		if err != nil {
			return err
		}
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	if err := f.Truncate(h.Size); err != nil {
		return err
	}
	return f.Close()
}
