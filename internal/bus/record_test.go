package bus_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

func taskState(id string, attempt uint32) *proto.TaskState {
	return &proto.TaskState{Task: *task(id), State: proto.StateRunning, Attempt: attempt}
}

func TestRecord_CompareAndSet(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	ctx := t.Context()
	r, err := bus.OpenRecord[proto.TaskState](ctx, b, proto.BucketTasks)
	require.NoError(t, err)

	_, _, err = r.Get(ctx, "c-1.t000")
	require.ErrorIs(t, err, bus.ErrNotFound)
	rev, err := r.Create(ctx, "c-1.t000", taskState("t000", 1))
	require.NoError(t, err)
	_, err = r.Create(ctx, "c-1.t000", taskState("t000", 9))
	require.ErrorIs(t, err, bus.ErrConflict)

	// Two holders read the same revision; one moves on, the other is stale and must not disturb.
	winner, err := r.Update(ctx, "c-1.t000", taskState("t000", 2), rev)
	require.NoError(t, err)
	_, err = r.Update(ctx, "c-1.t000", taskState("t000", 7), rev)
	require.ErrorIs(t, err, bus.ErrConflict)
	v, rev, err := r.Get(ctx, "c-1.t000")
	require.NoError(t, err)
	require.Equal(t, winner, rev)
	require.Equal(t, uint32(2), v.Attempt)

	require.NoError(t, r.Delete(ctx, "c-1.t000"))
	_, _, err = r.Get(ctx, "c-1.t000")
	require.ErrorIs(t, err, bus.ErrNotFound)
	_, err = r.Create(ctx, "c-1.t000", taskState("t000", 1))
	require.NoError(t, err, "a deleted key can be created again")
}

func TestRecord_WatchGivesValuesThenChanges(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	r, err := bus.OpenRecord[proto.TaskState](t.Context(), b, proto.BucketTasks)
	require.NoError(t, err)
	_, err = r.Create(t.Context(), "c-1.t000", taskState("t000", 1))
	require.NoError(t, err)
	_, err = r.Create(t.Context(), "c-2.t000", taskState("t000", 1))
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := r.Watch(ctx, "c-1.*")
	e := <-w
	require.Equal(t, "c-1.t000", e.Key)
	require.True(t, (<-w).Synced)
	_, err = r.Put(ctx, "c-1.t001", taskState("t001", 3))
	require.NoError(t, err)
	e = <-w
	require.Equal(t, "c-1.t001", e.Key)
	require.Equal(t, uint32(3), e.Value.Attempt)
	require.NoError(t, r.Delete(ctx, "c-1.t001"))
	require.True(t, (<-w).Deleted)
	cancel()
	for range w {
		t.Error("entry after the end")
	}

	list, err := r.List(t.Context(), ">")
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "c-1.t000", list[0].Key)
}

func TestRecord_UndecodableIsSeen(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	kv, err := b.JetStream().KeyValue(t.Context(), proto.BucketTasks)
	require.NoError(t, err)
	_, err = kv.Put(t.Context(), "c-1.t000", []byte{0xc1})
	require.NoError(t, err)
	r, err := bus.OpenRecord[proto.TaskState](t.Context(), b, proto.BucketTasks)
	require.NoError(t, err)
	_, _, err = r.Get(t.Context(), "c-1.t000")
	require.Equal(t, proto.CodeMalformedMessage, proto.AsFailure(err, "").Code)
	list, err := r.List(t.Context(), ">")
	require.NoError(t, err)
	require.Error(t, list[0].Err)
}

func TestDefinition_ByDigest(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	d, err := b.PutDefinition(t.Context(), []byte(`{"name":"x"}`))
	require.NoError(t, err)
	again, err := b.PutDefinition(t.Context(), []byte(`{"name":"x"}`))
	require.NoError(t, err)
	require.Equal(t, d, again)
	json, err := b.Definition(t.Context(), d)
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"x"}`, string(json))
	_, err = b.Definition(t.Context(), "00")
	require.ErrorIs(t, err, bus.ErrNotFound)
}
