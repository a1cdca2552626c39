package replay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tracefleet/tracefleet/internal/disk"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// stagingName is where an archive is unpacked, below the dump directory: no dump is named like it, so the tailer passes it over.
const stagingName = ".replay"

// source is an opened recording: the directories that hold dumps, and how files get from there to the dump directory.
type source struct {
	name    string   // as the user gave it
	roots   []string // in order of their paths
	place   func(from, to string) error
	staging string // to be removed; empty: none
}

// open finds the recordings below path, which is a directory or an archive; say tells what takes long.
func open(ctx context.Context, path, dumpDir string, say func(string)) (*source, error) {
	if path == "" {
		return nil, proto.Failf(proto.CodeBadCollection, "replay: no recording is named").WithHint("give one with --dump-dir")
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, failure(path, err)
	}
	src := &source{name: path, place: link}
	switch {
	case st.IsDir():
	case st.Mode().IsRegular():
		src.staging, src.place = filepath.Join(dumpDir, stagingName), os.Rename
		say("unpacking " + path)
		if err := unpack(ctx, path, src.staging); err != nil {
			return nil, errors.Join(failure(path, err), src.close())
		}
		path = src.staging
	default:
		return nil, proto.Failf(proto.CodeDumpDir, "replay: %s is neither a directory nor an archive (%s)", path, st.Mode().Type())
	}
	if src.roots, err = Roots(path); err != nil {
		return nil, errors.Join(failure(src.name, err), src.close())
	}
	return src, nil
}

// Check returns an error if a recording, a directory or an archive, cannot be replayed. Of an archive only the beginning is read.
func Check(path string) error {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return failure(path, err)
	case !st.IsDir():
		return failure(path, checkArchive(path))
	}
	found, err := Roots(path)
	if err == nil && len(found) == 0 {
		return noDumps(path)
	}
	return failure(path, err)
}

func noDumps(path string) error {
	return proto.Failf(proto.CodeDumpDir, "replay: %s holds no dumps", path).
		WithHint("a recording is what FlashInfer wrote into FLASHINFER_DUMP_DIR at log level 10: directories named <time>_pid<pid>_<function>_call<number>")
}

func (s *source) close() error {
	if s.staging == "" {
		return nil
	}
	if err := os.RemoveAll(s.staging); err != nil {
		return fmt.Errorf("replay: remove staging: %w", err)
	}
	return nil
}

// Roots finds the directories at or below dir that hold dumps: a session.jsonl, or a directory named as a dump is. Below
// such a directory there is no other.
func Roots(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !e.IsDir() {
			return nil
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
			_, dump := fidump.ParseName(e.Name())
			return dump && e.IsDir() || e.Name() == fidump.SessionFile && e.Type().IsRegular()
		}) {
			found = append(found, path)
			return fs.SkipDir
		}
		return nil
	})
	return found, err
}

// failure adds the remedy to an error of reading a recording or of writing a dump directory; nil stays nil.
func failure(name string, err error) error {
	var f *proto.Failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case disk.Full(err):
		return proto.Failf(proto.CodeDiskFull, "replay %s: %v", name, err).
			WithHint("free space on this node; a recording on the dump directory's file system is linked, not copied").WithRetry()
	case errors.Is(err, fs.ErrNotExist):
		return proto.Failf(proto.CodeDumpDir, "replay %s: %v", name, err).
			WithHint("--dump-dir is a path on the gpuworker's node")
	case errors.Is(err, fs.ErrPermission):
		return proto.Failf(proto.CodeDumpDir, "replay %s: %v", name, err).
			WithHint("FlashInfer writes tensor files with mode 0600: run the gpuworker as the user who recorded them, or open them up")
	}
	return proto.Failf(proto.CodeDumpDir, "replay %s: %v", name, err)
}
