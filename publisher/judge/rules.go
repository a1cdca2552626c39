package judge

import "slices"

// Code names a rule.
type Code string

// Rule is what a code means.
type Rule struct {
	Code     Code     `json:"code"`
	Check    string   `json:"check"` // layout, definition, workload, solution, trace, baseline (as flashinfer-bench names them), tensor, values, provenance, real
	Severity Severity `json:"severity"`
	Says     string   `json:"says"`
}

// The codes, in the order of [Rules].
const (
	DefinitionMissing  Code = "definition_missing"
	DefinitionTwice    Code = "definition_twice"
	DefinitionPath     Code = "definition_path"
	WorkloadsPath      Code = "workloads_path"
	WorkloadDefinition Code = "workload_definition"
	SolutionPath       Code = "solution_path"
	TracePath          Code = "trace_path"
	TraceDefinition    Code = "trace_definition"
	ProvenancePath     Code = "provenance_path"
	StrayFile          Code = "stray_file"

	DefinitionParse   Code = "definition_parse"
	DefinitionPython  Code = "definition_python"
	ConstraintSyntax  Code = "constraint_syntax"
	ConstraintUnknown Code = "constraint_unknown"
	NoDescription     Code = "no_description"

	NoWorkloads    Code = "no_workloads"
	LineParse      Code = "line_parse"
	Axes           Code = "axes"
	AxisZero       Code = "axis_zero"
	Inputs         Code = "inputs"
	InputType      Code = "input_type"
	ScalarType     Code = "scalar_type"
	RandomIntegers Code = "random_integers"
	UUIDTwice      Code = "uuid_twice"

	BlobMissing    Code = "blob_missing"
	BlobUnreadable Code = "blob_unreadable"
	TensorMissing  Code = "tensor_missing"
	TensorShape    Code = "tensor_shape"
	TensorDType    Code = "tensor_dtype"
	TensorUnused   Code = "tensor_unused"
	BlobOrphan     Code = "blob_orphan"

	PrefixSums   Code = "prefix_sums"
	IndexRange   Code = "index_range"
	LastPageLen  Code = "last_page_len"
	RequestCount Code = "request_count"
	Constraint   Code = "constraint"

	SolutionParse  Code = "solution_parse"
	SolutionPython Code = "solution_python"
	SolutionTwice  Code = "solution_twice"

	TraceParse      Code = "trace_parse"
	TraceIncomplete Code = "trace_incomplete"
	TraceSolution   Code = "trace_solution"
	TraceWorkload   Code = "trace_workload"
	TraceCoverage   Code = "trace_coverage"

	ProvenanceParse    Code = "provenance_parse"
	ProvenanceTwice    Code = "provenance_twice"
	ProvenanceWorkload Code = "provenance_workload"
	SimulatedMix       Code = "simulated_mix"

	NoBaseline       Code = "no_baseline"
	BaselineSolution Code = "baseline_solution"
	BaselineFailed   Code = "baseline_failed"

	TinyKV         Code = "tiny_kv"
	UniformKV      Code = "uniform_kv"
	QueriesOverKV  Code = "queries_over_kv"
	EmptyRequests  Code = "empty_requests"
	PaddedRequests Code = "padded_requests"
	OneBatchSize   Code = "one_batch_size"
	RepeatedShape  Code = "repeated_shape"
	PublishedShape Code = "published_shape"
	PublishedTwin  Code = "published_twin"
	Duplicate      Code = "duplicate"
	OutputNaN      Code = "output_nan"
	OutputConstant Code = "output_constant"
)

