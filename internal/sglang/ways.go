package sglang

import (
	"fmt"
	"slices"
	"strconv"
)

// intention is one thing that a launch is to be, and the ways in which releases say it. Of its ways the first that the
// release has is taken.
type intention struct {
	name  string
	skip  func(in *Intent) bool // it is not wanted; nil: always wanted
	value func(in *Intent) string
	modes []Mode // nil: all
	ways  []way
}

// way is how some releases say an intention: a flag, or an environment variable.
type way struct {
	flag   string
	env    string // NAME; it is set to 1
	silent bool   // the release does so unasked: nothing to say
	cost   string // what else it brings, as a notice; the flag is used only where Intent.Deterministic allows it
}

var server = []Mode{HTTPPaged, HTTPRagged}

// intentions is the one table of what is wanted and how each release says it, in the order of the command line.
var intentions = []intention{
	{name: "model", value: func(in *Intent) string { return in.ModelPath }, ways: flags("--model-path")},
	{name: "host", skip: func(in *Intent) bool { return in.Host == "" }, value: func(in *Intent) string { return in.Host }, modes: server, ways: flags("--host")},
	{name: "port", skip: zero(func(in *Intent) int { return in.Port }), value: count(func(in *Intent) int { return in.Port }), modes: server, ways: flags("--port")},
	{name: "tensor parallelism", skip: zero(func(in *Intent) int { return in.TP }), value: count(func(in *Intent) int { return in.TP }), ways: flags("--tp-size")},
	{name: "expert parallelism", skip: func(in *Intent) bool { return in.EP < 2 }, value: count(func(in *Intent) int { return in.EP }), ways: flags("--ep-size")},
	{name: "page size", skip: zero(func(in *Intent) int { return in.PageSize }), value: count(func(in *Intent) int { return in.PageSize }), ways: flags("--page-size")},
	{name: "pool", skip: zero(func(in *Intent) int { return in.PoolTokens }), value: count(func(in *Intent) int { return in.PoolTokens }), ways: flags("--max-total-tokens")},
	{name: "running requests", skip: zero(func(in *Intent) int { return in.Running }), value: count(func(in *Intent) int { return in.Running }), ways: flags("--max-running-requests")},
	{name: "no prefix cache", skip: func(in *Intent) bool { return !in.DisableRadix }, ways: flags("--disable-radix-cache")},
	{name: "no tokenizer", skip: func(in *Intent) bool { return !in.NoTokenizer }, ways: flags("--skip-tokenizer-init")},
	// A replayed decode graph runs a plan that is not logged, and capture spends the dump budget on dummy batches.
	{name: "no decode graphs", skip: func(in *Intent) bool { return in.DecodeGraphs }, ways: flags("--disable-decode-cuda-graph", "--disable-cuda-graph")},
	// Before 0.5.10 prefill graphs were opt-in.
	{name: "no prefill graphs", ways: append(flags("--disable-prefill-cuda-graph", "--disable-piecewise-cuda-graph"), way{silent: true})},
	{name: "no autotune", ways: flags("--disable-flashinfer-autotune")},
	{name: "no warm-up", modes: server, ways: flags("--skip-server-warmup")},
	// Dumping a layer's pool in every call makes a forward pass slow, and the watchdog ends the server after 300 s.
	{name: "patient watchdog", value: func(*Intent) string { return strconv.Itoa(watchdogSeconds) }, ways: flags("--watchdog-timeout")},
	{name: "no all-reduce fusion", skip: func(in *Intent) bool { return !in.NoFusion }, ways: append(flags("--enforce-disable-flashinfer-allreduce-fusion"),
		way{silent: true, cost: "fuses all-reduce with norms for DeepSeek, GPT-OSS and some MoE models where TP is above 1, and cannot be told not to: such norms are not dumped"})},
	{name: "ragged off", skip: func(in *Intent) bool { return in.IncludeMLA }, modes: []Mode{HTTPPaged}, ways: []way{
		{env: "SGLANG_FLASHINFER_USE_PAGED"},
		{flag: "--enable-deterministic-inference", cost: "turns its ragged prefill off only with --enable-deterministic-inference, which also turns the " +
			"prefix cache off and takes sampling and norms from FlashInfer"},
	}},
	{name: "ragged off for MLA", skip: func(in *Intent) bool { return !in.IncludeMLA }, modes: []Mode{HTTPPaged}, ways: flags("--flashinfer-mla-disable-ragged")},
	// The Engine logs errors only, unless told; the worker reads its progress from the log.
	{name: "log", value: func(*Intent) string { return "info" }, modes: []Mode{Offline}, ways: flags("--log-level")},
}

const healthEnv = "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"

// watchdogSeconds is how long a forward pass may take.
const watchdogSeconds = 3600

func flags(names ...string) (ways []way) {
	for _, name := range names {
		ways = append(ways, way{flag: name})
	}
	return ways
}

func zero(n func(*Intent) int) func(*Intent) bool { return func(in *Intent) bool { return n(in) == 0 } }

func count(n func(*Intent) int) func(*Intent) string {
	return func(in *Intent) string { return strconv.Itoa(n(in)) }
}

// ours gives what collecting needs, in the release's words: settings, NAME=value of the environment, and what a choice costs.
func (t *Table) ours(in *Intent) (list []*setting, env, notices []string, err error) {
	defer func() { err = ofOurs.mark(err) }()
	for i := range intentions {
		it := &intentions[i]
		if (it.skip != nil && it.skip(in)) || (it.modes != nil && !slices.Contains(it.modes, in.Mode)) {
			continue
		}
		at := slices.IndexFunc(it.ways, t.has)
		if at < 0 {
			return nil, nil, nil, t.refuse(it.name, "cannot be had", "")
		}
		w := it.ways[at]
		if w.cost != "" {
			if w.flag != "" && !in.Deterministic {
				return nil, nil, nil, t.refuse(it.name, "cannot be had: the release "+w.cost, "SGLang 0.5.11 or newer")
			}
			notices = append(notices, "SGLang "+t.Release+" "+w.cost)
		}
		switch {
		case w.env != "":
			env = append(env, w.env+"=1")
		case w.flag != "":
			s := &setting{option: t.Option(w.flag), name: w.flag, origin: ofOurs}
			if it.value != nil {
				s.values = []string{it.value(in)}
			}
			if err := t.checkSetting(s); err != nil {
				return nil, nil, nil, fmt.Errorf("%s: %w", it.name, err)
			}
			list = append(list, s)
		}
	}
	// A health check of an idle server would generate, and spend the dump budget; whoever asks gets an answer without.
	if in.Mode != Offline && t.ReadsEnv(healthEnv) {
		env = append(env, healthEnv+"=0")
	}
	return list, env, notices, nil
}

// has reports whether the release says it so, and does not call that deprecated.
func (t *Table) has(w way) bool {
	switch {
	case w.silent:
		return true
	case w.env != "":
		return t.ReadsEnv(w.env)
	}
	o := t.Option(w.flag)
	return o != nil && !o.Deprecated && !o.Refused
}
