package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/proto"
)

// Delivery is one delivery of a message.
type Delivery struct {
	Stream     string
	Subject    string
	Sequence   uint64 // in the stream
	Deliveries uint64 // this one included
	At         time.Time
	Data       []byte
	Last       bool // a retryable error now makes it a dead letter
}

// Handler does the work of a message. What it returns decides what becomes of it:
//
//	nil                          acknowledged: it leaves the queue
//	Later(delay, …)              given back for that long; never counts as a failure
//	a *proto.Failure without     dead at once
//	  Retryable
//	any other error, or a panic  given back with a growing delay; dead at the consumer's last delivery
//
// An error while ctx has ended gives the message back at once, whatever it is.
type Handler func(ctx context.Context, d *Delivery) error

// ConsumeOptions are the choices of one Consume. The zero value handles one message at a time and interrupts it when ctx ends.
type ConsumeOptions struct {
	// Parallel is how many messages are handled at a time; 0: one. No more are held than are handled.
	Parallel int
	// Turn, if set, is shared by several Consume calls, and limits how many messages are handled at a time over all of them.
	Turn *Turn
	// Ready, if set, is waited for before messages are asked for, and then they are asked for one by one. It returns when one
	// could be handled soon, so that no message waits here which another process could take; its error is that of ctx.
	Ready func(ctx context.Context) error
	// Hard, if set, interrupts handlers; the ctx of Consume then only stops taking messages.
	Hard context.Context
	// OnDead is called before a message becomes a dead letter, to record its end where others wait for it. It must be safe to
	// repeat. While it fails, the message stays in its queue.
	OnDead func(ctx context.Context, d *Delivery, f *proto.Failure) error
	// RetryDelay is how long a failed message waits, by the number of its deliveries; nil: doubling from a second to half a
	// minute (five seconds where the consumer allows one message at a time, which the others wait for).
	RetryDelay func(deliveries uint64) time.Duration
}

const settleTimeout = 10 * time.Second // to acknowledge or give back after the context ended

// Later is the result of a handler that cannot do the work now though nothing failed. The message comes again after delay.
func Later(delay time.Duration, format string, args ...any) error {
	return &laterError{delay: max(delay, 0), reason: fmt.Sprintf(format, args...)}
}

type laterError struct {
	delay  time.Duration
	reason string
}

func (e *laterError) Error() string { return "not now: " + e.reason }

// Consume takes messages until ctx ends, then waits for the handlers under way and returns nil. Only a consumer that does not
// exist, or is not what Ensure made of it, is an error. A broker that goes away is waited for.
func (b *Bus) Consume(ctx context.Context, c proto.Consumer, handle Handler, opts ConsumeOptions) error {
	k := &taker{b: b, c: c, handle: handle, opts: opts, handlerCtx: ctx, free: make(chan struct{}, max(opts.Parallel, 1))}
	if opts.Hard != nil {
		k.handlerCtx = opts.Hard
	}
	k.log = b.log.With().Str("consumer", c.Name).Logger()
	for range cap(k.free) {
		k.free <- struct{}{}
	}
	defer k.handlers.Wait()
	return k.run(ctx)
}

// Decoded makes a Handler of one for decoded messages. What cannot be decoded is dead at once, with the codec's failure.
func Decoded[T any, P interface {
	*T
	proto.Message
}](handle func(ctx context.Context, d *Delivery, m P) error) Handler {
	return func(ctx context.Context, d *Delivery) error {
		m, err := proto.Decode[T, P](d.Data)
		if err != nil {
			return err
		}
		return handle(ctx, d, m)
	}
}

// run pulls as many messages as there are free handlers, again and again.
func (k *taker) run(ctx context.Context) error {
	var cons jetstream.Consumer
	what := "consume " + k.c.Name + " of " + k.c.Stream
	bind := func() error {
		return k.b.retry(ctx, what, func(ctx context.Context) (err error) {
			cons, err = k.b.js.Consumer(ctx, k.c.Stream, k.c.Name)
			return err
		})
	}
	if err := bind(); err != nil {
		return stopped(ctx, err)
	}
	for tries := 0; ; {
		n := k.takeFree(ctx)
		k.opts.Turn.wait(ctx)
		if k.opts.Ready != nil && ctx.Err() == nil {
			_ = k.opts.Ready(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		began := time.Now()
		got, err := k.pull(ctx, cons, n)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil || got > 0:
			tries = 0
			continue
		case errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound):
			return fmt.Errorf("%s: %w", what, err)
		}
		tries++
		k.log.Debug().Err(err).Msg("pull failed, trying on")
		if f := k.b.denials.since(began); f != nil && k.b.patient {
			k.b.report(what, f)
		} else if f != nil {
			return refusedErr(what, f)
		}
		select {
		case <-time.After(reconnectDelay(tries)):
		case <-ctx.Done():
			return nil
		}
		if err := bind(); err != nil { // a consumer that was deleted while we waited is an error here
			return stopped(ctx, err)
		}
	}
}

func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// taker is one Consume.
type taker struct {
	b          *Bus
	c          proto.Consumer
	handle     Handler
	opts       ConsumeOptions
	handlerCtx context.Context // the context that interrupts handlers; it lives as long as the call
	log        zerolog.Logger
	free       chan struct{}
	handlers   sync.WaitGroup

	mu      sync.Mutex
	excused map[uint64]uint64 // by sequence: deliveries that ended in Later, and so are not failures
}

// excuse takes a delivery out of the count of those that failed. Another process does not know of it; there the message has
// fewer tries, which MaxDeliver leaves room for.
func (k *taker) excuse(seq uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.excused == nil {
		k.excused = map[uint64]uint64{}
	}
	k.excused[seq]++
}

