package system_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang/sglangtest"
	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/proto"
)

// decode is the definition that all collections of this file ask for.
const decode = "gqa_paged_decode_h32_kv8_d128_ps1"

// others are definitions of the other modes and page sizes, and one that rides along.
var others = []string{
	"gqa_paged_decode_h32_kv8_d128_ps64", "gqa_paged_prefill_causal_h32_kv8_d128_ps1", "gqa_ragged_prefill_causal_h32_kv8_d128", "rmsnorm_h4096",
}

// sglangArgs asks a stand-in for SGLang for decode at two batch sizes, and for what more says.
func sglangArgs(dataset string, more ...string) []string {
	return append([]string{
		"collect", "--trace-dir", dataset, "--engine", "sglang", "--model-path", "../gpu/tiny-llama", "--sglang-version", "0.5.16",
		"--batch-sizes", "2", "4", "--num-batches", "2", "--isl", "200", "--osl", "6", "--dump-count", "200", "--definitions", decode,
	}, more...)
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

// inOneProcess collects on a node of its own and gives the dataset and what was printed. Nothing of the node's SGLang is left.
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
	if pids := stand.PIDs(t); len(pids) == 0 || alive(pids) {
		t.Errorf("processes of the stand-in, %v, are none or still there", pids)
	}
	return dataset, out
}

