package coordinator

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

const indptrInputs = `"q": {"shape": ["n", "h"], "dtype": "bfloat16"}, "kv_indptr": {"shape": ["n"], "dtype": "int32"}`

// The definitions of the tables, by short name.
func planDefs(t testing.TB) map[string]*fitrace.Definition {
	qo := indptrInputs + `, "qo_indptr": {"shape": ["n"], "dtype": "int32"}`
	decode, prefill := "fi_api:flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper", "fi_api:flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper"
	ragged, mla := "fi_api:flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper", "fi_api:flashinfer.mla.BatchMLAPagedAttentionWrapper"
	defs := map[string]*fitrace.Definition{}
	for _, d := range []string{
		defJSON("dec_tp8_ps1", "gqa_paged", "1", indptrInputs, decode, "tp:8"),
		defJSON("dec_tp8_ps64", "gqa_paged", "64", indptrInputs, decode+".run", "tp:8"),
		defJSON("dec_tp1_ps1", "gqa_paged", "1", indptrInputs, decode, "tp:1"),
		defJSON("pre_tp8_ps1", "gqa_paged", "1", qo, prefill, "tp:8"),
		defJSON("rag_tp8", "gqa_ragged", "", qo, ragged, "tp:8"),
		defJSON("mla_dec_tp8_ps1", "mla_paged", "1", indptrInputs, mla, "tp:8"),
		defJSON("mla_pre_tp8_ps1", "mla_paged", "1", qo, mla, "tp:8"),
		defJSON("norm", "rmsnorm", "", "", "fi_api:flashinfer.norm.rmsnorm"),
		defJSON("moe_ep8", "moe", "", "", "fi_api:flashinfer.fused_moe.trtllm_fp8_block_scale_moe", "ep:8"),
		defJSON("gdn_pre_tp8", "gdn", "", "", "fi_api:flashinfer.gdn.chunk_gated_delta_rule", "tp:8", "stage:prefill"),
		defJSON("mamba_tp2", "mamba_ssu", "", "", "fi_api:flashinfer.mamba.selective_state_update", "tp:2"),
		defJSON("untagged", "gemm", "", ""),
	} {
		def := parseDef(t, d)
		defs[def.Name] = def
	}
	return defs
}

func specFor(engine proto.EngineSpec, batchSizes []int, defs ...*fitrace.Definition) *proto.Collection {
	c := &proto.Collection{ID: "c-test", Engine: engine, BatchSizes: batchSizes, Publish: proto.PublishSpec{WorkloadsPerBatch: 4}}
	for _, d := range defs {
		c.Definitions = append(c.Definitions, proto.DefinitionRef{Name: d.Name, OpType: d.OpType, Digest: d.Digest()})
	}
	slices.SortFunc(c.Definitions, func(a, b proto.DefinitionRef) int { return strings.Compare(a.Name, b.Name) })
	return c
}

// brief is a task in one line.
func brief(t proto.Task) string {
	var names []string
	for _, d := range t.Definitions {
		names = append(names, d.Name)
	}
	return fmt.Sprintf("%s %s tp%d ep%d ps%d bs%d: %s", t.ID, t.Engine.Mode, t.Engine.TP, t.Engine.EP, t.Engine.PageSize, t.BatchSize,
		strings.Join(names, " "))
}

