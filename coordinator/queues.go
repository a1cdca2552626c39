package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// The steps whose effect only the broker knows. All follow one order: is the message there? If not, did it die? If not, does
// the record still ask for it? Only then it is sent. A consumer removes its message after the record says so, therefore a
// message that is gone while the record, read after that, still asks for it, was never sent or was lost. Sending one too many
// is harmless: workers own tasks by record, and the publisher repeats nothing that ended.

// ensureQueued makes sure that a queued task's message is in the queue.
func (c *Coordinator) ensureQueued(ctx context.Context, t *proto.TaskState, deep bool) (bool, error) {
	id, key := t.Task.Collection, proto.TaskKey(t.Task.Collection, t.Task.ID)
	subject := proto.TaskSubject(t.Task.Engine.Kind, id, t.Task.ID)
	message := fmt.Sprintf("%s@%d", subject, c.tasks[id][key].revision)
	if memory(c.sent, id)[message] > 0 && !deep {
		return false, nil
	}
	gone, letter, err := c.gone(ctx, proto.StreamTasks, subject)
	if err != nil {
		return false, err
	}
	if !gone {
		c.sent[id][message] = max(c.sent[id][message], 1)
		return false, nil
	}
	if letter != nil {
		next := *t
		next.State, next.Failure, next.FinishedAt = proto.StateFailed, &letter.Failure, c.now()
		return c.writeTask(ctx, t, &next)
	}
	if news, err := c.refreshTask(ctx, id, key); err != nil || news {
		return news, err
	}
	return false, c.send(ctx, id, subject, &t.Task, message)
}

// ensurePublish makes sure that a publication is asked for, or ended.
func (c *Coordinator) ensurePublish(ctx context.Context, p *proto.Publish, deep bool) (bool, error) {
	subject, key := proto.PublishSubject(p.Collection, p.Task, p.Index), proto.PublicationKey(p.Collection, p.Task, p.Index)
	message := fmt.Sprintf("%s@%d", subject, p.Attempt)
	if memory(c.sent, p.Collection)[message] > 0 && !deep {
		return false, nil
	}
	gone, letter, err := c.gone(ctx, proto.StreamPublish, subject)
	if err != nil {
		return false, err
	}
	if !gone {
		c.sent[p.Collection][message] = max(c.sent[p.Collection][message], 1)
		return false, nil
	}
	shelf := inner(c.publications, p.Collection)
	c.op("read publication")
	pub, rev, err := c.store.publications.Get(ctx, key)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return false, err
	}
	if err == nil && shelf.put(key, pub, rev) {
		return true, nil
	}
	if letter != nil {
		return c.writeDeadPublication(ctx, p, letter, rev)
	}
	return false, c.send(ctx, p.Collection, subject, p, message)
}

// writeDeadPublication records the end of a publication whose message died: with its message it has lost its writer.
func (c *Coordinator) writeDeadPublication(ctx context.Context, p *proto.Publish, letter *proto.Dead, rev uint64) (bool, error) {
	key := proto.PublicationKey(p.Collection, p.Task, p.Index)
	pub := &proto.Publication{
		Collection: p.Collection, Task: p.Task, Attempt: p.Attempt, Index: p.Index, Definition: p.Definition.Name,
		State: proto.StateFailed, Failure: &letter.Failure, FinishedAt: c.now(),
	}
	c.op("write publication")
	var err error
	if rev == 0 {
		rev, err = c.store.publications.Create(ctx, key, pub)
	} else {
		rev, err = c.store.publications.Update(ctx, key, pub, rev)
	}
	if errors.Is(err, bus.ErrConflict) {
		return false, nil // its watch entry is on the way
	}
	if err != nil {
		return false, err
	}
	return inner(c.publications, p.Collection).put(key, pub, rev), nil
}

// ensurePush makes sure that a step of a pull request is asked for, or done.
func (c *Coordinator) ensurePush(ctx context.Context, p *proto.Push, deep bool) (bool, error) {
	subject, key := proto.PushSubject(p), proto.PushKey(p.Collection, p.Index)
	if memory(c.sent, p.Collection)[subject] > 0 && !deep {
		return false, nil
	}
	gone, letter, err := c.gone(ctx, proto.StreamPush, subject)
	if err != nil {
		return false, err
	}
	if !gone {
		c.sent[p.Collection][subject] = max(c.sent[p.Collection][subject], 1)
		return false, nil
	}
	c.op("read push")
	rec, rev, err := c.store.pushes.Get(ctx, key)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return false, err
	}
	if err == nil && inner(c.pushes, p.Collection).put(key, rec, rev) {
		return true, nil
	}
	if letter == nil {
		return false, c.send(ctx, p.Collection, subject, p, subject)
	}
	// With its message it has lost its writer.
	next := &proto.PushState{Collection: p.Collection, Index: p.Index, Definition: p.Definition.Name, Round: p.Round}
	if rec != nil {
		*next = *rec
	}
	next.Failure, next.FinishedAt = &letter.Failure, c.now()
	return c.writePush(ctx, next)
}

