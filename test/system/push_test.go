package system_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

const (
	repo     = "flashinfer-ai/flashinfer-trace"
	sampling = "top_k_top_p_sampling_from_probs_v128256"
)

// littleArgs asks for little of what is simulated.
func littleArgs(dataset, state string, more ...string) []string {
	return append([]string{"collect", "--trace-dir", dataset, "--state-dir", state, "--engine", "simulate", "--dump-count", "60", "--osl", "6"}, more...)
}

// pushArgs asks for two small definitions, at two batch sizes, in pull requests.
func pushArgs(dataset, state string, more ...string) []string {
	return littleArgs(dataset, state, append([]string{"--batch-sizes", "4", "8", "--definitions", decode, sampling, "--repo-id", repo}, more...)...)
}

// standIn skips where what stands in for flashinfer-bench cannot run.
func standIn(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3, which the stand-in for flashinfer-bench is written in")
	}
}

// env is the environment of a publisher that finds a Hub, and of a worker that finds a stand-in for flashinfer-bench.
func env(h *hubtest.Server, more ...string) []string {
	site, err := filepath.Abs("site")
	if err != nil {
		panic(err)
	}
	return append(append(append(os.Environ(), h.Env()...), "PYTHONPATH="+site), more...)
}

// runIn is run with an environment; what went to standard error comes second.
func runIn(ctx context.Context, t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errs
	_ = cmd.Run() // its exit code says it
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// pushed returns the files that the pull requests have beside the repository's first ones, and fails unless there is one a definition.
func pushed(t *testing.T, h *hubtest.Server, want int) map[string]string {
	t.Helper()
	all := map[string]string{}
	prs := h.PRs()
	if len(prs) != want {
		t.Fatalf("%d pull requests, want %d: %+v", len(prs), want, prs)
	}
	for _, pr := range prs {
		files, err := h.Files(fmt.Sprintf("refs/pr/%d", pr.Num))
		if err != nil {
			t.Fatal(err)
		}
		for path, data := range files {
			if !strings.HasPrefix(path, ".") {
				all[path] = string(data)
			}
		}
	}
	return all
}

// publishable returns a dataset's lines, provenance and blobs, by path.
func publishable(t *testing.T, dataset string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, dir := range []string{"workloads", "provenance", "blob"} {
		err := fs.WalkDir(os.DirFS(dataset), dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(filepath.Join(dataset, path))
			files[path] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) < 10 {
		t.Fatalf("only %d files in %s", len(files), dataset)
	}
	return files
}

// samePushed fails unless the pull requests hold the dataset's lines, provenance and blobs, byte for byte.
func samePushed(t *testing.T, files map[string]string, dataset string) {
	t.Helper()
	for path, want := range publishable(t, dataset) {
		if files[path] != want {
			t.Errorf("%s is not in its pull request as it is in the dataset", path)
		}
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	h := hubtest.New(t, hubtest.Options{})
	dataset := newDataset(t)
	state := filepath.Join(t.TempDir(), "state")
	out, errs, code := runIn(t.Context(), t, env(h), pushArgs(dataset, state, "--no-eval")...)
	if code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, out, errs)
	}
	samePushed(t, pushed(t, h, 2), dataset)
	noToken(t, h.Token, out+errs, state, dataset)
	for _, pr := range h.PRs() {
		if pr.Status != "open" || !strings.Contains(pr.Title, "SIMULATED") || !strings.Contains(pr.Description, "**Skipped** (`--no-eval`)") ||
			!strings.Contains(pr.Description, "## Collection Log") {
			t.Errorf("pull request %d: %s: %s\n%s", pr.Num, pr.Status, pr.Title, pr.Description)
		}
		if !strings.Contains(out, h.URL+"/datasets/"+repo+"/discussions/") {
			t.Errorf("its address is not told:\n%s", out)
		}
	}
}

// What the repository has already under other uuids is left out, and the rest goes its way: all of one definition's content is there, and of
// the other's one workload.
func TestPush_PublishedByAnother(t *testing.T) {
	t.Parallel()
	first := newDataset(t)
	nowhere := hubtest.New(t, hubtest.Options{})
	if out, errs, code := runIn(t.Context(), t, env(nowhere), pushArgs(first, filepath.Join(t.TempDir(), "state"), "--no-push")...); code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, out, errs)
	}
	seed, twin := map[string][]byte{}, ""
	for path, data := range publishable(t, first) {
		switch {
		case !strings.HasSuffix(path, ".jsonl"):
		case !strings.Contains(path, sampling):
			line, _, _ := strings.Cut(data, "\n")
			twin = uuids.FindString(line)
			data = uuids.ReplaceAllString(line, "${1}0000") + "\n"
		default:
			data = uuids.ReplaceAllString(data, "${1}0000")
		}
		seed[uuids.ReplaceAllString(path, "${1}0000")] = []byte(data)
	}
	for name, args := range map[string][]string{"not evaluated": {"--no-eval"}, "evaluated": {"--python", "python3", "--gpus", "0,1,2,3"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath("python3"); err != nil && len(args) > 1 {
				t.Skip("needs python3, which the stand-in for flashinfer-bench is written in")
			}
			h := hubtest.New(t, hubtest.Options{Seed: seed})
			dataset := newDataset(t)
			out, errs, code := runIn(t.Context(), t, env(h), pushArgs(dataset, filepath.Join(t.TempDir(), "state"), args...)...)
			if code != 0 || !strings.Contains(out, twin) || strings.Count(out, "left out, since the repository has as much already") != 2 {
				t.Fatalf("exit %d\n%s\n%s", code, out, errs)
			}
			files := pushed(t, h, 1)
			if pr := h.PRs()[0]; pr.Status != "open" || strings.Contains(pr.Title, sampling) {
				t.Errorf("pull request %+v", pr)
			}
			for path, data := range publishable(t, dataset) {
				switch {
				case strings.HasSuffix(path, ".jsonl") && !strings.Contains(path, sampling):
					_, rest, _ := strings.Cut(data, "\n")
					if files[path] != string(seed[path])+rest {
						t.Errorf("%s is\n%s\nwant the repository's line, and the dataset's without its first", path, files[path])
					}
				case strings.Contains(path, sampling) && strings.HasSuffix(path, ".safetensors"), strings.Contains(path, twin):
					if _, there := files[path]; there {
						t.Errorf("%s was sent", path)
					}
				}
			}
		})
	}
}

