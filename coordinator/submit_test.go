package coordinator

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/proto"
)

func TestSubmit_ResumesAndCounts(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	first := f.submit(1, nil)
	stop := f.start(f.coordinator(nil).Run)
	f.waitTask(first, "t000", in(proto.StateQueued))
	if again := f.submit(1, func(c *proto.Collection) { c.SubmittedBy = "somebody else" }); again != first {
		t.Errorf("an unfinished collection was submitted again as %s, want %s", again, first)
	}
	if other := f.submit(1, func(c *proto.Collection) { c.BatchSizes = []int{4, 8} }); other == first {
		t.Error("another order of batch sizes is the same collection")
	}
	stop()
	f.roles()
	f.start(f.coordinator(nil).Run)
	f.wait(first)
	second := f.submit(1, nil)
	if second != first+"-2" {
		t.Errorf("a finished collection is repeated as %s", second)
	}
	f.wait(second)
	if third := f.submit(1, nil); third != first+"-3" {
		t.Errorf("and again as %s", third)
	}
}

func TestContentID(t *testing.T) {
	t.Parallel()
	spec := specFor(proto.EngineSpec{Kind: proto.EngineSimulate}, []int{8}, planDefs(t)["norm"])
	id := ContentID(spec)
	if len(id) != 14 || !strings.HasPrefix(id, "c-") {
		t.Errorf("id %q", id)
	}
	same := *spec
	same.ID, same.SubmittedAt, same.SubmittedBy = "x", time.Now(), "me"
	if ContentID(&same) != id {
		t.Error("id, time or user are part of the content")
	}
	same.Traffic.Seed = 7
	if ContentID(&same) == id {
		t.Error("the seed is not part of the content")
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	writeDef(t, root, "rmsnorm", "norm", defJSON("norm", "rmsnorm", "", "", "fi_api:flashinfer.norm.rmsnorm"))
	writeDef(t, root, "gemm", "untagged", defJSON("untagged", "gemm", "", ""))
	r := simulatedRequest()
	r.TraceDir, r.All = root, true
	s, err := Prepare(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Collection.Definitions) != 1 || len(s.Plan.Tasks) != 4 || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "untagged") {
		t.Errorf("got %+v, warnings %q", s.Collection, s.Warnings)
	}
	if err := s.Collection.Validate(); err != nil {
		t.Error(err)
	}
	if !filepath.IsAbs(s.Collection.Publish.TraceDir) {
		t.Errorf("trace dir %q is not absolute", s.Collection.Publish.TraceDir)
	}
	r.All, r.Names, r.OpTypes = false, []string{"untagged"}, []string{"rmsnorm"}
	if _, err := Prepare(r); err == nil || !strings.Contains(err.Error(), "no fi_api tag names the call to dump in 1 definition of the selection: untagged") {
		t.Errorf("named beside a usable one: %v", err)
	}
	r.OpTypes = nil
	if _, err := Prepare(r); err == nil || proto.AsFailure(err, "").Code != proto.CodeNoDefinitions {
		t.Errorf("nothing collectable: %v", err)
	}
}

// simulatedRequest returns the defaults with an engine that needs nothing.
func simulatedRequest() Request {
	r := DefaultRequest()
	r.Engine = proto.EngineSimulate
	return r
}

