package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

// Publish stores m under subject and returns when the broker has it on disk. It waits for a broker that is away, until ctx
// ends. msgID makes the repeats of one publication one message: within the stream's window (two minutes), a message with an
// id already seen is acknowledged and not stored again. An empty msgID uses the subject, for subjects that carry one message.
func (b *Bus) Publish(ctx context.Context, subject string, m proto.Message, msgID string) error {
	data, err := proto.Encode(m)
	if err != nil {
		return fmt.Errorf("publish to %s: %w", subject, err)
	}
	return b.publish(ctx, subject, data, msgID)
}

func (b *Bus) publish(ctx context.Context, subject string, data []byte, msgID string) error {
	if msgID == "" {
		msgID = subject
	}
	return b.retry(ctx, "publish to "+subject, func(ctx context.Context) error {
		_, err := b.js.Publish(ctx, subject, data, jetstream.WithMsgID(msgID))
		return err
	})
}

// Pending is a publication that is on its way.
type Pending struct {
	b              *Bus
	subject, msgID string
	data           []byte
	done           chan struct{}
	err            error // valid after done
}

// PublishAsync sends m and returns before the ack, so that many publications share the broker's time; it blocks while too
// many are on their way. Wait tells whether the broker has it. An empty msgID uses the subject. ctx counts until the ack.
func (b *Bus) PublishAsync(ctx context.Context, subject string, m proto.Message, msgID string) (*Pending, error) {
	data, err := proto.Encode(m)
	if err != nil {
		return nil, fmt.Errorf("publish to %s: %w", subject, err)
	}
	if msgID == "" {
		msgID = subject
	}
	select {
	case b.async <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("publish to %s: %w", subject, context.Cause(ctx))
	}
	p := &Pending{b: b, subject: subject, msgID: msgID, data: data, done: make(chan struct{})}
	future, err := b.js.PublishAsync(subject, data, jetstream.WithMsgID(msgID))
	go p.follow(ctx, future, err)
	return p, nil
}

// follow waits for the ack. When it does not come, the message is published again under the same id, now with patience.
func (p *Pending) follow(ctx context.Context, future jetstream.PubAckFuture, err error) {
	defer func() { <-p.b.async; close(p.done) }()
	if err == nil {
		select {
		case <-future.Ok():
			return
		case err = <-future.Err(): // published again below, which says why should that fail too
			p.b.log.Debug().Err(err).Str("subject", p.subject).Msg("async publish failed")
		case <-ctx.Done():
			p.err = fmt.Errorf("publish to %s: %w", p.subject, context.Cause(ctx))
			return
		}
	}
	p.err = p.b.publish(ctx, p.subject, p.data, p.msgID)
}

// Size gives the bytes of the encoded message.
func (p *Pending) Size() int { return len(p.data) }

// Done is closed when the publication has ended; Wait then returns at once.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait returns when the broker has the message on disk, or with the error that ended the attempts.
func (p *Pending) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for ack of %s: %w", p.subject, context.Cause(ctx))
	}
}
