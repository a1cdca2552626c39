package hubtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

var errBusy = errors.New("stop that, or choose another directory")

// store keeps what the Hub knows in a directory: contents under the names of their digests, and a JSON file for each commit and
// discussion. A file is replaced as a whole. Nothing is synced: it is a rehearsal.
type store struct {
	dir  string
	lock *flock.Flock
}

// The directories of a store.
const (
	gitDir        = "git" // contents of files that are no LFS files, by blob id
	lfsDir        = "lfs" // contents of LFS files, by SHA-256
	commitDir     = "commits"
	discussionDir = "discussions"
	tempDir       = "incoming"
	stateName     = "state.json"
	lockName      = "lock"
)

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, lockName))
	if ok, err := lock.TryLock(); err != nil || !ok {
		return nil, fmt.Errorf("%s is in use by another Hub: %w", dir, cmpErr(err, errBusy))
	}
	if err := os.RemoveAll(filepath.Join(dir, tempDir)); err != nil {
		return nil, err
	}
	for _, d := range []string{gitDir, lfsDir, commitDir, discussionDir, tempDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	return &store{dir, lock}, nil
}

func (s *store) path(pieces ...string) string {
	return filepath.Join(append([]string{s.dir}, pieces...)...)
}

func (s *store) has(pieces ...string) bool {
	_, err := os.Stat(s.path(pieces...))
	return err == nil
}

// size gives a file's size, -1 where there is none.
func (s *store) size(pieces ...string) int64 {
	info, err := os.Stat(s.path(pieces...))
	if err != nil {
		return -1
	}
	return info.Size()
}

func (s *store) temp() (*os.File, error) { return os.CreateTemp(s.path(tempDir), "") }

func (s *store) write(data []byte, pieces ...string) error {
	f, err := s.temp()
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(pieces...))
}

func (s *store) writeJSON(v any, pieces ...string) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.write(data, pieces...)
}

// readJSON reports false where there is no such file.
func (s *store) readJSON(v any, pieces ...string) (bool, error) {
	data, err := os.ReadFile(s.path(pieces...))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("%s: %w", s.path(pieces...), err)
	}
	return true, nil
}
