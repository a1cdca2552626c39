// Package tensorstore keeps tensors by the SHA-256 of their bytes, in a bucket of JetStream's object store.
//
// # Guarantees
//
//   - A digest that Put returned is on the broker's disk, and Get gives exactly the bytes it was made of: they are hashed again.
//   - Putting what is there stores nothing, from whichever process; two that put the same at once both succeed.
//
// # What it does not do
//
// It never deletes: one tensor may serve many tasks and collections. It holds whole tensors in memory, which is right for what
// it is for (integer tensors, a few MB); dumps do not belong here.
package tensorstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// MaxBytes is the largest tensor. A page table of a million entries is 4 MB; what is far beyond is no structure.
const MaxBytes = 256 << 20

// Store is a connection to the bucket. All methods may be called from several goroutines.
type Store struct {
	objects jetstream.ObjectStore
	js      jetstream.JetStream

	mu      sync.Mutex
	known   lru[struct{}]            // digests that are stored: most tensors of a step are the same in every layer and rank
	putting map[string]chan struct{} // closed when the put of this digest under way has ended
	bytes   lru[[]byte]              // contents read, up to CacheBytes
}

// Option is a choice of Open.
type Option func(*Store)

// CacheBytes keeps that many bytes of the tensors read last. Without it none are kept.
func CacheBytes(n int64) Option { return func(s *Store) { s.bytes = newLRU[[]byte](n) } }

const (
	knownDigests = 1 << 16
	tries        = 6
	tryTimeout   = 30 * time.Second
	putTimeout   = 5 * time.Second // and what the bytes take: the client's object put can wait for an ack that got lost, as long as it may
	putRate      = 2 << 20         // bytes a second, of a slow disk that syncs each chunk
	firstWait    = time.Second     // for the next bytes of a tensor; doubled at each try
	readStep     = 128 << 10       // the object store's chunks
)

// Open opens the tensor bucket that bus.Ensure made.
func Open(ctx context.Context, b *bus.Bus, opts ...Option) (*Store, error) {
	objects, err := b.JetStream().ObjectStore(ctx, proto.BucketTensors)
	if err != nil {
		return nil, fmt.Errorf("open tensor store: %w", err)
	}
	s := &Store{objects: objects, js: b.JetStream(), known: newLRU[struct{}](knownDigests), bytes: newLRU[[]byte](0), putting: map[string]chan struct{}{}}
	for _, opt := range opts {
		opt(s)
	}
	return s, nil
}

// Digest gives the name under which data is stored.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Put stores data and returns its digest once it is durable. Errors of the way to the broker are tried again.
func (s *Store) Put(ctx context.Context, data []byte) (digest string, err error) {
	digest = Digest(data)
	return digest, s.PutDigest(ctx, digest, data)
}

// PutDigest is Put for a caller that has the digest already. It trusts it: Get would notice.
func (s *Store) PutDigest(ctx context.Context, digest string, data []byte) error {
	if len(data) > MaxBytes {
		return proto.Failf(proto.CodeMessageTooLarge, "store tensor %s: %d bytes, the limit is %d", digest, len(data), MaxBytes)
	}
	done, known, err := s.beginPut(ctx, digest)
	if known || err != nil {
		return err
	}
	defer func() { s.endPut(digest, done) }()
	timeout := putTimeout + time.Duration(len(data)/putRate)*time.Second
	err = s.retry(ctx, "store tensor "+digest, timeout, func(ctx context.Context) error {
		switch info, err := s.objects.GetInfo(ctx, digest); {
		case err == nil && info.Size == uint64(len(data)):
			if whole, err := s.whole(ctx, info); whole || err != nil {
				return err
			}
		case err != nil && !errors.Is(err, jetstream.ErrObjectNotFound):
			return err
		}
		_, err := s.objects.PutBytes(ctx, digest, data)
		return err
	})
	if err == nil {
		s.mu.Lock()
		s.known.add(digest, struct{}{}, 1)
		s.mu.Unlock()
	}
	return err
}

