package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/cli"
)

var update = flag.Bool("update", false, "write the goldens of printed plans anew")

// planned runs collect --plan-only on the project's own definitions.
func planned(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if slices.Contains(args, "sglang") { // the only engine that has models
		none := filepath.Join(t.TempDir(), "models.json") // instead of the catalogue of the user who runs the tests
		if err := os.WriteFile(none, []byte(`{"models": {}}`), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--model-catalogue", none}, args...)
	}
	args = append([]string{"collect", "--plan-only", "--trace-dir", "testdata/dataset"}, args...)
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

// What is printed is what will be run: a difference is a change of the servers' command lines.
func TestCollect_PlanOnlySGLang(t *testing.T) {
	t.Parallel()
	code, got, warnings := planned(t, "--engine", "sglang", "--sglang-version", "0.5.16", "--gpu-type", "h200", "--model-key", "llama-3.1-8b",
		"--definitions", "gqa_paged_decode_h32_kv8_d128_ps64", "rmsnorm_h4096", "gqa_ragged_prefill_causal_h32_kv8_d128", "gqa_paged_prefill_causal_h32_kv8_d128_ps1",
		"--batch-sizes", "8", "32", "--num-samples", "100", "--mem-fraction-static", "0.8", "--extra-server-flag=--disable-piecewise-cuda-graph")
	if code != cli.ExitDone {
		t.Fatalf("exit %d: %s", code, warnings)
	}
	golden := filepath.Join("testdata", "plan_sglang_0.5.16.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the plan changed (-update writes it anew)\n%s", got)
	}
}

// The JSON has the same launch: one of keywords or arguments, the whole environment, and how many requests.
func TestCollect_PlanOnlyJSON(t *testing.T) {
	t.Parallel()
	code, got, stderr := planned(t, "--engine", "sglang", "--model-path", "org/m", "--json", "--trace-dump", "--batch-sizes", "8", "--num-samples", "7",
		"--definitions", "gqa_paged_decode_h32_kv8_d128_ps1", "gqa_ragged_prefill_causal_h32_kv8_d128")
	if code != cli.ExitDone {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	var report coordinator.PlanReport
	if err := json.Unmarshal([]byte(got), &report); err != nil || len(report.Tasks) != 2 {
		t.Fatalf("%s: %v", got, err)
	}
	offline, server := report.Tasks[0].Launch, report.Tasks[1].Launch
	if offline.Engine["model_path"] != "org/m" || len(offline.Args) > 0 || offline.Ready != "" {
		t.Errorf("offline %+v", offline)
	}
	if len(server.Engine) > 0 || !strings.Contains(strings.Join(server.Args, " "), "--model-path org/m") || server.Ready == "" {
		t.Errorf("server %+v", server)
	}
	for _, task := range report.Tasks {
		env := strings.Join(task.Env, "\n")
		if task.Requests != 7 || env != strings.Join(task.Launch.Env, "\n") {
			t.Errorf("%s: %d requests, environment %s", task.ID, task.Requests, env)
		}
		for _, want := range []string{"FLASHINFER_DUMP_DIR=<dump-dir>", "FLASHINFER_TRACE_DUMP_DIR=<trace-dump-dir>"} {
			if !strings.Contains(env, want) {
				t.Errorf("%s lacks %s:\n%s", task.ID, want, env)
			}
		}
		if said := strings.Join(task.Launch.Notices, "\n"); !strings.Contains(said, "not known: these are the words of "+task.Launch.Release) {
			t.Errorf("%s does not say which release is assumed: %s", task.ID, said)
		}
	}
}

// What the release does not take is refused before a node is asked, with the release's own word for it.
func TestCollect_PlanRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args string
		says []string
	}{
		{"--sglang-version 0.5.23 --extra-server-flag=--no-such-flag", []string{"--no-such-flag", "0.5.23", "bad_server_flag"}},
		{"--extra-server-flag=--no-such-flag", []string{"--no-such-flag", "bad_server_flag"}},
		{"--sglang-version 0.5.3", []string{"0.5.3", "tested range", "--any-release", "release_unknown"}},
		{"--extra-server-flag=--attention-backend=triton", []string{"unreachable", "--attention-backend flashinfer"}},
	} {
		args := append([]string{"--engine", "sglang", "--model-path", "org/m", "--definitions", "gqa_paged_decode_h32_kv8_d128_ps1", "--batch-sizes", "8"},
			strings.Fields(tc.args)...)
		code, _, stderr := planned(t, args...)
		if code != cli.ExitUsage {
			t.Errorf("%s: exit %d", tc.args, code)
		}
		for _, want := range tc.says {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %q does not say %q", tc.args, stderr, want)
			}
		}
	}
	if code, _, stderr := planned(t, "--engine", "sglang", "--model-path", "org/m", "--definitions", "gqa_paged_decode_h32_kv8_d128_ps1", "--any-release",
		"--sglang-version", "0.5.99"); code != cli.ExitDone {
		t.Errorf("--any-release: exit %d, %s", code, stderr)
	}
}

// Flags of a push that would be passed over without a word are refused, or said to change nothing where they ask for nothing else.
func TestCollect_PushFlags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		code int
		says string // on standard error; "": nothing
	}{
		{[]string{"--repo-id", ""}, cli.ExitUsage, "--repo-id is empty, must be OWNER/NAME"},
		{[]string{"--repo-id=", "--no-eval"}, cli.ExitUsage, "--repo-id is empty, must be OWNER/NAME"},
		{[]string{"--repo-id", "owner"}, cli.ExitUsage, `--repo-id is "owner", must be owner/name`},
		{[]string{"--repo-id", "a/b", "--pr-num=0"}, cli.ExitUsage, "--pr-num is 0, must be the number of a pull request"},
		{[]string{"--repo-id", "a/b", "--pr-num=-1"}, cli.ExitUsage, "--pr-num is -1, must be the number of a pull request"},
		{[]string{"--repo-id", "a/b", "--definition-pr", ""}, cli.ExitUsage, "--definition-pr is empty"},
		{[]string{"--pr-num=7"}, cli.ExitUsage, "name the repository with --repo-id"},
		{[]string{"--allow-simulated"}, cli.ExitUsage, "name the repository with --repo-id"},
		{[]string{"--definition-pr", "https://hub/1"}, cli.ExitUsage, "name the repository with --repo-id"},
		{[]string{"--no-push"}, cli.ExitDone, "warning: nothing is pushed without --repo-id, with or without --no-push\n"},
		{[]string{"--no-eval-baseline"}, cli.ExitDone, "warning: nothing is pushed without --repo-id, with or without --no-eval\n"},
		{[]string{"--no-eval", "--no-push"}, cli.ExitDone, "warning: nothing is pushed without --repo-id, with or without --no-eval and --no-push\n"},
		{[]string{"--repo-id", "a/b", "--pr-num=7", "--definition-pr", "https://hub/1", "--no-eval", "--no-push", "--allow-simulated"}, cli.ExitDone, ""},
	} {
		code, _, stderr := planned(t, append([]string{"--engine", "simulate", "--definitions", "rmsnorm_h4096", "--batch-sizes", "8"}, tc.args...)...)
		if code != tc.code || !strings.Contains(stderr, tc.says) || tc.says == "" && stderr != "" {
			t.Errorf("%q: exit %d, %s", tc.args, code, stderr)
		}
	}
}
