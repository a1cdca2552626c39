package publisher

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// provenanceOf reads a dataset's provenance file, which must parse and have unique keys.
func provenanceOf(t testing.TB, dir string) []dataset.Provenance {
	t.Helper()
	r, err := dataset.OpenReader(dir)
	require.NoError(t, err)
	defer r.Close()
	lines, err := r.Provenance("gqa_paged", defName)
	require.NoError(t, err)
	var list []dataset.Provenance
	keys := map[string]bool{}
	for _, l := range lines {
		require.NoError(t, l.Err)
		require.False(t, keys[l.Key()], "key %q twice", l.Key())
		keys[l.Key()] = true
		list = append(list, l.Provenance)
	}
	return list
}

// full is a provenance with every field known, and with everything that must stay private.
func full() proto.Provenance {
	return proto.Provenance{
		Engine: proto.EngineSGLang, Served: proto.Served{Engine: "sglang", Release: "0.5.16"}, Mode: proto.ModeOffline, Model: "/secret/models/llama-3.1-8b/",
		Versions: map[string]string{"flashinfer": "0.7.2", "torch": "2.11", "tracefleet": "secret"}, Flags: []string{"--secret"}, GPU: "NVIDIA H200", TP: 2, EP: 1,
		Host: "secret-host", PID: 987654, Rank: 3, BatchSize: 32, Seed: 7, Stated: []string{"gpu"}, Attempt: 5, Dump: "secret-dump",
		Traffic: &proto.Traffic{NumBatches: 2, Dataset: "random", ShareGPTPath: "/secret/s.json", TracePath: "/secret/t.jsonl", Chat: true, ISL: 1024, OSL: 128, RangeRatio: 0.5, Seed: 7},
	}
}

func TestProvenanceLine_FullProvenance_HasEveryFieldAndNothingPrivate(t *testing.T) {
	t.Parallel()
	s, dir := store{}, t.TempDir()
	v := verdict("secret-manifest", s.candidate(defName, 0, 1, 2))
	v.Provenance = full()
	mustPublish(t, dir, []*fitrace.Definition{testDefinition(t, defName)}, []*proto.Verdict{v}, s, LocalOptions{})
	line, err := os.ReadFile(filepath.Join(dir, fitrace.ProvenancePath("gqa_paged", defName)))
	require.NoError(t, err)
	require.Equal(t, `{"uuid":"`+v.Candidates[0].UUID+`","collection":null,"task":null,"engine":"sglang","engine_release":"0.5.16","flashinfer":"0.7.2",`+
		`"model":"llama-3.1-8b","gpu":"NVIDIA H200","tensor_parallel":2,"expert_parallel":1,"batch_size":32,`+
		`"traffic":{"dataset":"random","requests":64,"isl":1024,"osl":128,"range_ratio":0.5,"seed":7,"chat":true,"ignore_eos":true,"prefix_cache":true,"trace_speed":0},`+
		`"calls_with_content":1,"calls_with_shape":1,"simulated":false,"stated":["gpu"],"mode":"offline"}`+"\n", string(line))
	require.NotContains(t, string(line), "secret")
}

func TestProvenanceLine_NothingKnown_IsNull(t *testing.T) {
	t.Parallel()
	c := &Content{Candidate: proto.Candidate{UUID: "u"}, Manifests: 1, source: sourceOf(&proto.Provenance{Engine: proto.EngineReplay, Mode: proto.ModeOffline, Host: "h"})}
	line, err := provenanceLine(c, Request{Collection: "c-1", Task: "t000"}, 2)
	require.NoError(t, err)
	require.Equal(t, `{"uuid":"u","collection":"c-1","task":"t000","engine":null,"engine_release":null,"flashinfer":null,"model":null,"gpu":null,`+
		`"tensor_parallel":null,"expert_parallel":null,"batch_size":null,"traffic":null,"calls_with_content":1,"calls_with_shape":2,"simulated":false,"stated":[],"mode":null}`, line)
	p, err := dataset.ParseProvenance([]byte(line))
	require.NoError(t, err)
	again, err := p.MarshalLine()
	require.NoError(t, err)
	require.Equal(t, line, string(again))
}

