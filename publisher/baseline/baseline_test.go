package baseline_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/publisher/baseline"
)

func definitions(t *testing.T) []*fitrace.Definition {
	t.Helper()
	var defs []*fitrace.Definition
	for _, pattern := range []string{"../../testdata/dataset/definitions/*/*.json", "../../test/gpu/definitions/*/*.json"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			d, err := fitrace.ParseDefinition(data, name)
			require.NoError(t, err)
			defs = append(defs, d)
		}
	}
	require.Greater(t, len(defs), 10)
	return defs
}

type solution struct {
	Name, Definition, Author string
	Spec                     struct {
		EntryPoint string `json:"entry_point"`
		DPS        *bool  `json:"destination_passing_style"`
	}
	Sources []struct{ Path, Content string }
}

func TestFor(t *testing.T) {
	t.Parallel()
	none := map[string]bool{}
	for _, d := range definitions(t) {
		s, err := baseline.For(d)
		if err != nil {
			require.ErrorContains(t, err, "of definition "+d.Name)
			require.ErrorContains(t, err, "BatchDecodeWithPagedKVCacheWrapper", "it says which there are")
			none[d.OpType] = true
			continue
		}
		again, err := baseline.For(d)
		require.NoError(t, err)
		require.Equal(t, s, again, "equal bytes")
		var got solution
		require.NoError(t, json.Unmarshal(s.JSON, &got))
		require.Equal(t, d.Name, got.Definition)
		require.Equal(t, "solutions/baseline/"+d.OpType+"/"+d.Name+"/"+s.Name+".json", s.Path)
		require.NotNil(t, got.Spec.DPS, "the model's own default is true")
		require.False(t, *got.Spec.DPS)
		source := got.Sources[0].Content
		var params []string
		for _, in := range d.Inputs {
			params = append(params, in.Name)
		}
		require.Contains(t, source, "def run("+strings.Join(params, ", ")+"):")
		for _, text := range []string{source, s.Test.Source} {
			require.NotContains(t, text, "{{")
			require.NotContains(t, text, "<no value>")
			require.NotContains(t, text, d.Reference)
		}
		require.Equal(t, "tests/references/test_"+d.Name+".py", s.Test.Path)
	}
	require.Equal(t, map[string]bool{"gemm": true, "moe": true}, none, "op types without a baseline")
}

func TestFor_Constants(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"gqa_paged_decode_h32_kv8_d128_ps64":        {"kv_indices, last_page_len, 32, 8, 128, 64", "last_page_len = kv_last_page_len", "return_lse=True", "use_tensor_cores=True"},
		"gqa_paged_decode_h32_kv8_d128_ps1":         {"32, 8, 128, 1", "torch.ones_like(kv_indptr[1:])"},
		"gqa_paged_prefill_causal_h32_kv8_d128_ps1": {"causal=True"},
		"fused_add_rmsnorm_h4096":                   {"eps=1e-5", "hidden_states.clone()"},
		"top_k_top_p_sampling_from_probs_v128256":   {`filter_apply_order="joint"`, "torch.int64"},
		"mla_paged_decode_h16_ckv512_kpe64_ps1":     {"16, 512, 64, 1", "False, float(sm_scale)", "torch.arange"},
	}
	for _, d := range definitions(t) {
		for _, text := range want[d.Name] {
			s, err := baseline.For(d)
			require.NoError(t, err)
			var got solution
			require.NoError(t, json.Unmarshal(s.JSON, &got))
			require.Contains(t, got.Sources[0].Content, text, d.Name)
		}
		delete(want, d.Name)
	}
	require.Empty(t, want, "definitions that are not there")
}

// A kv_last_page_len on the axis of kv_indptr has one element more than there are requests, which no API takes.
func TestFor_PaddedLastPage(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../test/gpu/definitions/gqa_paged/gqa_paged_prefill_causal_h32_kv8_d128_ps64.json")
	require.NoError(t, err)
	var raw map[string]any
	require.NoError(t, json.Unmarshal(data, &raw))
	raw["inputs"].(map[string]any)["kv_last_page_len"].(map[string]any)["shape"] = []string{"len_indptr"}
	changed, err := json.Marshal(raw)
	require.NoError(t, err)
	for _, test := range []struct {
		data []byte
		want string
	}{{data, "last_page_len = kv_last_page_len\\n"}, {changed, "last_page_len = kv_last_page_len[:-1]\\n"}} {
		d, err := fitrace.ParseDefinition(test.data, "gqa_paged_prefill_causal_h32_kv8_d128_ps64.json")
		require.NoError(t, err)
		s, err := baseline.For(d)
		require.NoError(t, err)
		require.Contains(t, string(s.JSON), test.want)
	}
}

// Norms have an epsilon that no input tells: without the reference's there is no baseline.
func TestFor_NoEpsilon(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../testdata/dataset/definitions/rmsnorm/rmsnorm_h4096.json")
	require.NoError(t, err)
	d, err := fitrace.ParseDefinition([]byte(strings.ReplaceAll(string(data), "EPSILON", "TINY")), "rmsnorm_h4096.json")
	require.NoError(t, err)
	_, err = baseline.For(d)
	require.ErrorContains(t, err, "epsilon is not known")
}

func TestFor_Compiles(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3, to compile the sources")
	}
	for _, d := range definitions(t) {
		s, err := baseline.For(d)
		if err != nil {
			continue
		}
		var got solution
		require.NoError(t, json.Unmarshal(s.JSON, &got))
		for _, source := range []string{got.Sources[0].Content, s.Test.Source} {
			cmd := exec.Command(python, "-c", "import sys; compile(sys.stdin.read(), 'main.py', 'exec')")
			cmd.Stdin = strings.NewReader(source)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s\n%s\n%s", d.Name, out, source)
		}
	}
}
