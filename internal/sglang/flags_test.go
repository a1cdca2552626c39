package sglang

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestExtra_Translated: an older or newer command line in the words of the release, each time with a notice.
func TestExtra_Translated(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		release, given, want, notice string // given: elements separated by "|"; want: what the arguments must hold, or "" for nothing
	}{
		{"0.5.23", "--chat-template=-x", "--chat-template=-x", ""},
		{"0.5.23", "--chunked-prefill-size|-1", "--chunked-prefill-size -1", ""},
		{"0.5.23", "--disable-cuda-graph", "--disable-decode-cuda-graph --disable-prefill-cuda-graph", "--disable-cuda-graph is, in SGLang 0.5.23,"},
		{"0.5.14", "--disable-cuda-graph", "--disable-decode-cuda-graph --disable-prefill-cuda-graph", "is, in SGLang 0.5.14,"},
		{"0.5.16", "--disable-piecewise-cuda-graph", "--disable-prefill-cuda-graph", "is, in SGLang 0.5.16,"},
		{"0.5.23", "--disable-piecewise-cuda-graph", "--disable-prefill-cuda-graph", "is, in SGLang 0.5.23,"},
		{"0.5.9", "--disable-piecewise-cuda-graph", "", "left out for SGLang 0.5.9: this release captures no prefill graphs unless asked to"},
		{"0.5.9", "--disable-prefill-cuda-graph", "", "left out for SGLang 0.5.9"},
		{"0.5.12", "--disable-decode-cuda-graph", "--disable-cuda-graph", "--disable-cuda-graph"},
		{"0.5.12", "--cuda-graph-backend-decode=disabled", "--disable-cuda-graph", "--disable-cuda-graph"},
		{"0.5.23", "--cuda-graph-max-bs 16", "--cuda-graph-max-bs-decode 16", "--cuda-graph-max-bs-decode 16"},
		{"0.5.16", "--cuda-graph-max-bs|16", "--cuda-graph-max-bs-decode 16", "--cuda-graph-max-bs-decode 16"},
		{"0.5.12", "--cuda-graph-max-bs-decode=16", "--cuda-graph-max-bs 16", "--cuda-graph-max-bs 16"},
		{"0.5.23", "--cuda-graph-bs 1 2 4", "--cuda-graph-bs-decode 1 2 4", "--cuda-graph-bs-decode 1 2 4"},
		{"0.5.23", "--cuda-graph-bs|1|2|4", "--cuda-graph-bs-decode 1 2 4", "--cuda-graph-bs-decode 1 2 4"},
		{"0.5.23", "--nsa-decode-backend fa3", "--dsa-decode-backend fa3", "--dsa-decode-backend fa3"},
		{"0.5.13", "--nsa-prefill-backend fa3", "--dsa-prefill-backend fa3", "--dsa-prefill-backend fa3"},
		{"0.5.12", "--dsa-prefill-backend fa3", "--nsa-prefill-backend fa3", "--nsa-prefill-backend fa3"},
		{"0.5.12", "--attention-backend dsa", "--attention-backend nsa", "--attention-backend nsa"},
		{"0.5.22", "--dp-size 4|--enable-dp-attention", "--attn-dp-size 4", "--attn-dp-size"},
		{"0.5.23", "--enable-dp-attention|--dp|4", "--attn-dp-size 4", "--attn-dp-size"},
		{"0.5.23", "--enable-dp-attention", "", "without --dp-size it changes nothing"},
		{"0.5.20", "--attn-dp-size 4", "--dp-size 4 --enable-dp-attention", "--dp-size 4 --enable-dp-attention"},
		{"0.5.23", "--enable-dp-attention|--data-parallel-size=4", "--attn-dp-size 4", "--attn-dp-size"},
		{"0.5.23", "--enable-dp-attention|--data-par 4", "--attn-dp-size 4", "--attn-dp-size"},
		{"0.5.23", "--enable-dp-attention|--attn-dp-size 4", "--attn-dp-size 4", "--attn-dp-size is given"},
		{"0.5.23", "--dp 2", "--dp-size 2", "--dp-size 2"},
		{"0.5.23", "--pp 1", "--pp-size 1", "--pp-size 1"},
		{"0.5.8", "--mem-frac 0.8", "--mem-fraction-static 0.8", "--mem-frac is written out: --mem-fraction-static"},
		{"0.5.16", "--nsa-dec fa3", "--dsa-decode-backend fa3", "--nsa-dec is written out: --nsa-decode-backend; --nsa-decode-backend fa3 is, in"},
		{"0.5.23", "--enable-flashinfer-allreduce-fusion", "--flashinfer-allreduce-fusion-backend auto", "--flashinfer-allreduce-fusion-backend auto"},
		{"0.5.23", "--nsa-prefill-cp-mode in-seq-split", "--cp-strategy zigzag", "--cp-strategy zigzag"},
		{"0.5.23", "--mamba-scheduler-strategy auto", "--mamba-radix-cache-strategy auto", "--mamba-radix-cache-strategy auto"},
		{"0.5.23", "--prefill-round-robin-balance", "", "left out for SGLang 0.5.23: it had stopped having an effect"},
		{"0.5.8", "--hybrid-kvcache-ratio", "--hybrid-kvcache-ratio", "is deprecated in SGLang 0.5.8, which names --swa-full-tokens-ratio in its place"},
		{"0.5.12", "--enable-piecewise-cuda-graph", "--enforce-piecewise-cuda-graph", "turns on prefill CUDA graphs"},
		{"0.5.14", "--enable-piecewise-cuda-graph", "--cuda-graph-backend-prefill tc_piecewise", "turns on prefill CUDA graphs"},
		{"0.5.23", "--enable-piecewise-cuda-graph", "--cuda-graph-backend-prefill breakable", "turns on prefill CUDA graphs"},
	} {
		in := Intent{Mode: HTTPRagged, ModelPath: "m", Extra: strings.Split(tc.given, "|")}
		l, err := in.Launch(tc.release)
		require.NoError(t, err, "%s %s", tc.release, tc.given)
		line := strings.Join(l.Args, " ") + " "
		if tc.want != "" {
			for _, flag := range strings.Split(tc.want, " --") {
				require.Contains(t, line, strings.TrimPrefix(flag, "--")+" ", "%s %s", tc.release, tc.given)
			}
		}
		require.Contains(t, strings.Join(l.Notices, "\n"), tc.notice, "%s %s", tc.release, tc.given)
		require.NoError(t, mustTable(t, tc.release).CheckArgs(l.Args[2:]))
	}
}