// failures gives how often a message was delivered, this time included and those that were excused not.
func (k *taker) failures(meta *jetstream.MsgMetadata) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return meta.NumDelivered - min(k.excused[meta.Sequence.Stream], meta.NumDelivered)
}

// forget is for a message that has left the queue.
func (k *taker) forget(seq uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.excused, seq)
}

// takeFree waits for a free handler and takes all that are free; where messages are asked for one by one, that one.
func (k *taker) takeFree(ctx context.Context) int {
	select {
	case <-k.free:
	case <-ctx.Done():
		return 0
	}
	if k.opts.Turn != nil || k.opts.Ready != nil {
		return 1
	}
	for n := 1; ; n++ {
		select {
		case <-k.free:
		default:
			return n
		}
	}
}

// pull asks for n messages and starts a handler for each that comes. Handlers that got none are free again after it.
func (k *taker) pull(ctx context.Context, cons jetstream.Consumer, n int) (got int, err error) {
	defer func() {
		for range n - got {
			k.free <- struct{}{}
		}
	}()
	// A pull request dies with the server that had it; without this, its loss is only noticed by missing heartbeats.
	pullCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	reconnected := k.b.nextReconnect()
	batch, err := cons.Fetch(n, jetstream.FetchContext(pullCtx))
	if err != nil {
		return 0, err
	}
	for {
		select {
		case msg, ok := <-batch.Messages():
			if !ok {
				return got, batch.Error()
			}
			if ctx.Err() != nil { // came in the moment of stopping: somebody else may have it at once
				k.settle("give back", msg.Nak)
				continue
			}
			if !k.opts.Turn.take() { // another queue was faster
				if meta, err := msg.Metadata(); err == nil {
					k.excuse(meta.Sequence.Stream)
				}
				k.settle("give back", msg.Nak)
				continue
			}
			got++
			k.handlers.Go(func() {
				defer func() { k.opts.Turn.release(); k.free <- struct{}{} }()
				k.deliver(msg)
			})
		case <-reconnected:
			cancel()
			reconnected = nil
		}
	}
}

// deliver runs the handler on one message, with keep-alives, and settles it by the result.
func (k *taker) deliver(msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil { // no message of JetStream's: nothing to settle
		k.log.Error().Err(err).Str("subject", msg.Subject()).Msg("message without metadata")
		return
	}
	d := &Delivery{
		Stream: meta.Stream, Subject: msg.Subject(), Sequence: meta.Sequence.Stream, Deliveries: meta.NumDelivered,
		At: meta.Timestamp, Data: msg.Data(), Last: k.failures(meta) >= uint64(k.c.MaxDeliver),
	}
	stop := k.keepAlive(msg)
	err = k.call(d)
	interrupted := k.handlerCtx.Err() != nil
	var later *laterError
	switch {
	case err == nil:
		k.forget(d.Sequence)
		k.settle("acknowledge", func() error { return k.ack(msg) })
	case interrupted:
		k.settle("give back", msg.Nak)
	case errors.As(err, &later):
		k.excuse(d.Sequence)
		k.log.Debug().Str("subject", d.Subject).Dur("delay", later.delay).Str("reason", later.reason).Msg("message given back")
		k.settle("give back", func() error { return msg.NakWithDelay(later.delay) })
	case d.Last || final(err):
		k.forget(d.Sequence)
		k.bury(msg, d, err)
	default:
		delay := k.retryDelay(d.Deliveries)
		k.log.Warn().Err(err).Str("subject", d.Subject).Uint64("delivery", d.Deliveries).Dur("delay", delay).Msg("message failed, will be tried again")
		k.settle("give back", func() error { return msg.NakWithDelay(delay) })
	}
	stop()
}

func final(err error) bool {
	var f *proto.Failure
	return errors.As(err, &f) && !f.Retryable
}

// call runs the handler; a panic is its failure, not the end of the process and of the messages beside it.
func (k *taker) call(d *Delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			k.log.Error().Str("subject", d.Subject).Interface("panic", p).Str("stack", string(debug.Stack())).Msg("handler panicked")
			err = proto.Failf(proto.CodeInternal, "handle %s: panic: %v", d.Subject, p).
				WithHint("this is a bug in tracefleet: please report it with the log").WithRetry()
		}
	}()
	return k.handle(k.handlerCtx, d)
}

// keepAlive tells the broker that the message is in work, until the returned function is called.
func (k *taker) keepAlive(msg jetstream.Msg) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(k.c.AckWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := msg.InProgress(); err != nil {
					k.log.Debug().Err(err).Msg("keep-alive failed; another may get the message too")
				}
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// ack waits for the broker's word, so that a queue seen empty is empty. Failing that, the message comes again, and handlers
// are safe to repeat.
func (k *taker) ack(msg jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.handlerCtx), settleTimeout)
	defer cancel()
	return msg.DoubleAck(ctx)
}

func (k *taker) settle(what string, do func() error) {
	if err := do(); err != nil {
		k.log.Warn().Err(err).Msgf("could not %s a message; it will be delivered again", what)
	}
}

func (k *taker) retryDelay(deliveries uint64) time.Duration {
	if k.opts.RetryDelay != nil {
		return k.opts.RetryDelay(deliveries)
	}
	most := 30 * time.Second
	if k.c.MaxPending == 1 {
		most = 5 * time.Second
	}
	if deliveries > 6 {
		return most
	}
	return min(time.Second<<(max(deliveries, 1)-1), most)
}
