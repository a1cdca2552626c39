package fitrace

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestPlanSuffices(t *testing.T) {
	t.Parallel()
	const (
		decode = "flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper"
		paged  = "flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper"
		ragged = "flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper.run"
		latent = "flashinfer.mla.BatchMLAPagedAttentionWrapper"
		shared = "q[n] k_cache[pages] v_cache[pages] kv_indptr[len] kv_indices[used] sm_scale"
	)
	for name, c := range map[string]struct {
		apis, inputs, mode string
		why                string // empty: it suffices
	}{
		"decode":                     {decode, shared, "offline", ""},
		"decode, last pages":         {decode, shared + " kv_last_page_len[n]", "http-ragged", ""},
		"paged prefill":              {paged, shared + " qo_indptr[len]", "http-paged", ""},
		"paged prefill, ragged on":   {paged, shared + " qo_indptr[len]", "http-ragged", "cached prefixes only"},
		"paged prefill, offline":     {paged, shared + " qo_indptr[len]", "offline", "cached prefixes only"},
		"paged prefill, any mode":    {paged, shared + " qo_indptr[len]", "any", "cached prefixes only"},
		"ragged":                     {ragged, "q[n] k[m] v[m] qo_indptr[len] kv_indptr[len] sm_scale", "http-ragged", ""},
		"latent":                     {latent, "q_nope[n] q_pe[n] ckv_cache[pages] kpe_cache[pages] qo_indptr[len] kv_indptr[len] kv_indices[used] sm_scale", "http-paged", ""},
		"latent decode":              {latent, "q_nope[n] q_pe[n] ckv_cache[pages] kpe_cache[pages] kv_indptr[len] kv_indices[used] sm_scale", "offline", ""},
		"quantised cache":            {decode, shared + " k_scale", "offline", "input k_scale"},
		"rows in a decode":           {decode, shared + " qo_indptr[len]", "offline", "input qo_indptr"},
		"ragged over pages":          {ragged, shared, "http-ragged", "input k_cache"},
		"a pool of one size":         {decode, "q[n] k_cache[fixed] v_cache[fixed] kv_indptr[len] kv_indices[used] sm_scale", "offline", "constant in fixed"},
		"two APIs":                   {decode + " " + paged, shared, "http-paged", ""},
		"two APIs, one's input":      {paged + " " + decode, shared + " qo_indptr[len]", "http-paged", "input qo_indptr"},
		"two APIs, one without plan": {decode + " flashinfer.norm.rmsnorm", shared, "offline", "rmsnorm has no plan"},
		"plain function":             {"flashinfer.norm.rmsnorm", "q[n]", "any", "rmsnorm has no plan"},
		"another method":             {decode + ".run_return_lse", shared, "offline", "no plan that stands"},
		"a wrapper without":          {"flashinfer.pod.PODWithPagedKVCacheWrapper", shared, "offline", "no plan that stands"},
		"no API":                     {"", shared, "offline", "no API"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ok, why := PlanSuffices(planned(t, c.apis, c.inputs), c.mode)
			if ok != (c.why == "") || !strings.Contains(why, c.why) || ok && why != "" {
				t.Errorf("%t, %q; want %q", ok, why, c.why)
			}
		})
	}
}

// planned makes a definition of APIs and inputs such as "q[n] sm_scale"; the axis fixed is constant.
func planned(t *testing.T, apis, inputs string) *Definition {
	t.Helper()
	d := &Definition{Name: "d", axis: map[string]int{}}
	for api := range strings.FieldsSeq(apis) {
		d.Tags = append(d.Tags, "fi_api:"+api)
	}
	for in := range strings.FieldsSeq(inputs) {
		spec := TensorSpec{DType: "bfloat16"}
		name, axis, tensor := strings.Cut(strings.TrimSuffix(in, "]"), "[")
		if spec.Name = name; tensor {
			spec.Shape = []string{axis}
			if _, known := d.axis[axis]; !known {
				d.axis[axis] = len(d.Axes)
				d.Axes = append(d.Axes, Axis{Name: axis, Const: axis == "fixed", Value: 7})
			}
		}
		d.Inputs = append(d.Inputs, spec)
	}
	return d
}

// TestPlanSuffices_OurDefinitions: of the project's own definitions those of wrappers suffice, each in the mode that reaches it.
func TestPlanSuffices_OurDefinitions(t *testing.T) {
	t.Parallel()
	all, errs := LoadDefinitions(filepath.Join("..", "..", "testdata", "dataset"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, d := range all {
		want := strings.HasPrefix(d.OpType, "gqa_") || strings.HasPrefix(d.OpType, "mla_")
		if ok, why := PlanSuffices(d, "http-paged"); ok != want {
			t.Errorf("%s: %t, %s", d.Name, ok, why)
		}
	}
}
