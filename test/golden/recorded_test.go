package golden_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

// The project's own recording of a real SGLang: each mode's calls fit the definitions that they are of, runs and their plans alike.
func TestRecorded(t *testing.T) {
	t.Parallel()
	dir := goldentest.Unpacked(t, "../../testdata/recorded/sglang-0.5.16-h200.tar.xz")
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
