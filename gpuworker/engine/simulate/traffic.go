package simulate

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

// vocabulary is that of the model, which has no tokenizer: token ids are below it.
const vocabulary = 32000

// request is one request, from its arrival to its last token.
type request struct {
	id     int
	prompt int     // tokens it arrived with
	max    int     // tokens to generate
	tokens []int32 // prompt and what has been generated since
	after  int     // requests that must be served before it arrives
	topK   int32   // sampling parameter
	topP   float32 // sampling parameter, from 0 to 1

	slots  []int32 // KV slots of the tokens computed so far
	shared int     // how many of them belong to the prefix cache
	node   *node   // where they end in it; locked
}

func (r *request) generated() int { return len(r.tokens) - r.prompt }
func (r *request) done() bool     { return r.generated() >= r.max }

// source makes a task's requests, as package traffic does, and the tokens that the model answers.
type source struct {
	*traffic.Source
	answers *rand.Rand
}

// seed hashes what a task's randomness depends on; salt tells independent uses apart.
func seed(t *proto.Task, salt string) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/%d/%s/%s", t.Traffic.Seed, t.BatchSize, t.ID, salt)
	return rand.New(rand.NewPCG(h.Sum64(), uint64(t.Traffic.Seed)))
}

// mostInFlight bounds the token ids of the requests in flight, which are held in memory (4 bytes each, and as much for their pages).
const mostInFlight = 1 << 27

// Traffic returns the requests of a task, or why they cannot be simulated.
func Traffic(t *proto.Task) (*traffic.Source, error) {
	s, err := newSource(t)
	if err != nil {
		return nil, err
	}
	return s.Source, nil
}

func newSource(t *proto.Task) (*source, error) {
	task := *t
	task.Traffic.Chat = false // there is no chat template to apply: what chat would say is as long in token ids
	src, err := traffic.New(&task, traffic.Options{Vocab: vocabulary})
	if err != nil {
		return nil, err
	}
	if inFlight := float64(t.BatchSize) * float64(src.Longest()); inFlight > mostInFlight {
		return nil, proto.Failf(proto.CodeBadCollection, "simulate: batch size %d of up to %d tokens is %.3g tokens in flight, more than the %d this engine holds in memory",
			t.BatchSize, src.Longest(), inFlight, mostInFlight).WithHint("lower --batch-sizes, --isl or --osl")
	}
	return &source{Source: src, answers: seed(t, "answers")}, nil
}

// next gives the next request, or nil when all have been made. Times of arrival are not kept: time is simulated, and a batch that is
// not full would wait for nothing.
func (s *source) next() *request {
	q, ok := s.Next()
	if !ok {
		return nil
	}
	return &request{
		id: q.ID, prompt: len(q.InputIDs), max: q.MaxNewTokens, after: q.After, topK: int32(q.TopK), topP: float32(q.TopP),
		tokens: slices.Grow(q.InputIDs, q.MaxNewTokens),
	}
}

func (s *source) token() int32 { return int32(s.answers.IntN(vocabulary)) }
