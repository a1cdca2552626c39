// Package launch turns a task into the command line, environment and keywords of its engine. It is what the planning shows and
// the worker runs, so that both are the same.
//
// # Flow
//
// Package reach says of each definition whether this release calls its API on these GPUs, and under which flags; package sglang
// puts the task into the release's words; proto.DumpSpec adds what makes FlashInfer dump.
//
// # Guarantees
//
// ForTask is pure: equal tasks, definitions and nodes give equal commands. Its errors are *proto.Failure with code unreachable
// (no definition of the task is called so), bad_server_flag, release_unknown or bad_collection, and name what is at fault.
//
// # What it does not do
//
// It starts nothing, chooses no port and no GPU, and makes none of the directories it names.
package launch

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// Node is where a task's engine is to run. What is not known yet stays zero; paths may be placeholders in a plan.
type Node struct {
	Release      string // of its SGLang; empty: the one planned for, else the newest known
	Capability   int    // of its GPUs: 90 for sm_90; 0: not known
	Architecture string // of the model, as its config.json says; empty: the task's
	DumpDir      string // where FlashInfer dumps
	TraceDir     string // where FlashInfer's trace dump goes, for tasks that want one
	CacheDir     string // FlashInfer's workspace base, which should outlive tasks: kernels that were built stay built; empty: FlashInfer's own
	Port         int    // the server's; 0: the task's, or not chosen yet
}

// Command is how a task's engine is started on a node.
type Command struct {
	Release  string           `json:"release"`            // whose words these are
	Args     []string         `json:"args,omitempty"`     // of the interpreter, in the HTTP modes
	Engine   []sglang.Keyword `json:"engine,omitempty"`   // of sgl.Engine, in offline mode; sorted
	Env      []string         `json:"env"`                // NAME=value, sorted: SGLang's and FlashInfer's; without CUDA_VISIBLE_DEVICES, which the lease gives
	GPUs     int              `json:"gpus"`               // devices it takes: tensor × pipeline × data-parallel ranks
	Ready    string           `json:"ready,omitempty"`    // path that answers 200 when the server is ready; empty in offline mode
	Notices  []string         `json:"notices,omitempty"`  // what was translated or chosen, and what that costs
	Cautions []string         `json:"cautions,omitempty"` // of definitions: why they may not be had, each with the names it concerns
}

// firstTraced is the first release of SGLang that pins a FlashInfer with a trace dump, 0.6.11.post1.
const firstTraced = "0.5.12"

// ForTask returns the command of a task. defs are its definitions, in its order.
func ForTask(t *proto.Task, defs []*fitrace.Definition, n Node) (*Command, error) {
	release := cmp.Or(n.Release, t.Engine.SGLang)
	var notices []string
	if release == "" {
		known := sglang.Known()
		release = known[len(known)-1]
		notices = append(notices, "which SGLang will run is not known: these are the words of "+release)
	} else if t.Engine.SGLang != "" && sglang.Compare(t.Engine.SGLang, release) != 0 {
		notices = append(notices, fmt.Sprintf("the task was planned for SGLang %s, and the node has %s", t.Engine.SGLang, release))
	}
	if t.Engine.ModelPath == "" {
		return nil, proto.Failf(proto.CodeBadCollection, "task %s names no model", t.ID).WithHint("give --model-path or --model-key")
	}
	n.Architecture = cmp.Or(n.Architecture, t.Engine.Architecture)
	w, err := wanted(t, defs, n, release)
	if err != nil {
		return nil, err
	}
	in := intent(t, w, n)
	l, err := in.Launch(release)
	if err != nil {
		return nil, failure(err)
	}
	if err := w.exclude(l.Flags, l.Release); err != nil {
		return nil, err
	}
	if in.PoolTokens == 0 {
		notices = append(notices, "the KV pool is as large as the GPUs allow: lengths of a trace are not known beforehand, and a run's dump holds a layer's "+
			"whole pool; --pool-tokens sets it")
	}
	ranks := l.Settled.Ranks(t.Engine.TP, t.Engine.EP)
	notices = append(notices, shares(ranks)...)
	env := slices.Concat(l.Env, t.Dump.Environ(n.DumpDir))
	if n.CacheDir != "" {
		env = append(env, "FLASHINFER_WORKSPACE_BASE="+n.CacheDir)
	}
	if t.Dump.TraceDump {
		env = append(env, "FLASHINFER_TRACE_DUMP=1", "FLASHINFER_TRACE_DUMP_DIR="+n.TraceDir)
		if sglang.Compare(release, firstTraced) < 0 {
			notices = append(notices, "the FlashInfer of SGLang "+release+" has no trace dump: --trace-dump needs SGLang "+firstTraced+" or newer")
		}
	}
	slices.Sort(env)
	return &Command{
		Release: l.Release, Args: l.Args, Engine: l.Engine, Env: env, GPUs: ranks.GPUs(), Ready: l.Ready, Notices: append(notices, l.Notices...), Cautions: w.cautions(),
	}, nil
}

