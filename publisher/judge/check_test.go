package judge

import (
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/safetensors"
	"github.com/tracefleet/tracefleet/publisher/baseline"
)

func TestCheck_Good(t *testing.T) {
	t.Parallel()
	rep := good(t).check(Options{})
	if len(rep.Findings) > 0 || rep.Refuses() {
		t.Errorf("findings in a good dataset:\n%s", rep.Text())
	}
	if want := (Counts{Definitions: 1, Workloads: 2, Blobs: 2, Tensors: 6, Constraints: 4, Solutions: 1, Traces: 2}); rep.Counts != want {
		t.Errorf("counts %+v, want %+v", rep.Counts, want)
	}
}

// breakage is one way to break the good dataset. Each gives exactly these codes, and the first finding has all the words.
type breakage struct {
	name  string
	do    func(s files)
	want  []Code
	words string // separated by |
	opt   Options
}

var line1 = "\"uuid\": \"" + first + "\", \"axes\": {"

var breakages = []breakage{
	// layout
	{"another op type has the name", func(s files) { s.write("definitions/other/"+decode+".json", decodeJSON) }, []Code{DefinitionTwice}, "definitions/other", Options{}},
	{"name in the file", func(s files) { s.edit(decodeDef, `"name": "`+decode, `"name": "x`+decode) }, []Code{DefinitionPath}, "name is \"x" + decode, Options{}},
	{"op type in the file", func(s files) { s.edit(decodeDef, `"op_type": "gqa_paged"`, `"op_type": "gqa"`) }, []Code{DefinitionPath}, "op_type is \"gqa\"|gqa_paged", Options{}},
	{"workloads under another op type", func(s files) { s.write("workloads/other/"+decode+".jsonl", "") }, []Code{WorkloadsPath}, "workloads/other", Options{}},
	{"line of another definition", func(s files) { s.edit(decodeWls, `"definition": "gqa`, `"definition": "mla`) }, []Code{WorkloadDefinition, TraceWorkload, ProvenanceWorkload}, decodeWls + ":1|mla", Options{}},
	{"author of a solution", func(s files) { s.edit(solved, `"author": "baseline"`, `"author": "me"`) }, []Code{SolutionPath}, `author is "me"`, Options{}},
	{"definition of a solution", func(s files) { s.edit(solved, `"definition": "gqa`, `"definition": "mla`) }, []Code{SolutionPath}, `definition is "mla`, Options{}},
	{"name of a solution", func(s files) { s.edit(solved, `"name": "decode_wrapper"`, `"name": "w"`) }, []Code{SolutionPath}, `name is "w"`, Options{}},
	{"op type of a solution", func(s files) { s.move(solved, strings.Replace(solved, decodeOp, "gqa", 1)) }, []Code{SolutionPath}, `"gqa", must be "gqa_paged"`, Options{}},
	{"op type of traces", func(s files) { s.move(traced, strings.Replace(traced, decodeOp, "gqa", 1)) }, []Code{TracePath}, "traces/baseline/gqa/", Options{}},
	{"trace of another definition", func(s files) { s.edit(traced, `"definition": "gqa`, `"definition": "mla`) }, []Code{TraceDefinition}, "mla", Options{}},
	{"traces without an author", func(s files) { s.move(traced, "traces/"+decodeOp+"/"+decode+".jsonl") }, []Code{StrayFile, NoBaseline}, "traces/gqa_paged/" + decode, Options{}},
	{"solution without a definition", func(s files) { s.write("solutions/baseline/"+decodeOp+"/"+decode+".json", solutionJSON) }, []Code{StrayFile}, "solutions/baseline/gqa_paged/", Options{}},

	// definition
	{"definition cut", func(s files) { s.write(decodeDef, decodeJSON[:100]) }, []Code{DefinitionParse}, decodeDef + "|ends in the middle", Options{}},
	{"definition not UTF-8", func(s files) { s.edit(decodeDef, `"description": "d"`, "\"description\": \"\xff\"") }, []Code{DefinitionParse}, "0xff", Options{}},
	{"half of a surrogate pair", func(s files) { s.edit(decodeDef, `"description": "d"`, `"description": "\ud83d"`) }, []Code{DefinitionParse}, `\ud83d`, Options{}},
	{"dtype of the definition", func(s files) { s.edit(decodeDef, `"dtype": "int32"`, `"dtype": "uint32"`) }, []Code{DefinitionParse}, "uint32", Options{}},
	{"tags null", func(s files) { s.edit(decodeDef, `"tags": [`, `"tags": null, "x": [`) }, []Code{DefinitionParse}, "tags is null", Options{}},
	{"reference cut", func(s files) { s.edit(decodeDef, `    return q\n`, `    return (q\n`) }, []Code{DefinitionPython}, "never closed", Options{}},
	{"run in a string only", func(s files) {
		s.edit(decodeDef, `"reference": "def run`, `"reference": "'''\ndef run(x): ...\n'''\ndef go`)
	}, []Code{DefinitionPython}, "no top-level function run", Options{}},
	{"constraint", func(s files) { s.edit(decodeDef, "batch_size + 1", "batch_size +") }, []Code{ConstraintSyntax}, "constraints[0]|batch_size +", Options{}},
	{"constraint beyond us", func(s files) {
		s.edit(decodeDef, "len_indptr == batch_size + 1", "all(x > 0 for x in q.shape)")
	}, []Code{ConstraintUnknown}, "all(x", Options{}},
	{"constraint on random values", func(s files) { s.edit(decodeDef, "len_indptr == batch_size + 1", "q.max() > 0") }, []Code{ConstraintUnknown}, "random", Options{}},
	{"description", func(s files) { s.edit(decodeDef, `{"type": "var", "description": "d"}`, `{"type": "var"}`) }, []Code{NoDescription}, "axes.batch_size", Options{}},

	// workload
	{"no workloads", func(s files) {
		s.remove(decodeWls)
		s.remove(traced)
		s.remove(sourced)
		for _, uuid := range []string{first, second} {
			s.remove(strings.TrimPrefix(fitrace.BlobPath(decodeOp, decode, uuid), "./"))
		}
	}, []Code{NoWorkloads, NoBaseline}, decodeWls, Options{}},
	{"line is a trace", func(s files) { s.edit(decodeWls, `"solution": null`, `"solution": "x"`) }, []Code{LineParse, TraceWorkload, ProvenanceWorkload}, ":1|solution", Options{}},
	{"line cut", func(s files) { s.edit(decodeWls, `, "evaluation": null}`, ``) }, []Code{LineParse, TraceWorkload, ProvenanceWorkload}, ":1", Options{}},
	{"line of another encoding", func(s files) { s.edit(decodeWls, `"evaluation": null`, "\"evaluation\": null, \"note\": \"\xe9\"") }, []Code{LineParse}, "0xe9", Options{}},
	{"line separator in a line", func(s files) {
		s.edit(decodeWls, `"evaluation": null`, "\"evaluation\": null, \"note\": \"a\u2028b\"")
	}, []Code{LineParse, TraceWorkload, ProvenanceWorkload}, ":1|line break", Options{}},
	{"axis missing", func(s files) { s.edit(decodeWls, `"batch_size": 2, `, ``) }, []Code{Axes}, first + "|axes.batch_size is missing", Options{}},
	{"axis too many", func(s files) { s.edit(decodeWls, line1, line1+`"m": 3, `) }, []Code{Axes}, "axes.m is 3", Options{}},
	{"constant axis given", func(s files) { s.edit(decodeWls, line1, line1+`"page_size": 4, `) }, []Code{Axes}, "axes.page_size is 4", Options{}},
	{"axis 0", func(s files) { s.edit(decodeWls, `"num_pages": 5`, `"num_pages": 0`) }, []Code{AxisZero}, "axes.num_pages is 0", Options{}},
	{"input missing", func(s files) { s.edit(decodeWls, `"q": {"type": "random"}, `, ``) }, []Code{Inputs}, "inputs.q is missing", Options{}},
	{"input too many", func(s files) { s.edit(decodeWls, `"q": {`, `"r": {"type": "random"}, "q": {`) }, []Code{Inputs}, "inputs.r", Options{}},
	{"scalar for a tensor", func(s files) { s.edit(decodeWls, `"q": {"type": "random"}`, `"q": {"type": "scalar", "value": 1.0}`) }, []Code{InputType}, "inputs.q is scalar|[batch_size dim]", Options{}},
	{"random for a scalar", func(s files) { s.edit(decodeWls, `{"type": "scalar", "value": 0.125}`, `{"type": "random"}`) }, []Code{InputType}, "inputs.sm_scale is random", Options{}},
	{"integer for a float", func(s files) { s.edit(decodeWls, `"value": 0.125`, `"value": 1`) }, []Code{ScalarType}, "inputs.sm_scale: value 1 is no float32", Options{}},
	{"random lengths", func(s files) {
		path := fitrace.BlobPath(decodeOp, decode, first)
		s.edit(decodeWls, `{"type": "safetensors", "path": "`+path+`", "tensor_key": "kv_last_page_len"}`, `{"type": "random"}`)
	}, []Code{RandomIntegers}, "inputs.kv_last_page_len is random", Options{}},
	{"uuid twice", func(s files) { s.edit(decodeWls, `"uuid": "`+second, `"uuid": "`+first) }, []Code{UUIDTwice, TraceWorkload, ProvenanceWorkload}, ":2|:1", Options{}},

	// tensors
	{"blob missing", func(s files) { s.remove(strings.TrimPrefix(fitrace.BlobPath(decodeOp, decode, first), "./")) }, []Code{BlobMissing}, "inputs.kv_indptr|_" + first, Options{}},
	{"path leads out", func(s files) { s.edit(decodeWls, `"./blob`, `"../blob`) }, []Code{BlobMissing}, "leads out", Options{}},
	{"blob cut", func(s files) {
		file := strings.TrimPrefix(fitrace.BlobPath(decodeOp, decode, first), "./")
		s.write(file, s.read(file)[:200])
	}, []Code{BlobUnreadable}, "inputs.kv_indptr", Options{}},
	{"tensor missing", func(s files) { s.edit(decodeWls, `"tensor_key": "kv_indices"`, `"tensor_key": "indices"`) }, []Code{TensorMissing}, `tensor_key "indices"`, Options{}},
	{"shape", func(s files) { s.edit(decodeWls, `"num_kv_indices": 5`, `"num_kv_indices": 6`) }, []Code{TensorShape}, "inputs.kv_indices has shape [5]|[6]", Options{}},
	{"element type", func(s files) {
		s.blob(decodeOp, decode, first, ints("kv_indptr", 0, 2, 5), tensor{name: "kv_indices", values: []int64{0, 1, 2, 3, 4}, dtype: safetensors.I64}, ints("kv_last_page_len", 4, 1))
	}, []Code{TensorDType}, "inputs.kv_indices is I64|int32", Options{}},
	{"tensor unused", func(s files) {
		s.blob(decodeOp, decode, first, ints("kv_indptr", 0, 2, 5), ints("kv_indices", 0, 1, 2, 3, 4), ints("kv_last_page_len", 4, 1), ints("left", 1))
	}, []Code{TensorUnused}, `"left"`, Options{}},
	{"orphan", func(s files) { s.blob(decodeOp, decode, third, ints("kv_indptr", 0)) }, []Code{BlobOrphan}, third, Options{}},

	// values
	{"indptr begins", func(s files) { s.decodeBlob([]int64{1, 2, 5}, []int64{0, 1, 2, 3, 4}, []int64{4, 1}) }, []Code{PrefixSums}, "inputs.kv_indptr begins with 1", Options{}},
	{"indptr falls", func(s files) { s.decodeBlob([]int64{0, 6, 5}, []int64{0, 1, 2, 3, 4}, []int64{4, 1}) }, []Code{PrefixSums}, "falls from 6 to 5 at element 2", Options{}},
	{"indptr ends", func(s files) { s.decodeBlob([]int64{0, 2, 4}, []int64{0, 1, 2, 3, 4}, []int64{4, 1}) }, []Code{PrefixSums}, "ends at 4, kv_indices has 5", Options{}},
	{"page beyond the pool", func(s files) { s.decodeBlob([]int64{0, 2, 5}, []int64{0, 1, 5, 3, 9}, []int64{4, 1}) }, []Code{IndexRange}, "element 2 is 5 (2 of 5|0..4|5 pages", Options{}},
	{"negative page", func(s files) { s.decodeBlob([]int64{0, 2, 5}, []int64{0, -1, 2, 3, 4}, []int64{4, 1}) }, []Code{IndexRange}, "element 1 is -1", Options{}},
	{"last page empty", func(s files) { s.decodeBlob([]int64{0, 2, 5}, []int64{0, 1, 2, 3, 4}, []int64{4, 0}) }, []Code{LastPageLen}, "inputs.kv_last_page_len[1] is 0|1..4", Options{}},
	{"last page over", func(s files) { s.decodeBlob([]int64{0, 2, 5}, []int64{0, 1, 2, 3, 4}, []int64{5, 1}) }, []Code{LastPageLen}, "inputs.kv_last_page_len[0] is 5", Options{}},
	{"requests", func(s files) {
		s.edit(decodeWls, `"len_indptr": 3`, `"len_indptr": 4`)
		s.decodeBlob([]int64{0, 2, 4, 5}, []int64{0, 1, 2, 3, 4}, []int64{4, 1})
	}, []Code{RequestCount}, "3 requests, inputs.q 2 rows", Options{}},
	{"constraint does not hold", func(s files) { s.edit(decodeDef, "batch_size + 1", "batch_size + 2") }, []Code{Constraint}, first + "|batch_size + 2 does not hold", Options{}},

	// solution
	{"solution without sources", func(s files) {
		s.edit(solved, `"sources": [{"path": "main.py", "content": "def run(*args):\n    return args[0]\n"}]`, `"sources": []`)
	}, []Code{SolutionParse, TraceSolution}, "sources", Options{}},
	{"solution is no Python", func(s files) { s.edit(solved, `return args[0]`, `return args[0`) }, []Code{SolutionPython}, "main.py", Options{}},
	{"solution's name elsewhere", func(s files) { s.write("solutions/me/gemm/gemm_x/decode_wrapper.json", "{}") }, []Code{SolutionTwice}, "solutions/me/gemm", Options{}},

	// trace and baseline
	{"trace cut", func(s files) { s.edit(traced, `"speedup_factor": 15}}}`, `"speedup_factor": 15}}`) }, []Code{TraceParse, TraceCoverage}, traced + ":1", Options{}},
	{"trace without evaluation", func(s files) { s.write(traced, s.read(decodeWls)) }, []Code{TraceIncomplete}, first, Options{}},
	{"trace of no solution", func(s files) { s.write(traced, trace1(first, "x")+trace1(second, "decode_wrapper")) }, []Code{TraceSolution, BaselineSolution}, `"x"`, Options{}},
	{"trace of no workload", func(s files) { s.write(traced, s.read(traced)+trace1(third, "decode_wrapper")) }, []Code{TraceWorkload}, third, Options{}},
	{"traces of another author's solution", func(s files) {
		other := strings.ReplaceAll(strings.ReplaceAll(solutionJSON, "decode_wrapper", "mine"), `"author": "baseline"`, `"author": "me"`)
		s.write("solutions/me/"+decodeOp+"/"+decode+"/mine.json", other)
		s.edit(traced, `"solution": "decode_wrapper"`, `"solution": "mine"`)
	}, []Code{BaselineSolution}, `"mine"`, Options{}},
	{"workload without a trace", func(s files) { s.write(traced, trace1(first, "decode_wrapper")) }, []Code{TraceCoverage}, "1 of 2|" + second, Options{}},
	{"no baseline", func(s files) { s.remove(solved); s.remove(traced) }, []Code{NoBaseline}, "solutions/baseline", Options{}},
	{"no traces", func(s files) { s.remove(traced) }, []Code{NoBaseline}, traced, Options{}},
	{"baseline failed", func(s files) {
		s.edit(traced, "PASSED", "INCORRECT_NUMERICAL")
		s.edit(traced, `, "performance": {"latency_ms": 0.1, "reference_latency_ms": 1.5, "speedup_factor": 15}`, "")
	}, []Code{BaselineFailed}, "INCORRECT_NUMERICAL", Options{}},
	// provenance
	{"provenance under another op type", func(s files) { s.move(sourced, "provenance/gqa/"+decode+".jsonl") }, []Code{ProvenancePath}, "provenance/gqa/|gqa_paged", Options{}},
	{"provenance without an op type", func(s files) { s.move(sourced, "provenance/"+decode+".jsonl") }, []Code{StrayFile}, "provenance/" + decode, Options{}},
	{"provenance cut", func(s files) { s.edit(sourced, `"stated":[]`, `"stated":[`) }, []Code{ProvenanceParse}, sourced + ":1", Options{}},
	{"provenance without the mark", func(s files) { s.edit(sourced, `"simulated":false,`, ``) }, []Code{ProvenanceParse}, "simulated is missing", Options{}},
	{"provenance of a wrong type", func(s files) { s.edit(sourced, `"engine":"sglang"`, `"engine":7`) }, []Code{ProvenanceParse}, "engine is a JSON number", Options{}},
	{"provenance counts", func(s files) { s.edit(sourced, `"calls_with_content":1`, `"calls_with_content":9`) }, []Code{ProvenanceParse}, "calls_with_content is 9", Options{}},
	{"provenance of another encoding", func(s files) { s.edit(sourced, `"gpu":null`, "\"gpu\":\"\xe9\"") }, []Code{ProvenanceParse}, "0xe9", Options{}},
	{"provenance twice", func(s files) { s.write(sourced, s.read(sourced)+source(second, "t000", false)) }, []Code{ProvenanceTwice}, second + "|:3|line 2", Options{}},
	{"provenance of no workload", func(s files) { s.write(sourced, s.read(sourced)+source(third, "t000", false)) }, []Code{ProvenanceWorkload}, third, Options{}},
	{"a simulated workload", func(s files) { s.edit(sourced, `"simulated":false`, `"simulated":true`) }, []Code{SimulatedMix}, decodeWls + ":1|" + first + "|:2", Options{}},
	{"a simulated workload beside one of unknown origin", func(s files) { s.write(sourced, source(second, "t000", true)) }, []Code{SimulatedMix}, decodeWls + ":2|:1", Options{}},
	{"baseline computes NaN", func(s files) { s.edit(traced, `"max_absolute_error": 1e-5`, `"max_absolute_error": "NaN"`) }, []Code{OutputNaN}, "NaN", Options{}},
}

