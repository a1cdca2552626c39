package coordinator

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

func sglangOn(release, gpu string) proto.EngineSpec {
	return proto.EngineSpec{Kind: proto.EngineSGLang, ModelPath: "m/m", SGLang: release, GPUType: gpu}
}

// A task for SGLang says all that a launch needs: the mode by the definitions, ranks and pages by their tags, the flags that
// two of them need together, and no definition beside one that it could not share a server with.
func TestNewPlan_SGLang(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		engine proto.EngineSpec
		defs   string
		want   []string
	}{
		{"decode, offline, a page size a server", sglangOn("0.5.16", "h200"), decodePS1 + " " + decodePS64, []string{
			"t000 offline tp1 ep1 ps1 bs8: " + decodePS1, "t001 offline tp1 ep1 ps64 bs8: " + decodePS64}},
		{"the three ways of attention", sglangOn("0.5.16", "h200"), decodePS1 + " " + pagedPS1 + " " + raggedGQA, []string{
			"t000 offline tp1 ep1 ps1 bs8: " + decodePS1, "t001 http-paged tp1 ep1 ps1 bs8: " + pagedPS1, "t002 http-ragged tp1 ep1 ps0 bs8: " + raggedGQA}},
		{"latent attention, by its stage", sglangOn("0.5.16", "h200"), mlaDecode + " " + mlaPrefill, []string{
			"t000 offline tp1 ep1 ps1 bs8: " + mlaDecode, "t001 http-paged tp1 ep1 ps1 bs8: " + mlaPrefill}},
		{"what every pass calls rides along", sglangOn("0.5.16", "h200"), norm + " " + pagedPS1, []string{
			"t000 http-paged tp1 ep1 ps1 bs8: " + pagedPS1 + " " + norm}},
		{"the ranks of a definition's tag come before the catalogue's, those before one",
			proto.EngineSpec{Kind: proto.EngineSGLang, ModelPath: "m", ModelFlags: []string{"--tp-size 4", "--page-size 16"}}, norm + " " + decodePS1, []string{
				"t000 offline tp1 ep1 ps1 bs8: " + decodePS1 + " " + norm}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			defs := realDefs(t, strings.Fields(tc.defs)...)
			spec := specFor(tc.engine, []int{8}, defs...)
			spec.Dump.What, spec.Traffic = DumpAuto, proto.Traffic{OSL: 64, ISL: 64}
			plan, err := NewPlan(spec, defs)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, task := range plan.Tasks {
				got = append(got, brief(task))
				if http := task.Engine.Mode != proto.ModeOffline; http != (task.Traffic.OSL == 1) {
					t.Errorf("%s has an osl of %d", task.Engine.Mode, task.Traffic.OSL)
				}
				if slices.ContainsFunc(task.Engine.ModelFlags, func(f string) bool { return strings.HasPrefix(f, "--tp-size") || strings.HasPrefix(f, "--page-size") }) {
					t.Errorf("model flags %q hold what the task says itself", task.Engine.ModelFlags)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(tc.want, "\n  "))
			}
		})
	}
}

// The catalogue's ranks hold where no definition says any, and its other flags stay.
func TestNewPlan_Catalogued(t *testing.T) {
	t.Parallel()
	defs := realDefs(t, norm)
	defs[0].Tags = slices.DeleteFunc(slices.Clone(defs[0].Tags), func(tag string) bool { return strings.HasPrefix(tag, "tp:") })
	spec := specFor(proto.EngineSpec{Kind: proto.EngineSGLang, ModelPath: "m", ModelFlags: []string{"--tp-size 4", "--ep-size 2", "--page-size 16", "--trust-remote-code"}}, []int{8}, defs...)
	plan, err := NewPlan(spec, defs)
	if err != nil {
		t.Fatal(err)
	}
	if got := brief(plan.Tasks[0]); got != "t000 offline tp4 ep2 ps16 bs8: "+norm || !slices.Equal(plan.Tasks[0].Engine.ModelFlags, []string{"--trust-remote-code"}) {
		t.Errorf("got %s with %q", got, plan.Tasks[0].Engine.ModelFlags)
	}
	spec.Engine.TP = 2
	if plan, err = NewPlan(spec, defs); err != nil || plan.Tasks[0].Engine.TP != 2 {
		t.Errorf("--tp does not win: %s, %v", brief(plan.Tasks[0]), err)
	}
}