func TestNewPlan(t *testing.T) {
	t.Parallel()
	all := planDefs(t)
	sim := proto.EngineSpec{Kind: proto.EngineSimulate}
	for _, tc := range []struct {
		name     string
		engine   proto.EngineSpec
		batches  []int
		defs     string
		want     []string
		warnings []string
	}{
		{name: "batch sizes in the order given", engine: sim, batches: []int{64, 8}, defs: "dec_tp1_ps1",
			want: []string{"t000 offline tp1 ep1 ps1 bs64: dec_tp1_ps1", "t001 offline tp1 ep1 ps1 bs8: dec_tp1_ps1"}},
		{name: "page sizes and ranks part engines", engine: sim, defs: "dec_tp8_ps64 dec_tp1_ps1 dec_tp8_ps1",
			want: []string{"t000 offline tp1 ep1 ps1 bs8: dec_tp1_ps1", "t001 offline tp8 ep1 ps1 bs8: dec_tp8_ps1",
				"t002 offline tp8 ep1 ps64 bs8: dec_tp8_ps64"}},
		{name: "modes part engines", engine: sim, defs: "rag_tp8 pre_tp8_ps1 dec_tp8_ps1",
			want: []string{"t000 offline tp8 ep1 ps1 bs8: dec_tp8_ps1", "t001 http-paged tp8 ep1 ps1 bs8: pre_tp8_ps1",
				"t002 http-ragged tp8 ep1 ps0 bs8: rag_tp8"}},
		{name: "the MLA wrapper is decode or prefill by its inputs", engine: sim, defs: "mla_pre_tp8_ps1 mla_dec_tp8_ps1",
			want: []string{"t000 offline tp8 ep1 ps1 bs8: mla_dec_tp8_ps1", "t001 http-paged tp8 ep1 ps1 bs8: mla_pre_tp8_ps1"}},
		{name: "riders ride along and bring their ep", engine: sim, defs: "norm moe_ep8 mla_dec_tp8_ps1",
			want: []string{"t000 offline tp8 ep8 ps1 bs8: mla_dec_tp8_ps1 moe_ep8 norm"}},
		{name: "a prefill rider prefers a prefill engine", engine: sim, defs: "gdn_pre_tp8 dec_tp8_ps1 rag_tp8 norm",
			want: []string{"t000 offline tp8 ep1 ps1 bs8: dec_tp8_ps1 norm", "t001 http-ragged tp8 ep1 ps0 bs8: gdn_pre_tp8 rag_tp8"}},
		{name: "a rider of another tp needs its own engine", engine: sim, defs: "mamba_tp2 dec_tp8_ps1",
			want: []string{"t000 offline tp2 ep1 ps0 bs8: mamba_tp2", "t001 offline tp8 ep1 ps1 bs8: dec_tp8_ps1"}},
		{name: "experts do not ride where their ranks do not divide", engine: sim, defs: "moe_ep8 mamba_tp2",
			want: []string{"t000 offline tp2 ep1 ps0 bs8: mamba_tp2", "t001 offline tp8 ep8 ps0 bs8: moe_ep8"}},
		{name: "only riders", engine: sim, defs: "norm", want: []string{"t000 offline tp1 ep1 ps0 bs8: norm"}},
		{name: "flags win, with a warning", engine: proto.EngineSpec{Kind: proto.EngineSimulate, TP: 2, PageSize: 1}, defs: "dec_tp8_ps64 norm",
			want:     []string{"t000 offline tp2 ep1 ps1 bs8: dec_tp8_ps64 norm"},
			warnings: []string{"--page-size 1", "--tp 2"}},
		{name: "what has no API is left out, with a warning", engine: sim, defs: "norm untagged",
			want: []string{"t000 offline tp1 ep1 ps0 bs8: norm"}, warnings: []string{"untagged is left out"}},
		{name: "a replay is one task", engine: proto.EngineSpec{Kind: proto.EngineReplay, DumpDir: "/d"}, batches: []int{16, 8},
			defs: "rag_tp8 pre_tp8_ps1 dec_tp1_ps1 mamba_tp2",
			want: []string{"t000 any tp1 ep1 ps0 bs16: dec_tp1_ps1 mamba_tp2 pre_tp8_ps1 rag_tp8"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var defs []*fitrace.Definition
			for _, n := range strings.Fields(tc.defs) {
				defs = append(defs, all[n])
			}
			if tc.batches == nil {
				tc.batches = []int{8}
			}
			plan, err := NewPlan(specFor(tc.engine, tc.batches, defs...), defs)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, task := range plan.Tasks {
				if task.Index != i {
					t.Errorf("task %s has index %d", task.ID, task.Index)
				}
				if err := task.Validate(); err != nil {
					t.Errorf("task %s: %v", task.ID, err)
				}
				got = append(got, brief(task))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(tc.want, "\n  "))
			}
			if len(plan.Warnings) != len(tc.warnings) {
				t.Fatalf("warnings %q, want %d", plan.Warnings, len(tc.warnings))
			}
			for i, w := range tc.warnings {
				if !strings.Contains(plan.Warnings[i], w) {
					t.Errorf("warning %q does not say %q", plan.Warnings[i], w)
				}
			}
		})
	}
}

