package judge

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
)

func uuidOf(n int) string { return fmt.Sprintf("00000000-0000-5000-8000-%012d", n) }

func mustParse(text string) *fitrace.Definition {
	d, err := fitrace.ParseDefinition([]byte(text), "test")
	if err != nil {
		panic(err)
	}
	return d
}

// More definitions, without anything that the tests of layout look at.
const (
	prefillJSON = `{"name": "test_prefill_causal_ps4", "description": "d", "op_type": "test_paged",
  "axes": {"total_q": {"type": "var", "description": "d"}, "num_pages": {"type": "var", "description": "d"}, "len_indptr": {"type": "var", "description": "d"},
    "num_kv_indices": {"type": "var", "description": "d"}, "page_size": {"type": "const", "value": 4, "description": "d"}},
  "inputs": {"q": {"shape": ["total_q"], "dtype": "bfloat16", "description": "d"}, "k_cache": {"shape": ["num_pages", "page_size"], "dtype": "bfloat16", "description": "d"},
    "qo_indptr": {"shape": ["len_indptr"], "dtype": "int32", "description": "d"}, "kv_indptr": {"shape": ["len_indptr"], "dtype": "int32", "description": "d"},
    "kv_indices": {"shape": ["num_kv_indices"], "dtype": "int32", "description": "d"}, "kv_last_page_len": {"shape": ["len_indptr"], "dtype": "int32", "description": "d"}},
  "outputs": {"out": {"shape": ["total_q"], "dtype": "bfloat16", "description": "d"}}, "reference": "def run(*a):\n    pass\n"}`
	routedJSON = `{"name": "test_routed", "description": "d", "op_type": "test_moe", "tags": ["fi_api:flashinfer.fused_moe.trtllm_fp4_block_scale_routed_moe", "ep:2"],
  "axes": {"seq_len": {"type": "var", "description": "d"}, "num_experts": {"type": "const", "value": 8, "description": "d"}, "top_k": {"type": "const", "value": 2, "description": "d"}},
  "inputs": {"topk_ids": {"shape": ["seq_len", "top_k"], "dtype": "int32", "description": "d"}},
  "outputs": {"out": {"shape": ["seq_len"], "dtype": "bfloat16", "description": "d"}}, "reference": "def run(x):\n    pass\n"}`
	expertJSON = `{"name": "test_experts", "description": "d", "op_type": "test_moe",
  "axes": {"seq_len": {"type": "var", "description": "d"}, "num_experts": {"type": "const", "value": 8, "description": "d"}, "num_local_experts": {"type": "const", "value": 4, "description": "d"}},
  "inputs": {"x": {"shape": ["seq_len"], "dtype": "bfloat16", "description": "d"}, "local_expert_offset": {"shape": null, "dtype": "int32", "description": "d"}},
  "outputs": {"out": {"shape": ["seq_len"], "dtype": "bfloat16", "description": "d"}}, "reference": "def run(x, o):\n    pass\n"}`
	tokensJSON = `{"name": "test_tokens", "description": "d", "op_type": "test_spec",
  "axes": {"batch_size": {"type": "var", "description": "d"}, "vocab_size": {"type": "const", "value": 100, "description": "d"}, "topk": {"type": "const", "value": 2, "description": "d"},
    "num_pages": {"type": "var", "description": "d"}, "page_size": {"type": "const", "value": 4, "description": "d"}},
  "inputs": {"draft_token_ids": {"shape": ["batch_size"], "dtype": "int64", "description": "d"}, "ckv_cache": {"shape": ["num_pages", "page_size"], "dtype": "bfloat16", "description": "d"},
    "sparse_indices": {"shape": ["batch_size", "topk"], "dtype": "int32", "description": "d"}},
  "outputs": {"out": {"shape": ["batch_size"], "dtype": "bfloat16", "description": "d"}}, "reference": "def run(*a):\n    pass\n"}`
)

