package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

// Ensure creates every stream, consumer and bucket that proto declares, and the tensor store's. What exists already is
// compared in the settings that the roles rely on: a difference is an error which names it, since changing a live stream can
// lose messages. Settings that are the operator's (replicas, placement, size limits) are left alone. Any number of processes
// may call it at once.
func (b *Bus) Ensure(ctx context.Context) error {
	for _, s := range proto.Streams() {
		if err := b.ensureStream(ctx, s); err != nil {
			return err
		}
	}
	for _, c := range proto.Consumers() {
		if err := b.ensureConsumer(ctx, c); err != nil {
			return err
		}
	}
	for _, k := range proto.Buckets() {
		if err := b.ensureBucket(ctx, k); err != nil {
			return err
		}
	}
	return b.ensureTensorBucket(ctx)
}

func (b *Bus) ensureStream(ctx context.Context, s proto.Stream) error {
	want := jetstream.StreamConfig{
		Name: s.Name, Description: s.Description, Subjects: s.Subjects, MaxAge: s.MaxAge, Replicas: b.replicas,
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardOld, AllowDirect: true,
		MaxMsgsPerSubject: s.PerSubject, MaxBytes: s.MaxBytes,
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
		return d.err()
	})
}

func (b *Bus) ensureConsumer(ctx context.Context, c proto.Consumer) error {
	want := jetstream.ConsumerConfig{
		Durable: c.Name, FilterSubject: c.Filter, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: c.AckWait, MaxAckPending: c.MaxPending,
		MaxDeliver: -1, // a message past MaxDeliver would stay in the stream for ever, seen by nobody: the limit is ours
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

func (b *Bus) ensureBucket(ctx context.Context, k proto.Bucket) error {
	return b.ensure(ctx, "bucket "+k.Name, func(ctx context.Context) error {
		kv, err := b.js.KeyValue(ctx, k.Name)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			_, err = b.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
				Bucket: k.Name, Description: k.Description, TTL: k.TTL, History: 1, Storage: jetstream.FileStorage, Replicas: b.replicas,
			})
			return err
		}
		if err != nil {
			return err
		}
		status, err := kv.Status(ctx)
		if err != nil {
			return err
		}
		var d differences
		d.add("ttl", status.TTL(), k.TTL)
		return d.err()
	})
}

func (b *Bus) ensureTensorBucket(ctx context.Context) error {
	return b.ensure(ctx, "object store "+proto.BucketTensors, func(ctx context.Context) error {
		_, err := b.js.ObjectStore(ctx, proto.BucketTensors)
		if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			_, err = b.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
				Bucket: proto.BucketTensors, Description: "tensors by SHA-256", Storage: jetstream.FileStorage, Replicas: b.replicas,
			})
		}
		return err
	})
}

// ensure looks, creates, and looks again when somebody else created it in between.
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
	return fmt.Errorf("exists with other settings: %s; another release or another system made it: finish its work, delete it and try again",
		strings.Join(d, "; "))
}

// limit is how the server writes "no limit".
func limit(n int64) int64 {
	if n <= 0 {
		return -1
	}
	return n
}
