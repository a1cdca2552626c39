package golden_test

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

// ownDefinitions returns the definitions that the project wrote itself.
func ownDefinitions(t *testing.T) []*fitrace.Definition {
	t.Helper()
	var defs []*fitrace.Definition
	for _, pattern := range []string{"../../testdata/dataset/definitions/*/*.json", "../gpu/definitions/*/*.json"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			d, err := fitrace.ParseDefinition(data, name)
			if err != nil {
				t.Fatal(err)
			}
			defs = append(defs, d)
		}
	}
	return defs
}

// TestRecorded_Llama_FitsItsDefinitions reads the project's own recording of a real SGLang: the calls of each mode fit their
// definitions, runs and plans alike.
func TestRecorded_Llama_FitsItsDefinitions(t *testing.T) {
	t.Parallel()
	dir := goldentest.Unpacked(t, "../../testdata/recorded/sglang-0.5.16-h200.tar.xz")
	defs := ownDefinitions(t)
	for _, c := range []struct {
		folder   string
		mode     proto.EngineMode
		planOnly []string
		fit      map[string]int // candidates by definition
	}{
		{"attempt1", proto.ModeOffline, nil, map[string]int{
			"gqa_paged_decode_h32_kv8_d128_ps1": 3, "rmsnorm_h4096": 3, "fused_add_rmsnorm_h4096": 3, "top_k_top_p_sampling_from_probs_v128256": 3,
		}},
		{"attempt1", proto.ModeOffline, []string{"BatchDecodeWithPagedKVCacheWrapper"}, map[string]int{ // three runs and three plans
			"gqa_paged_decode_h32_kv8_d128_ps1": 6, "rmsnorm_h4096": 3, "fused_add_rmsnorm_h4096": 3, "top_k_top_p_sampling_from_probs_v128256": 3,
		}},
		// The server has pages of 64 tokens; FlashInfer is given slots, which are pages of one token too.
		{"attempt2", proto.ModeHTTPPaged, nil, map[string]int{"gqa_paged_prefill_causal_h32_kv8_d128_ps1": 3, "gqa_paged_prefill_causal_h32_kv8_d128_ps64": 3}},
		{"attempt3", proto.ModeHTTPRagged, nil, map[string]int{"gqa_ragged_prefill_causal_h32_kv8_d128": 3}},
	} {
		got := map[string]int{}
		for _, v := range read(t, filepath.Join(dir, c.folder), c.mode, c.planOnly, defs).verdicts {
			for _, candidate := range v.Candidates {
				got[candidate.Definition]++
			}
		}
		if !maps.Equal(got, c.fit) {
			t.Errorf("%s, plans of %v: %v, want %v", c.folder, c.planOnly, got, c.fit)
		}
	}
}

// yarnScale is the softmax scale of the recorded DeepSeek shape: 192^-0.5 × (0.1 × 0.707 × ln 40 + 1)².
var yarnScale = math.Pow(192, -0.5) * math.Pow(0.1*0.707*math.Log(40)+1, 2)

// TestRecorded_LatentAttention_HasTheScaleOfItsModel reads a recording of a real SGLang with a DeepSeek shape. Each run becomes a
// workload with YaRN's scale. The dumps of ragged runs have none: it comes from the paged plans of the same process, which were
// made after the first of these runs.
func TestRecorded_LatentAttention_HasTheScaleOfItsModel(t *testing.T) {
	t.Parallel()
	dir := goldentest.Unpacked(t, "../../testdata/recorded/sglang-0.5.16-h200-mla.tar.xz")
	defs := ownDefinitions(t)
	for _, c := range []struct {
		folder, definition string
		mode               proto.EngineMode
		want               int
	}{
		{"attempt1", "mla_paged_decode_h16_ckv512_kpe64_ps1", proto.ModeOffline, 3},
		{"attempt2", "mla_paged_prefill_causal_h16_ckv512_kpe64_ps1", proto.ModeHTTPPaged, 2}, // the third has one row and a plan that is not causal
		{"attempt3", "mla_ragged_prefill_causal_h16_qk192_vo128", proto.ModeHTTPRagged, 2},
	} {
		got := 0
		for _, v := range read(t, filepath.Join(dir, c.folder), c.mode, nil, defs).verdicts {
			for _, candidate := range v.Candidates {
				if candidate.Definition != c.definition {
					continue
				}
				got++
				i := slices.IndexFunc(candidate.Inputs, func(in proto.Input) bool { return in.Name == "sm_scale" })
				if i < 0 || math.Abs(candidate.Inputs[i].Scalar.Float/yarnScale-1) > 1e-6 {
					t.Errorf("%s, workload %s: inputs %+v, want sm_scale %v", c.definition, candidate.UUID, candidate.Inputs, yarnScale)
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: %d candidates, want %d", c.definition, got, c.want)
		}
	}
}
