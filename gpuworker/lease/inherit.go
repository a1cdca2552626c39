package lease

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// inherited reports whether a process above this one in the process tree has the lock of a device: then the device was locked on
// our behalf. Only Linux tells who has a lock; elsewhere nothing is inherited.
func (l lockFiles) inherited(index int) bool {
	lock, err := os.Lstat(l.path(index, ".lock"))
	if err != nil {
		return false
	}
	for pid, depth := parent(os.Getpid()), 0; pid > 1 && depth < 64; pid, depth = parent(pid), depth+1 {
		if holds(pid, lock) {
			return true
		}
	}
	return false
}

// holds reports whether a process has a file open and a flock on it through that very opening.
func holds(pid int, lock os.FileInfo) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return false // another user's
	}
	for _, fd := range fds {
		open, err := os.Stat(filepath.Join(dir, "fd", fd.Name()))
		if err != nil || !os.SameFile(open, lock) {
			continue
		}
		if said, err := os.ReadFile(filepath.Join(dir, "fdinfo", fd.Name())); err == nil && strings.Contains(string(said), "FLOCK") {
			return true
		}
	}
	return false
}

// parent is the process above pid; 0 when that is not known.
func parent(pid int) int {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	// pid (name) state ppid …, and a name may hold anything
	after := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
	fields := strings.Fields(after)
	if len(fields) < 2 {
		return 0
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return ppid
}
