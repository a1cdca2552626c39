package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

func verdict(id, function string) *proto.Verdict {
	return &proto.Verdict{
		Collection: "c-1", Task: "t000", Attempt: 1, Manifest: id, Function: function,
		Rejections: []proto.Rejection{{Reason: "no_definition"}},
	}
}

func TestReadSet_EverySubjectOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	ctx := t.Context()
	const n = 700 // more than a reader buffers
	for i := range n {
		id := fmt.Sprintf("m%04d", i)
		_, err := b.PublishAsync(ctx, proto.VerdictSubject("c-1", "t000", 1, id), verdict(id, "first"), "")
		require.NoError(t, err)
	}
	other := verdict("m0000", "other attempt")
	other.Attempt = 2
	require.NoError(t, b.Publish(ctx, proto.VerdictSubject("c-1", "t000", 2, "m0000"), other, ""))
	require.Eventually(t, func() bool { return queued(t, b, proto.StreamVerdicts) == n+1 }, 10*time.Second, 10*time.Millisecond)
	// A verdict stored again replaces the one before.
	require.NoError(t, b.Publish(ctx, proto.VerdictSubject("c-1", "t000", 1, "m0000"), verdict("m0000", "second"), "again"))

	filter := proto.VerdictPrefix("c-1", "t000", 1) + ">"
	count, err := b.CountSubjects(ctx, proto.StreamVerdicts, filter)
	require.NoError(t, err)
	require.Equal(t, n, count)
	got := map[string]string{}
	require.NoError(t, b.ReadSet(ctx, proto.StreamVerdicts, filter, func(_ string, data []byte) error {
		v, err := proto.Decode[proto.Verdict](data)
		if err == nil {
			require.NotContains(t, got, v.Manifest)
			got[v.Manifest] = v.Function
		}
		return err
	}))
	require.Len(t, got, n)
	require.Equal(t, "second", got["m0000"])

	stop := errors.New("enough")
	require.ErrorIs(t, b.ReadSet(ctx, proto.StreamVerdicts, filter, func(string, []byte) error { return stop }), stop)
	require.NoError(t, b.ReadSet(ctx, proto.StreamVerdicts, "tf.verdicts.none.>", func(string, []byte) error { return stop }), "the empty set is a set")
}

func TestFollow_PastThenPresent(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	say := func(collection, text string) {
		b.Event(t.Context(), proto.Event{Collection: collection, Level: proto.LevelInfo, Stage: proto.StagePlan, Text: text})
	}
	say("c-1", "one")
	say("c-2", "of another")
	require.NoError(t, b.Flush(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	texts := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		done <- b.Follow(ctx, proto.EventFilter("c-1"), time.Time{}, func(e *proto.Event) error {
			require.NotEmpty(t, e.Node)
			texts <- e.Text
			return nil
		})
	}()
	require.Equal(t, "one", <-texts)
	say("c-1", "two")
	require.Equal(t, "two", <-texts)
	cancel()
	require.NoError(t, <-done)

	var history []string
	require.NoError(t, b.Events(t.Context(), proto.EventFilter("c-1"), time.Time{}, func(e *proto.Event) error {
		history = append(history, e.Text)
		return nil
	}))
	require.Equal(t, []string{"one", "two"}, history)
}
