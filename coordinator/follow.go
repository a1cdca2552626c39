package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// Update is the state of a collection, and if Event is set, a line for the log.
type Update struct {
	View  *View
	Event *proto.Event // never of level progress: that is in the view
}

// View is the state of a collection.
type View struct {
	Collection string         `json:"collection"`
	State      proto.State    `json:"state"`      // empty: no coordinator has taken it yet
	Cancelling bool           `json:"cancelling"` // the user asked to cancel
	Tasks      []TaskView     `json:"tasks"`      // in planned order
	Failure    *proto.Failure `json:"failure,omitempty"`
	Missing    []MissingRole  `json:"missing_roles,omitempty"` // roles that it needs next and that no connected process has
}

// TaskView is the state of a task.
type TaskView struct {
	ID          string           `json:"id"`
	BatchSize   int              `json:"batch_size,omitempty"` // requests in flight; 0 where the engine serves none
	Mode        proto.EngineMode `json:"mode"`
	Definitions int              `json:"definitions"`
	State       proto.State      `json:"state"`
	Attempt     uint32           `json:"attempt"`
	Worker      string           `json:"worker,omitempty"`
	Failures    int              `json:"failures"` // attempts that did not count
	Failure     *proto.Failure   `json:"failure,omitempty"`
	Stages      []StageView      `json:"stages"` // engine, dump, sanitize, publish
}

// StageView is a bar: Total 0 is one whose end is not known yet.
type StageView struct {
	Stage proto.Stage `json:"stage"`
	Done  int64       `json:"done"`
	Total int64       `json:"total"`
}

// ViewStages are the stages of a task's bars, in order.
var ViewStages = []proto.Stage{proto.StageEngine, proto.StageDump, proto.StageSanitize, proto.StagePublish}

// Events may arrive after the last record. They are waited for eventSettle after each, and eventSettleLimit in all.
const (
	eventSettle      = 150 * time.Millisecond
	eventSettleLimit = 2 * time.Second
	orphanCheck      = 2 * time.Second
	rolesCheck       = time.Second
)

// Follow calls fn with every update of a collection until it has ended, and returns its last record. fn is called from one
// goroutine. An ended collection is replayed from its events. The roles that it needs next and that are not connected are reported as
// lines of the role "fleet", when they change. The error is the failure of a submission that is dead, a refusal of the broker, or ctx's.
func Follow(ctx context.Context, b *bus.Bus, id string, fn func(Update)) (*proto.CollectionState, error) {
	store, err := openStore(ctx, b)
	if err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	workers, err := bus.OpenRecord[proto.Worker](ctx, b, proto.BucketWorkers)
	if err != nil {
		return nil, err
	}
	clock, err := b.Clock(ctx)
	if err != nil {
		return nil, err
	}
	roles := newRoster(clock, time.Now())
	collections, tasks := store.collections.Watch(watching, id), store.tasks.Watch(watching, id+".*")
	announced := workers.Watch(watching, ">")
	events, failed, closed := make(chan *proto.Event), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(closed)
		failed <- b.Follow(watching, proto.EventFilter(id), time.Time{}, func(e *proto.Event) error {
			select {
			case events <- e:
			case <-watching.Done():
				return watching.Err()
			}
			return nil
		})
	}()
	defer func() { // the watches end with watching; drained, so that none blocks on us
		stop()
		for range collections {
		}
		for range tasks {
		}
		for range announced {
		}
		<-closed
	}()

	f := follower{id: id, tasks: map[string]*proto.TaskState{}, progress: map[string]map[proto.Stage]StageView{}}
	orphan := time.NewTicker(orphanCheck)
	defer orphan.Stop()
	look := time.NewTicker(rolesCheck)
	defer look.Stop()
	var probed chan error // not nil: it is asked whether the broker stores messages at all, before roles are reported as missing
	var settle <-chan time.Time
	var limit time.Time
	for {
		var line *proto.Event
		select {
		case e := <-collections:
			if e.Err != nil && e.Key == "" {
				return f.collection, e.Err
			}
			if e.Value == nil {
				continue
			}
			f.collection = e.Value
		case e := <-tasks:
			if e.Err != nil && e.Key == "" {
				return f.collection, e.Err
			}
			if e.Value == nil {
				continue
			}
			f.tasks[e.Value.Task.ID] = e.Value
		case e := <-announced:
			if e.Err != nil && e.Key == "" {
				return f.collection, e.Err
			}
			roles.take(e)
			continue
		case now := <-look.C:
			switch lacks, changed := roles.look(now, needs(f.collection, f.list())); {
			case !changed || probed != nil:
			case len(lacks) == 0:
				f.report(fn, roles.tell(id, lacks, now), lacks)
			default:
				probed = make(chan error, 1)
				go func() { probed <- b.Probe(watching) }()
			}
			continue
		case err := <-probed:
			if probed = nil; err != nil {
				return f.collection, err
			}
			now := time.Now()
			lacks, _ := roles.look(now, needs(f.collection, f.list()))
			f.report(fn, roles.tell(id, lacks, now), lacks)
			continue
		case e := <-events:
			line = f.take(e)
			if settle != nil && time.Now().Before(limit) {
				settle = time.After(eventSettle)
			}
		case <-orphan.C:
			if f.collection == nil {
				if err := deadSubmission(ctx, b, id); err != nil {
					return nil, err
				}
			}
			continue
		case err := <-failed:
			if err != nil && ctx.Err() == nil {
				return f.collection, fmt.Errorf("follow the events of %s: %w", id, err)
			}
			continue
		case <-settle:
			return f.collection, nil
		case <-ctx.Done():
			return f.collection, context.Cause(ctx)
		}
		fn(Update{View: f.view(), Event: line})
		ended := f.collection != nil && f.collection.State.Final() && !f.collection.Retry
		switch {
		case ended && settle == nil:
			settle, limit = time.After(eventSettle), time.Now().Add(eventSettleLimit)
		case !ended:
			settle = nil // retried while we looked
		}
	}
}

