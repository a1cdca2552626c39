package bus

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

// Watch sends the current values whose keys match filter, then an entry with Synced, then every change, until ctx ends and the channel is
// closed. After a reconnect all of that comes again, so that no change is missed: a reader must ignore an entry that it has already. Only
// the latest of fast changes may be seen. What the broker refuses is the last entry, with Err and no Key; a patient Bus tries again.
func (r *Record[T]) Watch(ctx context.Context, filter string) <-chan Entry[T] {
	out := make(chan Entry[T])
	go func() {
		defer close(out)
		var waiting *proto.Failure
		what := "watch " + filter + " of " + r.bucket
		for tries := 1; ctx.Err() == nil; tries++ {
			synced, f := r.watchOnce(ctx, filter, out)
			delay := reconnectDelay(tries) // also spreads a fleet's watches after a broker restart
			switch {
			case synced:
				if tries = 0; waiting != nil {
					r.b.accepted(what, waiting)
					waiting = nil
				}
			case f != nil && !r.b.patient:
				select {
				case out <- Entry[T]{Err: refusedErr(what, f)}:
				case <-ctx.Done():
				}
				return
			case f != nil:
				r.b.report(what, f)
				waiting, delay = f, refusedDelay(tries)
			}
			select {
			case <-time.After(delay):
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// watchOnce watches until ctx ends, the connection was replaced or the watch failed. It reports whether all current values came, and
// returns the refusal if the watch was refused.
func (r *Record[T]) watchOnce(ctx context.Context, filter string, out chan<- Entry[T]) (synced bool, _ *proto.Failure) {
	reconnected := r.b.nextReconnect()
	began := time.Now()
	w, err := r.kv.Watch(ctx, filter)
	if err != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		r.b.log.Debug().Err(err).Str("bucket", r.bucket).Msg("watch failed, trying on")
		if f := refused(err); f != nil {
			return false, f
		}
		return false, r.b.denials.since(began)
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
				return synced, nil
			}
			synced = synced || e == nil
			select {
			case out <- r.entry(e):
			case <-ctx.Done():
				return synced, nil
			}
		case <-reconnected:
			return synced, nil
		case <-ctx.Done():
			return synced, nil
		}
	}
}

func (r *Record[T]) entry(e jetstream.KeyValueEntry) Entry[T] {
	if e == nil {
		return Entry[T]{Synced: true}
	}
	out := Entry[T]{Key: e.Key(), Revision: e.Revision(), At: e.Created()}
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
