package sglang

// Mode is how SGLang is driven.
type Mode string

// The modes. Their names are those of proto.EngineMode.
const (
	Offline    Mode = "offline"     // sgl.Engine in our own driver process: a batch is submitted whole
	HTTPPaged  Mode = "http-paged"  // the server, with its ragged prefill path off
	HTTPRagged Mode = "http-ragged" // the server, with its ragged prefill path on
)

// Intent is what an SGLang process is to be and do, free of any release's words. Zero fields ask for nothing.
type Intent struct {
	Mode          Mode
	ModelPath     string
	TP, EP        int
	PageSize      int      // tokens a page of the allocator; 0: SGLang's default
	PoolTokens    int      // most tokens of the KV pool
	Running       int      // most requests in flight
	DisableRadix  bool     // no prefix cache
	NoTokenizer   bool     // token ids in and out; false where chat or text needs the tokenizer
	Host          string   // where the server listens
	Port          int      // 0 in a plan: not chosen yet
	Requires      []string // flags that the wanted APIs need, as package reach names them: "--moe-runner-backend flashinfer_trtllm"
	ModelFlags    []string // of the model catalogue, each an argument or "--flag value"; Requires wins over them
	Extra         []string // the user's, likewise; they win over everything
	IncludeMLA    bool     // an MLA wrapper is among the wanted APIs: turning ragged off takes a flag of its own
	DecodeGraphs  bool     // leave decode CUDA graphs on; only for APIs whose structure is in their arguments
	AnyRelease    bool     // go on with the nearest known release's words where the release is outside the tested range
	Deterministic bool     // allow --enable-deterministic-inference where a release has no other way to turn ragged off
}

// Launch is how a release is started.
type Launch struct {
	Release string    // whose words these are
	Args    []string  // after the interpreter, for the HTTP modes: -m sglang.launch_server --model-path …
	Engine  []Keyword // for Offline: keyword arguments of sgl.Engine, sorted by name
	Env     []string  // NAME=value, sorted: what SGLang itself reads; FLASHINFER_* of the dump are proto.DumpSpec's
	Ready   string    // path that answers 200 when the server is ready, without generating
	Notices []string  // flags that were translated, and what a choice costs
}

// Keyword is a keyword argument of sgl.Engine. Value is a string, bool, int64, float64, a list of these, or a JSON object.
type Keyword struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

// FlagError is a flag that a release does not take, or not with that value.
type FlagError struct {
	Flag, Release string
	Problem       string // what is wrong, in words
	Use           string // what this release has instead; empty: nothing known
}

// Error names the flag, the release and what to use.
func (e *FlagError) Error() string {
	s := "SGLang " + e.Release + ": " + e.Flag + " " + e.Problem
	if e.Use != "" {
		s += "; use " + e.Use
	}
	return s
}

// ReleaseError is a release outside the tested range.
type ReleaseError struct{ Release, First, Last string }

// Error names the range.
func (e *ReleaseError) Error() string {
	return "SGLang " + e.Release + " is outside the tested range, " + e.First + " to " + e.Last
}
