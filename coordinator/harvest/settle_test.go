package harvest

import (
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// staged makes a definition for a dataset of a trace file, changed by pairs of old and new text.
func stagedDefinition(t *testing.T, file, evidence string, edits ...string) *fitrace.Definition {
	t.Helper()
	report := Run([]File{traceFile(t, file, evidence)}, nil)
	data, ok := report.Definition(single(t, report).Path)
	if !ok {
		t.Fatalf("%+v", report.Entries)
	}
	text := string(data)
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			t.Fatalf("the definition has no %q", edits[i])
		}
		text = strings.ReplaceAll(text, edits[i], edits[i+1])
	}
	def, err := fitrace.ParseDefinition([]byte(text), "test")
	if err != nil {
		t.Fatal(err)
	}
	return def
}

func traceFile(t *testing.T, file, evidence string) File {
	t.Helper()
	e, err := ParseEvidence([]byte(`{"functions": {`+evidence+`}}`), "test")
	if err != nil {
		t.Fatal(err)
	}
	return File{Source: file + ".json", Data: []byte(read(t, file)), Evidence: e}
}

const normEvidence = `"rmsnorm": {"arguments": {"arg_0": {"dtype": "bfloat16", "shape": [8, 1024]}, "arg_1": {"dtype": "bfloat16", "shape": [1024]}, "arg_2": 1e-05}}`

func TestAgainstDataset(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edits  []string // to what is staged, which then is the dataset's
		status Status
		of     string
		reason string
		words  string
	}{
		"the same":              {status: Duplicate, of: norm, words: "the dataset has it"},
		"other descriptions":    {edits: []string{"RMS norm.", "Another description."}, status: Duplicate, of: norm},
		"other tags":            {edits: []string{"status:verified", "status:reference"}, status: Duplicate, of: norm},
		"another reference":     {edits: []string{"x.square()", "(x * x)"}, status: Duplicate, of: norm, words: "a reference of its own"},
		"another epsilon":       {edits: []string{"EPS = 1e-5", "EPS = 1e-6"}, status: SetAside, reason: ReasonNameTaken, words: "has epsilon 1e-6, these calls have 1e-5"},
		"epsilon written else":  {edits: []string{"EPS = 1e-5", "EPS = 0.00001"}, status: Duplicate, of: norm},
		"another type":          {edits: []string{`"bfloat16"`, `"float16"`}, status: SetAside, reason: ReasonNameTaken, words: "bfloat16"},
		"another size":          {edits: []string{"1024\n", "2048\n"}, status: SetAside, reason: ReasonNameTaken, words: "axes.hidden_size is 2048 and 1024"},
		"another input":         {edits: []string{`"weight"`, `"gamma"`}, status: SetAside, reason: ReasonNameTaken, words: "inputs are hidden_states, gamma and hidden_states, weight"},
		"another name":          {edits: []string{`"rmsnorm_h1024"`, `"rmsnorm_of_1024"`}, status: Duplicate, of: "rmsnorm_of_1024", words: "under another name"},
		"another name and code": {edits: []string{`"rmsnorm_h1024"`, `"rmsnorm_of_1024"`, "x.square()", "(x * x)"}, status: Staged, words: "rmsnorm_of_1024 of the dataset has the same axes"},
		"another function":      {edits: []string{`"rmsnorm_h1024"`, `"rmsnorm_of_1024"`, "norm.rmsnorm", "norm.gemma_rmsnorm"}, status: Staged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known := stagedDefinition(t, norm, normEvidence, c.edits...)
			report := Run([]File{traceFile(t, norm, normEvidence)}, []*fitrace.Definition{known})
			e := single(t, report)
			if e.Status != c.status || e.Of != c.of || e.Reason != c.reason {
				t.Errorf("is %s of %q (%s: %s), want %s of %q (%s)", e.Status, e.Of, e.Reason, e.Detail, c.status, c.of, c.reason)
			}
			if !strings.Contains(string(report.Markdown()), c.words) {
				t.Errorf("the report does not say %q:\n%s", c.words, report.Markdown())
			}
		})
	}
}

// TestDatasetNames: words and tags follow the dataset's own definitions where it has any of the kind.
func TestDatasetNames(t *testing.T) {
	t.Parallel()
	known := stagedDefinition(t, ragged, "", "gqa_ragged_prefill_causal_h16_kv4_d64", "gqa_ragged_here_h99_kv4_d64", `"value": 16`, `"value": 99`,
		"flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper", "flashinfer.Other.BatchPrefillWithRaggedKVCacheWrapper")
	f := traceFile(t, ragged, "")
	f.TP, f.EP = 4, 2
	report := Run([]File{f}, []*fitrace.Definition{known})
	def := definition(t, report, single(t, report))
	if def.Name != "gqa_ragged_here_h16_kv4_d64" {
		t.Errorf("the name is %s", def.Name)
	}
	// The dataset's one definition of the op type has no tp: tag, so none of the type gets one.
	if got := strings.Join(def.Tags, " "); got != "stage:prefill status:verified fi_api:flashinfer.Other.BatchPrefillWithRaggedKVCacheWrapper" {
		t.Errorf("the tags are %s", got)
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		ragged: "stage:prefill status:verified model:demo-8b model:other fi_api:flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper tp:4",
		norm:   "status:verified model:demo-8b model:other fi_api:flashinfer.norm.rmsnorm",
		latent: "stage:decode model:demo-8b model:other fi_api:flashinfer.mla.BatchMLAPagedAttentionWrapper tp:4",
	} {
		f := traceFile(t, file, "")
		f.TP, f.EP, f.Models = 4, 1, []string{"org/Other/", "Demo 8B", "other"}
		report := Run([]File{f}, nil)
		if got := strings.Join(definition(t, report, single(t, report)).Tags, " "); got != want {
			t.Errorf("%s has tags\n%s, want\n%s", file, got, want)
		}
	}
}

func TestAmongFiles(t *testing.T) {
	t.Parallel()
	a, b, c := traceFile(t, norm, normEvidence), traceFile(t, norm, normEvidence), traceFile(t, norm, strings.ReplaceAll(normEvidence, "1e-05", "1e-04"))
	a.Source, a.Models = "a/n.json", []string{"one"}
	b.Source, b.Models = "b/n.json", []string{"two"}
	c.Source = "c/n.json"
	report := Run([]File{c, b, a}, nil)
	for i, want := range []struct {
		status Status
		words  string
	}{{Staged, ""}, {Duplicate, "the same as a/n.json"}, {SetAside, "their references differ"}} {
		if e := report.Entries[i]; e.Status != want.status || !strings.Contains(e.Detail, want.words) {
			t.Errorf("%s is %s: %s; want %s: %s", e.Source, e.Status, e.Detail, want.status, want.words)
		}
	}
	def := definition(t, report, report.Entries[0])
	if got := strings.Join(def.Models(), " "); got != "one two" {
		t.Errorf("the models are %s, want those of both files", got)
	}
	x, y := traceFile(t, ragged, ""), traceFile(t, ragged, "")
	x.Source, x.TP, y.Source, y.TP = "x", 1, "y", 2
	report = Run([]File{x, y}, nil)
	if e := report.Entries[0]; !said(e.Doubts, "y has it with tp:2") {
		t.Errorf("another number of ranks is no doubt: %v", e.Doubts)
	}
}
