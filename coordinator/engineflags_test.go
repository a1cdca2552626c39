package coordinator

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
)

func TestCheckEngine_NoneOrUnknown_ListsAll(t *testing.T) {
	t.Parallel()
	for _, kind := range []proto.EngineKind{"", "vllm", proto.EngineEvaluate} {
		err := CheckEngine(kind)
		require.Error(t, err, kind)
		lines := strings.Split(err.Error(), "\n")
		require.Len(t, lines, 4, err)
		for i, name := range []string{"sglang", "replay", "simulate"} {
			require.Contains(t, lines[i+1], "--engine "+name)
		}
	}
	for _, kind := range []proto.EngineKind{proto.EngineSGLang, proto.EngineReplay, proto.EngineSimulate} {
		require.NoError(t, CheckEngine(kind), kind)
	}
}

func TestEngineFor_DumpDir_ImpliesReplay(t *testing.T) {
	t.Parallel()
	require.Equal(t, proto.EngineReplay, EngineFor("", "/dumps"))
	require.Equal(t, proto.EngineSGLang, EngineFor(proto.EngineSGLang, "/dumps"), "a contradiction is CheckFlags' to report")
	require.Empty(t, EngineFor("", ""), "nothing implies a simulation")
}

func TestCheckFlags_OfAnotherEngine_AreRefused(t *testing.T) {
	t.Parallel()
	engine := func(value, source string) GivenFlag { return GivenFlag{Name: "engine", Value: value, Source: source} }
	for name, tc := range map[string]struct {
		kind   proto.EngineKind
		given  []GivenFlag
		pushes bool
		want   string // empty: accepted
	}{
		"named":               {kind: "simulate", given: []GivenFlag{engine("simulate", ""), {Name: "sglang-version", Value: "0.5.16"}}, want: "--sglang-version 0.5.16 is given, but --engine is simulate: only sglang takes it; leave it out"},
		"implied":             {kind: "replay", given: []GivenFlag{{Name: "dump-dir", Value: "/d"}, {Name: "isl", Value: "9"}}, want: "--isl 9 is given, but --dump-dir implies --engine replay: only sglang or simulate takes it; leave it out"},
		"a switch":            {kind: "replay", given: []GivenFlag{engine("replay", ""), {Name: "chat"}}, want: "--chat is given, but --engine is replay: only sglang takes it; leave it out"},
		"a variable":          {kind: "replay", given: []GivenFlag{engine("replay", ""), {Name: "seed", Value: "3", Source: "TRACEFLEET_SEED"}}, want: "--seed 3 (from TRACEFLEET_SEED) is given, but --engine is replay: only sglang or simulate takes it; unset it"},
		"a variable's engine": {kind: "sglang", given: []GivenFlag{engine("sglang", "TRACEFLEET_ENGINE"), {Name: "dump-dir", Value: "/d"}}, want: "--dump-dir /d is given, but TRACEFLEET_ENGINE sets --engine sglang: only replay takes it; leave it out, or pass --engine replay"},
		"a node's variable":   {kind: "simulate", given: []GivenFlag{{Name: "model-catalogue", Value: "/m.json", Source: "TRACEFLEET_MODELS"}}},
		"the same as a flag":  {kind: "simulate", given: []GivenFlag{engine("simulate", ""), {Name: "model-catalogue", Value: "/m.json"}}, want: "only sglang takes it"},
		"GPUs of nothing":     {kind: "simulate", given: []GivenFlag{engine("simulate", ""), {Name: "gpus", Value: "0"}}, want: "--gpus 0 is given"},
		"GPUs of a push":      {kind: "simulate", given: []GivenFlag{engine("simulate", ""), {Name: "gpus", Value: "0"}, {Name: "python", Value: "python3"}}, pushes: true},
		"traffic and a push":  {kind: "replay", given: []GivenFlag{engine("replay", ""), {Name: "osl", Value: "4"}}, pushes: true, want: "--osl 4 is given"},
		"its own":             {kind: "replay", given: []GivenFlag{engine("replay", ""), {Name: "dump-dir", Value: "/d"}, {Name: "dump-rate", Value: "5"}, {Name: "recorded-model", Value: "m"}}},
		"of all":              {kind: "replay", given: []GivenFlag{engine("replay", ""), {Name: "dump-count", Value: "5"}, {Name: "skip-const-axis-check"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := CheckFlags(tc.kind, tc.given, tc.pushes)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// A replay's plan and records hold no batch size, traffic, ranks or seed, whatever the flags' defaults are.
func TestPrepare_Replay_InventsNothing(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	writeDef(t, root, "rmsnorm", "norm", defJSON("norm", "rmsnorm", "", "", "fi_api:flashinfer.norm.rmsnorm"))
	r := DefaultRequest()
	r.TraceDir, r.All, r.Engine, r.DumpDir = root, true, proto.EngineReplay, "/dumps"
	r.Recorded.Engine = "sglang==0.5.16"
	s, err := Prepare(r)
	require.NoError(t, err)
	require.NoError(t, s.Collection.Validate())
	require.Empty(t, s.Collection.BatchSizes)
	require.Zero(t, s.Collection.Traffic)
	require.Len(t, s.Plan.Tasks, 1)
	task := &s.Plan.Tasks[0]
	require.NoError(t, task.Validate())
	require.Zero(t, task.BatchSize)
	require.Zero(t, task.Traffic)
	require.Equal(t, proto.Provenance{Engine: proto.EngineReplay, Served: proto.Served{Engine: "sglang", Release: "0.5.16"}, Stated: []string{"engine"}}, task.Provenance())

	report, err := s.Plan.Report(s.Collection.ID, s.Definitions)
	require.NoError(t, err)
	var text bytes.Buffer
	report.Write(&text)
	rows := strings.Split(strings.TrimSpace(text.String()), "\n")
	require.Equal(t, strings.Fields("t000 replay - - - - - - - run norm"), strings.Fields(rows[1]))
}
