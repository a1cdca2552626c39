package publisher

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

var errCrash = errors.New("crashed here")

// breaker counts the changes to the file system, and breaks them from one on.
type breaker struct {
	mu    sync.Mutex
	n     int
	from  int // the first step that fails; 0: none does
	once  bool
	err   error
	names []string
}

func (b *breaker) before(s atomicfile.Step) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	b.names = append(b.names, s.Op+" "+s.Name)
	if b.n == b.from || b.n > b.from && b.from > 0 && !b.once {
		return b.err
	}
	return nil
}

// scenario is a dataset and something to publish into it.
type scenario struct {
	name     string
	replace  bool
	badLines int
	base     string
	plan     *Plan
	want     map[string]string // the tree of the undisturbed run
	steps    []string          // its changes to the file system
}

// publish runs the scenario's plan, saved before anything went wrong, as the role does.
func (sc *scenario) publish(s store, dir string, before func(atomicfile.Step) error) error {
	w, err := dataset.Open(dir, dataset.Options{Log: nopLog, Before: before})
	if err != nil {
		return err
	}
	defer w.Close()
	return sc.plan.Execute(w, s.get)
}

func (sc *scenario) prepare(t testing.TB, s store) {
	t.Helper()
	r, err := dataset.OpenReader(sc.base)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	g := NewGathered([]string{defName}, 0)
	for _, v := range s.someVerdicts(defName) {
		g.Add(v)
	}
	plan, _, err := Prepare(r, Request{Definition: testDefinition(t, defName), Max: 4, Replace: sc.replace}, g)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Contents() { // small tensors travel with the verdicts
		for _, in := range c.Inputs {
			if in.Inline != nil {
				s[in.Digest] = in.Inline
			}
		}
	}
	sc.plan = plan
}

func scenarios(t testing.TB, s store) []*scenario {
	t.Helper()
	defs := []*fitrace.Definition{testDefinition(t, defName)}
	empty, ours, mixed := t.TempDir(), t.TempDir(), t.TempDir()
	mustPublish(t, ours, defs, []*proto.Verdict{verdict("o0", s.candidate(defName, 0, 3, 3, 3)), verdict("o1", s.candidate(defName, 0, 1, 2))}, s, LocalOptions{})
	mustPublish(t, mixed, defs, []*proto.Verdict{verdict("o0", s.candidate(defName, 2, 3, 1))}, s, LocalOptions{})
	file := filepath.Join(mixed, fitrace.WorkloadsPath("gqa_paged", defName))
	write(t, file, appendTo(t, file, badLine))
	list := []*scenario{
		{name: "new", base: empty}, {name: "append", base: ours}, {name: "append to lines that do not parse", base: mixed, badLines: 1},
		{name: "replace", base: ours, replace: true}, {name: "replace beside lines that do not parse", base: mixed, replace: true, badLines: 1},
	}
	for _, sc := range list {
		sc.prepare(t, s)
		dir, b := copyTree(t, sc.base), &breaker{}
		if err := sc.publish(s, dir, b.before); err != nil {
			t.Fatalf("%s: %v", sc.name, err)
		}
		sound(t, dir, sc.badLines)
		sc.want, sc.steps = tree(t, dir), b.names
	}
	return list
}

// After any step everything stops, as in a crash. The next to open the dataset finds it as it was or as it should be, and
// publishing again ends in the bytes of the undisturbed run.
func TestCrash_AfterEveryStep(t *testing.T) {
	t.Parallel()
	s := store{}
	forEach(t, scenarios(t, s), func(t *testing.T, sc *scenario) {
		base := public(t, sc.base)
		want := map[string]string{}
		for name, data := range sc.want {
			if !strings.HasPrefix(name, dataset.Private) {
				want[name] = data
			}
		}
		for from := 1; from <= len(sc.steps)+1; from++ {
			at := "the end"
			if from <= len(sc.steps) {
				at = sc.steps[from-1]
			}
			dir := copyTree(t, sc.base)
			b := &breaker{from: from, err: errCrash}
			if err := sc.publish(s, dir, b.before); (err == nil) != (from > len(sc.steps)) {
				t.Fatalf("%s: crash at %d (%s): %v", sc.name, from, at, err)
			}
			w, err := dataset.Open(dir, dataset.Options{Log: nopLog})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			sound(t, dir, sc.badLines)
			if got := public(t, dir); !maps.Equal(got, base) && !maps.Equal(got, want) {
				t.Errorf("%s: crash at %d (%s): the dataset is neither the old nor the new: %v", sc.name, from, at, slices.Sorted(maps.Keys(got)))
			}
			if err := sc.publish(s, dir, nil); err != nil {
				t.Fatal(err)
			}
			if got := tree(t, dir); !maps.Equal(got, sc.want) {
				t.Errorf("%s: crash at %d (%s): published again, the dataset differs: %v", sc.name, from, at, slices.Sorted(maps.Keys(got)))
			}
		}
	})
}

