package tensorstore_test

import (
	"crypto/rand"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/internal/tensorstore"
	"github.com/tracefleet/tracefleet/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

func random(t *testing.T, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	_, err := rand.Read(data)
	require.NoError(t, err)
	return data
}

func TestStore_RoundTripAndRepeats(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	s, err := tensorstore.Open(t.Context(), b, tensorstore.CacheBytes(1<<20))
	require.NoError(t, err)
	for _, n := range []int{0, 1, 9 << 10, 3 << 20} {
		data := random(t, n)
		digest, err := s.Put(t.Context(), data)
		require.NoError(t, err)
		require.Equal(t, tensorstore.Digest(data), digest)
		for range 2 { // the second from the cache, where it fits
			got, err := s.Get(t.Context(), digest)
			require.NoError(t, err)
			require.Len(t, got, n)
			require.Equal(t, digest, tensorstore.Digest(got))
		}
	}
	objects, err := b.JetStream().ObjectStore(t.Context(), proto.BucketTensors)
	require.NoError(t, err)
	status, err := objects.Status(t.Context())
	require.NoError(t, err)
	size := status.Size()

	// Another process knows nothing of this one's cache.
	other, err := tensorstore.Open(t.Context(), b)
	require.NoError(t, err)
	data := random(t, 1<<20)
	_, err = s.Put(t.Context(), data)
	require.NoError(t, err)
	_, err = other.Put(t.Context(), data)
	require.NoError(t, err)
	status, err = objects.Status(t.Context())
	require.NoError(t, err)
	require.Less(t, status.Size(), size+uint64(len(data))+64<<10, "the same tensor is stored once")
}

func TestStore_PutTheSameAtOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	data := random(t, 2<<20)
	var wg sync.WaitGroup
	for range 8 {
		s, err := tensorstore.Open(t.Context(), b)
		require.NoError(t, err)
		wg.Go(func() {
			if _, err := s.Put(t.Context(), data); err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Get(t.Context(), tensorstore.Digest(data)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestStore_LostAndDamaged(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	s, err := tensorstore.Open(t.Context(), b)
	require.NoError(t, err)
	missing := tensorstore.Digest([]byte("never stored"))
	_, err = s.Get(t.Context(), missing)
	require.Equal(t, proto.CodeTensorLost, proto.AsFailure(err, "").Code)
	require.ErrorContains(t, err, missing)

	objects, err := b.JetStream().ObjectStore(t.Context(), proto.BucketTensors)
	require.NoError(t, err)
	_, err = objects.PutBytes(t.Context(), missing, []byte("something else"))
	require.NoError(t, err)
	_, err = s.Get(t.Context(), missing)
	require.Equal(t, proto.CodeTensorLost, proto.AsFailure(err, "").Code)
	require.ErrorContains(t, err, "other bytes")
}

// The bucket has room for an object's record and none for its bytes: a record alone must not be taken for a stored tensor.
func TestPut_NeverBelievesARecordWithoutItsBytes(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	stream, err := b.JetStream().Stream(t.Context(), "OBJ_"+proto.BucketTensors)
	require.NoError(t, err)
	cfg := stream.CachedInfo().Config
	cfg.MaxBytes = 64 << 10
	_, err = b.JetStream().UpdateStream(t.Context(), cfg)
	require.NoError(t, err)
	s, err := tensorstore.Open(t.Context(), b)
	require.NoError(t, err)
	_, err = s.Put(t.Context(), make([]byte, 100<<10))
	require.Error(t, err)
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, proto.CodeDiskFull, f.Code)
}
