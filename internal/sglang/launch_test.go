package sglang

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var modes = []Mode{Offline, HTTPPaged, HTTPRagged}

// intents are launches of every shape that this package is asked for.
func intents(mode Mode) map[string]Intent {
	base := Intent{
		Mode: mode, ModelPath: "/models/llama", TP: 1, EP: 1, PageSize: 1, PoolTokens: 4096, Running: 8, NoTokenizer: true, Deterministic: true,
		Requires: []string{"--attention-backend flashinfer"},
	}
	vary := func(change func(*Intent)) Intent {
		in := base
		change(&in)
		return in
	}
	return map[string]Intent{
		"bare":     {Mode: mode, ModelPath: "m", Deterministic: true},
		"base":     base,
		"served":   vary(func(in *Intent) { in.Host, in.Port = "0.0.0.0", 31000 }),
		"parallel": vary(func(in *Intent) { in.TP, in.EP, in.PageSize = 8, 8, 64 }),
		"mla":      vary(func(in *Intent) { in.IncludeMLA = true }),
		"no radix": vary(func(in *Intent) { in.DisableRadix = true }),
		"chat":     vary(func(in *Intent) { in.NoTokenizer = false }),
		"graphs":   vary(func(in *Intent) { in.DecodeGraphs = true }),
		"norms":    vary(func(in *Intent) { in.TP, in.NoFusion = 4, true }),
		"sampling": vary(func(in *Intent) { in.Requires = append(slices.Clone(in.Requires), "--sampling-backend flashinfer") }),
		"moe":      vary(func(in *Intent) { in.Requires = []string{"--moe-runner-backend flashinfer_trtllm"} }),
		"old command": vary(func(in *Intent) {
			in.Extra = []string{"--disable-cuda-graph", "--cuda-graph-max-bs 8", "--tp=1", "--dp", "2", "--enable-dp-attention"}
		}),
		"new command": vary(func(in *Intent) {
			in.Extra = []string{"--disable-decode-cuda-graph", "--disable-prefill-cuda-graph", "--attn-dp-size=2"}
		}),
		"catalogue": vary(func(in *Intent) {
			in.ModelFlags = []string{"--trust-remote-code", "--mem-fraction-static 0.85", "--nsa-decode-backend fa3"}
		}),
	}
}

// TestLaunch_OnlyWhatTheReleaseTakes is the promise of the package: every release, every mode, every shape.
func TestLaunch_OnlyWhatTheReleaseTakes(t *testing.T) {
	t.Parallel()
	for _, release := range Known() {
		table, err := Lookup(release, false)
		require.NoError(t, err)
		for _, mode := range modes {
			for name, in := range intents(mode) {
				l, err := in.Launch(release)
				require.NoError(t, err, "%s %s %s", release, mode, name)
				require.Equal(t, release, l.Release)
				for _, env := range l.Env {
					require.True(t, table.ReadsEnv(env[:strings.Index(env, "=")]), "%s reads %s", release, env)
				}
				if mode == Offline {
					require.Empty(t, l.Args)
					require.Empty(t, l.Ready)
					require.NoError(t, table.CheckKeywords(l.Engine), "%s %s", release, name)
					require.True(t, slices.IsSortedFunc(l.Engine, func(a, b Keyword) int { return strings.Compare(a.Name, b.Name) }))
					continue
				}
				require.Empty(t, l.Engine)
				require.Equal(t, []string{"-m", "sglang.launch_server", "--model-path"}, l.Args[:3])
				require.NoError(t, table.CheckArgs(l.Args[2:]), "%s %s %s", release, mode, name)
				for _, arg := range l.Args[2:] {
					if o := table.Option(arg); strings.HasPrefix(arg, "--") {
						require.False(t, o.Deprecated, "%s %s: %s is deprecated", release, name, arg)
					}
				}
				require.True(t, table.HasRoute(l.Ready), "%s %s", release, l.Ready)
			}
		}
	}
}

