package atomicfile

import (
	"errors"
	"syscall"
)

// Full reports whether err means that a file system has no room for a write: no space, a spent quota, or a limit on file sizes.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// ReadOnly reports whether err means that this user may not write there: a read-only file system, or missing permissions.
func ReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)
}
