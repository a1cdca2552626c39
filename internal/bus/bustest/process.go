package bustest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/tracefleet/tracefleet/internal/bus"
)

// processEnv tells a test binary that it is to be a broker: "<listen address> <state directory>".
const processEnv = "TRACEFLEET_BUSTEST_BROKER"

// Main is for TestMain. In the process that StartProcess starts it is the broker; else it runs the tests and then looks for
// goroutines that they left behind. What tests share is made by prepare, in their process only, and taken away by what that gives.
func Main(m *testing.M, prepare ...func() (undo func(), err error)) {
	if spec := os.Getenv(processEnv); spec != "" {
		os.Exit(broker(spec))
	}
	os.Exit(tests(m, prepare))
}

func tests(m *testing.M, prepare []func() (undo func(), err error)) int {
	for _, p := range prepare {
		undo, err := p()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer undo()
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintf(os.Stderr, "goroutines left behind: %v\n", err)
			code = 1
		}
	}
	return code
}

// broker serves until its standard input ends, which it does when the test process is gone, however that ended.
func broker(spec string) int {
	listen, dir, _ := strings.Cut(spec, " ")
	s, err := bus.StartEmbedded(bus.Embedded{StateDir: dir, Listen: listen, Log: zerolog.New(os.Stderr).Level(zerolog.WarnLevel)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.URL())
	_, _ = io.Copy(io.Discard, os.Stdin) // ends either way
	s.Close()
	return 0
}

// Process is a broker in another OS process.
type Process struct {
	URL string

	t     testing.TB
	dir   string
	mu    sync.Mutex
	cmd   *exec.Cmd
	stdin io.Closer
}

// StartProcess starts a broker on dir as a process of its own.
func StartProcess(t testing.TB, dir string) *Process {
	t.Helper()
	p := &Process{t: t, dir: dir}
	p.start("127.0.0.1:0")
	t.Cleanup(p.Stop)
	return p
}

func (p *Process) start(listen string) {
	p.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), processEnv+"="+listen+" "+p.dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		p.t.Fatalf("broker process did not start: %v (does TestMain call bustest.Main?)", err)
	}
	p.URL = strings.TrimSpace(line)
	p.mu.Lock()
	p.cmd, p.stdin = cmd, stdin
	p.mu.Unlock()
}

// Kill ends the process as a crash would: SIGKILL.
func (p *Process) Kill() { p.end(func(cmd *exec.Cmd, _ io.Closer) { _ = cmd.Process.Kill() }) }

// Stop ends the process in order.
func (p *Process) Stop() { p.end(func(_ *exec.Cmd, stdin io.Closer) { _ = stdin.Close() }) }

func (p *Process) end(how func(*exec.Cmd, io.Closer)) {
	p.mu.Lock()
	cmd, stdin := p.cmd, p.stdin
	p.cmd = nil
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	how(cmd, stdin)
	_ = cmd.Wait() // a killed process has an exit status; it is not the test's result
}

// Restart starts the process again, on the same address and state.
func (p *Process) Restart() {
	p.t.Helper()
	p.end(func(cmd *exec.Cmd, _ io.Closer) { _ = cmd.Process.Kill() })
	p.start(strings.TrimPrefix(p.URL, "nats://"))
}

// Connect opens a connection and makes sure that all is declared.
func (p *Process) Connect(name string) *bus.Bus {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	b, err := bus.Connect(ctx, bus.Config{URL: p.URL, Name: name, Wait: 30 * time.Second, Log: Log(p.t)})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(b.Close)
	if err := b.Ensure(ctx); err != nil {
		p.t.Fatal(err)
	}
	return b
}
