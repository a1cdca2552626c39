package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/doctor"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/execfile"
)

// served is what an environment needs to run the sglang engine.
func served() map[string]string {
	return map[string]string{"torch": "2.11.0", "sglang": "0.5.16", "sglang-kernel": "0.4.5", "flashinfer-python": "0.6.14", "flashinfer-bench": "0.1.2"}
}

// onClinic is a node as onNode makes it, with a user who has no token and no broker. It changes the environment.
func onClinic(t *testing.T) {
	t.Helper()
	onNode(t)
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "TRACEFLEET_NATS"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_HOME", t.TempDir())
}

// examined runs doctor and gives its lines by check, each cut into grade and text, and all that it said.
func examined(t *testing.T, args ...string) (code int, lines map[string][2]string, said string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(append([]string{"doctor", "--work-dir", t.TempDir()}, args...), &out, &errs)
	lines = map[string][2]string{}
	for line := range strings.Lines(out.String()) {
		require.Greater(t, len(line), 24, "line %q", line)
		check := strings.TrimSpace(line[6:23])
		require.NotContains(t, lines, check, "a line each")
		lines[check] = [2]string{strings.TrimSpace(line[:5]), strings.TrimSpace(line[24:])}
	}
	return code, lines, out.String() + errs.String()
}

// findings is examined with --json.
func findings(t *testing.T, args ...string) (code int, list []doctor.Finding, said string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(append([]string{"doctor", "--json", "--work-dir", t.TempDir()}, args...), &out, &errs)
	require.NoError(t, json.Unmarshal(out.Bytes(), &list), out.String())
	return code, list, out.String() + errs.String()
}

// A node that can serve has exit code 0 and a line a check, warnings among them or not.
func TestDoctor_Whole(t *testing.T) {
	onClinic(t)
	packages := served()
	delete(packages, "flashinfer-bench")
	python := reporting(t, packages)
	code, lines, said := examined(t, "--python", python, "--gpus", "1")
	require.Equal(t, cli.ExitDone, code, said)
	require.Equal(t, [2]string{"ok", "3.12.3 at " + python}, lines["python"])
	require.Equal(t, [2]string{"ok", "sglang 0.5.16"}, lines["sglang"])
	require.Equal(t, [2]string{"ok", "1 NVIDIA H200 150.8 GB"}, lines["gpus"])
	require.Equal(t, [2]string{"ok", "none named; collect brings its own"}, lines["broker"])
	require.Equal(t, [2]string{"ok", "none"}, lines["hub token"])
	require.Equal(t, "warn", lines["flashinfer-bench"][0], "some collections need it, and the engine does not")
}

