package tail_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/gpuworker/tail"
)

// TestKeep: the first dumps of each function of traffic are moved out of the directory, whole, and the rest is deleted as ever.
func TestKeep(t *testing.T) {
	t.Parallel()
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "of", "a", "task")
	s := newSink(t)
	opt := options(dir, s)
	opt.Keep = tail.Keep{Dir: kept, Max: 2}
	r := start(t, opt)
	w := newSynth(t, dir, 100)
	for range 5 {
		w.step(2, 4)
	}
	eventually(t, "all runs are shipped while the engine runs", func() bool { return s.len() == 20 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	empty(t, dir)
	checkCounts(t, r.counts, 20)
	entries, err := os.ReadDir(kept)
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]int{}
	for _, e := range entries {
		function := e.Name()[strings.LastIndex(e.Name(), ".")+1 : strings.LastIndex(e.Name(), "_call")]
		of[function]++
		for _, name := range []string{"metadata.jsonl", "inputs.safetensors"} {
			if _, err := os.Stat(filepath.Join(kept, e.Name(), name)); err != nil {
				t.Error(err)
			}
		}
	}
	if len(of) != 2 || of["plan"] != 2 || of["run"] != 2 {
		t.Errorf("kept %v, want two plans and two runs", of)
	}
}

// TestKeep_Fails: a dump that cannot be kept stays where it is, and the attempt goes on.
func TestKeep_Fails(t *testing.T) {
	t.Parallel()
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "a-file")
	if err := os.WriteFile(kept, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := newSink(t)
	opt := options(dir, s)
	opt.Keep = tail.Keep{Dir: kept, Max: 1}
	r := start(t, opt)
	newSynth(t, dir, 100).step(2, 4)
	eventually(t, "all runs are shipped", func() bool { return s.len() == 4 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*_call*"))
	if err != nil || len(left) != 2 {
		t.Errorf("left %v, %v; want the first plan and the first run", left, err)
	}
}
