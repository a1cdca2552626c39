package traffic

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/tracefleet/tracefleet/proto"
)

// Where the task leaves something open, and what bounds it.
const (
	defaultISL   = 256
	defaultOSL   = 32
	defaultVocab = 32000 // the smallest of the common vocabularies: ids below it are valid in most models
	firstToken   = 100   // special tokens tend to be the first ids of a vocabulary
	topShare     = 32    // or its last: this part of it is left out
)

// Request is one request.
type Request struct {
	ID           int // 0, 1, …
	InputIDs     []int32
	Messages     []Message // chat: in place of InputIDs
	MaxNewTokens int
	Temperature  float64
	TopP         float64
	MinP         float64 // 0: not asked for
	TopK         int
	IgnoreEOS    bool
	At           time.Duration // when it arrives, counted from the first; 0: as soon as there is room
	After        int           // it must not be sent before so many requests are served; 0: no such wait
}

// Message is one turn of a chat.
type Message struct {
	Role    string `json:"role"` // system, user
	Content string `json:"content"`
}

// Options is what the node knows and the task does not.
type Options struct {
	Vocab     int    // token ids of the model, see VocabSize; 0: 32000
	MaxTokens int    // most tokens that prompt and answer have together: longer requests are cut and counted in Notes; 0: no limit
	HFCache   string // Hugging Face hub cache; empty: where huggingface_hub would look
}

// lengths are a request's, in tokens.
type lengths struct{ in, out int }

// Source makes a task's requests. It is safe for concurrent use.
type Source struct {
	key       string // what all randomness depends on
	mode      proto.EngineMode
	batch     int
	chat      bool
	ignoreEOS bool
	low, high int // token ids are in [low, high)
	isl, osl  int // the most, as cut to Options.MaxTokens
	ratio     float64
	sampling  sampling
	prefixes  []int // lengths of shared prefixes
	recorded  *conversations
	trace     *trace
	total     int
	longest   int
	notes     []string
	doubts    []string

	mu   sync.Mutex
	next int
}

// raggedDecode is the OSL of a ragged task that needs a decode step after each prefill: planning sets 1 or this.
const raggedDecode = 2

// New prepares a task's traffic. Files are read here, and only here.
func New(t *proto.Task, o Options) (*Source, error) {
	s := &Source{
		key:  fmt.Sprintf("%d/%d/%s", t.Traffic.Seed, t.BatchSize, t.ID),
		mode: t.Engine.Mode, batch: max(t.BatchSize, 1), chat: t.Traffic.Chat, ignoreEOS: !t.Traffic.DisableIgnoreEOS,
		isl: t.Traffic.ISL, osl: t.Traffic.OSL, ratio: t.Traffic.RangeRatio, sampling: samplingOf(t.Dump.Include),
		total: t.Traffic.Requests,
	}
	if s.total <= 0 {
		s.total = s.batch * max(t.Traffic.NumBatches, 1)
	}
	if s.isl <= 0 {
		s.isl = defaultISL
	}
	if s.osl <= 0 {
		s.osl = defaultOSL
	}
	if s.mode == proto.ModeHTTPRagged && s.osl != raggedDecode {
		s.osl = 1
	}
	if err := s.check(t, o); err != nil {
		return nil, err
	}
	s.low, s.high = idRange(o.Vocab)
	if err := s.load(t, o); err != nil {
		return nil, err
	}
	if s.mode == proto.ModeHTTPPaged && !t.Traffic.DisableRadix && s.trace == nil {
		s.prefixes = prefixLengths(s.rng("prefix lengths", 0), s.total, s.isl, t.Engine.PageSize)
	}
	return s, nil
}