func TestNewPlan_Include(t *testing.T) {
	t.Parallel()
	all := planDefs(t)
	defs := []*fitrace.Definition{all["rag_tp8"], all["norm"]}
	spec := specFor(proto.EngineSpec{Kind: proto.EngineSimulate}, []int{1}, defs...)
	plan, err := NewPlan(spec, defs)
	if err != nil {
		t.Fatal(err)
	}
	w := "BatchPrefillWithRaggedKVCacheWrapper."
	want := []string{w + "forward", w + "forward_return_lse", w + "plan", w + "run", "rmsnorm"}
	if got := plan.Tasks[0].Dump.Include; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	spec.Dump.Include = []string{"*"}
	if plan, err = NewPlan(spec, defs); err != nil || !slices.Equal(plan.Tasks[0].Dump.Include, []string{"*"}) {
		t.Errorf("--include-pattern is not kept: %v, %v", plan, err)
	}
	report, err := plan.Report("c", defs)
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Join(report.Tasks[0].Env, " ")
	for _, v := range []string{"FLASHINFER_DUMP_INCLUDE=*", "FLASHINFER_LOGLEVEL=10", "FLASHINFER_DUMP_DIR=" + DumpDirPlaceholder} {
		if !strings.Contains(env, v) {
			t.Errorf("environment %s lacks %s", env, v)
		}
	}
}

func TestNewPlan_Refuses(t *testing.T) {
	t.Parallel()
	all := planDefs(t)
	sim := proto.EngineSpec{Kind: proto.EngineSimulate}
	for _, tc := range []struct {
		name string
		spec *proto.Collection
		defs []*fitrace.Definition
	}{
		{"nothing collectable", specFor(sim, []int{1}, all["untagged"]), []*fitrace.Definition{all["untagged"]}},
		{"a definition is missing", specFor(sim, []int{1}, all["norm"], all["rag_tp8"]), []*fitrace.Definition{all["norm"]}},
		{"a definition too many", specFor(sim, []int{1}, all["norm"]), []*fitrace.Definition{all["norm"], all["rag_tp8"]}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := NewPlan(tc.spec, tc.defs)
			if fail := proto.AsFailure(err, ""); err == nil || fail.Code != proto.CodeBadCollection {
				t.Errorf("got %v, want bad_collection", err)
			}
		})
	}
}

