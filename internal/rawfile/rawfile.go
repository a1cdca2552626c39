// Package rawfile opens regular files for positioned reads with as few system calls as there can be.
//
// Reading a dump is some ten system calls on files of a few kilobytes, and they are nearly all of its cost: os.Open adds one to
// each file, to learn that the poller cannot wait on it, and an allocation with a finalizer. Here a file costs open, fstat, the
// reads and close.
//
// Errors are *fs.PathError, as those of package os. ReadAt is safe for parallel use; Close must come after all of it, since a
// descriptor that was closed may already be another file's. Nothing closes a File that is forgotten.
package rawfile

import (
	"errors"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// ErrNotRegular says that a path leads to a directory, pipe, device or socket.
var ErrNotRegular = errors.New("not a regular file")

// File is an open regular file.
type File struct {
	fd   int
	size int64
	path string
}

// Open opens path for reading. It never waits: what is not a regular file gives ErrNotRegular.
func Open(path string) (*File, error) {
	f := &File{path: path}
	var err error
	for {
		// O_NONBLOCK: opening a pipe that no one writes to would wait for ever.
		if f.fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(f.fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = ErrNotRegular
	}
	if err != nil {
		unix.Close(f.fd)
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f.size = st.Size
	return f, nil
}

// Size is the file's size when it was opened.
func (f *File) Size() int64 { return f.size }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(f.fd, p[done:], off+int64(done))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return done, &fs.PathError{Op: "read", Path: f.path, Err: err}
		case n == 0:
			return done, io.EOF
		default:
			done += n
		}
	}
	return done, nil
}

// Close closes the file.
func (f *File) Close() error {
	if f.fd < 0 {
		return &fs.PathError{Op: "close", Path: f.path, Err: fs.ErrClosed}
	}
	fd := f.fd
	f.fd = -1
	if err := unix.Close(fd); err != nil && !errors.Is(err, unix.EINTR) {
		return &fs.PathError{Op: "close", Path: f.path, Err: err}
	}
	return nil
}
