package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// depth is how much a round asks the broker beyond what the watches told.
type depth int

const (
	shallow depth = iota // nothing that was asked before
	polled               // how many verdicts there are now
	deep                 // also whether the messages that were sent are still there
)

// round goes over one collection until nothing is left to do now, and reports whether anything moved.
func (c *Coordinator) round(ctx context.Context, id string, how depth) (moved bool, err error) {
	for {
		r, ok := c.records(id)
		if !ok || r.collection.State.Final() && !r.collection.Retry {
			delete(c.sent, id)
			delete(c.counts, id)
			return moved, nil
		}
		counted, err := c.countVerdicts(ctx, &r, how)
		if err != nil {
			return moved, err
		}
		moved = moved || counted
		again := false
		for _, s := range decide(r, c.now()) {
			wrote, err := c.apply(ctx, &r, s, how == deep)
			if err != nil {
				return moved, err
			}
			again = again || wrote
		}
		if !again {
			return moved, nil
		}
		moved, how = true, min(how, polled)
	}
}

// records takes the collection off the shelves.
func (c *Coordinator) records(id string) (records, bool) {
	col := c.collections[id].value
	if col == nil {
		return records{}, false
	}
	r := records{
		collection: col, pubs: map[string]*proto.Publication{}, verdicts: map[string]int{}, evals: map[string]*proto.TaskState{}, pushes: map[int]*proto.PushState{},
	}
	for _, h := range c.tasks[id] {
		switch t := h.value; {
		case t == nil:
		case t.Task.Evaluate != nil:
			r.evals[t.Task.ID] = t
		default:
			r.tasks = append(r.tasks, t)
		}
	}
	for _, h := range c.pushes[id] {
		if h.value != nil {
			r.pushes[h.value.Index] = h.value
		}
	}
	sortTasks(r.tasks)
	for key, h := range c.publications[id] {
		if h.value != nil {
			r.pubs[key] = h.value
		}
	}
	return r, true
}

func (c *Coordinator) anyWaits() bool {
	for id := range c.collections {
		if c.waitsForVerdicts(id) {
			return true
		}
	}
	return false
}

func (c *Coordinator) waitsForVerdicts(id string) bool {
	if col := c.collections[id].value; col == nil || col.State.Final() {
		return false
	}
	for _, h := range c.tasks[id] {
		if h.value != nil && h.value.State == proto.StateCollected {
			return true
		}
	}
	return false
}

// countVerdicts fills in r.verdicts, and reports whether a count grew.
func (c *Coordinator) countVerdicts(ctx context.Context, r *records, how depth) (grew bool, err error) {
	for _, t := range r.tasks {
		if t.State != proto.StateCollected || t.Counts.Manifests == 0 {
			continue
		}
		counts, key := memory(c.counts, t.Task.Collection), fmt.Sprintf("%s.%d", t.Task.ID, t.Attempt)
		had, known := counts[key]
		if known && how == shallow {
			// The answer lists every subject: too much to ask for at every heartbeat of every other task.
			r.verdicts[t.Task.ID] = had
			continue
		}
		if how == deep {
			if err := c.chaseManifests(ctx, t); err != nil {
				return grew, err
			}
		}
		n, err := c.verdicts(ctx, t)
		if err != nil {
			return grew, err
		}
		r.verdicts[t.Task.ID] = n
		if known && had == n {
			continue
		}
		counts[key] = n
		grew = true
		c.event(ctx, proto.Event{
			Collection: t.Task.Collection, Task: t.Task.ID, Attempt: t.Attempt, Level: proto.LevelProgress, Stage: proto.StageSanitize,
			Done: min(int64(n), t.Counts.Manifests), Total: t.Counts.Manifests,
		})
	}
	return grew, nil
}

func (c *Coordinator) verdicts(ctx context.Context, t *proto.TaskState) (int, error) {
	c.op("count verdicts")
	return c.bus.CountSubjects(ctx, proto.StreamVerdicts, proto.VerdictPrefix(t.Task.Collection, t.Task.ID, t.Attempt)+">")
}

