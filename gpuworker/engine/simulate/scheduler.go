package simulate

import (
	"math/rand/v2"

	"github.com/tracefleet/tracefleet/proto"
)

// How the scheduler guesses, after SGLang's own constants: the share of the tokens still to come that it reserves for
// running requests when it admits another, where that share begins, how it falls, and the most it reserves for one request.
const (
	initialShare  = 0.7
	minimalShare  = 0.1
	shareStep     = 0.001
	maxReserve    = 4096
	defaultChunk  = 8192  // tokens a prefill pass computes
	maxPrefill    = 16384 // the same where chunked prefill is off
	retractMargin = 20    // tokens a sequence that the guess allows for after a retraction
	shares        = 4     // prefixes that requests share, each in a page more than its tokens fill
)

// batch is one forward pass: a prefill of some requests' next tokens, or one more token for all running ones.
type batch struct {
	prefill bool
	rows    []row
}

// row is one request's part of a forward pass. slots are those of all tokens up to seq; they change with the next pass.
type row struct {
	req    *request
	prefix int // tokens whose KV was there before
	seq    int // tokens after this pass
	slots  []int32
}

// scheduler is continuous batching with one queue: what waits is prefilled before anything is decoded; a prompt that does
// not fit in a pass is continued in the next one; what finishes makes room for the next arrival at once.
type scheduler struct {
	pool     *pool
	cache    *prefixCache // nil: off
	source   *source
	inFlight int // most requests at a time
	chunk    int // tokens a prefill pass computes
	chunked  bool
	spread   *rand.Rand // over HTTP, what may be in flight arrives over a few passes; nil: at once

	held    *request // the next to arrive; it has others to wait for
	waiting []*request
	running []*request
	partial *request // prefilled in part; goes first in the next pass
	share   float64
	passes  int
	served  int
	retract int // times the pool ran full in decode
}

// newScheduler sizes pool and passes for the task. tokens is the pool; 0: sized to the batch.
func newScheduler(t *proto.Task, src *source, pageSize, chunk int) (*scheduler, error) {
	tokens := t.Engine.PoolToken
	if tokens == 0 {
		tokens = t.BatchSize*src.Longest()*5/4 + src.Shared() + (t.BatchSize+1+shares)*pageSize
	}
	tokens -= tokens % pageSize
	if need := src.Longest() + pageSize; tokens < need {
		return nil, proto.Failf(proto.CodeBadCollection, "simulate: a pool of %d tokens cannot hold one request of up to %d", tokens, need).
			WithHint("raise pool_tokens, or lower --isl and --osl")
	}
	s := &scheduler{
		pool: newPool(tokens, pageSize), source: src, inFlight: t.BatchSize, chunk: chunk, chunked: chunk > 0,
		share: initialShare,
	}
	if t.Engine.Mode == proto.ModeHTTPPaged || t.Engine.Mode == proto.ModeHTTPRagged {
		s.spread = seed(t, "arrivals")
	}
	if !s.chunked {
		s.chunk = maxPrefill
	}
	if s.chunk < pageSize {
		return nil, proto.Failf(proto.CodeBadCollection, "simulate: chunked prefill of %d tokens is less than a page of %d", s.chunk, pageSize)
	}
	if !t.Traffic.DisableRadix {
		s.cache = newPrefixCache(s.pool)
	}
	return s, nil
}

// next gives the next forward pass, or nil when everything is served. The pass is to be handed to complete before the next.
func (s *scheduler) next() *batch {
	s.arrive()
	s.passes++
	if b := s.prefill(); b != nil {
		return b
	}
	return s.decode()
}

// arrive refills what is in flight.
func (s *scheduler) arrive() {
	room := s.inFlight - len(s.waiting) - len(s.running)
	if s.partial != nil {
		room--
	}
	if s.spread != nil && room > 1 {
		if s.passes == 0 {
			room = 1 // the server begins with the first request while the client still sends the others
		} else {
			room = 1 + s.spread.IntN(room)
		}
	}
	for ; room > 0; room-- {
		if s.held == nil {
			s.held = s.source.next()
		}
		if s.held == nil || s.served < s.held.after {
			return
		}
		s.waiting = append(s.waiting, s.held)
		s.held = nil
	}
}

// prefill admits waiting requests, in order, as long as tokens of this pass and room in the pool are left.
func (s *scheduler) prefill() *batch {
	b := &batch{prefill: true}
	budget := s.chunk
	reserved := 0
	for _, r := range s.running {
		reserved += int(s.share * float64(min(r.max-r.generated(), maxReserve)))
	}
	if r := s.partial; r != nil {
		s.partial = nil
		budget -= s.admit(b, r, budget)
		reserved += min(r.max, maxReserve)
	}
	for len(s.waiting) > 0 && budget > 0 && s.partial == nil {
		r := s.waiting[0]
		s.attach(r)
		need := len(r.tokens) - len(r.slots)
		room := s.room() - reserved - len(b.rows)*s.pool.pageSize
		left := min(r.max-r.generated(), maxReserve)
		// Where nothing runs the request must go ahead: the pool holds any single one, whatever the guess says.
		if alone := len(b.rows) == 0 && len(s.running) == 0; need+left+s.pool.pageSize > room && !alone {
			s.detach(r)
			break
		}
		if need > budget && (!s.chunked || budget < s.pool.pageSize) && len(b.rows) > 0 {
			s.detach(r)
			break
		}
		if !s.chunked {
			budget = max(budget, need) // a prompt longer than a pass has a pass of its own
		}
		s.waiting = s.waiting[1:]
		budget -= s.admit(b, r, budget)
		reserved += left
	}
	if len(b.rows) == 0 {
		return nil
	}
	return b
}

