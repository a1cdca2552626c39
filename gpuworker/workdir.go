package gpuworker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"github.com/tracefleet/tracefleet/internal/disk"
	"github.com/tracefleet/tracefleet/proto"
)

// workDir is WorkDir/<collection>/<task>/<attempt>/{dumps,scratch,trace}: the directories of this worker's attempts, and nobody
// else's.
type workDir struct {
	root        string
	lock        *flock.Flock
	predecessor string // the worker that had it before; we have its lock, so it is dead
}

const (
	lockName = "worker.lock"
	logsName = "logs" // kept logs of engines
	keptName = "kept" // kept dumps, a directory an attempt
)

// openWorkDir makes root this worker's own and removes what attempts of dead workers left there.
func openWorkDir(root, worker string) (*workDir, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open work directory: %w", err)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, unusable(root, err)
	}
	path := filepath.Join(root, lockName)
	lock := flock.New(path)
	ok, err := lock.TryLock()
	if err != nil {
		return nil, unusable(root, err)
	}
	holder, err := os.ReadFile(path)
	if !ok {
		return nil, fmt.Errorf("work directory %s is in use by worker %q; give each worker a directory of its own", root, strings.TrimSpace(string(holder)))
	}
	w := &workDir{root: root, lock: lock, predecessor: strings.TrimSpace(string(holder))}
	if err == nil {
		err = os.WriteFile(path, []byte(worker+"\n"), 0o644)
	}
	if err == nil {
		err = w.clean()
	}
	if err != nil {
		_ = lock.Close()
		return nil, unusable(root, err)
	}
	return w, nil
}

// unusable adds the remedy to the error of a work directory that cannot be opened.
func unusable(root string, err error) error {
	switch {
	case disk.Full(err):
		return proto.Failf(proto.CodeDiskFull, "open work directory %s: %v", root, err).WithHint("free space there")
	case disk.ReadOnly(err):
		return proto.Failf(proto.CodeDumpDir, "open work directory %s: %v", root, err).WithHint("make it writable; it is --work-dir of a gpuworker, and below --state-dir elsewhere")
	}
	return fmt.Errorf("open work directory %s: %w", root, err)
}

func (w *workDir) close() { _ = w.lock.Close() }

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// clean removes attempts' directories, and only what has their shape: a work directory may be a bad choice of the user's.
func (w *workDir) clean() error {
	attempts, err := filepath.Glob(filepath.Join(w.root, "*", "*", "*"))
	if err != nil {
		return err
	}
	for _, path := range attempts {
		task := filepath.Dir(path)
		if _, err := strconv.ParseUint(filepath.Base(path), 10, 32); err != nil || !tokenName.MatchString(filepath.Base(task)) ||
			!strings.HasPrefix(filepath.Base(filepath.Dir(task)), "c-") {
			continue
		}
		if err := w.remove(path); err != nil {
			return err
		}
	}
	return nil
}

// attemptDir is an attempt's part of the work directory.
type attemptDir struct {
	root    string
	dumps   string
	scratch string
	trace   string // empty: the task wants no trace dump
	kept    string // outlives the attempt; made when a dump is kept
}

// make gives the empty directories of an attempt.
func (w *workDir) make(s *proto.TaskState) (attemptDir, error) {
	root := filepath.Join(w.root, s.Task.Collection, s.Task.ID, strconv.FormatUint(uint64(s.Attempt), 10))
	d := attemptDir{root: root, dumps: filepath.Join(root, "dumps"), scratch: filepath.Join(root, "scratch")}
	d.kept = filepath.Join(w.root, keptName, fmt.Sprintf("%s.%s.%d", s.Task.Collection, s.Task.ID, s.Attempt))
	if s.Task.Dump.TraceDump {
		d.trace = filepath.Join(root, "trace")
	}
	if err := os.RemoveAll(root); err != nil {
		return d, err
	}
	for _, path := range []string{d.dumps, d.scratch, d.trace} {
		if path == "" {
			continue
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return d, err
		}
	}
	return d, nil
}

// remove removes an attempt's directory, and its parents when they are empty.
func (w *workDir) remove(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	for parent := filepath.Dir(path); parent != w.root; parent = filepath.Dir(parent) {
		if err := os.Remove(parent); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil // not empty
		}
	}
	return nil
}