// bigPages is the decode definition with pages of 64 tokens.
var bigPages = strings.NewReplacer(decode, "test_big", `"value": 4`, `"value": 64`).Replace(decodeJSON)

// published are lines of test_big with this batch size, one for each number of pages. Their blobs are not told.
func published(batch int64, pages ...int64) []fitrace.Line {
	var lines []fitrace.Line
	for i, n := range pages {
		w := fitrace.Workload{UUID: uuidOf(1000 + i), Axes: []fitrace.AxisValue{
			{Name: "batch_size", Value: batch}, {Name: "len_indptr", Value: batch + 1}, {Name: "num_kv_indices", Value: n}, {Name: "num_pages", Value: 77},
		}, Inputs: []fitrace.Input{{Name: "kv_indices", Type: fitrace.Safetensors, Path: "./x", TensorKey: "kv_indices"}}}
		lines = append(lines, fitrace.Line{Definition: "test_big", Workload: w})
	}
	return lines
}

// prefill adds a workload of requests with these queries, and these pages with full last ones.
func (s files) prefill(uuid string, queries, pages []int64) {
	s.t.Helper()
	def := s.define(prefillJSON)
	sums := func(list []int64) []int64 {
		out := []int64{0}
		for _, n := range list {
			out = append(out, out[len(out)-1]+n)
		}
		return out
	}
	qo, kv := sums(queries), sums(pages)
	n := kv[len(kv)-1]
	indices, last := make([]int64, n), make([]int64, len(kv))
	for i := range indices {
		indices[i] = n - 1 - int64(i)
	}
	for i := range pages {
		last[i] = 4
	}
	s.workload(def, uuid, map[string]int64{"total_q": qo[len(qo)-1], "num_pages": n, "len_indptr": int64(len(kv)), "num_kv_indices": n}, nil,
		ints("qo_indptr", qo...), ints("kv_indptr", kv...), ints("kv_indices", indices...), ints("kv_last_page_len", last...))
}

