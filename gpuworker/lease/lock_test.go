package lease_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/lease"
)

// The locks of a killed process are free at once, though a child of it lives on.
func TestLock_DiesWithItsProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"=2", lease.LockDirEnv+"="+dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	child, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(said), "held "))
	require.NoError(t, err, said)
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })

	n := open(t, dir, func(o *lease.Options) { o.Inventory = fakes(2) })
	refused(t, n, "t000", 1)
	require.Contains(t, holders(n)[0], "pid "+strconv.Itoa(cmd.Process.Pid)+" of ")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.NoError(t, syscall.Kill(child, 0), "the child was to outlive its parent")
	refusedNoMore, err := n.Acquire(t.Context(), task("t000", 2))
	require.NoError(t, err)
	defer refusedNoMore.Release()
	require.Equal(t, []string{"c-test.t000", "c-test.t000"}, holders(n))
}

func TestLock_OthersMayLockToo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := open(t, dir)
	acquire(t, n, "t000", 1).Release()
	path := filepath.Join(dir, "flashinfer-bench-gpu-0.lock")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o666), info.Mode())

	// One that is not ours to write, as another user's gpu-lock leaves it.
	require.NoError(t, os.Chmod(path, 0o444))
	other, err := os.Open(path)
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, syscall.Flock(int(other.Fd()), syscall.LOCK_EX))
	require.Equal(t, "another process", holders(n)[0], "without an info file")
	require.Equal(t, []string{"1"}, acquire(t, n, "t001", 1).Devices)
	require.NoError(t, syscall.Flock(int(other.Fd()), syscall.LOCK_UN))
	require.Equal(t, []string{"0"}, acquire(t, n, "t002", 1).Devices)
}

// What another user may leave in /tmp is not followed, written to or waited for.
func TestLock_Traps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	lock, info := filepath.Join(dir, "flashinfer-bench-gpu-0.lock"), filepath.Join(dir, "flashinfer-bench-gpu-0.info")
	n := open(t, dir)

	require.NoError(t, os.Symlink(victim, lock))
	_, err := n.Acquire(t.Context(), task("t000", 1))
	require.ErrorContains(t, err, "flashinfer-bench-gpu-0.lock is a symbolic link")
	require.NoError(t, os.Remove(lock))
	require.NoError(t, syscall.Mkfifo(lock, 0o666))
	_, err = n.Acquire(t.Context(), task("t000", 1))
	require.ErrorContains(t, err, "is not a regular file")
	require.Empty(t, holders(n)[0])
	require.NoError(t, os.Remove(lock))

	require.NoError(t, os.Symlink(victim, info))
	g := acquire(t, n, "t000", 1)
	require.Equal(t, []string{"0"}, g.Devices)
	there, err := os.Lstat(info)
	require.NoError(t, err)
	require.True(t, there.Mode().IsRegular())
	data, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "precious", string(data))
	mode, err := os.Stat(victim)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), mode.Mode())
}

func TestLock_ForeignInfoIsNotTrusted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := open(t, dir, func(o *lease.Options) { o.GPUs = "0" })
	other := open(t, dir)
	g := acquire(t, other, "t000", 1)
	write := func(text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "flashinfer-bench-gpu-0.info"), []byte(text), 0o644))
	}
	write("  PID:        7\n  User:       eve\n  Command:    \x1b[2Jboo: " + strings.Repeat("x", 5000) + "\n")
	holder := holders(n)[0]
	require.True(t, strings.HasPrefix(holder, "pid 7 of eve:  [2Jboo: xxx"), holder)
	require.Len(t, []rune(holder), 200)
	write("nonsense")
	require.Equal(t, "another process", holders(n)[0])
	g.Release()
	data, err := os.ReadFile(filepath.Join(dir, "flashinfer-bench-gpu-0.info"))
	require.NoError(t, err)
	require.Equal(t, "nonsense", string(data), "only our own is removed")
}

// gpu-lock removes its info file after it unlocked, when the next holder may have written its own.
func TestLock_InfoIsWrittenAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := open(t, dir)
	acquire(t, n, "t000", 1)
	path := filepath.Join(dir, "flashinfer-bench-gpu-0.info")
	require.NoError(t, os.Remove(path))
	n.GPUs()
	require.FileExists(t, path)
}

// A cleaner of /tmp removed a lock file: who has the old one holds nothing that others see, and who comes next makes a new one.
func TestLock_RemovedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "flashinfer-bench-gpu-0.lock")
	old := time.Now().Add(-30 * 24 * time.Hour)
	require.NoError(t, os.WriteFile(path, nil, 0o666))
	require.NoError(t, os.Chtimes(path, old, old))
	n := open(t, dir)
	g := acquire(t, n, "t000", 1)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, time.Since(info.ModTime()), time.Minute, "a lock that is held must not look old")
	g.Release()
	require.NoError(t, os.Remove(path))
	acquire(t, n, "t001", 1)
	require.FileExists(t, path)
}