// TestLaunch_Words pins what the intentions are in the releases where they changed.
func TestLaunch_Words(t *testing.T) {
	t.Parallel()
	type words map[string]string // release → what the command line or environment must hold; "-…": must not
	for name, tc := range map[string]struct {
		mode  Mode
		in    Intent
		words words
	}{
		"graphs off": {HTTPRagged, Intent{}, words{
			"0.5.9":        "--disable-cuda-graph -piecewise",
			"0.5.10":       "--disable-cuda-graph --disable-piecewise-cuda-graph",
			"0.5.13.post1": "--disable-cuda-graph --disable-piecewise-cuda-graph",
			"0.5.14":       "--disable-decode-cuda-graph --disable-prefill-cuda-graph ---disable-cuda-graph",
			"0.5.23":       "--disable-decode-cuda-graph --disable-prefill-cuda-graph ---disable-cuda-graph",
		}},
		"decode graphs left on": {HTTPRagged, Intent{DecodeGraphs: true}, words{
			"0.5.9":  "---disable-cuda-graph",
			"0.5.12": "---disable-cuda-graph --disable-piecewise-cuda-graph",
			"0.5.23": "---disable-decode-cuda-graph --disable-prefill-cuda-graph",
		}},
		"ragged off": {HTTPPaged, Intent{Deterministic: true}, words{
			"0.5.10.post1": "--enable-deterministic-inference -USE_PAGED",
			"0.5.11":       "SGLANG_FLASHINFER_USE_PAGED=1 -deterministic",
			"0.5.23":       "SGLANG_FLASHINFER_USE_PAGED=1 -deterministic -mla-disable",
		}},
		"ragged off for MLA": {HTTPPaged, Intent{Deterministic: true, IncludeMLA: true}, words{
			"0.5.8":  "--flashinfer-mla-disable-ragged -deterministic -USE_PAGED",
			"0.5.23": "--flashinfer-mla-disable-ragged -deterministic -USE_PAGED",
		}},
		"ragged on":     {HTTPRagged, Intent{Deterministic: true, IncludeMLA: true}, words{"0.5.8": "-deterministic -mla-disable", "0.5.23": "-USE_PAGED -mla-disable"}},
		"budget":        {HTTPRagged, Intent{}, words{"0.5.8": "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION=0 --skip-server-warmup --disable-flashinfer-autotune", "0.5.23": "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION=0 --skip-server-warmup --disable-flashinfer-autotune"}},
		"no fusion":     {HTTPRagged, Intent{NoFusion: true}, words{"0.5.9": "-fusion", "0.5.10": "--enforce-disable-flashinfer-allreduce-fusion", "0.5.23": "--enforce-disable-flashinfer-allreduce-fusion"}},
		"sizes":         {HTTPRagged, Intent{TP: 4, EP: 2, PageSize: 64, PoolTokens: 8192, Running: 32}, words{"0.5.8": "--tp-size=4 --ep-size=2 --page-size=64 --max-total-tokens=8192 --max-running-requests=32", "0.5.23": "--tp-size=4 --ep-size=2 --page-size=64"}},
		"no experts":    {HTTPRagged, Intent{EP: 1}, words{"0.5.23": "---ep-size"}},
		"cache, tokens": {HTTPRagged, Intent{DisableRadix: true, NoTokenizer: true}, words{"0.5.8": "--disable-radix-cache --skip-tokenizer-init", "0.5.23": "--disable-radix-cache --skip-tokenizer-init"}},
		"neither":       {HTTPRagged, Intent{}, words{"0.5.23": "---disable-radix-cache ---skip-tokenizer-init --watchdog-timeout=3600"}},
	} {
		for release, want := range tc.words {
			in := tc.in
			in.Mode, in.ModelPath = tc.mode, "m"
			l, err := in.Launch(release)
			require.NoError(t, err, "%s %s", name, release)
			line := strings.ReplaceAll(strings.Join(append(l.Env, l.Args...), " ")+" ", " --", "\n--")
			line = strings.ReplaceAll(line, " ", "=")
			for _, w := range strings.Fields(want) {
				if unwanted, isNot := strings.CutPrefix(w, "-"); isNot && !strings.HasPrefix(w, "--") || strings.HasPrefix(w, "---") {
					require.NotContains(t, line, unwanted, "%s %s", name, release)
				} else {
					require.Contains(t, line, w, "%s %s", name, release)
				}
			}
		}
	}
}

