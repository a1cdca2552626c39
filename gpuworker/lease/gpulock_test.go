package lease_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/internal/execfile"
)

// gpuLock gives flashinfer-bench's own tools/gpu-lock, made to keep its files in dir: a test must not lock this node's devices.
func gpuLock(t *testing.T, dir string) string {
	t.Helper()
	source := os.Getenv("FLASHINFER_BENCH_SRC")
	if source == "" {
		t.Skip("FLASHINFER_BENCH_SRC is not set to a checkout of flashinfer-bench: its tools/gpu-lock is not there to be tested with")
	}
	for _, tool := range []string{"bash", "flock", "timeout"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("gpu-lock cannot run here: %v", err)
		}
	}
	text, err := os.ReadFile(filepath.Join(source, "tools", "gpu-lock"))
	require.NoError(t, err)
	const place = `="/tmp/flashinfer-bench-gpu"`
	require.Equal(t, 2, strings.Count(string(text), place), "gpu-lock keeps its files elsewhere now: look at it again")
	path := filepath.Join(t.TempDir(), "gpu-lock")
	return execfile.Write(t, path, strings.ReplaceAll(string(text), place, `="`+filepath.Join(dir, "flashinfer-bench-gpu")+`"`))
}

func run(t *testing.T, path string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	return string(out), err
}

func TestGPULock_OursBlocksIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tool := gpuLock(t, dir)
	n := open(t, dir, func(o *lease.Options) { o.Inventory = fakes(8) })
	g := acquire(t, n, "t000", 7)

	status, err := run(t, tool, "--status")
	require.NoError(t, err, status)
	require.Equal(t, 7, strings.Count(status, ": LOCKED"))
	require.Contains(t, status, "GPU 7: FREE")
	require.Contains(t, status, "PID:        "+strconv.Itoa(os.Getpid()))
	require.Contains(t, status, "Command:    tracefleet c-test.t000")
	require.Contains(t, status, "GPUs:       0 1 2 3 4 5 6\n")

	out, err := run(t, tool, "--gpus", "2", "--no-wait", "--", "true")
	require.Error(t, err, out)
	require.Contains(t, out, "2 GPU(s) not available")
	out, err = run(t, tool, "--gpus", "1", "--no-wait", "--", "sh", "-c", "echo devices $CUDA_VISIBLE_DEVICES")
	require.NoError(t, err, out)
	require.Contains(t, out, "devices 7\n")

	g.Release()
	status, err = run(t, tool, "--status")
	require.NoError(t, err, status)
	require.NotContains(t, status, "LOCKED")
	require.NotContains(t, status, "PID")
}

// locked runs a shell command under gpu-lock, which prints a line and reads one.
func locked(t *testing.T, tool string, gpus int) (end func()) {
	t.Helper()
	cmd := exec.Command(tool, "--gpus", strconv.Itoa(gpus), "--", "sh", "-c", "echo up; read line")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "up\n", said)
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = stdin.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	return end
}

func TestGPULock_ItsBlocksOurs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tool := gpuLock(t, dir)
	end := locked(t, tool, 3)
	n := open(t, dir)
	list := holders(n)
	require.Contains(t, list[2], ": sh -c echo up; read line")
	require.Empty(t, list[3])
	require.Equal(t, []string{"3"}, acquire(t, n, "t000", 1).Devices)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := make(chan lease.Grant, 1)
	go func() {
		g, err := n.Acquire(ctx, task("t001", 3))
		if err == nil {
			got <- g
		}
		close(got)
	}()
	end()
	g := <-got
	require.Equal(t, []string{"0", "1", "2"}, g.Devices)
	g.Release()
}

// A worker that gpu-lock started is meant to use what gpu-lock has locked.
func TestGPULock_AboveUs(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/fdinfo"); err != nil {
		t.Skipf("who has a lock is not told here: %v", err)
	}
	dir := t.TempDir()
	tool := gpuLock(t, dir)
	cmd := exec.Command(tool, "--gpus", "2", "--", os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"=2", lease.LockDirEnv+"="+dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, said, "held ")
	require.Contains(t, holders(open(t, dir))[0], ": "+os.Args[0], "the file beside the lock is gpu-lock's still")
	refused(t, open(t, dir, func(o *lease.Options) { o.GPUs = "0,1" }), "t000", 1)
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
}