// attach finds what of a request's tokens is cached, and locks it. One token at least is left to compute.
func (s *scheduler) attach(r *request) {
	if s.cache == nil {
		return
	}
	slots, at := s.cache.match(r.tokens[:len(r.tokens)-1])
	s.cache.lock(at)
	r.slots, r.shared, r.node = slots, len(slots), at
}

func (s *scheduler) detach(r *request) {
	if s.cache != nil {
		s.cache.unlock(r.node)
	}
	r.slots, r.shared, r.node = nil, 0, nil
}

// admit gives a request as many tokens of this pass as the budget allows, and returns how many.
func (s *scheduler) admit(b *batch, r *request, budget int) int {
	prefix, seq := len(r.slots), len(r.tokens)
	if seq-prefix > budget {
		seq = (prefix + budget) / s.pool.pageSize * s.pool.pageSize
		s.partial = r
	}
	if seq == prefix || !s.grow(r, seq) {
		// No room for even a page of it: it is continued when there is.
		s.partial = r
		return budget
	}
	b.rows = append(b.rows, row{req: r, prefix: prefix, seq: seq, slots: r.slots})
	return seq - prefix
}

// grow allocates a request's slots up to a length, evicting what is only cached.
func (s *scheduler) grow(r *request, length int) bool {
	s.makeRoom(s.pool.pagesFor(len(r.slots), length) * s.pool.pageSize)
	slots, err := s.pool.extend(r.slots, length)
	r.slots = slots
	return err == nil
}

func (s *scheduler) makeRoom(tokens int) {
	if s.cache != nil && s.pool.available() < tokens {
		s.cache.evict(tokens)
	}
}

// room is what could be allocated, cached tokens that nobody holds included.
func (s *scheduler) room() int {
	if s.cache == nil {
		return s.pool.available()
	}
	return s.pool.available() + s.cache.evictable
}

// decode gives every running request its next token. Where the pool cannot take them all, requests are retracted: the one
// with the fewest generated tokens first, the longer prompt where they are equal.
func (s *scheduler) decode() *batch {
	for {
		pages := 0
		for _, r := range s.running {
			pages += s.pool.pagesFor(len(r.slots), len(r.tokens))
		}
		s.makeRoom(pages * s.pool.pageSize)
		if pages*s.pool.pageSize <= s.pool.available() || !s.retractOne() {
			break
		}
	}
	b := &batch{}
	for _, r := range s.running {
		prefix := len(r.slots)
		if !s.grow(r, len(r.tokens)) {
			continue // cannot be: one request alone always fits, see newScheduler
		}
		b.rows = append(b.rows, row{req: r, prefix: prefix, seq: len(r.tokens), slots: r.slots})
	}
	if len(b.rows) == 0 {
		return nil
	}
	s.share = max(s.share-shareStep, minimalShare)
	return b
}

// retractOne sends a request back to the queue, its tokens kept and its slots freed; false: there is none to spare.
func (s *scheduler) retractOne() bool {
	if len(s.running) < 2 {
		if s.partial == nil {
			return false
		}
		s.giveUp(s.partial)
		s.partial = nil
		return true
	}
	worst := 0
	for i, r := range s.running {
		w := s.running[worst]
		if r.generated() < w.generated() || (r.generated() == w.generated() && r.prompt > w.prompt) {
			worst = i
		}
	}
	r := s.running[worst]
	s.running = append(s.running[:worst:worst], s.running[worst+1:]...)
	s.giveUp(r)

	decoded, total := 0, 0
	for _, r := range s.running {
		decoded += r.generated() + retractMargin
		total += r.max
	}
	s.share = min(1, float64(decoded)/float64(max(total, 1)))
	return true
}

func (s *scheduler) giveUp(r *request) {
	s.pool.release(r.slots[r.shared:])
	s.detach(r)
	s.waiting = append(s.waiting, r)
	s.retract++
}

// complete ends a pass: every request whose tokens are all computed has one token more, and leaves if it was its last.
func (s *scheduler) complete(b *batch) {
	var released []int32
	for _, row := range b.rows {
		r := row.req
		if row.seq < len(r.tokens) {
			s.keep(r)
			continue
		}
		r.tokens = append(r.tokens, s.source.token())
		switch {
		case r.done():
			released = append(released, s.finish(r)...)
			s.served++
		case b.prefill:
			s.keep(r)
			s.running = append(s.running, r)
		}
	}
	s.pool.release(released)
	if !b.prefill {
		left := s.running[:0]
		for _, r := range s.running {
			if !r.done() {
				left = append(left, r)
			}
		}
		clear(s.running[len(left):])
		s.running = left
	}
}

// keep stores what a request has computed for others to share; slots that turn out to be cached already are given back.
func (s *scheduler) keep(r *request) {
	if s.cache == nil {
		return
	}
	n := s.cache.whole(len(r.slots))
	had := s.cache.insert(r.tokens[:n], r.slots[:n])
	s.pool.release(r.slots[min(r.shared, had):had])
	slots, at := s.cache.match(r.tokens[:n])
	s.cache.lock(at)
	s.cache.unlock(r.node)
	copy(r.slots, slots)
	r.shared, r.node = len(slots), at
}

// finish gives the slots that nobody needs any more; the prefix cache keeps the rest.
func (s *scheduler) finish(r *request) []int32 {
	if s.cache == nil {
		return r.slots
	}
	n := s.cache.whole(len(r.slots))
	had := s.cache.insert(r.tokens[:n], r.slots[:n])
	released := append([]int32(nil), r.slots[min(r.shared, had):had]...)
	released = append(released, r.slots[n:]...)
	s.cache.unlock(r.node)
	r.node = nil
	return released
}