var rules = []Rule{
	{DefinitionMissing, "layout", Refuse, "a definition that is to be published is not in the dataset"},
	{DefinitionTwice, "layout", Refuse, "two op types have a definition of this name"},
	{DefinitionPath, "layout", Refuse, "name or op_type in the file is not that of its path"},
	{WorkloadsPath, "layout", Refuse, "the workloads are under another op type than the definition"},
	{WorkloadDefinition, "layout", Refuse, "a line is of another definition than its file"},
	{SolutionPath, "layout", Refuse, "author, definition, name or op type of a solution is not that of its path"},
	{TracePath, "layout", Refuse, "the traces are under another op type than the definition"},
	{TraceDefinition, "layout", Refuse, "a trace is of another definition than its file"},
	{ProvenancePath, "layout", Refuse, "the provenance is under another op type than the definition"},
	{StrayFile, "layout", Warn, "a file is at a depth where flashinfer-bench's validator does not see it, and its loader may"},

	{DefinitionParse, "definition", Refuse, "the definition is not of the schema"},
	{DefinitionPython, "definition", Refuse, "the reference is no Python: strings, brackets or indentation do not fit, or there is no top-level run"},
	{ConstraintSyntax, "definition", Refuse, "a constraint is no Python expression"},
	{ConstraintUnknown, "definition", Warn, "a constraint is more Python than can be evaluated here"},
	{NoDescription, "definition", Warn, "the definition, an axis, an input or an output has no description"},

	{NoWorkloads, "workload", Warn, "there is no workloads file"},
	{LineParse, "workload", Refuse, "a line is not of the schema, or is a trace, or the file is no UTF-8"},
	{Axes, "workload", Refuse, "a variable axis is missing, or the definition has no such variable axis"},
	{AxisZero, "workload", Refuse, "an axis is not positive"},
	{Inputs, "workload", Refuse, "an input is missing, or the definition has no such input"},
	{InputType, "workload", Refuse, "a scalar where the definition has a tensor, or the other way round"},
	{ScalarType, "workload", Refuse, "a number is of another type than the definition says"},
	{RandomIntegers, "workload", Refuse, "integers or booleans are random, so that indices point anywhere; int8 may be, it holds packed floats"},
	{UUIDTwice, "workload", Refuse, "two workloads have the same uuid"},

	{BlobMissing, "tensor", Refuse, "a line refers to a file that is not there, or outside of the dataset"},
	{BlobUnreadable, "tensor", Refuse, "a blob is not safetensors, or was cut"},
	{TensorMissing, "tensor", Refuse, "a blob has no tensor of the key"},
	{TensorShape, "tensor", Refuse, "a tensor's shape is not what definition and axes give"},
	{TensorDType, "tensor", Refuse, "a tensor's element type is not exactly the definition's"},
	{TensorUnused, "tensor", Refuse, "no line refers to a tensor of a blob"},
	{BlobOrphan, "tensor", Warn, "no line of any definition refers to a blob"},

	{PrefixSums, "values", Refuse, "an indptr does not start at 0, falls, or does not end where what it divides ends"},
	{IndexRange, "values", Refuse, "an index is negative, or beyond what it counts: pages, experts, tokens of the vocabulary, states"},
	{LastPageLen, "values", Refuse, "a last page has less than 1 or more than page_size tokens"},
	{RequestCount, "values", Refuse, "indptrs, lengths and rows speak of different numbers of requests"},
	{Constraint, "values", Refuse, "a constraint of the definition does not hold"},

	{SolutionParse, "solution", Refuse, "a solution is not of the schema"},
	{SolutionPython, "solution", Refuse, "a Python source of a solution is no Python, as far as seen here"},
	{SolutionTwice, "solution", Refuse, "two solutions of the dataset have this name, and its loader stops at the second"},

	{TraceParse, "trace", Refuse, "a trace is not of the schema"},
	{TraceIncomplete, "trace", Refuse, "a trace has no solution or no evaluation"},
	{TraceSolution, "trace", Refuse, "a trace is of a solution that is not in the dataset"},
	{TraceWorkload, "trace", Refuse, "a trace is of a workload that is not in the dataset"},
	{TraceCoverage, "trace", Warn, "an author's traces do not cover all workloads"},

	{ProvenanceParse, "provenance", Refuse, "a line of the provenance is not of its schema"},
	{ProvenanceTwice, "provenance", Refuse, "two lines of the provenance have the same uuid, collection and task"},
	{ProvenanceWorkload, "provenance", Refuse, "a line of the provenance is about a workload that is not in the dataset"},
	{SimulatedMix, "provenance", Refuse, "simulated workloads are in one file with workloads that are not known to be simulated"},

	{NoBaseline, "baseline", Warn, "there is no baseline solution, or it has no traces"},
	{BaselineSolution, "baseline", Refuse, "a trace of the baseline is of a solution that is none of the baseline's"},
	{BaselineFailed, "baseline", Warn, "the baseline did not pass on a workload"},

	{TinyKV, "real", Refuse, "all requests of a batch have the same few cached tokens, or one page: a synthetic look"},
	{UniformKV, "real", Warn, "in every batch all requests have the same KV length: generated prompts of one length, or a window over longer ones"},
	{QueriesOverKV, "real", Refuse, "a request of a causal attention has more queries than keys: half of an attention"},
	{EmptyRequests, "real", Refuse, "most requests have no keys or no queries: the structure is of another call"},
	{PaddedRequests, "real", Warn, "some requests have no keys or no queries: padding of a graph"},
	{OneBatchSize, "real", Warn, "all workloads have the same batch size"},
	{RepeatedShape, "real", Refuse, "more than two workloads have the same axes, num_pages aside"},
	{PublishedShape, "real", Skip, "with those that the repository has, more than two workloads have the same axes, num_pages aside"},
	{PublishedTwin, "real", Skip, "the repository has a workload of the same content under another uuid"},
	{Duplicate, "real", Refuse, "another workload has the same content: its results can be remembered instead of computed"},
	{OutputNaN, "real", Refuse, "the baseline computes NaN on a workload"},
	{OutputConstant, "real", Refuse, "an output of the baseline is the same number throughout, so that a no-op might pass"},
}

// Rules lists every rule of Check.
func Rules() []Rule { return slices.Clone(rules) }

func (c Code) severity() Severity {
	for _, r := range rules {
		if r.Code == c {
			return r.Severity
		}
	}
	return Refuse
}
