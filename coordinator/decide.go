package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/proto"
)

// records is everything known of one collection at one moment.
type records struct {
	collection *proto.CollectionState
	tasks      []*proto.TaskState            // in planned order; evaluations are apart
	evals      map[string]*proto.TaskState   // evaluations, by id
	pushes     map[int]*proto.PushState      // by the definition's place in the collection
	pubs       map[string]*proto.Publication // by proto.PublicationKey
	verdicts   map[string]int                // by id of a collected task: verdicts stored for its counted attempt
}

// step is one thing to do; exactly one field group is set. Steps on records carry the whole new record, to be written at the
// revision that was decided on; a conflict means that somebody else moved first, and the round starts over.
type step struct {
	plan       bool             // make the tasks' records, then set the collection running
	task       *proto.TaskState // write this record in the place of was
	was        *proto.TaskState
	purge      []leftover             // before writing task: messages that have no more meaning
	collection *proto.CollectionState // write this record
	queue      *proto.TaskState       // a queued task: make sure that its message is in the queue
	rescue     *proto.TaskState       // a running task whose owner is silent: take it back if its message is gone too
	publish    *proto.Publish         // make sure that this message is in the queue, or that its publication ended
	push       *proto.Push            // make sure that this message is in the queue, or that its step is done
	evaluate   *proto.Task            // make this task's record
	reopen     *proto.PushState       // write this record: what ended a pull request's steps is forgotten
}

// decide gives what is to be done next for a collection. It is pure, and level-triggered: from any records that any crash can
// leave, doing the steps and deciding again leads to the end. A step whose effect is there already is not given again,
// except queue, rescue and publish, whose effect only the broker knows.
func decide(r records, now time.Time) []step {
	c := r.collection
	switch {
	case c.State.Final() && !c.Retry:
		return nil
	case c.State.Final():
		return []step{{collection: reopen(c)}}
	case c.Cancel:
		return r.cancel(now)
	case c.State == proto.StateQueued || len(r.tasks) < len(c.Tasks):
		return []step{{plan: true}}
	case c.Retry:
		return r.retry()
	}
	var steps []step
	open := 0
	for _, t := range r.all() {
		if !t.State.Final() {
			open++
			steps = append(steps, r.task(t, now)...)
		}
	}
	more, settled := r.pushing()
	steps = append(steps, more...)
	if open == 0 && settled {
		steps = append(steps, step{collection: r.closed(now)})
	}
	return steps
}

// task gives the steps of one task that is not final.
func (r *records) task(t *proto.TaskState, now time.Time) []step {
	if stop := r.stopUnwritable(t, now); stop != nil {
		return stop
	}
	switch t.State {
	case proto.StateQueued:
		wait, why := r.unchecked(t)
		switch {
		case wait:
			return nil
		case why != nil:
			next := *t
			next.State, next.Failure, next.FinishedAt = proto.StateFailed, why, now
			return []step{{task: &next, was: t}}
		}
		return []step{{queue: t}}
	case proto.StateRunning:
		if now.Sub(t.Heartbeat) > proto.HeartbeatTimeout {
			return []step{{rescue: t}}
		}
	case proto.StateCollected:
		if t.Task.Evaluate != nil { // what it made is judged by the push that waits for it
			next := *t
			next.State, next.FinishedAt = proto.StateDone, now
			return []step{{task: &next, was: t}}
		}
		if int64(r.verdicts[t.Task.ID]) >= t.Counts.Manifests {
			next := *t
			next.State = proto.StatePublishing
			return []step{{task: &next, was: t}}
		}
	case proto.StatePublishing:
		return r.publishing(t, now)
	}
	return nil
}

// publishing gives the steps of a task whose definitions are being published: what may be handed to the publisher now, and
// the task's own progress.
func (r *records) publishing(t *proto.TaskState, now time.Time) []step {
	var steps []step
	ended := 0
	var failed []string
	var first *proto.Failure
	for i, d := range t.Task.Definitions {
		pub := r.ended(t, i)
		if pub == nil {
			if r.mayPublish(t, d.Name) {
				steps = append(steps, step{publish: &proto.Publish{
					Collection: t.Task.Collection, Task: t.Task.ID, Attempt: t.Attempt, Index: i, Definition: d,
					First: !r.published(d.Name), Spec: r.collection.Spec.Publish,
				}})
			}
			continue
		}
		ended++
		if pub.State != proto.StateDone {
			failed = append(failed, d.Name)
			if first == nil {
				first = pub.Failure
			}
		}
	}
	if ended == t.Published && ended < len(t.Task.Definitions) {
		return steps
	}
	next := *t
	next.Published = ended
	if ended == len(t.Task.Definitions) {
		next.State, next.FinishedAt = proto.StateDone, now
		if len(failed) > 0 {
			next.State, next.Failure = proto.StateFailed, publicationFailure(t, failed, first)
		}
	}
	return append(steps, step{task: &next, was: t})
}

