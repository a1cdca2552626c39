package sglang

import (
	"fmt"
	"slices"
)

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
	NoFusion      bool     // norms are among the wanted APIs: keep them out of all-reduce fusion
	DecodeGraphs  bool     // leave decode CUDA graphs on; only for APIs whose structure is in their arguments
	AnyRelease    bool     // go on with the nearest known release's words where the release is outside the tested range
	Deterministic bool     // allow --enable-deterministic-inference where a release has no other way to turn ragged off
}

// Launch is how a release is started.
type Launch struct {
	Release string    // whose words these are
	Flags   []string  // what was settled, in either mode, each "--flag" or "--flag value"
	Settled Settled   // the same by field
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

// Launch returns the intent in the words of a release. Its errors are *FlagError and *ReleaseError.
func (in *Intent) Launch(release string) (*Launch, error) {
	t, err := Lookup(release, in.AnyRelease)
	if err != nil {
		return nil, err
	}
	l := &Launch{Release: t.Release}
	if Compare(t.Release, release) != 0 {
		l.Notices = append(l.Notices, fmt.Sprintf("SGLang %s is not known by itself: these are the words of %s", release, t.Release))
	}
	ours, env, notices, err := t.ours(in)
	if err != nil {
		return nil, err
	}
	l.Env, l.Notices = env, append(l.Notices, notices...)
	layers := [4][]*setting{ofOurs: ours} // by origin, weakest first
	for from, elements := range [4][]string{ofModel: in.ModelFlags, ofRequires: in.Requires, ofUser: in.Extra} {
		if origin(from) == ofOurs {
			continue
		}
		if layers[from], notices, err = t.read(elements, origin(from)); err != nil {
			return nil, err
		}
		l.Notices = append(l.Notices, notices...)
	}
	kept, notices, err := t.merge(in, layers[:]...)
	if err != nil {
		return nil, err
	}
	l.Notices = append(l.Notices, notices...)
	kept, notices = t.joinDP(kept)
	l.Notices = append(l.Notices, notices...)
	l.Settled = settled(kept)
	slices.Sort(l.Env)
	slices.Sort(l.Notices)
	l.Notices = slices.Compact(l.Notices)
	for _, s := range kept {
		l.Flags = append(l.Flags, s.String())
	}
	if in.Mode == Offline {
		l.Engine, err = t.engine(kept)
		return l, err
	}
	l.Args = []string{"-m", "sglang.launch_server"}
	for _, s := range kept {
		l.Args = append(l.Args, s.args()...)
	}
	// Both answer 200 only once the schedulers have loaded the model: the HTTP server is started after them. /ready also waits
	// for the server's own warm-up, which is skipped here; /health would generate, and /model_info is in every release.
	if l.Ready = "/model_info"; t.HasRoute("/ready") {
		l.Ready = "/ready"
	}
	return l, nil
}

// FlagError is a flag that a release does not take, or not with that value.
type FlagError struct {
	Flag, Release string
	Problem       string // what is wrong, in words
	Use           string // what this release has instead; empty: nothing known
	Source        string // who gave it, in words: "--extra-server-flag", "the model catalogue", "the wanted API", "tracefleet"
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