// decodeBlob replaces the first workload's blob.
func (s files) decodeBlob(indptr, indices, last []int64) {
	s.t.Helper()
	s.blob(decodeOp, decode, first, ints("kv_indptr", indptr...), ints("kv_indices", indices...), ints("kv_last_page_len", last...))
}

func TestCheck_Broken(t *testing.T) {
	t.Parallel()
	for _, b := range slices.Concat(breakages, unreal) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			s := good(t)
			b.do(s)
			rep := s.check(b.opt)
			if got := codes(rep); !slices.Equal(got, b.want) {
				t.Fatalf("codes %v, want %v\n%s", got, b.want, rep.Text())
			}
			for word := range strings.SplitSeq(b.words, "|") {
				if text := rep.Findings[0].String(); !strings.Contains(text, word) {
					t.Errorf("%q does not say %q", text, word)
				}
			}
			if f := rep.Findings[0]; f.Definition != decode && f.Code != DefinitionMissing && !strings.HasPrefix(f.Definition, "test_") {
				t.Errorf("the finding is about definition %q", f.Definition)
			}
		})
	}
}

func TestCheck_ProvenanceAbsentOrOfTwoCollections_IsValid(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(s files){
		"no provenance":   func(s files) { s.remove(sourced) },
		"all simulated":   func(s files) { s.write(sourced, source(first, "t000", true)+source(second, "t000", true)) },
		"two tasks":       func(s files) { s.write(sourced, s.read(sourced)+source(second, "t001", false)) },
		"one is unknown":  func(s files) { s.write(sourced, source(second, "t000", false)) },
		"a later release": func(s files) { s.edit(sourced, `"stated":[]`, `"stated":[],"later":{"x":1}`) },
	} {
		s := good(t)
		do(s)
		if rep := s.check(Options{}); len(rep.Findings) > 0 {
			t.Errorf("%s:\n%s", name, rep.Text())
		}
	}
}

