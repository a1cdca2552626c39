package sglang

// renaming is a flag that some releases have under another name or form. Of its forms the first that the release has, and does
// not call deprecated, is taken. It applies only where the release lacks the flag or calls it deprecated.
type renaming struct {
	flag   string
	only   string            // applies to this value alone; empty: to any
	forms  []form            // tried in order
	values map[string]string // values that were renamed along with it
	moot   string            // where no form fits: why the flag may be left out; empty: it may not
}

// form is one or more flags with their values; "{}" stands for the values given.
type form [][]string

func one(words ...string) form { return form{words} }

const (
	graphsOptIn = "this release captures no prefill graphs unless asked to"
	noEffect    = "it had stopped having an effect before it was removed"
)

// renamings are the renames from the first recorded release to the last, in both directions: a command line may come from an
// older or a newer release than the node has. The forms were read from the releases' own deprecation messages and sources.
var renamings = []renaming{
	// CUDA graphs: one switch for all, then one for decode and one for piecewise prefill graphs, since 0.5.14 one a phase.
	{flag: "--disable-cuda-graph", forms: []form{{{"--disable-decode-cuda-graph"}, {"--disable-prefill-cuda-graph"}}}},
	{flag: "--disable-decode-cuda-graph", forms: []form{one("--disable-cuda-graph")}},
	{flag: "--disable-prefill-cuda-graph", forms: []form{one("--disable-piecewise-cuda-graph")}, moot: graphsOptIn},
	{flag: "--disable-piecewise-cuda-graph", forms: []form{one("--disable-prefill-cuda-graph")}, moot: graphsOptIn},
	{flag: "--cuda-graph-backend-decode", only: "disabled", forms: []form{one("--disable-cuda-graph")}},
	{flag: "--cuda-graph-backend-prefill", only: "disabled", forms: []form{one("--disable-piecewise-cuda-graph")}, moot: graphsOptIn},
	{flag: "--cuda-graph-backend-prefill", only: "tc_piecewise", forms: []form{one("--enforce-piecewise-cuda-graph"), one("--enable-piecewise-cuda-graph")}},
	{flag: "--cuda-graph-backend-prefill", only: "breakable", forms: []form{one("--enable-breakable-cuda-graph")}},
	{flag: "--enable-piecewise-cuda-graph", forms: piecewise},
	{flag: "--enforce-piecewise-cuda-graph", forms: append([]form{one("--enable-piecewise-cuda-graph")}, piecewise...)},
	{flag: "--enable-breakable-cuda-graph", forms: []form{one("--cuda-graph-backend-prefill", "breakable")}},
	{flag: "--cuda-graph-bs", forms: []form{one("--cuda-graph-bs-decode", "{}")}},
	{flag: "--cuda-graph-bs-decode", forms: []form{one("--cuda-graph-bs", "{}")}},
	{flag: "--cuda-graph-max-bs", forms: []form{one("--cuda-graph-max-bs-decode", "{}")}},
	{flag: "--cuda-graph-max-bs-decode", forms: []form{one("--cuda-graph-max-bs", "{}")}},
	{flag: "--piecewise-cuda-graph-tokens", forms: []form{one("--cuda-graph-bs-prefill", "{}")}},
	{flag: "--cuda-graph-bs-prefill", forms: []form{one("--piecewise-cuda-graph-tokens", "{}")}},
	{flag: "--piecewise-cuda-graph-max-tokens", forms: []form{one("--cuda-graph-max-bs-prefill", "{}")}},
	{flag: "--cuda-graph-max-bs-prefill", forms: []form{one("--piecewise-cuda-graph-max-tokens", "{}")}},
	{flag: "--piecewise-cuda-graph-compiler", forms: []form{one("--cuda-graph-tc-compiler", "{}")}},
	{flag: "--cuda-graph-tc-compiler", forms: []form{one("--piecewise-cuda-graph-compiler", "{}")}},

	// Sparse attention of DeepSeek: NSA until 0.5.12, DSA since.
	{flag: "--nsa-decode-backend", forms: []form{one("--dsa-decode-backend", "{}")}},
	{flag: "--nsa-prefill-backend", forms: []form{one("--dsa-prefill-backend", "{}")}},
	{flag: "--dsa-decode-backend", forms: []form{one("--nsa-decode-backend", "{}")}},
	{flag: "--dsa-prefill-backend", forms: []form{one("--nsa-prefill-backend", "{}")}},
	{flag: "--enable-nsa-prefill-context-parallel", forms: []form{one("--enable-prefill-cp"), one("--enable-dsa-prefill-context-parallel")}},
	{flag: "--enable-dsa-prefill-context-parallel", forms: []form{one("--enable-prefill-cp"), one("--enable-nsa-prefill-context-parallel")}},
	{flag: "--enable-prefill-context-parallel", forms: []form{one("--enable-prefill-cp")}},
	{flag: "--nsa-prefill-cp-mode", forms: []form{one("--cp-strategy", "{}")}, values: cpModes},
	{flag: "--dsa-prefill-cp-mode", forms: []form{one("--cp-strategy", "{}")}, values: cpModes},
	{flag: "--prefill-cp-mode", forms: []form{one("--cp-strategy", "{}")}, values: cpModes},

	// All-reduce fusion: a switch, since 0.5.14 a choice of backend.
	{flag: "--enable-flashinfer-allreduce-fusion", forms: []form{one("--flashinfer-allreduce-fusion-backend", "auto")}},
	{flag: "--flashinfer-allreduce-fusion-backend", only: "auto", forms: []form{one("--enable-flashinfer-allreduce-fusion")}},

	// Single renames.
	{flag: "--mamba-scheduler-strategy", forms: []form{one("--mamba-radix-cache-strategy", "{}")}},
	{flag: "--mamba-radix-cache-strategy", forms: []form{one("--mamba-scheduler-strategy", "{}")}},
	{flag: "--speculative-dflash-draft-window-size", forms: []form{one("--speculative-draft-window-size", "{}")}},
	{flag: "--stream-output", forms: []form{one("--incremental-streaming-output")}},
	{flag: "--incremental-streaming-output", forms: []form{one("--stream-output")}},
	{flag: "--enable-gdn-replayssm-spec", forms: []form{one("--enable-linear-replayssm-spec")}},
	{flag: "--elastic-ep-rejoin", forms: []form{one("--elastic-ep-join-mode", "recover")}},
	{flag: "--keep-mm-feature-on-device", forms: []form{one("--mm-feature-transport", "cuda_ipc")}},
	{flag: "--disable-fast-image-processor", forms: []form{one("--image-processor-backend", "pil")}},
	{flag: "--monokernel-backend", only: "amd", forms: []form{one("--enable-amd-monokernel")}},
	{flag: "--enable-deepep-waterfill", forms: []form{one("--enable-waterfill")}},

	// Attention data parallelism: since 0.5.22 one number; the other direction needs --dp-size too (see joinDP).
	{flag: "--attn-dp-size", forms: []form{{{"--dp-size", "{}"}, {"--enable-dp-attention"}}}},

	// Prefixes that old command lines use. SGLang takes --tp and --dp only until another option begins so, --pp not at all.
	{flag: "--tp", forms: []form{one("--tp-size", "{}")}},
	{flag: "--dp", forms: []form{one("--dp-size", "{}")}},
	{flag: "--pp", forms: []form{one("--pp-size", "{}")}},

	// Gone without a successor, and without a loss.
	{flag: "--prefill-round-robin-balance", moot: noEffect},
	{flag: "--collect-tokens-histogram", moot: noEffect},
	{flag: "--enable-nan-detection", moot: noEffect},
}

var piecewise = []form{
	one("--enforce-piecewise-cuda-graph"),
	one("--cuda-graph-backend-prefill", "tc_piecewise"),
	one("--cuda-graph-backend-prefill", "breakable"),
}

var cpModes = map[string]string{"in-seq-split": "zigzag", "round-robin-split": "interleave"}

// valueRenames are values that were renamed, whatever the flag: taken where the release's choices have only the other one.
var valueRenames = map[string]string{"nsa": "dsa", "dsa": "nsa", "compressed": "dsv4", "dsv4": "compressed"}
