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

// submitted reports whether a submission with this id waits for a coordinator.
func (s *jobstore) submitted(ctx context.Context, id string) (bool, error) {
	if !validID(id) {
		return false, nil
	}
	n, err := s.bus.CountSubjects(ctx, proto.StreamSubmit, proto.SubmitSubject(id))
	return n > 0, err
}

// validID reports whether id can be a key, and one token of a subject.
func validID(id string) bool { return id != "" && !strings.ContainsAny(id, "*>. \t") }

// collection reads a collection's record; a missing one is a failure with the command that lists those there are.
func (s *jobstore) collection(ctx context.Context, id string) (*proto.CollectionState, uint64, error) {
	if !validID(id) {
		return nil, 0, unknownCollection(id)
	}
	c, rev, err := s.collections.Get(ctx, id)
	if !errors.Is(err, bus.ErrNotFound) {
		return c, rev, err
	}
	waits, err := s.submitted(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	if waits {
		return nil, 0, proto.Failf(proto.CodeBadCollection, "collection %s is submitted, and no coordinator has accepted it", id).
			WithHint("`tracefleet fleet` shows which roles are connected")
	}
	return nil, 0, unknownCollection(id)
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
