package proc

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestChild_LeavesNobodyBehind(t *testing.T) {
	t.Parallel()
	c, _, alive := crew(t, "leaver", 3, nil)
	<-c.Left()
	<-c.Done()
	e := c.Exit()
	require.Equal(t, 5, e.Code)
	require.Equal(t, 2, e.Killed)
	gone(t, alive)
}

// TestWorker_Killed: kill -9 of the worker leaves nothing of the family, of which some are in groups and sessions of their own.
func TestWorker_Killed(t *testing.T) {
	t.Parallel()
	alive, worker, _ := startWorker(t, "50ms")
	require.NoError(t, worker.Process.Kill())
	gone(t, alive)
}

// TestSupervisor_Killed: the worker sees it, and nothing is left.
func TestSupervisor_Killed(t *testing.T) {
	t.Parallel()
	c, _, alive := crew(t, "family", 5, nil)
	require.NoError(t, c.cmd.Process.Kill())
	<-c.Done()
	e := c.Exit()
	require.True(t, e.Lost)
	require.False(t, e.Clean())
	require.Empty(t, e.Survivors)
	gone(t, alive)
}

// TestBothKilled: the main process is tied to its supervisor by the kernel.
func TestBothKilled(t *testing.T) {
	t.Parallel()
	alive, worker, supervisor := startWorker(t, long.String())
	group := groupOf(t, supervisor)
	fd, err := unix.PidfdOpen(group, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, syscall.Kill(supervisor, syscall.SIGSTOP), "so that it cannot act on the worker's death")
	require.NoError(t, worker.Process.Kill())
	require.NoError(t, syscall.Kill(supervisor, syscall.SIGKILL))
	ended := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(ended, int(killWait.Milliseconds()))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll(ended, int(killWait.Milliseconds()))
	}
	require.NoError(t, err)
	require.Equal(t, 1, n, "the main process outlives its supervisor")
	mark := markOf(t, group)
	_, survivors := sweepLost(group, mark, killWait) // the descendants, which the package says it cannot promise
	require.Empty(t, survivors)
	gone(t, alive)
}

// startWorker runs a worker that has a family of five.
func startWorker(t *testing.T, grace string) (alive *bufio.Reader, worker *exec.Cmd, supervisor int) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	worker = exec.Command(self(), grace)
	worker.Env, worker.ExtraFiles, worker.Stderr = env("worker"), []*os.File{w}, os.Stderr
	out, err := worker.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, worker.Start())
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { _ = worker.Process.Kill(); _ = worker.Wait() }) })
	require.NoError(t, w.Close())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	supervisor, err = strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	alive = bufio.NewReader(r)
	announced(t, alive, 5)
	return alive, worker, supervisor
}

func groupOf(t *testing.T, supervisor int) int {
	t.Helper()
	for _, p := range processes() {
		if p.parent == supervisor && p.pid == p.group {
			return p.pid
		}
	}
	t.Fatalf("supervisor %d has no child that leads a group", supervisor)
	return 0
}

func markOf(t *testing.T, pid int) string {
	t.Helper()
	for _, p := range processes() {
		if p.group != pid {
			continue
		}
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		require.NoError(t, err)
		for v := range strings.SplitSeq(string(data), "\x00") {
			if strings.HasPrefix(v, markEnv+"=") {
				return v
			}
		}
	}
	t.Fatal("no process of the group carries the mark")
	return ""
}

// TestHold: a lock that this process lets go of without unlocking, as by its death, stays until everything of the child is gone.
func TestHold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	lock := func() (*os.File, error) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		require.NoError(t, err)
		return f, syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	f, err := lock()
	require.NoError(t, err)
	c, err := Start(Spec{Args: []string{"sleep", "60"}, Hold: []*os.File{f}})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	again, err := lock()
	require.ErrorIs(t, err, syscall.EWOULDBLOCK)
	require.NoError(t, again.Close())
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.PID()))
	require.NoError(t, err)
	for _, fd := range fds {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", c.PID(), fd.Name()))
		require.NotEqual(t, path, link, "the child itself has it not")
	}
	_, err = c.Stop(t.Context(), time.Second)
	require.NoError(t, err)
	again, err = lock()
	require.NoError(t, err)
	require.NoError(t, again.Close())
}