func (s *Source) check(t *proto.Task, o Options) error {
	if !(s.ratio >= 0 && s.ratio <= 1) {
		return proto.Failf(proto.CodeBadTraffic, "traffic: random_range_ratio is %g, must be from 0 to 1", s.ratio).
			WithHint("give --random-range-ratio the shortest length as a share of the longest")
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"isl", s.isl}, {"osl", s.osl}} {
		if f.value > proto.MaxTokens {
			return proto.Failf(proto.CodeBadTraffic, "traffic: %s is %d, must be at most %d", f.name, f.value, proto.MaxTokens).WithHint("lower --%s", f.name)
		}
	}
	if block := t.Traffic.TraceBlock; block < 0 || block > proto.MaxTokens {
		return proto.Failf(proto.CodeBadTraffic, "traffic: trace_block_size is %d, must be from 1 to %d", block, proto.MaxTokens).
			WithHint("pass --trace-block-size the prompt tokens that one hash id stands for")
	}
	if speed := t.Traffic.TraceSpeed; !(speed >= 0 && speed <= proto.MaxTraceSpeed) {
		return proto.Failf(proto.CodeBadTraffic, "traffic: trace_speed is %g, must be from 0 to %g", speed, float64(proto.MaxTraceSpeed)).
			WithHint("2 plays a trace twice as fast as it was recorded, 0 as fast as the batch size lets")
	}
	if o.Vocab < 0 || o.Vocab == 1 {
		return proto.Failf(proto.CodeBadTraffic, "traffic: a vocabulary of %d tokens gives no choice of token ids", o.Vocab).
			WithHint("vocab_size in the model's config.json must be the number of its tokens")
	}
	if o.MaxTokens < 0 || o.MaxTokens == 1 {
		return proto.Failf(proto.CodeBadTraffic, "traffic: the most tokens a request may have is %d; prompt and answer need one each", o.MaxTokens).
			WithHint("give the model's context length, or 0 for no limit")
	}
	return nil
}

// load reads the dataset and settles the number of requests and their greatest length.
func (s *Source) load(t *proto.Task, o Options) (err error) {
	if t.Traffic.Dataset == "trace" {
		block := cmp.Or(t.Traffic.TraceBlock, proto.DefaultTraceBlock)
		if s.trace, s.doubts, err = readTrace(t.Traffic.TracePath, s.total, block, t.Traffic.TraceSpeed); err != nil {
			return err
		}
		s.notes = append(s.notes, s.doubts...)
		if n := len(s.trace.requests); n < s.total {
			s.note("trace %s has %d requests; %d were asked for, and it is not repeated", t.Traffic.TracePath, n, s.total)
			s.total = n
		}
		if n := s.trace.cut(o.MaxTokens); n > 0 {
			s.note("trace %s: %d of %d requests are longer than %d tokens, and were cut to that", t.Traffic.TracePath, n, s.total, o.MaxTokens)
		}
		for i, q := range s.trace.requests {
			s.longest = max(s.longest, q.in+s.answer(i))
		}
		return nil
	}
	if whole := (lengths{s.isl, s.osl}); o.MaxTokens > 0 {
		if fit := whole.cut(o.MaxTokens); fit != whole {
			s.note("isl %d and osl %d are more than %d tokens together: lowered to %d and %d", s.isl, s.osl, o.MaxTokens, fit.in, fit.out)
			s.isl, s.osl = fit.in, fit.out
		}
	}
	s.longest = s.isl + s.osl
	switch t.Traffic.Dataset {
	case "", "random":
		return nil
	case "sharegpt":
		path, err := findShareGPT(t.Traffic.ShareGPTPath, o.HFCache)
		if err != nil {
			return err
		}
		if s.recorded, err = readShareGPT(path, s.total, s.isl, s.chat, s.rng("sample", 0)); err != nil {
			return err
		}
		s.note("%s", s.recorded)
		return nil
	}
	return proto.Failf(proto.CodeBadTraffic, "traffic: dataset is %q, must be random, sharegpt or trace", t.Traffic.Dataset).WithHint("choose one with --dataset")
}

// cut shortens a request to most tokens: first the prompt, and the answer where that alone is too long. One token each is left.
func (l lengths) cut(most int) lengths {
	l.out = min(l.out, most-1)
	l.in = min(l.in, most-l.out)
	return l
}

func (s *Source) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// Total is how many requests there are.
func (s *Source) Total() int { return s.total }

// Longest is the most tokens, prompt and answer together, that any request comes to; with chat, an estimate.
func (s *Source) Longest() int { return s.longest }

// Shared is how many tokens all shared prefixes have together: room that the KV pool needs beside that of the requests in flight,
// if what they share is to stay cached. At most about 2 × ISL, 4 × ISL with pages as long as prompts; 0 for a trace: not known.
func (s *Source) Shared() (n int) {
	for _, p := range s.prefixes {
		n += p
	}
	return n
}

