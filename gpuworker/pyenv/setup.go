package pyenv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
	"github.com/tracefleet/tracefleet/internal/childenv"
	"github.com/tracefleet/tracefleet/proto"
)

// Spec says which environment Setup makes. Of each package either a version or a local checkout; with neither, the newest of
// SGLang and flashinfer-bench, and the FlashInfer that SGLang asks for.
type Spec struct {
	Dir           string // the environment's directory
	Base          string // interpreter to make it with; empty: python3 on the PATH (uv finds its own)
	SGLang        string // version
	SGLangSrc     string // checkout of sgl-project/sglang
	FlashInfer    string // version; another than SGLang's own pin is installed over it
	FlashInferSrc string // checkout of flashinfer-ai/flashinfer
	Bench         string // version of flashinfer-bench
	BenchSrc      string // checkout of flashinfer-ai/flashinfer-bench
	UV            string // path of uv; empty: venv and pip
}

// Run runs a command and gives each line of its output to say. Tests replace it.
type Run func(ctx context.Context, say func(line string), argv ...string) error

// Step is one command of a setup.
type Step struct {
	Name string
	Argv []string
	key  string // what it depends on, its own command and all before it
}

// FindUV gives the path of uv, or "" where there is none.
func FindUV() string {
	path, err := exec.LookPath("uv")
	if err != nil {
		return ""
	}
	return path
}

// Steps gives the commands that make s, in order. It checks the spec and reads nothing but whether checkouts are there.
func (s *Spec) Steps() ([]Step, error) {
	if s.Dir == "" {
		return nil, proto.Failf(proto.CodeEnvironment, "setup: no directory is named").WithHint("give --env-dir DIR")
	}
	packages := []struct {
		name, version, src string
		below              string // where in a checkout the Python project is
		proof              string // a file that tells the right checkout
	}{
		{"sglang", s.SGLang, s.SGLangSrc, "python", "python/sglang/__init__.py"},
		{"flashinfer-python", s.FlashInfer, s.FlashInferSrc, "", "flashinfer/__init__.py"},
		{"flashinfer-bench", s.Bench, s.BenchSrc, "", "flashinfer_bench/__init__.py"},
	}
	steps := []Step{{Name: "environment", Argv: s.create()}}
	for _, p := range packages {
		short := strings.TrimSuffix(p.name, "-python")
		if p.version != "" && p.src != "" {
			return nil, proto.Failf(proto.CodeEnvironment, "setup: --%s is %q and --%s-src is %q", short, p.version, short, p.src).WithHint("give one of them")
		}
		var what []string
		switch {
		case p.src != "":
			src, err := checkout(p.src, p.proof, short)
			if err != nil {
				return nil, err
			}
			what = []string{"-e", filepath.Join(src, p.below)}
		case p.version != "":
			if strings.ContainsFunc(p.version, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefghijklmnopqrstuvwxyz.+-", r) }) || p.version[0] == '-' {
				return nil, proto.Failf(proto.CodeEnvironment, "setup: --%s is %q, which is no version", short, p.version).WithHint("give one such as 0.5.16")
			}
			what = []string{p.name + "==" + p.version}
		case p.name == "flashinfer-python":
			continue // SGLang brings the one it was made with
		default:
			what = []string{p.name}
		}
		if p.name == "flashinfer-python" && p.src == "" {
			// SGLang pins another version with ==, and a resolver that sees both refuses.
			what = append([]string{"--no-deps"}, what...)
		}
		steps = append(steps, Step{Name: p.name, Argv: s.install(what...)})
	}
	hash := sha256.New()
	for i := range steps {
		for _, arg := range steps[i].Argv {
			hash.Write([]byte(arg + "\x00"))
		}
		steps[i].key = hex.EncodeToString(hash.Sum(nil)[:8])
	}
	return steps, nil
}

func (s *Spec) create() []string {
	if s.UV != "" {
		argv := []string{s.UV, "venv", "--allow-existing"}
		if s.Base != "" {
			argv = append(argv, "--python", s.Base)
		}
		return append(argv, s.Dir)
	}
	base := s.Base
	if base == "" {
		base = "python3"
	}
	return []string{base, "-m", "venv", s.Dir}
}

func (s *Spec) install(what ...string) []string {
	python := interpreter(s.Dir)
	if s.UV != "" {
		// SGLang needs packages that exist as pre-releases only, which uv takes when it is told so and pip takes by itself.
		return append([]string{s.UV, "pip", "install", "--python", python, "--prerelease", "if-necessary"}, what...)
	}
	return append([]string{python, "-m", "pip", "install", "--disable-pip-version-check"}, what...)
}

