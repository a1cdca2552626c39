package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

// Errors of records.
var (
	ErrNotFound = errors.New("no such record")
	ErrConflict = errors.New("record was changed by another")
)

// Record is a bucket of values of one type. Its writes are compare-and-set, but for Put.
type Record[T any] struct {
	b      *Bus
	bucket string
	kv     jetstream.KeyValue
	encode func(*T) ([]byte, error)
	decode func([]byte) (*T, error)
}

// Entry is a value with the revision to give to Update.
type Entry[T any] struct {
	Key      string
	Value    *T // nil when Deleted or Err
	Revision uint64
	At       time.Time // when it was stored, by the broker's clock
	Deleted  bool      // the key is gone, by Delete or by the bucket's TTL
	Synced   bool      // no entry: all current values were sent
	Err      error     // the stored value cannot be decoded; Key and Revision are set. Without a Key: the watch was refused and has ended
}

// OpenRecord opens a bucket that Ensure made: bus.OpenRecord[proto.TaskState](ctx, b, proto.BucketTasks).
func OpenRecord[T any, P interface {
	*T
	proto.Message
}](ctx context.Context, b *Bus, bucket string) (*Record[T], error) {
	r := &Record[T]{
		b: b, bucket: bucket,
		encode: func(v *T) ([]byte, error) { return proto.Encode(P(v)) },
		decode: func(data []byte) (*T, error) {
			v, err := proto.Decode[T, P](data)
			return (*T)(v), err
		},
	}
	kv, err := b.bucket(ctx, bucket)
	r.kv = kv
	return r, err
}

func (b *Bus) bucket(ctx context.Context, bucket string) (kv jetstream.KeyValue, err error) {
	err = b.retry(ctx, "open bucket "+bucket, func(ctx context.Context) (err error) {
		kv, err = b.js.KeyValue(ctx, bucket)
		return err
	})
	return kv, err
}

// Get gives the value of key and its revision, or ErrNotFound.
func (r *Record[T]) Get(ctx context.Context, key string) (*T, uint64, error) {
	data, rev, err := r.get(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	v, err := r.decode(data)
	if err != nil {
		return nil, rev, fmt.Errorf("get %s of %s: %w", key, r.bucket, err)
	}
	return v, rev, nil
}

func (r *Record[T]) get(ctx context.Context, key string) (data []byte, rev uint64, err error) {
	err = r.b.retry(ctx, "get "+key+" of "+r.bucket, func(ctx context.Context) error {
		e, err := r.kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return ErrNotFound
		}
		if err == nil {
			data, rev = e.Value(), e.Revision()
		}
		return err
	})
	return data, rev, err
}

// Create stores the first value of key and gives its revision; ErrConflict if there is one already.
func (r *Record[T]) Create(ctx context.Context, key string, v *T) (uint64, error) {
	return r.write(ctx, "create", key, v, func(ctx context.Context, data []byte) (uint64, error) { return r.kv.Create(ctx, key, data) })
}

// Update stores v if the latest revision of key is rev, and gives the new revision; else ErrConflict.
func (r *Record[T]) Update(ctx context.Context, key string, v *T, rev uint64) (uint64, error) {
	return r.write(ctx, "update", key, v, func(ctx context.Context, data []byte) (uint64, error) { return r.kv.Update(ctx, key, data, rev) })
}

// Put stores v whatever was there: for announcements, which have one writer.
func (r *Record[T]) Put(ctx context.Context, key string, v *T) (uint64, error) {
	return r.write(ctx, "put", key, v, func(ctx context.Context, data []byte) (uint64, error) { return r.kv.Put(ctx, key, data) })
}

// write repeats do until it has an answer. A first try whose answer was lost may have won; then the repeat sees a conflict with
// our own value, which is no conflict. (Two writers with equal bytes agree about the value, so it does not matter who won; where
// it would, the value carries the writer's name.)
func (r *Record[T]) write(ctx context.Context, what, key string, v *T, do func(context.Context, []byte) (uint64, error)) (uint64, error) {
	what = what + " " + key + " of " + r.bucket
	data, err := r.encode(v)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	var rev uint64
	tries := 0
	report := func(f *proto.Failure) { r.b.reportWaiting(ctx, r.collectionOf(key), proto.StagePlan, f) }
	err = r.b.retryReporting(ctx, what, report, func(ctx context.Context) (err error) {
		tries++
		rev, err = do(ctx, data)
		if !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return err
		}
		if tries > 1 {
			have, haveRev, err := r.get(ctx, key)
			if err == nil && bytes.Equal(have, data) {
				rev = haveRev
				return nil
			}
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		return ErrConflict
	})
	return rev, err
}

// collectionOf returns the collection that a key of this bucket belongs to; empty if the keys are of something else.
func (r *Record[T]) collectionOf(key string) string {
	switch r.bucket {
	case proto.BucketCollections, proto.BucketTasks, proto.BucketPublications, proto.BucketPushes:
		collection, _, _ := strings.Cut(key, ".")
		return collection
	}
	return ""
}

// Delete removes key, whatever its value; a key that is not there is no error.
func (r *Record[T]) Delete(ctx context.Context, key string) error {
	return r.b.retry(ctx, "delete "+key+" of "+r.bucket, func(ctx context.Context) error { return r.kv.Delete(ctx, key) })
}

// DeleteRevision removes key if its latest revision is rev; else the broker's conflict is the error.
func (r *Record[T]) DeleteRevision(ctx context.Context, key string, rev uint64) error {
	return r.b.retry(ctx, "delete "+key+" of "+r.bucket, func(ctx context.Context) error {
		return r.kv.Delete(ctx, key, jetstream.LastRevision(rev))
	})
}

// List gives the entries whose keys match filter ("c-1.*", ">" for all), sorted by key. Entries that cannot be decoded are
// among them, with Err.
func (r *Record[T]) List(ctx context.Context, filter string) ([]Entry[T], error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := map[string]Entry[T]{}
	for e := range r.Watch(ctx, filter) {
		if e.Synced {
			return sortedEntries(found), nil
		}
		if e.Err != nil && e.Key == "" {
			return nil, e.Err
		}
		if e.Deleted {
			delete(found, e.Key)
			continue
		}
		if e.Err != nil {
			r.b.log.Warn().Err(e.Err).Str("bucket", r.bucket).Str("key", e.Key).Msg("a record cannot be read")
		}
		found[e.Key] = e
	}
	return nil, fmt.Errorf("list %s of %s: %w", filter, r.bucket, context.Cause(ctx))
}
