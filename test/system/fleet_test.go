package system_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang/sglangtest"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
)

var scratch string

func TestMain(m *testing.M) {
	sglangtest.Main() // does not return in a process that stands for an SGLang
	bustest.Main(m, func() (func(), error) {
		var err error
		if scratch, err = os.MkdirTemp("", "tracefleet-system-"); err != nil {
			return nil, err
		}
		return func() { _ = os.RemoveAll(scratch) }, fakeGPUs(scratch)
	})
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

// fleet is a broker and the role processes around it.
type fleet struct {
	t      *testing.T
	bin    string
	dir    string
	broker *bustest.Process

	args map[string][]string // of a process, instead of the usual ones

	mu    sync.Mutex
	procs map[string]*exec.Cmd // by the role, or by role-name where there are several
	names []string             // all that were ever started
}

// startFleet starts these roles, or all four with none named.
func startFleet(t *testing.T, roles ...string) *fleet {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := &fleet{t: t, bin: bin, dir: dir, broker: bustest.StartProcess(t, filepath.Join(dir, "broker")), procs: map[string]*exec.Cmd{}, args: map[string][]string{
		"gpuworker": {"--work-dir", filepath.Join(dir, "work")},
	}}
	if len(roles) == 0 {
		roles = []string{"coordinator", "gpuworker", "sanitizer", "publisher"}
	}
	t.Cleanup(func() {
		for _, name := range f.names {
			f.signal(name, syscall.SIGKILL)
		}
	})
	for _, role := range roles {
		f.start(role)
	}
	return f
}

// start runs a role in a process group of its own, its log in a file. Another process of a role has a name behind it: gpuworker-b.
func (f *fleet) start(name string) {
	f.t.Helper()
	role, _, _ := strings.Cut(name, "-")
	args := append([]string{role, "--nats", f.broker.URL}, f.args[name]...)
	log, err := os.OpenFile(filepath.Join(f.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(f.bin, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.procs[name] = cmd
	if !slices.Contains(f.names, name) {
		f.names = append(f.names, name)
	}
	f.mu.Unlock()
}

// signal sends a process a signal and waits for its end.
func (f *fleet) signal(name string, sig syscall.Signal) {
	f.mu.Lock()
	cmd := f.procs[name]
	delete(f.procs, name)
	f.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	_ = cmd.Wait() // how it ended is what the signal said
}

// crash kills a role with SIGKILL and starts it again.
func (f *fleet) crash(role string) {
	f.t.Helper()
	f.t.Logf("kill -9 %s", role)
	f.signal(role, syscall.SIGKILL)
	f.start(role)
}

// logs shows what the roles said; for a test that fails.
func (f *fleet) logs() {
	for _, name := range f.names {
		data, _ := os.ReadFile(filepath.Join(f.dir, name+".log"))
		f.t.Logf("%s:\n%s", name, data)
	}
}

// run runs the binary to its end and gives its standard output and exit code.
func run(ctx context.Context, t *testing.T, bin string, args ...string) (stdout string, code int) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("tracefleet %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	if code = cmd.ProcessState.ExitCode(); code != 0 {
		t.Logf("tracefleet %s: exit %d\n%s", strings.Join(args, " "), code, errs.String())
	}
	return out.String(), code
}

// newDataset makes a dataset directory with the project's own definitions.
func newDataset(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dataset")
	if err := os.CopyFS(filepath.Join(dir, "definitions"), os.DirFS("../../testdata/dataset/definitions")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// collectArgs is the collection that all tests of this package ask for: two groups, two batch sizes, tensors both inline and in
// the store.
func collectArgs(dataset string, more ...string) []string {
	return append([]string{
		"collect", "--trace-dir", dataset, "--engine", "simulate", "--batch-sizes", "4", "12", "--num-batches", "2", "--isl", "2048", "--osl", "6",
		"--dump-count", "120", "--definitions", "gqa_paged_decode_h32_kv8_d128_ps1", "gqa_ragged_prefill_causal_h32_kv8_d128", "rmsnorm_h4096",
		"top_k_top_p_sampling_from_probs_v128256",
	}, more...)
}

func parseAccount(t *testing.T, text string) coordinator.Account {
	t.Helper()
	var a coordinator.Account
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("account: %v in %q", err, text)
	}
	return a
}

// digest returns the SHA-256 of every file of a dataset, by path; our own records beside it are left out.
func digest(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if strings.HasPrefix(rel, "provenance") {
			data = collectionID.ReplaceAll(data, []byte("c-")) // the hash of what was asked for, with the dataset's directory in it
		}
		sum := sha256.Sum256(data)
		files[rel] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// reference is the dataset of an undisturbed run with all roles in one process.
var reference struct {
	once  sync.Once
	files map[string]string
	total coordinator.Account
}

func undisturbed(t *testing.T) (map[string]string, coordinator.Account) {
	t.Helper()
	reference.once.Do(func() {
		bin, err := binary()
		if err != nil {
			t.Fatal(err)
		}
		dataset := newDataset(t)
		out, code := run(t.Context(), t, bin, collectArgs(dataset, "--json", "--state-dir", filepath.Join(t.TempDir(), "state"))...)
		if code != 0 {
			t.Fatalf("undisturbed run: exit %d\n%s", code, out)
		}
		reference.files, reference.total = digest(t, dataset), parseAccount(t, out)
	})
	if reference.files == nil {
		t.Fatal("the undisturbed run failed in another test")
	}
	return reference.files, reference.total
}

// compare fails unless the dataset is that of the undisturbed run.
func compare(t *testing.T, dataset string) {
	t.Helper()
	want, _ := undisturbed(t)
	same(t, digest(t, dataset), want)
}

// same fails unless two datasets have the same files, by digest.
func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for path, sum := range want {
		switch g, ok := got[path]; {
		case !ok:
			t.Errorf("missing: %s", path)
		case g != sum:
			t.Errorf("differs: %s", path)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("not in the other: %s", path)
		}
	}
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
