package gpuworker

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tracefleet/tracefleet/proto"
)

// What is kept of engines' logs, in WorkDir/logs.
const (
	keptLogs    = 64      // the newest
	keptLogSize = 8 << 20 // the end of each
)

// keepLogs keeps the ends of the logs that an engine left in its scratch directory (files named *.log directly in it), in one
// file named after the attempt, and lets go of the oldest attempts' ones. It gives the file's path, empty where there was no log.
func (w *workDir) keepLogs(s *proto.TaskState, scratch string) (string, error) {
	logs, err := filepath.Glob(filepath.Join(scratch, "*.log"))
	if err != nil || len(logs) == 0 {
		return "", err
	}
	dir := filepath.Join(w.root, logsName)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("keep the engine's log: %w", err)
	}
	path := filepath.Join(dir, fmt.Sprintf("%s.%s.%d.log", s.Task.Collection, s.Task.ID, s.Attempt))
	out, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("keep the engine's log: %w", err)
	}
	for _, name := range logs {
		if len(logs) > 1 {
			_, err = fmt.Fprintf(out, "==> %s <==\n", filepath.Base(name))
		}
		err = errors.Join(err, copyEnd(out, name))
	}
	if err := errors.Join(err, out.Close(), prune(dir)); err != nil {
		return path, fmt.Errorf("keep the engine's log: %w", err)
	}
	return path, nil
}

// copyEnd copies the last bytes of a file; no link is followed.
func copyEnd(to io.Writer, name string) error {
	st, err := os.Lstat(name)
	if err != nil || !st.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if cut := st.Size() - keptLogSize; cut > 0 {
		if _, err := f.Seek(cut, io.SeekStart); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(to, "(%d bytes before this are not kept)\n", cut); err != nil {
			return err
		}
	}
	_, err = io.CopyN(to, f, keptLogSize)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// prune removes all but the newest logs in dir.
func prune(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var logs []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && filepath.Ext(e.Name()) == ".log" {
			logs = append(logs, info)
		}
	}
	slices.SortFunc(logs, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(b.Name(), a.Name()))
	})
	var errs []error
	for _, old := range logs[min(len(logs), keptLogs):] {
		if err := os.Remove(filepath.Join(dir, old.Name())); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