func publicationFailure(t *proto.TaskState, failed []string, first *proto.Failure) *proto.Failure {
	f := proto.Failf(proto.CodeDatasetWrite, "publish %s of task %s", strings.Join(failed, ", "), t.Task.ID)
	if first != nil {
		f.Code, f.Hint, f.Retryable = first.Code, first.Hint, first.Retryable
		f.Message += ": " + first.Message
	}
	return f
}

// ended gives the publication of a task's definition if it ended for the counted attempt. A record of an earlier attempt is
// from before a retry.
func (r *records) ended(t *proto.TaskState, index int) *proto.Publication {
	pub := r.pubs[proto.PublicationKey(t.Task.Collection, t.Task.ID, index)]
	if pub == nil || pub.Attempt != t.Attempt || !pub.State.Final() {
		return nil
	}
	return pub
}

// mayPublish reports whether every earlier task that holds the definition is through with it. The watches of tasks and of publications
// are not in step: what an ended task published must be known too, since it says whether lines were written before.
func (r *records) mayPublish(t *proto.TaskState, definition string) bool {
	for _, earlier := range r.tasks {
		if earlier.Task.Index >= t.Task.Index {
			continue
		}
		if earlier.State.Final() {
			known := 0
			for i := range earlier.Task.Definitions {
				if r.ended(earlier, i) != nil {
					known++
				}
			}
			if known < earlier.Published {
				return false
			}
			continue
		}
		for i, d := range earlier.Task.Definitions {
			if d.Name == definition && (earlier.State != proto.StatePublishing || r.ended(earlier, i) == nil) {
				return false
			}
		}
	}
	return true
}

// published reports whether this collection wrote lines of the definition already, in whatever attempt: --replace-first acts
// with the first that does. The publication of a retried task may have been replaced by one that failed; its own record
// remembers.
func (r *records) published(definition string) bool {
	for _, pub := range r.pubs {
		if pub.Definition == definition && pub.State == proto.StateDone && len(pub.Workloads) > 0 {
			return true
		}
	}
	for _, t := range r.tasks {
		if slices.ContainsFunc(t.Written, func(w proto.Written) bool { return w.Definition == definition }) {
			return true
		}
	}
	return false
}

// cancel ends every task, then the collection.
func (r *records) cancel(now time.Time) []step {
	var steps []step
	for _, t := range r.all() {
		if t.State.Final() {
			continue
		}
		next := *t
		next.State, next.FinishedAt = proto.StateCancelled, now
		next.Failure = proto.Failf(proto.CodeCancelled, "task %s was cancelled by the user while %s", t.Task.ID, t.State)
		steps = append(steps, step{task: &next, was: t, purge: leftovers(t)})
	}
	if len(steps) > 0 {
		return steps
	}
	next := *r.collection
	next.State, next.Retry, next.FinishedAt = proto.StateCancelled, false, now
	return []step{{collection: &next}}
}

// leftover is a subject whose messages nobody should work on any more.
type leftover struct{ stream, subject string }

// leftovers are what a task may have left in the queues when it is cancelled or starts over.
func leftovers(t *proto.TaskState) []leftover {
	c, id := t.Task.Collection, t.Task.ID
	queue := proto.TaskSubject(t.Task.Engine.Kind, c, id)
	list := []leftover{{proto.StreamTasks, queue}, {proto.StreamDead, proto.DeadSubject(queue)}}
	if t.Attempt > 0 {
		list = append(list, leftover{proto.StreamManifests, proto.ManifestSubject(c, id, t.Attempt, ">")})
	}
	if t.Task.Evaluate != nil {
		return list
	}
	for i := range t.Task.Definitions {
		publish := proto.PublishSubject(c, id, i)
		list = append(list, leftover{proto.StreamPublish, publish}, leftover{proto.StreamDead, proto.DeadSubject(publish)})
	}
	return list
}

// reopen starts a retry: the flag stays until every failed task is queued again, so that a crash in between loses none.
func reopen(c *proto.CollectionState) *proto.CollectionState {
	next := *c
	next.State, next.Cancel, next.Failure, next.FinishedAt = proto.StateRunning, false, nil, time.Time{}
	if len(c.Tasks) == 0 { // it failed, or was cancelled, before it was planned
		next.State = proto.StateQueued
	}
	return &next
}

// retry queues what failed or was cancelled again.
func (r *records) retry() []step {
	steps := r.reopened()
	for _, t := range r.all() {
		if t.State != proto.StateFailed && t.State != proto.StateCancelled {
			continue
		}
		steps = append(steps, step{task: r.requeued(t), was: t, purge: leftovers(t)})
	}
	if len(steps) > 0 {
		return steps
	}
	next := *r.collection
	next.Retry = false
	return []step{{collection: &next}}
}

