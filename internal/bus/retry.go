package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

const (
	tryTimeout    = 5 * time.Second  // one request; after it the answer is lost, and the request is repeated
	noStreamLimit = 10 * time.Second // an election of stream leaders takes up to nine; after this the stream does not exist
	silentLimit   = 30 * time.Second // a broker that is connected and answers nothing for so long does not recover by itself
	warnEvery     = 15 * time.Second
	deniedSettle  = 200 * time.Millisecond // from a permission violation to the end of the request that it is about
	refusedMax    = 15 * time.Second       // between two tries of what was refused
)

// retry calls do until it succeeds, fails for good or ctx ends. A broker that does not answer is waited for and reported in the log. A
// refusal (see refusal.go) is an error, or waited for where the Bus is patient. do must be safe to repeat when its answer was lost.
func (b *Bus) retry(ctx context.Context, what string, do func(ctx context.Context) error) error {
	return b.retryReporting(ctx, what, nil, do)
}

// retryReporting is retry, and calls report with each refusal that it waits out.
func (b *Bus) retryReporting(ctx context.Context, what string, report func(*proto.Failure), do func(ctx context.Context) error) error {
	start, warned := time.Now(), time.Now()
	var waiting *proto.Failure
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		began := time.Now()
		err := b.try(ctx, do)
		if err == nil {
			if waiting != nil {
				b.accepted(what, waiting)
			}
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		f := refused(err)
		switch {
		case transient(err):
			f = b.denials.since(began)
		case f != nil && f.Hint == enableJS && time.Since(start) < disabledGrace:
			f = nil
		case f == nil:
			return fmt.Errorf("%s: %w", what, StorageFailure(err))
		}
		if f == nil && noStream(err) && b.Connected() && time.Since(start) > noStreamLimit {
			f = proto.Failf(proto.CodeBrokerRefused, "%v: no stream accepts it", err).
				WithHint("enable JetStream, and start a coordinator on this broker")
		}
		if f == nil && !b.patient && b.Connected() && time.Since(start) > silentLimit {
			f = silent(err)
		}
		delay := reconnectDelay(try)
		switch {
		case f != nil && !b.patient:
			return refusedErr(what, f)
		case f != nil:
			b.report(what, f)
			if report != nil {
				report(f)
			}
			waiting, delay = f, refusedDelay(try)
		case time.Since(warned) > warnEvery:
			text := "broker is away, waiting for it"
			if b.Connected() {
				text = silent(err).Error()
			}
			b.log.Warn().Err(err).Str("doing", what).Int("tries", try).Msg(text)
			warned = time.Now()
		}
		select {
		case <-time.After(delay):
		case <-b.nextReconnect():
		case <-ctx.Done():
		}
	}
}

// silent is the failure of a broker that is connected and does not answer. nats-server acknowledges nothing on a stream whose file could
// not be written.
func silent(err error) *proto.Failure {
	return proto.Failf(proto.CodeBrokerRefused, "the broker is connected and does not answer: %v", err).
		WithHint("check nats-server's log for a full disk or a cluster without a leader")
}

// Probe returns an error if the broker refuses an announcement, or acknowledges none for as long as an election of stream leaders
// takes. What it stores is the deletion of a key that does not exist.
func (b *Bus) Probe(ctx context.Context) error {
	for began := time.Now(); ; {
		err := b.probe(ctx)
		f := refused(err)
		if f == nil && err != nil {
			f = b.denials.since(began)
		}
		switch {
		case err == nil, !b.Connected(), ctx.Err() != nil:
			return nil
		case f != nil:
			return refusedErr("store a message", f)
		case !errors.Is(err, context.DeadlineExceeded):
			return nil
		case time.Since(began) >= noStreamLimit:
			return refusedErr("store a message", silent(err))
		}
	}
}

func (b *Bus) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	kv, err := b.js.KeyValue(ctx, proto.BucketWorkers)
	if err != nil {
		return err
	}
	return kv.Delete(ctx, NewWorkerID("probe", b.node))
}

// try calls do once. The broker does not answer a request that it denies, and reports the denial beside it: a try that a person waits
// for ends soon after that, not at its timeout.
func (b *Bus) try(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if !b.patient {
		denied := b.denials.next()
		go func() {
			select {
			case <-denied:
				time.AfterFunc(deniedSettle, cancel)
			case <-ctx.Done():
			}
		}()
	}
	err := do(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nats.ErrTimeout
	}
	return err
}

// refusedDelay returns the time between two tries of what was refused: it doubles to refusedMax.
func refusedDelay(try int) time.Duration { return min(reconnectDelay(try)*4, refusedMax) }

func noStream(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// transient reports whether err is about the way to the broker or its moment, not about the request.
func transient(err error) bool {
	for _, e := range []error{
		nats.ErrTimeout, context.DeadlineExceeded, nats.ErrNoResponders, jetstream.ErrNoStreamResponse, nats.ErrDisconnected,
		nats.ErrStaleConnection, nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, jetstream.ErrAsyncPublishTimeout,
		jetstream.ErrTooManyStalledMsgs, jetstream.ErrServerShutdown, jetstream.ErrNoHeartbeat, jetstream.ErrConsumerLeadershipChanged,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code == 503 && refused(api) == nil
}
