package replay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// link makes to another name of the file from, or a copy where the file system does not allow that: across devices, for files of
// other users, or at the limit of links.
func link(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EXDEV), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EMLINK),
		errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EACCES):
		return duplicate(from, to)
	}
	return err
}

// duplicate copies a file and keeps its holes.
func duplicate(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(st.Size()); err != nil {
		return err
	}
	for at := int64(0); at < st.Size(); {
		begin, end, err := extent(in, at, st.Size())
		if err != nil {
			return err
		}
		if _, err := in.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if _, err := out.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(out, in, end-begin); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
		at = end
	}
	return nil
}

// extent gives the next range with data from at on; all of the rest where the file system cannot tell.
func extent(f *os.File, at, size int64) (begin, end int64, err error) {
	begin, err = f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, syscall.ENXIO) {
		return size, size, nil // nothing but a hole
	}
	if err != nil {
		return at, size, nil
	}
	if end, err = f.Seek(begin, unix.SEEK_HOLE); err != nil || end > size {
		end = size
	}
	return min(begin, size), max(end, begin), nil
}
