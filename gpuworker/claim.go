package gpuworker

import (
	"slices"
	"time"

	"github.com/tracefleet/tracefleet/proto"
)

// The decisions on a TaskState. All are pure: they take a record and give the next one; attempt.go and worker.go write it by
// compare-and-set.

// claimant is who wants the task, and what it knows of others.
type claimant struct {
	id          string
	busy        bool          // it works on this task, beside the one who asks
	predecessor string        // the worker that had the same work directory before, known to be dead
	lost        time.Duration // without a sign for so long, an owner is dead
	now         time.Time
}

// claim is what becomes of a delivered task.
type claim struct {
	next *proto.TaskState // to write; nil: nothing
	run  bool             // next is ours to run
	wait time.Duration    // nothing can be done for so long
}

// decide gives what to do with a task whose message was delivered. Neither wait nor next: the message is of no use any more.
func (c claimant) decide(s *proto.TaskState) claim {
	switch s.State {
	case proto.StateQueued:
		if wait := s.NotBefore.Sub(c.now); wait > 0 {
			return claim{wait: wait}
		}
		return claim{next: c.begin(s), run: true}
	case proto.StateRunning:
		if !c.ownerIsDead(s) {
			// This delivery is a second one of a task that is in good hands. Ask again when those may have gone.
			return claim{wait: max(c.lost-c.now.Sub(s.Heartbeat), time.Second)}
		}
		next := c.recover(s)
		if next.State.Final() {
			return claim{next: next}
		}
		return claim{next: c.begin(next), run: true}
	}
	return claim{}
}

// ownerIsDead reports whether the attempt that owns s will never move again. One of our own that nobody here works on is dead too,
// and one that somebody does is not, however old its heartbeat.
func (c claimant) ownerIsDead(s *proto.TaskState) bool {
	if s.Worker == c.id {
		return !c.busy
	}
	return (s.Worker != "" && s.Worker == c.predecessor) || c.now.Sub(s.Heartbeat) > c.lost
}

// begin makes s a running attempt of the claimant.
func (c claimant) begin(s *proto.TaskState) *proto.TaskState {
	next := *s
	next.State, next.Attempt, next.Worker = proto.StateRunning, s.Attempt+1, c.id
	next.Heartbeat, next.StartedAt, next.FinishedAt, next.NotBefore = c.now, c.now, time.Time{}, time.Time{}
	next.Failure, next.Counts = nil, proto.AttemptCounts{}
	return &next
}

// recover books the attempt of a dead owner as lost: queued again, or failed when the budget is spent.
func (c claimant) recover(s *proto.TaskState) *proto.TaskState {
	lost := proto.Failf(proto.CodeAttemptLost, "attempt %d of task %s: worker %s gave no sign since %s", s.Attempt, s.Task.ID, s.Worker,
		s.Heartbeat.UTC().Format(time.RFC3339)).WithHint("see that worker's log; its process or its node ended").WithRetry()
	return failed(s, lost, c.now, 0)
}

// failed books a failed attempt: queued again after backoff if the failure may go away and its class has budget left.
func failed(s *proto.TaskState, f *proto.Failure, now time.Time, backoff time.Duration) *proto.TaskState {
	next := *s
	next.Failures = append(slices.Clone(s.Failures), proto.Attempt{Number: s.Attempt, Worker: s.Worker, At: now, Failure: *f})
	next.Worker = ""
	if !f.Retryable {
		next.State, next.Failure, next.FinishedAt = proto.StateFailed, f, now
		return &next
	}
	if next.AttemptsLeft() == 0 {
		next.State, next.FinishedAt = proto.StateFailed, now
		next.Failure = proto.Failf(proto.CodeAttemptsExhausted, "task %s: %d attempts failed, the last because %s", s.Task.ID,
			len(next.Failures)-next.Forgiven, f.Message).WithHint("`tracefleet jobs retry %s` gives it a new budget", s.Task.Collection)
		return &next
	}
	next.State = proto.StateQueued
	if backoff > 0 {
		next.NotBefore = now.Add(backoff)
	}
	return &next
}

// handedBack is a running task whose worker was told to stop now: queued, with no retry burned.
func handedBack(s *proto.TaskState) *proto.TaskState {
	next := *s
	next.State, next.Worker, next.Interrupted = proto.StateQueued, "", s.Interrupted+1
	return &next
}

// collected is a running task whose manifests are all stored.
func collected(s *proto.TaskState, counts proto.AttemptCounts, now time.Time) *proto.TaskState {
	next := *s
	next.State, next.Counts, next.Heartbeat = proto.StateCollected, counts, now
	return &next
}

// owns reports whether s is still the attempt that was begun as mine.
func owns(mine, s *proto.TaskState) bool {
	return s.State == proto.StateRunning && s.Attempt == mine.Attempt && s.Worker == mine.Worker
}
