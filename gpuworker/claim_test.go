package gpuworker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
)

func TestClaimant_Decide(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := claimant{id: "me", predecessor: "before-me", lost: 30 * time.Second, now: now}
	lost := func(n int) (list []proto.Attempt) {
		for i := range n {
			list = append(list, proto.Attempt{Number: uint32(i + 1), Failure: proto.Failure{Code: proto.CodeAttemptLost, Retryable: true}})
		}
		return list
	}
	running := func(worker string, age time.Duration) proto.TaskState {
		return proto.TaskState{State: proto.StateRunning, Attempt: 6, Worker: worker, Heartbeat: now.Add(-age)}
	}
	for name, tc := range map[string]struct {
		s       proto.TaskState
		failed  []proto.Attempt
		run     bool
		wait    time.Duration
		state   proto.State // of next; empty: none
		attempt uint32
	}{
		"queued":               {s: proto.TaskState{State: proto.StateQueued, Attempt: 2}, run: true, state: proto.StateRunning, attempt: 3},
		"not yet":              {s: proto.TaskState{State: proto.StateQueued, NotBefore: now.Add(time.Minute)}, wait: time.Minute},
		"not before is over":   {s: proto.TaskState{State: proto.StateQueued, NotBefore: now.Add(-time.Minute)}, run: true, state: proto.StateRunning, attempt: 1},
		"in good hands":        {s: running("other", 10*time.Second), wait: 20 * time.Second},
		"its clock is ahead":   {s: running("other", -10*time.Second), wait: 40 * time.Second},
		"silent":               {s: running("other", 31*time.Second), run: true, state: proto.StateRunning, attempt: 7},
		"of our predecessor":   {s: running("before-me", 0), run: true, state: proto.StateRunning, attempt: 7},
		"our own, given up":    {s: running("me", 0), run: true, state: proto.StateRunning, attempt: 7},
		"lost too often":       {s: running("other", time.Hour), failed: lost(proto.MaxLost - 1), state: proto.StateFailed, attempt: 6},
		"lost, failed no less": {s: running("other", time.Hour), failed: lost(proto.MaxLost - 2), run: true, state: proto.StateRunning, attempt: 7},
		"collected":            {s: proto.TaskState{State: proto.StateCollected}},
		"publishing":           {s: proto.TaskState{State: proto.StatePublishing}},
		"done":                 {s: proto.TaskState{State: proto.StateDone}},
		"cancelled":            {s: proto.TaskState{State: proto.StateCancelled}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.s.Failures = tc.failed
			got := c.decide(&tc.s)
			require.Equal(t, tc.run, got.run)
			require.Equal(t, tc.wait, got.wait)
			if tc.state == "" {
				require.Nil(t, got.next)
				return
			}
			require.Equal(t, tc.state, got.next.State)
			require.Equal(t, tc.attempt, got.next.Attempt)
			require.True(t, tc.s.State.CanMove(got.next.State))
			if got.run {
				require.Equal(t, "me", got.next.Worker)
				require.Equal(t, now, got.next.Heartbeat)
			} else {
				require.Equal(t, proto.CodeAttemptsExhausted, got.next.Failure.Code)
			}
			require.Len(t, tc.s.Failures, len(tc.failed), "the record that was read stays as it was")
		})
	}
}

func TestClaimant_OwnerIsDead(t *testing.T) {
	t.Parallel()
	now := time.Now()
	mine := &proto.TaskState{State: proto.StateRunning, Worker: "me", Heartbeat: now.Add(-time.Hour)}
	require.True(t, claimant{id: "me", lost: time.Minute, now: now}.ownerIsDead(mine), "nobody here works on it")
	require.False(t, claimant{id: "me", lost: time.Minute, now: now, busy: true}.ownerIsDead(mine), "the broker was away, not the attempt")
	require.True(t, claimant{id: "other", lost: time.Minute, now: now, busy: true}.ownerIsDead(mine))
}

func TestFailed_BudgetOfEachClass(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := &proto.TaskState{State: proto.StateRunning, Attempt: 1, Worker: "w"}
	lost := proto.Failf(proto.CodeAttemptLost, "gone").WithRetry()
	engine := proto.Failf(proto.CodeEngineFailed, "broke").WithRetry()
	for range proto.MaxLost - 1 {
		s = failed(s, lost, now, 0)
		require.Equal(t, proto.StateQueued, s.State)
		require.Zero(t, s.NotBefore)
	}
	for range proto.MaxAttempts - 1 {
		s = failed(s, engine, now, time.Minute)
		require.Equal(t, proto.StateQueued, s.State, "lost attempts leave the engine its budget")
		require.Equal(t, now.Add(time.Minute), s.NotBefore)
	}
	s = failed(s, engine, now, time.Minute)
	require.Equal(t, proto.StateFailed, s.State)
	require.Equal(t, proto.CodeAttemptsExhausted, s.Failure.Code)

	s.Forgiven = len(s.Failures) // the user retried
	require.Equal(t, proto.StateQueued, failed(s, engine, now, 0).State)
	require.Equal(t, proto.StateFailed, failed(s, proto.Failf(proto.CodeNothingDumped, "none"), now, 0).State)
}
