package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

const (
	tryTimeout    = 5 * time.Second  // one request; after it the answer is lost, and the request is repeated
	noStreamLimit = 30 * time.Second // a broker that restarts has no streams for a moment; after this they do not exist
	warnEvery     = 15 * time.Second
)

// retry calls do until it succeeds, fails for good or ctx ends. The broker going away is not a failure of the work: it is
// waited for, and said in the log. do must be safe to repeat when its answer was lost.
func (b *Bus) retry(ctx context.Context, what string, do func(ctx context.Context) error) error {
	start, warned := time.Now(), time.Now()
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		tryCtx, cancel := context.WithTimeout(ctx, tryTimeout)
		err := do(tryCtx)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case noStream(err) && b.Connected() && time.Since(start) > noStreamLimit:
			return fmt.Errorf("%s: %w; no stream takes this: does the coordinator run on this broker?", what, err)
		case !transient(err):
			return fmt.Errorf("%s: %w", what, StorageFailure(err))
		}
		if time.Since(warned) > warnEvery {
			b.log.Warn().Err(err).Str("doing", what).Int("tries", try).Msg("broker does not answer, trying on")
			warned = time.Now()
		}
		select {
		case <-time.After(reconnectDelay(try)):
		case <-b.nextReconnect():
		case <-ctx.Done():
		}
	}
}

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
	return errors.As(err, &api) && api.Code == 503 && !full(api)
}

// JetStream's error codes for a broker without room.
func full(api *jetstream.APIError) bool {
	return api.ErrorCode == 10023 || api.ErrorCode == 10047 || api.ErrorCode == 10077 && strings.Contains(api.Description, "maximum bytes")
}

// StorageFailure makes a broker's refusal to store the failure that a person can act on.
func StorageFailure(err error) error {
	if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) {
		return proto.Failf(proto.CodeMessageTooLarge, "broker refused the message: %v", err).
			WithHint("set max_payload of the NATS server to 1MB or more")
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && full(api) {
		return proto.Failf(proto.CodeDiskFull, "broker has no room: %v", err).
			WithHint("free space on the broker's store directory, or raise its JetStream limits")
	}
	return err
}
