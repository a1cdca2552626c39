package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// Options configure the role.
type Options struct {
	Bus *bus.Bus // Ensure was called on its broker
	Log zerolog.Logger

	// Sweep is how often the queues themselves are looked at, for messages that vanished and owners that died; 0: 5 s.
	// Everything else is woken by changes of the records.
	Sweep time.Duration
	Now   func() time.Time // nil: time.Now
}

// Coordinator is the role. Any number may run on one broker.
type Coordinator struct {
	bus   *bus.Bus
	store *jobstore
	log   zerolog.Logger
	sweep time.Duration
	now   func() time.Time

	// What the watches told. Only the loop touches the rest.
	collections  shelf[proto.CollectionState]
	tasks        map[string]shelf[proto.TaskState]   // by collection
	publications map[string]shelf[proto.Publication] // by collection
	pushes       map[string]shelf[proto.PushState]   // by collection
	counts       map[string]map[string]int           // by collection, then task and attempt: verdicts when counted last
	sent         map[string]map[string]int           // by collection, then message id: how often this process sent it

	// before, if set, is called before each use of the broker: where tests stop the role.
	before func(op string)
}

// New makes a coordinator.
func New(opts Options) *Coordinator {
	c := &Coordinator{
		bus: opts.Bus, log: opts.Log.With().Str("component", "coordinator").Logger(), sweep: opts.Sweep, now: opts.Now,
		collections: shelf[proto.CollectionState]{}, tasks: map[string]shelf[proto.TaskState]{},
		publications: map[string]shelf[proto.Publication]{}, pushes: map[string]shelf[proto.PushState]{}, counts: map[string]map[string]int{}, sent: map[string]map[string]int{},
	}
	if c.sweep == 0 {
		c.sweep = 5 * time.Second
	}
	if c.now == nil {
		c.now = func() time.Time { return time.Now().UTC() }
	}
	return c
}

// Run accepts submissions and sees every collection to its end, until ctx ends (nil) or the broker has not what the role
// needs. It can be stopped at any moment: another Run, here or elsewhere, goes on from the records.
func (c *Coordinator) Run(ctx context.Context) error {
	store, err := openStore(ctx, c.bus)
	if err != nil {
		return stopped(ctx, err)
	}
	c.store = store
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return c.bus.Consume(ctx, submitConsumer(), bus.Decoded[proto.Collection](c.accept), bus.ConsumeOptions{})
	})
	group.Go(func() error { return c.loop(ctx) })
	return stopped(ctx, group.Wait())
}

// stopped drops the error of work that was interrupted on request.
func stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}

func submitConsumer() proto.Consumer {
	for _, c := range proto.Consumers() {
		if c.Stream == proto.StreamSubmit && c.Name == proto.ConsumerCoordinator {
			return c
		}
	}
	return proto.Consumer{}
}

// accept makes a submission's record; everything after that is the loop's. A submission that has one already is an old
// message, or a second submission of what is under way: the record is the truth.
func (c *Coordinator) accept(ctx context.Context, _ *bus.Delivery, spec *proto.Collection) error {
	c.op("accept")
	_, err := c.store.collections.Create(ctx, spec.ID, &proto.CollectionState{Spec: *spec, State: proto.StateQueued, StartedAt: c.now()})
	if errors.Is(err, bus.ErrConflict) {
		return nil
	}
	return err
}

func (c *Coordinator) op(name string) {
	if c.before != nil {
		c.before(name)
	}
}

// loop keeps the shelves, and goes over a collection whenever one of its records changed, and at every sweep.
func (c *Coordinator) loop(ctx context.Context) error {
	collections := c.store.collections.Watch(ctx, ">")
	tasks := c.store.tasks.Watch(ctx, ">")
	publications := c.store.publications.Watch(ctx, ">")
	pushes := c.store.pushes.Watch(ctx, ">")
	dirty := map[string]depth{}
	unsynced := map[string]bool{proto.BucketCollections: true, proto.BucketTasks: true, proto.BucketPublications: true, proto.BucketPushes: true}
	sweep := time.NewTicker(c.sweep)
	defer sweep.Stop()
	poll := newPoll()
	defer poll.stop()
	for {
		select {
		case e := <-collections:
			shelve(c, unsynced, proto.BucketCollections, e, dirty, func(string) shelf[proto.CollectionState] { return c.collections })
		case e := <-tasks:
			shelve(c, unsynced, proto.BucketTasks, e, dirty, func(id string) shelf[proto.TaskState] { return inner(c.tasks, id) })
		case e := <-publications:
			shelve(c, unsynced, proto.BucketPublications, e, dirty, func(id string) shelf[proto.Publication] { return inner(c.publications, id) })
		case e := <-pushes:
			shelve(c, unsynced, proto.BucketPushes, e, dirty, func(id string) shelf[proto.PushState] { return inner(c.pushes, id) })
		case <-poll.due():
			poll.fired()
			for id := range c.collections {
				if c.waitsForVerdicts(id) {
					dirty[id] = max(dirty[id], polled)
				}
			}
		case <-sweep.C:
			for id := range c.collections {
				dirty[id] = deep
			}
		case <-ctx.Done():
			return nil
		}
		if len(unsynced) > 0 {
			continue // half of the records would look like lost ones
		}
		progress := false
		for id, how := range dirty {
			moved, err := c.round(ctx, id, how)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil { // of the broker's answer, not its silence; the next sweep tries again
				c.log.Error().Err(err).Str("collection", id).Msg("could not go over the collection")
			}
			delete(dirty, id)
			progress = progress || moved
		}
		poll.set(c.anyWaits(), progress)
	}
}

// shelve takes a watch's entry and marks its collection.
func shelve[T any](c *Coordinator, unsynced map[string]bool, bucket string, e bus.Entry[T], dirty map[string]depth, of func(id string) shelf[T]) {
	if e.Synced {
		delete(unsynced, bucket)
		return
	}
	if e.Key == "" {
		return // the watch has ended with its context
	}
	if e.Err != nil {
		c.log.Error().Err(e.Err).Str("bucket", bucket).Str("key", e.Key).Msg("record of another release is left alone")
		return
	}
	id := collectionOf(e.Key)
	if of(id).put(e.Key, e.Value, e.Revision) {
		dirty[id] = max(dirty[id], shallow)
	}
}

func inner[T any](shelves map[string]shelf[T], id string) shelf[T] {
	if shelves[id] == nil {
		shelves[id] = shelf[T]{}
	}
	return shelves[id]
}

func memory(of map[string]map[string]int, id string) map[string]int {
	if of[id] == nil {
		of[id] = map[string]int{}
	}
	return of[id]
}

// collectionOf gives the collection of a key of any of the three buckets.
func collectionOf(key string) string {
	for i := range len(key) {
		if key[i] == '.' {
			return key[:i]
		}
	}
	return key
}

// event tells the user's side.
func (c *Coordinator) event(ctx context.Context, e proto.Event) {
	e.Role, e.Time = "coordinator", c.now()
	c.bus.Event(ctx, e)
}

func (c *Coordinator) eventf(ctx context.Context, level proto.Level, stage proto.Stage, t *proto.TaskState, format string, args ...any) {
	e := proto.Event{Collection: t.Task.Collection, Task: t.Task.ID, Attempt: t.Attempt, Level: level, Stage: stage, Text: fmt.Sprintf(format, args...)}
	if level == proto.LevelError {
		e.Failure = t.Failure
	}
	c.event(ctx, e)
}
