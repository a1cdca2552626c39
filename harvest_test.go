package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/coordinator/harvest"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

const harvestTraces = "coordinator/harvest/testdata/traces"

func harvested(args ...string) (code int, stdout, stderr string) {
	return harvestedFor("testdata/dataset", args...)
}

func harvestedFor(dataset string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append([]string{"definitions", "harvest", "--trace-dir", dataset}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestHarvest_Directory(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "new", "staging")
	code, stdout, stderr := harvested("--from", harvestTraces, "--out", out, "--tp", "2", "--model", "org/Demo-8B")
	if code != cli.ExitDone || !strings.Contains(stdout, "15 files: ") || strings.Contains(stderr, "warning") {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	data, err := os.ReadFile(filepath.Join(out, "definitions", "gqa_paged", "gqa_paged_decode_h16_kv4_d64_ps1.json"))
	if err != nil || !bytes.Contains(data, []byte(`"tp:2"`)) || !bytes.Contains(data, []byte(`"model:demo-8b"`)) {
		t.Errorf("%v; %s", err, data)
	}
	for _, name := range []string{harvest.ReportJSON, harvest.ReportMarkdown} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	if code, _, stderr := harvested("--from", harvestTraces, "--out", out); code != cli.ExitUsage || !strings.Contains(stderr, out) {
		t.Errorf("a second harvest into the same directory: exit %d, %s", code, stderr)
	}
}

// A harvest with nothing new exits with 3 and still says what became of every file.
func TestHarvest_Nothing(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	text, err := os.ReadFile(filepath.Join(harvestTraces, "torn.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "torn.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := harvested("--from", from, "--out", filepath.Join(t.TempDir(), "s"), "--json")
	var report struct {
		Counts harvest.Counts  `json:"counts"`
		Files  []harvest.Entry `json:"files"`
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if code != cli.ExitNothing || report.Counts.SetAside != 1 || len(report.Files) != 1 || !strings.Contains(stderr, "no dumps of the run are at hand") {
		t.Errorf("exit %d, %+v, %s", code, report, stderr)
	}
}

func TestHarvest_Usage(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	for words, args := range map[string][]string{
		"one of them":         {},
		"--from DIR or --job": {"--from", harvestTraces, "--job", "c-1"},
		"neither can be":      {"--from", harvestTraces, "--tp=-1"},
		"no .json file":       {"--from", t.TempDir()},
		"state directory":     {"--job", "c-1", "--state-dir", filepath.Join(state, "absent")},
	} {
		out := filepath.Join(t.TempDir(), "staging")
		code, _, stderr := harvested(append(args, "--out", out)...)
		if code != cli.ExitUsage || !strings.Contains(stderr, words) {
			t.Errorf("%v: exit %d, %s; want %d and %q", args, code, stderr, cli.ExitUsage, words)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%v: the staging directory was made", args)
		}
	}
}

// TestHarvest_Job: the trace files that a job's tasks brought home, from the state directory of the job.
func TestHarvest_Job(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	storeJob(t, state, 1, "rmsnorm_h1024.json", harvest.EvidenceFile)
	out := filepath.Join(t.TempDir(), "staging")
	code, stdout, stderr := harvested("--job", "c-0123", "--state-dir", state, "--out", out)
	if code != cli.ExitDone {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	if data, err := os.ReadFile(filepath.Join(out, "definitions", "rmsnorm", "rmsnorm_h1024.json")); err != nil || !bytes.Contains(data, []byte(`"model:demo-8b"`)) || !bytes.Contains(data, []byte("EPS = 1e-5")) {
		t.Errorf("%v; %s", err, data)
	}
	if code, _, stderr := harvested("--job", "c-9", "--state-dir", state, "--out", filepath.Join(t.TempDir(), "s")); code == cli.ExitDone || !strings.Contains(stderr, "c-9") {
		t.Errorf("a job that is not there: exit %d, %s", code, stderr)
	}
}

// storeJob leaves a finished collection in a state directory, whose task ran on so many ranks and brought files home.
func storeJob(t *testing.T, state string, ranks int, files ...string) {
	t.Helper()
	server, err := bus.StartEmbedded(bus.Embedded{StateDir: state, Local: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	b, err := server.Connect(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	put := func(name string) proto.Harvested {
		data, err := os.ReadFile(filepath.Join(harvestTraces, name))
		if err != nil {
			t.Fatal(err)
		}
		digest, err := b.PutDefinition(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		return proto.Harvested{File: name, Digest: digest}
	}
	engine := proto.EngineSpec{Kind: proto.EngineReplay, Mode: proto.ModeOffline, DumpDir: "/dumps", ModelPath: "/models/Demo-8B", TP: ranks, EP: ranks}
	refs := []proto.DefinitionRef{{Name: "rmsnorm_h1024", OpType: "rmsnorm", Digest: strings.Repeat("0", 64)}}
	traffic := proto.Traffic{NumBatches: 1, Dataset: "random", ISL: 8, OSL: 8, RangeRatio: 1}
	dump := proto.DumpSpec{Count: 10, What: "run", TraceDump: true}
	collections, err := bus.OpenRecord[proto.CollectionState](t.Context(), b, proto.BucketCollections)
	if err != nil {
		t.Fatal(err)
	}
	spec := proto.Collection{
		ID: "c-0123456789ab", Definitions: refs, Engine: engine, BatchSizes: []int{8}, Traffic: traffic, Dump: dump,
		Publish: proto.PublishSpec{TraceDir: "/set", WorkloadsPerBatch: 1}, SubmittedAt: time.Now(),
	}
	if _, err := collections.Create(t.Context(), spec.ID, &proto.CollectionState{Spec: spec, State: proto.StateDone, Tasks: []string{"t000"}}); err != nil {
		t.Fatal(err)
	}
	tasks, err := bus.OpenRecord[proto.TaskState](t.Context(), b, proto.BucketTasks)
	if err != nil {
		t.Fatal(err)
	}
	task := proto.Task{Collection: spec.ID, ID: "t000", Definitions: refs, Engine: engine, BatchSize: 8, Traffic: traffic, Dump: dump}
	done := &proto.TaskState{Task: task, State: proto.StateDone, Attempt: 1}
	for _, name := range files {
		done.Harvest = append(done.Harvest, put(name))
	}
	if _, err := tasks.Create(t.Context(), proto.TaskKey(spec.ID, "t000"), done); err != nil {
		t.Fatal(err)
	}
}
