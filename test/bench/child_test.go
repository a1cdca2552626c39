package bench_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// childEnv makes this test binary run the command in its arguments and print what it took.
const childEnv = "TRACEFLEET_BENCH_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// measured is what one conversion took.
type measured struct {
	Wall, CPU time.Duration // CPU: user and system, of all cores; on a busy machine it says more than wall
	Memory    int64         // peak resident bytes
}

// child runs a command from a process that is small itself: Linux counts the parent's memory at the time of the fork as the
// child's peak, and the process of the tests has held thousands of dumps.
func child(args []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	state := cmd.ProcessState
	err = json.NewEncoder(os.Stdout).Encode(measured{
		Wall: wall, CPU: state.UserTime() + state.SystemTime(), Memory: state.SysUsage().(*syscall.Rusage).Maxrss << 10,
	})
	if err != nil {
		return 1
	}
	return 0
}

// measure runs a command and tells what it took.
func measure(t *testing.T, args ...string) measured {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	var m measured
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatalf("%v: %v in %q", args, err, out)
	}
	return m
}