// TestExtra_Refused: the error names flag, release and what to use.
func TestExtra_Refused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ release, given, want string }{
		{"0.5.16", "--attention-backnd flashinfer", "SGLang 0.5.16: --attention-backnd is not an option of this release; use --attention-backend"},
		{"0.5.16", "--mem_fraction_static 0.8", "use --mem-fraction-static"},
		{"0.5.16", "--nothing-like-it", "SGLang 0.5.16: --nothing-like-it is not an option of this release"},
		{"0.5.12", "--cuda-graph-backend-decode full", "(it came with 0.5.14)"},
		{"0.5.23", "--mm-max-concurrent-calls 3", "(0.5.9 was the last release with it)"},
		{"0.5.23", "--enable-expert-distribution-metrics", "use --expert-balancedness-report-mode"},
		{"0.5.18", "--enable-expert-distribution-metrics", "is no longer supported; use --expert-balancedness-report-mode"},
		{"0.5.23", "--hybrid-kvcache-ratio", "(0.5.13.post1 was the last release with it); use --swa-full-tokens-ratio"},
		{"0.5.23", "--cuda-graph", "is short for several options; use --cuda-graph-backend-decode or --cuda-graph-backend-prefill or"},
		{"0.5.23", "--moe-d 2", "is short for several options; use --moe-data-parallel-size or --moe-dense-tp-size"},
		{"0.5.23", "--disable-cuda", "is short for several options; use --disable-cuda-graph or --disable-cuda-graph-padding"},
		{"0.5.23", "--attention-backend nonsense", `--attention-backend does not take "nonsense", only aiter, ascend,`},
		{"0.5.8", "--moe-runner-backend flashinfer_trtllm_routed", `does not take "flashinfer_trtllm_routed"`},
		{"0.5.8", "--nsa-decode-backend trtllm", `does not take "trtllm"`},
		{"0.5.23", "--nsa-decode-backend nonsense", `--dsa-decode-backend does not take "nonsense"`},
		{"0.5.23", "--cuda-graph-backend-prefill tc_piecewise", "does not take"},
		{"0.5.23", "--watchdog-timeout soon", `takes a number, not "soon"`},
		{"0.5.23", "--max-running-requests 1.5", `takes an integer, not "1.5"`},
		{"0.5.8", "--max-total-tokens 4k", `takes an integer, not "4k"`},
		{"0.5.23", "--max-total-tokens 4.5Ki", "takes no fraction before Ki"},
		{"0.5.23", "--cuda-graph-config [1]", "takes a JSON object"},
		{"0.5.23", "--cuda-graph-config {", "takes JSON"},
		{"0.5.23", "--disable-radix-cache yes", `takes no value, not "yes"`},
		{"0.5.23", "--disable-radix-cache=1", `takes no value, not "1"`},
		{"0.5.23", "--watchdog-timeout", "takes one value, not 0"},
		{"0.5.23", "--watchdog-timeout|1|2", "takes one value, not 2"},
		{"0.5.23", "--cuda-graph-bs-decode", "takes at least one value"},
		{"0.5.23", "--watchdog-timeout 1 --disable-radix-cache", "is followed by --disable-radix-cache in one argument; give each flag its own"},
		{"0.5.23", `--served-model-name "a`, "has a quote that is not closed"},
		{"0.5.23", "flashinfer", `"flashinfer" is a value without a flag before it (from --extra-server-flag)`},
		{"0.5.23", " ", `" " is empty`},
		{"0.5.23", "--admin-api-key -x", "carry no key"},
		{"0.5.23", "--bucket-e2e-request-latency 1 -1e3", `takes no value that looks like a flag, as "-1e3" does`},
		{"0.5.23", "-x", "-x is not an option"},
		{"0.5.23", "--tp 4", "--tp-size 4 contradicts the task's --tp-size 2; use --tp of collect"},
		{"0.5.23", "--ep-size 2", "contradicts the task's --ep-size 1; use --ep of collect"},
		{"0.5.23", "--page-size 1", "contradicts the task's --page-size 64; use --page-size of collect"},
		{"0.5.23", "--model other", "contradicts the task's --model-path m"},
		{"0.5.23", "--port 1234", "--port 1234 is chosen by tracefleet; use --sglang-port of collect"},
		{"0.5.23", "--api-key secret", "would refuse tracefleet's requests"},
		{"0.5.23", "--nnodes 2", "needs more nodes than a task has"},
		{"0.5.23", "--disaggregation-mode prefill", "needs a second server"},
		{"0.5.23", "--config server.yaml", "may say anything in a file"},
	} {
		in := Intent{Mode: HTTPRagged, ModelPath: "m", TP: 2, EP: 1, PageSize: 64, Extra: strings.Split(tc.given, "|")}
		_, err := in.Launch(tc.release)
		var refused *FlagError
		require.ErrorAs(t, err, &refused, "%s %s", tc.release, tc.given)
		require.ErrorContains(t, err, tc.want, "%s %s", tc.release, tc.given)
		require.ErrorContains(t, err, "SGLang "+tc.release+": ")
	}
	in := Intent{Mode: Offline, ModelPath: "m", Extra: []string{"--monokernel-backend amd"}}
	_, err := in.Launch("0.5.23")
	require.NoError(t, err, "it is --enable-amd-monokernel now, which is a keyword")
	in.Extra[0] = "--prefill-round-robin-balance"
	_, err = in.Launch("0.5.8")
	require.ErrorContains(t, err, "is the command line's alone")
}

