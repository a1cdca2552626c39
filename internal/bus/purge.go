package bus

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// Purge removes every message under filter from a stream, those in work included: their holders may finish, and settle
// nothing. A filter that matches nothing is no error.
func (b *Bus) Purge(ctx context.Context, stream, filter string) error {
	return b.retry(ctx, "purge "+filter+" of "+stream, func(ctx context.Context) error {
		st, err := b.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		return st.Purge(ctx, jetstream.WithPurgeSubject(filter))
	})
}
