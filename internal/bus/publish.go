package bus

import (
	"context"
	"fmt"
	"strings"

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
	report := func(f *proto.Failure) {
		collection, stage := collectionOf(subject)
		b.reportWaiting(ctx, collection, stage, f)
	}
	return b.retryReporting(ctx, "publish to "+subject, report, func(ctx context.Context) error {
		_, err := b.js.Publish(ctx, subject, data, jetstream.WithMsgID(msgID))
		return err
	})
}

// reportWaiting sends an event to the user of a collection that waits for the broker, once a change.
func (b *Bus) reportWaiting(ctx context.Context, collection string, stage proto.Stage, f *proto.Failure) {
	if collection == "" || !b.reports.fresh(collection+" "+f.Message) {
		return
	}
	b.Event(ctx, proto.Event{
		Collection: collection, Role: "broker", Stage: stage, Level: proto.LevelWarn,
		Text: "a message is not accepted; its sender waits and tries again", Failure: f,
	})
}

// collectionOf returns the collection of a subject that proto builds, and the stage that its message belongs to; empty if it has none.
func collectionOf(subject string) (collection string, stage proto.Stage) {
	parts := strings.Split(subject, ".")
	if len(parts) < 4 {
		return "", ""
	}
	switch parts[1] {
	case "tasks":
		return parts[3], proto.StagePlan
	case "manifests":
		return parts[2], proto.StageDump
	case "verdicts":
		return parts[2], proto.StageSanitize
	case "publish", "push":
		return parts[2], proto.StagePublish
	}
	return "", ""
}

// Pending is a publication that is on its way.
type Pending struct {
	b              *Bus
	subject, msgID string
	data           []byte
	done           chan struct{}
	err            error // valid after done
}

// PublishAsync sends m and returns before the acknowledgement, so that many publications share the broker's time; it blocks while too
// many are on their way. Wait returns when the broker has it. An empty msgID uses the subject. ctx counts until the acknowledgement.
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

// follow waits for the acknowledgement. When it does not come, the message is published again under the same id, with retries.
func (p *Pending) follow(ctx context.Context, future jetstream.PubAckFuture, err error) {
	defer func() { <-p.b.async; close(p.done) }()
	if err == nil {
		select {
		case <-future.Ok():
			return
		case err = <-future.Err(): // published again below, with an error of its own if that fails too
			p.b.log.Debug().Err(err).Str("subject", p.subject).Msg("async publish failed")
		case <-ctx.Done():
			p.err = fmt.Errorf("publish to %s: %w", p.subject, context.Cause(ctx))
			return
		}
	}
	p.err = p.b.publish(ctx, p.subject, p.data, p.msgID)
}

// Size returns the bytes of the encoded message.
func (p *Pending) Size() int { return len(p.data) }

// Done returns a channel that is closed when the publication has ended; Wait then returns at once.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait returns when the broker has the message on disk, or with the error that ended the attempts.
func (p *Pending) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the acknowledgement of %s: %w", p.subject, context.Cause(ctx))
	}
}
