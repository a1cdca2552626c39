package proc

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// self is our own binary, also after the file was replaced.
func self() string { return "/proc/self/exe" }

func supervisorAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// adopt makes orphans among the descendants ours instead of init's.
func adopt() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// process is a line of /proc.
type process struct{ pid, parent, group int }

// processes lists all that are alive. A zombie is not, unless it is a leader that left its threads running.
func processes() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has just ended
		}
		// "pid (name) state ppid pgrp … num_threads …": the name may hold anything, so its last parenthesis counts.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 18 || fields[0][0] == 'X' || fields[0][0] == 'Z' && string(fields[17]) == "1" {
			continue
		}
		p := process{pid: pid}
		p.parent, _ = strconv.Atoi(string(fields[1]))
		p.group, _ = strconv.Atoi(string(fields[2]))
		all = append(all, p)
	}
	return all
}

// descendants gives the living descendants of this process.
func descendants(int) []int {
	all := processes()
	found := []int{os.Getpid()}
	for i := 0; i < len(found); i++ {
		for _, p := range all {
			if p.parent == found[i] && !slices.Contains(found, p.pid) {
				found = append(found, p.pid)
			}
		}
	}
	return found[1:]
}

// sweepLost kills what a killed supervisor has left: the command's group, and whatever has mark in its environment.
func sweepLost(group int, mark string, patience time.Duration) (killed int, survivors []int) {
	seen := map[int]bool{}
	for until := time.Now().Add(patience); ; time.Sleep(sweepEvery) {
		survivors = nil
		for _, p := range processes() {
			if p.group != group && !marked(p.pid, mark) || p.pid == os.Getpid() {
				continue
			}
			survivors = append(survivors, p.pid)
			seen[p.pid] = true
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		if len(survivors) == 0 || time.Now().After(until) {
			return len(seen), survivors
		}
	}
}

func marked(pid int, mark string) bool {
	env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	return err == nil && slices.ContainsFunc(bytes.Split(env, []byte{0}), func(v []byte) bool { return string(v) == mark })
}
