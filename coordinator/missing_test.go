package coordinator

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

func TestNeeds_EachState_NamesTheNextRoles(t *testing.T) {
	t.Parallel()
	task := func(state proto.State, engine proto.EngineKind) *proto.TaskState {
		return &proto.TaskState{State: state, Task: proto.Task{Engine: proto.EngineSpec{Kind: engine}}}
	}
	evaluation := func(state proto.State) *proto.TaskState {
		s := task(state, proto.EngineEvaluate)
		s.Task.Evaluate = &proto.Evaluate{}
		return s
	}
	col := func(state proto.State) *proto.CollectionState { return &proto.CollectionState{State: state} }
	pushed := col(proto.StateRunning)
	pushed.Spec.Publish.Repo = "acme/ds"
	retried := col(proto.StateFailed)
	retried.Retry = true
	coordinator, sanitizer, publisher := MissingRole{Role: "coordinator"}, MissingRole{Role: "sanitizer"}, MissingRole{Role: "publisher"}
	for name, tc := range map[string]struct {
		col   *proto.CollectionState
		tasks []*proto.TaskState
		want  []MissingRole
	}{
		"not accepted":   {nil, nil, []MissingRole{coordinator}},
		"being planned":  {col(proto.StateQueued), []*proto.TaskState{task(proto.StateQueued, proto.EngineSGLang)}, []MissingRole{coordinator}},
		"done":           {col(proto.StateDone), []*proto.TaskState{task(proto.StateDone, proto.EngineSGLang)}, nil},
		"to be retried":  {retried, nil, []MissingRole{coordinator}},
		"queued":         {col(proto.StateRunning), []*proto.TaskState{task(proto.StateQueued, proto.EngineSGLang)}, []MissingRole{coordinator, {"gpuworker", proto.EngineSGLang}}},
		"running":        {col(proto.StateRunning), []*proto.TaskState{task(proto.StateRunning, proto.EngineSGLang)}, []MissingRole{coordinator, sanitizer}},
		"collected":      {col(proto.StateRunning), []*proto.TaskState{task(proto.StateCollected, proto.EngineSGLang)}, []MissingRole{coordinator, sanitizer}},
		"publishing":     {col(proto.StateRunning), []*proto.TaskState{task(proto.StatePublishing, proto.EngineSGLang)}, []MissingRole{coordinator, publisher}},
		"to be pushed":   {pushed, []*proto.TaskState{task(proto.StateDone, proto.EngineSGLang)}, []MissingRole{coordinator, publisher}},
		"two engines":    {col(proto.StateRunning), []*proto.TaskState{task(proto.StateQueued, proto.EngineSGLang), evaluation(proto.StateQueued)}, []MissingRole{coordinator, {"gpuworker", proto.EngineEvaluate}, {"gpuworker", proto.EngineSGLang}}},
		"an evaluation":  {col(proto.StateRunning), []*proto.TaskState{evaluation(proto.StateRunning)}, []MissingRole{coordinator}},
		"different ones": {col(proto.StateRunning), []*proto.TaskState{task(proto.StateRunning, proto.EngineReplay), task(proto.StatePublishing, proto.EngineReplay)}, []MissingRole{coordinator, sanitizer, publisher}},
	} {
		require.Equal(t, tc.want, needs(tc.col, tc.tasks), name)
	}
}

func TestMissing_WorkerWithoutTheEngine_Counts(t *testing.T) {
	t.Parallel()
	need := []MissingRole{{Role: "coordinator"}, {"gpuworker", proto.EngineSGLang}, {Role: "publisher"}}
	coordinator := &proto.Worker{Role: "coordinator"}
	for name, tc := range map[string]struct {
		workers []*proto.Worker
		want    []string
	}{
		"no role":       {nil, []string{"no coordinator is connected", "no gpuworker with engine sglang is connected", "no publisher is connected"}},
		"other engine":  {[]*proto.Worker{coordinator, {Role: "gpuworker", Engines: []proto.EngineKind{proto.EngineReplay}}}, []string{"no gpuworker with engine sglang is connected", "no publisher is connected"}},
		"draining":      {[]*proto.Worker{coordinator, {Role: "gpuworker", Draining: true, Engines: []proto.EngineKind{proto.EngineSGLang}}}, []string{"no gpuworker with engine sglang is connected", "no publisher is connected"}},
		"all are there": {[]*proto.Worker{coordinator, {Role: "gpuworker", Engines: []proto.EngineKind{proto.EngineReplay, proto.EngineSGLang}}, {Role: "publisher"}}, nil},
	} {
		var got []string
		for _, m := range missing(need, tc.workers) {
			got = append(got, m.String())
		}
		require.Equal(t, tc.want, got, name)
	}
}

// The clocks of the broker and of this machine differ by an hour: ages are by the broker's.
func TestRoster_RoleThatStops_IsMissingAfterItsAnnouncementsStop(t *testing.T) {
	t.Parallel()
	local := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	broker := local.Add(time.Hour)
	r := newRoster(broker, local)
	need := []MissingRole{{Role: "sanitizer"}}
	announce := func(at time.Duration) {
		r.take(bus.Entry[proto.Worker]{Key: "s", Value: &proto.Worker{Role: "sanitizer"}, At: broker.Add(at)})
	}
	look := func(at time.Duration) bool {
		lacks, changed := r.look(local.Add(at), need)
		if changed {
			require.Len(t, r.tell("c-1", lacks, local), 1)
		}
		return len(lacks) > 0
	}
	announce(0)
	for at := time.Duration(0); at < 20*time.Second; at += time.Second {
		if at < 10*time.Second {
			announce(at)
		}
		require.Equal(t, at >= 19*time.Second, look(at), "the last announcement is at 9 s; %s", at)
	}
	announce(20 * time.Second)
	require.False(t, look(20*time.Second))
	r.take(bus.Entry[proto.Worker]{Key: "s", Deleted: true}) // a role that stops takes its announcement back
	require.False(t, look(21*time.Second), "it may be started again")
	require.True(t, look(23*time.Second))
}

func TestFollow_MissingRole_IsReportedOnceAndAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines, done := make(chan string, 100), make(chan error, 1)
	go func() {
		_, err := Follow(ctx, b, "c-1", func(u Update) {
			if u.Event != nil {
				lines <- u.Event.Text
			}
		})
		done <- err
	}()
	began := time.Now()
	require.Equal(t, "no coordinator is connected, and the collection waits for one; `tracefleet coordinator` starts one", <-lines)
	require.Less(t, time.Since(began), 10*time.Second)
	me := proto.Worker{ID: bus.NewWorkerID("coordinator", "host"), Role: "coordinator"}
	a, err := bus.NewAnnouncer(t.Context(), b, me, 0)
	require.NoError(t, err)
	announcing, stop := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() { defer close(gone); a.Run(announcing) }()
	require.Equal(t, "the collection does not wait for a coordinator any more", <-lines)
	stop()
	<-gone
	require.Contains(t, <-lines, "no coordinator is connected")
	require.Empty(t, lines)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
