package pyenv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/internal/childenv"
	"github.com/tracefleet/tracefleet/proto"
)

// Report is what an interpreter has. A package that is not there has no entry.
type Report struct {
	Python   string            `json:"python"`   // path
	Version  string            `json:"version"`  // Python's: 3.12.3
	Packages map[string]string `json:"packages"` // version by distribution name, for the names in Distributions
	Site     []string          `json:"site"`     // directories that packages are installed in, in import order
}

// Distributions are the packages that matter to an engine, by the names they have in the registry.
var Distributions = []string{
	"sglang", "sglang-kernel", "sgl-kernel", "flashinfer-python", "flashinfer-cubin", "flashinfer-jit-cache", "flashinfer-bench",
	"torch", "triton", "transformers", "safetensors", "ninja",
}

// probeTimeout is generous: a cold network file system takes long to list a site-packages directory.
const probeTimeout = time.Minute

const probeCode = `
import importlib.metadata as m, json, os, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
site = [p for p in sys.path if p and os.path.isdir(p)]
print(json.dumps({"version": "%d.%d.%d" % sys.version_info[:3], "packages": found, "site": site}))
`

// Probe asks an interpreter for what it has, with env (NAME=value) besides this process's environment: a PYTHONPATH there counts.
// Errors are *proto.Failure with code environment.
func Probe(ctx context.Context, python string, env ...string) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, append([]string{"-c", probeCode}, Distributions...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(childenv.Without(os.Environ()), env...)
	if err := cmd.Run(); err != nil {
		return nil, proto.Failf(proto.CodeEnvironment, "ask %s for its packages: %v%s", python, err, lastLine(errs.String())).
			WithHint("`%s -c 'import sys'` must work for the user that runs tracefleet", python)
	}
	report := &Report{Python: python}
	line := strings.TrimSpace(out.String())
	line = line[strings.LastIndexByte(line, '\n')+1:] // what a sitecustomize prints comes before it
	if err := json.Unmarshal([]byte(line), report); err != nil {
		return nil, proto.Failf(proto.CodeEnvironment, "ask %s for its packages: its answer %.80q: %v", python, line, err).
			WithHint("is it a Python interpreter?")
	}
	return report, nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	return fmt.Sprintf(": %.200s", text[strings.LastIndexByte(text, '\n')+1:])
}