// whole reports whether an object's chunks are all there. The object store sends chunks and record without waiting, so the record
// can be stored though a chunk was refused.
func (s *Store) whole(ctx context.Context, info *jetstream.ObjectInfo) (bool, error) {
	chunks := "$O." + proto.BucketTensors + ".C." + info.NUID
	st, err := s.js.Stream(ctx, "OBJ_"+proto.BucketTensors)
	if err != nil {
		return false, err
	}
	have, err := st.Info(ctx, jetstream.WithSubjectFilter(chunks))
	if err != nil {
		return false, err
	}
	return have.State.Subjects[chunks] == uint64(info.Chunks), nil
}

// Get gives the bytes of digest. What is not there, or is not what its name says, is a failure with code tensor_lost. The caller
// must not change the bytes.
func (s *Store) Get(ctx context.Context, digest string) ([]byte, error) {
	s.mu.Lock()
	data, ok := s.bytes.get(digest)
	s.mu.Unlock()
	if ok {
		return data, nil
	}
	wait := firstWait
	err := s.retry(ctx, "get tensor "+digest, tryTimeout, func(ctx context.Context) (err error) {
		data, err = s.read(ctx, digest, wait)
		wait *= 2
		return err
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.bytes.add(digest, data, int64(len(data)))
	s.mu.Unlock()
	return data, nil
}

// read reads one object. Two that put the same tensor at once replace each other's chunks: who looked the object up just
// before then waits for chunks that will never come. So it waits that long for the next bytes, and looks it up again.
func (s *Store) read(ctx context.Context, digest string, wait time.Duration) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(wait, cancel)
	defer idle.Stop()
	object, err := s.objects.Get(ctx, digest)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, proto.Failf(proto.CodeTensorLost, "tensor %s is not in the tensor store", digest).
			WithHint("if the broker's store directory was restored or replaced, retry the task")
	}
	if err != nil {
		return nil, err
	}
	defer object.Close()
	var buf bytes.Buffer
	for err == nil {
		idle.Reset(wait)
		_, err = io.CopyN(&buf, object, readStep)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrDigestMismatch) {
		return nil, err
	}
	if have := Digest(buf.Bytes()); err != nil || have != digest {
		return nil, proto.Failf(proto.CodeTensorLost, "tensor %s: the tensor store has other bytes under this name, of digest %s", digest, have).
			WithHint("the broker's store is damaged: check its disk, then retry the task")
	}
	return buf.Bytes(), nil
}

// beginPut waits while another goroutine puts the same digest: the calls of all layers carry the same tensors, and are shipped
// at once. It reports whether the digest is stored; if not, the caller puts it and then calls endPut.
func (s *Store) beginPut(ctx context.Context, digest string) (done chan struct{}, known bool, err error) {
	for {
		s.mu.Lock()
		if _, ok := s.known.get(digest); ok {
			s.mu.Unlock()
			return nil, true, nil
		}
		other, busy := s.putting[digest]
		if !busy {
			done = make(chan struct{})
			s.putting[digest] = done
			s.mu.Unlock()
			return done, false, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, false, fmt.Errorf("store tensor %s: %w", digest, context.Cause(ctx))
		}
	}
}

func (s *Store) endPut(digest string, done chan struct{}) {
	s.mu.Lock()
	delete(s.putting, digest)
	s.mu.Unlock()
	close(done)
}

// retry repeats do after errors that another moment may not have. Under synced writes the object store itself gives up with
// "stalled" when many chunks wait for the disk; that too is only slowness.
func (s *Store) retry(ctx context.Context, what string, timeout time.Duration, do func(ctx context.Context) error) error {
	var err error
	for try := range tries {
		if try > 0 {
			select {
			case <-time.After(100 * time.Millisecond << try):
			case <-ctx.Done():
				return fmt.Errorf("%s: %w", what, context.Cause(ctx))
			}
		}
		tryCtx, cancel := context.WithTimeout(ctx, timeout)
		err = do(tryCtx)
		cancel()
		if err == nil || !retryable(err) {
			break
		}
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	return fmt.Errorf("%s: %w", what, bus.StorageFailure(err))
}

func retryable(err error) bool {
	var f *proto.Failure
	return !errors.As(bus.StorageFailure(err), &f) && !errors.Is(err, nats.ErrConnectionClosed)
}
