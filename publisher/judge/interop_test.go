package judge

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInterop_Corpus: datasets that are broken in one way each are refused where flashinfer-bench's validator, or the rule of
// SOL-ExecBench, refuses them, and where not, the corpus says why. It is made by test/interop/judge_corpus.py, which `make interop` runs.
func TestInterop_Corpus(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("TRACEFLEET_JUDGE_CORPUS")
	if dir == "" {
		t.Skip("TRACEFLEET_JUDGE_CORPUS names no corpus: `make interop` makes one")
	}
	data, err := os.ReadFile(filepath.Join(dir, "verdicts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var verdicts map[string]struct {
		Dir      string   `json:"dir"`
		Validate []string `json:"validate"`
		Judge    []string `json:"judge"`
		Differs  string   `json:"differs"`
		Sweep    bool     `json:"sweep"` // ours may be the stricter
	}
	if err := json.Unmarshal(data, &verdicts); err != nil {
		t.Fatal(err)
	}
	both, stricter, looser, swept := 0, 0, 0, 0
	for name, v := range verdicts {
		rep := files{t, filepath.Join(dir, v.Dir)}.check(Options{})
		theirs, ours := len(v.Validate)+len(v.Judge) > 0, rep.Refuses()
		want := theirs
		switch {
		case v.Sweep:
			want = theirs || ours
			swept++
		case strings.HasPrefix(v.Differs, "stricter: ") && !theirs:
			want = true
			stricter++
		case strings.HasPrefix(v.Differs, "looser: ") && theirs:
			want = false
			looser++
		case v.Differs != "":
			t.Errorf("%s: no difference, though the corpus says %q", name, v.Differs)
		case theirs:
			both++
		}
		if ours != want {
			t.Errorf("%s: ours refuses: %t, want %t (%s)\nflashinfer-bench: %q\njudge_dataset: %q\nours:\n%s", name, ours, want, v.Differs, v.Validate, v.Judge, rep.Text())
		}
	}
	t.Logf("%d datasets: %d refused by both, %d by ours alone and %d not by ours, each for a reason that the corpus gives; and %d with one value changed",
		len(verdicts)-swept, both, stricter, looser, swept)
	if both < 100 || swept < 2000 {
		t.Error("too few of them are broken: is the corpus whole?")
	}
}

// TestInterop_Collected: what was collected, from the simulated engine or from recorded dumps, can be loaded and computes what it says.
// Some of the recorded dumps were made by hand, with requests of a few tokens, so that what looks unreal in them is told only.
func TestInterop_Collected(t *testing.T) {
	t.Parallel()
	dirs := filepath.SplitList(os.Getenv("TRACEFLEET_JUDGE_COLLECTED"))
	if len(dirs) == 0 {
		t.Skip("TRACEFLEET_JUDGE_COLLECTED names no datasets")
	}
	check := map[Code]string{}
	for _, r := range Rules() {
		check[r.Code] = r.Check
	}
	workloads, tensors, unreal := 0, 0, map[Code]int{}
	for _, dir := range dirs {
		rep := files{t, dir}.check(Options{})
		workloads += rep.Counts.Workloads
		tensors += rep.Counts.Tensors
		for _, f := range rep.Findings {
			switch {
			case f.Severity == Warn:
			case check[f.Code] == "real":
				unreal[f.Code]++
			default:
				t.Errorf("%s: %s", dir, f)
			}
		}
	}
	t.Logf("%d datasets, %d workloads, %d tensors; look unreal: %v", len(dirs), workloads, tensors, unreal)
	if workloads == 0 {
		t.Error("no workload in any of them: nothing was judged")
	}
}

// TestInterop_RunValidate runs flashinfer-bench's real validator as a publication does, on a good dataset and on one with a blob missing.
func TestInterop_RunValidate(t *testing.T) {
	t.Parallel()
	python, dir := os.Getenv("TRACEFLEET_JUDGE_PYTHON"), os.Getenv("TRACEFLEET_JUDGE_CORPUS")
	if python == "" || dir == "" {
		t.Skip("TRACEFLEET_JUDGE_PYTHON names no Python with flashinfer-bench's validate, or TRACEFLEET_JUDGE_CORPUS no corpus")
	}
	const name = "gqa_paged_decode_h32_kv8_d128_ps64"
	for _, c := range []struct {
		dataset string
		refuses bool
	}{{"good", false}, {"blob missing", true}} {
		rep, err := RunValidate(t.Context(), python, filepath.Join(dir, c.dataset), []string{name})
		if err != nil {
			t.Fatal(err)
		}
		if rep.Refuses() != c.refuses || rep.Counts.Definitions != 1 {
			t.Errorf("%s: refuses %t, counts %+v\n%s", c.dataset, rep.Refuses(), rep.Counts, rep.Text())
		}
		for _, f := range rep.Findings {
			if f.Severity == Refuse && f.Workload == "" {
				t.Errorf("%s: the uuid was not found in %q", c.dataset, f.Message)
			}
		}
	}
}