// Each thing that is missing has a line that says how to get it; the exit code is 1 where the engine could not run.
func TestDoctor_Lacks(t *testing.T) {
	onClinic(t)
	older := served()
	older["sglang"], older["flashinfer-python"] = "0.5.3", "0.5.3"
	for name, tc := range map[string]struct {
		args   []string
		driver string // nvidia-smi's script, where it is another
		env    string // CUDA_VISIBLE_DEVICES; empty: unset
		check  string
		grade  string
		says   []string
	}{
		"sglang":           {args: []string{"--python", reporting(t, map[string]string{"torch": "2.11.0"})}, check: "sglang", grade: "fail", says: []string{"not installed: `tracefleet gpuworker setup`"}},
		"calls are logged": {args: []string{"--python", reporting(t, older)}, check: "flashinfer", grade: "fail", says: []string{"flashinfer-python 0.5.3: ", "before 0.6.1"}},
		"tested":           {args: []string{"--python", reporting(t, map[string]string{"sglang": "0.5.3"})}, check: "sglang", grade: "warn", says: []string{"sglang 0.5.3: tested are 0.5.", "--any-release"}},
		"python":           {args: []string{"--python", "/no/python"}, check: "python", grade: "fail", says: []string{"/no/python", "give the path of an executable"}},
		"no setup":         {check: "python", grade: "fail", says: []string{"python3", "exit status 1"}},
		"driver":           {args: []string{"--python", reporting(t, served())}, driver: "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", check: "gpus", grade: "fail", says: []string{"Driver/library version mismatch"}},
		"no GPU":           {args: []string{"--python", reporting(t, served()), "--gpus", "none"}, check: "gpus", grade: "fail", says: []string{"none: a GPU and its driver"}},
		"a repeated GPU":   {driver: "echo '0, GPU-0, NVIDIA H200, 143771, 9.0'", env: "0,0", check: "gpus", grade: "fail", says: []string{"none: CUDA_VISIBLE_DEVICES=0,0 lists device 0 twice"}},
		"a lost GPU":       {driver: "echo '0, GPU-0, NVIDIA H200, 143771, 9.0'; echo 'Unable to determine the device handle for gpu 0000:81:00.0: GPU is lost.'; exit 15", check: "gpus", grade: "warn", says: []string{"0 NVIDIA H200", "device 1 has a fault", "0000:81:00.0", "--gpus"}},
		"another GPU":      {args: []string{"--python", reporting(t, served()), "--gpus", "7"}, check: "gpus", grade: "fail", says: []string{"there is no device 7"}},
		"broker":           {args: []string{"--python", reporting(t, served()), "--nats", "nats://127.0.0.1:4222", "--nkey", "/no/seed"}, check: "broker", grade: "fail", says: []string{"/no/seed"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.driver != "" {
				bin := t.TempDir()
				execfile.Write(t, filepath.Join(bin, "nvidia-smi"), "#!/bin/sh\n"+tc.driver+"\n")
				t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			}
			if tc.env != "" {
				t.Setenv("CUDA_VISIBLE_DEVICES", tc.env)
			}
			code, lines, said := examined(t, tc.args...)
			require.Equal(t, cli.ExitFailed, code, said)
			require.Equal(t, tc.grade, lines[tc.check][0], said)
			for _, words := range tc.says {
				require.Contains(t, lines[tc.check][1], words)
			}
			require.NotContains(t, said, "tracefleet: ", "the lines say it")

			code, list, _ := findings(t, tc.args...)
			require.Equal(t, cli.ExitFailed, code)
			require.Len(t, list, len(lines))
			for _, f := range list {
				require.Equal(t, lines[f.Check][0], string(f.Grade), f.Check)
				require.Equal(t, f.Grade != doctor.OK, f.Remedy != "", "a remedy where one is needed: %+v", f)
			}
		})
	}
}

// The broker that is named is asked, and that there is a token is told without it.
func TestDoctor_BrokerAndToken(t *testing.T) {
	onClinic(t)
	server, err := bus.StartEmbedded(bus.Embedded{StateDir: t.TempDir(), Listen: "127.0.0.1:0", Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(server.Close)
	t.Setenv("HF_TOKEN", "hf_secret")
	args := []string{"--python", reporting(t, served()), "--nats", server.URL()}
	code, lines, said := examined(t, args...)
	require.Equal(t, cli.ExitDone, code, said)
	require.Equal(t, [2]string{"ok", "it answers, streams and buckets are there"}, lines["broker"])
	require.Equal(t, [2]string{"ok", "in HF_TOKEN"}, lines["hub token"])
	require.NotContains(t, said, "hf_secret")
	code, _, said = findings(t, args...)
	require.Equal(t, cli.ExitDone, code)
	require.NotContains(t, said, "hf_secret")

	t.Setenv("HF_TOKEN", "")
	path := filepath.Join(os.Getenv("HF_HOME"), "token")
	require.NoError(t, os.WriteFile(path, []byte("hf_secret\n"), 0o600))
	_, lines, said = examined(t, args...)
	require.Equal(t, [2]string{"ok", "in " + path}, lines["hub token"])
	require.NotContains(t, said, "hf_secret")
	require.NoError(t, os.WriteFile(path, []byte("\n"), 0o600))
	_, lines, _ = examined(t, args...)
	require.Equal(t, [2]string{"ok", "none"}, lines["hub token"], "an empty file is no token")
}
