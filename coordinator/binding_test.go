package coordinator

import (
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// A definition that the call does not bind to is refused with the reason where it was named, and left out and counted where a
// wide selection brought it.
func TestPrepare_CallThatDoesNotBind_IsRefusedOrLeftOut(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	const x = `"hidden_states": {"shape": ["n", "h"], "dtype": "bfloat16"}`
	writeDef(t, root, "rmsnorm", "fits", defJSON("fits", "rmsnorm", "", x, "fi_api:flashinfer.norm.rmsnorm"))
	for _, name := range []string{"other_a", "other_b"} {
		writeDef(t, root, "rmsnorm", name, defJSON(name, "rmsnorm", "", x+`, "weight": {"shape": ["h"], "dtype": "bfloat16"}, "bias": {"shape": ["h"], "dtype": "bfloat16"}`, "fi_api:flashinfer.norm.rmsnorm"))
	}
	writeDef(t, root, "rmsnorm", "wide", defJSON("wide", "rmsnorm", "", strings.ReplaceAll(x, "bfloat16", "float32"), "fi_api:flashinfer.norm.rmsnorm"))
	writeDef(t, root, "sampling", "top_k", defJSON("top_k", "sampling", "", `"probs": {"shape": ["n", "h"], "dtype": "float32"}`, "fi_api:flashinfer.sampling.top_k_sampling_from_probs"))
	const never, dtype = "rmsnorm: SGLang 0.5.16 never passes bias", "rmsnorm: SGLang 0.5.16 passes input as the model's type, not float32"
	r := DefaultRequest()
	r.TraceDir, r.Engine, r.ModelPath, r.SGLang, r.GPUType = root, proto.EngineSGLang, "m/m", "0.5.16", "h200"

	r.Names = []string{"other_a", "wide"}
	_, err := Prepare(r)
	if fail := proto.AsFailure(err, ""); err == nil || fail.Code != proto.CodeUncollectable || !strings.Contains(fail.Message, "other_a ("+never) || !strings.Contains(fail.Message, "wide ("+dtype) {
		t.Errorf("named: got %v", err)
	}
	r.Names, r.OpTypes = []string{"other_a", "fits"}, []string{"sampling"}
	if _, err := Prepare(r); proto.AsFailure(err, "").Code != proto.CodeUncollectable {
		t.Errorf("beside what is left out as unreachable: got %v", err)
	}
	for _, wide := range []func(*Request){func(r *Request) { r.All = true }, func(r *Request) { r.OpTypes = []string{"rmsnorm"} }} {
		r.Names, r.All, r.OpTypes = nil, false, nil
		wide(&r)
		s, err := Prepare(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Collection.Definitions) != 1 || s.Collection.Definitions[0].Name != "fits" {
			t.Errorf("planned %+v, want fits alone", s.Collection.Definitions)
		}
		said := strings.Join(s.Warnings, "\n")
		for _, want := range []string{"left out: 2 definitions, other_a, other_b (rmsnorm: SGLang 0.5.16 never passes bias", "left out: wide (" + dtype} {
			if !strings.Contains(said, want) {
				t.Errorf("the warnings have no %q:\n%s", want, said)
			}
		}
	}
	r.Engine = proto.EngineSimulate
	if s, err := Prepare(r); err != nil || len(s.Collection.Definitions) != 4 {
		t.Errorf("simulated dumps fit any definition: %v", err)
	}
}

// The flags that give a call the definition's element types are on the task's command line, and another value of the user's is
// refused by name.
func TestPrepare_FlagForElementTypes_IsPassedOrRefused(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	writeDef(t, root, "mamba_ssu", "ssu", defJSON("ssu", "mamba_ssu", "", `"state": {"shape": ["n", "h"], "dtype": "bfloat16"}`, "fi_api:flashinfer.mamba.selective_state_update"))
	writeDef(t, root, "dsa_paged", "dsa", defJSON("dsa", "dsa_paged", "", `"q_nope": {"shape": ["n", "h"], "dtype": "bfloat16"}, "ckv_cache": {"shape": ["n", "h"], "dtype": "bfloat16"}`,
		"fi_api:flashinfer.decode.trtllm_batch_decode_with_kv_cache_mla"))
	for _, tc := range []struct{ name, flag, keyword, other string }{
		{"ssu", "--mamba-ssm-dtype bfloat16", "mamba_ssm_dtype", "--mamba-ssm-dtype=float32"},
		{"dsa", "--kv-cache-dtype bfloat16", "kv_cache_dtype", "--kv-cache-dtype auto"},
	} {
		for _, release := range sglang.Known() {
			if sglang.Compare(release, "0.5.10") < 0 {
				continue // neither is called
			}
			r := DefaultRequest()
			r.TraceDir, r.Engine, r.ModelPath, r.SGLang, r.GPUType, r.Names = root, proto.EngineSGLang, "m/m", release, "b200", []string{tc.name}
			s, err := Prepare(r)
			if err != nil {
				t.Fatalf("%s: %v", release, err)
			}
			report, err := s.Plan.Report("c", s.Definitions)
			if err != nil {
				t.Fatal(err)
			}
			if got := report.Tasks[0].Launch.Engine[tc.keyword]; got != "bfloat16" {
				t.Errorf("SGLang %s, %s: %s is %v, want bfloat16", release, tc.name, tc.keyword, got)
			}
			r.ServerFlags = []string{tc.other}
			_, err = Prepare(r)
			if err == nil || !strings.Contains(err.Error(), "it needs "+tc.flag+", and "+strings.Replace(tc.other, "=", " ", 1)+" is given by --extra-server-flag") {
				t.Errorf("SGLang %s, %s with %s: %v", release, tc.name, tc.other, err)
			}
			r.ServerFlags = []string{tc.flag}
			if _, err = Prepare(r); err != nil {
				t.Errorf("SGLang %s, %s with the same flag: %v", release, tc.name, err)
			}
		}
	}
}

// The counts of a resolution add up: each definition is collectable, not known, or refused for one reason.
func TestNewResolution_Counts_AddUp(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, text := range map[string]string{
		"fits":      defJSON("fits", "op", "", `"x": {"shape": ["n"], "dtype": "bfloat16"}, "weight": {"shape": ["n"], "dtype": "bfloat16"}`, "fi_api:flashinfer.norm.rmsnorm"),
		"wide_a":    defJSON("wide_a", "op", "", `"input": {"shape": ["n"], "dtype": "float32"}`, "fi_api:flashinfer.norm.rmsnorm"),
		"wide_b":    defJSON("wide_b", "op", "", `"input": {"shape": ["n"], "dtype": "float32"}`, "fi_api:flashinfer.norm.rmsnorm"),
		"never":     defJSON("never", "op", "", "", "fi_api:flashinfer.activation.silu_and_mul"),
		"untagged":  defJSON("untagged", "op", "", ""),
		"unheard":   defJSON("unheard", "op", "", "", "fi_api:flashinfer.of.another_planet"),
		"unwritten": defJSON("unwritten", "op", "", "", "fi_api:flashinfer.fused_moe.cutlass_fused_moe"),
	} {
		writeDef(t, root, "op", name, text)
	}
	defs, _, err := Resolve(root, Selection{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"0.5.16", ""} {
		r := NewResolution(sglangOn(release, "h200"), DumpAuto, defs)
		c := r.Counts
		if c.Total != 7 || c.Collectable != 1 || c.Unknown != 2 || len(c.Refused) != 3 || c.Refused[0].Count != 2 || strings.Join(c.Refused[0].Definitions, " ") != "wide_a wide_b" {
			t.Errorf("SGLang %q: %+v", release, c)
		}
		want := "7 definitions: 1 collectable, 4 refused, 2 not known"
		if release == "" {
			want += " (unverified)"
		}
		if got := r.Summary(); got[0] != want || len(got) != 4 || !strings.Contains(got[1], "2 refused, uncollectable: rmsnorm: SGLang") {
			t.Errorf("SGLang %q: %q", release, got)
		}
		if r.Unverified != (release == "") {
			t.Errorf("SGLang %q: unverified is %t", release, r.Unverified)
		}
	}
	if r := NewResolution(proto.EngineSpec{Kind: proto.EngineSimulate}, DumpAuto, defs); r.Counts.Collectable != 6 || r.Unverified || r.Definitions[0].Call != nil {
		t.Errorf("simulated: %+v", r.Counts)
	}
}
