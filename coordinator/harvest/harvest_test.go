package harvest

import (
	"bytes"
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

var update = flag.Bool("update", false, "write the golden files")

// demoSet gives the definitions of the repository's demo dataset.
func demoSet(t testing.TB) []*fitrace.Definition {
	t.Helper()
	defs, errs := fitrace.LoadDefinitions(filepath.Join("..", "..", "testdata", "dataset"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return defs
}

// run gives the files of testdata/traces as those of one run.
func traceFiles(t testing.TB) []File {
	t.Helper()
	files, err := ReadDir(filepath.Join("testdata", "traces"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i].TP, files[i].EP, files[i].Models, files[i].PageSize = 2, 1, []string{"Demo/Dense 8B"}, 64
	}
	return files
}

// TestRun_Golden holds everything that is staged, reports included.
func TestRun_Golden(t *testing.T) {
	t.Parallel()
	report := Run(traceFiles(t), demoSet(t))
	out := filepath.Join(t.TempDir(), "staging")
	if err := report.Stage(out); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "staged")
	if *update {
		if err := os.RemoveAll(golden); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(golden, os.DirFS(out)); err != nil {
			t.Fatal(err)
		}
	}
	got, want := tree(t, out), tree(t, golden)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is\n%s\nwant\n%s\n(-update where that is meant)", name, got[name], text)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is new", name)
		}
	}
}

func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("%s has no files", dir)
	}
	return files
}

// TestRun_AnyOrder: the order in which files come does not matter, and nothing is lost.
func TestRun_AnyOrder(t *testing.T) {
	t.Parallel()
	files := traceFiles(t)
	files = append(files, files...) // every file twice: all second ones are duplicates or set aside
	want := Run(files, demoSet(t))
	c := want.Counts
	if c.Files != len(files) || c.Files != c.Staged+c.Duplicates+c.SetAside || len(want.Entries) != c.Files {
		t.Fatalf("%+v does not add up over %d files", c, len(files))
	}
	if c.Staged == 0 || c.Duplicates < c.Staged || c.SetAside == 0 {
		t.Errorf("%+v: each staged file came twice, and some cannot be staged", c)
	}
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 1))
		rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		got := Run(files, demoSet(t))
		if !bytes.Equal(got.Markdown(), want.Markdown()) {
			t.Fatalf("another order gives another report:\n%s\n%s", got.Markdown(), want.Markdown())
		}
	}
}

// TestRun_StagedIsWhole: each staged definition parses, has its tags and nothing of the tracer's own keys.
func TestRun_StagedIsWhole(t *testing.T) {
	t.Parallel()
	report := Run(traceFiles(t), nil)
	staged := 0
	for _, e := range report.Entries {
		if e.Status != Staged {
			if e.Reason == "" && e.Of == "" || e.Detail == "" {
				t.Errorf("%s is %s without a word", e.Source, e.Status)
			}
			continue
		}
		staged++
		data, ok := report.Definition(e.Path)
		if !ok {
			t.Fatalf("%s has no JSON", e.Path)
		}
		def, err := fitrace.ParseDefinition(data, e.Path)
		if err != nil {
			t.Error(err)
			continue
		}
		if e.Path != fitrace.DefinitionPath(def.OpType, def.Name) {
			t.Errorf("%s is the path of %s/%s", e.Path, def.OpType, def.Name)
		}
		if len(def.APIs()) != 1 || strings.HasSuffix(strings.Join(def.Tags, " "), ".run") {
			t.Errorf("%s has tags %v", def.Name, def.Tags)
		}
		for _, word := range []string{`"check"`, `"init"`, `"optional"`, `"param"`, `"unknown"`} {
			if bytes.Contains(data, []byte(word)) {
				t.Errorf("%s still says %s", def.Name, word)
			}
		}
		ref, err := readReference(def.Reference)
		if err != nil || ref.name != entryPoint {
			t.Errorf("%s: reference's function is %v (%v)", def.Name, ref, err)
			continue
		}
		for i, in := range def.Inputs {
			if i >= len(ref.params) || ref.params[i].name != in.Name {
				t.Errorf("%s: input %d is %s, the parameters are %v", def.Name, i, in.Name, ref.params)
			}
		}
	}
	if staged < 6 {
		t.Errorf("only %d staged", staged)
	}
}

// entry gives the one entry of a report.
func single(t *testing.T, r *Report) Entry {
	t.Helper()
	if len(r.Entries) != 1 {
		t.Fatalf("%d entries", len(r.Entries))
	}
	return r.Entries[0]
}

// definition gives the parsed definition of a staged entry.
func definition(t *testing.T, r *Report, e Entry) *fitrace.Definition {
	t.Helper()
	data, ok := r.Definition(e.Path)
	if !ok {
		t.Fatalf("%s is %s (%s: %s), not staged", e.Source, e.Status, e.Reason, e.Detail)
	}
	def, err := fitrace.ParseDefinition(data, e.Path)
	if err != nil {
		t.Fatal(err)
	}
	return def
}

func read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "traces", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// said reports whether one of a list of texts has the words.
func said(list []string, words string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, words) })
}
