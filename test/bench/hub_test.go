package bench_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

// The promises of a push, as ratios to the official client's in one run.
const (
	pushedBlobs    = 500
	mostTime       = 1.0 // without the start of its interpreter
	mostPeakMemory = 1.0
)

// pushed is what a push took.
type pushed struct {
	measured
	Push     time.Duration // without the start of an interpreter
	Requests int
}

// TestPush pushes 500 blobs and what goes with them to the same local Hub, by package hub and by the official client in turn.
func TestPush(t *testing.T) {
	if os.Getenv("TRACEFLEET_BENCH") == "" {
		t.Skip("a benchmark: run `make bench`, which sets TRACEFLEET_BENCH")
	}
	python := os.Getenv("TRACEFLEET_HUB_PYTHON")
	if python == "" {
		t.Skip("TRACEFLEET_HUB_PYTHON is not set: it must name a Python with huggingface_hub, such as that which test/interop/hub.sh makes in hub-venv/bin/python")
	}
	binary := filepath.Join(t.TempDir(), "hubpush")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../interop/hubpush").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	size := writePush(t, dir)
	t.Logf("%d blobs, %.0f MB", pushedBlobs, float64(size)/1e6)
	for _, latency := range []time.Duration{0, 20 * time.Millisecond} {
		t.Run(fmt.Sprintf("%v a request", latency), func(t *testing.T) {
			ours, theirs := pushes(t, latency, python, binary, dir)
			inTime := ours.Wall.Seconds() / theirs.Push.Seconds()
			inMemory := float64(ours.Memory) / float64(theirs.Memory)
			t.Logf("package hub %v, official client %v (with its start %v): %.2f of the time", ours.Wall, theirs.Push, theirs.Wall, inTime)
			t.Logf("%d requests, %d; CPU %v, %v; peak memory %.0f MB, %.0f MB: %.2f of it", ours.Requests, theirs.Requests, ours.CPU, theirs.CPU,
				float64(ours.Memory)/(1<<20), float64(theirs.Memory)/(1<<20), inMemory)
			if inTime > mostTime {
				t.Errorf("%.2f of the official client's time, more than %v", inTime, mostTime)
			}
			if inMemory > mostPeakMemory {
				t.Errorf("%.2f of the official client's memory, more than %v", inMemory, mostPeakMemory)
			}
			if ours.Requests >= theirs.Requests {
				t.Errorf("%d requests, the official client %d: want fewer", ours.Requests, theirs.Requests)
			}
		})
	}
}

// pushes runs both in turn, each on a Hub that has nothing of it yet, and gives the best of each.
func pushes(t *testing.T, latency time.Duration, python, binary, dir string) (ours, theirs pushed) {
	t.Helper()
	for i := range rounds {
		mine := pushOnce(t, latency, func(string) []string { return []string{binary, "flashinfer-ai/flashinfer-trace", dir} })
		official := pushOnce(t, latency, func(seconds string) []string {
			return []string{python, "hub_official.py", "flashinfer-ai/flashinfer-trace", dir, seconds}
		})
		if i == 0 {
			ours, theirs = mine, official
		}
		ours, theirs = better(ours, mine), better(theirs, official)
	}
	return ours, theirs
}

// better takes the shorter times of two runs, and the larger memory.
func better(a, b pushed) pushed {
	return pushed{
		measured: measured{Wall: min(a.Wall, b.Wall), CPU: min(a.CPU, b.CPU), Memory: max(a.Memory, b.Memory)},
		Push:     min(a.Push, b.Push), Requests: min(a.Requests, b.Requests),
	}
}

// pushOnce runs a push against a new Hub, and checks that all of it arrived.
func pushOnce(t *testing.T, latency time.Duration, command func(seconds string) []string) pushed {
	t.Helper()
	s, err := hubtest.Start(hubtest.Options{Dir: t.TempDir(), Lenient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if latency > 0 {
		s.Fault(func(*http.Request, int) hubtest.Action {
			wait := make(chan struct{})
			time.AfterFunc(latency, func() { close(wait) })
			return hubtest.Action{Wait: wait}
		})
	}
	for _, variable := range append(s.Env(), "HF_HOME="+t.TempDir(), "HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_PROGRESS_BARS=1") {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	seconds := filepath.Join(t.TempDir(), "seconds")
	p := pushed{measured: measure(t, command(seconds)...)}
	p.Push = p.Wall
	if text, err := os.ReadFile(seconds); err == nil {
		inside, err := strconv.ParseFloat(string(text), 64)
		if err != nil {
			t.Fatal(err)
		}
		p.Push = time.Duration(inside * float64(time.Second))
	}
	for _, n := range s.Counts() {
		p.Requests += n
	}
	files, err := s.Files("refs/pr/1")
	if err != nil || len(files) != pushedBlobs+3 {
		t.Fatalf("%d files arrived, %v", len(files), err)
	}
	return p
}

// writePush writes what a definition's pull request has: blobs of a few kB to 1 MB, most of them small, and two text files.
func writePush(t *testing.T, dir string) (size int64) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2)) // the same blobs each time
	write := func(path string, data []byte) {
		t.Helper()
		name := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		size += int64(len(data))
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(random.Uint32())
	}
	var lines []byte
	for i := range pushedBlobs {
		n := 2000 << random.IntN(9) // 2 kB to 512 kB
		n += random.IntN(n)         // to 1 MB
		blob := slices.Concat(fmt.Appendf(nil, "%08d", i), block[:min(n, len(block)-8)])
		path := fmt.Sprintf("blob/workloads/gqa_paged/paged_decode/%04d.safetensors", i)
		write(path, blob)
		lines = fmt.Appendf(lines, "{\"axes\":{\"batch_size\":8},\"inputs\":{\"kv_indptr\":{\"type\":\"safetensors\",\"path\":%q}},\"uuid\":\"%08d\"}\n", path, i)
	}
	write("workloads/gqa_paged/paged_decode.jsonl", lines)
	write("definitions/gqa_paged/paged_decode.json", []byte("{\"name\":\"paged_decode\"}\n"))
	return size
}