// deadSubmission returns the failure of a submission that no coordinator could read.
func deadSubmission(ctx context.Context, b *bus.Bus, id string) error {
	subject := proto.DeadSubject(proto.SubmitSubject(id))
	n, err := b.CountSubjects(ctx, proto.StreamDead, subject)
	if err != nil || n == 0 {
		return err
	}
	var fail *proto.Failure
	err = b.ReadSet(ctx, proto.StreamDead, subject, func(_ string, data []byte) error {
		if d, err := proto.Decode[proto.Dead](data); err == nil {
			fail = &d.Failure
		}
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if fail == nil {
		return nil
	}
	return fail
}

// follower holds what the view is made of.
type follower struct {
	id         string
	collection *proto.CollectionState
	tasks      map[string]*proto.TaskState
	progress   map[string]map[proto.Stage]StageView // by task and attempt
	missing    []MissingRole
}

// list returns the tasks in planned order.
func (f *follower) list() []*proto.TaskState {
	list := slices.Collect(maps.Values(f.tasks))
	sortTasks(list)
	return list
}

// report calls fn with each line about roles.
func (f *follower) report(fn func(Update), lines []*proto.Event, lacks []MissingRole) {
	f.missing = lacks
	for _, line := range lines {
		fn(Update{View: f.view(), Event: line})
	}
}

// take keeps an event's numbers and returns the event if it is a line for the log.
func (f *follower) take(e *proto.Event) *proto.Event {
	if e.Task != "" && (e.Level == proto.LevelProgress || e.Total > 0) {
		key := attemptID(e.Task, e.Attempt)
		if f.progress[key] == nil {
			f.progress[key] = map[proto.Stage]StageView{}
		}
		f.progress[key][e.Stage] = StageView{Stage: e.Stage, Done: e.Done, Total: e.Total}
	}
	if e.Level == proto.LevelProgress {
		return nil
	}
	return e
}

func (f *follower) view() *View {
	v := &View{Collection: f.id, Tasks: []TaskView{}, Missing: f.missing}
	if f.collection != nil {
		v.State, v.Cancelling, v.Failure = f.collection.State, f.collection.Cancel, f.collection.Failure
	}
	for _, t := range f.list() {
		v.Tasks = append(v.Tasks, f.task(t))
	}
	return v
}

// task returns a task's view: from its record, and from events for what the record does not hold.
func (f *follower) task(t *proto.TaskState) TaskView {
	tv := TaskView{
		ID: t.Task.ID, BatchSize: t.Task.BatchSize, Mode: t.Task.Engine.Mode, Definitions: len(t.Task.Definitions),
		State: t.State, Attempt: t.Attempt, Worker: t.Worker, Failures: len(t.Failures), Failure: t.Failure,
	}
	heard := f.progress[attemptID(t.Task.ID, t.Attempt)]
	through := slices.Contains([]proto.State{proto.StateCollected, proto.StatePublishing, proto.StateDone}, t.State)
	for _, stage := range ViewStages {
		s := heard[stage]
		s.Stage = stage
		switch {
		case t.State == proto.StateQueued:
			s.Done, s.Total = 0, 0
		case stage == proto.StageEngine && through:
			s.Total = max(s.Total, s.Done, 1)
			s.Done = s.Total
		case stage == proto.StageDump && through:
			s.Done, s.Total = t.Counts.Dumps, t.Counts.Dumps
		case stage == proto.StageSanitize && through:
			s.Total = t.Counts.Manifests
			if t.State != proto.StateCollected {
				s.Done = s.Total
			}
		}
		if stage == proto.StagePublish {
			s.Done, s.Total = int64(t.Published), int64(len(t.Task.Definitions))
		}
		tv.Stages = append(tv.Stages, s)
	}
	return tv
}
