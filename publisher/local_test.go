package publisher

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

var nopLog = zerolog.Nop()

const defName = "paged_decode_ps4"

func TestPublishLocal(t *testing.T) {
	t.Parallel()
	s, dir, def := store{}, t.TempDir(), testDefinition(t, defName)
	verdicts := s.someVerdicts(defName)
	res := mustPublish(t, dir, []*fitrace.Definition{def}, verdicts, s, LocalOptions{Max: 20})[0]
	sound(t, dir, 0)
	want := proto.Tally{Workload: 5, Duplicate: 4, NotSelected: 1, Rejected: map[string]int{"no_plan": 2}}
	if !reflect.DeepEqual(res.All, want) || !reflect.DeepEqual(res.Home, want) {
		t.Errorf("all %+v, home %+v, want %+v", res.All, res.Home, want)
	}
	if n := res.Home.Sum() + res.Unclaimed.Sum(); n != len(verdicts) {
		t.Errorf("%d manifests counted, want %d", n, len(verdicts))
	}
	if got := res.Seen.KVLen; got[4] != 5 || got[8] != 13 || got[32] != 12 || got[256] != 1 {
		t.Errorf("KV lengths %v", got)
	}
	list := lines(t, dir, defName)
	var batches []int64
	for i, l := range list {
		batches = append(batches, batchOf(axesOf(l)))
		if l.Workload.UUID != res.Workloads[i] {
			t.Errorf("line %d is %s, the record says %s", i, l.Workload.UUID, res.Workloads[i])
		}
	}
	if !slices.Equal(batches, []int64{1, 2, 4, 8, 2}) {
		t.Errorf("batch sizes %v", batches)
	}
	raw, err := os.ReadFile(filepath.Join(dir, fitrace.DefinitionPath("gqa_paged", defName)))
	if err != nil || string(raw) != string(def.Raw) {
		t.Errorf("definition is not copied as it was: %v", err)
	}
	r, err := dataset.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	origins, err := r.Origins("gqa_paged", defName)
	if err != nil || len(origins) != 5 {
		t.Fatalf("origins %v, %v", origins, err)
	}
	o := origins[list[2].Workload.UUID]
	if o.Manifest != "m005" || o.From.Host != "host" {
		t.Errorf("origin %+v", o)
	}
	provenance, err := r.Provenance("gqa_paged", defName)
	if err != nil || len(provenance) != 5 {
		t.Fatalf("provenance %v, %v", provenance, err)
	}
	if p := provenance[2]; p.UUID != list[2].Workload.UUID || p.CallsWithContent != 3 || p.CallsWithShape != 3 || p.Engine != "sglang" {
		t.Errorf("provenance %+v", p)
	}
	for _, st := range res.Plan.Status(r) {
		if !st.Done {
			t.Errorf("step %s is not done: %s", st.Kind, st.Text)
		}
	}
	for name, info := range map[string]os.FileMode{fitrace.WorkloadsPath("gqa_paged", defName): 0o644, fitrace.DefinitionPath("gqa_paged", defName): 0o644} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != info {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

func TestPublishLocal_Again(t *testing.T) {
	t.Parallel()
	s, dir, defs := store{}, t.TempDir(), []*fitrace.Definition{testDefinition(t, defName)}
	verdicts := s.someVerdicts(defName)
	mustPublish(t, dir, defs, verdicts, s, LocalOptions{Max: 20})
	before := tree(t, dir)
	res := mustPublish(t, dir, defs, verdicts, s, LocalOptions{Max: 20})[0]
	if !maps.Equal(tree(t, dir), before) {
		t.Error("publishing the same again changed the dataset")
	}
	if len(res.Workloads) != 0 || res.All.Duplicate != 9 || res.All.NotSelected != 1 || res.All.Workload != 0 {
		t.Errorf("tally %+v", res.All)
	}
	// What another tool wrote has another uuid, another pool and floats for ints, and is known all the same.
	foreign := t.TempDir()
	for i, l := range lines(t, dir, defName) {
		text := strings.ReplaceAll(string(l.Raw), l.Workload.UUID, strings.Repeat(string(rune('a'+i)), 8)+"-0000-4000-8000-000000000000")
		text = strings.Replace(text, `"num_pages": `, `"num_pages": 99`, 1)
		write(t, filepath.Join(foreign, fitrace.WorkloadsPath("gqa_paged", defName)), appendTo(t, filepath.Join(foreign, fitrace.WorkloadsPath("gqa_paged", defName)), text+"\n"))
		line, err := fitrace.ParseLine([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		from, _ := os.ReadFile(filepath.Join(dir, fitrace.BlobPath("gqa_paged", defName, l.Workload.UUID)))
		write(t, filepath.Join(foreign, line.Workload.Inputs[1].Path), string(from))
	}
	res = mustPublish(t, foreign, defs, verdicts, s, LocalOptions{Max: 20})[0]
	if len(res.Workloads) != 0 {
		t.Errorf("%d duplicates were added to a foreign dataset", len(res.Workloads))
	}
}

func appendTo(t testing.TB, file, text string) string {
	t.Helper()
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(old) + text
}

func TestPublishLocal_AnyOrder(t *testing.T) {
	t.Parallel()
	s, defs := store{}, []*fitrace.Definition{testDefinition(t, defName)}
	verdicts := s.someVerdicts(defName)
	one, two := t.TempDir(), t.TempDir()
	mustPublish(t, one, defs, verdicts, s, LocalOptions{})
	slices.Reverse(verdicts)
	mustPublish(t, two, defs, verdicts, s, LocalOptions{})
	if !maps.Equal(tree(t, one), tree(t, two)) {
		t.Error("another order gives other bytes")
	}
}

const badLine = `{"definition": "paged_decode_ps4", this is not JSON` // no newline: the last line is unfinished

func TestPublishLocal_ForeignLines(t *testing.T) {
	t.Parallel()
	s, defs := store{}, []*fitrace.Definition{testDefinition(t, defName)}
	verdicts := s.someVerdicts(defName)
	good := `{"definition":"paged_decode_ps4","solution":null,"workload":{"axes":{"batch_size":3,"num_pages":9,"len_indptr":4,"num_kv_indices":9},"inputs":{"q":{"type":"random"}},"uuid":"11111111-2222-4333-8444-555555555555"},"evaluation":null}`
	old := good + "\n\n" + badLine
	for _, replace := range []bool{false, true} {
		dir := t.TempDir()
		file := filepath.Join(dir, fitrace.WorkloadsPath("gqa_paged", defName))
		write(t, file, old)
		res := mustPublish(t, dir, defs, verdicts, s, LocalOptions{Replace: replace})[0]
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		kept := old + "\n"
		if replace {
			kept = badLine + "\n"
		}
		if !strings.HasPrefix(string(got), kept) || strings.Count(string(got), "\n") != strings.Count(kept, "\n")+4 {
			t.Errorf("replace %v: the file begins\n%s", replace, got[:min(len(got), 600)])
		}
		if !slices.ContainsFunc(res.Plan.Warnings, func(w string) bool { return strings.Contains(w, defName+".jsonl:3: ") }) {
			t.Errorf("no warning names file and line: %v", res.Plan.Warnings)
		}
		sound(t, dir, 1)
	}
}

func TestPublishLocal_Replace(t *testing.T) {
	t.Parallel()
	s, dir, defs := store{}, t.TempDir(), []*fitrace.Definition{testDefinition(t, defName)}
	old := []*proto.Verdict{verdict("o0", s.candidate(defName, 0, 3, 3, 3)), verdict("o1", s.candidate(defName, 0, 1, 2))}
	mustPublish(t, dir, defs, old, s, LocalOptions{})
	res := mustPublish(t, dir, defs, []*proto.Verdict{rejection("r", defName, "no_plan")}, s, LocalOptions{Replace: true})[0]
	if n := len(lines(t, dir, defName)); n != 2 || len(res.Plan.Warnings) != 1 {
		t.Errorf("replacing by nothing left %d lines and warned %v", n, res.Plan.Warnings)
	}
	verdicts := s.someVerdicts(defName) // shares the content of o1
	mustPublish(t, dir, defs, verdicts, s, LocalOptions{Replace: true})
	fresh := t.TempDir()
	mustPublish(t, fresh, defs, verdicts, s, LocalOptions{})
	if !maps.Equal(tree(t, dir), tree(t, fresh)) {
		t.Error("a replaced dataset differs from a new one")
	}
	sound(t, dir, 0)
}

// A blob that another definition's lines share stays when this one's lines go.
func TestPublishLocal_ReplaceSharedBlob(t *testing.T) {
	t.Parallel()
	s, dir, defs := store{}, t.TempDir(), []*fitrace.Definition{testDefinition(t, defName)}
	mustPublish(t, dir, defs, []*proto.Verdict{verdict("o0", s.candidate(defName, 0, 3, 3, 3))}, s, LocalOptions{})
	l := lines(t, dir, defName)[0]
	write(t, filepath.Join(dir, fitrace.WorkloadsPath("gqa_paged", "other")), strings.Replace(string(l.Raw), `"definition": "`+defName, `"definition": "other`, 1)+"\n")
	mustPublish(t, dir, defs, s.someVerdicts(defName), s, LocalOptions{Replace: true})
	sound(t, dir, 0)
	if _, err := os.Stat(filepath.Join(dir, l.Workload.Inputs[1].Path)); err != nil {
		t.Error(err)
	}
}

func TestPublishLocal_Refused(t *testing.T) {
	t.Parallel()
	s, def := store{}, testDefinition(t, defName)
	verdicts := s.someVerdicts(defName)
	outside := t.TempDir()
	for _, tc := range []struct {
		name string
		prep func(dir string)
		code proto.Code
	}{
		{"another definition of the name", func(dir string) {
			write(t, filepath.Join(dir, "definitions/gqa_paged", defName+".json"), strings.Replace(string(def.Raw), "float32", "float64", 1))
		}, proto.CodeDatasetConflict},
		{"the name in another op type", func(dir string) {
			write(t, filepath.Join(dir, "definitions/other", defName+".json"), string(def.Raw))
		}, proto.CodeDatasetConflict},
		{"blobs lead outside", func(dir string) { _ = os.Symlink(outside, filepath.Join(dir, "blob")) }, proto.CodeDatasetWrite},
		{"workloads lead outside", func(dir string) { _ = os.Symlink(outside, filepath.Join(dir, "workloads")) }, proto.CodeDatasetWrite},
		{"a file in the place of a directory", func(dir string) { write(t, filepath.Join(dir, "blob"), "") }, proto.CodeDatasetWrite},
		{"a tensor is lost", func(string) {}, proto.CodeTensorLost},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tc.prep(dir)
			before := public(t, dir)
			tensors := s.get
			if tc.code == proto.CodeTensorLost {
				tensors = store{}.get
			}
			res, err := PublishLocal(t.Context(), dir, []*fitrace.Definition{def}, verdicts, tensors, LocalOptions{Max: 4, Log: nopLog})
			if err != nil {
				t.Fatal(err)
			}
			if res[0].Failure == nil || res[0].Failure.Code != tc.code {
				t.Fatalf("failure %v, want %s", res[0].Failure, tc.code)
			}
			if !maps.Equal(public(t, dir), before) {
				t.Errorf("the dataset was changed: %v", slices.Sorted(maps.Keys(public(t, dir))))
			}
			if left, _ := os.ReadDir(outside); len(left) > 0 {
				t.Errorf("written outside: %v", left)
			}
		})
	}
	t.Run("our records lead outside", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		_ = os.Symlink(outside, filepath.Join(dir, dataset.Private))
		if _, err := dataset.Open(dir, dataset.Options{Log: nopLog}); err == nil {
			t.Error("opened")
		}
	})
	t.Run("equal but for white space", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "definitions/gqa_paged", defName+".json"), strings.ReplaceAll(string(def.Raw), `": `, `" :  `))
		mustPublish(t, dir, []*fitrace.Definition{def}, verdicts, s, LocalOptions{})
	})
}