// Whatever is selected: every collectable definition is in exactly one group, each group's engine is what each of its
// definitions asks for, no two groups could have been one, and the order of the definitions changes nothing.
func TestNewPlan_Properties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		apis := []string{"decode.BatchDecodeWithPagedKVCacheWrapper", "prefill.BatchPrefillWithPagedKVCacheWrapper",
			"prefill.BatchPrefillWithRaggedKVCacheWrapper", "mla.BatchMLAPagedAttentionWrapper", "norm.rmsnorm", "gemm.bmm_fp8", ""}
		var defs []*fitrace.Definition
		for i := range rapid.IntRange(1, 12).Draw(t, "definitions") {
			var tags []string
			if api := rapid.SampledFrom(apis).Draw(t, "api"); api != "" || i == 0 {
				if api == "" {
					api = "norm.rmsnorm"
				}
				tags = append(tags, "fi_api:flashinfer."+api)
			}
			for _, f := range []string{"tp:", "ep:"} {
				if n := rapid.SampledFrom([]string{"", "1", "2", "8"}).Draw(t, f); n != "" {
					tags = append(tags, f+n)
				}
			}
			if s := rapid.SampledFrom([]string{"", "stage:prefill", "stage:decode"}).Draw(t, "stage"); s != "" {
				tags = append(tags, s)
			}
			page := rapid.SampledFrom([]string{"", "1", "64"}).Draw(t, "page")
			d, err := fitrace.ParseDefinition([]byte(defJSON(fmt.Sprintf("d%02d", i), "op", page, indptrInputs, tags...)), "test")
			if err != nil {
				t.Fatal(err)
			}
			defs = append(defs, d)
		}
		sim := setting{engine: proto.EngineSpec{Kind: proto.EngineSimulate}}
		spec := specFor(sim.engine, []int{8, 4}, defs...)
		plan, err := NewPlan(spec, defs)
		if err != nil {
			t.Fatal(err)
		}
		shuffled, err := NewPlan(spec, rapid.Permutation(defs).Draw(t, "order"))
		if err != nil || !reflect.DeepEqual(plan, shuffled) {
			t.Fatalf("another order gives another plan: %v", err)
		}
		served := map[string]int{}
		for _, task := range plan.Tasks {
			for _, r := range task.Definitions {
				served[r.Name]++
				n, _ := sim.needOf(defs[slices.IndexFunc(defs, func(d *fitrace.Definition) bool { return d.Name == r.Name })])
				if n.Mode != proto.ModeAny && n.Mode != task.Engine.Mode || n.TP != 0 && n.TP != task.Engine.TP ||
					n.EP != 0 && n.EP != task.Engine.EP || n.PageSize != 0 && n.PageSize != task.Engine.PageSize {
					t.Fatalf("%s needs %+v and is in %s", r.Name, n, brief(task))
				}
			}
		}
		usable, _ := withAPI(defs)
		for _, d := range usable {
			if served[d.Name] != 2 {
				t.Fatalf("%s is in %d tasks, want one a batch size", d.Name, served[d.Name])
			}
		}
		needs := map[string]Need{}
		for _, d := range usable {
			needs[d.Name], _ = sim.needOf(d)
		}
		groups := sim.group(usable, needs)
		for i, a := range groups {
			for _, b := range groups[:i] {
				if _, ab := a.need.join(b.need); ab {
					if _, ba := b.need.join(a.need); ba {
						t.Fatalf("groups %+v and %+v could be one", a.need, b.need)
					}
				}
			}
		}
	})
}

func TestNewResolution(t *testing.T) {
	t.Parallel()
	all := planDefs(t)
	defs := []*fitrace.Definition{all["dec_tp8_ps64"], all["norm"], all["rag_tp8"], all["untagged"]}
	r := NewResolution(proto.EngineSpec{Kind: proto.EngineSimulate}, DumpAuto, defs)
	want := []struct {
		name        string
		mode        proto.EngineMode
		group       int
		collectable bool
	}{{"dec_tp8_ps64", proto.ModeOffline, 1, true}, {"norm", proto.ModeAny, 1, true}, {"rag_tp8", proto.ModeHTTPRagged, 2, true}, {"untagged", "", 0, false}}
	for i, w := range want {
		d := r.Definitions[i]
		if d.Name != w.name || d.Mode != w.mode || d.Group != w.group || d.Collectable != w.collectable || d.Why == "" {
			t.Errorf("got %+v, want %+v", d, w)
		}
	}
	header, rows := r.Table()
	for _, row := range rows {
		if len(row) != len(header) {
			t.Errorf("row %q does not fit header %q", row, header)
		}
	}
	data, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(data), `"tp":8,"ep":0,"page_size":64`) {
		t.Errorf("JSON %s, %v", data, err)
	}
}
