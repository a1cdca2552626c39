package golden_test

import (
	"bytes"
	bin "encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher"
	"github.com/tracefleet/tracefleet/sanitizer"
)

// reading is what a dump directory gives, with no binary between.
type reading struct {
	counts    proto.AttemptCounts
	manifests []*proto.Manifest
	verdicts  []*proto.Verdict
	tensors   map[string][]byte
}

// read scans dir as an attempt in mode would have eaten it, and converts all of it for defs.
func read(t *testing.T, dir string, mode proto.EngineMode, planOnly []string, defs []*fitrace.Definition) *reading {
	t.Helper()
	r := &reading{tensors: map[string][]byte{}}
	origin := manifest.Origin{
		Collection: "offline", Task: "golden", Attempt: 1, Node: "node", PlanOnly: planOnly,
		Borrows:    slices.ContainsFunc(defs, fitrace.BorrowsScale),
		Provenance: proto.Provenance{Engine: proto.EngineReplay, Mode: mode, Host: "node"},
	}
	var err error
	r.counts, err = tail.Scan(t.Context(), dir, origin, func(m *proto.Manifest, large map[string][]byte) error {
		maps.Copy(r.tensors, large)
		converted, err := sanitizer.Convert(m, defs, func(digest string) ([]byte, error) { return r.tensors[digest], nil })
		if err != nil {
			return err
		}
		maps.Copy(r.tensors, converted.Tensors)
		r.manifests, r.verdicts = append(r.manifests, m), append(r.verdicts, &converted.Verdict)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := r.counts; c.Dumps != c.Manifests+c.Plans+c.Captures || c.Manifests != int64(len(r.verdicts)) {
		t.Errorf("counts do not add up: %+v", c)
	}
	return r
}

// dataset publishes a reading into a new dataset and gives all of its files below workloads and blob, by name.
func (r *reading) dataset(t *testing.T, defs []*fitrace.Definition) map[string]string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range defs {
		path := filepath.Join(dir, "definitions", d.OpType, d.Name+".json")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, d.Raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	results, err := publisher.PublishLocal(t.Context(), dir, defs, r.verdicts, func(digest string) ([]byte, error) { return r.tensors[digest], nil },
		publisher.LocalOptions{Max: 10000, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range results {
		if l.Failure != nil {
			t.Fatal(l.Failure)
		}
	}
	files := map[string]string{}
	for _, pattern := range []string{"workloads/*/*.jsonl", "blob/workloads/*/*/*"} {
		found, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := filepath.Rel(dir, path)
			files[filepath.ToSlash(name)] = string(data)
		}
	}
	return files
}

// planDumps links the plan dumps of from into a new directory, with the session log: what an engine leaves whose runs are not dumped.
func planDumps(t *testing.T, from string) string {
	t.Helper()
	dir := t.TempDir()
	names, err := fidump.List(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n.Function, ".plan") {
			if err := os.CopyFS(filepath.Join(dir, n.Dir), os.DirFS(filepath.Join(from, n.Dir))); err != nil {
				t.Fatal(err)
			}
		}
	}
	log, err := os.ReadFile(filepath.Join(from, fidump.SessionFile))
	if len(names) == 0 {
		return dir // nothing was called in this mode
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(log, []byte("\n"))
	lines = slices.DeleteFunc(lines, func(l []byte) bool { return !bytes.Contains(l, []byte(`.plan", "module"`)) })
	if err := os.WriteFile(filepath.Join(dir, fidump.SessionFile), bytes.Join(lines, nil), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// samePlans converts the dumps in dir with runs, and their plans alone, and wants the same lines and blobs, byte by byte, and where
// the recording lacks the runs of a plan, lines beyond them that come from such plans only. It gives how many lines there are of each.
func samePlans(t *testing.T, dir string, mode proto.EngineMode, defs []*fitrace.Definition) (fromRuns, fromPlans int) {
	t.Helper()
	var classes []string
	for _, d := range defs {
		if ok, why := fitrace.PlanSuffices(d, string(mode)); !ok {
			t.Fatalf("%s: %s", d.Name, why)
		}
		for _, api := range d.APIs() {
			classes = append(classes, api.Class)
		}
	}
	runs, plans := read(t, dir, mode, nil, defs), read(t, planDumps(t, dir), mode, classes, defs)

	served, orphans := map[string]bool{}, map[string]bool{} // plans that have runs here; uuids of those that have none
	for _, m := range runs.manifests {
		if m.Plan != nil {
			served[m.Plan.Dump] = true
		}
	}
	for i, v := range plans.verdicts {
		if !plans.manifests[i].Implied {
			t.Errorf("%s came of the plans alone, and is no plan that stands for runs: %v", plans.manifests[i].Call.Dump, plans.manifests[i].Defect)
		}
		for _, c := range v.Candidates {
			if !served[plans.manifests[i].Call.Dump] {
				orphans[c.UUID] = true
			}
		}
	}
	want, got := runs.dataset(t, defs), plans.dataset(t, defs)
	for name, text := range want {
		if !strings.HasSuffix(name, ".jsonl") {
			if got[name] != text {
				t.Errorf("%s differs, or is missing", name)
			}
			continue
		}
		ours := lineSet(got[name])
		for line := range lineSet(text) {
			if fromRuns++; !ours[line] {
				t.Errorf("%s: only the runs give %s", name, line)
			}
			delete(ours, line)
		}
		for line := range ours {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(orphans)), func(uuid string) bool { return strings.Contains(line, uuid) }) {
				t.Errorf("%s: only the plans give %s, whose runs were dumped", name, line)
			}
		}
		fromPlans += len(lineSet(got[name]))
	}
	if len(want) == 0 && len(got) > 0 {
		t.Errorf("only the plans give anything: %v", slices.Sorted(maps.Keys(got)))
	}
	return fromRuns, fromPlans
}

func lineSet(text string) map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(text) {
		set[line] = true
	}
	return set
}

// named gives definitions of the golden corpus.
func named(t *testing.T, names ...string) []*fitrace.Definition {
	t.Helper()
	all, errs := fitrace.LoadDefinitions(goldentest.Dir(t))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return slices.DeleteFunc(all, func(d *fitrace.Definition) bool { return !slices.Contains(names, d.Name) })
}

const (
	decodeDef = "gqa_paged_decode_h32_kv8_d128_ps1"
	raggedDef = "gqa_ragged_prefill_causal_h32_kv8_d128"
	pagedDef  = "gqa_paged_prefill_causal_h32_kv8_d128_ps1"
)

// TestReal_PlansSuffice: of a real engine's dumps, the plans alone give what runs and plans give.
func TestReal_PlansSuffice(t *testing.T) {
	t.Parallel()
	for run, mode := range map[string]proto.EngineMode{"a": proto.ModeOffline, "c": proto.ModeHTTPRagged} {
		t.Run(run, func(t *testing.T) {
			t.Parallel()
			dumps := goldentest.RealDumps(t, run)
			for _, def := range named(t, decodeDef, raggedDef) {
				runs, plans := samePlans(t, dumps, mode, []*fitrace.Definition{def})
				t.Logf("%s: %d lines with runs, %d from plans alone", def.Name, runs, plans)
				if runs < 7 || plans < runs {
					t.Errorf("%s: only %d lines with runs, %d from plans alone", def.Name, runs, plans)
				}
			}
		})
	}
}

// TestReal_PagedPlans: where the ragged path does the work, the paged wrapper's plans stand for nothing, with a prefix or without;
// and its runs over the prefix are no prefill, whether their ragged halves were dumped or not.
func TestReal_PagedPlans(t *testing.T) {
	t.Parallel()
	const class = "BatchPrefillWithPagedKVCacheWrapper"
	defs := named(t, pagedDef)
	for _, run := range []string{"a", "c"} {
		dumps := goldentest.RealDumps(t, run)
		for _, mode := range []proto.EngineMode{proto.ModeHTTPRagged, proto.ModeOffline, ""} {
			r := read(t, planDumps(t, dumps), mode, []string{class}, defs)
			if n := reasons(t, r, class)[sanitizer.RejectNotImplied]; n < 8 {
				t.Errorf("run %s, mode %q: %d plans stand for nothing", run, mode, n)
			}
		}
	}
	dumps := goldentest.RealDumps(t, "c")
	for name, dir := range map[string]string{"with their halves": dumps, "alone": linked(t, dumps, class)} {
		r := read(t, dir, proto.ModeHTTPRagged, nil, defs)
		if n := reasons(t, r, class)[sanitizer.RejectHalfAttention]; n != 14 {
			t.Errorf("%s: %d of 14 halves were kept out", name, n)
		}
	}
}

// linked copies the dumps of one class, without their float tensors' size on disk.
func linked(t *testing.T, from, class string) string {
	t.Helper()
	dir := t.TempDir()
	names, err := fidump.List(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !strings.HasPrefix(n.Function, class) {
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, n.Dir), 0o755); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(from, n.Dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := os.Link(f, filepath.Join(dir, n.Dir, filepath.Base(f))); err != nil {
				t.Skipf("the temporary directory is on another disk than the dumps: %v", err)
			}
		}
	}
	return dir
}

// reasons counts the rejections of a class, and fails where it has candidates.
func reasons(t *testing.T, r *reading, class string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for i, v := range r.verdicts {
		if !strings.HasPrefix(r.manifests[i].Call.Function, class) {
			continue
		}
		if len(v.Candidates) > 0 {
			t.Errorf("%s became a workload", r.manifests[i].Call.Dump)
		}
		for _, reason := range v.Rejections {
			counts[reason.Reason]++
		}
	}
	return counts
}

// TestReal_Pages: the real server with --page-size 64 planned over token slots; folded, every page and length says exactly the slots
// that were planned. The server without it hands out slots that form no pages, and every such call is rejected.
func TestReal_Pages(t *testing.T) {
	t.Parallel()
	const size = 64
	def := enginetest.Definitions(t, "gqa_paged_decode_h32_kv8_d128_ps64")[0]
	dumps := goldentest.RealDumps(t, "c")
	requests := 0
	for _, planOnly := range [][]string{nil, {"BatchDecodeWithPagedKVCacheWrapper"}} {
		r := read(t, dumps, proto.ModeOffline, planOnly, []*fitrace.Definition{def})
		for i, v := range r.verdicts {
			m := r.manifests[i]
			if !strings.HasPrefix(m.Call.Function, "BatchDecode") || planOnly != nil && !m.Implied {
				continue
			}
			if len(v.Candidates) != 1 {
				t.Fatalf("%s: %+v", m.Call.Dump, v.Rejections)
			}
			plan := m.Plan
			if m.Implied {
				plan = &m.Call
			}
			requests += unfold(t, r, plan, &v.Candidates[0], size)
		}
	}
	t.Logf("%d requests folded exactly", requests)
	if requests < 250 {
		t.Errorf("only %d requests", requests)
	}
	samePlans(t, dumps, proto.ModeOffline, []*fitrace.Definition{def})

	r := read(t, goldentest.RealDumps(t, "a"), proto.ModeOffline, nil, []*fitrace.Definition{def})
	if n := reasons(t, r, "BatchDecode")[sanitizer.RejectFold]; n != 40 {
		t.Errorf("%d of 40 decodes over loose slots are rejected for how they lie", n)
	}
}

// unfold holds a candidate's pages against the slots of its plan, one by one.
func unfold(t *testing.T, r *reading, plan *proto.Call, c *proto.Candidate, size int64) (requests int) {
	t.Helper()
	input := func(name string) []int64 {
		i := slices.IndexFunc(c.Inputs, func(in proto.Input) bool { return in.Name == name })
		if data := c.Inputs[i].Inline; data != nil {
			return numbers(data)
		}
		return numbers(r.tensors[c.Inputs[i].Digest])
	}
	arg := func(key string) []int64 {
		i := slices.IndexFunc(plan.Tensors, func(x proto.Tensor) bool { return x.Key == key })
		if data := plan.Tensors[i].Inline; data != nil {
			return numbers(data)
		}
		return numbers(r.tensors[plan.Tensors[i].Digest])
	}
	starts, pages, last := input("kv_indptr"), input("kv_indices"), input("kv_last_page_len")
	from, slots := arg("arg_1"), arg("arg_2")
	var got []int64
	for i := range starts[:len(starts)-1] {
		for p := starts[i]; p < starts[i+1]; p++ {
			n := size
			if p == starts[i+1]-1 {
				n = last[i]
			}
			for k := range n {
				got = append(got, pages[p]*size+k)
			}
		}
		if int64(len(got)) != from[i+1] {
			t.Fatalf("%s: request %d ends after %d tokens, planned were %d", plan.Dump, i, len(got), from[i+1])
		}
	}
	if want := slots[:from[len(from)-1]]; !slices.Equal(got, want) {
		t.Errorf("%s: pages say slots %v, planned were %v", plan.Dump, got, want)
	}
	return len(starts) - 1
}

func numbers(data []byte) []int64 {
	out := make([]int64, 0, len(data)/4)
	for ; len(data) >= 4; data = data[4:] {
		out = append(out, int64(int32(bin.LittleEndian.Uint32(data))))
	}
	return out
}

// TestSimulated_PlansSuffice: in every mode the simulated engine's plans give what its runs give.
func TestSimulated_PlansSuffice(t *testing.T) {
	t.Parallel()
	for mode, want := range map[proto.EngineMode]string{
		proto.ModeOffline: "BatchDecodeWithPagedKVCacheWrapper", proto.ModeHTTPPaged: "BatchPrefillWithPagedKVCacheWrapper",
		proto.ModeHTTPRagged: "BatchPrefillWithRaggedKVCacheWrapper",
	} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			tried := 0
			for _, def := range enginetest.Definitions(t) {
				if ok, _ := fitrace.PlanSuffices(def, string(mode)); !ok {
					continue
				}
				job := engine.Job{Task: enginetest.Task(proto.EngineSimulate, mode, []*fitrace.Definition{def}), Definitions: []*fitrace.Definition{def}, DumpDir: t.TempDir(), Log: zerolog.Nop()}
				job.Task.Engine.PageSize = int(def.PageSize())
				if _, err := simulate.New().Run(t.Context(), job, func(engine.Progress) {}); err != nil {
					t.Fatal(err)
				}
				runs, plans := samePlans(t, job.DumpDir, mode, []*fitrace.Definition{def})
				t.Logf("%s: %d lines", def.Name, runs)
				if def.APIs()[0].Class == want {
					tried++
				}
				if plans != runs || runs == 0 && def.APIs()[0].Class == want {
					t.Errorf("%s: %d lines with runs, %d from plans alone", def.Name, runs, plans)
				}
			}
			if tried == 0 {
				t.Errorf("no definition of %s", want)
			}
		})
	}
}