func TestPublishLocal_Locked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := dataset.Open(dir, dataset.Options{Log: nopLog})
	if err != nil {
		t.Fatal(err)
	}
	_, err = PublishLocal(t.Context(), dir, []*fitrace.Definition{testDefinition(t, defName)}, nil, store{}.get, LocalOptions{Max: 1, Log: nopLog})
	f := proto.AsFailure(err, proto.CodeInternal)
	host, _ := os.Hostname()
	if f.Code != proto.CodeDatasetLocked || !f.Retryable || !strings.Contains(f.Message, host) {
		t.Errorf("failure %v", f)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, dir, []*fitrace.Definition{testDefinition(t, defName)}, nil, store{}, LocalOptions{})
}

func TestPublishLocal_DryRun(t *testing.T) {
	t.Parallel()
	s, dir := store{}, t.TempDir()
	res := mustPublish(t, dir, []*fitrace.Definition{testDefinition(t, defName)}, s.someVerdicts(defName), s, LocalOptions{DryRun: true})[0]
	if len(tree(t, dir)) != 1 || len(res.Workloads) != 4 || len(res.Steps) != len(steps) || res.State == proto.StateDone {
		t.Errorf("%d files, %d workloads, steps %+v, state %s", len(tree(t, dir)), len(res.Workloads), res.Steps, res.State)
	}
	data, err := res.Plan.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodePlan(data)
	if err != nil || !reflect.DeepEqual(back, res.Plan) {
		t.Errorf("a saved plan reads back as %+v, %v", back, err)
	}
}

// Two definitions of one API: a manifest that fits both is in both, and counted once.
func TestPublishLocal_Home(t *testing.T) {
	t.Parallel()
	s, dir := store{}, t.TempDir()
	defs := []*fitrace.Definition{testDefinition(t, "first"), testDefinition(t, "second")}
	both := verdict("m0", s.candidate("second", 0, 2), s.candidate("first", 0, 2))
	late := verdict("m1", s.candidate("second", 0, 5))
	late.Rejections = []proto.Rejection{{Definition: "first", Reason: "constant_axis"}}
	res := mustPublish(t, dir, defs, []*proto.Verdict{both, late, rejection("m2", "", "no_definition")}, s, LocalOptions{})
	if res[0].Home.Workload != 1 || res[0].Home.Sum() != 1 || res[1].Home.Workload != 1 || res[1].Home.Sum() != 1 {
		t.Errorf("home %+v and %+v", res[0].Home, res[1].Home)
	}
	if res[0].Unclaimed.Sum() != 1 || res[1].Unclaimed.Sum() != 0 || res[1].All.Workload != 2 || res[0].All.Rejected["constant_axis"] != 1 {
		t.Errorf("unclaimed %+v, all %+v", res[0].Unclaimed, res[1].All)
	}
}
