package golden_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// scratch holds the binary while the tests run.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tracefleet-golden-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// binary builds tracefleet, once.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "tracefleet")
	out, err := exec.Command("go", "build", "-o", path, "../..").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// result is how a run of the binary ended.
type result struct {
	code           int
	stdout, stderr string
}

// tracefleet runs the binary with args.
func tracefleet(t *testing.T, args ...string) result {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run tracefleet %s: %v", strings.Join(args, " "), err)
	}
	return result{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// outDir gives an empty directory for a dataset.
func outDir(t *testing.T, name string) string {
	t.Helper()
	base := os.Getenv("TRACEFLEET_GOLDEN_OUT")
	if base == "" {
		return t.TempDir()
	}
	dir := filepath.Join(base, filepath.FromSlash(name))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyDefinitions copies the named definitions of a definitions directory into a dataset.
func copyDefinitions(t *testing.T, definitions, dataset string, names []string) {
	t.Helper()
	for _, name := range names {
		found, err := filepath.Glob(filepath.Join(definitions, "*", name+".json"))
		if err != nil || len(found) != 1 {
			t.Fatalf("definition %s is in %s %d times (%v)", name, definitions, len(found), err)
		}
		data, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(dataset, "definitions", filepath.Base(filepath.Dir(found[0])), name+".json")
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// fingerprint sums up the names, sizes and times below dir: a replay must leave its source as it was.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(sum, path, info.Size(), info.Mode(), info.ModTime().UnixNano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// workloads gives the lines of a dataset, by file relative to it.
func workloads(t *testing.T, dataset string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dataset, "workloads", "*", "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(dataset, path)
		if err != nil {
			t.Fatal(err)
		}
		lines[name] = string(data)
	}
	return lines
}

// readJSON reads a JSON file into v.
func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
