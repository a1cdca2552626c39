package judge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tracefleet/tracefleet/internal/childenv"
	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// ErrNoValidate means that the Python asked has no `flashinfer-bench validate`: no flashinfer-bench at all, or a release before it.
// Check's rules stand alone then.
var ErrNoValidate = errors.New("this Python has no flashinfer-bench with validate: install flashinfer-bench from its repository")

// validateChecks are those that need no GPU, in the order of the reports.
var validateChecks = []string{"layout", "definition", "workload", "solution", "trace", "baseline"}

// The child's limits. It imports torch, which takes seconds, and parses every solution and trace of the dataset, which for the
// published one takes minutes on a slow disk.
const (
	validateTime  = 20 * time.Minute
	validateGrace = 10 * time.Second // from being asked to end to being killed
)

// validateCode runs the command line by its function: `python -m` has no way in, and the script beside the interpreter may be another
// environment's.
const validateCode = "from flashinfer_bench.cli.main import cli; cli()"

// RunValidate runs flashinfer-bench's own validator without a GPU, on these definitions of the dataset in dir, none named: on all. Its
// JSON report is judged, not its exit status, which is 0 with errors too. The child has a process group of its own and ends with ctx.
func RunValidate(ctx context.Context, python, dir string, definitions []string) (*Report, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("run flashinfer-bench validate: %w", err)
	}
	for _, name := range definitions {
		if err := fitrace.CheckName("definition", name); err != nil { // it would be an option, or several names
			return nil, fmt.Errorf("run flashinfer-bench validate: %w", err)
		}
	}
	out, err := os.MkdirTemp("", "tracefleet-validate-")
	if err != nil {
		return nil, fmt.Errorf("run flashinfer-bench validate: %w", err)
	}
	defer os.RemoveAll(out)
	args := []string{"-c", validateCode, "validate", "--disable-gpu", "--checks", strings.Join(validateChecks, ","), "--dataset", dir,
		"--output-folder", out, "--outputs", "json", "--log-level", "ERROR"}
	if len(definitions) > 0 {
		args = append(append(args, "--definitions"), definitions...)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, validateTime, fmt.Errorf("it took longer than %v", validateTime))
	defer cancel()
	stderr, err := runGroup(ctx, out, python, args)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("run flashinfer-bench validate on %s: %w", dir, context.Cause(ctx))
	case err != nil && noValidate(err, stderr):
		return nil, fmt.Errorf("%s: %w", python, ErrNoValidate)
	case err != nil:
		return nil, fmt.Errorf("run flashinfer-bench validate on %s: %w: %s", dir, err, lastLine(stderr))
	}
	reports, err := filepath.Glob(filepath.Join(out, "report-*.json"))
	if err != nil || len(reports) != 1 {
		return nil, fmt.Errorf("run flashinfer-bench validate on %s: it wrote %d reports, must write one", dir, len(reports))
	}
	data, err := os.ReadFile(reports[0])
	if err != nil {
		return nil, fmt.Errorf("read the report of flashinfer-bench validate: %w", err)
	}
	return readValidate(data, definitions)
}

// runGroup runs a command in a process group of its own, asks the group to end when ctx does, and leaves nothing of it.
func runGroup(ctx context.Context, dir, name string, args []string) (stderr []byte, err error) {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path) // the child has another working directory
	}
	if err != nil {
		return nil, err
	}
	var out tail
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, childenv.Without(os.Environ()), &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = validateGrace
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	err = cmd.Wait()
	// Its children, if there are any left. A group of which nobody is left is nobody's: the kernel gives its number to no process that
	// we could hit in this moment.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	return out.kept, err
}

// noValidate reports whether a run failed because there is no such command, as Python, argparse and the import system word it.
func noValidate(err error, stderr []byte) bool {
	return errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) ||
		bytes.Contains(stderr, []byte("No module named 'flashinfer_bench")) || bytes.Contains(stderr, []byte("invalid choice: 'validate'"))
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

const tailBytes = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailBytes; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

// lastLine is where Python names the exception.
func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