// writePush writes the record of a pull request over the one on the shelf.
func (c *Coordinator) writePush(ctx context.Context, p *proto.PushState) (bool, error) {
	key, shelf := proto.PushKey(p.Collection, p.Index), inner(c.pushes, p.Collection)
	c.op("write push")
	var rev uint64
	var err error
	if had := shelf[key].revision; had == 0 {
		rev, err = c.store.pushes.Create(ctx, key, p)
	} else {
		rev, err = c.store.pushes.Update(ctx, key, p, had)
	}
	if errors.Is(err, bus.ErrConflict) {
		return false, nil // its watch entry is on the way
	}
	if err != nil {
		return false, err
	}
	return shelf.put(key, p, rev), nil
}

// rescue takes a running task back whose owner is silent and whose queue message is gone; while the message is there, the
// broker hands it to the next worker, which takes the task over itself.
func (c *Coordinator) rescue(ctx context.Context, t *proto.TaskState) (bool, error) {
	id, key := t.Task.Collection, proto.TaskKey(t.Task.Collection, t.Task.ID)
	gone, letter, err := c.gone(ctx, proto.StreamTasks, proto.TaskSubject(t.Task.Engine.Kind, id, t.Task.ID))
	if err != nil || !gone {
		return false, err
	}
	if news, err := c.refreshTask(ctx, id, key); err != nil || news {
		return news, err
	}
	next := takenBack(t, c.now())
	if letter != nil { // no delivery is left, so no attempt is either
		next.State, next.Failure, next.FinishedAt = proto.StateFailed, &letter.Failure, c.now()
	}
	return c.writeTask(ctx, t, next)
}

// gone reports whether no message is under subject, and then the dead letter of one, if there is.
func (c *Coordinator) gone(ctx context.Context, stream, subject string) (bool, *proto.Dead, error) {
	c.op("count messages")
	n, err := c.bus.CountSubjects(ctx, stream, subject)
	if err != nil || n > 0 {
		return false, nil, err
	}
	letters, err := c.deadLetters(ctx, proto.DeadSubject(subject))
	if err != nil || len(letters) == 0 {
		return true, nil, err
	}
	return true, &letters[len(letters)-1], nil
}

// send puts a message into its queue. The broker drops repeats of an id for a while; one that this process sent before and
// that is gone since gets a new id, or it would be dropped too.
func (c *Coordinator) send(ctx context.Context, collection, subject string, m proto.Message, message string) error {
	id, sent := message, memory(c.sent, collection)
	if n := sent[message]; n > 0 {
		id = fmt.Sprintf("%s#%d-%d", message, n, c.now().UnixNano()/int64(time.Second))
		c.log.Warn().Str("subject", subject).Msg("queue message was lost, sending it again")
	}
	c.op("send")
	if err := c.bus.Publish(ctx, subject, m, id); err != nil {
		return err
	}
	sent[message]++
	return nil
}

// chaseManifests looks after the manifests of a collected task that have no verdict. Those that died without one get one now,
// so that they are accounted for; if the others are not in the queue any more, no verdict will ever come, and the task has
// failed.
func (c *Coordinator) chaseManifests(ctx context.Context, t *proto.TaskState) error {
	col, id := t.Task.Collection, t.Task.ID
	filter := proto.ManifestSubject(col, id, t.Attempt, ">")
	c.op("count manifests")
	queued, err := c.bus.CountSubjects(ctx, proto.StreamManifests, filter)
	if err != nil {
		return err
	}
	n, err := c.verdicts(ctx, t)
	if err != nil || int64(n) >= t.Counts.Manifests {
		return err
	}
	letters, err := c.deadLetters(ctx, proto.DeadSubject(filter))
	if err != nil {
		return err
	}
	rescued, err := c.buryManifests(ctx, t, letters)
	if err != nil || queued > 0 || int64(n+rescued) >= t.Counts.Manifests {
		return err
	}
	next := *t
	next.State, next.FinishedAt = proto.StateFailed, c.now()
	next.Failure = proto.Failf(proto.CodeAttemptLost, "task %s: %d of %d manifests of attempt %d left the queue without a verdict", id,
		t.Counts.Manifests-int64(n+rescued), t.Counts.Manifests, t.Attempt).
		WithHint("the broker lost messages; `tracefleet jobs retry %s` collects them again", col).WithRetry()
	_, err = c.writeTask(ctx, t, &next)
	return err
}

// buryManifests gives every dead manifest without a verdict one that rejects it, and returns how many got one.
func (c *Coordinator) buryManifests(ctx context.Context, t *proto.TaskState, letters []proto.Dead) (int, error) {
	n := 0
	for _, letter := range letters {
		a, err := proto.ParseManifestSubject(letter.Subject)
		if err != nil {
			continue
		}
		subject := proto.VerdictSubject(a.Collection, a.Task, a.Attempt, a.Manifest)
		c.op("count verdict")
		have, err := c.bus.CountSubjects(ctx, proto.StreamVerdicts, subject)
		if err != nil {
			return n, err
		}
		if have > 0 {
			continue
		}
		v := &proto.Verdict{
			Collection: a.Collection, Task: a.Task, Attempt: a.Attempt, Manifest: a.Manifest, Candidates: []proto.Candidate{},
			Rejections: []proto.Rejection{{Reason: string(proto.CodeSanitizerFailed), Detail: letter.Failure.Message}},
			Provenance: t.Task.Provenance(),
		}
		v.Provenance.Attempt = a.Attempt
		c.op("send verdict")
		if err := c.bus.Publish(ctx, subject, v, "dead-"+subject); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
