package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

// bury moves a message to the dead letters: its end is recorded where others wait for it, then it is stored with its failure,
// then it leaves its queue. A crash in between repeats the steps; each is safe to repeat.
func (k *taker) bury(msg jetstream.Msg, d *Delivery, cause error) {
	f := proto.AsFailure(cause, proto.CodeInternal)
	// A stop in this moment must not undo what was decided: the few writes are finished.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.handlerCtx), settleTimeout)
	defer cancel()
	if k.opts.OnDead != nil {
		if err := k.opts.OnDead(ctx, d, f); err != nil {
			delay := k.retryDelay(d.Deliveries)
			k.log.Error().Err(err).Str("subject", d.Subject).Msg("could not record the end of a dead message, trying again")
			k.settle("give back", func() error { return msg.NakWithDelay(delay) })
			return
		}
	}
	if err := k.b.Bury(ctx, d, f); err != nil {
		k.log.Error().Err(err).Str("subject", d.Subject).Msg("could not keep a dead letter, trying again")
		k.settle("give back", func() error { return msg.NakWithDelay(k.retryDelay(d.Deliveries)) })
		return
	}
	k.log.Error().Str("subject", d.Subject).Str("code", string(f.Code)).Uint64("deliveries", d.Deliveries).Err(f).
		Msg("message is dead, see the dead letters")
	k.settle("end", func() error { return msg.TermWithReason(string(f.Code)) })
}

// Bury stores a dead letter; it does not touch the message itself. For one message of a queue it stores one letter, however
// often it is called.
func (b *Bus) Bury(ctx context.Context, d *Delivery, f *proto.Failure) error {
	dead := proto.Dead{
		Stream: d.Stream, Subject: d.Subject, Sequence: d.Sequence, Deliveries: d.Deliveries, At: time.Now().UTC(), Node: b.node,
		Failure: *f, Data: d.Data,
	}
	// The letter is larger than the message; one that no longer fits keeps its failure and loses its data.
	if len(dead.Data) > proto.MaxMessageBytes-deadOverhead {
		dead.Failure.Hint = fmt.Sprintf("%s (the message of %d bytes is too large to keep)", dead.Failure.Hint, len(d.Data))
		dead.Data = nil
	}
	return b.Publish(ctx, proto.DeadSubject(d.Subject), &dead, fmt.Sprintf("dead-%s-%d", d.Stream, d.Sequence))
}

const deadOverhead = 64 << 10
