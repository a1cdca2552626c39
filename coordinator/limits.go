package coordinator

import (
	"fmt"
	"math"
	"strings"

	"github.com/tracefleet/tracefleet/proto"
)

// Upper bounds of sizes. Each is well above any real use: a larger value is a typing error, which would show only after an engine started.
const (
	mostBatch    = 1 << 16
	mostCount    = 1 << 24       // requests of a task, dumps of a process
	mostSlots    = math.MaxInt32 // tokens of a KV pool: FlashInfer numbers them with 32 bits
	mostRanks    = 1 << 10
	mostPage     = 1 << 12
	mostLayers   = 1 << 10
	mostBatches  = 1 << 10 // batch sizes of a collection, each an engine lifetime
	batchReason  = "no server runs so many requests at once"
	lengthReason = "no model has a longer context"
)

// validateSizes reports the first number of the request that is out of bounds, with its flag, its value and the reason.
func (r *Request) validateSizes() error {
	if r.Engine.Serves() {
		if err := r.validateBatchSizes(); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		flag               string
		value, least, most int
		reason             string
	}{
		{"--num-batches", r.NumBatches, 1, mostCount, "a task would never end"}, {"--num-samples", r.Requests, 0, mostCount, "a task would never end"},
		{"--isl", r.ISL, 1, proto.MaxTokens, lengthReason}, {"--osl", r.OSL, 1, proto.MaxTokens, lengthReason},
		{"--trace-block-size", r.TraceBlock, 0, proto.MaxTokens, "no prompt has more tokens"},
		{"--dump-count", r.DumpCount, 1, mostCount, "each dump is a directory"},
		{"--workloads-per-batch", r.WorkloadsPerBatch, 1, mostCount, "a process dumps no more calls"},
		{"--pool-tokens", r.PoolTokens, 0, mostSlots, "FlashInfer numbers the slots of a KV pool with 32 bits"},
		{"--layers", r.Layers, 0, mostLayers, "no model has more"}, {"--page-size", r.PageSize, 0, mostPage, "no kernel takes larger pages"},
		{"--tp", r.TP, 0, mostRanks, "no engine has more ranks"}, {"--ep", r.EP, 0, mostRanks, "no engine has more ranks"},
	} {
		switch {
		case f.value < f.least:
			return fmt.Errorf("%s is %d, must be at least %d", f.flag, f.value, f.least)
		case f.value > f.most:
			return fmt.Errorf("%s is %d, must be at most %d: %s", f.flag, f.value, f.most, f.reason)
		}
	}
	return r.validateBatches()
}

// validateBatchSizes returns an error for the first batch size that is out of bounds or given twice.
func (r *Request) validateBatchSizes() error {
	if len(r.BatchSizes) == 0 {
		return fmt.Errorf("--batch-sizes is empty")
	}
	if n := len(r.BatchSizes); n > mostBatches {
		return fmt.Errorf("--batch-sizes has %d values, must have at most %d: each is an engine lifetime", n, mostBatches)
	}
	seen := map[int]bool{}
	for _, b := range r.BatchSizes {
		switch {
		case b <= 0 || seen[b]:
			return fmt.Errorf("--batch-sizes has %d: each must be positive and given once", b)
		case b > mostBatch:
			return fmt.Errorf("--batch-sizes has %d, must be at most %d: %s", b, mostBatch, batchReason)
		}
		seen[b] = true
	}
	return nil
}

// validateBatches reports the first batch size of which the requests, or the tokens in flight, are too many.
func (r *Request) validateBatches() error {
	for _, b := range r.BatchSizes {
		if requests := b * r.NumBatches; r.Requests == 0 && requests > mostCount {
			return fmt.Errorf("--batch-sizes %d with --num-batches %d makes %d requests, at most %d are sent: a task would never end", b, r.NumBatches, requests, mostCount)
		}
		// A trace has lengths of its own.
		if tokens := b * (r.ISL + r.OSL); r.Dataset != "trace" && tokens > mostSlots {
			return fmt.Errorf("--batch-sizes %d with --isl %d and --osl %d has %d tokens in flight, at most %d can be: FlashInfer numbers the slots of a KV pool with 32 bits",
				b, r.ISL, r.OSL, tokens, mostSlots)
		}
	}
	return nil
}

// checkCase refuses definitions whose op types or names differ from others only in case: on a file system that does not distinguish case
// (macOS, Windows, a cloned repository there) they share their files. Only the pairs with a selected definition count.
func checkCase(files []definitionFile, selected func(definitionFile) bool) error {
	folded := map[string][]definitionFile{}
	for _, f := range files {
		for _, key := range []string{"op type " + strings.ToLower(f.opType), "name " + strings.ToLower(f.name)} {
			folded[key] = append(folded[key], f)
		}
	}
	for _, f := range files {
		if !selected(f) {
			continue
		}
		for _, other := range folded["op type "+strings.ToLower(f.opType)] {
			if other.opType != f.opType {
				return caseFailure("op types", f.opType, other.opType, f, other)
			}
		}
		for _, other := range folded["name "+strings.ToLower(f.name)] {
			if other.name != f.name {
				return caseFailure("definitions", f.name, other.name, f, other)
			}
		}
	}
	return nil
}

func caseFailure(kind, a, b string, first, second definitionFile) error {
	return proto.Failf(proto.CodeBadDefinition, "the %s %s and %s differ only in case (%s, %s): their files are the same where the file system does not distinguish case",
		kind, a, b, first.path, second.path).WithHint("rename one of them")
}
