package bus

import (
	"context"
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
// only when none was left out that was there at the start; an error of fn ends it.
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

// follow reads with an ordered consumer, which notices gaps. When the consumer is lost with its server, a new one starts behind
// the last message given to fn.
func (b *Bus) follow(ctx context.Context, stream, filter string, from time.Time, untilEnd bool, fn func(Stored) error) error {
	what := "read " + filter + " of " + stream
	var last uint64
	for tries := 1; ; tries++ {
		cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverAllPolicy, InactiveThreshold: time.Minute}
		switch {
		case last > 0:
			cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, last+1
		case !from.IsZero():
			cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &from
		}
		before := last
		done, err := b.readOnce(ctx, stream, cfg, untilEnd, &last, fn)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if done {
			return nil
		}
		if ctx.Err() != nil {
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
func (b *Bus) readOnce(ctx context.Context, stream string, cfg jetstream.OrderedConsumerConfig, untilEnd bool, last *uint64, fn func(Stored) error) (done bool, err error) {
	reconnected := b.nextReconnect()
	var cons jetstream.Consumer
	var pending uint64
	err = b.retry(ctx, "create a reader", func(ctx context.Context) (err error) {
		if cons, err = b.js.OrderedConsumer(ctx, stream, cfg); err != nil {
			return err
		}
		info, err := cons.Info(ctx)
		if err == nil {
			pending = info.NumPending
		}
		return err
	})
	if err != nil {
		return false, err
	}
	if untilEnd && pending == 0 {
		return true, nil
	}
	it, err := cons.Messages(jetstream.PullMaxMessages(256))
	if err != nil {
		return false, nil
	}
	readCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer it.Stop()
	stop := context.AfterFunc(readCtx, it.Stop)
	defer stop()
	go func() {
		select {
		case <-reconnected:
			cancel()
		case <-readCtx.Done():
		}
	}()
	var next []jetstream.NextOpt
	if untilEnd {
		next = append(next, jetstream.NextMaxWait(5*time.Second))
	}
	for {
		// What was pending may be deleted while we wait for it; a new reader then finds the end.
		msg, err := it.Next(next...)
		if err != nil {
			return false, nil
		}
		meta, err := msg.Metadata()
		if err != nil {
			return false, fmt.Errorf("message on %s: %w", msg.Subject(), err)
		}
		if err := fn(Stored{Subject: msg.Subject(), Sequence: meta.Sequence.Stream, At: meta.Timestamp, Data: msg.Data()}); err != nil {
			return false, err
		}
		*last = meta.Sequence.Stream
		if untilEnd && meta.NumPending == 0 {
			return true, nil
		}
	}
}
