package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

// EnsureOption changes what Ensure does.
type EnsureOption func(*ensureOptions)

type ensureOptions struct{ maxBytes int64 }

// MaxBytes limits what all streams and buckets together may hold on disk, in bytes of one replica: each gets 2 MiB and its share of the
// rest (proto.Stream.Share). Existing streams and buckets are changed too. 0: existing sizes stay, and new streams get none unless the account
// requires them.
func MaxBytes(total int64) EnsureOption { return func(o *ensureOptions) { o.maxBytes = total } }

const (
	// MinMaxBytes is the smallest MaxBytes that leaves each stream and bucket room for messages of the largest size.
	MinMaxBytes = 64 << 20
	// leastBytes is what each stream and bucket gets at least: two of the largest messages.
	leastBytes = 2 << 20
	// defaultMaxBytes is the total if the account requires sizes and MaxBytes is 0.
	defaultMaxBytes = 64 << 30
	allShares       = 100
)

// store is a stream with the name that JetStream uses: buckets are streams, too.
type store struct {
	name  string
	share int64
}

// stores lists every stream, those of the buckets included.
func stores() []store {
	var list []store
	for _, s := range proto.Streams() {
		list = append(list, store{s.Name, s.Share})
	}
	for _, k := range proto.Buckets() {
		list = append(list, store{"KV_" + k.Name, k.Share})
	}
	return append(list, store{"OBJ_" + proto.BucketTensors, proto.ShareTensors})
}

// sizes are the limits of streams in bytes, by JetStream's name.
type sizes struct {
	bytes  map[string]int64 // of new streams; 0: no limit
	change bool             // existing streams get them, too
}

// split divides total among the streams.
func split(total int64) map[string]int64 {
	list := stores()
	rest := total - int64(len(list))*leastBytes
	out := map[string]int64{}
	for _, s := range list {
		out[s.name] = leastBytes + rest/allShares*s.share
	}
	return out
}

// sizes returns the limits that Ensure sets: those of MaxBytes, those that the account requires, or the event log's own.
func (b *Bus) sizes(ctx context.Context, want int64) (sizes, error) {
	var tier jetstream.Tier
	err := b.retry(ctx, "read the account's limits", func(ctx context.Context) error {
		info, err := b.js.AccountInfo(ctx)
		if err != nil {
			return err
		}
		tier = info.Tier
		if t, ok := info.Tiers[fmt.Sprintf("R%d", b.replicas)]; ok {
			tier = t
		}
		return nil
	})
	if err != nil {
		return sizes{}, err
	}
	account := tier.Limits
	limit := account.MaxStore // of one replica; negative: none
	if limit > 0 {
		limit /= int64(b.replicas)
	}
	switch {
	case want > 0 && limit >= 0 && want > limit:
		return sizes{}, proto.Failf(proto.CodeBrokerRefused, "--stream-max-bytes is %d bytes in each of %d replicas, the account may store %d bytes",
			want, b.replicas, account.MaxStore).WithHint("pass a smaller --stream-max-bytes, or raise the account's storage")
	case want > 0:
		return sizes{bytes: split(want), change: true}, nil
	case !account.MaxBytesRequired:
		out := map[string]int64{}
		for _, s := range proto.Streams() {
			if out[s.Name] = s.MaxBytes; s.MaxBytes > 0 && limit >= 0 {
				out[s.Name] = min(s.MaxBytes, max(limit/allShares*s.Share, leastBytes))
			}
		}
		return sizes{bytes: out}, nil
	}
	total := int64(defaultMaxBytes)
	if limit >= 0 {
		held, err := b.held(ctx)
		if err != nil {
			return sizes{}, err
		}
		reserved := int64(tier.ReservedStore) / int64(b.replicas)
		total = min(total, limit-reserved+held)
	}
	if most := account.StoreMaxStreamBytes; most > 0 {
		total = min(total, most*allShares/largestShare())
	}
	if total < MinMaxBytes {
		return sizes{}, proto.Failf(proto.CodeBrokerRefused, "the account requires a size (max bytes) of every stream, and has %d bytes left for them", total).
			WithHint("raise the account's storage to %d bytes or more a replica, then pass --stream-max-bytes SIZE", MinMaxBytes)
	}
	if b.reports.fresh("sizes") {
		b.log.Info().Int64("bytes", total).Msg("the account requires a size of every stream: new streams and buckets share this total; --stream-max-bytes SIZE changes it")
	}
	return sizes{bytes: split(total)}, nil
}

// held returns what the streams that exist already reserve, of one replica.
func (b *Bus) held(ctx context.Context) (int64, error) {
	var sum int64
	for _, s := range stores() {
		err := b.retry(ctx, "read stream "+s.name, func(ctx context.Context) error {
			st, err := b.js.Stream(ctx, s.name)
			if err == nil && st.CachedInfo().Config.MaxBytes > 0 {
				sum += st.CachedInfo().Config.MaxBytes
			}
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return sum, nil
}

func largestShare() int64 {
	var most int64
	for _, s := range stores() {
		most = max(most, s.share)
	}
	return most
}
