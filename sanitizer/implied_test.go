package sanitizer_test

import (
	"bufio"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

// implied is the plan of m alone, as a worker ships it where only plans are dumped.
func implied(m *proto.Manifest) *proto.Manifest {
	out := *m
	out.Call, out.Plan, out.Implied, out.Beside = *m.Plan, nil, true, proto.BesideNothing
	out.Provenance.Mode = proto.ModeHTTPPaged
	return &out
}

func dtype(key, name string) proto.Value {
	return proto.Value{Key: key, Type: proto.ValueDType, String: name}
}

// typed is m with the element types in its plan that SGLang passes there.
func typed(m *proto.Manifest, keys ...string) *proto.Manifest {
	for _, key := range keys {
		set(m.Plan, dtype(key, "bfloat16"))
	}
	return m
}

// same compares what the dataset would get of two candidates.
func same(a, b *proto.Candidate) bool {
	x, y := *a, *b
	x.Notes, y.Notes = nil, nil
	return reflect.DeepEqual(x, y)
}

// TestConvert_Implied: a plan alone gives the workload that the run it stands for gives.
func TestConvert_Implied(t *testing.T) {
	t.Parallel()
	folded := sglangDecode()
	set(folded.Plan, i32("arg_1", 0, 6, 10, 11))
	set(folded.Plan, i32("arg_2", 8, 9, 10, 11, 4, 5, 12, 13, 14, 15, 16, 99))
	for name, c := range map[string]struct {
		m   *proto.Manifest
		def string
	}{
		"decode":                       {typed(sglangDecode(), "kwarg_q_data_type", "kwarg_data_type"), decodePS1},
		"decode, folded":               {typed(folded, "kwarg_q_data_type", "kwarg_data_type"), decodePS4},
		"decode in pages, own scale":   {typed(vllmDecode(), "kwarg_q_data_type"), decodePS4},
		"prefill":                      {typed(slotPrefill(), "kwarg_q_data_type", "kwarg_kv_data_type"), prefillDefinition("1", "")},
		"prefill in pages":             {typed(prefill(), "kwarg_q_data_type"), prefillDefinition("4", "batch_size")},
		"prefill, padded":              {typed(prefill(), "kwarg_q_data_type"), prefillDefinition("4", "len_indptr")},
		"ragged":                       {typed(ragged(), "kwarg_q_data_type"), raggedDefinition},
		"latent decode":                {typed(latent(false, 1, 1), "arg_11", "kwarg_kv_data_type"), mlaDecode},
		"latent decode, folded":        {typed(latent(false, 1, 1), "arg_11"), mlaPS4},
		"latent prefill":               {typed(latent(true, 2, 3), "arg_11"), mlaPrefill},
		"begin_forward, as older logs": {typed(sglangDecode(), "kwarg_q_data_type"), decodePS1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			def := definition(t, c.def)
			m := implied(c.m)
			if strings.HasPrefix(name, "begin_forward") {
				m.Call.Function = strings.Replace(m.Call.Function, ".plan", ".begin_forward", 1)
			}
			if ok, why := fitrace.PlanSuffices(def, string(proto.ModeHTTPPaged)); !ok {
				t.Errorf("the plan does not suffice: %s", why)
			}
			run, plan := accepted(t, c.m, def), accepted(t, m, def)
			if !same(run, plan) {
				t.Errorf("from the plan %+v\nfrom the run  %+v", plan, run)
			}
		})
	}
}