// unreal are ways in which a dataset that can be loaded does not look like traffic. Those of other definitions come without a baseline.
var unreal = []breakage{
	{"one token each", func(s files) { s.decodeOf(mustParse(decodeJSON), third, []int64{1, 1, 1, 1}, []int64{1, 1, 1, 1}) }, []Code{TraceCoverage, TinyKV}, "", Options{}},
	{"one page each", func(s files) { // of pages longer than what counts as tiny
		def := s.define(bigPages)
		s.decodeOf(def, third, []int64{1, 1, 1, 1}, []int64{40, 40, 40, 40})
	}, []Code{NoBaseline, TinyKV}, "", Options{}},
	{"sixteen tokens each", func(s files) { s.decodeOf(mustParse(decodeJSON), third, []int64{4, 4, 4, 4}, []int64{4, 4, 4, 4}) }, []Code{TraceCoverage, TinyKV}, "", Options{}},
	{"always the same length", func(s files) {
		def := s.define(bigPages)
		for i, pages := range []int64{3, 4, 5} {
			s.decodeOf(def, uuidOf(i), []int64{pages, pages, pages, pages, pages}, []int64{40, 40, 40, 40, 40})
		}
	}, []Code{NoBaseline, UniformKV}, "", Options{}},
	{"more queries than there are requests", func(s files) {
		def := s.define(strings.NewReplacer(`"qo_indptr": {"shape": ["len_indptr"]`, `"qo_indptr": {"shape": ["len_q"]`, `"axes": {`, `"axes": {"len_q": {"type": "var", "description": "d"}, `).Replace(prefillJSON))
		s.workload(def, third, map[string]int64{"total_q": 4, "num_pages": 2, "len_indptr": 3, "num_kv_indices": 2, "len_q": 4}, nil,
			ints("qo_indptr", 0, 1, 2, 4), ints("kv_indptr", 0, 1, 2), ints("kv_indices", 0, 1), ints("kv_last_page_len", 4, 4, 0))
	}, []Code{NoBaseline, RequestCount}, "", Options{}},
	{"more queries than keys", func(s files) { s.prefill(third, []int64{4, 9, 12}, []int64{1, 2, 3}) }, []Code{NoBaseline, QueriesOverKV}, "", Options{}},
	{"most without keys", func(s files) { s.prefill(third, []int64{0, 0, 4}, []int64{0, 0, 3}) }, []Code{NoBaseline, EmptyRequests}, "", Options{}},
	{"half without keys", func(s files) { s.prefill(third, []int64{3, 0}, []int64{3, 0}) }, []Code{NoBaseline, PaddedRequests}, "", Options{}},
	{"one without keys", func(s files) { s.prefill(third, []int64{3, 2, 0}, []int64{3, 2, 0}) }, []Code{NoBaseline, PaddedRequests}, "", Options{}},
	{"one batch size", func(s files) {
		def := s.define(bigPages)
		for i := range 4 {
			s.decodeOf(def, uuidOf(i), []int64{int64(i) + 2, 3}, []int64{40, 64})
		}
	}, []Code{NoBaseline, OneBatchSize}, "", Options{}},
	{"one batch size with what is published", func(s files) {
		def := s.define(bigPages)
		s.decodeOf(def, third, []int64{2, 3}, []int64{40, 64})
	}, []Code{NoBaseline, OneBatchSize}, "", Options{Published: map[string]Published{"test_big": {Lines: published(2, 7, 8, 9)}}}},
	{"three of a shape", func(s files) {
		def := s.define(bigPages)
		for i := range 3 {
			s.decodeOf(def, uuidOf(i), []int64{int64(i) + 2, 7 - int64(i)}, []int64{40, 64})
		}
	}, []Code{NoBaseline, RepeatedShape}, "", Options{}},
	{"third of a published shape", func(s files) {
		def := s.define(bigPages)
		s.decodeOf(def, third, []int64{2, 3}, []int64{40, 64})
	}, []Code{NoBaseline, PublishedShape}, "", Options{Published: map[string]Published{"test_big": {Lines: append(published(2, 5, 5), published(3, 5)...)}}}},
	{"same content", func(s files) { s.decodeOf(mustParse(decodeJSON), third, []int64{2, 3}, []int64{4, 1}) }, []Code{TraceCoverage, Duplicate}, "", Options{}},
	{"packed expert beyond the ranks'", func(s files) {
		s.workload(s.define(routedJSON), third, map[string]int64{"seq_len": 2}, nil, tensor{name: "topk_ids", values: []int64{15<<16 | 0x3f80, 0, -1, 16 << 16}, shape: []int64{2, 2}})
	}, []Code{NoBaseline, IndexRange}, "", Options{}},
	{"local experts beyond all", func(s files) {
		s.workload(s.define(expertJSON), third, map[string]int64{"seq_len": 2}, map[string]fitrace.Scalar{"local_expert_offset": {Kind: fitrace.Int, Int: 5}})
	}, []Code{NoBaseline, IndexRange}, "", Options{}},
	{"token beyond the vocabulary", func(s files) {
		s.workload(s.define(tokensJSON), third, map[string]int64{"batch_size": 2, "num_pages": 3}, nil, tensor{name: "draft_token_ids", values: []int64{1, 100}, dtype: "I64"},
			tensor{name: "sparse_indices", values: []int64{11, -1, 0, -1}, shape: []int64{2, 2}})
	}, []Code{NoBaseline, IndexRange}, "", Options{}},
	{"token beyond the cache", func(s files) {
		s.workload(s.define(tokensJSON), third, map[string]int64{"batch_size": 2, "num_pages": 3}, nil, tensor{name: "draft_token_ids", values: []int64{1, 99}, dtype: "I64"},
			tensor{name: "sparse_indices", values: []int64{12, -1, 0, -1}, shape: []int64{2, 2}})
	}, []Code{NoBaseline, IndexRange}, "", Options{}},
}

