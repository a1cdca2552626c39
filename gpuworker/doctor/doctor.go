// Package doctor looks at a node and says, a line each, what an SGLang engine would miss there and how to get it. It changes
// nothing and starts no engine.
package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/gpuworker/pyenv"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/disk"
	"github.com/tracefleet/tracefleet/proto"
)

// Grade is how a check came out.
type Grade string

// The grades.
const (
	OK   Grade = "ok"
	Warn Grade = "warn" // something that some collections need is missing
	Fail Grade = "fail" // the sglang engine cannot run
)

// Finding is the outcome of one check.
type Finding struct {
	Check  string `json:"check"`
	Grade  Grade  `json:"grade"`
	Found  string `json:"found"`            // what is there
	Remedy string `json:"remedy,omitempty"` // how to get what is missing
}

// Options say what is looked at.
type Options struct {
	Wish pyenv.Wish // the interpreter
	// GPUs lists the node's devices.
	GPUs func(ctx context.Context) (GPUs, error)
	// Releases are the first and the last SGLang release that this tracefleet was tested on, and Tested tells whether one is
	// between them.
	Releases [2]string
	Tested   func(release string) bool
	WorkDir  string // where dumps would lie
	Getenv   func(string) string
}

// Look makes all checks, in the order in which one would mend them.
func Look(ctx context.Context, o Options) []Finding {
	var list []Finding
	python, report := o.python(ctx)
	list = append(list, python)
	if report != nil {
		list = append(list, o.packages(report)...)
		list = append(list, o.builders(report)...)
	}
	return append(list, o.gpus(ctx), room("work directory", o.WorkDir, 50e9, "dumps wait there; name another disk with --work-dir"),
		room("shared memory", "/dev/shm", 1e9, "ranks talk through it; give a container --shm-size 16g or --ipc=host"))
}

func (o *Options) python(ctx context.Context) (Finding, *pyenv.Report) {
	f := Finding{Check: "python", Grade: Fail}
	path, err := pyenv.Find(o.Wish)
	var report *pyenv.Report
	if err == nil {
		report, err = pyenv.Probe(ctx, path)
	}
	if err != nil {
		p := proto.AsFailure(err, proto.CodeEnvironment)
		f.Found, f.Remedy = p.Message, p.Hint
		return f, nil
	}
	f.Grade, f.Found = OK, report.Version+" at "+report.Python
	if !atLeast(report.Version, 3, 10) {
		f.Grade, f.Remedy = Fail, "SGLang needs Python 3.10, and 3.11 from 0.5.23 on: `tracefleet gpuworker setup --base-python python3.12`"
	}
	return f, report
}

// packages holds the versions that are there against what dumping needs.
func (o *Options) packages(r *pyenv.Report) []Finding {
	setup := "`tracefleet gpuworker setup` installs it, or name another environment with --python or --conda-env"
	var list []Finding
	for _, p := range []struct {
		check string
		names []string
		grade Grade // where it is missing
		fit   func(version string) (Grade, string)
	}{
		{"torch", []string{"torch"}, Fail, nil},
		{"sglang", []string{"sglang"}, Fail, func(v string) (Grade, string) {
			if o.Tested(v) {
				return OK, ""
			}
			return Warn, fmt.Sprintf("tested are %s to %s; `collect --any-release` tries it", o.Releases[0], o.Releases[1])
		}},
		{"sglang kernels", []string{"sglang-kernel", "sgl-kernel"}, Fail, nil},
		{"flashinfer", []string{"flashinfer-python"}, Fail, func(v string) (Grade, string) {
			switch {
			case !atLeast(v, 0, 6, 1):
				return Fail, "it logs no calls before 0.6.1: install the one that a newer SGLang asks for"
			case !atLeast(v, 0, 6, 12):
				return Warn, "before 0.6.12 it does not dump tensors in tuples, so runs of paged attention come without their cache; plans are whole"
			}
			return OK, ""
		}},
		{"flashinfer-bench", []string{"flashinfer-bench"}, Warn, nil},
	} {
		f := Finding{Check: p.check, Grade: p.grade, Found: "not installed", Remedy: setup}
		for _, name := range p.names {
			if v := r.Packages[name]; v != "" {
				f.Grade, f.Found, f.Remedy = OK, name+" "+v, ""
				if p.fit != nil {
					f.Grade, f.Remedy = p.fit(v)
				}
				break
			}
		}
		list = append(list, f)
	}
	return list
}

