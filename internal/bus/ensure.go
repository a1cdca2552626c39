package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

// Ensure creates every stream, consumer and bucket that proto declares, and the tensor store's. The settings of existing ones that the
// roles rely on are compared: a difference is an error that names it, because changing a live stream can lose messages. Two are changed
// where they differ: a stream that drops old messages when it is full is made to refuse new ones instead, and sizes are set where the
// caller gives one (MaxBytes). Replicas and placement are the operator's. Any number of processes may call it at
// once.
func (b *Bus) Ensure(ctx context.Context, opts ...EnsureOption) error {
	var o ensureOptions
	for _, opt := range opts {
		opt(&o)
	}
	size, err := b.sizes(ctx, o.maxBytes)
	if err != nil {
		return err
	}
	for _, s := range proto.Streams() {
		if err := b.ensureStream(ctx, s, size); err != nil {
			return err
		}
	}
	for _, c := range proto.Consumers() {
		if err := b.ensureConsumer(ctx, c); err != nil {
			return err
		}
	}
	for _, k := range proto.Buckets() {
		if err := b.ensureBucket(ctx, k, size); err != nil {
			return err
		}
	}
	return b.ensureTensorBucket(ctx, size)
}

func (b *Bus) ensureStream(ctx context.Context, s proto.Stream, size sizes) error {
	want := jetstream.StreamConfig{
		Name: s.Name, Description: s.Description, Subjects: s.Subjects, MaxAge: s.MaxAge, Replicas: b.replicas,
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, AllowDirect: true,
		MaxMsgsPerSubject: s.PerSubject, MaxBytes: size.bytes[s.Name],
	}
	if s.DropOldest {
		want.Discard = jetstream.DiscardOld
	}
	if s.WorkQueue {
		want.Retention = jetstream.WorkQueuePolicy
	}
	return b.ensure(ctx, "stream "+s.Name, func(ctx context.Context) error {
		st, err := b.js.Stream(ctx, s.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			_, err = b.js.CreateStream(ctx, want)
			return err
		}
		if err != nil {
			return err
		}
		var d differences
		have := st.CachedInfo().Config
		d.add("subjects", strings.Join(have.Subjects, " "), strings.Join(want.Subjects, " "))
		d.add("retention", have.Retention, want.Retention)
		d.add("storage", have.Storage, want.Storage)
		d.add("messages per subject", limit(have.MaxMsgsPerSubject), limit(want.MaxMsgsPerSubject))
		d.add("max age", have.MaxAge, want.MaxAge)
		if err := d.err(); err != nil {
			return err
		}
		next := have
		next.Discard = want.Discard
		return b.update(ctx, have, next, size)
	})
}

// update changes a stream's configuration where it differs from next or from its size.
func (b *Bus) update(ctx context.Context, have, next jetstream.StreamConfig, size sizes) error {
	if size.change {
		next.MaxBytes = size.bytes[have.Name]
	}
	if have.Discard == next.Discard && limit(have.MaxBytes) == limit(next.MaxBytes) {
		return nil
	}
	b.log.Info().Str("stream", have.Name).Int64("max_bytes", next.MaxBytes).Stringer("discard", next.Discard).Msg("changing the stream's limits")
	_, err := b.js.UpdateStream(ctx, next)
	return err
}

func (b *Bus) ensureConsumer(ctx context.Context, c proto.Consumer) error {
	want := jetstream.ConsumerConfig{
		Durable: c.Name, FilterSubject: c.Filter, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: c.AckWait, MaxAckPending: c.MaxPending,
		MaxDeliver: -1, // a message past MaxDeliver would stay in the stream for ever, and no consumer would get it: Consume counts itself
	}
	return b.ensure(ctx, "consumer "+c.Name+" of "+c.Stream, func(ctx context.Context) error {
		cons, err := b.js.Consumer(ctx, c.Stream, c.Name)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			_, err = b.js.CreateConsumer(ctx, c.Stream, want)
			return err
		}
		if err != nil {
			return err
		}
		var d differences
		have := cons.CachedInfo().Config
		d.add("filter", have.FilterSubject, want.FilterSubject)
		d.add("ack policy", have.AckPolicy, want.AckPolicy)
		d.add("ack wait", have.AckWait, want.AckWait)
		d.add("max deliver", have.MaxDeliver, want.MaxDeliver)
		if want.MaxAckPending != 0 {
			d.add("max ack pending", have.MaxAckPending, want.MaxAckPending)
		}
		return d.err()
	})
}

func (b *Bus) ensureBucket(ctx context.Context, k proto.Bucket, size sizes) error {
	return b.ensure(ctx, "bucket "+k.Name, func(ctx context.Context) error {
		st, err := b.js.Stream(ctx, "KV_"+k.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			_, err = b.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
				Bucket: k.Name, Description: k.Description, TTL: k.TTL, History: 1, Storage: jetstream.FileStorage, Replicas: b.replicas,
				MaxBytes: size.bytes["KV_"+k.Name],
			})
			return err
		}
		if err != nil {
			return err
		}
		have := st.CachedInfo().Config
		var d differences
		d.add("ttl", have.MaxAge, k.TTL)
		if err := d.err(); err != nil {
			return err
		}
		return b.update(ctx, have, have, size)
	})
}

func (b *Bus) ensureTensorBucket(ctx context.Context, size sizes) error {
	name := "OBJ_" + proto.BucketTensors
	return b.ensure(ctx, "object store "+proto.BucketTensors, func(ctx context.Context) error {
		st, err := b.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			_, err = b.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
				Bucket: proto.BucketTensors, Description: "tensors by SHA-256", Storage: jetstream.FileStorage, Replicas: b.replicas,
				MaxBytes: size.bytes[name],
			})
			return err
		}
		if err != nil {
			return err
		}
		have := st.CachedInfo().Config
		return b.update(ctx, have, have, size)
	})
}

// ensure calls look, which creates what is missing, and calls it again if another process created it in between.
func (b *Bus) ensure(ctx context.Context, what string, look func(ctx context.Context) error) error {
	for range 3 {
		err := b.retry(ctx, "create "+what, look)
		if err == nil || !created(err) {
			return err
		}
	}
	return b.retry(ctx, "create "+what, look)
}

func created(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || errors.Is(err, jetstream.ErrConsumerExists) ||
		errors.Is(err, jetstream.ErrBucketExists) || errors.Is(err, jetstream.ErrConsumerNameAlreadyInUse)
}

// differences collects how what exists differs from what the roles rely on.
type differences []string

func (d *differences) add(what string, have, want any) {
	if have != want {
		*d = append(*d, fmt.Sprintf("%s is %v, must be %v", what, have, want))
	}
}

func (d differences) err() error {
	if len(d) == 0 {
		return nil
	}
	return fmt.Errorf("exists with other settings: %s; another release or another system created it: let its work end, delete it and try again",
		strings.Join(d, "; "))
}

// limit returns n as the server writes it: "no limit" is -1.
func limit(n int64) int64 {
	if n <= 0 {
		return -1
	}
	return n
}
