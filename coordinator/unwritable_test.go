package coordinator

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
)

// TestDecide_DatasetCannotBeWritten_StopsTheOtherTasks: the failure of a publication on a full or read-only dataset ends the tasks
// whose engine runs or did not start. A retry starts all of them again.
func TestDecide_DatasetCannotBeWritten_StopsTheOtherTasks(t *testing.T) {
	t.Parallel()
	full := func() *proto.Failure {
		return proto.Failf(proto.CodeDiskFull, "write /set/x: no space left on device").WithHint("free space")
	}
	for name, tc := range map[string]struct {
		failure *proto.Failure
		stops   bool
	}{
		"full":      {full(), true},
		"read-only": {proto.Failf(proto.CodeDatasetWrite, "open /set/x: read-only file system").WithHint("make the directory writable"), true},
		"conflict":  {proto.Failf(proto.CodeDatasetConflict, "another definition").WithHint("rename it"), false},
		"retried":   {full().WithRetry(), false},
	} {
		m := newModel([][]string{{"a"}, {"a"}, {"a"}})
		m.r.tasks[0].State, m.r.tasks[0].Attempt, m.r.tasks[0].Published = proto.StateFailed, 1, 1
		m.r.tasks[0].Failure = tc.failure
		m.r.tasks[1].State, m.r.tasks[1].Attempt, m.r.tasks[1].Heartbeat = proto.StateRunning, 1, m.now
		m.r.pubs[proto.PublicationKey("c", "t000", 0)] = &proto.Publication{
			Collection: "c", Task: "t000", Attempt: 1, Definition: "a", State: proto.StateFailed, Failure: tc.failure,
		}
		failed := map[string]*proto.Failure{}
		for _, s := range decide(m.r, m.now) {
			if s.task != nil && s.task.State == proto.StateFailed {
				require.True(t, s.was.State.CanMove(s.task.State), name)
				failed[s.task.Task.ID] = s.task.Failure
			}
		}
		if !tc.stops {
			require.Empty(t, failed, name)
			continue
		}
		require.Len(t, failed, 2, name)
		for id, f := range failed {
			require.Equal(t, tc.failure.Code, f.Code, name)
			require.Equal(t, tc.failure.Hint, f.Hint, name)
			require.True(t, strings.Contains(f.Message, id) && strings.Contains(f.Message, tc.failure.Message), "%s: %s", name, f.Message)
		}
		m.r.collection.Retry = true
		for _, s := range decide(m.r, m.now) {
			require.Equal(t, proto.StateQueued, s.task.State, name)
		}
	}
}
