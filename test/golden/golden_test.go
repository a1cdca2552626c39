package golden_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tracefleet/tracefleet/internal/goldentest"
)

// limit is the most workloads a definition gets, in our runs and in the scorer's eyes.
const limit = "20"

// goldenCase is what the corpus says of one of its dump directories.
type goldenCase struct {
	Note        string   `json:"note"`
	Definitions []string `json:"definitions"`
}

func TestGolden_Sanitize(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, dumpDir, dataset string, definitions []string) result {
		args := []string{"sanitize", "--dump-dir", dumpDir, "--flashinfer-trace-dir", dataset, "--max-new-workloads", limit, "--definitions"}
		return tracefleet(t, append(args, definitions...)...)
	})
}

func TestGolden_CollectReplay(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, dumpDir, dataset string, definitions []string) result {
		got := replay(t, dumpDir, dataset, limit, definitions)
		sameAsSanitize(t, dumpDir, dataset, definitions)
		return got
	})
}

// sameAsSanitize checks that converting offline gives the same lines, byte for byte: one set of manifests, one dataset,
// whichever way they went. Blobs are named by the content of their lines.
func sameAsSanitize(t *testing.T, dumpDir, dataset string, definitions []string) {
	t.Helper()
	offline := filepath.Join(t.TempDir(), "dataset")
	if err := os.CopyFS(filepath.Join(offline, "definitions"), os.DirFS(filepath.Join(dataset, "definitions"))); err != nil {
		t.Fatal(err)
	}
	args := []string{"sanitize", "--dump-dir", dumpDir, "--flashinfer-trace-dir", offline, "--max-new-workloads", limit, "--definitions"}
	checkExit(t, tracefleet(t, append(args, definitions...)...), offline)
	if live, want := workloads(t, dataset), workloads(t, offline); !maps.Equal(live, want) {
		t.Errorf("collect --engine replay gives other lines than sanitize: %d and %d files\n%v\n%v", len(live), len(want), live, want)
	}
}

// replay runs the main job over a recorded dump directory and checks that the directory is as it was.
func replay(t *testing.T, dumpDir, dataset, perBatch string, definitions []string) result {
	t.Helper()
	before := fingerprint(t, dumpDir)
	args := []string{
		"collect", "--engine", "replay", "--dump-dir", dumpDir, "--trace-dir", dataset, "--state-dir", t.TempDir(),
		"--workloads-per-batch", perBatch, "--dump-count", "100000", "--no-eval", "--no-push", "--definitions",
	}
	got := tracefleet(t, append(args, definitions...)...)
	if after := fingerprint(t, dumpDir); after != before {
		t.Errorf("replay changed its source %s", dumpDir)
	}
	return got
}

// eachCase runs convert on every case of the corpus and has the dataset scored.
func eachCase(t *testing.T, convert func(t *testing.T, dumpDir, dataset string, definitions []string) result) {
	corpus, all := goldentest.Dir(t), goldentest.Dumps(t)
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3: the corpus's score.py needs it")
	}
	var manifest struct {
		Cases map[string]goldenCase `json:"cases"`
	}
	readJSON(t, filepath.Join(corpus, "manifest.json"), &manifest)
	if len(manifest.Cases) == 0 {
		t.Fatal("the corpus has no cases")
	}
	for _, name := range slices.Sorted(maps.Keys(manifest.Cases)) {
		definitions := manifest.Cases[name].Definitions
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dataset := outDir(t, t.Name())
			copyDefinitions(t, filepath.Join(corpus, "definitions"), dataset, definitions)
			got := convert(t, filepath.Join(all, name), dataset, definitions)
			checkExit(t, got, dataset)
			score(t, python, corpus, name, dataset)
		})
	}
}

// checkExit checks the exit code: 0 where the dataset got workloads, 3 where there was nothing to collect.
func checkExit(t *testing.T, got result, dataset string) {
	t.Helper()
	want := 0
	if len(workloads(t, dataset)) == 0 {
		want = 3
	}
	if got.code != want {
		t.Errorf("exit code %d, want %d\n%s%s", got.code, want, got.stderr, got.stdout)
	}
}

// score runs the corpus's scorer: nothing wrong, nothing missing, no duplicate, no orphan.
func score(t *testing.T, python, corpus, name, dataset string) {
	t.Helper()
	report := filepath.Join(t.TempDir(), "score.json")
	out, err := exec.CommandContext(t.Context(), python, filepath.Join(corpus, "score.py"), "--verbose", "--json", report, "--max-new", limit,
		"--truth", filepath.Join(corpus, "truth", name+".jsonl"), "--trace-dir", dataset).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run score.py: %v", err)
	}
	var got struct {
		Wrong      *int `json:"wrong"`
		Missing    *int `json:"missing"`
		Duplicates *int `json:"duplicates"`
		Orphans    *int `json:"orphan_blobs"`
	}
	readJSON(t, report, &got)
	for what, n := range map[string]*int{"wrong": got.Wrong, "missing": got.Missing, "duplicate": got.Duplicates, "orphan": got.Orphans} {
		if n == nil || *n != 0 {
			t.Errorf("score.py finds something %s:\n%s", what, out)
		}
	}
	t.Logf("%s", out)
}