// apply does one step and reports whether a record changed.
func (c *Coordinator) apply(ctx context.Context, r *records, s step, deep bool) (bool, error) {
	switch {
	case s.plan:
		return c.plan(ctx, r)
	case s.collection != nil:
		return c.writeCollection(ctx, r.collection, s.collection)
	case s.queue != nil:
		return c.ensureQueued(ctx, s.queue, deep)
	case s.rescue != nil:
		if !deep {
			return false, nil
		}
		return c.rescue(ctx, s.rescue)
	case s.publish != nil:
		return c.ensurePublish(ctx, s.publish, deep)
	case s.push != nil:
		return c.ensurePush(ctx, s.push, deep)
	case s.reopen != nil:
		return c.writePush(ctx, s.reopen)
	case s.evaluate != nil:
		return c.createTask(ctx, s.evaluate)
	case s.task != nil:
		for _, p := range s.purge {
			c.op("purge")
			if err := c.bus.Purge(ctx, p.stream, p.subject); err != nil {
				return false, err
			}
		}
		return c.writeTask(ctx, s.was, s.task)
	}
	return false, nil
}

// writeTask writes a record over the one that was decided on. On conflict the newer one is put on the shelf instead: both
// count as a change, since both give the next decision new records.
func (c *Coordinator) writeTask(ctx context.Context, was, t *proto.TaskState) (bool, error) {
	id, key := t.Task.Collection, proto.TaskKey(t.Task.Collection, t.Task.ID)
	had := c.tasks[id][key]
	if had.value != was {
		return true, nil // it moved since the decision
	}
	c.op("update task")
	rev, err := c.store.tasks.Update(ctx, key, t, had.revision)
	if errors.Is(err, bus.ErrConflict) {
		return c.refreshTask(ctx, id, key)
	}
	if err != nil {
		return false, err
	}
	c.tasks[id].put(key, t, rev)
	c.told(ctx, had.value, t)
	return true, nil
}

