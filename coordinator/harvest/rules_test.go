package harvest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// The names of the trace files that the rules are tried on.
const (
	decode = "gqa_paged_decode_h16_kv64_d64_ps4"
	ragged = "gqa_ragged_h16_kv4_d64"
	norm   = "rmsnorm_h1024"
	latent = "mla_paged_decode_h16_ckv512_kpe64_ps1"
	sample = "top_k_top_p_sampling_v32000"
)

// call writes the evidence of one call.
func callJSON(function, arguments, plan string) string {
	if plan != "" {
		plan = `, "plan": {` + plan + `}`
	}
	return fmt.Sprintf(`%q: [{"arguments": {%s}%s}]`, function, arguments, plan)
}

func tensorJSON(dtype string, shape ...int) string {
	text, _ := json.Marshal(map[string]any{"dtype": dtype, "shape": shape})
	return string(text)
}

// decodeCall is a decode run with that cache.
func decodeCall(cache, more, plan string) string {
	return callJSON("BatchDecodeWithPagedKVCacheWrapper.run",
		`"arg_1": `+tensorJSON("bfloat16", 8, 16, 64)+`, "arg_2__0": `+cache+`, "arg_2__1": `+cache+more, plan)
}

// TestRules changes one thing of a good file or of its evidence, and says what that makes of it.
func TestRules(t *testing.T) {
	t.Parallel()
	slots := tensorJSON("bfloat16", 4097, 4, 64)
	normCall := func(eps string) string {
		return callJSON("rmsnorm", `"arg_0": `+tensorJSON("bfloat16", 8, 1024)+`, "arg_1": `+tensorJSON("bfloat16", 1024)+`, "arg_2": `+eps, "")
	}
	for name, c := range map[string]struct {
		file     string
		edit     []string // old, new, old, new …
		evidence string
		status   Status // "" is staged
		reason   string
		words    string // in the detail, a doubt, a change or a note
		is       string // name of what is staged
	}{
		"slots by the run":           {file: decode, evidence: decodeCall(slots, "", ""), is: "gqa_paged_decode_h16_kv4_d64_ps1"},
		"slots by a whole plan":      {file: decode, evidence: callJSON("BatchDecodeWithPagedKVCacheWrapper.plan", `"arg_4": 16, "arg_5": 4, "arg_6": 64, "arg_7": 1`, ""), is: "gqa_paged_decode_h16_kv4_d64_ps1"},
		"slots by the plan of a run": {file: decode, evidence: callJSON("BatchDecodeWithPagedKVCacheWrapper.run", "", `"page_size": 1`), is: "gqa_paged_decode_h16_kv4_d64_ps1"},
		"plan of another model":      {file: decode, evidence: callJSON("BatchDecodeWithPagedKVCacheWrapper.plan", `"arg_4": 8, "arg_5": 4, "arg_6": 64, "arg_7": 1`, ""), status: SetAside, reason: ReasonNoEvidence},
		"run of another model":       {file: decode, evidence: callJSON("BatchDecodeWithPagedKVCacheWrapper.run", `"arg_1": `+tensorJSON("bfloat16", 8, 8, 64)+`, "arg_2__0": `+slots, `"page_size": 1`), status: SetAside, reason: ReasonNoEvidence},
		"no evidence of slots":       {file: decode, status: SetAside, reason: ReasonNoEvidence, words: "a dump of BatchDecodeWithPagedKVCacheWrapper.run or of its plan would tell"},
		"one KV head, and slots":     {file: decode, edit: []string{`"value": 4`, `"value": 1`, "ps4", "ps1"}, evidence: decodeCall(tensorJSON("bfloat16", 4097, 1, 64), "", ""), is: "gqa_paged_decode_h16_kv1_d64_ps1"},
		"really pages":               {file: decode, evidence: decodeCall(tensorJSON("bfloat16", 99, 4, 64, 64), "", ""), status: SetAside, reason: ReasonPartialPages},
		"pages and slots at once":    {file: decode, evidence: decodeCall(slots, "", `"page_size": 4, "num_kv_heads": 64`), status: SetAside, reason: ReasonKVLayout, words: "which of them"},
		"heads before tokens":        {file: decode, evidence: decodeCall(tensorJSON("bfloat16", 99, 4, 64, 64), "", `"page_size": 64, "num_kv_heads": 4`), status: SetAside, reason: ReasonKVLayout, words: "HND"},
		"heads that do not divide":   {file: decode, edit: []string{`"value": 16`, `"value": 15`, "h16", "h15"}, evidence: callJSON("BatchDecodeWithPagedKVCacheWrapper.plan", `"arg_4": 15, "arg_5": 4, "arg_6": 64, "arg_7": 1`, ""), status: SetAside, reason: ReasonKVLayout},
		"a name without its sizes":   {file: decode, edit: []string{`"name": "gqa_paged_decode_h16_kv64_d64_ps4"`, `"name": "decode_h16"`}, evidence: decodeCall(slots, "", ""), status: SetAside, reason: ReasonKVLayout, words: "does not say the sizes"},
		"another type of cache":      {file: decode, evidence: decodeCall(tensorJSON("float8_e4m3fn", 4097, 4, 64), "", ""), status: SetAside, reason: ReasonDisagrees, words: "k_cache is float8_e4m3fn, the file says bfloat16"},
		"the plan's types":           {file: decode, evidence: callJSON("BatchDecodeWithPagedKVCacheWrapper.plan", `"arg_4": 16, "arg_5": 4, "arg_6": 64, "arg_7": 1, "kwarg_q_data_type": "torch.float16"`, ""), status: SetAside, reason: ReasonDisagrees, words: "q is planned as float16"},
		"a scale of the cache":       {file: decode, evidence: decodeCall(slots, `, "kwarg_k_scale": 0.5`, ""), status: SetAside, reason: ReasonIgnored, words: "k_scale=0.5"},
		"a scale of one":             {file: decode, evidence: decodeCall(slots, `, "kwarg_k_scale": 1.0`, ""), is: "gqa_paged_decode_h16_kv4_d64_ps1"},
		"attention sinks":            {file: decode, evidence: decodeCall(slots, `, "kwarg_sinks": `+tensorJSON("float32", 16), ""), status: SetAside, reason: ReasonIgnored, words: "sinks"},
		"8-bit cache": {file: decode, edit: []string{`"head_dim"
      ],
      "dtype": "bfloat16"
    },
    "v_cache"`, `"head_dim"
      ],
      "dtype": "float8_e4m3fn"
    },
    "v_cache"`}, evidence: callJSON("BatchDecodeWithPagedKVCacheWrapper.plan", `"arg_4": 16, "arg_5": 4, "arg_6": 64, "arg_7": 1`, ""), is: "gqa_paged_decode_h16_kv4_d64_ps1", words: "8-bit KV cache"},
		"float16": {file: ragged, edit: []string{`"bfloat16"`, `"float16"`}, is: "gqa_ragged_prefill_causal_h16_kv4_d64", words: "torch.float16"},

		"values narrower than keys":       {file: ragged, evidence: callJSON("BatchPrefillWithRaggedKVCacheWrapper.run", `"arg_1": `+tensorJSON("bfloat16", 9, 16, 64)+`, "arg_2": `+tensorJSON("bfloat16", 9, 4, 64)+`, "arg_3": `+tensorJSON("bfloat16", 9, 4, 32), ""), status: SetAside, reason: ReasonDisagrees, words: "v has 32 where the definition has head_dim 64"},
		"latent widths, unseen":           {file: ragged, edit: []string{`"value": 64`, `"value": 192`, "d64", "d192"}, status: SetAside, reason: ReasonNoEvidence},
		"int64 offsets at plan":           {file: ragged, evidence: callJSON("BatchPrefillWithRaggedKVCacheWrapper.plan", `"arg_1": `+tensorJSON("int64", 9)+`, "arg_3": 16`, ""), is: "gqa_ragged_prefill_causal_h16_kv4_d64", words: "as the dump of plan has it"},
		"offsets of another model's plan": {file: ragged, evidence: callJSON("BatchPrefillWithRaggedKVCacheWrapper.plan", `"arg_1": `+tensorJSON("int64", 9)+`, "arg_3": 8`, ""), is: "gqa_ragged_prefill_causal_h16_kv4_d64", words: "FlashInfer takes int32"},
		"windows in every plan":           {file: ragged, evidence: callJSON("BatchPrefillWithRaggedKVCacheWrapper.plan", `"arg_3": 16, "kwarg_window_left": 127`, ""), status: SetAside, reason: ReasonIgnored},
		"a window in one plan of two":     {file: ragged, evidence: `"BatchPrefillWithRaggedKVCacheWrapper.plan": [{"arguments": {"arg_3": 16, "kwarg_window_left": 127}}, {"arguments": {"arg_3": 16}}]`, is: "gqa_ragged_prefill_causal_h16_kv4_d64", words: "window_left=127"},

		"another epsilon":      {file: norm, evidence: normCall("1e-05"), is: norm, words: "EPS = 1e-5"},
		"the same epsilon":     {file: norm, evidence: normCall("1e-06"), is: norm},
		"two epsilons":         {file: norm, evidence: strings.TrimSuffix(normCall("1e-05"), "]") + "," + normCall("1e-06")[len(`"rmsnorm": [`):], status: SetAside, reason: ReasonEpsilon},
		"unknown epsilon":      {file: norm, is: norm, words: "no dump tells what the model uses"},
		"a norm over heads":    {file: norm, evidence: callJSON("rmsnorm", `"arg_0": `+tensorJSON("bfloat16", 8, 1024, 64)+`, "arg_1": `+tensorJSON("bfloat16", 64), ""), status: SetAside, reason: ReasonDisagrees, words: "3 dimensions"},
		"other sizes only":     {file: norm, evidence: callJSON("rmsnorm", `"arg_0": `+tensorJSON("bfloat16", 8, 2048)+`, "arg_1": `+tensorJSON("bfloat16", 2048), ""), is: norm, words: "no dump of rmsnorm with these shapes"},
		"another word for it":  {file: norm, edit: []string{"(hidden_states, weight)", "(input, weight)", "x = hidden_states", "x = input"}, is: norm},
		"inputs out of order":  {file: norm, edit: []string{"(hidden_states, weight)", "(weight, hidden_states)"}, is: norm, words: "order of the reference's parameters"},
		"a parameter too many": {file: norm, edit: []string{"(hidden_states, weight)", "(hidden_states, weight, bias)"}, status: SetAside, reason: ReasonArguments, words: "takes bias"},
		"by keyword only":      {file: norm, edit: []string{"(hidden_states, weight)", "(hidden_states, *, weight)"}, status: SetAside, reason: ReasonArguments, words: "keyword only"},
		"a default is fine":    {file: norm, edit: []string{"(hidden_states, weight)", "(hidden_states, weight, bias=None)"}, is: norm},
		"two values returned":  {file: norm, edit: []string{").to(torch.bfloat16)", ").to(torch.bfloat16), x"}, status: SetAside, reason: ReasonArguments, words: "returns 2 values"},
		"nothing returned":     {file: norm, edit: []string{"return (x", "y = (x"}, status: SetAside, reason: ReasonBadReference},
		"another type":         {file: norm, edit: []string{").to(torch.bfloat16)", ").to(torch.float8_e4m3fn)"}, status: SetAside, reason: ReasonDType, words: "returns float8_e4m3fn"},
		"a helper left behind": {file: norm, edit: []string{"hidden_states.float()", "_widen(hidden_states)"}, status: SetAside, reason: ReasonHelpers, words: "_widen"},
		"not Python":           {file: norm, edit: []string{`EPS = 1e-6\n`, `EPS = 1e-6)\n`}, status: SetAside, reason: ReasonBadReference, words: "line 8"},
		"no reference":         {file: norm, edit: []string{`"reference"`, `"source"`}, status: SetAside, reason: ReasonNoReference},
		"bytes":                {file: norm, edit: []string{`"bfloat16"`, `"uint8"`}, status: SetAside, reason: ReasonDType, words: "uint8"},
		"an odd type":          {file: norm, edit: []string{`"bfloat16"`, `"float64"`}, status: SetAside, reason: ReasonDType, words: "float64"},
		"type not known":       {file: sample, edit: []string{`"float32"`, `"unknown"`}, status: SetAside, reason: ReasonDType, words: "no dump of it"},
		"type by the dump":     {file: sample, edit: []string{`"int32"`, `"unknown"`}, evidence: callJSON("top_k_top_p_sampling_from_probs", `"arg_0": `+tensorJSON("float32", 8, 32000)+`, "arg_1": `+tensorJSON("int32", 8)+`, "arg_2": `+tensorJSON("float32", 8), ""), is: "top_k_top_p_sampling_from_probs_v32000", words: "as the dumps have it"},
		"a number, no tensor":  {file: sample, edit: []string{`"int32"`, `"unknown"`}, evidence: callJSON("top_k_top_p_sampling_from_probs", `"arg_0": `+tensorJSON("float32", 8, 32000)+`, "arg_1": 40`, ""), status: SetAside, reason: ReasonDType, words: "passed as 40"},
		"a constant unknown":   {file: norm, edit: []string{`"value": 1024`, `"description": "?"`}, status: SetAside, reason: ReasonAxis, words: "hidden_size has no value"},
		"an axis of no input": {file: norm, edit: []string{`"outputs": {
    "output": {
      "shape": [
        "batch_size"`, `"outputs": {
    "output": {
      "shape": [
        "rows"`, `"axes": {`, `"axes": {"rows": {"type": "var"},`}, status: SetAside, reason: ReasonAxis, words: "rows"},
		"an axis nowhere":   {file: norm, edit: []string{`"axes": {`, `"axes": {"rows": {"type": "var"},`}, is: norm, words: "nothing that is left uses it"},
		"an odd constraint": {file: norm, edit: []string{`"inputs": {`, `"constraints": ["batch_size <= rows", "batch_size > 0"], "inputs": {`}, is: norm, words: "it is about rows"},
		"an odd name":       {file: norm, edit: []string{`"rmsnorm_h1024"`, `"../rmsnorm_h1024"`}, status: SetAside, reason: ReasonInvalid},

		"optional and not passed": {file: latent, is: latent, words: "taken as not passed"},
		"pages of latent rows": {file: latent, edit: []string{`"value": 1
`, `"value": 32
`, "ps1", "ps32"}, status: SetAside, reason: ReasonPartialPages},
		"a scale that is passed": {file: latent, evidence: callJSON("BatchMLAPagedAttentionWrapper.run", `"arg_1": `+tensorJSON("bfloat16", 8, 16, 512)+`, "kwarg_ckv_scale": 2.0`, ""), is: latent, words: "no call passes it"},
		"a gap in the arguments": {file: latent, evidence: callJSON("BatchMLAPagedAttentionWrapper.run", `"arg_1": `+tensorJSON("bfloat16", 8, 16, 512)+`, "kwarg_ckv_scale_arr": `+tensorJSON("float32", 9, 1, 4), ""), status: SetAside, reason: ReasonArguments, words: "takes ckv_scale before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := read(t, c.file)
			for i := 0; i < len(c.edit); i += 2 {
				if !strings.Contains(text, c.edit[i]) {
					t.Fatalf("the file has no %q", c.edit[i])
				}
				text = strings.ReplaceAll(text, c.edit[i], c.edit[i+1])
			}
			f := File{Source: c.file + ".json", Data: []byte(text), TP: 1}
			var err error
			if f.Evidence, err = ParseEvidence([]byte(`{"functions": {`+c.evidence+`}}`), "test"); err != nil {
				t.Fatal(err)
			}
			report := Run([]File{f}, nil)
			e := single(t, report)
			if c.status == "" {
				c.status = Staged
			}
			if e.Status != c.status || e.Reason != c.reason {
				t.Fatalf("%s is %s (%s: %s), want %s (%s)", e.Source, e.Status, e.Reason, e.Detail, c.status, c.reason)
			}
			if c.status == Staged {
				if def := definition(t, report, e); def.Name != c.is {
					t.Errorf("the definition is %s, want %s", def.Name, c.is)
				}
			}
			if !strings.Contains(string(report.Markdown()), strings.Join(strings.Fields(c.words), " ")) {
				t.Errorf("the report does not say %q:\n%s", c.words, report.Markdown())
			}
		})
	}
}
