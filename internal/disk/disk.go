// Package disk reports free space and whether a directory can be written, before anything is written.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Free returns the bytes that an unprivileged user may still write on the file system of dir.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Nearest returns path, or the nearest directory above it that exists, as an absolute path. A path below a file is an error.
func Nearest(path string) (string, error) {
	at, err := filepath.Abs(path)
	for err == nil {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return at, err
		}
		at = filepath.Dir(at)
	}
	return at, err
}

// Writable returns an error if no file can be written in dir. It writes a file and removes it, because mode bits do not show read-only
// file systems, quotas and the like.
func Writable(dir string) error {
	f, err := os.CreateTemp(dir, ".tracefleet-check-*")
	if err == nil {
		_, err = f.Write(make([]byte, 4096))
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	var inner *fs.PathError
	if errors.As(err, &inner) { // the name of the file means nothing to a reader
		return fmt.Errorf("write a file in %s: %w", dir, inner.Err)
	}
	return err
}

// Full reports that an error means a lack of space.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// ReadOnly reports that an error means that this user may not write: a read-only file system, or missing permissions.
func ReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)
}