func TestLaunch_Ready(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]string{"0.5.8": "/model_info", "0.5.19": "/model_info", "0.5.20": "/ready", "0.5.23": "/ready"} {
		l, err := (&Intent{Mode: HTTPRagged, ModelPath: "m"}).Launch(release)
		require.NoError(t, err)
		require.Equal(t, want, l.Ready, release)
	}
}

func TestLaunch_EngineKeywords(t *testing.T) {
	t.Parallel()
	in := Intent{
		Mode: Offline, ModelPath: "m", TP: 2, PageSize: 64, Host: "127.0.0.1", Port: 30000, NoTokenizer: true,
		Extra: []string{
			"--mem-fraction-static=0.5", "--tp 2", "--cuda-graph-bs-decode 1 2 4", `--json-model-override-args '{"num_hidden_layers": 2}'`,
			"--max-total-tokens=25.5k", "--kv-cache-dtype bf16",
		},
	}
	l, err := in.Launch("0.5.23")
	require.NoError(t, err)
	got, err := json.Marshal(l.Engine)
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"name":"cuda_graph_bs_decode","value":[1,2,4]},
		{"name":"disable_decode_cuda_graph","value":true},
		{"name":"disable_flashinfer_autotune","value":true},
		{"name":"disable_prefill_cuda_graph","value":true},
		{"name":"json_model_override_args","value":"{\"num_hidden_layers\": 2}"},
		{"name":"kv_cache_dtype","value":"bf16"},
		{"name":"log_level","value":"info"},
		{"name":"max_total_tokens","value":25500},
		{"name":"mem_fraction_static","value":0.5},
		{"name":"model_path","value":"m"},
		{"name":"page_size","value":64},
		{"name":"skip_tokenizer_init","value":true},
		{"name":"tp_size","value":2},
		{"name":"watchdog_timeout","value":3600}
	]`, string(got))

	// Flags that set a keyword of another name, or a value: 0.5.8 spells its ranks out, 0.5.20 negates.
	in = Intent{Mode: Offline, ModelPath: "m", Extra: []string{"--data-parallel-size 2"}}
	l, err = in.Launch("0.5.8")
	require.NoError(t, err)
	require.Contains(t, l.Engine, Keyword{"dp_size", int64(2)})
	for _, o := range mustTable(t, "0.5.23").Options {
		if o.Negatable {
			in = Intent{Mode: Offline, ModelPath: "m", Extra: []string{o.Names[1]}}
			l, err = in.Launch("0.5.23")
			require.NoError(t, err)
			require.Contains(t, l.Engine, Keyword{o.Field, false})
			in.Extra[0] = o.Name()
			l, err = in.Launch("0.5.23")
			require.NoError(t, err)
			require.Contains(t, l.Engine, Keyword{o.Field, true})
		}
	}
}

// TestLaunch_AskedTwice: what a user asks for once more changes nothing.
func TestLaunch_AskedTwice(t *testing.T) {
	t.Parallel()
	in := Intent{Mode: HTTPRagged, ModelPath: "m", TP: 2}
	once, err := in.Launch("0.5.23")
	require.NoError(t, err)
	in.Extra = []string{"--disable-flashinfer-autotune", "--tp 2"}
	twice, err := in.Launch("0.5.23")
	require.NoError(t, err)
	require.Equal(t, once.Args, twice.Args)
	require.Equal(t, []string{"--tp 2 is, in SGLang 0.5.23, --tp-size 2"}, twice.Notices)
}

// TestHas: a deprecated flag is no way of ours.
func TestHas(t *testing.T) {
	t.Parallel()
	all := way{flag: "--disable-cuda-graph"}
	require.True(t, mustTable(t, "0.5.13").has(all))
	require.False(t, mustTable(t, "0.5.14").has(all))
	require.False(t, mustTable(t, "0.5.23").has(way{flag: "--disable-piecewise-cuda-graph"}))
	require.False(t, mustTable(t, "0.5.18").has(way{flag: "--enable-expert-distribution-metrics"}))
	require.False(t, mustTable(t, "0.5.10").has(way{env: "SGLANG_FLASHINFER_USE_PAGED"}))
	require.True(t, mustTable(t, "0.5.10").has(way{silent: true}))
}

func TestCheckKeywords(t *testing.T) {
	t.Parallel()
	table := mustTable(t, "0.5.23")
	for _, k := range []Keyword{
		{"model_path", "m"}, {"tp_size", int64(2)}, {"watchdog_timeout", 1.5}, {"watchdog_timeout", int64(3)}, {"disable_radix_cache", true},
		{"cuda_graph_bs_decode", []any{int64(1)}}, {"cuda_graph_config", map[string]any{}}, {"lora_paths", []any{"a"}},
	} {
		require.NoError(t, table.CheckKeywords([]Keyword{k}), "%v", k)
	}
	for _, tc := range []struct {
		k    Keyword
		want string
	}{
		{Keyword{"disable_piecewise_cuda_graph", true}, "SGLang 0.5.23: disable_piecewise_cuda_graph= is not a keyword"},
		{Keyword{"cuda_graph_max_bs", int64(8)}, "is not a keyword"},
		{Keyword{"tp_size", "2"}, `tp_size= is a int of this release's Engine, not "2"`},
		{Keyword{"tp_size", 2.5}, "not 2.5"},
		{Keyword{"disable_radix_cache", "true"}, "is a bool"},
		{Keyword{"cuda_graph_bs_decode", []any{"1"}}, "is a list[int]"},
		{Keyword{"model_path", int64(1)}, "is a str"},
		{Keyword{"cuda_graph_config", "{}"}, "is a CudaGraphConfig"},
		{Keyword{"model_path", func() {}}, "unsupported type"},
	} {
		var refused *FlagError
		err := table.CheckKeywords([]Keyword{tc.k})
		require.ErrorAs(t, err, &refused, "%s", tc.k.Name)
		require.ErrorContains(t, err, tc.want)
	}
}