// TestRules_EachIsBroken: a rule that no test breaks may hold nothing, and a code without a rule has no severity.
func TestRules_EachIsBroken(t *testing.T) {
	t.Parallel()
	broken := map[Code]bool{DefinitionMissing: true, PublishedTwin: true, OutputNaN: true, OutputConstant: true} // TestCheck_Missing, TestReal_PublishedContent, TestCheckOutputs
	for _, b := range slices.Concat(breakages, unreal) {
		for _, c := range b.want {
			broken[c] = true
		}
	}
	for _, r := range Rules() {
		if !broken[r.Code] {
			t.Errorf("no test breaks %s", r.Code)
		}
		delete(broken, r.Code)
		if r.Says == "" || r.Check == "" {
			t.Errorf("%s says nothing", r.Code)
		}
	}
	for code := range broken {
		t.Errorf("%s has no rule", code)
	}
}

func TestCheck_Missing(t *testing.T) {
	t.Parallel()
	rep := good(t).check(Options{}, decode, "nothing_of_this_name")
	if got := codes(rep); !slices.Equal(got, []Code{DefinitionMissing}) || rep.Findings[0].Definition != "nothing_of_this_name" || !rep.Refuses() {
		t.Errorf("%v\n%s", got, rep.Text())
	}
}

// TestCheck_Elsewhere: what is wrong in a definition that is not asked for is not told, but its uuids and blobs count.
func TestCheck_Elsewhere(t *testing.T) {
	t.Parallel()
	s := good(t)
	other := s.define(strings.ReplaceAll(decodeJSON, decode, "gqa_other"))
	s.decodeOf(other, third, []int64{1, 2}, []int64{9, 9})
	s.blob(decodeOp, decode, third, ints("kv_indptr", 0)) // of the same name as the other's, in this definition's directory
	s.edit("workloads/gqa_paged/gqa_other.jsonl", "./"+fitrace.BlobDir(decodeOp, "gqa_other")+"/gqa_other_", "./"+fitrace.BlobDir(decodeOp, decode)+"/"+decode+"_")
	if rep := s.check(Options{}, decode); len(rep.Findings) > 0 {
		t.Errorf("findings:\n%s", rep.Text())
	}
	s.edit("workloads/gqa_paged/gqa_other.jsonl", third, second)
	if got := codes(s.check(Options{}, decode)); !slices.Contains(got, UUIDTwice) {
		t.Errorf("the uuid of another definition's workload: %v", got)
	}
}

