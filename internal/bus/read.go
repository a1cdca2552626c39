package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stored is a message read from a stream, without taking it.
type Stored struct {
	Subject  string
	Sequence uint64
	At       time.Time
	Data     []byte
}

// CountSubjects gives how many subjects under filter hold a message. For streams of one message a subject it is the size of
// the set, however often a member was published.
func (b *Bus) CountSubjects(ctx context.Context, stream, filter string) (int, error) {
	subjects, err := b.subjects(ctx, stream, filter)
	return len(subjects), err
}

func (b *Bus) subjects(ctx context.Context, stream, filter string) (subjects map[string]uint64, err error) {
	err = b.retry(ctx, "count "+filter+" of "+stream, func(ctx context.Context) error {
		st, err := b.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		info, err := st.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return err
		}
		subjects = info.State.Subjects
		return nil
	})
	return subjects, err
}

// ReadSet gives the message of every subject under filter to fn, each subject once, in the order they were stored. It returns nil
// only when none was left out that was there at the start; an error of fn ends it. Work queues cannot be read, only taken from.
func (b *Bus) ReadSet(ctx context.Context, stream, filter string, fn func(subject string, data []byte) error) error {
	want, err := b.subjects(ctx, stream, filter)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(want))
	missing := 0
	// A subject published again while we read leaves its old place, and is met at its new one or in the next round.
	for range 3 {
		err := b.ReadStream(ctx, stream, filter, time.Time{}, func(m Stored) error {
			if seen[m.Subject] {
				return nil
			}
			seen[m.Subject] = true
			return fn(m.Subject, m.Data)
		})
		if err != nil {
			return err
		}
		missing = 0
		for s := range want {
			if !seen[s] {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
	}
	return fmt.Errorf("read %s of %s: %d of %d subjects could not be read", filter, stream, missing, len(want))
}

// ReadStream gives every message under filter that is stored now and was stored at or after from (zero: all) to fn, in order,
// and returns. An error of fn ends it.
func (b *Bus) ReadStream(ctx context.Context, stream, filter string, from time.Time, fn func(Stored) error) error {
	return b.follow(ctx, stream, filter, from, true, fn)
}

// follow reads with short-lived consumers of its own. When one is lost with its server, or skips a message, a new one starts behind
// the last message given to fn. (The client library has ordered consumers that do the same, but one which is stopped while it
// recovers may never return.)
func (b *Bus) follow(ctx context.Context, stream, filter string, from time.Time, untilEnd bool, fn func(Stored) error) error {
	what := "read " + filter + " of " + stream
	var last uint64
	for tries := 1; ; tries++ {
		cfg := jetstream.ConsumerConfig{
			FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
		}
		switch {
		case last > 0:
			cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, last+1
		case !from.IsZero():
			cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &from
		}
		before := last
		done, err := b.readOnce(ctx, stream, cfg, untilEnd, &last, fn)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", what, err)
		case done:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		if last > before {
			tries = 1
		}
		select {
		case <-time.After(reconnectDelay(tries)):
		case <-ctx.Done():
		}
	}
}

// readOnce reads until the end (done), an error of fn, the end of ctx or a lost consumer (not done, no error).
func (b *Bus) readOnce(ctx context.Context, stream string, cfg jetstream.ConsumerConfig, untilEnd bool, last *uint64, fn func(Stored) error) (done bool, err error) {
	reconnected := b.nextReconnect()
	var cons jetstream.Consumer
	err = b.retry(ctx, "create a reader", func(ctx context.Context) (err error) {
		cons, err = b.js.CreateConsumer(ctx, stream, cfg)
		return err
	})
	if err != nil {
		return false, err
	}
	info := cons.CachedInfo()
	defer func() { // it would end by itself after a minute; many readers a minute would pile up
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryTimeout)
		defer cancel()
		_ = b.js.DeleteConsumer(ctx, stream, info.Name)
	}()
	if untilEnd && info.NumPending == 0 {
		return true, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-reconnected:
			cancel()
		case <-ctx.Done():
		}
	}()
	for received := uint64(0); ; {
		before := received
		done, err := readBatch(ctx, cons, untilEnd, &received, last, fn)
		if done || err != nil {
			return done, err
		}
		// What was pending may be deleted while it is read; a new reader then finds the end.
		if ctx.Err() != nil || received == before && untilEnd || received == lost {
			return false, nil
		}
	}
}

const (
	batchSize = 256
	lost      = ^uint64(0) // received, when the consumer cannot be read on
)

func readBatch(ctx context.Context, cons jetstream.Consumer, untilEnd bool, received, last *uint64, fn func(Stored) error) (done bool, err error) {
	wait := 30 * time.Second
	if untilEnd {
		wait = tryTimeout // what is there comes at once
	}
	ctx, cancel := context.WithTimeout(ctx, wait) // also ends the batch whichever way we leave
	defer cancel()
	batch, err := cons.Fetch(batchSize, jetstream.FetchContext(ctx))
	if err != nil {
		*received = lost
		return false, nil
	}
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return false, fmt.Errorf("message on %s: %w", msg.Subject(), err)
		}
		if *received++; meta.Sequence.Consumer != *received {
			*received = lost
			return false, nil
		}
		if err := fn(Stored{Subject: msg.Subject(), Sequence: meta.Sequence.Stream, At: meta.Timestamp, Data: msg.Data()}); err != nil {
			return false, err
		}
		*last = meta.Sequence.Stream
		if untilEnd && meta.NumPending == 0 {
			return true, nil
		}
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		*received = lost
	}
	return false, nil
}
