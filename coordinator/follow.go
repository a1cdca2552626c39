package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// Update is what Follow gives: how it stands now, and if Event is set, a line for the log.
type Update struct {
	View  *View
	Event *proto.Event // never of level progress: that is in the view
}

// View is how a collection stands.
type View struct {
	Collection string         `json:"collection"`
	State      proto.State    `json:"state"`      // empty: no coordinator has taken it yet
	Cancelling bool           `json:"cancelling"` // the user asked to cancel
	Tasks      []TaskView     `json:"tasks"`      // in planned order
	Failure    *proto.Failure `json:"failure,omitempty"`
}

// TaskView is how a task stands.
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

// After the last record events may still be on their way; they are waited for this long after the one before, and no longer
// than the limit in all.
const (
	eventSettle      = 150 * time.Millisecond
	eventSettleLimit = 2 * time.Second
	orphanCheck      = 2 * time.Second
)

// Follow calls fn with every update of a collection until it has ended, and returns its last record. fn is called from one
// goroutine. An ended collection is replayed from its events. Should the submission itself have died, its failure is the error;
// when ctx ends first, ctx's.
func Follow(ctx context.Context, b *bus.Bus, id string, fn func(Update)) (*proto.CollectionState, error) {
	store, err := openStore(ctx, b)
	if err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	collections, tasks := store.collections.Watch(watching, id), store.tasks.Watch(watching, id+".*")
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
		<-closed
	}()

	f := follower{id: id, tasks: map[string]*proto.TaskState{}, progress: map[string]map[proto.Stage]StageView{}}
	orphan := time.NewTicker(orphanCheck)
	defer orphan.Stop()
	var settle <-chan time.Time
	var limit time.Time
	for {
		var line *proto.Event
		select {
		case e := <-collections:
			if e.Value == nil {
				continue
			}
			f.collection = e.Value
		case e := <-tasks:
			if e.Value == nil {
				continue
			}
			f.tasks[e.Value.Task.ID] = e.Value
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

// deadSubmission gives the failure of a submission that no coordinator could read.
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

// follower keeps what the view is made of.
type follower struct {
	id         string
	collection *proto.CollectionState
	tasks      map[string]*proto.TaskState
	progress   map[string]map[proto.Stage]StageView // by task and attempt
}

// take keeps an event's numbers and gives it back if it is a line for the log.
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
	v := &View{Collection: f.id, Tasks: []TaskView{}}
	if f.collection != nil {
		v.State, v.Cancelling, v.Failure = f.collection.State, f.collection.Cancel, f.collection.Failure
	}
	var list []*proto.TaskState
	for _, t := range f.tasks {
		list = append(list, t)
	}
	sortTasks(list)
	for _, t := range list {
		v.Tasks = append(v.Tasks, f.task(t))
	}
	return v
}

// task makes a task's view: the record where it knows, events where it cannot.
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