// requeued is t in the queue once more, with a fresh budget: what failed stays in the history, forgiven. The attempt's number
// goes on, so that nothing the earlier ones still send can be taken for the new one's.
func (r *records) requeued(t *proto.TaskState) *proto.TaskState {
	next := *t
	next.Failures = slices.Clone(t.Failures)
	listed := slices.ContainsFunc(t.Failures, func(a proto.Attempt) bool { return a.Number == t.Attempt })
	if t.Failure != nil && t.Attempt > 0 && !listed {
		next.Failures = append(next.Failures, proto.Attempt{Number: t.Attempt, Worker: t.Worker, At: t.FinishedAt, Failure: *t.Failure})
	}
	next.Written = slices.Clone(t.Written)
	for i, d := range t.Task.Definitions {
		if pub := r.ended(t, i); pub != nil && pub.State == proto.StateDone && len(pub.Workloads) > 0 {
			next.Written = append(next.Written, proto.Written{Definition: d.Name, Workloads: pub.Workloads})
		}
	}
	next.State, next.Forgiven = proto.StateQueued, len(next.Failures)
	next.Worker, next.Failure, next.Counts, next.Published = "", nil, proto.AttemptCounts{}, 0
	next.NotBefore, next.StartedAt, next.FinishedAt = time.Time{}, time.Time{}, time.Time{}
	return &next
}

// takenBack is a running task after its owner was lost: queued again, or failed when that spends the budget.
func takenBack(t *proto.TaskState, now time.Time) *proto.TaskState {
	next := *t
	lost := proto.Failf(proto.CodeAttemptLost, "attempt %d of task %s: worker %s gave no sign since %s", t.Attempt, t.Task.ID, t.Worker,
		t.Heartbeat.UTC().Format(time.RFC3339)).WithRetry()
	next.Failures = append(slices.Clone(t.Failures), proto.Attempt{Number: t.Attempt, Worker: t.Worker, At: now, Failure: *lost})
	next.State, next.Worker = proto.StateQueued, ""
	if next.AttemptsLeft() == 0 {
		next.State, next.FinishedAt = proto.StateFailed, now
		next.Failure = proto.Failf(proto.CodeAttemptsExhausted, "task %s: %d attempts failed, the last because %s", t.Task.ID,
			len(next.Failures)-next.Forgiven, lost.Message).WithHint("`tracefleet jobs retry %s` gives it a new budget", t.Task.Collection)
	}
	return &next
}

// closed is the collection after its last task.
func (r *records) closed(now time.Time) *proto.CollectionState {
	next := *r.collection
	next.State, next.FinishedAt = proto.StateDone, now
	var failed, cancelled []string
	for _, t := range r.tasks {
		switch t.State {
		case proto.StateFailed:
			failed = append(failed, fmt.Sprintf("%s (%s)", t.Task.ID, reason(t.Failure)))
		case proto.StateCancelled:
			cancelled = append(cancelled, t.Task.ID)
		}
	}
	switch {
	case len(failed) > 0:
		next.State = proto.StateFailed
		code, hint := proto.CodeAttemptsExhausted, ""
		for _, t := range r.tasks {
			if t.Failure != nil && t.State == proto.StateFailed {
				code, hint = t.Failure.Code, t.Failure.Hint
				break
			}
		}
		retry := fmt.Sprintf("`tracefleet jobs retry %s`", next.Spec.ID)
		// What the collection itself states stays as it is in a retry, which would fail again.
		if code != proto.CodeBadCollection && !strings.Contains(hint, retry) {
			hint = strings.TrimPrefix(hint+"; "+retry+" runs them again", "; ")
		}
		next.Failure = proto.Failf(code, "%d of %d tasks failed: %s", len(failed), len(r.tasks), strings.Join(failed, "; ")).WithHint("%s", hint)
	case len(cancelled) > 0:
		next.State = proto.StateCancelled
	default:
		if next.Failure = r.pushFailure(); next.Failure != nil {
			next.State = proto.StateFailed
		}
	}
	return &next
}

func reason(f *proto.Failure) string {
	if f == nil {
		return "no reason was recorded"
	}
	return f.Message
}

// sortTasks puts tasks in planned order, evaluations after them.
func sortTasks(tasks []*proto.TaskState) {
	slices.SortFunc(tasks, func(a, b *proto.TaskState) int {
		if a.Task.Evaluate != nil && b.Task.Evaluate == nil {
			return 1
		}
		if a.Task.Evaluate == nil && b.Task.Evaluate != nil {
			return -1
		}
		return cmp.Or(cmp.Compare(a.Task.Index, b.Task.Index), cmp.Compare(a.Task.ID, b.Task.ID))
	})
}
