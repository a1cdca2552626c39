// Package reach knows which FlashInfer APIs SGLang calls, through which flags and on which GPUs, and which it never does, with
// the source of each statement. It answers before GPU time is spent.
//
// What it knows is data, apis.json: an entry for each function or wrapper class, a case for each range of releases, kind of
// definition and GPU architecture, each with the file and line it was read at. Ask takes the first case that fits a definition and
// its setting, adds what the setting makes of it (all-reduce fusion, a release between two that were read), and gives an Answer.
// Compatible tells which answers one server can serve. LookFor searches a node's own SGLang for an API without an entry.
//
// Guarantees: Ask is pure, and says nothing of what its Query leaves open except as a caution. A verdict other than Unknown has a
// reason and, where an API is named, a source.
//
// It does not know what a checkpoint's quantization is, nor whether a model has the layers a definition describes: where that
// decides, a caution says so. It turns no mode into flags (package sglang does), and it starts nothing.
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

// Verdict is whether a definition's calls can be had.
type Verdict string

// The verdicts.
const (
	Reachable   Verdict = "reachable"
	Unreachable Verdict = "unreachable" // never, in this setting
	Unknown     Verdict = "unknown"     // no statement about this API: to be looked for in the node's own SGLang
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
	API      fitrace.API
	Verdict  Verdict
	Mode     string   // offline, http-paged, http-ragged; "any": every forward pass calls it. Empty unless reachable
	Why      string   // one sentence, for a person
	Requires []string // flags that make SGLang call it, as "--flag value"
	Implied  []string // flags that the mode takes by itself in this release: not to be passed, but others may not bear them
	Excludes []string // flags under which it is not called, as "--flag" or "--flag value"
	Instead  string   // the function that is called in its place, where there is one
	Cautions []string // it is reached, but …; and of any verdict, what was not known when it was given
	Sources  []string // package, release, file and line that were read: "sglang 0.5.16 srt/layers/sampler.py:258"
}