// alive reports whether any of the processes is there.
func alive(pids []int) bool {
	return slices.ContainsFunc(pids, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
}

// sglangReference is what one undisturbed process makes of all three modes.
var sglangReference struct {
	once    sync.Once
	files   map[string]string
	account coordinator.Account
}

func undisturbedSGLang(t *testing.T) (map[string]string, coordinator.Account) {
	t.Helper()
	r := &sglangReference
	r.once.Do(func() {
		dataset, out := inOneProcess(t, "0", 0, append(others, "--json")...)
		r.account, r.files = parseAccount(t, out), digest(t, dataset)
	})
	if r.files == nil {
		t.Fatal("the undisturbed run failed in another test")
	}
	return r.files, r.account
}

// Three modes, pages of 1 and of 64 tokens, two batch sizes, through all four roles, on a server that takes only what the release takes.
func TestSGLang_Modes(t *testing.T) {
	t.Parallel()
	files, a := undisturbedSGLang(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	out, code := run(t.Context(), t, bin, sglangArgs(newDataset(t), append(others, "--gpu-type", "h200", "--plan-only", "--json")...)...)
	var plan struct {
		Tasks []struct {
			ID        string
			BatchSize int `json:"batch_size"`
			Engine    proto.EngineSpec
		}
	}
	if err := json.Unmarshal([]byte(out), &plan); err != nil || code != 0 {
		t.Fatalf("exit %d, %v\n%s", code, err, out)
	}
	planned := map[string]bool{}
	for i, task := range plan.Tasks {
		planned[fmt.Sprintf("%s, pages of %d, batches of %d", task.Engine.Mode, max(task.Engine.PageSize, 1), task.BatchSize)] = true
		if i >= len(a.Tasks) || a.Tasks[i].ID != task.ID || a.Tasks[i].State != proto.StateDone || a.Tasks[i].Attempts != 1 || a.Tasks[i].Counts.Dumps == 0 {
			t.Errorf("%s did not go as planned: %+v", task.ID, a.Tasks)
		}
	}
	for _, batch := range []int{2, 4} {
		for _, kind := range []string{"offline, pages of 1", "offline, pages of 64", "http-paged, pages of 1", "http-ragged, pages of 1"} {
			if what := fmt.Sprintf("%s, batches of %d", kind, batch); !planned[what] {
				t.Errorf("nothing ran as %s: %v", what, slices.Sorted(maps.Keys(planned)))
			}
		}
	}
	if a.Outcome != "done" || a.Total.Pending != 0 || a.Total.Tokens == 0 {
		t.Errorf("account %+v", a)
	}
	for _, name := range []string{
		"gqa_paged/" + decode, "gqa_paged/" + others[0], "gqa_paged/" + others[1], "gqa_ragged/" + others[2], "rmsnorm/" + others[3],
	} {
		if files["workloads/"+name+".jsonl"] == "" {
			t.Errorf("no workloads of %s", name)
		}
	}
}

// What is dumped is another thing than what comes of it: plans alone give the workloads that runs give, and nothing gives none, but the
// same requests are served.
func TestSGLang_Dump(t *testing.T) {
	t.Parallel()
	plans, ofPlans := inOneProcess(t, "1", 0, "--json", "--dump", "plan")
	runs, _ := inOneProcess(t, "1", 0, "--json", "--dump", "run")
	none, ofNone := inOneProcess(t, "1", 3, "--json", "--dump", "none")
	got, want := digest(t, plans), digest(t, runs)
	for _, files := range []map[string]string{got, want} { // a plan counts once in the provenance, for all the runs it serves
		maps.DeleteFunc(files, func(path, _ string) bool { return strings.HasPrefix(path, "provenance/") })
	}
	same(t, got, want)
	for path := range digest(t, none) {
		if !strings.HasPrefix(path, "definitions/") {
			t.Errorf("%s was written", path)
		}
	}
	a, b := parseAccount(t, ofPlans), parseAccount(t, ofNone)
	if b.Outcome != "nothing" || b.Total.Dumps != 0 || b.Total.Pending != 0 || b.Total.Tokens == 0 || b.Total.Tokens != a.Total.Tokens {
		t.Errorf("without dumps the account is %+v, with plans %+v", b, a)
	}
	for _, task := range b.Tasks {
		if task.State != proto.StateDone || task.Attempts != 1 {
			t.Errorf("task %+v", task)
		}
	}
}

// A worker is killed with SIGKILL while its server serves: nothing of the server is left, its GPU is free, another worker does the task
// again, and the dataset is that of an undisturbed run.
func TestSGLang_WorkerKilled(t *testing.T) {
	t.Parallel()
	want, _ := undisturbedSGLang(t)
	f := startFleet(t, "coordinator", "sanitizer", "publisher")
	worker := func(name, gpu string, o sglangtest.Options) *sglangtest.Stand {
		stand := sglangtest.Python(t, o)
		f.args[name] = []string{"--engines", "sglang", "--python", stand.Python, "--gpus", gpu, "--work-dir", filepath.Join(f.dir, "work-"+name)}
		f.start(name)
		return stand
	}
	// The first answers two requests of each server, whose dumps travel on, and no more: what it then has in hand it never ends.
	first := worker("gpuworker-a", "2", sglangtest.Options{Fail: sglangtest.FailStall, FailAfter: 2})
	b := f.broker.Connect("watcher")
	dataset := newDataset(t)
	out, code := run(t.Context(), t, f.bin, sglangArgs(dataset, append(others, "--gpu-type", "h200", "--nats", f.broker.URL, "--detach")...)...)
	if code != 0 {
		f.logs()
		t.Fatalf("collect --detach: exit %d", code)
	}
	mark := fmt.Sprintf("-%d-", f.procs["gpuworker-a"].Process.Pid)
	var hit proto.TaskState
	f.await(b, "a server of the first worker has stalled, and dumps of it have become verdicts", func(tasks []*proto.TaskState, _ int) bool {
		for _, s := range tasks {
			if s.State == proto.StateRunning && strings.Contains(s.Worker, mark) && len(first.Entries(t, "stalled")) > 0 {
				n, err := b.CountSubjects(t.Context(), proto.StreamVerdicts, proto.VerdictPrefix(s.Task.Collection, s.Task.ID, s.Attempt)+">")
				if err != nil {
					t.Fatal(err)
				}
				hit = *s
				return n > 0
			}
		}
		return false
	})
	second := worker("gpuworker-b", "3", sglangtest.Options{})
	f.await(b, "the second worker is at work too", func(tasks []*proto.TaskState, _ int) bool {
		return slices.ContainsFunc(tasks, func(s *proto.TaskState) bool { return s.Worker != "" && !strings.Contains(s.Worker, mark) })
	})
	pids := first.PIDs(t)
	if holder := holderOf(t, "2"); holder == "" || !alive(pids) {
		t.Fatalf("GPU 2 is held by %q, and processes %v of the server are gone: there is nothing to lose", holder, pids)
	}
	t.Log("kill -9 gpuworker-a")
	f.signal("gpuworker-a", syscall.SIGKILL)
	eventually(t, "its GPU is free", func() bool { return holderOf(t, "2") == "" })
	if alive(pids) {
		t.Errorf("the GPU is free, and processes of %v, which used it, are still there", pids)
	}

	a := f.finish(strings.TrimSpace(out))
	for _, task := range a.Tasks {
		if task.ID == hit.Task.ID && (task.Attempts != hit.Attempt+1 || strings.Contains(task.Worker, mark)) {
			t.Errorf("%s was not done again by the second worker: %+v", task.ID, task)
		}
	}
	same(t, digest(t, dataset), want)
	if pids := second.PIDs(t); len(pids) == 0 || alive(pids) {
		t.Errorf("processes of the second worker's servers, %v, are none or still there", pids)
	}
}

// holderOf says who holds a GPU; empty: it is free.
func holderOf(t *testing.T, gpu string) string {
	t.Helper()
	node, err := lease.Open(t.Context(), lease.Options{GPUs: gpu, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	return node.GPUs()[0].Holder
}