// builders looks for what FlashInfer compiles its kernels with on first use.
func (o *Options) builders(r *pyenv.Report) []Finding {
	missing := Warn
	note := ""
	if r.Packages["flashinfer-jit-cache"] != "" {
		missing, note = OK, "; not needed for the kernels that flashinfer-jit-cache has"
	}
	var list []Finding
	for _, b := range []struct{ check, name, remedy string }{
		{"nvcc", "nvcc", "FlashInfer compiles kernels on first use: install the CUDA toolkit and set CUDA_HOME, or install flashinfer-jit-cache"},
		{"ninja", "ninja", "`pip install ninja` in the engine's environment"},
		{"host compiler", "c++", "install a C++20 compiler, such as the package g++"},
	} {
		places := []string{filepath.Join(filepath.Dir(r.Python), b.name)}
		if home := o.Getenv("CUDA_HOME"); home != "" && b.name == "nvcc" {
			places = append(places, filepath.Join(home, "bin", b.name))
		}
		if b.name == "nvcc" {
			places = append(places, "/usr/local/cuda/bin/nvcc")
		}
		f := Finding{Check: b.check, Grade: missing, Found: "not found" + note, Remedy: b.remedy}
		if missing == OK {
			f.Remedy = ""
		}
		for _, path := range append(places, b.name) {
			if found, err := exec.LookPath(path); err == nil {
				f.Grade, f.Found, f.Remedy = OK, found, ""
				break
			}
		}
		list = append(list, f)
	}
	return list
}

// GPUs holds the devices that a worker here would lease, with their holders, and why it would not lease others.
type GPUs struct {
	List   []proto.GPU
	Faults []string // of devices that cannot be used
	Notes  []string // of CUDA_VISIBLE_DEVICES
}

// gpus reports the devices that a worker here would lease.
func (o *Options) gpus(ctx context.Context) Finding {
	f := Finding{Check: "gpus", Grade: Fail, Found: "none", Remedy: "a GPU and its driver: `nvidia-smi` must list it; in a container, give it the device"}
	gpus, err := o.GPUs(ctx)
	switch {
	case err != nil:
		p := proto.AsFailure(err, proto.CodeNoGPUs)
		f.Found = p.Message
		switch {
		case p.Hint != "":
			f.Remedy = p.Hint
		case strings.HasPrefix(f.Found, "--gpus ") && strings.Contains(f.Found, " has a fault"):
			f.Remedy = "reset that GPU or restart the node"
		case strings.HasPrefix(f.Found, "--gpus "):
			f.Remedy = "correct --gpus, or leave it out: it is then every GPU"
		}
		return f
	case len(gpus.List) == 0:
		if why := slices.Concat(gpus.Faults, gpus.Notes); len(why) > 0 {
			f.Found, f.Remedy = "none: "+strings.Join(why, "; "), "correct CUDA_VISIBLE_DEVICES, or name the GPUs with --gpus"
			if len(gpus.Faults) > 0 {
				f.Remedy = "reset the GPU, or restart the node"
			}
		}
		return f
	}
	var names []string
	held := 0
	for _, g := range gpus.List {
		text := fmt.Sprintf("%d %s %s", g.Index, g.Name, cli.Bytes(g.Bytes))
		if g.Holder != "" {
			held++
			text += " held by " + g.Holder
		}
		names = append(names, text)
	}
	f.Grade, f.Found, f.Remedy = OK, strings.Join(names, "; "), ""
	if len(gpus.Notes) > 0 {
		f.Found += " (" + strings.Join(gpus.Notes, "; ") + ")"
	}
	switch {
	case len(gpus.Faults) > 0:
		f.Grade, f.Found, f.Remedy = Warn, f.Found+"; "+strings.Join(gpus.Faults, "; "), "reset that GPU or restart the node; until then --gpus selects the others"
	case held == len(gpus.List):
		f.Grade, f.Remedy = Warn, "every one is held: tasks will wait for them"
	}
	return f
}

// room checks the free space at path, or at the nearest directory above it that exists.
func room(check, path string, least float64, remedy string) Finding {
	f := Finding{Check: check, Grade: Warn, Remedy: remedy}
	at, err := disk.Nearest(path)
	free := int64(0)
	if err == nil {
		free, err = disk.Free(at)
	}
	if err != nil {
		f.Found = err.Error()
		return f
	}
	f.Found = fmt.Sprintf("%s free at %s", cli.Bytes(free), at)
	if float64(free) >= least {
		f.Grade, f.Remedy = OK, ""
	}
	return f
}

// atLeast compares the leading numbers of a version. What is no number ends it: 0.6.12rc1 counts as 0.6.12.
func atLeast(version string, least ...int) bool {
	parts := strings.FieldsFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	for i, want := range least {
		have := 0
		if i < len(parts) {
			have, _ = strconv.Atoi(parts[i])
		}
		if have != want {
			return have > want
		}
	}
	return true
}
