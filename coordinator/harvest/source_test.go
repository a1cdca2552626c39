package harvest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReadDir: evidence counts in its own directory only, and a file that cannot be read is a file.
func TestReadDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "one.json"), "{}")
	write(t, filepath.Join(dir, "a", EvidenceFile), `{"functions": {"f": {"arguments": {"arg_0": 1}}}}`)
	write(t, filepath.Join(dir, "b", "two.json"), "{}")
	write(t, filepath.Join(dir, "b", "note.txt"), "no")
	write(t, filepath.Join(dir, "big.json"), strings.Repeat(" ", maxFileBytes+1))
	files, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		s := f.Source
		if !f.Evidence.Empty() {
			s += " with evidence"
		}
		if f.Err != nil {
			s += " unread"
		}
		got = append(got, s)
	}
	if want := "a/one.json with evidence, b/two.json, big.json unread"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	report := Run(files, nil)
	if c := report.Counts; c.Files != 3 || c.SetAside != 3 {
		t.Errorf("%+v, want three files set aside", c)
	}
	if e := report.Entries[2]; e.Source != "big.json" || e.Reason != ReasonUnreadable || e.Path != "" {
		t.Errorf("%+v", e)
	}
	write(t, filepath.Join(dir, "b", EvidenceFile), `{"functions": {"f": {"arguments": {"arg_0": {"shape": [1.5]}}}}}`)
	if _, err = ReadDir(dir); err == nil || !strings.Contains(err.Error(), filepath.Join("b", EvidenceFile)) || !strings.Contains(err.Error(), "functions.f") {
		t.Errorf("a broken evidence.json gives %v, want its path and field", err)
	}
}

func TestParseEvidence_Refuses(t *testing.T) {
	t.Parallel()
	for text, words := range map[string]string{
		`{`:                          "ends in the middle",
		`[]`:                         "must be a JSON object",
		`{"other": 1}`:               "functions is missing",
		`{"functions": 1}`:           "functions",
		`{"functions": {"f": 1}}`:    "functions.f",
		`{"functions": {"f": [[]]}}`: "functions.f",
		`{"functions": {"f": {"arguments": {"arg_0": {"shape": ["a"]}}}}}`: "arguments.arg_0",
		`{"functions": {"f": {"plan": 1}}}`:                                "plan",
		`{"functions": {"f": {"signature": 1}}}`:                           "signature",
		`{"functions": {"f": {}, "f": {}}}`:                                "twice",
	} {
		if _, err := ParseEvidence([]byte(text), "e.json"); err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "e.json") {
			t.Errorf("%s gives %v, want an error with %q", text, err, words)
		}
	}
}

