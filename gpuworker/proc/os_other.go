//go:build unix && !linux

package proc

import (
	"os"
	"syscall"
	"time"
)

func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

func supervisorAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func adopt() {}

// descendants knows the command's group only: -group stands for it while it has a member.
func descendants(group int) []int {
	if syscall.Kill(-group, 0) != nil {
		return nil
	}
	return []int{-group}
}

// sweepLost kills the command's group, which a killed supervisor has left.
func sweepLost(group int, _ string, patience time.Duration) (killed int, survivors []int) {
	for until := time.Now().Add(patience); ; time.Sleep(sweepEvery) {
		if syscall.Kill(-group, syscall.SIGKILL) != nil {
			return killed, nil
		}
		killed = 1
		if time.Now().After(until) {
			return killed, []int{-group}
		}
	}
}
