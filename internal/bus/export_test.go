package bus

import (
	"context"
	"testing"

	"github.com/tracefleet/tracefleet/proto"
)

// EnsureConsumer creates a consumer that proto does not declare.
func EnsureConsumer(ctx context.Context, t testing.TB, b *Bus, c proto.Consumer) {
	t.Helper()
	if err := b.ensureConsumer(ctx, c); err != nil {
		t.Fatal(err)
	}
}
