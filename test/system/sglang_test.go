package system_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang/sglangtest"
	"github.com/tracefleet/tracefleet/proto"
)

// sglangArgs asks for the three modes, pages of 1 and of 64 tokens, and two batch sizes, of a stand-in for SGLang.
func sglangArgs(dataset string, more ...string) []string {
	return append([]string{
		"collect", "--trace-dir", dataset, "--engine", "sglang", "--model-path", "../gpu/tiny-llama", "--sglang-version", "0.5.16",
		"--batch-sizes", "2", "4", "--num-batches", "2", "--isl", "200", "--osl", "6", "--dump-count", "200", "--definitions",
		"gqa_paged_decode_h32_kv8_d128_ps1",
	}, more...)
}

// others are the definitions of the other modes and page sizes, and one that rides along.
var others = []string{
	"gqa_paged_decode_h32_kv8_d128_ps64", "gqa_paged_prefill_causal_h32_kv8_d128_ps1", "gqa_ragged_prefill_causal_h32_kv8_d128", "rmsnorm_h4096",
}

// fakeGPUs puts a driver on the PATH that tells of four GPUs, and the locks on them out of everybody's way.
func fakeGPUs(dir string) error {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	script := "#!/bin/sh\nfor i in 0 1 2 3; do echo \"$i, GPU-$i, NVIDIA H200, 143771, 9.0\"; done\n"
	return errors.Join(
		os.WriteFile(filepath.Join(bin, "nvidia-smi"), []byte(script), 0o755),
		os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH")),
		os.Setenv("TRACEFLEET_GPU_LOCK_DIR", filepath.Join(dir, "gpu-locks")),
		os.Unsetenv("CUDA_VISIBLE_DEVICES"),
	)
}

// inOneProcess collects on a node of its own and gives the dataset and what was printed.
func inOneProcess(t *testing.T, gpu string, code int, more ...string) (dataset, out string) {
	t.Helper()
	sglangtest.NeedPython(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dataset = newDataset(t)
	stand := sglangtest.Python(t, sglangtest.Options{})
	args := append(slices.Clone(more), "--python", stand.Python, "--gpus", gpu, "--state-dir", filepath.Join(t.TempDir(), "state"))
	out, got := run(t.Context(), t, bin, sglangArgs(dataset, args...)...)
	if got != code {
		t.Fatalf("exit %d, want %d\n%s", got, code, out)
	}
	return dataset, out
}

// All three modes, through all four roles, on a server that takes only what the release takes.
func TestSGLang_Modes(t *testing.T) {
	t.Parallel()
	dataset, out := inOneProcess(t, "0", 0, append(others, "--json")...)
	a := parseAccount(t, out)
	if len(a.Tasks) != 8 || a.Total.Pending != 0 {
		t.Errorf("account %+v", a)
	}
	files := digest(t, dataset)
	for _, name := range []string{
		"gqa_paged/gqa_paged_decode_h32_kv8_d128_ps1", "gqa_paged/gqa_paged_decode_h32_kv8_d128_ps64", "gqa_paged/gqa_paged_prefill_causal_h32_kv8_d128_ps1",
		"gqa_ragged/gqa_ragged_prefill_causal_h32_kv8_d128", "rmsnorm/rmsnorm_h4096",
	} {
		if files["workloads/"+name+".jsonl"] == "" {
			t.Errorf("no workloads of %s", name)
		}
	}
}

// What is dumped is another thing than what comes of it: plans alone give the workloads that runs give, and nothing gives none.
func TestSGLang_Dump(t *testing.T) {
	t.Parallel()
	plans, _ := inOneProcess(t, "1", 0, "--dump", "plan")
	runs, _ := inOneProcess(t, "1", 0, "--dump", "run")
	want := digest(t, runs)
	for path, sum := range digest(t, plans) {
		if want[path] != sum {
			t.Errorf("%s differs between plans and runs", path)
		}
	}
	none, out := inOneProcess(t, "1", 3, "--dump", "none")
	if !strings.Contains(out, "tokens/s an engine") {
		t.Errorf("no throughput in\n%s", out)
	}
	for path := range digest(t, none) {
		if !strings.HasPrefix(path, "definitions/") {
			t.Errorf("%s was written", path)
		}
	}
}

// A worker is killed with SIGKILL while its server serves: nothing of the server is left, the task is tried again, and the dataset is that of
// an undisturbed run.
func TestSGLang_WorkerKilled(t *testing.T) {
	t.Parallel()
	undisturbed, _ := inOneProcess(t, "2", 0)
	f := startFleet(t)
	f.signal("gpuworker", syscall.SIGTERM) // it has no SGLang
	stand := sglangtest.Python(t, sglangtest.Options{})
	f.args["gpuworker"] = []string{"--engines", "sglang", "--python", stand.Python, "--gpus", "3", "--work-dir", filepath.Join(f.dir, "sglang-work")}
	f.start("gpuworker")
	b := f.broker.Connect("watcher")
	dataset := newDataset(t)
	out, code := run(t.Context(), t, f.bin, sglangArgs(dataset, "--gpu-type", "h200", "--nats", f.broker.URL, "--detach")...)
	if code != 0 {
		f.logs()
		t.Fatalf("collect --detach: exit %d", code)
	}
	f.await(b, "a server has dumped", func(tasks []*proto.TaskState, verdicts int) bool { return running(tasks) && verdicts > 2 })
	f.crash("gpuworker")
	eventually(t, "no process of the stand-in is of the killed worker", func() bool {
		return !strings.Contains(children(t, stand.Python), "ppid 1 ")
	})
	f.finish(strings.TrimSpace(out))
	want, got := digest(t, undisturbed), digest(t, dataset)
	for path, sum := range want {
		if got[path] != sum {
			t.Errorf("%s differs from the undisturbed run's", path)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

// children lists the processes that run an interpreter, with their parents.
func children(t *testing.T, python string) string {
	t.Helper()
	out, err := exec.Command("ps", "-eo", "ppid,args").Output()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, python) {
			lines = append(lines, "ppid "+strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}