// TestCheck_Baselines: what is published beside the workloads passes too.
func TestCheck_Baselines(t *testing.T) {
	t.Parallel()
	defs, errs := fitrace.LoadDefinitions("../../testdata/dataset")
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	s := files{t, t.TempDir()}
	for _, def := range defs {
		s.define(string(def.Raw))
		if sol, err := baseline.For(def); err == nil { // not every API has one
			s.write(sol.Path, string(sol.JSON))
			if err := checkPython(sol.Test.Source, ""); err != nil {
				t.Errorf("%s: %v", sol.Test.Path, err)
			}
		}
	}
	if rep := s.check(Options{}); rep.Refuses() || rep.Counts.Solutions < 5 || rep.Counts.Definitions != len(defs) {
		t.Errorf("counts %+v\n%s", rep.Counts, rep.Text())
	}
}

// TestCheck_BlobOnce: a file that is missing is one fault, however many tensors of it a line needs.
func TestCheck_BlobOnce(t *testing.T) {
	t.Parallel()
	s := good(t)
	s.remove(strings.TrimPrefix(fitrace.BlobPath(decodeOp, decode, first), "./"))
	if rep := s.check(Options{}); len(rep.Findings) != 1 {
		t.Errorf("%d findings:\n%s", len(rep.Findings), rep.Text())
	}
}