// Doubts are those of Notes that may mean a wrong flag, to be read before an engine starts.
func (s *Source) Doubts() []string { return s.doubts }

// Notes are what a reader of the log should know: what was left out, cut, or is fewer than asked for.
func (s *Source) Notes() []string { return s.notes }

// Next gives the next request; false: there are no more.
func (s *Source) Next() (Request, bool) {
	s.mu.Lock()
	i := s.next
	if i >= s.total {
		s.mu.Unlock()
		return Request{}, false
	}
	s.next++
	s.mu.Unlock()
	return s.request(i), true
}

// NextBatch gives the next n requests, fewer at the end, none after it. Offline batches are of the task's batch size: then all
// of a batch have the same MaxNewTokens.
func (s *Source) NextBatch(n int) []Request {
	var list []Request
	for range n {
		r, ok := s.Next()
		if !ok {
			break
		}
		list = append(list, r)
	}
	return list
}

// request makes a request by its number.
func (s *Source) request(i int) Request {
	rng := s.rng("request", i)
	r := Request{ID: i, MaxNewTokens: s.answer(i), IgnoreEOS: s.ignoreEOS}
	s.sampling.draw(&r, rng, i/s.batch)
	if s.trace != nil {
		q := s.trace.requests[i]
		r.At = q.at
		if s.chat {
			r.Messages = []Message{{Role: "user", Content: strings.Join(fill(s, q, rng, s.words), " ")}}
			return r
		}
		r.InputIDs = fill(s, q, rng, s.draw)
		return r
	}
	n := s.lengths(i).in
	prefix := s.prefix(i)
	if i >= len(s.prefixes) {
		r.After = len(s.prefixes)
	}
	if s.chat {
		r.Messages = s.messages(i, n, prefix, rng)
		return r
	}
	if prefix >= 0 && i < len(s.prefixes) {
		n = max(n, s.prefixes[prefix]+1)
	}
	r.InputIDs = s.draw(rng, n)
	if prefix >= 0 {
		shared := min(s.prefixes[prefix], n-1)
		copy(r.InputIDs, s.draw(s.rng("prefix", prefix), shared))
	}
	return r
}

// lengths of a request, not of a trace.
func (s *Source) lengths(i int) lengths {
	if s.recorded != nil {
		l := s.recorded.kept[i%len(s.recorded.kept)].lengths
		return lengths{l.in, min(l.out, s.osl)}
	}
	rng := s.rng("lengths", i)
	return lengths{s.between(rng, s.isl), s.between(rng, s.osl)}
}

// answer is how many tokens a request generates.
func (s *Source) answer(i int) int {
	switch s.mode {
	case proto.ModeHTTPRagged:
		return s.osl
	case proto.ModeHTTPPaged:
		if i < len(s.prefixes) {
			return 1 // the others wait for it
		}
		if s.trace != nil {
			return min(s.trace.requests[i].out, s.osl)
		}
	case proto.ModeOffline:
		i -= i % s.batch
	}
	if s.trace != nil {
		return s.trace.requests[i].out
	}
	return s.lengths(i).out
}

// between is uniform from ratio × most to most, both included, and never less than 1.
func (s *Source) between(rng *rand.Rand, most int) int {
	low := max(int(float64(most)*s.ratio), 1)
	return low + rng.IntN(most-low+1)
}

// draw makes n token ids.
func (s *Source) draw(rng *rand.Rand, n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(s.low + rng.IntN(s.high-s.low))
	}
	return ids
}

// rng returns the randomness of the n-th use of a kind, independent of what was drawn before.
func (s *Source) rng(use string, n int) *rand.Rand { return s.random(fmt.Sprintf("%s/%d", use, n)) }

// random returns the randomness of a use.
func (s *Source) random(use string) *rand.Rand {
	return rand.New(rand.NewChaCha8(sha256.Sum256([]byte(s.key + "/" + use))))
}

// idRange returns the token ids that prompts are made of: a vocabulary without its ends, or all of a tiny one.
func idRange(vocab int) (low, high int) {
	if vocab == 0 {
		vocab = defaultVocab
	}
	low, high = firstToken, vocab-vocab/topShare
	if high < 2*firstToken {
		return 0, vocab
	}
	return low, high
}
