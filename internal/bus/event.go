package bus

import (
	"context"
	"time"

	"github.com/tracefleet/tracefleet/proto"
)

// Event sends an event and does not wait: events tell how it goes, they are never the truth. While the broker is away they are
// buffered, and lost beyond that. Time and node are filled in where they are empty.
func (b *Bus) Event(_ context.Context, e proto.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	if e.Node == "" {
		e.Node = b.node
	}
	data, err := proto.Encode(&e)
	if err == nil {
		err = b.nc.Publish(proto.EventSubject(e.Collection, e.Task), data)
	}
	if err != nil {
		b.log.Debug().Err(err).Str("collection", e.Collection).Msg("event lost")
	}
}

// Follow gives the events under filter (proto.EventFilter) that were stored at or after from (zero: all that are kept) to fn,
// then those that come, until ctx ends (nil) or fn returns an error. Events that cannot be decoded are left out.
func (b *Bus) Follow(ctx context.Context, filter string, from time.Time, fn func(*proto.Event) error) error {
	err := b.follow(ctx, proto.StreamEvents, filter, from, false, b.decodeEvent(fn))
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Events gives the events under filter that are stored now, and returns.
func (b *Bus) Events(ctx context.Context, filter string, from time.Time, fn func(*proto.Event) error) error {
	return b.ReadStream(ctx, proto.StreamEvents, filter, from, b.decodeEvent(fn))
}

func (b *Bus) decodeEvent(fn func(*proto.Event) error) func(Stored) error {
	return func(m Stored) error {
		e, err := proto.Decode[proto.Event](m.Data)
		if err != nil {
			b.log.Debug().Err(err).Str("subject", m.Subject).Msg("event of another release left out")
			return nil
		}
		return fn(e)
	}
}