func TestLaunch_Releases(t *testing.T) {
	t.Parallel()
	in := Intent{Mode: HTTPRagged, ModelPath: "m"}
	var outside *ReleaseError
	_, err := in.Launch("0.6.0")
	require.ErrorAs(t, err, &outside)
	require.Equal(t, ReleaseError{"0.6.0", "0.5.8", "0.5.23"}, *outside)
	in.AnyRelease = true
	l, err := in.Launch("0.6.0")
	require.NoError(t, err)
	require.Equal(t, "0.5.23", l.Release)
	require.Equal(t, []string{"SGLang 0.6.0 is not known by itself: these are the words of 0.5.23"}, l.Notices)
}

// TestLaunch_DeterministicOnlyWhenAllowed: what it costs is said, or it is not done.
func TestLaunch_DeterministicOnlyWhenAllowed(t *testing.T) {
	t.Parallel()
	in := Intent{Mode: HTTPPaged, ModelPath: "m"}
	_, err := in.Launch("0.5.10")
	var refused *FlagError
	require.ErrorAs(t, err, &refused)
	require.ErrorContains(t, err, "use SGLang 0.5.11 or newer")
	in.Deterministic = true
	l, err := in.Launch("0.5.10")
	require.NoError(t, err)
	require.Len(t, l.Notices, 1)
	require.Contains(t, l.Notices[0], "turns the prefix cache off and takes sampling and norms from FlashInfer")
}

func mustTable(t testing.TB, release string) *Table {
	t.Helper()
	table, err := Lookup(release, false)
	require.NoError(t, err)
	return table
}

func TestErrors_Words(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("plan: %w", &FlagError{Flag: "--x", Release: "0.5.16", Problem: "is wrong", Use: "--y"})
	require.EqualError(t, err, "plan: SGLang 0.5.16: --x is wrong; use --y")
	require.EqualError(t, errors.Unwrap(err), "SGLang 0.5.16: --x is wrong; use --y")
}
