package coordinator

import (
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// realDefs reads definitions of the project's own dataset by name.
func realDefs(t testing.TB, names ...string) []*fitrace.Definition {
	t.Helper()
	defs, warnings, err := Resolve("../testdata/dataset", Selection{Names: names})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	return defs
}

const (
	decodePS1  = "gqa_paged_decode_h32_kv8_d128_ps1"
	decodePS64 = "gqa_paged_decode_h32_kv8_d128_ps64"
	pagedPS1   = "gqa_paged_prefill_causal_h32_kv8_d128_ps1"
	raggedGQA  = "gqa_ragged_prefill_causal_h32_kv8_d128"
	mlaDecode  = "mla_paged_decode_h16_ckv512_kpe64_ps1"
	mlaPrefill = "mla_paged_prefill_causal_h16_ckv512_kpe64_ps1"
	norm       = "rmsnorm_h4096"
	moeBlock   = "moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e64_h1024_i512"
)

const (
	decodeClass = "BatchDecodeWithPagedKVCacheWrapper"
	pagedClass  = "BatchPrefillWithPagedKVCacheWrapper"
	raggedClass = "BatchPrefillWithRaggedKVCacheWrapper"
	mlaClass    = "BatchMLAPagedAttentionWrapper"

	// decodeRuns are the patterns of decode with its runs, subclasses too.
	decodeRuns = "BatchDecodeWithAttentionSinkWrapper.plan BatchDecodeWithAttentionSinkWrapper.run " + decodeClass + ".plan " + decodeClass + ".run CUDAGraph" + decodeClass + ".plan CUDAGraph" + decodeClass + ".run"
)

// What a task dumps, by what was asked for, the mode and the definitions that share the engine.
func TestDumpOf(t *testing.T) {
	t.Parallel()
	sgl, sim := proto.EngineSGLang, proto.EngineSimulate
	for _, tc := range []struct {
		name     string
		kind     proto.EngineKind
		dump     string
		mode     proto.EngineMode
		defs     string
		include  []string // asked for
		what     string
		planOnly string
		patterns string
		refused  string
	}{
		{name: "decode is in its plan", kind: sgl, dump: DumpAuto, mode: proto.ModeOffline, defs: decodePS1,
			what: DumpPlan, planOnly: decodeClass, patterns: decodeClass + ".plan CUDAGraph" + decodeClass + ".plan"},
		{name: "so it is over pages", kind: sgl, dump: DumpAuto, mode: proto.ModeHTTPPaged, defs: decodePS64,
			what: DumpPlan, planOnly: decodeClass, patterns: decodeClass + ".plan CUDAGraph" + decodeClass + ".plan"},
		{name: "paged prefill is, where the ragged path is off", kind: sgl, dump: DumpAuto, mode: proto.ModeHTTPPaged, defs: pagedPS1,
			what: DumpPlan, planOnly: pagedClass, patterns: pagedClass + ".plan"},
		{name: "where it is on, only runs tell", kind: sgl, dump: DumpAuto, mode: proto.ModeHTTPRagged, defs: pagedPS1,
			what: DumpRun, patterns: "BatchAttentionWithAttentionSinkWrapper.plan BatchAttentionWithAttentionSinkWrapper.run " + pagedClass + ".plan " + pagedClass + ".run"},
		{name: "ragged", kind: sgl, dump: DumpAuto, mode: proto.ModeHTTPRagged, defs: raggedGQA,
			what: DumpPlan, planOnly: raggedClass, patterns: raggedClass + ".plan"},
		{name: "latent, both stages", kind: sgl, dump: DumpAuto, mode: proto.ModeHTTPPaged, defs: mlaDecode + " " + mlaPrefill,
			what: DumpPlan, planOnly: mlaClass, patterns: mlaClass + ".plan"},
		{name: "a norm rides along by its runs", kind: sgl, dump: DumpAuto, mode: proto.ModeOffline, defs: decodePS1 + " " + norm,
			what: DumpRun, planOnly: decodeClass, patterns: decodeClass + ".plan CUDAGraph" + decodeClass + ".plan rmsnorm"},
		{name: "runs, if asked", kind: sgl, dump: DumpRun, mode: proto.ModeOffline, defs: decodePS1,
			what: DumpRun, patterns: decodeRuns},
		{name: "plans, if asked", kind: sgl, dump: DumpPlan, mode: proto.ModeOffline, defs: decodePS1,
			what: DumpPlan, planOnly: decodeClass, patterns: decodeClass + ".plan CUDAGraph" + decodeClass + ".plan"},
		{name: "plans of what has none", kind: sgl, dump: DumpPlan, mode: proto.ModeOffline, defs: decodePS1 + " " + norm, refused: norm + ": "},
		{name: "plans of paged prefill in the wrong mode", kind: sgl, dump: DumpPlan, mode: proto.ModeHTTPRagged, defs: pagedPS1, refused: "cached prefixes"},
		{name: "simulated dumps are runs", kind: sim, dump: DumpAuto, mode: proto.ModeOffline, defs: decodePS1,
			what: DumpRun, patterns: decodeRuns},
		{name: "unless asked", kind: sim, dump: DumpPlan, mode: proto.ModeOffline, defs: decodePS1,
			what: DumpPlan, planOnly: decodeClass, patterns: decodeClass + ".plan CUDAGraph" + decodeClass + ".plan"},
		{name: "patterns of one's own may hold runs", kind: sgl, dump: DumpAuto, mode: proto.ModeOffline, defs: decodePS1, include: []string{"*"},
			what: DumpRun, patterns: "*"},
		{name: "unless plans are asked for, too", kind: sgl, dump: DumpPlan, mode: proto.ModeOffline, defs: decodePS1, include: []string{"*.plan"},
			what: DumpPlan, planOnly: decodeClass, patterns: "*.plan"},
		{name: "nothing, whatever needs runs", kind: sgl, dump: DumpNone, mode: proto.ModeOffline, defs: decodePS1 + " " + norm,
			what: DumpNone, patterns: decodeRuns + " rmsnorm"},
		{name: "nothing, patterns or not", kind: sgl, dump: DumpNone, mode: proto.ModeHTTPRagged, defs: pagedPS1, include: []string{"*"},
			what: DumpNone, patterns: "*"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := setting{engine: proto.EngineSpec{Kind: tc.kind}, dump: tc.dump}
			got, err := s.dumpOf(proto.DumpSpec{Count: 7, What: tc.dump, Include: tc.include}, tc.mode, realDefs(t, strings.Fields(tc.defs)...))
			if tc.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refused) || proto.AsFailure(err, "").Code != proto.CodeBadCollection {
					t.Errorf("got %v, want a refusal that says %q", err, tc.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.What != tc.what || strings.Join(got.PlanOnly, " ") != tc.planOnly || strings.Join(got.Include, " ") != tc.patterns || got.Count != 7 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// One definition that needs runs keeps them for the whole class.
func TestDumpOf_OneNeedsRuns(t *testing.T) {
	t.Parallel()
	pool := `"kv_indptr": {"shape": ["n"], "dtype": "int32"}, "k_scales": {"shape": ["n"], "dtype": "float32"}`
	scaled := parseDef(t, defJSON("scaled", "gqa_paged", "1", pool, "fi_api:flashinfer.decode."+decodeClass))
	s := setting{engine: proto.EngineSpec{Kind: proto.EngineSGLang}, dump: DumpAuto}
	plain := realDefs(t, decodePS1)[0]
	for _, defs := range [][]*fitrace.Definition{{plain, scaled}, {scaled, plain}} {
		got, err := s.dumpOf(proto.DumpSpec{}, proto.ModeOffline, defs)
		if err != nil || got.What != DumpRun || len(got.PlanOnly) > 0 || !slices.Contains(got.Include, decodeClass+".run") {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}
