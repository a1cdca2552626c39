package bus

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Watch gives the current values whose keys match filter, then an entry with Synced, then every change, until ctx ends and the
// channel is closed. After a reconnect all of that comes again, so that no change is missed: a reader must take an entry it
// knows as no news. Only the latest of fast changes may be seen.
func (r *Record[T]) Watch(ctx context.Context, filter string) <-chan Entry[T] {
	out := make(chan Entry[T])
	go func() {
		defer close(out)
		for tries := 1; ctx.Err() == nil; tries++ {
			if r.watchOnce(ctx, filter, out) {
				tries = 0
			}
			select {
			case <-time.After(reconnectDelay(tries)): // also spreads a fleet's watches after a broker restart
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// watchOnce watches until ctx ends, the connection was replaced or the watch failed; it reports whether it got through.
func (r *Record[T]) watchOnce(ctx context.Context, filter string, out chan<- Entry[T]) (synced bool) {
	reconnected := r.b.nextReconnect()
	w, err := r.kv.Watch(ctx, filter)
	if err != nil {
		if ctx.Err() == nil {
			r.b.log.Debug().Err(err).Str("bucket", r.bucket).Msg("watch failed, trying on")
		}
		return false
	}
	defer func() {
		_ = w.Stop() // fails only when the subscription is gone already
		for range w.Updates() {
			// The library's callback blocks on a full channel, and would never end.
		}
	}()
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return synced
			}
			synced = synced || e == nil
			select {
			case out <- r.entry(e):
			case <-ctx.Done():
				return synced
			}
		case <-reconnected:
			return synced
		case <-ctx.Done():
			return synced
		}
	}
}

func (r *Record[T]) entry(e jetstream.KeyValueEntry) Entry[T] {
	if e == nil {
		return Entry[T]{Synced: true}
	}
	out := Entry[T]{Key: e.Key(), Revision: e.Revision()}
	if e.Operation() != jetstream.KeyValuePut {
		out.Deleted = true
		return out
	}
	out.Value, out.Err = r.decode(e.Value())
	return out
}

func sortedEntries[T any](m map[string]Entry[T]) []Entry[T] {
	list := make([]Entry[T], 0, len(m))
	for _, e := range m {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry[T]) int { return cmp.Compare(a.Key, b.Key) })
	return list
}
