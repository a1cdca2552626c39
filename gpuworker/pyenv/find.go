package pyenv

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tracefleet/tracefleet/proto"
)

// Wish says which interpreter is wanted. At most one of Python and CondaEnv may be set; with neither, the environment in Dir is
// taken where Setup finished one there, else python3 on the PATH.
type Wish struct {
	Python   string // --python: path or name of an interpreter
	CondaEnv string // --conda-env: name or directory of a conda environment
	Dir      string // where Setup makes its environment; see DefaultDir
}

// DefaultDir is where Setup makes its environment unless it is told otherwise: in the user's own data directory.
func DefaultDir() string {
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return filepath.Join(os.TempDir(), "tracefleet-env")
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "tracefleet", "env")
}

// Find gives the absolute path of the interpreter. Errors are *proto.Failure with code environment.
func Find(w Wish) (string, error) {
	switch {
	case w.Python != "" && w.CondaEnv != "":
		return "", proto.Failf(proto.CodeEnvironment, "--python is %q and --conda-env is %q", w.Python, w.CondaEnv).WithHint("give one of them")
	case w.Python != "":
		return named(w.Python, "--python")
	case w.CondaEnv != "":
		return conda(w.CondaEnv)
	}
	if w.Dir != "" && finished(w.Dir) {
		return interpreter(w.Dir), nil
	}
	path, err := named("python3", "the PATH")
	if err != nil {
		return "", proto.Failf(proto.CodeEnvironment, "no Python: %s has no finished environment and python3 is not on the PATH", orDefault(w.Dir)).
			WithHint("`tracefleet gpuworker setup` makes an environment; --python or --conda-env names one that is there")
	}
	return path, nil
}

func orDefault(dir string) string {
	if dir == "" {
		return DefaultDir()
	}
	return dir
}

// named resolves a path or a name on the PATH, and keeps symbolic links: a virtual environment's interpreter is one, and would
// lose its environment if it were followed.
func named(python, source string) (string, error) {
	path, err := exec.LookPath(python)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", proto.Failf(proto.CodeEnvironment, "interpreter %q, from %s: %v", python, source, err).
			WithHint("give the path of an executable, such as /opt/venv/bin/python")
	}
	return path, nil
}

// interpreter is where an environment keeps its Python.
func interpreter(env string) string { return filepath.Join(env, "bin", "python") }

// conda finds an environment by its directory, by the list that conda itself keeps of the environments it made, or below the usual
// roots. It does not run conda, which takes seconds and may not be on the PATH of a service.
func conda(name string) (string, error) {
	if strings.ContainsRune(name, os.PathSeparator) {
		return named(interpreter(name), "--conda-env "+name)
	}
	var looked []string
	for _, env := range condaEnvironments() {
		looked = append(looked, env)
		if filepath.Base(env) != name {
			continue
		}
		if path, err := named(interpreter(env), "--conda-env"); err == nil {
			return path, nil
		}
	}
	hint := "there is no conda environment here at all"
	if len(looked) > 0 {
		hint = "there are " + strings.Join(looked, ", ")
	}
	return "", proto.Failf(proto.CodeEnvironment, "--conda-env is %q: no such conda environment with a bin/python", name).WithHint("%s", hint)
}

func condaEnvironments() []string {
	var list []string
	seen := map[string]bool{}
	add := func(dir string) {
		if dir = filepath.Clean(dir); !seen[dir] {
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				seen[dir] = true
				list = append(list, dir)
			}
		}
	}
	home, err := os.UserHomeDir()
	if err == nil {
		if data, err := os.ReadFile(filepath.Join(home, ".conda", "environments.txt")); err == nil {
			for line := range strings.Lines(string(data)) {
				if line = strings.TrimSpace(line); line != "" {
					add(line)
				}
			}
		}
	}
	var roots []string
	if exe := os.Getenv("CONDA_EXE"); exe != "" { // <root>/bin/conda
		roots = append(roots, filepath.Dir(filepath.Dir(exe)))
	}
	for _, variable := range []string{"CONDA_ROOT", "MAMBA_ROOT_PREFIX"} {
		if dir := os.Getenv(variable); dir != "" {
			roots = append(roots, dir)
		}
	}
	for _, name := range []string{"miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba"} {
		if home != "" {
			roots = append(roots, filepath.Join(home, name))
		}
		roots = append(roots, filepath.Join("/opt", name))
	}
	roots = append(roots, "/opt/conda")
	for _, root := range roots {
		envs, err := filepath.Glob(filepath.Join(root, "envs", "*"))
		if err != nil {
			continue // a root with a bracket in its name
		}
		for _, env := range envs {
			add(env)
		}
	}
	return list
}

// record is what Setup keeps beside its environment: which steps are done, and for which wishes.
type record struct {
	Steps    map[string]string `json:"steps"` // step name → key of what it was done for
	Finished string            `json:"finished,omitempty"`
}

const recordName = "tracefleet-setup.json"

func readRecord(dir string) (record, error) {
	r := record{Steps: map[string]string{}}
	data, err := os.ReadFile(filepath.Join(dir, recordName))
	if os.IsNotExist(err) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("read %s: %w", recordName, err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s: %w; remove the directory to begin anew", filepath.Join(dir, recordName), err)
	}
	if r.Steps == nil {
		r.Steps = map[string]string{}
	}
	return r, nil
}

// finished reports whether Setup came to its end in dir.
func finished(dir string) bool {
	r, err := readRecord(dir)
	return err == nil && r.Finished != ""
}