func TestSourceOf_Fields(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(p *proto.Provenance)
		field  string
		want   string
	}{
		"a repository keeps its owner":       {func(p *proto.Provenance) { p.Model = "meta-llama/Llama-3.1-8B" }, "model", `"meta-llama/Llama-3.1-8B"`},
		"a catalogue name":                   {func(p *proto.Provenance) { p.Model = "llama-3.1-8b" }, "model", `"llama-3.1-8b"`},
		"an absolute path":                   {func(p *proto.Provenance) { p.Model = "/secret/x" }, "model", `"x"`},
		"a relative path":                    {func(p *proto.Provenance) { p.Model = "./secret/x" }, "model", `"x"`},
		"a path from the parent":             {func(p *proto.Provenance) { p.Model = "../x" }, "model", `"x"`},
		"a deep path":                        {func(p *proto.Provenance) { p.Model = "secret/models/x" }, "model", `"x"`},
		"a home":                             {func(p *proto.Provenance) { p.Model = "~/x" }, "model", `"x"`},
		"a directory without a name":         {func(p *proto.Provenance) { p.Model = ".." }, "model", `null`},
		"any mode is none":                   {func(p *proto.Provenance) { p.Mode = proto.ModeAny }, "mode", `null`},
		"a replay's planned mode is unknown": {func(p *proto.Provenance) { p.Engine = proto.EngineReplay }, "mode", `null`},
		"a replay's stated mode": {func(p *proto.Provenance) {
			p.Engine, p.Stated = proto.EngineReplay, []string{"mode"}
		}, "mode", `"offline"`},
		"requests that were asked for": {func(p *proto.Provenance) { p.Traffic.Requests = 7 }, "traffic.requests", `7`},
		"ShareGPT has no range":        {func(p *proto.Provenance) { p.Traffic.Dataset = "sharegpt" }, "traffic.range_ratio", `null`},
		"a trace has its own lengths":  {func(p *proto.Provenance) { p.Traffic.Dataset = "trace" }, "traffic.isl", `null`},
		"ragged prefill of a trace asks for one": {func(p *proto.Provenance) {
			p.Mode, p.Traffic.Dataset, p.Traffic.OSL = proto.ModeHTTPRagged, "trace", 1
		}, "traffic.osl", `1`},
		"paged prefill of a trace asks for one": {func(p *proto.Provenance) {
			p.Mode, p.Traffic.Dataset, p.Traffic.OSL = proto.ModeHTTPPaged, "trace", 1
		}, "traffic.osl", `1`},
		"decode of a trace has its own answers": {func(p *proto.Provenance) { p.Traffic.Dataset = "trace" }, "traffic.osl", `null`},
		"ragged prefill with a decode step asks for two": {func(p *proto.Provenance) {
			p.Mode, p.Traffic.OSL = proto.ModeHTTPRagged, 2
		}, "traffic.osl", `2`},
	} {
		p := full()
		test.change(&p)
		data, err := sourceOf(&p).MarshalLine()
		require.NoError(t, err)
		fields := map[string]json.RawMessage{}
		require.NoError(t, json.Unmarshal(data, &fields))
		if field, ok := strings.CutPrefix(test.field, "traffic."); ok {
			require.NoError(t, json.Unmarshal(fields["traffic"], &fields))
			test.field = field
		}
		require.Equal(t, test.want, string(fields[test.field]), name)
		require.NotContains(t, string(data), "secret", name)
	}
}

// Equal contents from ranks or dumps that differ state what all of them agree on, whatever the order.
func TestProvenance_SourcesDiffer_StatesWhatTheyAgreeOn(t *testing.T) {
	t.Parallel()
	s, defs := store{}, []*fitrace.Definition{testDefinition(t, defName)}
	call := s.candidate(defName, 0, 1, 2)
	list := []*proto.Verdict{verdict("m0", call), verdict("m1", call), verdict("m2", call)}
	for _, v := range list {
		v.Provenance = full()
	}
	list[1].Provenance.GPU, list[1].Provenance.Traffic = "NVIDIA H100", &proto.Traffic{Requests: 3}
	list[2].Provenance.Served.Release, list[2].Provenance.Stated = "", []string{"gpu", "model"}
	var first string
	for range list {
		list = append(list[1:], list[0])
		dir := t.TempDir()
		mustPublish(t, dir, defs, list, s, LocalOptions{})
		data, err := os.ReadFile(filepath.Join(dir, fitrace.ProvenancePath("gqa_paged", defName)))
		require.NoError(t, err)
		if first == "" {
			first = string(data)
		}
		require.Equal(t, first, string(data), "order")
	}
	p, err := dataset.ParseProvenance([]byte(first))
	require.NoError(t, err)
	require.Equal(t, dataset.Text("sglang"), p.Engine)
	require.Empty(t, p.EngineRelease)
	require.Empty(t, p.GPU)
	require.Nil(t, p.Traffic)
	require.Equal(t, 3, p.CallsWithContent)
	require.Equal(t, []string{"model"}, p.Stated, "gpu is unknown, so it is not stated")
}

