package publisher

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	s, dir, defs := store{}, t.TempDir(), []*fitrace.Definition{testDefinition(t, defName), testDefinition(t, "unused")}
	mustPublish(t, dir, defs, simulated(s.someVerdicts(defName)...), s, LocalOptions{Max: 20})
	file := filepath.Join(dir, fitrace.WorkloadsPath("gqa_paged", defName))
	list := lines(t, dir, defName)
	write(t, file, appendTo(t, file, string(list[0].Raw)+"\n"+badLine)) // a duplicate, and a line that does not parse
	if err := os.Remove(filepath.Join(dir, list[1].Workload.Inputs[1].Path)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, fitrace.BlobDir("gqa_paged", defName), "lost.safetensors"), "")
	write(t, filepath.Join(dir, "definitions/gqa_paged/broken.json"), "{")
	rep, err := Inspect(dir, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Definitions) != 1 || len(rep.Problems) != 1 || len(rep.Orphans) != 1 || rep.Workloads != 6 {
		t.Fatalf("report %+v", rep)
	}
	d := rep.Definitions[0]
	if !d.Defined || d.Lines != 6 || d.Duplicates != 1 || len(d.BadLines) != 1 || len(d.Dangling) != 2 || d.Known != 6 || d.Simulated != 6 || d.Blobs != 4 {
		t.Errorf("definition %+v", d)
	}
	if got := d.Axes["batch_size"]; got != (AxisRange{Min: 1, Max: 8, Distinct: 4}) {
		t.Errorf("batch_size %+v", got)
	}
	if d.BatchSizes[1] != 2 || d.BatchSizes[8] != 1 || d.KVLen[256] != 2 {
		t.Errorf("batch sizes %v, KV lengths %v", d.BatchSizes, d.KVLen)
	}
}

// Looking at a dataset settles what a crash left there.
func TestInspect_Interrupted(t *testing.T) {
	t.Parallel()
	s := store{}
	sc := &scenario{base: t.TempDir()}
	sc.prepare(t, s)
	dir := copyTree(t, sc.base)
	if err := sc.publish(s, dir, (&breaker{from: 30, err: errCrash}).before); err == nil {
		t.Fatal("no crash")
	}
	r, err := dataset.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !r.Interrupted() {
		t.Fatal("nothing was under way")
	}
	sound(t, dir, 0)
	if r.Interrupted() {
		t.Error("still interrupted")
	}
}

// sharedDataset copies upstream's old dataset, which has hundreds of lines and none of their blobs.
func sharedDataset(t *testing.T) string {
	t.Helper()
	root := os.Getenv("TRACEFLEET_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "shared")
	}
	from := filepath.Join(root, "dataset")
	if _, err := os.Stat(from); err != nil {
		t.Skipf("upstream's dataset is not there: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "dataset")
	err := filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		data, err := os.ReadFile(path)
		write(t, filepath.Join(dir, rel), string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPublishLocal_UpstreamDataset(t *testing.T) {
	t.Parallel()
	dir := sharedDataset(t)
	before := tree(t, dir)
	defs, errs := fitrace.LoadDefinitions(dir)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	i := slices.IndexFunc(defs, func(d *fitrace.Definition) bool { return d.Name == "rmsnorm_h128" })
	norm := defs[i : i+1]
	var verdicts []*proto.Verdict
	for i, n := range []int64{136, 7, 1 << 20, 137} { // 136 is there, once
		verdicts = append(verdicts, verdict(fmt.Sprint("m", i), proto.Candidate{
			Definition: norm[0].Name, UUID: fmt.Sprintf("0000000%d-0000-5000-8000-000000000000", i),
			Axes:   []proto.AxisValue{{Name: "batch_size", Value: n}},
			Inputs: []proto.Input{{Name: "hidden_states", Kind: proto.InputRandom}, {Name: "weight", Kind: proto.InputRandom}},
		}))
	}
	res := mustPublish(t, dir, norm, verdicts, store{}, LocalOptions{Max: 2})[0]
	if res.All.Duplicate != 1 || res.All.Workload != 2 || res.All.NotSelected != 1 {
		t.Errorf("tally %+v", res.All)
	}
	for name, data := range tree(t, dir) {
		switch {
		case strings.HasPrefix(name, dataset.Private), strings.HasPrefix(name, "provenance/"):
		case name == fitrace.WorkloadsPath("rmsnorm", "rmsnorm_h128"):
			if !strings.HasPrefix(data, before[name]) || strings.Count(data, "\n") < strings.Count(before[name], "\n")+2 {
				t.Errorf("%s was not appended to", name)
			}
		case before[name] != data:
			t.Errorf("%s was changed", name)
		}
	}
}