// TestMerge_WhoWins: the user over the wanted APIs over what collecting needs over the model catalogue.
func TestMerge_WhoWins(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		model, requires, extra []string
		want                   string // "--a b --c", each must be there; "!--d" must not
		notice                 string // empty: there must be none
	}{
		"collecting over the model":   {model: []string{"--max-running-requests 64"}, want: "--max-running-requests 8", notice: "--max-running-requests 8 of tracefleet replaces 64 of the model catalogue"},
		"the API over the model":      {model: []string{"--attention-backend fa3"}, requires: []string{"--attention-backend flashinfer"}, want: "--attention-backend flashinfer", notice: "of the wanted API replaces fa3 of the model catalogue"},
		"the user over the API":       {requires: []string{"--attention-backend flashinfer"}, extra: []string{"--attention-backend fa3"}, want: "--attention-backend fa3", notice: "--extra-server-flag replaces flashinfer of the wanted API: without it the API is not called"},
		"the user over collecting":    {extra: []string{"--watchdog-timeout=60"}, want: "--watchdog-timeout 60", notice: "of --extra-server-flag replaces 3600 of tracefleet"},
		"the user over himself":       {extra: []string{"--watchdog-timeout=60", "--watchdog-timeout=61"}, want: "--watchdog-timeout 61", notice: "replaces 3600"},
		"equal, silently":             {model: []string{"--max-running-requests 8"}, extra: []string{"--tp-size 2", "--skip-server-warmup"}, want: "--tp-size 2 --skip-server-warmup"},
		"no graphs from the model":    {model: []string{"--cuda-graph-backend-decode full"}, want: "--disable-decode-cuda-graph !--cuda-graph-backend-decode", notice: "of the model catalogue is left out: it turns on decode CUDA graphs"},
		"graphs of the user":          {extra: []string{"--cuda-graph-backend-decode full"}, want: "--cuda-graph-backend-decode full !--disable-decode-cuda-graph --disable-prefill-cuda-graph", notice: "turns on decode CUDA graphs: calls replayed from them"},
		"graphs by the configuration": {extra: []string{`--cuda-graph-config={"prefill": {"backend": "breakable"}}`}, want: "!--disable-prefill-cuda-graph --disable-decode-cuda-graph", notice: "turns on prefill CUDA graphs"},
		"no graphs by configuration":  {extra: []string{`--cuda-graph-config={"prefill": {"backend": "disabled"}}`}, want: "--disable-prefill-cuda-graph --disable-decode-cuda-graph"},
		"a backend that is disabled":  {model: []string{"--cuda-graph-backend-decode disabled"}, want: "--cuda-graph-backend-decode disabled --disable-decode-cuda-graph"},
		"determinism of the user":     {extra: []string{"--enable-deterministic-inference"}, want: "--enable-deterministic-inference", notice: "takes sampling and norms from FlashInfer"},
		"one node is usual":           {extra: []string{"--nnodes 1", "--node-rank 0", "--disaggregation-mode null"}, want: "--nnodes 1"},
	} {
		in := Intent{Mode: HTTPRagged, ModelPath: "m", TP: 2, Running: 8, ModelFlags: tc.model, Requires: tc.requires, Extra: tc.extra}
		l, err := in.Launch("0.5.23")
		require.NoError(t, err, name)
		line := strings.Join(l.Args, " ") + " "
		for _, want := range strings.Split(strings.ReplaceAll(tc.want, " !", " --!"), " --") {
			flag, unwanted := strings.CutPrefix(strings.TrimPrefix(want, "--"), "!")
			if flag = "--" + strings.TrimPrefix(flag, "--") + " "; unwanted {
				require.NotContains(t, line, flag, name)
			} else {
				require.Equal(t, 1, strings.Count(line, flag), "%s: %q once in %s", name, flag, line)
			}
		}
		if tc.notice == "" {
			require.Empty(t, l.Notices, name)
		} else {
			require.Contains(t, strings.Join(l.Notices, "\n"), tc.notice, name)
		}
	}
}

