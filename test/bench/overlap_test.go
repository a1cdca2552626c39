package bench_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// mostOverEngine is how much longer than the engines alone a collection of four batch sizes may take.
const mostOverEngine = 1.05

// TestOverlap runs a collection of four batch sizes whose engine time is fixed (the budget of dumps at a fixed rate), with all
// four roles and the synced broker in one process, and holds its wall time against the engine's alone: sanitizing and
// publishing a batch must hide behind the next one's engine.
func TestOverlap(t *testing.T) {
	if os.Getenv("TRACEFLEET_BENCH") == "" {
		t.Skip("a benchmark: run `make bench`, which sets TRACEFLEET_BENCH")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "tracefleet")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../..").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	dataset := filepath.Join(dir, "dataset")
	if err := os.CopyFS(filepath.Join(dataset, "definitions"), os.DirFS("../../testdata/dataset/definitions")); err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "collect", "--engine", "simulate", "--trace-dir", dataset, "--state-dir", filepath.Join(dir, "state"),
		"--definitions", "gqa_paged_decode_h32_kv8_d128_ps1", "rmsnorm_h4096", "--batch-sizes", "4", "8", "16", "32",
		"--dump-count", "400", "--dump-rate", "50", "--json")
	cmd.Stdout, cmd.Stderr = &out, &log
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("collect: %v\n%s", err, log.String())
	}
	wall := time.Since(start).Seconds()
	var account struct {
		Total struct {
			Dumps         int64
			NewWorkloads  int     `json:"new_workloads"`
			EngineSeconds float64 `json:"engine_seconds"`
		}
	}
	if err := json.Unmarshal(out.Bytes(), &account); err != nil {
		t.Fatal(err)
	}
	if account.Total.Dumps != 1600 || account.Total.NewWorkloads == 0 {
		t.Fatalf("%+v: not the collection that was meant", account.Total)
	}
	ratio := wall / account.Total.EngineSeconds
	t.Logf("4 batch sizes, %d dumps, %d new workloads: %.2fs in all, engines alone %.2fs: %.3f times",
		account.Total.Dumps, account.Total.NewWorkloads, wall, account.Total.EngineSeconds, ratio)
	if ratio > mostOverEngine {
		t.Errorf("%.3f times the engines alone, more than %v", ratio, mostOverEngine)
	}
}