// TestReal_Traffic: what is at the threshold, and looks odd but is not wrong, is not told.
func TestReal_Traffic(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(s files){
		"three requests of one token": func(s files) { s.decodeOf(mustParse(decodeJSON), third, []int64{1, 1, 1}, []int64{1, 1, 1}) },
		"seventeen tokens each":       func(s files) { s.decodeOf(mustParse(decodeJSON), third, []int64{5, 5, 5, 5}, []int64{1, 1, 1, 1}) },
		"two of one length": func(s files) {
			def := s.define(bigPages)
			s.decodeOf(def, third, []int64{2, 2, 2, 2}, []int64{1, 1, 1, 1})
			s.decodeOf(def, uuidOf(1), []int64{3, 3, 3, 3, 3}, []int64{2, 2, 2, 2, 2})
		},
		"one page of several lengths": func(s files) { s.decodeOf(s.define(bigPages), third, []int64{1, 1, 1, 1}, []int64{40, 41, 40, 40}) },
		"one length of two pages": func(s files) {
			def := s.define(bigPages)
			s.decodeOf(def, third, []int64{2, 2, 2, 2}, []int64{1, 1, 1, 1})
			s.decodeOf(def, uuidOf(1), []int64{3, 3, 3, 3}, []int64{2, 2, 2, 2})
			s.decodeOf(def, uuidOf(2), []int64{4, 4, 4, 4}, []int64{2, 2, 2, 3})
		},
		"queries as many as keys": func(s files) { s.prefill(third, []int64{4, 8, 1}, []int64{1, 2, 1}) },
		"three of one batch size": func(s files) {
			def := s.define(bigPages)
			for i := range 3 {
				s.decodeOf(def, uuidOf(i), []int64{int64(i) + 2, 3}, []int64{40, 64})
			}
		},
		"two of a shape": func(s files) {
			def := s.define(bigPages)
			s.decodeOf(def, third, []int64{2, 3}, []int64{40, 64})
			s.decodeOf(def, uuidOf(1), []int64{3, 2}, []int64{40, 64})
		},
		"expert of the other rank, padding": func(s files) {
			s.workload(s.define(routedJSON), third, map[string]int64{"seq_len": 1}, nil, tensor{name: "topk_ids", values: []int64{15<<16 | 0xffff, -1}, shape: []int64{1, 2}})
		},
		"last token of the vocabulary and of the cache": func(s files) {
			s.workload(s.define(tokensJSON), third, map[string]int64{"batch_size": 2, "num_pages": 3}, nil, tensor{name: "draft_token_ids", values: []int64{0, 99}, dtype: "I64"},
				tensor{name: "sparse_indices", values: []int64{11, -1, 0, -1}, shape: []int64{2, 2}})
		},
		"queries of no dimension": func(s files) {
			s.decodeOf(s.define(strings.Replace(bigPages, `"q": {"shape": ["batch_size", "dim"]`, `"q": {"shape": []`, 1)), third, []int64{2, 3}, []int64{40, 64})
		},
		"packed floats at random": func(s files) {
			s.workload(s.define(strings.ReplaceAll(expertJSON, `"bfloat16"`, `"int8"`)), third, map[string]int64{"seq_len": 2}, map[string]fitrace.Scalar{"local_expert_offset": {Kind: fitrace.Int, Int: 4}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := good(t)
			s.remove(solved)
			s.remove(traced)
			do(s)
			if got := codes(s.check(Options{})); !slices.Equal(got, []Code{NoBaseline}) {
				t.Errorf("%v\n%s", got, s.check(Options{}).Text())
			}
		})
	}
}

// TestReal_PublishedContent: a workload that the repository has under another uuid, told by the digest of its blob.
func TestReal_PublishedContent(t *testing.T) {
	t.Parallel()
	s := good(t)
	lines, errs := fitrace.ParseLines(strings.NewReader(s.read(decodeWls)), decodeWls)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	theirs := lines[0]
	theirs.Workload.UUID = third
	sum := sha256.Sum256([]byte(s.read(strings.TrimPrefix(fitrace.BlobPath(decodeOp, decode, first), "./"))))
	theirs.Workload.Inputs = slices.Clone(theirs.Workload.Inputs)
	for i, in := range theirs.Workload.Inputs {
		if in.Type == fitrace.Safetensors {
			theirs.Workload.Inputs[i].Path = "./blob/workloads/x.safetensors"
		}
	}
	opt := Options{Published: map[string]Published{decode: {Lines: []fitrace.Line{theirs}, Blobs: map[string]string{"blob/workloads/x.safetensors": hex.EncodeToString(sum[:])}}}}
	rep := s.check(opt)
	if got := codes(rep); !slices.Equal(got, []Code{PublishedTwin}) || rep.Refuses() || rep.Findings[0].Workload != first || !strings.Contains(rep.Text(), third) {
		t.Errorf("%v\n%s", got, rep.Text())
	}
	opt.Published[decode].Blobs["blob/workloads/x.safetensors"] = strings.Repeat("0", 64)
	if got := codes(s.check(opt)); len(got) > 0 {
		t.Errorf("another blob: %v", got)
	}
	theirs.Workload.UUID = first // the same line
	opt.Published[decode].Lines[0] = theirs
	opt.Published[decode].Blobs["blob/workloads/x.safetensors"] = hex.EncodeToString(sum[:])
	if got := codes(s.check(opt)); len(got) > 0 {
		t.Errorf("the line itself: %v", got)
	}
}

func TestCheckOutputs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		output Output
		code   Code
		words  string
	}{
		{Output{Name: "out", Elements: 16, NaN: 3, Max: 1}, OutputNaN, "out has 3 NaN among 16"},
		{Output{Name: "out", Elements: 16}, OutputConstant, "out is 0 in 16 of 16"},
		{Output{Name: "lse", Elements: 16, Inf: 16}, OutputConstant, "lse is infinite in all 16"},
		{Output{Name: "lse", Elements: 64, Inf: 48, Min: 2, Max: 2}, OutputConstant, "lse is 2 in 16 of 64"},
		{Output{Name: "tokens", Elements: 15, Min: 3, Max: 3}, "", ""}, // few, equal by chance
		{Output{Name: "lse", Elements: 64, Inf: 32, Min: -1, Max: 3}, "", ""},
	} {
		test.output.Definition, test.output.Workload = decode, first
		switch got := CheckOutputs([]Output{test.output}); {
		case test.code == "" && len(got) > 0, test.code != "" && len(got) != 1:
			t.Errorf("%+v: %v", test.output, got)
		case test.code == "":
		case got[0].Code != test.code || got[0].Severity != Refuse || got[0].Workload != first || got[0].Definition != decode || !strings.Contains(got[0].String(), test.words):
			t.Errorf("%+v: %v", test.output, got)
		}
	}
}

// TestReal_PublishedDataset is the negative control: lines of the published dataset. Their blobs are not in the corpus, so what is
// judged is what lines and definitions say; the one thing wrong in it is known.
func TestReal_PublishedDataset(t *testing.T) {
	t.Parallel()
	s := files{t, goldentest.Shared(t, "dataset")}
	rep := s.check(Options{})
	if rep.Counts.Definitions < 90 || rep.Counts.Workloads < 400 {
		t.Fatalf("counts %+v", rep.Counts)
	}
	for _, f := range rep.Findings {
		switch {
		case f.Severity == Warn && (f.Code == NoWorkloads || f.Code == NoBaseline || f.Code == NoDescription):
		case f.Code == BlobMissing:
		case f.Code == AxisZero && f.Definition == "gqa_paged_prefill_causal_h32_kv4_d128_ps1" && strings.Contains(f.Message, "num_pages is 0"):
		default:
			t.Errorf("%s", f)
		}
	}
}