func TestRequest_Validate(t *testing.T) {
	t.Parallel()
	if r := simulatedRequest(); r.Validate() != nil {
		t.Errorf("the defaults are refused: %v", r.Validate())
	}
	for _, tc := range []struct {
		says string
		edit func(*Request)
	}{
		{`--engine is "vllm", must be one of`, func(r *Request) { r.Engine = "vllm" }},
		{"no engine is named", func(r *Request) { r.Engine = "" }},
		{"--recorded-engine is \"sglang==\", must be NAME or NAME==RELEASE", func(r *Request) { replayed(r).Engine = "sglang==" }},
		{"--recorded-engine is \"==1\"", func(r *Request) { replayed(r).Engine = "==1" }},
		{"--recorded-engine is \"sglang 0.5.16\"", func(r *Request) { replayed(r).Engine = "sglang 0.5.16" }},
		{"--recorded-engine is \"Simulate\": simulated dumps are marked", func(r *Request) { replayed(r).Engine = "Simulate" }},
		{"--recorded-model is \" m\"", func(r *Request) { replayed(r).Model = " m" }},
		{"--recorded-gpu is \"H200\\n\"", func(r *Request) { replayed(r).GPU = "H200\n" }},
		{"--batch-sizes is empty", func(r *Request) { r.BatchSizes = nil }},
		{"--batch-sizes has 0", func(r *Request) { r.BatchSizes = []int{0} }},
		{"--batch-sizes has 8", func(r *Request) { r.BatchSizes = []int{8, 4, 8} }},
		{"--num-batches is 0", func(r *Request) { r.NumBatches = 0 }},
		{"--isl", func(r *Request) { r.ISL = 0 }},
		{"--osl", func(r *Request) { r.OSL = -1 }},
		{"--dump-count", func(r *Request) { r.DumpCount = 0 }},
		{"--workloads-per-batch", func(r *Request) { r.WorkloadsPerBatch = 0 }},
		{"--tp is -1", func(r *Request) { r.TP = -1 }},
		{"--random-range-ratio", func(r *Request) { r.RangeRatio = 1.5 }},
		{"--random-range-ratio", func(r *Request) { r.RangeRatio = math.NaN() }},
		{"--dump-rate", func(r *Request) { r.DumpRate = math.Inf(1) }},
		{"quota", func(r *Request) { r.QuotaBytes = -1 }},
		{"--dump-quota is 1 bytes, must be at least 1048576", func(r *Request) { r.QuotaBytes = 1 }},
		{"--dataset", func(r *Request) { r.Dataset = "c4" }},
		{"--sharegpt-path", func(r *Request) { r.Dataset = "sharegpt" }},
		{"--dump is", func(r *Request) { r.Dump = "plans" }},
		{"--dump none measures --engine sglang", func(r *Request) { r.Dump = DumpNone }},
		{"or --trace-dump", func(r *Request) {
			r.Engine, r.ModelPath, r.Dump, r.TraceDump = proto.EngineSGLang, "/m", DumpNone, true
		}},
		{"--num-samples is -1", func(r *Request) { r.Requests = -1 }},
		{"--dataset trace needs --trace-path", func(r *Request) { r.Dataset = "trace" }},
		{"only trace reads it", func(r *Request) { r.TracePath = "/t.jsonl" }},
		{"--trace-speed is -1", func(r *Request) { r.Dataset, r.TracePath, r.TraceSpeed = "trace", "/t", -1 }},
		{"only a trace has times", func(r *Request) { r.TraceSpeed = 2 }},
		{"--sglang-version", func(r *Request) { r.SGLang = "latest" }},
		{"port is 70000", func(r *Request) { r.Port = 70000 }},
		{"--start-timeout", func(r *Request) { r.StartTimeout = -1 }},
		{"--dump-dir", func(r *Request) { r.Engine = proto.EngineReplay }},
		{"are about a push", func(r *Request) { r.PR = 7 }},
		{"are about a push", func(r *Request) { r.AllowSimulated = true }},
		{"--model-path, or --model-key", func(r *Request) { r.Engine = proto.EngineSGLang }},
	} {
		r := simulatedRequest()
		tc.edit(&r)
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("got %v, want %q", err, tc.says)
		}
	}
	for name, edit := range map[string]func(*Request){
		"statements of dumps": func(r *Request) {
			*replayed(r) = proto.Recorded{Engine: "sglang==0.5.16", Model: "meta-llama/Llama-3.1-8B", GPU: "NVIDIA H200"}
		},
		"an engine without a release": func(r *Request) { replayed(r).Engine = "vllm" },
		"a replay has no batch sizes": func(r *Request) { replayed(r); r.BatchSizes = nil },
		"a trace":                     func(r *Request) { r.Dataset, r.TracePath, r.TraceSpeed = "trace", "/t.jsonl", 2 },
		"sglang finds ShareGPT":       func(r *Request) { r.Engine, r.ModelPath, r.Dataset = proto.EngineSGLang, "/m", "sharegpt" },
		"a key stands for a path":     func(r *Request) { r.Engine, r.ModelKey = proto.EngineSGLang, "llama-3.1-8b" },
		"a post release":              func(r *Request) { r.SGLang = "0.5.10.post1" },
		"a release of one's own":      func(r *Request) { r.SGLang = "0.5.24rc1+cu13" },
		"plans of a simulated model":  func(r *Request) { r.Dump = DumpPlan },
		"serving without dumps":       func(r *Request) { r.Engine, r.ModelPath, r.Dump = proto.EngineSGLang, "/m", DumpNone },
		"no push of nothing":          func(r *Request) { r.NoPush, r.NoEval = true, true },
		"sglang's server": func(r *Request) {
			r.Engine, r.ModelPath, r.Port, r.Host, r.Chat, r.TraceDump, r.StartTimeout, r.AnyRelease = proto.EngineSGLang, "/m", 1, "::1", true, true, 1, true
		},
	} {
		r := simulatedRequest()
		edit(&r)
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// replayed turns r into a replay, and returns the user's statements about its dumps.
func replayed(r *Request) *proto.Recorded {
	r.Engine, r.DumpDir = proto.EngineReplay, "/dumps"
	return &r.Recorded
}

func TestFollow(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := f.submit(1, nil)
	f.roles()
	f.start(f.coordinator(nil).Run)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watch := func() (last *View, lines []string, states []proto.State) {
		c, err := Follow(ctx, f.bus, id, func(u Update) {
			last = u.View
			if u.Event != nil {
				if u.Event.Level == proto.LevelProgress {
					t.Errorf("a progress event is a line: %+v", u.Event)
				}
				lines = append(lines, u.Event.Text)
			}
			if n := len(states); n == 0 || states[n-1] != u.View.State {
				states = append(states, u.View.State)
			}
		})
		if err != nil || c.State != proto.StateDone {
			t.Fatalf("follow: %+v, %v", c, err)
		}
		return last, lines, states
	}
	for _, when := range []string{"live", "ended"} {
		last, lines, states := watch()
		if states[len(states)-1] != proto.StateDone || len(last.Tasks) != 4 {
			t.Fatalf("%s: states %v, %d tasks", when, states, len(last.Tasks))
		}
		for _, task := range last.Tasks {
			for _, s := range task.Stages {
				if s.Total == 0 || s.Done != s.Total {
					t.Errorf("%s: %s of %s is %d of %d at the end", when, s.Stage, task.ID, s.Done, s.Total)
				}
			}
		}
		for _, want := range []string{"collection is running: 4 tasks", "task t003 is done", "collection is done"} {
			if !slices.Contains(lines, want) {
				t.Errorf("%s: no line %q in %q", when, want, lines)
			}
		}
	}
	var log []string
	err := JobLog(ctx, f.bus, id, "t001", func(e *proto.Event) error { log = append(log, e.Text); return nil })
	if err != nil || !slices.Contains(log, "task t001 is done") || slices.Contains(log, "task t000 is done") {
		t.Errorf("log of t001 %q, %v", log, err)
	}
}

func TestFollow_Interrupted(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := f.submit(1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	f.start(f.coordinator(nil).Run)
	_, err := Follow(ctx, f.bus, id, func(u Update) {
		if u.View.State == proto.StateRunning {
			cancel()
		}
	})
	if err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}

func TestJobs(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.roles()
	f.start(f.coordinator(nil).Run)
	first, second := f.submit(1, nil), f.submit(2, nil)
	f.wait(first)
	f.wait(second)
	jobs, err := ListJobs(t.Context(), f.bus)
	if err != nil || len(jobs) != 2 || jobs[0].ID != second || jobs[1].ID != first {
		t.Fatalf("list %+v, %v", jobs, err)
	}
	if j := jobs[0]; j.State != proto.StateDone || j.Tasks != 4 || j.Done != 4 || j.Failed != 0 || j.Definitions != 3 || j.FinishedAt.IsZero() {
		t.Errorf("job %+v", j)
	}
	d, err := ShowJob(t.Context(), f.bus, first)
	if err != nil || len(d.TaskStates) != 4 || len(d.Publications) != 6 || d.Account.Check() != nil {
		t.Errorf("show %+v, %v", d, err)
	}
	if got, err := FindJob(t.Context(), f.bus, first[:6]); err != nil || got != first {
		t.Errorf("find by prefix: %q, %v", got, err)
	}
	for _, id := range []string{"nope", "", "c-*", ">", "a.b"} {
		for name, do := range map[string]func() error{
			"show":   func() error { _, err := ShowJob(t.Context(), f.bus, id); return err },
			"cancel": func() error { return CancelJob(t.Context(), f.bus, id) },
			"retry":  func() error { return RetryJob(t.Context(), f.bus, id) },
			"logs":   func() error { return JobLog(t.Context(), f.bus, id, "", nil) },
			"find":   func() error { _, err := FindJob(t.Context(), f.bus, id); return err },
		} {
			if err := do(); err == nil || !strings.Contains(err.Error(), "there is no collection") {
				t.Errorf("%s %q: %v", name, id, err)
			}
		}
	}
	if _, err := FindJob(t.Context(), f.bus, "c-"); err == nil || !strings.Contains(err.Error(), "beginning of") {
		t.Errorf("an ambiguous prefix: %v", err)
	}
}