// Evidence of many layers and steps is kept once.
func TestEvidence_Merge(t *testing.T) {
	t.Parallel()
	parse := func(text string) *Evidence {
		e, err := ParseEvidence([]byte(`{"functions": {`+text+`}}`), "test")
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	all := parse(normEvidence)
	for range 3 {
		all.Merge(parse(normEvidence))
		all.Merge(parse(strings.ReplaceAll(normEvidence, "1e-05", "1e-06")))
		all.Merge(nil)
	}
	if n := len(all.calls["rmsnorm"]); n != 2 {
		t.Errorf("%d calls are kept, want the two that differ", n)
	}
}

// TestFromJob: a task's files come with its evidence, ranks, page size and model.
func TestFromJob(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	put := func(text string) string {
		digest, err := b.PutDefinition(t.Context(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	evidence := `{"functions": {` + decodeCall(tensorJSON("bfloat16", 4097, 4, 64), "", "") + `}}`
	file := put(read(t, decode))
	tasks := []*proto.TaskState{
		{Task: proto.Task{ID: "t0", Engine: proto.EngineSpec{TP: 4, EP: 1, PageSize: 64, ModelPath: "/models/Demo-8B/"}}, Harvest: []proto.Harvested{
			{File: decode + ".json", Digest: file}, {File: EvidenceFile, Digest: put(evidence)},
		}},
		{Task: proto.Task{ID: "t1", Engine: proto.EngineSpec{TP: 4, ModelKey: "demo-70b"}}, Harvest: []proto.Harvested{{File: decode + ".json", Digest: file}}},
		{Task: proto.Task{ID: "t2"}},
	}
	files, err := FromJob(t.Context(), b, tasks)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 {
		t.Fatalf("%d files, want 2", len(files))
	}
	report := Run(files, nil)
	first, second := report.Entries[0], report.Entries[1]
	def := definition(t, report, first)
	if def.Name != "gqa_paged_decode_h16_kv4_d64_ps1" || def.TP() != 4 || strings.Join(def.Models(), " ") != "demo-8b" || !said(first.Notes, "--page-size 64") {
		t.Errorf("the first task's file is %s %v, %v", def.Name, def.Tags, first.Notes)
	}
	if second.Reason != ReasonNoEvidence {
		t.Errorf("the second task, which has no evidence, took the first one's: %+v", second)
	}
	tasks[2].Harvest = []proto.Harvested{{File: "lost.json", Digest: strings.Repeat("0", 64)}}
	if _, err := FromJob(t.Context(), b, tasks); err == nil || !strings.Contains(err.Error(), "t2/lost.json") {
		t.Errorf("a file that is lost gives %v", err)
	}
}

// TestReadDumps: two records of a directory, one of which is torn.
func TestReadDumps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	record := `{"function_name": "rmsnorm", "call_sequence": 1, "timestamp": "20260101_000000_000", "process_id": 7, "function_signature": ` +
		`"(input: torch.Tensor, weight: torch.Tensor, eps: float = 1e-06)", "input_metadata": {"arg_2": 1e-05}, "tensor_info": {"input_tensor_keys": ["arg_0", "arg_1"], ` +
		`"output_tensor_keys": []}, "tensor_details": {"arg_0": {"shape": [8, 1024], "dtype": "torch.bfloat16"}, "arg_1": {"shape": [1024], "dtype": "torch.bfloat16"}}, ` +
		`"execution_status": "completed"}`
	write(t, filepath.Join(dir, "20260101_000000_000_pid7_rmsnorm_call0001", "metadata.jsonl"), record+"\n")
	write(t, filepath.Join(dir, "20260101_000000_001_pid7_rmsnorm_call0002", "metadata.jsonl"), record[:80])
	write(t, filepath.Join(dir, "session.jsonl"), "")
	e, unreadable, err := ReadDumps(dir)
	if err != nil || unreadable != 1 {
		t.Fatalf("%d unreadable, %v; want 1", unreadable, err)
	}
	f := traceFile(t, norm, "")
	f.Evidence = e
	report := Run([]File{f}, nil)
	if def := definition(t, report, single(t, report)); !strings.Contains(def.Reference, "EPS = 1e-5\n") || strings.Contains(def.Reference+def.Description, "1e-6") {
		t.Errorf("the epsilon of the dump is not the definition's: %s\n%s", def.Description, def.Reference)
	}
	if _, _, err := ReadDumps(filepath.Join(dir, "absent")); err == nil {
		t.Error("an absent directory is evidence")
	}
}

// TestReal: what the tracer wrote in a real run becomes the definition that the dataset has of those calls.
func TestReal(t *testing.T) {
	t.Parallel()
	evidence, unreadable, err := ReadDumps(goldentest.RealDumps(t, "a"))
	if err != nil || unreadable != 0 {
		t.Fatalf("%d unreadable, %v", unreadable, err)
	}
	files, err := ReadDir(goldentest.RealTraces(t, "a"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d trace files, %v", len(files), err)
	}
	for i := range files {
		files[i].Evidence = evidence
	}
	report := Run(files, nil)
	if report.Counts.SetAside > 0 {
		t.Errorf("set aside:\n%s", report.Markdown())
	}
	found := false
	for _, known := range demoSet(t) {
		data, ok := report.Definition("definitions/" + known.OpType + "/" + known.Name + ".json")
		if !ok {
			continue
		}
		found = found || known.Name == "gqa_paged_decode_h32_kv8_d128_ps1"
		got, err := fitrace.ParseDefinition(data, known.Name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := differs(known, got); diff != "" {
			t.Errorf("%s: %s", known.Name, diff)
		}
	}
	if !found {
		t.Errorf("the decode definition was not harvested:\n%s", report.Markdown())
	}
}

func TestStage_Refuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "definitions", "mine.json"), "{}")
	if err := Run(nil, nil).Stage(dir); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory with something in it gives %v", err)
	}
	file := filepath.Join(dir, "file")
	write(t, file, "")
	if err := Run(nil, nil).Stage(file); err == nil {
		t.Error("a file was staged into")
	}
}

// FuzzRun: whatever a file holds, no panic; the counts add up, and what is staged parses.
func FuzzRun(f *testing.F) {
	for _, name := range []string{decode, ragged, norm, latent, sample, "silu_and_mul_h4096", "torn"} {
		f.Add([]byte(read(f, name)), []byte(`{"functions": {`+decodeCall(tensorJSON("bfloat16", 4097, 4, 64), "", `"page_size": 1`)+`}}`))
	}
	f.Add([]byte(`{"name": "a", "op_type": "b", "axes": {}, "inputs": {}, "outputs": {"x": {"shape": [], "dtype": "int8"}}, "reference": "def f(): return 1"}`), []byte(`{"functions": {}}`))
	set := demoSet(f)
	f.Fuzz(func(t *testing.T, data, evidence []byte) {
		e, err := ParseEvidence(evidence, "fuzz")
		if err != nil {
			e = nil
		}
		report := Run([]File{{Source: "a", Data: data, Evidence: e}, {Source: "b", Data: data}}, set)
		if c := report.Counts; c.Files != 2 || c.Staged+c.Duplicates+c.SetAside != 2 {
			t.Fatalf("%+v does not add up", c)
		}
		for _, e := range report.Entries {
			if e.Status == Staged {
				definition(t, report, e)
			}
		}
		report.Markdown()
	})
}