func TestProvenanceLine_StatedEngine_CarriesItsRelease(t *testing.T) {
	t.Parallel()
	p := full()
	p.Stated = []string{"model", "engine"}
	names, err := statedOf(sourceOf(&p))
	require.NoError(t, err)
	require.Equal(t, []string{"engine", "engine_release", "model"}, names)
	p.Served.Release, p.Model = "", ""
	names, err = statedOf(sourceOf(&p))
	require.NoError(t, err)
	require.Equal(t, []string{"engine"}, names)
}

func TestProvenance_Replace_RemovesReplacedLines(t *testing.T) {
	t.Parallel()
	s, dir, defs := store{}, t.TempDir(), []*fitrace.Definition{testDefinition(t, defName)}
	shared := s.candidate(defName, 0, 1, 2)
	mustPublish(t, dir, defs, []*proto.Verdict{verdict("o0", s.candidate(defName, 0, 3, 3, 3)), verdict("o1", shared)}, s, LocalOptions{})
	file := filepath.Join(dir, fitrace.ProvenancePath("gqa_paged", defName))
	write(t, file, appendTo(t, file, "no JSON\n")) // somebody else's, and left to them
	mustPublish(t, dir, defs, []*proto.Verdict{rejection("r", defName, "no_plan")}, s, LocalOptions{Replace: true})
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(string(data), "\n"), "nothing was put in their place")
	mustPublish(t, dir, defs, []*proto.Verdict{verdict("n0", shared), verdict("n1", shared)}, s, LocalOptions{Replace: true})
	data, err = os.ReadFile(file)
	require.NoError(t, err)
	kept, line, _ := strings.Cut(string(data), "\n")
	require.Equal(t, "no JSON", kept)
	p, err := dataset.ParseProvenance([]byte(line))
	require.NoError(t, err)
	require.Equal(t, shared.UUID, p.UUID)
	require.Equal(t, 2, p.CallsWithContent, "the replaced line counted 1")
}

func TestProvenance_NothingNew_AddsNoLine(t *testing.T) {
	t.Parallel()
	s, dir, defs := store{}, t.TempDir(), []*fitrace.Definition{testDefinition(t, defName)}
	mustPublish(t, dir, defs, []*proto.Verdict{rejection("r", defName, "no_plan")}, s, LocalOptions{})
	require.Empty(t, provenanceOf(t, dir))
	require.NoDirExists(t, filepath.Join(dir, "provenance"))
	mustPublish(t, dir, defs, s.someVerdicts(defName), s, LocalOptions{Max: 20})
	before := public(t, dir)
	mustPublish(t, dir, defs, s.someVerdicts(defName), s, LocalOptions{Max: 20})
	require.True(t, maps.Equal(before, public(t, dir)))
	require.Len(t, provenanceOf(t, dir), 5)
}

// Somebody edits the workloads file after a crash: provenance follows from what is there.
func TestProvenance_EditedAfterCrash_HasNoOrphan(t *testing.T) {
	t.Parallel()
	s := store{}
	sc := scenarios(t, s)[1]
	dir := copyTree(t, sc.base)
	at := slices.Index(sc.steps, "rename "+fitrace.WorkloadsPath("gqa_paged", defName)) + 1
	require.Positive(t, at)
	require.Error(t, sc.publish(s, dir, (&breaker{from: at, err: errCrash}).before))
	require.Greater(t, len(provenanceOf(t, dir)), 2, "the new lines are there before the commit")
	file := filepath.Join(dir, fitrace.WorkloadsPath("gqa_paged", defName))
	old := lines(t, dir, defName)
	write(t, file, string(old[1].Raw)+"\n") // the first line is removed by hand
	_, err := Inspect(dir, nopLog)          // which settles the crash
	require.NoError(t, err)
	got := provenanceOf(t, dir)
	require.Len(t, got, 1)
	require.Equal(t, old[1].Workload.UUID, got[0].UUID)
}
