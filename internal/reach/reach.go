// Package reach holds which FlashInfer APIs SGLang calls, through which flags and on which GPUs, what those calls pass, and which
// APIs it never calls, with the source of each statement. It answers before GPU time is spent.
//
// A definition is reachable if a release calls its function, and collectable if that call also binds: if it passes every input of
// the definition in its element type. apis.json holds the first, calls.json the second.
//
// apis.json has an entry for each function or wrapper class, and a case for each range of releases, kind of definition and GPU
// architecture, each with the file and line it was read at. Ask takes the first case that fits a definition and its setting, adds
// what the setting makes of it (all-reduce fusion, a release between two that were read), binds the definition against the call
// (bind.go, by the tables of package binding, which the sanitizer uses too), and returns an Answer. Compatible reports which answers
// one server can serve. LookFor searches a node's own SGLang for an API without an entry.
//
// Guarantees: Ask is pure, and states nothing of what its Query leaves open except as a caution. A verdict other than Unknown has a
// reason and, where an API is named, a source.
//
// It does not take into account a checkpoint's quantization, nor whether a model has the layers that a definition describes: where they
// decide, a caution names them. It turns no mode into flags (package sglang does), and it starts nothing.
package reach

import "github.com/tracefleet/tracefleet/internal/fitrace"

// Query is the setting in which a definition is to be collected. Zero fields are not known yet, and no statement is made of them.
type Query struct {
	Release      string // SGLang's, such as 0.5.16
	Capability   int    // of the GPUs: 90 for sm_90, 100 for sm_100
	TP           int
	Architecture string // of the model, config.json's: "LlamaForCausalLM"
	PlanOnly     bool   // the wrappers' plans are dumped, not their runs
}

// Verdict is whether a definition can be collected.
type Verdict string

// The verdicts.
const (
	Reachable     Verdict = "reachable"     // called in this setting, and Binding is not Unbound
	Unreachable   Verdict = "unreachable"   // never called in this setting
	Uncollectable Verdict = "uncollectable" // called, and no call binds to the definition
	Unknown       Verdict = "unknown"       // no statement about this API: to be looked for in the node's own SGLang
)

// The modes an answer names, as proto.EngineMode spells them.
const (
	ModeOffline    = "offline"
	ModeHTTPPaged  = "http-paged"
	ModeHTTPRagged = "http-ragged"
	ModeAny        = "any"
)

// Answer is what is known of one definition's API in a setting.
type Answer struct {
	API        fitrace.API
	Verdict    Verdict
	Binding    Binding  // of a definition whose API is called
	Unverified bool     // the setting's release was not read: the answer is of another one
	Mode       string   // offline, http-paged, http-ragged; "any": every forward pass calls it. Empty where it is not called
	Why        string   // one sentence, for a person
	Requires   []string // flags that make SGLang call it, with the definition's element types, as "--flag value"
	Implied    []string // flags that the mode takes by itself in this release: not to be passed, but others may not bear them
	Excludes   []string // flags under which it is not called, as "--flag" or "--flag value"
	Instead    string   // the function that is called in its place, where there is one
	Cautions   []string // conditions of a reachable answer; and for any verdict, what was unknown
	Sources    []string // package, release, file and line that were read: "sglang 0.5.16 srt/layers/sampler.py:258"
}

// Refused reports whether nothing can be collected: the API is never called, or no call binds.
func (a Answer) Refused() bool { return a.Verdict == Unreachable || a.Verdict == Uncollectable }

// Collectable reports whether the API is called and the call binds.
func (a Answer) Collectable() bool { return a.Verdict == Reachable && a.Binding == Binds }