// refreshTask reads a record again and reports whether it was news. A key that is gone stays gone.
func (c *Coordinator) refreshTask(ctx context.Context, id, key string) (bool, error) {
	c.op("read task")
	t, rev, err := c.store.tasks.Get(ctx, key)
	if errors.Is(err, bus.ErrNotFound) {
		delete(c.tasks[id], key)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return inner(c.tasks, id).put(key, t, rev), nil
}

func (c *Coordinator) writeCollection(ctx context.Context, was, col *proto.CollectionState) (bool, error) {
	id := col.Spec.ID
	had := c.collections[id]
	if had.value != was {
		return true, nil
	}
	c.op("update collection")
	rev, err := c.store.collections.Update(ctx, id, col, had.revision)
	if errors.Is(err, bus.ErrConflict) {
		c.op("read collection")
		now, rev, err := c.store.collections.Get(ctx, id)
		if errors.Is(err, bus.ErrNotFound) {
			delete(c.collections, id)
			return true, nil
		}
		if err != nil {
			return false, err
		}
		return c.collections.put(id, now, rev), nil
	}
	if err != nil {
		return false, err
	}
	c.collections.put(id, col, rev)
	if had.value.State != col.State {
		level, text := proto.LevelInfo, fmt.Sprintf("collection is %s", col.State)
		if col.State == proto.StateRunning {
			text = fmt.Sprintf("collection is running: %d tasks", len(col.Tasks))
			if repo := col.Spec.Publish.Repo; repo != "" {
				text += ", which wait until a publisher has asked " + repo
			}
		}
		if col.State == proto.StateFailed {
			level = proto.LevelError
		}
		c.event(ctx, proto.Event{Collection: id, Level: level, Stage: proto.StagePlan, Text: text, Failure: col.Failure})
		c.log.Info().Str("collection", id).Str("state", string(col.State)).Msg("collection moved on")
	}
	return true, nil
}

// told says what a change of a task's record means.
func (c *Coordinator) told(ctx context.Context, was, is *proto.TaskState) {
	stage := proto.StageEngine
	if was.State == proto.StateCollected || was.State == proto.StatePublishing {
		stage = proto.StagePublish
	}
	if is.State == proto.StatePublishing || is.State == proto.StateDone {
		c.event(ctx, proto.Event{
			Collection: is.Task.Collection, Task: is.Task.ID, Attempt: is.Attempt, Level: proto.LevelProgress, Stage: proto.StagePublish,
			Done: int64(is.Published), Total: int64(len(is.Task.Definitions)),
		})
	}
	if was.State == is.State {
		return
	}
	level := proto.LevelInfo
	text := fmt.Sprintf("task %s is %s", is.Task.ID, is.State)
	switch {
	case is.State == proto.StateFailed:
		level, text = proto.LevelError, text+": "+reason(is.Failure)
	case is.State == proto.StateCancelled:
		level = proto.LevelWarn
	case is.State == proto.StateQueued && was.State == proto.StateRunning:
		level, text = proto.LevelWarn, text+" again: its worker "+was.Worker+" gave no sign"
	case is.State == proto.StateQueued:
		text += " again, retried by the user"
	}
	c.eventf(ctx, level, stage, is, "%s", text)
	c.log.Info().Str("collection", is.Task.Collection).Str("task", is.Task.ID).Str("from", string(was.State)).Str("state", string(is.State)).
		Msg("task moved on")
}

// plan makes the records of the tasks that have none, then sets the collection running. A collection that cannot be planned has
// failed.
func (c *Coordinator) plan(ctx context.Context, r *records) (bool, error) {
	col := *r.collection
	plan, err := c.load(ctx, &col.Spec)
	if err != nil {
		var fail *proto.Failure
		if !errors.As(err, &fail) {
			return false, err // the broker's answer, not the collection: the next sweep tries again
		}
		col.State, col.Retry, col.Failure, col.FinishedAt = proto.StateFailed, false, fail, c.now()
		return c.writeCollection(ctx, r.collection, &col)
	}
	changed := false
	var ids []string
	for _, t := range plan.Tasks {
		ids = append(ids, t.ID)
		made, err := c.createTask(ctx, &t)
		if err != nil {
			return false, err
		}
		changed = changed || made
	}
	if col.State != proto.StateQueued {
		return changed, nil // it was running, and tasks' records had been lost
	}
	for _, w := range plan.Warnings {
		c.event(ctx, proto.Event{Collection: col.Spec.ID, Level: proto.LevelWarn, Stage: proto.StagePlan, Text: w})
	}
	col.State, col.Tasks = proto.StateRunning, ids
	return c.writeCollection(ctx, r.collection, &col)
}

// createTask makes a task's record unless there is one, and reports whether that was news.
func (c *Coordinator) createTask(ctx context.Context, t *proto.Task) (bool, error) {
	key := proto.TaskKey(t.Collection, t.ID)
	if c.tasks[t.Collection][key].value != nil {
		return false, nil
	}
	state := &proto.TaskState{Task: *t, State: proto.StateQueued}
	c.op("create task")
	rev, err := c.store.tasks.Create(ctx, key, state)
	if errors.Is(err, bus.ErrConflict) {
		return c.refreshTask(ctx, t.Collection, key)
	}
	if err != nil {
		return false, err
	}
	return inner(c.tasks, t.Collection).put(key, state, rev), nil
}

// load reads the collection's definitions and plans it. Whatever is wrong with the collection itself is a *proto.Failure.
func (c *Coordinator) load(ctx context.Context, spec *proto.Collection) (*Plan, error) {
	var defs []*fitrace.Definition
	for _, ref := range spec.Definitions {
		c.op("read definition")
		data, err := c.bus.Definition(ctx, ref.Digest)
		if errors.Is(err, bus.ErrNotFound) {
			return nil, proto.Failf(proto.CodeBadCollection, "definition %s: nothing is stored under its digest %s", ref.Name, ref.Digest).
				WithHint("submit the collection again")
		}
		if err != nil {
			return nil, err
		}
		def, err := fitrace.ParseDefinition(data, ref.Name)
		if err != nil {
			return nil, proto.AsFailure(err, proto.CodeBadDefinition)
		}
		defs = append(defs, def)
	}
	return NewPlan(spec, defs)
}

// deadLetters gives the dead letters under a subject filter of the dead-letter stream, in a fixed order.
func (c *Coordinator) deadLetters(ctx context.Context, filter string) ([]proto.Dead, error) {
	c.op("count dead letters")
	n, err := c.bus.CountSubjects(ctx, proto.StreamDead, filter)
	if err != nil || n == 0 {
		return nil, err
	}
	var letters []proto.Dead
	c.op("read dead letters")
	err = c.bus.ReadSet(ctx, proto.StreamDead, filter, func(_ string, data []byte) error {
		if d, err := proto.Decode[proto.Dead](data); err == nil {
			letters = append(letters, *d)
		}
		return nil
	})
	slices.SortFunc(letters, func(a, b proto.Dead) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return letters, err
}
