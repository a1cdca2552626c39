package proto

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A task states what was asked of an engine that serves; of a replay only what the user states.
func TestTaskProvenance_ByEngine(t *testing.T) {
	t.Parallel()
	spec := EngineSpec{Mode: ModeHTTPPaged, ModelPath: "org/m", TP: 2, EP: 2, Flags: []string{"--a"}, SGLang: "0.5.16"}
	traffic := Traffic{Dataset: "random", ISL: 9, Seed: 7}
	asked := Provenance{Mode: ModeHTTPPaged, TP: 2, EP: 2, BatchSize: 8, Traffic: &traffic, Seed: 7}
	sglang, simulated := asked, asked
	sglang.Engine, sglang.Served, sglang.Model, sglang.Flags = EngineSGLang, Served{Engine: "sglang", Release: "0.5.16"}, "org/m", []string{"--a"}
	simulated.Engine, simulated.Served, simulated.Simulated = EngineSimulate, Served{Engine: "simulate"}, true
	stated := Provenance{Engine: EngineReplay, Served: Served{Engine: "vllm"}, Model: "m", GPU: "H100", Stated: []string{StatedEngine, StatedGPU, StatedModel}}
	for name, tc := range map[string]struct {
		kind     EngineKind
		recorded *Recorded
		want     Provenance
	}{
		"sglang":    {kind: EngineSGLang, want: sglang},
		"simulate":  {kind: EngineSimulate, want: simulated},
		"replay":    {kind: EngineReplay, want: Provenance{Engine: EngineReplay}},
		"statement": {kind: EngineReplay, recorded: &Recorded{Engine: "vllm", Model: "m", GPU: "H100"}, want: stated},
	} {
		task := Task{Engine: spec, BatchSize: 8, Traffic: traffic}
		task.Engine.Kind, task.Engine.Recorded = tc.kind, tc.recorded
		require.Equal(t, tc.want, task.Provenance(), name)
	}
}

func TestServedBy_Versions(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		versions map[string]string
		want     Served
		known    bool
	}{
		"nothing recorded":       {},
		"FlashInfer alone":       {versions: map[string]string{"flashinfer": "0.6.14", "torch": "2.11.0"}},
		"sglang":                 {versions: map[string]string{"sglang": "0.5.16"}, want: Served{"sglang", "0.5.16"}, known: true},
		"simulated":              {versions: map[string]string{VersionSimulate: "2"}, want: Served{"simulate", "2"}, known: true},
		"simulated wins, always": {versions: map[string]string{VersionSimulate: "2", "sglang": "0.5.16"}, want: Served{"simulate", "2"}, known: true},
	} {
		got, known := ServedBy(tc.versions)
		require.Equal(t, tc.want, got, name)
		require.Equal(t, tc.known, known, name)
	}
}

func TestServed_Contradicts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b Served
		want bool
	}{
		{Served{}, Served{"sglang", "0.5.16"}, false},
		{Served{"sglang", ""}, Served{"sglang", "0.5.16"}, false},
		{Served{"SGLang", "0.5.16"}, Served{"sglang", "0.5.16"}, false},
		{Served{"sglang", "0.5.15"}, Served{"sglang", "0.5.16"}, true},
		{Served{"simulate", "2"}, Served{"sglang", ""}, true},
	} {
		require.Equal(t, tc.want, tc.a.Contradicts(tc.b), "%v %v", tc.a, tc.b)
		require.Equal(t, tc.want, tc.b.Contradicts(tc.a), "%v %v", tc.b, tc.a)
	}
}

// Engines that serve need a batch size; the others have none.
func TestTask_BatchSize_ByEngine(t *testing.T) {
	t.Parallel()
	for kind, least := range map[EngineKind]int{EngineSGLang: 1, EngineSimulate: 1, EngineReplay: 0} {
		task := Task{Collection: "c", ID: "t", Engine: EngineSpec{Kind: kind, TP: least, EP: least}, BatchSize: least,
			Definitions: []DefinitionRef{{Name: "d", OpType: "o", Digest: samples()[0].(*Collection).Definitions[0].Digest}}}
		require.NoError(t, task.Validate(), kind)
		task.BatchSize--
		require.ErrorContains(t, task.Validate(), "batch_size", kind)
	}
}
