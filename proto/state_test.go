package proto

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestState_Moves(t *testing.T) {
	t.Parallel()
	all := []State{StateQueued, StateRunning, StateCollected, StatePublishing, StateDone, StateFailed, StateCancelled}
	require.Len(t, moves, len(all))
	allowed := map[[2]State]bool{}
	for from, list := range moves {
		for _, to := range list {
			require.Contains(t, all, to)
			allowed[[2]State{from, to}] = true
		}
	}
	for _, s := range all {
		if !s.Final() {
			require.True(t, s.CanMove(StateCancelled), "%s can be cancelled", s)
			require.True(t, s.CanMove(StateFailed), "%s can fail", s)
		} else {
			require.False(t, s.CanMove(StateRunning), "%s starts again only through the queue", s)
		}
		require.Equal(t, s.Final(), slices.Equal(moves[s], []State{StateQueued}), "a final state is left by a retry alone")
	}
	require.True(t, allowed[[2]State{StateRunning, StateRunning}], "a lost attempt is taken over")
	require.True(t, allowed[[2]State{StateRunning, StateQueued}], "a drained worker hands back")
	require.False(t, allowed[[2]State{StateCollected, StateRunning}], "what was counted stays counted")
	require.False(t, State("unheard of").CanMove(StateRunning))
}

// The straight way is possible, and every state can reach a final one.
func TestState_WaysLead(t *testing.T) {
	t.Parallel()
	way := []State{StateQueued, StateRunning, StateCollected, StatePublishing, StateDone}
	for i := range len(way) - 1 {
		require.True(t, way[i].CanMove(way[i+1]), "%s to %s", way[i], way[i+1])
	}
}

func TestTaskState_AttemptsLeft(t *testing.T) {
	t.Parallel()
	list := func(failed, lost int) (a []Attempt) {
		for range failed {
			a = append(a, Attempt{Failure: Failure{Code: CodeEngineFailed}})
		}
		for range lost {
			a = append(a, Attempt{Failure: Failure{Code: CodeAttemptLost}})
		}
		return a
	}
	for _, tc := range []struct{ failed, lost, forgiven, want int }{
		{0, 0, 0, MaxAttempts},
		{1, 0, 0, MaxAttempts - 1},
		{MaxAttempts, 0, 0, 0},
		{MaxAttempts + 5, 0, 0, 0},
		{0, MaxLost - 1, 0, 1},
		{0, MaxLost, 0, 0},
		{MaxAttempts, 0, MaxAttempts, MaxAttempts},
		{2, 2, 2, MaxAttempts},
		{1, 0, 99, MaxAttempts}, // a record that contradicts itself is no reason to panic
	} {
		s := TaskState{Failures: list(tc.failed, tc.lost), Forgiven: tc.forgiven}
		require.Equal(t, tc.want, s.AttemptsLeft(), "%+v", tc)
	}
}

func TestTally_AddsUp(t *testing.T) {
	t.Parallel()
	var a, b Tally
	a.Workload, a.Duplicate, a.NotSelected = 1, 2, 3
	a.Reject("x")
	b.Reject("x")
	b.Reject("y")
	a.Add(b)
	require.Equal(t, 9, a.Sum())
	require.Equal(t, map[string]int{"x": 2, "y": 1}, a.Rejected)
	require.Equal(t, 2, b.Sum())
}
