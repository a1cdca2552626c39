package proc

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// roleEnv makes the test binary a process of the tests.
const roleEnv = "TRACEFLEET_PROC_TEST"

// long is a grace that no test waits for: what ends sooner ended for another reason.
const long = 10 * time.Minute

func TestMain(m *testing.M) {
	MaybeSupervise()
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // or each process of a race build ends a second late
	goleak.VerifyTestMain(m)
}

// play is a process of the tests. It announces itself on descriptor 3, which all of its kind hold: that pipe ends when they are gone.
func play(role string) int {
	alive := os.NewFile(3, "alive")
	switch role {
	case "print":
		fmt.Print("one\ntwo\r\nbar 10%\rbar 100%\r\n\x1b[32mgreen\x1b[0m\n\xff\n" + strings.Repeat("x", maxLine+5) + "\nlast, without an end")
		return 3
	case "obedient":
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		fmt.Fprintln(alive, os.Getpid())
		<-asked
		fmt.Println("flushed")
		return 0
	case "sleeper": // hears nothing but SIGKILL
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		fmt.Fprintln(alive, os.Getpid())
		fmt.Println("deaf")
		select {}
	case "orphan": // leaves a child behind
		spawn(alive, "sleeper", &syscall.SysProcAttr{Setsid: true})
		return 0
	case "leaver": // ends by itself, its children do not
		spawn(alive, "sleeper", nil)
		spawn(alive, "sleeper", &syscall.SysProcAttr{Setsid: true})
		fmt.Fprintln(alive, os.Getpid())
		return 5
	case "family": // hears nothing but SIGKILL, with four descendants, of which only one stays in its group
		signal.Ignore(syscall.SIGTERM)
		spawn(alive, "sleeper", nil)
		spawn(alive, "sleeper", &syscall.SysProcAttr{Setpgid: true})
		spawn(alive, "sleeper", &syscall.SysProcAttr{Setsid: true})
		_ = spawn(alive, "orphan", &syscall.SysProcAttr{Setsid: true}).Wait()
		fmt.Fprintln(alive, os.Getpid())
		select {}
	case "worker": // starts a family, tells its supervisor, and waits to be killed
		grace, err := time.ParseDuration(os.Args[1])
		if err != nil {
			return 1
		}
		c, err := Start(Spec{Args: []string{self()}, Env: env("family"), Files: []*os.File{alive}, Grace: grace})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(c.cmd.Process.Pid)
		select {}
	}
	return 1
}

func env(role string) []string { return append(os.Environ(), roleEnv+"="+role) }

// spawn starts a descendant; a sleeper is deaf when it returns.
func spawn(alive *os.File, role string, attr *syscall.SysProcAttr) *exec.Cmd {
	cmd := exec.Command(self())
	cmd.Env, cmd.SysProcAttr, cmd.ExtraFiles = env(role), attr, []*os.File{alive}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil && role == "sleeper" {
		_, err = bufio.NewReader(out).ReadString('\n')
	}
	if err != nil {
		panic(err)
	}
	return cmd
}

// crew starts a role with a pipe that its processes hold, and reads until n of them announced themselves.
func crew(t *testing.T, role string, n int, line func(string)) (c *Child, pids []int, alive *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	c, err = Start(Spec{Args: []string{self()}, Env: env(role), Files: []*os.File{w}, Line: line})
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = c.Stop(context.WithoutCancel(t.Context()), 0) })
	require.NoError(t, w.Close())
	alive = bufio.NewReader(r)
	return c, announced(t, alive, n), alive
}

func announced(t *testing.T, alive *bufio.Reader, n int) (pids []int) {
	t.Helper()
	for range n {
		line, err := alive.ReadString('\n')
		require.NoError(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// gone waits for the end of the pipe that every process of the crew holds.
func gone(t *testing.T, alive io.Reader) {
	t.Helper()
	rest, err := io.ReadAll(alive)
	require.NoError(t, err)
	require.Empty(t, rest)
}

func TestStart_Output(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	var lines []string
	c, err := Start(Spec{Args: []string{self()}, Env: env("print"), LogFile: log, Line: func(s string) { lines = append(lines, s) }})
	require.NoError(t, err)
	<-c.Done()
	require.Equal(t, Exit{Code: 3}, c.Exit())
	require.Equal(t, "exit status 3", c.Exit().String())
	require.Equal(t, []string{"one", "two", "bar 10%", "bar 100%", "green", "\uFFFD", strings.Repeat("x", maxLine) + " … [5 bytes more]", "last, without an end"}, lines)
	kept, err := os.ReadFile(log)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(kept), "one\ntwo\r\nbar 10%\rbar 100%\r\n\x1b[32m"))
	require.True(t, strings.HasSuffix(string(kept), "last, without an end"))
	e, err := c.Stop(t.Context(), long)
	require.NoError(t, err, "stopping what has ended")
	require.False(t, e.Asked)
}

func TestStart_LogLimit(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	c, err := Start(Spec{Args: []string{self()}, Env: env("print"), LogFile: log, LogMax: 6})
	require.NoError(t, err)
	<-c.Done()
	kept, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Equal(t, "one\ntw\n[log cut here: it reached its limit]\n", string(kept))
}

func TestStart_NoSuchCommand(t *testing.T) {
	t.Parallel()
	_, err := Start(Spec{Args: []string{"/no/such/python"}})
	require.ErrorContains(t, err, "/no/such/python")
	require.ErrorContains(t, err, "no such file")
	_, err = Start(Spec{})
	require.ErrorContains(t, err, "no command")
	_, err = Start(Spec{Args: []string{self()}, Dir: "/no/such/dir"})
	require.ErrorContains(t, err, "/no/such/dir")
}

func TestStop_Asks(t *testing.T) {
	t.Parallel()
	var lines []string
	c, pids, alive := crew(t, "obedient", 1, func(s string) { lines = append(lines, s) })
	require.Equal(t, []int{c.PID()}, pids)
	e, err := c.Stop(t.Context(), long)
	require.NoError(t, err)
	require.Equal(t, Exit{Asked: true}, e)
	require.True(t, e.Clean())
	require.Equal(t, []string{"flushed"}, lines)
	gone(t, alive)
}

func TestStop_KillsTheDeaf(t *testing.T) {
	t.Parallel()
	c, pids, alive := crew(t, "family", 5, nil)
	e, err := c.Stop(t.Context(), 50*time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, syscall.SIGKILL, e.Signal)
	require.True(t, e.Asked)
	require.Empty(t, e.Survivors)
	require.Contains(t, pids, c.PID())
	if runtime.GOOS == "linux" { // elsewhere only what stayed in the group is found
		gone(t, alive)
	}
}

func TestStop_ContextEndsTheGrace(t *testing.T) {
	t.Parallel()
	c, _, alive := crew(t, "family", 5, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e, err := c.Stop(ctx, long)
	require.NoError(t, err)
	require.Equal(t, syscall.SIGKILL, e.Signal)
	if runtime.GOOS == "linux" { // elsewhere only what stayed in the group is found
		gone(t, alive)
	}
}

// TestSupervisor_Asked: a supervisor that is asked to end by somebody else stops its child in order.
func TestSupervisor_Asked(t *testing.T) {
	t.Parallel()
	c, _, alive := crew(t, "obedient", 1, nil)
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
	<-c.Done()
	require.True(t, c.Exit().Clean())
	gone(t, alive)
}
