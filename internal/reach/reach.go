// Package reach knows which FlashInfer APIs SGLang calls, through which flags and on which GPUs, and which it never does, with
// the source of each statement. It answers before GPU time is spent.
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

// Answer is what is known of one definition's API in a setting.
type Answer struct {
	API      fitrace.API
	Verdict  Verdict
	Mode     string   // offline, http-paged, http-ragged; "any": every forward pass calls it
	Why      string   // one sentence, for a person
	Requires []string // flags that make SGLang call it, as "--flag value"
	Instead  string   // the function that is called in its place, where there is one
	Cautions []string // it is reached, but …
	Sources  []string // file and line of the release that was read
}
