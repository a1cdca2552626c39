package coordinator

import (
	"time"

	"github.com/tracefleet/tracefleet/proto"
)

// unwritable returns the failure of a publication that could not write the dataset because it is full or read-only, or nil. Nothing
// else of the collection can be published then, until a person makes room and retries.
func (r *records) unwritable() *proto.Failure {
	for _, t := range r.tasks {
		if t.State != proto.StatePublishing && t.State != proto.StateFailed {
			continue
		}
		for i := range t.Task.Definitions {
			pub := r.ended(t, i)
			if pub == nil || pub.Failure == nil || pub.Failure.Retryable || pub.Failure.Hint == "" {
				continue
			}
			if code := pub.Failure.Code; code == proto.CodeDiskFull || code == proto.CodeDatasetWrite {
				return pub.Failure
			}
		}
	}
	return nil
}

// stopUnwritable returns the step that fails a task whose engine runs or did not start yet, if its workloads cannot be written: the
// user gets the cause at once, and no more GPU time is spent.
func (r *records) stopUnwritable(t *proto.TaskState, now time.Time) []step {
	if t.Task.Evaluate != nil || t.State != proto.StateQueued && t.State != proto.StateRunning {
		return nil
	}
	f := r.unwritable()
	if f == nil {
		return nil
	}
	next := *t
	next.State, next.FinishedAt = proto.StateFailed, now
	next.Failure = proto.Failf(f.Code, "task %s was stopped while %s, because the dataset cannot be written: %s", t.Task.ID, t.State, f.Message)
	next.Failure.Hint = f.Hint
	return []step{{task: &next, was: t, purge: leftovers(t)}}
}
