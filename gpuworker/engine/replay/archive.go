package replay

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/tracefleet/tracefleet/internal/compressed"
	"github.com/tracefleet/tracefleet/proto"
)

// holeBytes is how long a run of zeros must be to become a hole: dumps are mostly zeros, and their holes would not survive
// an archive otherwise.
const holeBytes = 64 << 10

// unpack writes a tar's directories and files below dir, which it makes. Names that lead out of it, links and devices are refused:
// a recording has none.
func unpack(ctx context.Context, archive, dir string) error {
	stream, err := compressed.Open(archive)
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	entries := 0
	for r := tar.NewReader(stream); ; entries++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return badEntry(archive, entries+1, err)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := unpackEntry(r, h, dir); err != nil {
			return fmt.Errorf("unpack %s: %w", archive, err)
		}
	}
	if entries == 0 {
		return emptyArchive(archive)
	}
	return nil
}

// checkArchive returns an error if a file is not an archive; it reads the first entry.
func checkArchive(archive string) error {
	stream, err := compressed.Open(archive)
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := tar.NewReader(stream).Next(); errors.Is(err, io.EOF) {
		return emptyArchive(archive)
	} else if err != nil {
		return badEntry(archive, 1, err)
	}
	return nil
}

func emptyArchive(archive string) error {
	return proto.Failf(proto.CodeDumpDir, "replay: archive %s is empty", archive).WithHint("pass --dump-dir a dump directory, or a tar of one")
}

func badEntry(archive string, entry int, err error) error {
	return proto.Failf(proto.CodeDumpDir, "replay: read entry %d of archive %s: %v", entry, archive, err).
		WithHint("an archive is a tar, plain or compressed with gzip, zstd or xz")
}

func unpackEntry(r io.Reader, h *tar.Header, dir string) error {
	name := path.Clean(h.Name)
	refuse := func(why string) error {
		return proto.Failf(proto.CodeDumpDir, "replay: archive entry %q %s", h.Name, why).
			WithHint("pack the dump directory itself: tar -C DIR -cf dumps.tar .")
	}
	if path.IsAbs(h.Name) || !filepath.IsLocal(filepath.FromSlash(name)) || strings.Contains("/"+h.Name+"/", "/../") {
		return refuse("leads out of the archive")
	}
	to := filepath.Join(dir, filepath.FromSlash(name))
	switch h.Typeflag {
	case tar.TypeDir:
		return os.MkdirAll(to, 0o755)
	case tar.TypeReg:
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return writeSparse(to, r, h.Size)
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeSymlink, tar.TypeLink:
		return refuse("is a link")
	}
	return refuse("is neither a file nor a directory")
}

// writeSparse makes a file of what r gives, with holes for long runs of zeros.
func writeSparse(to string, r io.Reader, size int64) (err error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is in the archive twice", filepath.Base(to))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(size); err != nil {
		return err
	}
	buf := make([]byte, holeBytes)
	for at := int64(0); at < size; {
		n, err := io.ReadFull(r, buf[:min(int64(len(buf)), size-at)])
		if err != nil {
			return err
		}
		if !zero(buf[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	return nil
}

var zeros [holeBytes]byte

func zero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