// Flags that contradict each other part servers.
func TestNewPlan_RequirementsPart(t *testing.T) {
	t.Parallel()
	defs := append(realDefs(t, decodePS1), parseDef(t, defJSON("xqa", "gqa_paged", "64", indptrInputs, "fi_api:flashinfer.decode.trtllm_batch_decode_with_kv_cache")))
	s := setting{engine: sglangOn("0.5.16", "b200"), dump: DumpAuto}
	_, a := s.needOf(defs[0])
	_, b := s.needOf(defs[1])
	if a.Verdict != reach.Reachable || b.Verdict != reach.Reachable || reach.Compatible(a, b) {
		t.Fatalf("these must contradict each other for this test: %+v, %+v", a, b)
	}
	s.engine.PageSize = 64 // so that nothing but the flags keeps them apart
	groups, _ := s.groups(defs)
	if len(groups) != 2 {
		t.Errorf("%d servers, want 2: %+v", len(groups), groups[0].need)
	}
}

// What SGLang never calls is refused before anything runs where it was named, and left out where a wide selection brought it.
func TestPrepare_Unreachable(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, tags := range map[string][]string{
		"top_k":  {"fi_api:flashinfer.sampling.top_k_sampling_from_probs"},
		"top_p":  {"fi_api:flashinfer.sampling.top_p_sampling_from_probs"},
		"both":   {"fi_api:flashinfer.sampling.top_k_top_p_sampling_from_probs"},
		"no_one": {"fi_api:flashinfer.sampling.of_another_planet"},
	} {
		writeDef(t, root, "sampling", name, defJSON(name, "sampling", "", `"probs": {"shape": ["n", "h"], "dtype": "float32"}`, tags...))
	}
	r := DefaultRequest()
	r.TraceDir, r.Engine, r.ModelPath = root, proto.EngineSGLang, "m/m"

	r.Names = []string{"top_k", "both", "top_p"}
	_, err := Prepare(r)
	fail := proto.AsFailure(err, "")
	if err == nil || fail.Code != proto.CodeUnreachable {
		t.Fatalf("got %v, want unreachable", err)
	}
	for _, want := range []string{"top_k (top_k_sampling_from_probs)", "top_p (top_p_sampling_from_probs)", "top_k_top_p_sampling_from_probs is called instead", "sampler.py:"} {
		if !strings.Contains(fail.Message, want) {
			t.Errorf("%q does not say %q", fail.Message, want)
		}
	}
	if strings.Contains(fail.Message, "both (") {
		t.Errorf("%q is about what can be reached", fail.Message)
	}

	r.Names, r.All = nil, true
	s, err := Prepare(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Plan.Tasks[0].Definitions; len(got) != 2 || got[0].Name != "both" || got[1].Name != "no_one" || len(s.Collection.Definitions) != 2 {
		t.Errorf("tasks are for %+v", got)
	}
	said := strings.Join(append(s.Warnings, s.Plan.Warnings...), "\n")
	for _, want := range []string{"left out: top_k (", "left out: top_p (", "no_one: nothing is known of of_another_planet", "the worker looks for it"} {
		if !strings.Contains(said, want) {
			t.Errorf("the warnings do not say %q:\n%s", want, said)
		}
	}

	r.All, r.OpTypes = false, []string{"sampling"}
	for _, name := range []string{"both", "no_one"} {
		if err := os.Remove(filepath.Join(root, "definitions", "sampling", name+".json")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = Prepare(r); err == nil || proto.AsFailure(err, "").Code != proto.CodeUnreachable {
		t.Errorf("nothing is left: %v", err)
	}
	r.Engine = proto.EngineSimulate
	if _, err = Prepare(r); err != nil {
		t.Errorf("simulation takes all: %v", err)
	}
}

// A flag that the release planned for does not take is an error at submission; where the node's own release decides, a warning.
func TestPrepare_FlagOfAnotherRelease(t *testing.T) {
	t.Parallel()
	r := DefaultRequest()
	r.TraceDir, r.Engine, r.ModelPath, r.Names = "../testdata/dataset", proto.EngineSGLang, "m/m", []string{decodePS1}
	r.ServerFlags, r.SGLang = []string{"--no-such-flag"}, "0.5.16"
	if _, err := Prepare(r); err == nil || proto.AsFailure(err, "").Code != proto.CodeBadServerFlag {
		t.Errorf("got %v, want bad_server_flag", err)
	}
	r.SGLang = ""
	s, err := Prepare(r)
	if err != nil {
		t.Fatal(err)
	}
	said := slices.DeleteFunc(s.Warnings, func(w string) bool { return !strings.Contains(w, "--no-such-flag") })
	if len(said) != 1 || !strings.Contains(said[0], "another release may take it") {
		t.Errorf("%d tasks say %q, want it once", len(s.Plan.Tasks), said)
	}
}

// The offline Engine takes token ids: a chat with it is refused before weights are loaded.
func TestPrepare_ChatOffline(t *testing.T) {
	t.Parallel()
	r := DefaultRequest()
	r.TraceDir, r.Engine, r.ModelPath, r.Names = "../testdata/dataset", proto.EngineSGLang, "m/m", []string{decodePS1}
	r.SGLang, r.Chat = "0.5.16", true
	if _, err := Prepare(r); err == nil || !strings.Contains(err.Error(), "--chat with "+decodePS1) {
		t.Errorf("got %v", err)
	}
	r.Names = []string{"rmsnorm_h4096"}
	if _, err := Prepare(r); err != nil {
		t.Errorf("norms ride along in any mode: %v", err)
	}
}

// Before FlashInfer 0.6.12 a paged run's caches were not dumped: only its plan makes a workload.
func TestPrepare_RunsWithoutCache(t *testing.T) {
	t.Parallel()
	r := DefaultRequest()
	r.TraceDir, r.Engine, r.ModelPath, r.Names = "../testdata/dataset", proto.EngineSGLang, "m/m", []string{decodePS1, mlaDecode}
	for _, tc := range []struct {
		release, dump string
		refused       bool
	}{{"0.5.12", DumpAuto, false}, {"0.5.12", DumpPlan, false}, {"0.5.12", DumpRun, true}, {"0.5.13", DumpRun, false}, {"", DumpRun, false}} {
		r.SGLang, r.Dump = tc.release, tc.dump
		_, err := Prepare(r)
		if refused := err != nil; refused != tc.refused || refused && (proto.AsFailure(err, "").Code != proto.CodeUncollectable || !strings.Contains(err.Error(), decodePS1+" (")) {
			t.Errorf("%s --dump %s: %v, want refused %t", tc.release, tc.dump, err, tc.refused)
		}
		if err != nil && strings.Contains(err.Error(), mlaDecode+" (") {
			t.Errorf("the caches of latent attention are no pair: %v", err)
		}
	}
}

// A flag of the user's that keeps an API from being called is a refusal, too: GPU time would bring nothing.
func TestPrepare_ContradictedByFlag(t *testing.T) {
	t.Parallel()
	r := DefaultRequest()
	r.TraceDir, r.Engine, r.ModelPath, r.Names = "../testdata/dataset", proto.EngineSGLang, "m/m", []string{decodePS1}
	for _, flags := range [][]string{{"--attention-backend", "triton"}, {"--attention-backend=triton"}, {"--attention-backend triton"}} {
		r.ServerFlags = flags
		_, err := Prepare(r)
		if err == nil || proto.AsFailure(err, "").Code != proto.CodeUnreachable || !strings.Contains(err.Error(), "--attention-backend flashinfer") {
			t.Errorf("%q: got %v", flags, err)
		}
	}
	r.ServerFlags = []string{"--attention-backend", "flashinfer", "--log-requests"}
	if _, err := Prepare(r); err != nil {
		t.Errorf("the same flag is no contradiction: %v", err)
	}
}

// What is refused depends on release and GPU, as far as they are known; where the release is not, the hint says of which it is.
func TestPrepare_UnreachableHere(t *testing.T) {
	t.Parallel()
	r := DefaultRequest()
	r.TraceDir, r.Engine, r.ModelPath, r.Names = "../testdata/dataset", proto.EngineSGLang, "m/m", []string{moeBlock}
	for _, tc := range []struct {
		release, gpu string
		refused      bool
	}{{"0.5.12", "b200", false}, {"0.5.12", "h200", true}, {"", "h200", true}, {"0.5.12", "", false}} {
		r.SGLang, r.GPUType = tc.release, tc.gpu
		_, err := Prepare(r)
		if refused := err != nil; refused != tc.refused || refused && (proto.AsFailure(err, "").Code != proto.CodeUnreachable || !strings.Contains(err.Error(), "SM90")) {
			t.Errorf("%s on %q: %v, want refused %t", tc.release, tc.gpu, err, tc.refused)
		}
		if tc.refused && strings.Contains(err.Error(), "this is unverified") != (tc.release == "") {
			t.Errorf("%s on %q: %v", tc.release, tc.gpu, err)
		}
	}
}

func TestRequest_EngineSpec(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"architectures": ["Qwen3ForCausalLM"]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	config, source := `{"architectures":["Qwen3ForCausalLM"]}`, filepath.Join(dir, "config.json")
	file := writeModels(t, `{"models": {"m": {"model_path": "org/m", "architecture": "LlamaForCausalLM", "gpus": {"default": {"tp": 2, "flags": ["--a"]}, "h200": {"tp": 1}, "own-chip": {}}}}}`)
	base := Request{Engine: proto.EngineSGLang, ModelKey: "m", Catalogue: file}
	for _, tc := range []struct {
		name string
		edit func(*Request)
		want proto.EngineSpec
		warn int
		says string
	}{
		{"the catalogue's", func(*Request) {}, proto.EngineSpec{ModelPath: "org/m", Architecture: "LlamaForCausalLM", ModelFlags: []string{"--tp-size 2", "--a"}}, 0, ""},
		{"by GPU type, however it is written", func(r *Request) { r.GPUType = "NVIDIA H200" },
			proto.EngineSpec{ModelPath: "org/m", Architecture: "LlamaForCausalLM", GPUType: "h200", ModelFlags: []string{"--tp-size 1", "--a"}}, 0, ""},
		{"a GPU type of the user's own", func(r *Request) { r.GPUType = "own-chip" },
			proto.EngineSpec{ModelPath: "org/m", Architecture: "LlamaForCausalLM", GPUType: "own-chip", ModelFlags: []string{"--tp-size 2", "--a"}}, 0, ""},
		{"one that nobody knows", func(r *Request) { r.GPUType = "h2000" },
			proto.EngineSpec{ModelPath: "org/m", Architecture: "LlamaForCausalLM", GPUType: "h2000", ModelFlags: []string{"--tp-size 2", "--a"}}, 1, ""},
		{"the path given wins, and its own architecture", func(r *Request) { r.ModelPath = dir },
			proto.EngineSpec{ModelPath: dir, Architecture: "Qwen3ForCausalLM", ModelFlags: []string{"--tp-size 2", "--a"}, ModelConfig: config, ModelSource: source}, 0, ""},
		{"a path alone", func(r *Request) { r.ModelKey, r.ModelPath = "", dir }, proto.EngineSpec{ModelPath: dir, Architecture: "Qwen3ForCausalLM", ModelConfig: config, ModelSource: source}, 0, ""},
		{"an unknown key", func(r *Request) { r.ModelKey = "mm" }, proto.EngineSpec{}, 0, "did you mean m?"},
		{"a directory without config.json", func(r *Request) { r.ModelPath = filepath.Dir(dir) }, proto.EngineSpec{}, 0, "config.json"},
	} {
		r := base
		tc.edit(&r)
		got, warnings, err := r.EngineSpec()
		if tc.says != "" {
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s: got %v, want %q", tc.name, err, tc.says)
			}
			continue
		}
		tc.want.Kind, tc.want.ModelKey = proto.EngineSGLang, r.ModelKey
		if err != nil || len(warnings) != tc.warn || !equalJSON(t, got, tc.want) {
			t.Errorf("%s: got %+v, %q, %v; want %+v", tc.name, got, warnings, err, tc.want)
		}
	}
	r := base
	r.Engine, r.ModelKey = proto.EngineSimulate, "whatever"
	if got, _, err := r.EngineSpec(); err != nil || got.ModelKey != "whatever" || got.ModelPath != "" {
		t.Errorf("a simulated model is only a name: %+v, %v", got, err)
	}
}

func equalJSON(t *testing.T, a, b any) bool {
	t.Helper()
	left, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	right, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(left, right)
}

// What planning takes for reachable and for one server, the launch takes, too: in every release, on several GPUs, whatever is
// dumped, no definition of a task is refused or left aside by the command that starts it.
func TestPrepare_AgreesWithLaunch(t *testing.T) {
	t.Parallel()
	r := DefaultRequest()
	r.TraceDir, r.Engine, r.All, r.BatchSizes = "../testdata/dataset", proto.EngineSGLang, true, []int{8}
	r.Catalogue = writeModels(t, `{"models": {}}`)
	for _, release := range sglang.Known() {
		for _, gpu := range []string{"", "h200", "b200"} {
			for _, key := range []string{"llama-3.1-8b", "deepseek-v3"} {
				for _, dump := range []string{DumpAuto, DumpRun} {
					r.SGLang, r.GPUType, r.ModelKey, r.Dump = release, gpu, key, dump
					s, err := Prepare(r)
					if err != nil {
						t.Fatalf("%s on %q, %s, %s: %v", release, gpu, key, dump, err)
					}
					report, err := s.Plan.Report("c", s.Definitions)
					if err != nil {
						t.Fatal(err)
					}
					for _, task := range report.Tasks {
						if said := strings.Join(task.Launch.Cautions, "\n"); strings.Contains(said, "will not be collected") {
							t.Errorf("%s on %q, %s, %s: %s", release, gpu, key, dump, said)
						}
					}
				}
			}
		}
	}
}