// A step fails and the process lives: one failure, and the dataset is as it was at once. What fails after the commit leaves
// the new dataset.
func TestFullDisk_AtEveryStep(t *testing.T) {
	t.Parallel()
	s := store{}
	forEach(t, scenarios(t, s), func(t *testing.T, sc *scenario) {
		base := public(t, sc.base)
		commit := slices.Index(sc.steps, "rename "+fitrace.WorkloadsPath("gqa_paged", defName)) + 1
		for from := 1; from <= len(sc.steps); from++ {
			dir := copyTree(t, sc.base)
			b := &breaker{from: from, once: true, err: syscall.ENOSPC}
			err := sc.publish(s, dir, b.before)
			if err == nil {
				continue // the courtesy of removing a temporary file
			}
			f := proto.AsFailure(err, proto.CodeInternal)
			if f.Code != proto.CodeDiskFull || f.Hint == "" {
				t.Fatalf("%s: %s fails with %v", sc.name, sc.steps[from-1], err)
			}
			if got := public(t, dir); from <= commit && !maps.Equal(got, base) {
				t.Errorf("%s: after a full disk at %d (%s) the dataset is not as it was: %v", sc.name, from, sc.steps[from-1], slices.Sorted(maps.Keys(got)))
			}
			sound(t, dir, sc.badLines)
		}
	})
}

func forEach(t *testing.T, list []*scenario, test func(*testing.T, *scenario)) {
	for _, sc := range list {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			test(t, sc)
		})
	}
}

// The kernel refuses to let files grow, as on a full disk.
func TestFullDisk_Kernel(t *testing.T) {
	if spec := os.Getenv(limitEnv); spec != "" {
		base, limit, _ := strings.Cut(spec, "|")
		n, _ := strconv.ParseUint(limit, 10, 64)
		s := store{}
		sc := &scenario{base: base}
		sc.prepare(t, s)
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(4) // not a pass: the parent says that it lacked the limit
		}
		f := proto.AsFailure(sc.publish(s, filepath.Join(base, "..", "dataset"), nil), proto.CodeInternal)
		if f.Code != proto.CodeDiskFull {
			os.Exit(3)
		}
		os.Exit(0)
	}
	t.Parallel()
	s := store{}
	sc := scenarios(t, s)[1]
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{100, 2000} { // in the journal, the largest file; TestFullDisk_AtEveryStep has the others
		dir := copyTree(t, sc.base)
		base := filepath.Join(dir, "..", "base")
		if err := os.CopyFS(base, os.DirFS(sc.base)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFullDisk_Kernel$")
		cmd.Env = append(os.Environ(), limitEnv+"="+base+"|"+strconv.Itoa(limit))
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() == 4 {
			t.Skipf("this system does not limit the size of files: %s", out)
		}
		if err != nil {
			t.Fatalf("files of at most %d bytes: no disk_full failure: %v\n%s", limit, err, out)
		}
		if !maps.Equal(public(t, dir), public(t, sc.base)) {
			t.Errorf("files of at most %d bytes: the dataset is not as it was", limit)
		}
		if err := sc.publish(s, dir, nil); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(tree(t, dir), sc.want) {
			t.Errorf("files of at most %d bytes: published again, the dataset differs", limit)
		}
	}
}

const limitEnv = "TRACEFLEET_TEST_FILE_LIMIT"

const killEnv = "TRACEFLEET_TEST_KILL"

// A real process, killed by SIGKILL.
func TestCrash_Kill(t *testing.T) {
	if spec := os.Getenv(killEnv); spec != "" {
		dir, step, _ := strings.Cut(spec, "|")
		n, _ := strconv.Atoi(step)
		var mu sync.Mutex
		at := 0
		s := store{}
		sc := &scenario{base: filepath.Join(dir, "..", "base")}
		sc.prepare(t, s)
		err := sc.publish(s, dir, func(atomicfile.Step) error {
			mu.Lock()
			defer mu.Unlock()
			if at++; at == n {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return nil
		})
		t.Fatalf("not killed: %v", err)
	}
	t.Parallel()
	s := store{}
	sc := scenarios(t, s)[1]
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= len(sc.steps); n += 3 {
		dir := copyTree(t, sc.base)
		if err := os.CopyFS(filepath.Join(dir, "..", "base"), os.DirFS(sc.base)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestCrash_Kill$")
		cmd.Env = append(os.Environ(), killEnv+"="+dir+"|"+strconv.Itoa(n))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
			t.Fatalf("the process was not killed: %v\n%s", err, out)
		}
		if err := sc.publish(s, dir, nil); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(tree(t, dir), sc.want) {
			t.Errorf("killed at %d (%s): published again, the dataset differs", n, sc.steps[n-1])
		}
		sound(t, dir, 0)
	}
}
