package reach

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/sglang"
)

// unrecorded are the APIs that apis.json has and calls.json has not: no definition of the dataset names them.
const unrecorded = `trtllm_batch_decode_with_kv_cache trtllm_batch_context_with_kv_cache trtllm_fmha_v2_prefill trtllm_ragged_attention_deepseek
	top_k_page_table_transform top_k_ragged_transform rmsnorm_quant fused_add_rmsnorm_quant gemm_fp8_nt_groupwise fp8_blockscale_gemm_sm90
	mm_fp4 mm_mxfp8 trtllm_fp8_block_scale_routed_moe trtllm_fp8_per_tensor_scale_routed_moe cutlass_fused_moe allreduce_fusion`

// TestCalls_EveryCaseHasACall: wherever apis.json has a call of an API, calls.json has what it passes.
func TestCalls_EveryCaseHasACall(t *testing.T) {
	t.Parallel()
	tab, err := known()
	require.NoError(t, err)
	cases := 0
	for _, e := range tab.APIs {
		for _, c := range e.Cases {
			for _, v := range tab.Releases {
				if c.Never || !c.span.holds(v.number) {
					continue
				}
				gpus := c.gpus
				if len(gpus) == 0 {
					gpus = []int{90, 100}
				}
				for _, gpu := range gpus {
					d := &fitrace.Definition{Tags: []string{"fi_api:" + e.API, "stage:" + c.Stage}}
					if len(c.OpTypes) > 0 {
						d.OpType = c.OpTypes[0]
					}
					_, ok := tab.bind(e.api, d, &v, v.number, gpu)
					want := !slices.Contains(strings.Fields(unrecorded), e.api.Method)
					assert.Equal(t, want, ok, "%s, %s, SGLang %s, SM%d", e.API, c.OpTypes, v.SGLang, gpu)
					cases++
				}
			}
		}
	}
	assert.Greater(t, cases, 200)
}

// TestAsk_CallWithoutRecord_IsReachableWithACaution: a definition whose call is not recorded is not called collectable.
func TestAsk_CallWithoutRecord_IsReachableWithACaution(t *testing.T) {
	t.Parallel()
	a := Ask(define(t, "flashinfer.fused_moe.cutlass_fused_moe", "moe", "", ""), Query{Release: "0.5.16", Capability: 90})
	assert.Equal(t, Reachable, a.Verdict)
	assert.Equal(t, Unrecorded, a.Binding)
	assert.False(t, a.Collectable())
	assert.Contains(t, strings.Join(a.Cautions, "\n"), "the arguments that SGLang passes to cutlass_fused_moe are not recorded")
}

// TestAsk_Unverified: an answer for another release than the one asked for states it.
func TestAsk_Unverified(t *testing.T) {
	t.Parallel()
	d := ours(t)["gqa_paged_decode_h32_kv8_d128_ps1"]
	for release, want := range map[string]bool{"0.5.16": false, "0.5.8": false, "": true, "main": true, "0.5.17": true, "0.6.0": true, "0.5.16.dev1": false} {
		a := Ask(d, Query{Release: release, Capability: 90})
		assert.Equal(t, want, a.Unverified, release)
		assert.Equal(t, want, strings.Contains(strings.Join(a.Cautions, "\n"), "unverified: "), release)
		assert.True(t, a.Collectable(), release)
	}
}

// TestFlagValues_AreTaken: every release takes the flags that set element types, with their values.
func TestFlagValues_AreTaken(t *testing.T) {
	t.Parallel()
	for _, release := range sglang.Known() {
		table, err := sglang.Lookup(release, false)
		require.NoError(t, err)
		for _, set := range flagValues {
			o := table.Option(set.flag)
			require.NotNil(t, o, "SGLang %s has no %s", release, set.flag)
			for _, value := range set.values {
				if release == "0.5.8" || release == "0.5.8.post1" {
					if set.flag == "--mamba-ssm-dtype" && value == "float16" {
						continue // taken from 0.5.9 on; selective_state_update is called from 0.5.10 on
					}
				}
				assert.Contains(t, o.Choices, value, "SGLang %s %s", release, set.flag)
			}
		}
	}
}

func TestContradiction(t *testing.T) {
	t.Parallel()
	a := Answer{Requires: []string{attention, "--mamba-ssm-dtype bfloat16"}, Excludes: []string{"--enable-deterministic-inference"}}
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{nil, ""},
		{[]string{"--attention-backend", "flashinfer", "--log-requests"}, ""},
		{[]string{"--mamba-ssm-dtype=float32"}, "it needs --mamba-ssm-dtype bfloat16, and --mamba-ssm-dtype float32 is given"},
		{[]string{"--decode-attention-backend", "fa3"}, "it needs --attention-backend flashinfer, and --decode-attention-backend fa3 is given"},
		{[]string{"--enable-deterministic-inference"}, "it is not called with --enable-deterministic-inference, which is given"},
	} {
		assert.Equal(t, c.want, Contradiction(a, c.flags), "%q", c.flags)
	}
}

// TestParseCalls_Refuses: mistakes in calls.json are found when it is read.
func TestParseCalls_Refuses(t *testing.T) {
	t.Parallel()
	const good = `{"calls": [{"api": "flashinfer.norm.rmsnorm", "from": "0.5.8", "gpus": ["sm90"], "site": {"package": "sglang", "file": "f.py", "call": "x"},
		"positional": ["input"], "optional": [], "passes": {"input": "model|float32", "kv_cache": "kv=float8_e4m3fn+kv"}}]}`
	_, err := parseCalls([]byte(good))
	require.NoError(t, err)
	for _, c := range []struct{ name, old, new, want string }{
		{"field without a meaning", `"optional"`, `"option"`, "option"},
		{"another release", `"0.5.8"`, `"five"`, `from "five"`},
		{"another GPU", `sm90`, `h100`, "h100"},
		{"function with a method", `"from"`, `"method": "run", "from"`, `method "run"`},
		{"wrapper without a method", `flashinfer.norm.rmsnorm`, `flashinfer.SomeWrapper`, `method ""`},
		{"no call", `"call": "x"`, `"call": ""`, "site"},
		{"words without a reason", `"from"`, `"words": ["topk1"], "from"`, "words without why"},
		{"unknown type", `model|float32`, `model|float31`, `"float31"`},
		{"unknown default", `kv=float8_e4m3fn`, `kv=fp8`, `"kv=fp8"`},
		{"default of something else", `kv=float8_e4m3fn`, `model=float32`, `"model=float32"`},
		{"position that is not passed", `"positional": ["input"]`, `"positional": ["weight"]`, "weight is positional"},
		{"nothing passed", `{"input": "model|float32", "kv_cache": "kv=float8_e4m3fn+kv"}`, `{}`, "passes is empty"},
		{"passes of another form", `{"input": "model|float32", "kv_cache": "kv=float8_e4m3fn+kv"}`, `["input"]`, "passes is not an object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, 1, strings.Count(good, c.old), "the change must be made once")
			_, err := parseCalls([]byte(strings.Replace(good, c.old, c.new, 1)))
			assert.ErrorContains(t, err, c.want)
		})
	}
}
