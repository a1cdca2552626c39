package lease

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// LockDirEnv moves the lock files away from /tmp, for tests and for nodes whose users agree on another place.
const LockDirEnv = "TRACEFLEET_GPU_LOCK_DIR"

// lockDir is where tools/gpu-lock of flashinfer-bench has its files, whatever TMPDIR says.
const lockDir = "/tmp"

// errHeld is the answer of a device that another process holds.
var errHeld = errors.New("another process holds the device's lock")

// lockFiles are the files of all devices.
type lockFiles struct{ dir string }

func newLockFiles(dir string) lockFiles {
	return lockFiles{cmp.Or(dir, os.Getenv(LockDirEnv), lockDir)}
}

func (l lockFiles) path(index int, ext string) string {
	return filepath.Join(l.dir, "flashinfer-bench-gpu-"+strconv.Itoa(index)+ext)
}

// take locks a device, or says errHeld. The lock ends when the file is closed, as it is when the process ends.
func (l lockFiles) take(index int) (*os.File, error) {
	path := l.path(index, ".lock")
	for {
		f, err := openLock(path, true)
		if err != nil {
			return nil, fmt.Errorf("lock gpu %d: %w", index, err)
		}
		if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, errHeld
			}
			return nil, fmt.Errorf("lock gpu %d: %s: %w", index, path, err)
		}
		// Cleaners of /tmp remove files that were not touched for days: a lock on a removed file holds nothing, and a held one
		// must not look old.
		if same(f, path) {
			now := time.Now()
			_ = os.Chtimes(path, now, now) // where the file is another user's it may be refused
			return f, nil
		}
		_ = f.Close()
	}
}

// busy reports whether another process holds the device. It takes a shared lock for a moment, which two that look at the same
// time do not deny each other.
func (l lockFiles) busy(index int) bool {
	f, err := openLock(l.path(index, ".lock"), false)
	if err != nil {
		return false // nobody ever locked it
	}
	defer f.Close()
	return errors.Is(flock(f, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// openLock opens a lock file. O_CREATE only where it is absent: with fs.protected_regular the kernel refuses it on another
// user's file in a sticky directory. flock needs no more than an open file, so that one which is not ours to write will do.
func openLock(path string, create bool) (*os.File, error) {
	const flags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK // a pipe left there must not hang us
	f, err := os.OpenFile(path, os.O_RDWR|flags, 0)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.OpenFile(path, os.O_RDONLY|flags, 0)
	}
	if errors.Is(err, fs.ErrNotExist) && create {
		if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|flags, 0o666); err == nil {
			_ = f.Chmod(0o666) // over the umask: other users' gpu-lock opens it for writing
		} else if errors.Is(err, fs.ErrExist) { // another process was faster
			f, err = os.OpenFile(path, os.O_RDWR|flags, 0)
		}
	}
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: somebody put it there; remove it, or set %s to a directory of your own", path, LockDirEnv)
	}
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("%s is not a regular file; remove it, or set %s to a directory of your own", path, LockDirEnv)
	}
	return f, nil
}

// same reports whether path still names the open file.
func same(f *os.File, path string) bool {
	there, err := os.Lstat(path)
	if err != nil {
		return false
	}
	here, err := f.Stat()
	return err == nil && os.SameFile(here, there)
}