func checkout(dir, proof, flag string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		_, err = os.Stat(filepath.Join(abs, filepath.FromSlash(proof)))
	}
	if err != nil {
		return "", proto.Failf(proto.CodeEnvironment, "setup: --%s-src is %q: %v", flag, dir, err).
			WithHint("give the root of a checkout, which has %s", proof)
	}
	return abs, nil
}

// Setup makes the environment, or what is missing of it, and looks whether it can serve. say hears what is done; run is nil but
// in tests. Errors are *proto.Failure with code environment.
func Setup(ctx context.Context, s Spec, say func(line string), run Run) (*Report, error) {
	if run == nil {
		run = execute
	}
	steps, err := s.Steps()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, proto.Failf(proto.CodeEnvironment, "setup: make the environment's directory: %v", err)
	}
	lock := flock.New(filepath.Join(s.Dir, ".tracefleet-setup.lock"))
	if ok, err := lock.TryLock(); err != nil || !ok {
		return nil, proto.Failf(proto.CodeEnvironment, "setup: another setup is at work in %s", s.Dir).WithHint("wait for it").WithRetry()
	}
	defer func() { _ = lock.Close() }()
	done, err := readRecord(s.Dir)
	if err != nil {
		return nil, proto.Failf(proto.CodeEnvironment, "setup: %v", err)
	}
	for _, step := range steps {
		if done.Steps[step.Name] == step.key {
			say(step.Name + ": done before")
			continue
		}
		// Until the end is reached again, nothing may take the environment for a whole one.
		done.Finished = ""
		delete(done.Steps, step.Name)
		if err := writeRecord(s.Dir, done); err != nil {
			return nil, err
		}
		say(step.Name + ": " + strings.Join(step.Argv, " "))
		var last []string
		err := run(ctx, func(line string) {
			last = append(last[max(0, len(last)-4):], line)
			say("  " + line)
		}, step.Argv...)
		if err != nil {
			return nil, stepFailed(ctx, step, err, last)
		}
		done.Steps[step.Name] = step.key
		if err := writeRecord(s.Dir, done); err != nil {
			return nil, err
		}
	}
	report, err := Probe(ctx, interpreter(s.Dir))
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, name := range []string{"sglang", "flashinfer-python", "torch"} {
		if report.Packages[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, proto.Failf(proto.CodeEnvironment, "setup: every step ended well and %s has no %s", s.Dir, strings.Join(missing, ", ")).
			WithHint("remove %s and run setup again", s.Dir)
	}
	done.Finished = time.Now().UTC().Format(time.RFC3339)
	return report, writeRecord(s.Dir, done)
}

func stepFailed(ctx context.Context, step Step, err error, last []string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("setup: %s: interrupted; the same command goes on: %w", step.Name, ctx.Err())
	}
	text := strings.TrimSpace(strings.Join(last, " | "))
	return proto.Failf(proto.CodeEnvironment, "setup: %s: %v: %.400s", step.Name, err, text).
		WithHint("the same command goes on from this step; the package index must be reachable, and some 20 GB of disk free")
}

func writeRecord(dir string, r record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("setup: encode record: %w", err)
	}
	tree, err := atomicfile.OpenTree(dir)
	if err != nil {
		return proto.Failf(proto.CodeEnvironment, "setup: %v", err)
	}
	defer func() { _ = tree.Close() }()
	if err := tree.Write(recordName, atomicfile.Bytes(append(data, '\n'))); err != nil {
		return proto.Failf(proto.CodeEnvironment, "setup: %v", err)
	}
	return nil
}

// execute is the Run of production. The command's own environment variables that would lead it elsewhere are left out.
func execute(ctx context.Context, say func(string), argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = slices.DeleteFunc(childenv.Without(os.Environ()), func(v string) bool {
		return strings.HasPrefix(v, "PYTHONPATH=") || strings.HasPrefix(v, "PYTHONHOME=") || strings.HasPrefix(v, "VIRTUAL_ENV=")
	})
	w := &lineWriter{say: say}
	cmd.Stdout, cmd.Stderr = w, w
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	w.flush()
	return err
}

// lineWriter gives whole lines on; a carriage return ends one too, as progress bars use it.
type lineWriter struct {
	say     func(string)
	pending []byte
}

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' || b == '\r' {
			w.flush()
			continue
		}
		w.pending = append(w.pending, b)
	}
	return len(p), nil
}

func (w *lineWriter) flush() {
	if len(w.pending) > 0 {
		w.say(string(w.pending))
		w.pending = w.pending[:0]
	}
}