// TestRules_NameWhatExists: a rule about a flag or field that no release has would never act.
func TestRules_NameWhatExists(t *testing.T) {
	t.Parallel()
	fields, names := map[string]bool{}, map[string]bool{}
	for _, release := range Known() {
		for _, o := range mustTable(t, release).Options {
			fields[o.Field] = true
			for _, n := range o.Names {
				names[n] = true
			}
		}
	}
	for _, rules := range []map[string]string{foreign, harmful, owned} {
		for field := range rules {
			require.True(t, fields[field] || names[field], field)
		}
	}
	for _, list := range offSwitches {
		for _, field := range list {
			require.True(t, fields[field], field)
		}
	}
	for _, r := range renamings {
		require.True(t, names[r.flag] || slices.Contains([]string{"--tp", "--dp", "--pp"}, r.flag), r.flag)
		require.True(t, len(r.forms) > 0 || r.moot != "", r.flag)
		for _, f := range r.forms {
			for _, part := range f {
				require.True(t, names[part[0]], "%s: %s", r.flag, part[0])
			}
		}
	}
	for _, it := range intentions {
		for _, w := range it.ways {
			require.True(t, w.silent || w.env != "" || names[w.flag], "%s %s", it.name, w.flag)
		}
	}
}

// TestRenamings_CoverWhatReleasesDeprecate: where a release calls a flag deprecated and names another one, a command line with
// it is translated, or passed on with a notice; never silently.
func TestRenamings_CoverWhatReleasesDeprecate(t *testing.T) {
	t.Parallel()
	for _, release := range Known() {
		table := mustTable(t, release)
		for _, o := range table.Options {
			if !o.Deprecated || foreign[o.Field] != "" {
				continue
			}
			value := []string{}
			switch {
			case o.Name() == "--mamba-scheduler-strategy":
				value = []string{"auto"} // its successor has choices
			case len(o.Choices) > 0:
				value = o.Choices[:1]
			case o.Arity != "0":
				value = []string{"1"}
			}
			in := Intent{Mode: HTTPRagged, ModelPath: "m", Extra: append([]string{o.Name()}, value...)}
			l, err := in.Launch(release)
			if o.Refused {
				require.ErrorContains(t, err, "use "+o.Use, o.Name())
				continue
			}
			require.NoError(t, err, "%s %s", release, o.Name())
			require.NotEmpty(t, l.Notices, "%s %s", release, o.Name())
		}
	}
}

