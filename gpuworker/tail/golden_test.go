package tail_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

// truthLine is what the golden corpus says of one dump and one definition.
type truthLine struct {
	Dump       string  `json:"dump"`
	Flush      string  `json:"flush"`
	Definition *string `json:"definition"`
	Expected   bool    `json:"expected"`
	PlanDump   string  `json:"plan_dump"`
	Reason     any     `json:"reason"` // text, or text by definition
	Inputs     map[string]struct {
		Class string `json:"cls"`
		SHA   string `json:"sha256"`
	} `json:"inputs"`
}

func readTruth(t *testing.T, path string) []truthLine {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []truthLine
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var l truthLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	if sc.Err() != nil || len(lines) == 0 {
		t.Fatalf("truth %s: %d lines, %v", path, len(lines), sc.Err())
	}
	return lines
}

var origin = manifest.Origin{Collection: "c-test", Task: "t000", Attempt: 1, Node: "node0"}

type dumpKey struct {
	dump  string
	flush int
}

func keyOf(m *proto.Manifest) dumpKey { return dumpKey{m.Call.Dump, m.Call.Flush} }

// scanAll scans dir and checks what holds for every scan: ids differ, counts add up, tensors are what their digests say.
func scanAll(t *testing.T, dir string) map[dumpKey]*proto.Manifest {
	t.Helper()
	got := map[dumpKey]*proto.Manifest{}
	ids := map[string]bool{}
	counts, err := tail.Scan(t.Context(), dir, origin, func(m *proto.Manifest, tensors map[string][]byte) error {
		if ids[m.ID] || got[keyOf(m)] != nil {
			t.Errorf("manifest of %v came twice", keyOf(m))
		}
		ids[m.ID], got[keyOf(m)] = true, m
		checkManifest(t, m, tensors)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	checkCounts(t, counts, len(got))
	if want := dumpsIn(t, dir); counts.Dumps != want {
		t.Errorf("%d dumps counted, the directory has %d", counts.Dumps, want)
	}
	return got
}

// tailAll has a Tailer eat a directory whose engine has ended.
func tailAll(t *testing.T, dir string) map[dumpKey]*proto.Manifest {
	t.Helper()
	got := map[dumpKey]*proto.Manifest{}
	var mu sync.Mutex
	ended := make(chan struct{})
	close(ended)
	_, err := tail.New(tail.Options{Dir: dir, Origin: origin, Delete: true, Log: zerolog.Nop(), Ship: func(_ context.Context, m *proto.Manifest, _ map[string][]byte) error {
		mu.Lock()
		defer mu.Unlock()
		got[keyOf(m)] = m
		return nil
	}}).Run(t.Context(), ended)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func dumpsIn(t *testing.T, dir string) int64 {
	t.Helper()
	names, err := fidump.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(len(names))
	for _, name := range names {
		flushes, err := fidump.Flushes(filepath.Join(dir, name.Dir))
		if err != nil {
			t.Fatal(err)
		}
		n += int64(len(flushes))
	}
	return n
}

func checkCounts(t *testing.T, c proto.AttemptCounts, manifests int) {
	t.Helper()
	if c.Dumps != c.Manifests+c.Plans+c.Captures || c.Manifests != int64(manifests) {
		t.Errorf("counts do not add up: %+v, %d manifests", c, manifests)
	}
}

func checkManifest(t *testing.T, m *proto.Manifest, tensors map[string][]byte) {
	t.Helper()
	if _, err := proto.Encode(m); err != nil {
		t.Errorf("%v: %v", keyOf(m), err)
	}
	paired := m.Plan != nil && m.PlanNote == proto.PlanNone
	noted := m.PlanNote != proto.PlanNone && (m.Plan == nil || m.PlanNote == proto.PlanUnloggedMeta)
	if paired == noted && m.Defect == nil && strings.Contains(m.Call.Function, "Wrapper") && !strings.HasSuffix(m.Call.Function, ".__init__") {
		t.Errorf("%v: plan %v with note %q", keyOf(m), m.Plan != nil, m.PlanNote)
	}
	calls := []*proto.Call{&m.Call}
	if m.Plan != nil {
		calls = append(calls, m.Plan)
	}
	for _, c := range calls {
		for _, tensor := range c.Tensors {
			data := tensor.Inline
			if data == nil && tensor.Digest != "" {
				data = tensors[tensor.Digest]
			}
			bounds := strings.Contains(c.Function, "sampling_from_probs") && len(tensor.Shape) == 1 // top_p, which decides what is drawn
			if want := strings.Contains(tensor.DType, "int") || tensor.DType == "bool" || bounds; tensor.HasContent() != want {
				t.Errorf("%s %s of %s has content: %v", c.Dump, tensor.Key, tensor.DType, tensor.HasContent())
			}
			if tensor.Digest != "" && digestOf(data) != tensor.Digest {
				t.Errorf("%s %s: content is not what the digest says", c.Dump, tensor.Key)
			}
		}
	}
}

// TestGolden holds pairing and tensors against the truth of every golden case.
func TestGolden(t *testing.T) {
	t.Parallel()
	dumps, truth := goldentest.Dumps(t), filepath.Join(goldentest.Dir(t), "truth")
	cases, err := os.ReadDir(dumps)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 27 {
		t.Fatalf("%d golden cases, there should be 27", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			got := scanAll(t, filepath.Join(dumps, c.Name()))
			for _, l := range readTruth(t, filepath.Join(truth, c.Name()+".jsonl")) {
				checkTruth(t, l, got)
			}
		})
	}
}

func checkTruth(t *testing.T, l truthLine, got map[dumpKey]*proto.Manifest) {
	t.Helper()
	key := dumpKey{dump: l.Dump}
	if n, ok := strings.CutPrefix(l.Flush, "flush_"); ok {
		key.flush, _ = strconv.Atoi(n)
	}
	m := got[key]
	if m == nil {
		t.Errorf("%v: no manifest", key)
		return
	}
	plan := ""
	if m.Plan != nil {
		plan = m.Plan.Dump
	}
	switch {
	case l.Definition == nil:
		t.Logf("%v: nothing expected (%v): note %q, beside %q, defect %v", key, l.Reason, m.PlanNote, m.Beside, m.Defect)
		if strings.Contains(fmt.Sprint(l.Reason), "plan") && m.PlanNote == "" && m.Beside == "" {
			t.Errorf("%v: must give nothing (%v), but was paired with %s", key, l.Reason, plan)
		}
		if plan != "" && l.PlanDump != "" && plan != l.PlanDump {
			t.Errorf("%v: paired with %s, belongs to %s", key, plan, l.PlanDump)
		}
	case m.Defect != nil || m.PlanNote != "":
		t.Logf("%v: note %q, defect %v", key, m.PlanNote, m.Defect)
		if l.Expected {
			t.Errorf("%v: expected, but note %q, defect %v", key, m.PlanNote, m.Defect)
		}
	case plan != l.PlanDump:
		t.Errorf("%v: paired with %q, belongs to %q", key, plan, l.PlanDump)
	case m.Beside == proto.BesideRagged && l.Expected:
		t.Errorf("%v: expected, but marked as half of an attention", key)
	default:
		for name, in := range l.Inputs {
			if in.Class == "int" && strings.HasSuffix(name, "indptr") && l.Expected && !hasDigest(m, in.SHA) {
				t.Errorf("%v: no tensor has the content of %s", key, name)
			}
		}
	}
}

func hasDigest(m *proto.Manifest, digest string) bool {
	calls := []*proto.Call{&m.Call}
	if m.Plan != nil {
		calls = append(calls, m.Plan)
	}
	for _, c := range calls {
		for i := range c.Tensors {
			if c.Tensors[i].Digest == digest {
				return true
			}
		}
	}
	return false
}

// TestPlanNotThere takes plans out of a recording: none of the runs that may be theirs is paired with an older one. The session
// log tells which runs those are; without it, all runs from the plan before to the next may be.
func TestPlanNotThere(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lost    int // which plan, from 0
		session bool
		unread  []string // runs whose plan is not known
	}{
		"second, in the session log":    {1, true, []string{"0003", "0004"}},
		"last, in the session log":      {3, true, []string{"0007", "0008"}},
		"second, without a session log": {1, false, []string{"0001", "0002", "0003", "0004"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := newSynth(t, dir, 100)
			for range 4 {
				s.step(1, 2)
			}
			names, err := fidump.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(dir, names[3*tc.lost].Dir)); err != nil {
				t.Fatal(err)
			}
			if !tc.session {
				if err := os.Remove(filepath.Join(dir, fidump.SessionFile)); err != nil {
					t.Fatal(err)
				}
			}
			check := func(how string, manifests map[dumpKey]*proto.Manifest) {
				for key, m := range manifests {
					n := strings.TrimPrefix(key.dump[len(key.dump)-5:], "l")
					lost := slices.Contains(tc.unread, n)
					if lost != (m.PlanNote == proto.PlanUnreadable) || lost == (m.Plan != nil) {
						t.Errorf("%s, run %s: plan %q, note %q", how, n, planOf(m), m.PlanNote)
					}
				}
			}
			check("scanned", scanAll(t, dir))
			if tc.session {
				check("tailed", tailAll(t, dir))
			}
		})
	}
}

// TestMadeAndPlanned has an object made and planned within a millisecond, and the session log says nothing of it, or only of
// what came after: the plan is the new object's all the same.
func TestMadeAndPlanned(t *testing.T) {
	t.Parallel()
	for _, session := range []string{"none", "plan and run"} {
		t.Run(session, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := newSynth(t, dir, 100)
			s.step(1, 1)
			s.end(s.begin("BatchDecodeWithPagedKVCacheWrapper.__init__", "(self, workspace: torch.Tensor) -> None", 1))
			s.clock = s.clock.Add(-3 * time.Millisecond)
			plan := s.plan(1)
			run := s.run(1)
			path := filepath.Join(dir, fidump.SessionFile)
			log, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			kept := lines(log)
			if kept = slices.DeleteFunc(kept, func(l []byte) bool { return bytes.Contains(l, []byte("__init__")) }); session == "none" {
				kept = nil
			}
			write(t, path, string(bytes.Join(kept, nil)))
			m := scanAll(t, dir)[dumpKey{dump: filepath.Base(run)}]
			if m == nil || planOf(m) != filepath.Base(plan) {
				t.Errorf("manifest %v is not paired with %s", m, plan)
			}
		})
	}
}
