package launch

import "github.com/tracefleet/tracefleet/proto"

const (
	// leastPool is a pool below which saving more brings nothing: at 8 heads of 128 in bf16 a layer's dump is 4 MiB.
	leastPool = 1024
	// slack is what a request may hold beyond its lengths: the scheduler reserves tokens ahead of the ones it has counted.
	slack = 8
	// template is what a chat template and a system message may add to a prompt whose length is an estimate.
	template = 512
	// sharedPrompts is the most that cached prefixes take, in longest prompts: four of up to three quarters (package traffic).
	sharedPrompts = 3
)

// PoolTokens gives the KV pool of a task in tokens, a multiple of the page size: Engine.PoolToken where it is set, else
//
//	batch × (⌈(isl + osl + slack) / page⌉ + 1) pages + one page + prefixes
//
// so that a full batch of the longest requests fits without a retraction, which would break the batch size, and not much more:
// a run's dump holds a layer's whole pool. The page that each request has on top is the one the allocator asks for before it
// knows how full the last one is. Prefixes are three more prompts where requests share cached ones. In ragged mode a request
// generates one token, or two. Not less than 1,024. 0: left to SGLang, since the lengths in a trace file are not known here.
func PoolTokens(t *proto.Task) int {
	if t.Engine.PoolToken > 0 {
		return t.Engine.PoolToken
	}
	if t.Traffic.Dataset == "trace" {
		return 0
	}
	page := max(t.Engine.PageSize, 1)
	pages := func(tokens int) int { return (tokens + page - 1) / page }
	isl, osl := max(t.Traffic.ISL, 1), max(t.Traffic.OSL, 1)
	if t.Traffic.Chat {
		isl += template
	}
	if t.Engine.Mode == proto.ModeHTTPRagged && osl != 2 { // as package traffic reads it
		osl = 1
	}
	total := max(t.BatchSize, 1)*(pages(isl+osl+slack)+1) + 1
	if t.Engine.Mode == proto.ModeHTTPPaged && !t.Traffic.DisableRadix {
		total += pages(sharedPrompts * isl)
	}
	return max(total, pages(leastPool)) * page
}