// TestConvert_ImpliedVariations changes one thing each in a plan that otherwise stands for its runs.
func TestConvert_ImpliedVariations(t *testing.T) {
	t.Parallel()
	decode := func() *proto.Manifest { return implied(typed(sglangDecode(), "kwarg_q_data_type")) }
	paged := func() *proto.Manifest { return implied(typed(slotPrefill(), "kwarg_q_data_type")) }
	rag := func() *proto.Manifest { return implied(typed(ragged(), "kwarg_q_data_type")) }
	mla := func() *proto.Manifest { return implied(typed(latent(false, 1, 1), "arg_11")) }
	fp16 := strings.ReplaceAll(decodePS1, "bfloat16", "float16")
	fp8 := strings.NewReplacer("8]:bfloat16 v_cache", "8]:float8_e4m3fn v_cache", "k_cache[num_pages,page_size,num_kv_heads,head_dim]:bfloat16 v_cache[num_pages,page_size,num_kv_heads,head_dim]:bfloat16",
		"k_cache[num_pages,page_size,num_kv_heads,head_dim]:float8_e4m3fn v_cache[num_pages,page_size,num_kv_heads,head_dim]:float8_e4m3fn").Replace(decodePS1)
	edit := func(m *proto.Manifest, args ...any) *proto.Manifest {
		for _, a := range args {
			if key, ok := a.(string); ok {
				drop(&m.Call, key)
				continue
			}
			set(&m.Call, a)
		}
		return m
	}
	for name, c := range map[string]struct {
		m              *proto.Manifest
		def            string
		reason, detail string
	}{
		"ragged mode":                {withMode(paged(), proto.ModeHTTPRagged), prefillDefinition("1", ""), sanitizer.RejectNotImplied, "cached prefixes only"},
		"offline":                    {withMode(paged(), proto.ModeOffline), prefillDefinition("1", ""), sanitizer.RejectNotImplied, "cached prefixes only"},
		"no mode":                    {withMode(paged(), ""), prefillDefinition("1", ""), sanitizer.RejectNotImplied, "cached prefixes only"},
		"no prefix":                  {withMode(edit(paged(), i32("arg_2", 0, 0, 0)), proto.ModeHTTPRagged), prefillDefinition("1", ""), sanitizer.RejectNotImplied, ""},
		"ragged decodes in any mode": {withMode(decode(), proto.ModeHTTPRagged), decodePS1, "", ""},
		"ragged prefill, any mode":   {withMode(rag(), ""), raggedDefinition, "", ""},

		"a run taken for a plan": {func() *proto.Manifest { m := sglangDecode(); m.Implied = true; return m }(), decodePS1, sanitizer.RejectNotImplied, "stands for no run"},
		"a plain function": {func() *proto.Manifest {
			m := manifest(call("rmsnorm", "", tensor("arg_0", "bfloat16", 7, 16)))
			m.Implied = true
			return m
		}(), "name n norm\ntags fi_api:rmsnorm\naxes n h=16\nin input[n,h]:bfloat16", sanitizer.RejectNotImplied, ""},
		"defect": {func() *proto.Manifest {
			m := decode()
			m.Defect = &proto.Defect{Reason: proto.DefectNoTraffic}
			return m
		}(), decodePS1, proto.DefectNoTraffic, ""},
		"unlogged metadata": {func() *proto.Manifest { m := mla(); m.PlanNote = proto.PlanUnloggedMeta; return m }(), mlaDecode, sanitizer.RejectPlanUnlogged, ""},

		"float16 is the default":       {edit(decode(), "kwarg_q_data_type"), fp16, "", ""},
		"not bfloat16 by default":      {edit(decode(), "kwarg_q_data_type"), decodePS1, sanitizer.RejectDType, "float16"},
		"type by name":                 {edit(decode(), proto.Value{Key: "kwarg_q_data_type", Type: proto.ValueString, String: "bfloat16"}), decodePS1, "", ""},
		"data_type is the cache's":     {edit(decode(), dtype("kwarg_data_type", "float8_e4m3fn")), fp8, "", ""},
		"kv_data_type goes first":      {edit(decode(), dtype("kwarg_data_type", "bfloat16"), dtype("kwarg_kv_data_type", "float8_e4m3fn")), fp8, "", ""},
		"data_type, for queries too":   {edit(decode(), value("kwarg_q_data_type", nil), dtype("kwarg_data_type", "bfloat16")), decodePS1, "", ""},
		"data_type, q_data_type unset": {edit(decode(), "kwarg_q_data_type", dtype("kwarg_data_type", "bfloat16")), decodePS1, sanitizer.RejectDType, "float16"},
		"no type at all":               {edit(decode(), value("kwarg_q_data_type", nil)), decodePS1, sanitizer.RejectInputMissing, "element type"},
		"latent without types":         {edit(mla(), "arg_11"), mlaDecode, sanitizer.RejectInputMissing, "element type"},
		"prefill knows no data_type":   {edit(paged(), dtype("kwarg_data_type", "float8_e4m3fn")), prefillDefinition("1", ""), "", ""},
		"another cache type":           {edit(paged(), dtype("kwarg_kv_data_type", "float8_e4m3fn")), prefillDefinition("1", ""), sanitizer.RejectDType, "float8_e4m3fn"},

		"other heads":           {edit(decode(), value("arg_4", 8)), decodePS1, sanitizer.RejectConstAxis, "num_qo_heads"},
		"other value width":     {edit(rag(), value("kwarg_head_dim_vo", 4)), raggedDefinition, sanitizer.RejectConstAxis, "head_dim is 4"},
		"no heads":              {edit(decode(), "arg_4"), decodePS1, sanitizer.RejectInputMissing, "num_qo_heads"},
		"several rows a decode": {edit(decode(), value("kwarg_q_len_per_req", 2)), decodePS1, sanitizer.RejectNotDecode, "6 rows for 3 requests"},
		"not causal":            {edit(paged(), value("kwarg_causal", false)), prefillDefinition("1", ""), sanitizer.RejectNotCausal, ""},
		"fewer keys than rows":  {edit(paged(), i32("arg_2", 0, 1, 7)), prefillDefinition("1", ""), sanitizer.RejectHalfAttention, "only 1 keys"},
		"indptr falls":          {edit(rag(), i32("arg_1", 0, 6, 5)), raggedDefinition, sanitizer.RejectIndptr, "falls"},
		"no rows' ends":         {edit(rag(), "arg_1"), raggedDefinition, sanitizer.RejectInputMissing, "qo_indptr"},
		"rows without values":   {edit(rag(), tensor("arg_1", "int32", 3)), raggedDefinition, sanitizer.RejectNoContent, "qo_indptr"},
		"no keys":               {edit(decode(), i32("arg_1", 0, 0, 0, 0)), decodePS1, sanitizer.RejectAxisZero, "kv_indices"},
		"no requests' ends":     {edit(decode(), "arg_1"), decodePS1, sanitizer.RejectInputMissing, "kv_indptr"},
		"slots out of line":     {edit(decode(), i32("arg_2", 9, 10, 4, 12, 13, 14)), decodePS4, sanitizer.RejectFold, "slot 9"},
		"a prefill, as decode":  {edit(mla(), i32("arg_1", 0, 2, 3)), mlaDecode, sanitizer.RejectNotDecode, ""},
		"pool of a fixed size":  {decode(), strings.Replace(decodePS1, " num_pages ", " num_pages=20 ", 1), sanitizer.RejectNotImplied, "num_pages"},
		"pools of two sizes":    {decode(), strings.NewReplacer(" num_pages ", " num_pages other_pages ", "v_cache[num_pages", "v_cache[other_pages").Replace(decodePS1), sanitizer.RejectAxisUnsolved, "other_pages"},
		"an input of run alone": {decode(), strings.Replace(decodePS1, "sm_scale:", "k_scale:float32 sm_scale:", 1), sanitizer.RejectInputMissing, "k_scale"},
		"no wrapper we know":    {func() *proto.Manifest { m := decode(); m.Call.Function = "PodWithPagedKVCacheWrapper.plan"; return m }(), strings.Replace(decodePS1, "decode.BatchDecode", "pod.Pod", 1), sanitizer.RejectNotImplied, ""},
		"no definition's":       {func() *proto.Manifest { m := decode(); m.Call.Function = "OtherWrapper.plan"; return m }(), decodePS1, sanitizer.RejectNoDefinition, "OtherWrapper.run"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if def := definition(t, c.def); c.reason == "" {
				accepted(t, c.m, def)
			} else {
				rejected(t, c.m, def, c.reason, c.detail)
			}
		})
	}
}