// TestCompletions: an option counts once, under whichever spelling comes first.
func TestCompletions(t *testing.T) {
	t.Parallel()
	table := mustTable(t, "0.5.23")
	require.Equal(t, []string{"--moe-data-parallel-size", "--moe-dense-tp-size"}, table.completions("--moe-d"))
	require.Equal(t, []string{"--disable-cuda-graph", "--disable-cuda-graph-padding"}, table.completions("--disable-cuda"))
	require.Empty(t, table.completions("--"))
	require.Empty(t, table.completions("-m"))
}

func TestCheckArgs(t *testing.T) {
	t.Parallel()
	table := mustTable(t, "0.5.23")
	for _, args := range [][]string{
		{"--model-path", "m"},
		{"--model", "m", "--tp-size=2", "--cuda-graph-bs-decode", "1", "2", "--disable-radix-cache", "--chunked-prefill-size", "-1"},
		{"--model-path=m", "--disable-cuda-graph"},
	} {
		require.NoError(t, table.CheckArgs(args), "%v", args)
	}
	for want, args := range map[string][]string{
		"--model-path is missing":                  {"--tp-size", "2"},
		"--tp is not an option":                    {"--model-path", "m", "--tp", "2"},
		"takes one value, not 0":                   {"--model-path", "--tp-size", "2"},
		"m2 is a value without a flag before it":   {"--model-path", "m", "m2"},
		"takes no value":                           {"--model-path", "m", "--disable-radix-cache=1"},
		"extra is a value without":                 {"--model-path", "m", "--disable-radix-cache", "extra"},
		"--enable-expert-distribution-metrics is ": {"--model-path", "m", "--enable-expert-distribution-metrics"},
	} {
		require.ErrorContains(t, table.CheckArgs(args), strings.Trim(want, `"`), "%v", args)
	}
	require.ErrorContains(t, mustTable(t, "0.5.18").CheckArgs([]string{"--model", "m", "--enable-expert-distribution-metrics"}), "no longer supported")
}

// TestSplit_FormsAreOne: a flag may be given as one element, as "=", or as elements of its own.
func TestSplit_FormsAreOne(t *testing.T) {
	t.Parallel()
	table := mustTable(t, "0.5.23")
	rapid.Check(t, func(rt *rapid.T) {
		value := rapid.StringMatching(`[a-z0-9{}":,./_][ a-z0-9{}":,./_]{0,20}[a-z0-9{}":,./_]`).Draw(rt, "value")
		forms := [][]string{{"--served-model-name=" + value}, {"--served-model-name", value}}
		if !strings.ContainsAny(value, `"`) {
			forms = append(forms, []string{"--served-model-name " + value}, []string{`--served-model-name '` + value + `'`}, []string{`--served-model-name "` + value + `"`})
		}
		for _, form := range forms {
			list, notices, err := table.read(form, ofUser)
			if err != nil || len(notices) > 0 || len(list) != 1 || !slices.Equal(list[0].values, []string{value}) {
				rt.Fatalf("%q: %v %v %v", form, list, notices, err)
			}
		}
	})
}

// FuzzExtra: whatever a user types is refused with a FlagError that names it, or becomes arguments the release takes.
func FuzzExtra(f *testing.F) {
	for _, s := range []string{"--tp 2", "--cuda-graph-bs 1 2\n3", "--a=b", "x", "", "--", "-1", "--=", `--config '{"a": "--b"}'`, "--enable-dp-attention\n--dp 3", "--cuda-graph-config={}", "--chat-template=-x"} {
		f.Add(s, uint8(3)) // 0.5.10
		f.Add(s, uint8(20))
	}
	f.Fuzz(func(t *testing.T, elements string, which uint8) {
		release := Known()[int(which)%len(Known())]
		for _, mode := range modes {
			in := Intent{Mode: mode, ModelPath: "m", Deterministic: true, Extra: strings.Split(elements, "\n")}
			l, err := in.Launch(release)
			if err != nil {
				var refused *FlagError
				require.ErrorAs(t, err, &refused)
				require.NotEmpty(t, refused.Flag)
				require.Equal(t, release, refused.Release)
				continue
			}
			if mode == Offline {
				require.NoError(t, mustTable(t, release).CheckKeywords(l.Engine))
			} else {
				require.NoError(t, mustTable(t, release).CheckArgs(l.Args[2:]))
			}
		}
	})
}