// TestCheck_OtherAuthors: what others measured need not have passed, nor be the baseline's.
func TestCheck_OtherAuthors(t *testing.T) {
	t.Parallel()
	s := good(t)
	theirs := strings.ReplaceAll(strings.ReplaceAll(solutionJSON, "decode_wrapper", "mine"), `"author": "baseline"`, `"author": "me"`)
	s.write("solutions/me/"+decodeOp+"/"+decode+"/mine.json", theirs)
	failed := strings.Replace(trace1(second, "mine"), `"max_absolute_error": 1e-5`, `"max_absolute_error": "NaN"`, 1)
	s.write("traces/me/"+decodeOp+"/"+decode+".jsonl", trace1(first, "mine")+failed)
	if rep := s.check(Options{}); len(rep.Findings) > 0 || rep.Counts.Traces != 4 || rep.Counts.Solutions != 2 {
		t.Errorf("counts %+v\n%s", rep.Counts, rep.Text())
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	s := good(t)
	s.edit(decodeWls, `"batch_size": 2, `, ``)
	s.edit(decodeDef, `{"type": "var", "description": "d"}`, `{"type": "var"}`)
	rep := s.check(Options{})
	lines := strings.Split(strings.TrimSpace(rep.Text()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "refuse axes "+decode+" "+first+" "+decodeWls+":1: ") || !strings.HasPrefix(lines[1], "warn   no_description ") {
		t.Errorf("text:\n%s", rep.Text())
	}
	if !rep.Refuses() {
		t.Error("does not refuse")
	}
	rep.Excuse(func(f Finding) bool { return f.Workload == second })
	if !rep.Refuses() {
		t.Error("excused for another's line")
	}
	rep.Excuse(func(Finding) bool { return true })
	if rep.Refuses() || strings.Count(rep.Text(), "was there before") != 1 { // the warning was one before
		t.Errorf("excused:\n%s", rep.Text())
	}
}
