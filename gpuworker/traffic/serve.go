package traffic

import (
	"context"
	"errors"
	"sync"
	"time"
)

// spentEvery is how often the dump budget is looked at while no request ends.
const spentEvery = 500 * time.Millisecond

var errSpent = errors.New("the dump budget is spent")

// Serve sends all requests of a source through do, with inFlight of them under way at a time: each that ends is replaced at
// once. A request waits for its time of arrival (Request.At, from the call on) and for those it must come after
// (Request.After), and all behind it wait with it, so that they are sent in order.
//
// gate is passed before each request is sent; it holds while there is no room for more dumps. spent is asked before each request
// and twice a second: once it is true nothing more is sent, do's ctx is cancelled, since serving on brings nothing, and Serve
// returns with spent set and no error. The first error of do or gate, or the end of ctx, cancels the rest and is returned. report
// is told of each request served, 1, 2, … of the total, one call at a time, never after the return; it must not block. gate,
// spent and report may be nil.
//
// Served counts the calls of do that returned nil. When Serve returns, none is running.
func Serve(
	ctx context.Context, src *Source, inFlight int, gate func(context.Context) error, spent func() bool,
	do func(context.Context, Request) error, report func(done, total int),
) (served int, wasSpent bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &server{ctx: ctx, cancel: cancel, spent: spent, report: report, total: src.Total(), room: make(chan struct{}, max(inFlight, 1)), began: time.Now()}
	s.changed = sync.NewCond(&s.mu)
	defer context.AfterFunc(ctx, func() { s.mu.Lock(); s.changed.Broadcast(); s.mu.Unlock() })()

	watched := make(chan struct{})
	stopWatch := make(chan struct{})
	go func() { defer close(watched); s.watch(stopWatch) }()
	s.send(src, gate, do)
	s.running.Wait()
	close(stopWatch)
	<-watched

	switch cause := context.Cause(ctx); {
	case s.served == s.total: // nothing was left to cancel
		return s.served, errors.Is(cause, errSpent), nil
	case errors.Is(cause, errSpent):
		return s.served, true, nil
	default:
		return s.served, false, cause
	}
}

// server is one call of Serve.
type server struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	spent   func() bool
	report  func(done, total int)
	total   int
	room    chan struct{} // holds one for each request in flight
	began   time.Time
	running sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond // served, or the end of ctx
	served  int
}

// send starts requests, in order, until there are no more or ctx ends.
func (s *server) send(src *Source, gate func(context.Context) error, do func(context.Context, Request) error) {
	for {
		select {
		case s.room <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		s.look()
		if s.ctx.Err() != nil {
			return
		}
		r, ok := src.Next()
		if !ok || !s.due(r) {
			return
		}
		if gate != nil {
			if err := gate(s.ctx); err != nil {
				s.cancel(err)
			}
		}
		if s.ctx.Err() != nil {
			return
		}
		s.running.Go(func() { s.one(r, do) })
	}
}

// due waits until a request may be sent; false: it never may.
func (s *server) due(r Request) bool {
	s.mu.Lock()
	for s.served < r.After && s.ctx.Err() == nil {
		s.changed.Wait()
	}
	s.mu.Unlock()
	wait := time.Until(s.began.Add(r.At))
	if r.At == 0 || wait <= 0 {
		return s.ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// one serves a request and makes room for the next.
func (s *server) one(r Request, do func(context.Context, Request) error) {
	err := do(s.ctx, r)
	if err != nil {
		s.cancel(err) // of no effect where the rest is cancelled already: that is then why this one failed
	} else {
		s.mu.Lock()
		s.served++
		s.changed.Broadcast()
		if s.report != nil {
			s.report(s.served, s.total)
		}
		s.mu.Unlock()
	}
	<-s.room
}

// look cancels what is under way once the budget is spent.
func (s *server) look() {
	if s.spent != nil && s.ctx.Err() == nil && s.spent() {
		s.cancel(errSpent)
	}
}

// watch looks at the budget while no request ends.
func (s *server) watch(stop <-chan struct{}) {
	if s.spent == nil {
		return
	}
	ticker := time.NewTicker(spentEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.look()
		case <-stop:
			return
		case <-s.ctx.Done():
			return
		}
	}
}
