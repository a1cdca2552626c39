package coordinator

import (
	"context"
	"errors"
	"strings"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// jobstore is the records of collections, tasks and publications in their buckets.
type jobstore struct {
	bus          *bus.Bus
	collections  *bus.Record[proto.CollectionState]
	tasks        *bus.Record[proto.TaskState]
	publications *bus.Record[proto.Publication]
	pushes       *bus.Record[proto.PushState]
}

func openStore(ctx context.Context, b *bus.Bus) (*jobstore, error) {
	s := &jobstore{bus: b}
	var err error
	if s.collections, err = bus.OpenRecord[proto.CollectionState](ctx, b, proto.BucketCollections); err != nil {
		return nil, err
	}
	if s.tasks, err = bus.OpenRecord[proto.TaskState](ctx, b, proto.BucketTasks); err != nil {
		return nil, err
	}
	if s.publications, err = bus.OpenRecord[proto.Publication](ctx, b, proto.BucketPublications); err != nil {
		return nil, err
	}
	s.pushes, err = bus.OpenRecord[proto.PushState](ctx, b, proto.BucketPushes)
	return s, err
}

// change reads a collection's record, lets edit change it and writes it back, again on conflict. An error of edit ends it.
func (s *jobstore) change(ctx context.Context, id string, edit func(*proto.CollectionState) error) error {
	for {
		c, rev, err := s.collection(ctx, id)
		if err != nil {
			return err
		}
		if err := edit(c); err != nil {
			return err
		}
		if _, err = s.collections.Update(ctx, id, c, rev); !errors.Is(err, bus.ErrConflict) {
			return err
		}
	}
}

// collection reads a collection's record; a missing one is a failure that says how to find those there are.
func (s *jobstore) collection(ctx context.Context, id string) (*proto.CollectionState, uint64, error) {
	if strings.ContainsAny(id, "*> \t") || id == "" || strings.HasPrefix(id, ".") || strings.HasSuffix(id, ".") {
		return nil, 0, unknownCollection(id) // not a key that the broker could be asked for
	}
	c, rev, err := s.collections.Get(ctx, id)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, 0, unknownCollection(id)
	}
	return c, rev, err
}

func unknownCollection(id string) error {
	return proto.Failf(proto.CodeBadCollection, "there is no collection %q", id).WithHint("`tracefleet jobs list` shows those there are")
}

// read gives the tasks (in planned order), the publications and the pull requests of a collection.
func (s *jobstore) read(ctx context.Context, id string) ([]*proto.TaskState, []*proto.Publication, []*proto.PushState, error) {
	tasks, err := listValues(ctx, s.tasks, id+".*")
	if err != nil {
		return nil, nil, nil, err
	}
	sortTasks(tasks)
	pubs, err := listValues(ctx, s.publications, id+".*.*")
	if err != nil {
		return nil, nil, nil, err
	}
	pushes, err := listValues(ctx, s.pushes, id+".*")
	return tasks, pubs, pushes, err
}

func listValues[T any](ctx context.Context, r *bus.Record[T], filter string) ([]*T, error) {
	entries, err := r.List(ctx, filter)
	if err != nil {
		return nil, err
	}
	values := make([]*T, 0, len(entries))
	for _, e := range entries {
		if e.Err != nil {
			continue // of another release, or damaged; the bus has said so, and the others are none the worse for it
		}
		values = append(values, e.Value)
	}
	return values, nil
}

// shelf is what is known of one bucket, by key: what a watch told and what was written since.
type shelf[T any] map[string]held[T]

type held[T any] struct {
	value    *T
	revision uint64
}

// put takes a value unless a later one is known, and reports whether it was news. A nil value is a deleted key.
func (s shelf[T]) put(key string, value *T, revision uint64) bool {
	if s[key].revision >= revision {
		return false
	}
	s[key] = held[T]{value, revision}
	return true
}