// shares returns notices about ranks that divide the requests in flight among them.
func shares(r sglang.Ranks) (notices []string) {
	for _, n := range []struct {
		flag, what string
		n          int
	}{{"--dp-size", "replicas", r.DP}, {"--attn-dp-size", "attention groups", r.AttnDP}, {"--pp-size", "pipeline micro-batches", r.PP}} {
		if n.n > 1 {
			notices = append(notices, fmt.Sprintf("%s %d: the requests in flight are divided among %d %s, so calls have smaller batches than the batch size", n.flag, n.n, n.n, n.what))
		}
	}
	return notices
}

// loopback is where a server listens unless the task sets another host: it needs no key.
const loopback = "127.0.0.1"

// intent is the task, free of any release's words.
func intent(t *proto.Task, w *wants, n Node) *sglang.Intent {
	in := &sglang.Intent{
		Mode:         sglang.Mode(t.Engine.Mode),
		ModelPath:    t.Engine.ModelPath,
		TP:           t.Engine.TP,
		EP:           t.Engine.EP,
		PageSize:     t.Engine.PageSize,
		PoolTokens:   PoolTokens(t),
		Running:      t.BatchSize,
		DisableRadix: t.Traffic.DisableRadix,
		NoTokenizer:  !t.Traffic.Chat,
		Host:         cmp.Or(t.Engine.Host, loopback),
		Port:         cmp.Or(n.Port, t.Engine.Port),
		Requires:     w.requires(),
		ModelFlags:   t.Engine.ModelFlags,
		Extra:        t.Engine.Flags,
		IncludeMLA:   w.calls(func(api fitrace.API) bool { return strings.Contains(api.Class, "MLA") }),
		AnyRelease:   t.Engine.AnyRelease,
		// What it costs is among the notices, and a definition it excludes is told or refused.
		Deterministic: true,
	}
	if in.Mode == sglang.Mode(proto.ModeAny) || in.Mode == "" {
		in.Mode = sglang.Offline
	}
	if in.Mode == sglang.HTTPPaged && !w.paged() {
		// What only rides along needs no ragged path off, and before 0.5.11 that costs much.
		in.Mode = sglang.HTTPRagged
	}
	norm := w.calls(func(api fitrace.API) bool { return strings.Contains(api.Method, "norm") })
	fused := w.calls(func(api fitrace.API) bool { return strings.Contains(api.Method, "allreduce") })
	in.NoFusion = t.Engine.TP > 1 && norm && !fused
	return in
}

// failure gives an error of package sglang the code and the hint that a person needs.
func failure(err error) *proto.Failure {
	var flag *sglang.FlagError
	var release *sglang.ReleaseError
	switch {
	case errors.As(err, &release):
		return proto.Failf(proto.CodeReleaseUnknown, "%v", err).
			WithHint("install a release of that range, or add --any-release to try this one with the words of the nearest")
	case !errors.As(err, &flag):
		return proto.AsFailure(err, proto.CodeInternal)
	case flag.Source == sglang.SourceRequires || flag.Source == sglang.SourceOurs:
		return proto.Failf(proto.CodeUnreachable, "%v", err).WithHint("another release of SGLang may have it; --sglang-version plans for one")
	case flag.Source == sglang.SourceModel:
		return proto.Failf(proto.CodeBadServerFlag, "%v", err).WithHint("the model catalogue gives this flag: correct it there, or name the model by --model-path")
	}
	return proto.Failf(proto.CodeBadServerFlag, "%v", err).WithHint("correct --extra-server-flag, or leave the flag out")
}

// sorted gives the keys of a set in order.
func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
