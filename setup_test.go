package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/pyenv"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/execfile"
)

// basePython writes an interpreter whose environments "install" by keeping what they were told in a file installed, which also has what
// they then report. A package named broken cannot be installed.
func basePython(t *testing.T) string {
	t.Helper()
	return execfile.Write(t, filepath.Join(t.TempDir(), "base"), `#!/bin/sh
mkdir -p "$3/bin" && cat >"$3/bin/python" <<'END'
#!/bin/sh
case "$*" in
*broken*) echo "ERROR: No matching distribution found for $5"; exit 1;;
-c*) echo '{"version":"3.12.3","packages":{"sglang":"0.5.16","flashinfer-python":"0.6.14","torch":"2.11.0"}}';;
*) echo "Collecting $*"; echo "$*" >>"$(dirname "$0")/installed";;
esac
END
chmod +x "$3/bin/python"
`)
}

func setUp(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append([]string{"gpuworker", "setup", "--no-uv"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// What was made is found by every command of this user, and the same command goes on where it stopped.
func TestSetup(t *testing.T) {
	onClinic(t)
	base, dir := basePython(t), pyenv.DefaultDir()
	code, stdout, stderr := setUp("--base-python", base, "--sglang", "0.5.16", "--flashinfer-bench", "0.1.2-broken")
	require.Equal(t, cli.ExitFailed, code, stderr)
	require.Empty(t, stdout)
	for _, words := range []string{"flashinfer-bench: exit status 1", "No matching distribution found", "the same command goes on from this step"} {
		require.Contains(t, stderr, words)
	}
	_, lines, _ := examined(t)
	require.NotContains(t, lines["python"][1], dir, "an environment that was not finished is none")

	args := []string{"--base-python", base, "--sglang", "0.5.16", "--flashinfer-bench", "0.1.2"}
	code, stdout, stderr = setUp(args...)
	require.Equal(t, cli.ExitDone, code, stderr)
	require.Equal(t, "sglang 0.5.16\nflashinfer-python 0.6.14\ntorch 2.11.0\npython "+filepath.Join(dir, "bin", "python")+"\n", squeezed(stdout))
	require.Contains(t, stderr, "sglang: done before")
	installed, err := os.ReadFile(filepath.Join(dir, "bin", "installed"))
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(installed), "sglang==0.5.16"), "%s", installed)
	require.Equal(t, 1, strings.Count(string(installed), "flashinfer-bench==0.1.2"), "%s", installed)
	_, lines, _ = examined(t)
	require.Equal(t, [2]string{"ok", "3.12.3 at " + filepath.Join(dir, "bin", "python")}, lines["python"])

	code, stdout, _ = setUp(append(args, "--json")...)
	require.Equal(t, cli.ExitDone, code)
	var report pyenv.Report
	require.NoError(t, json.Unmarshal([]byte(stdout), &report), stdout)
	require.Equal(t, "0.5.16", report.Packages["sglang"])
	require.Equal(t, filepath.Join(dir, "bin", "python"), report.Python)
}

// squeezed makes columns single spaces.
func squeezed(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return out.String()
}

// --dry-run prints what a shell would take, and touches nothing.
func TestSetup_DryRun(t *testing.T) {
	onClinic(t)
	dir := filepath.Join(t.TempDir(), "an env")
	code, stdout, stderr := setUp("--dry-run", "--env-dir", dir, "--base-python", "/no/python", "--flashinfer", "0.6.14")
	require.Equal(t, cli.ExitDone, code, stderr)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, 4, stdout)
	require.Equal(t, "/no/python -m venv '"+dir+"'", lines[0])
	require.Contains(t, lines[2], "--no-deps flashinfer-python==0.6.14")
	require.NoDirExists(t, dir)
}

// What cannot be made whatever the node has is bad usage, before anything is made, dry or not.
func TestSetup_Usage(t *testing.T) {
	onClinic(t)
	for words, args := range map[string][]string{
		"is no version":                         {"--sglang", "newest one"},
		"--sglang is \"1\" and --sglang-src is": {"--sglang", "1", "--sglang-src", "."},
		"the root of a checkout":                {"--flashinfer-src", "."},
	} {
		for _, dry := range [][]string{nil, {"--dry-run"}} {
			dir := filepath.Join(t.TempDir(), "env")
			code, stdout, stderr := setUp(append(append(args, "--env-dir", dir), dry...)...)
			require.Equal(t, cli.ExitUsage, code, "%v %v: %s", args, dry, stderr)
			require.Contains(t, stderr, words)
			require.Empty(t, stdout)
			require.NoDirExists(t, dir)
		}
	}
}

// A signal is told as what it is: the exit code says that the same command goes on.
func TestSetup_Interrupted(t *testing.T) {
	onClinic(t)
	soft, stop := context.WithCancel(t.Context())
	stop()
	c := setupCmd{NoUV: true, BasePython: basePython(t), EnvDir: t.TempDir()}
	err := c.Run(&environ{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Log: zerolog.Nop(), Soft: soft, Hard: t.Context()})
	require.Equal(t, cli.ExitInterrupted, cli.ExitCode(err), "%v", err)
	require.ErrorContains(t, err, "the same command goes on")
}