// uuids finds a workload's uuid, but for its last four digits.
var uuids = regexp.MustCompile(`([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{8})[0-9a-f]{4}`)

// noToken fails where the Hub's token was printed, or is in any file: messages and records of the broker, logs, the dataset.
func noToken(t *testing.T, token, printed string, dirs ...string) {
	t.Helper()
	if token == "" || strings.Contains(printed, token) {
		t.Error("the token was printed")
	}
	files := 0
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if files++; bytes.Contains(data, []byte(token)) {
				t.Errorf("the token is in %s", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if files < 20 {
		t.Errorf("only %d files were looked into", files)
	}
}

// The gate: the baseline fails on one workload, so the pull request stays a draft and exit code 4 says so; a retry evaluates again.
func TestPush_Gate(t *testing.T) {
	t.Parallel()
	standIn(t)
	h := hubtest.New(t, hubtest.Options{})
	dataset, state := newDataset(t), filepath.Join(t.TempDir(), "state")
	args := pushArgs(dataset, state, "--python", "python3", "--gpus", "0,1,2,3")
	out, errs, code := runIn(t.Context(), t, env(h, "FAKE_BENCH_EVAL=RUNTIME_ERROR:1"), args...)
	if code != 4 {
		t.Fatalf("exit %d, want 4\n%s\n%s", code, out, errs)
	}
	for _, pr := range h.PRs() {
		if pr.Status != "draft" || !strings.Contains(pr.Description, "**Refused**") || !strings.Contains(pr.Description, "RUNTIME_ERROR") {
			t.Errorf("pull request %d is %s:\n%s", pr.Num, pr.Status, pr.Description)
		}
	}
	if !strings.Contains(out, "RUNTIME_ERROR the kernel failed") {
		t.Errorf("the workload is not named in\n%s", out)
	}
	id := strings.Fields(out[strings.Index(out, "collection c-"):])[1]
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	retry, errs, code := runIn(ctx, t, env(h), "jobs", "retry", strings.TrimSuffix(id, ":"), "--state-dir", state)
	if code != 0 {
		t.Fatalf("retry: exit %d\n%s\n%s", code, retry, errs)
	}
	out, errs, code = runIn(ctx, t, env(h), args...) // goes on with it
	if code != 0 {
		t.Fatalf("after the retry: exit %d\n%s\n%s", code, out, errs)
	}
	files := pushed(t, h, 2)
	samePushed(t, files, dataset)
	for _, pr := range h.PRs() {
		if pr.Status != "open" || !strings.Contains(pr.Description, "passed on all") {
			t.Errorf("pull request %d is %s:\n%s", pr.Num, pr.Status, pr.Description)
		}
	}
	if traces := files["traces/baseline/sampling/"+sampling+".jsonl"]; strings.Count(traces, `"PASSED"`) == 0 {
		t.Errorf("traces: %q", traces)
	}
}

// A process that is made to crash while it writes to the Hub prints what all its goroutines do, and not the token; nor does it leave it anywhere.
func TestPush_CrashDump(t *testing.T) {
	t.Parallel()
	h := hubtest.New(t, hubtest.Options{})
	dataset, state := newDataset(t), filepath.Join(t.TempDir(), "state")
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	crash := make(chan struct{})
	once := hubtest.Once(hubtest.MakeCommit, hubtest.Action{When: hubtest.After, Cut: true})
	h.Fault(func(r *http.Request, n int) hubtest.Action {
		a := once(r, n)
		if a.Cut {
			close(crash)
		}
		return a
	})
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), bin, pushArgs(dataset, state, "--no-eval")...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env(h, "GOTRACEBACK=all"), &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-crash
	if err := cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(out.String(), "publisher/hub.(*Client)") {
		t.Fatalf("%v, and no dump of a push\n%s", err, out.String())
	}
	noToken(t, h.Token, out.String(), state, dataset)
}