func withMode(m *proto.Manifest, mode proto.EngineMode) *proto.Manifest {
	m.Provenance.Mode = mode
	return m
}

// TestConvert_GoldenImplied: over the recorded corpus, a plan gives for each definition that it suffices for just what its runs
// give. Calls of other engines than SGLang are in it, whose plans do not tell the types of their runs; then it gives nothing.
func TestConvert_GoldenImplied(t *testing.T) {
	t.Parallel()
	goldentest.Dir(t) // or all of it is skipped
	compared := make(chan int, 64)
	t.Run("corpus", func(t *testing.T) {
		eachGoldenCase(t, func(t *testing.T, file, dumps string, defs []*fitrace.Definition) {
			compared <- judgeImplied(t, file, dumps, defs)
		})
	})
	close(compared)
	total := 0
	for n := range compared {
		total += n
	}
	t.Logf("%d workloads from plans", total)
	if total < 300 {
		t.Errorf("only %d workloads were compared", total)
	}
}

func judgeImplied(t *testing.T, file, dumps string, defs []*fitrace.Definition) (compared int) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	suffices := slices.DeleteFunc(slices.Clone(defs), func(d *fitrace.Definition) bool {
		ok, _ := fitrace.PlanSuffices(d, string(proto.ModeHTTPPaged))
		return !ok
	})
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l truth
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		key := l.Dump + "/" + l.Flush
		m, ok := goldenManifest(t, dumps, l)
		if !ok || seen[key] || m.Plan == nil {
			continue
		}
		if strings.Contains(m.Call.Function, ".forward") {
			continue // before 0.6 forward was logged itself, with a scale that its plan does not have; no SGLang logs with it
		}
		seen[key] = true
		run, plan := convert(t, m, suffices...).Verdict, convert(t, implied(m), suffices...).Verdict
		for i := range run.Candidates {
			want := &run.Candidates[i]
			at := slices.IndexFunc(plan.Candidates, func(c proto.Candidate) bool { return c.Definition == want.Definition })
			if at < 0 {
				t.Errorf("%s for %s: nothing from the plan: %+v", key, want.Definition, plan.Rejections)
				continue
			}
			if got := &plan.Candidates[at]; !same(got, want) {
				t.Errorf("%s for %s: from the plan %+v\nfrom the run %+v", key, want.Definition, got, want)
			}
			compared++
		}
	}
	return compared
}
