package simulate

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"

	"github.com/tracefleet/tracefleet/proto"
)

// Defaults where the task leaves a length open, and the shape of shared prefixes.
const (
	defaultISL     = 256
	defaultOSL     = 32
	vocabulary     = 32000
	sharedPrefixes = 4 // distinct ones, where requests share prefixes at all
	bytesPerToken  = 4 // of English text, for conversations without a tokenizer
)

// request is one request, from its arrival to its last token.
type request struct {
	id     int
	prompt int     // tokens it arrived with
	max    int     // tokens to generate
	tokens []int32 // prompt and what has been generated since
	topK   int32   // sampling parameter; with it top_p, whose value is never looked at

	slots  []int32 // KV slots of the tokens computed so far
	shared int     // how many of them belong to the prefix cache
	node   *node   // where they end in it; locked
}

func (r *request) generated() int { return len(r.tokens) - r.prompt }
func (r *request) done() bool     { return r.generated() >= r.max }

// source makes a task's requests, the same ones every time: lengths and tokens come from its seed, batch size and id.
type source struct {
	rng      *rand.Rand
	isl, osl int
	ratio    float64
	prefixes [][]int32 // what half of the requests begin with; none: every prompt is its own
	recorded []lengths // sharegpt: taken in turn instead of random lengths
	left     int
	made     int
}

type lengths struct{ in, out int }

// seed hashes what a task's randomness depends on; salt tells independent uses apart.
func seed(t *proto.Task, salt string) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/%d/%s/%s", t.Traffic.Seed, t.BatchSize, t.ID, salt)
	return rand.New(rand.NewPCG(h.Sum64(), uint64(t.Traffic.Seed)))
}

// mostInFlight bounds the token ids of the requests in flight, which are held in memory (4 bytes each, and as much for their pages).
const mostInFlight = 1 << 27

func newSource(t *proto.Task) (*source, error) {
	s := &source{rng: seed(t, "requests"), isl: t.Traffic.ISL, osl: t.Traffic.OSL, ratio: t.Traffic.RangeRatio}
	if s.isl <= 0 {
		s.isl = defaultISL
	}
	if s.osl <= 0 {
		s.osl = defaultOSL
	}
	if s.ratio < 0 || s.ratio > 1 {
		return nil, proto.Failf(proto.CodeBadCollection, "simulate: random_range_ratio is %g, must be from 0 to 1", s.ratio)
	}
	if inFlight := float64(t.BatchSize) * (float64(s.isl) + float64(s.osl)); inFlight > mostInFlight {
		return nil, proto.Failf(proto.CodeBadCollection, "simulate: batch size %d of up to %d tokens is %.3g tokens in flight, more than the %d this engine holds in memory",
			t.BatchSize, s.longest(), inFlight, mostInFlight).WithHint("lower --batch-sizes, --isl or --osl")
	}
	s.left = t.BatchSize * max(t.Traffic.NumBatches, 1)
	if t.Traffic.Dataset == "sharegpt" {
		var err error
		if s.recorded, err = readShareGPT(t.Traffic.ShareGPTPath, s.left); err != nil {
			return nil, err
		}
	}
	if t.Engine.Mode == proto.ModeHTTPRagged {
		s.osl = 1 // prefill is all that mode is after
	}
	if t.Engine.Mode == proto.ModeHTTPPaged && !t.Traffic.DisableRadix {
		for range sharedPrefixes {
			s.prefixes = append(s.prefixes, s.draw(s.between(max(s.isl/8, 1), max(s.isl/2, 1))))
		}
	}
	return s, nil
}

// next gives the next request, or nil when all have been made.
func (s *source) next() *request {
	if s.left == 0 {
		return nil
	}
	s.left--
	r := &request{id: s.made, topK: []int32{1, 20, 40, 50, 64}[s.rng.IntN(5)]}
	s.made++
	if len(s.recorded) > 0 {
		l := s.recorded[r.id%len(s.recorded)]
		r.prompt, r.max = min(l.in, s.isl), min(l.out, s.osl)
	} else {
		r.prompt = s.between(max(int(float64(s.isl)*s.ratio), 1), s.isl)
		r.max = s.between(max(int(float64(s.osl)*s.ratio), 1), s.osl)
	}
	r.tokens = s.draw(r.prompt)
	if len(s.prefixes) > 0 && s.rng.IntN(2) == 0 {
		copy(r.tokens[:len(r.tokens)-1], s.prefixes[s.rng.IntN(len(s.prefixes))])
	}
	return r
}

// between is uniform over both bounds and what lies between them.
func (s *source) between(low, high int) int { return low + s.rng.IntN(high-low+1) }

func (s *source) draw(n int) []int32 {
	tokens := make([]int32, n, n+s.osl)
	for i := range tokens {
		tokens[i] = s.token()
	}
	return tokens
}

func (s *source) token() int32 { return int32(s.rng.IntN(vocabulary)) }

// longest is the most tokens any request can come to.
func (s *source) longest() int { return s.isl + s.osl }

// readShareGPT takes prompt and answer lengths from the first conversations of a ShareGPT file (a JSON array of objects
// with "conversations", each turn a "value"). No tokenizer: a token is taken for four bytes of text.
func readShareGPT(path string, want int) ([]lengths, error) {
	fail := func(err error) error {
		return proto.Failf(proto.CodeBadCollection, "simulate: read ShareGPT conversations from %q: %v", path, err).
			WithHint("give --sharegpt-path a ShareGPT JSON file that this worker can read, or use --dataset random")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(err)
	}
	defer f.Close()
	dec := json.NewDecoder(f)
	if t, err := dec.Token(); err != nil {
		return nil, fail(err)
	} else if t != json.Delim('[') {
		return nil, fail(errors.New("it is not a JSON array"))
	}
	var list []lengths
	for len(list) < want && dec.More() {
		var entry struct {
			Conversations []struct {
				Value string `json:"value"`
			} `json:"conversations"`
		}
		if err := dec.Decode(&entry); err != nil && !errors.Is(err, io.EOF) {
			return nil, fail(err)
		}
		if c := entry.Conversations; len(c) >= 2 && len(c[0].Value) >= bytesPerToken && len(c[1].Value) >= bytesPerToken {
			list = append(list, lengths{len(c[0].Value) / bytesPerToken, len(c[1].Value) / bytesPerToken})
		}
	}
	if len(list) == 0 {
		return nil, fail(errors.New("no conversation of two turns in it"))
	}
	return list, nil
}
