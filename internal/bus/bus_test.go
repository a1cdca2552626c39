package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

func task(id string) *proto.Task {
	return &proto.Task{
		Collection: "c-1", ID: id, BatchSize: 8,
		Definitions: []proto.DefinitionRef{{Name: "rmsnorm_h128", OpType: "rmsnorm", Digest: fmt.Sprintf("%064d", 1)}},
		Engine:      proto.EngineSpec{Kind: proto.EngineSimulate, TP: 1, EP: 1},
	}
}

func simulateConsumer(t *testing.T) proto.Consumer {
	t.Helper()
	for _, c := range proto.Consumers() {
		if c.Name == proto.TaskConsumer(proto.EngineSimulate) {
			return c
		}
	}
	t.Fatal("no consumer for simulate")
	return proto.Consumer{}
}

func publishTask(t *testing.T, b *bus.Bus, id string) {
	t.Helper()
	m := task(id)
	require.NoError(t, b.Publish(t.Context(), proto.TaskSubject(m.Engine.Kind, m.Collection, m.ID), m, ""))
}

func queued(t *testing.T, b *bus.Bus, stream string) int {
	t.Helper()
	n, err := b.CountSubjects(t.Context(), stream, ">")
	require.NoError(t, err)
	return n
}

// waitEmpty waits for the end of a message that was terminated: unlike an ack, that has no answer.
func waitEmpty(t *testing.T, b *bus.Bus, stream string) {
	t.Helper()
	require.Eventually(t, func() bool { return queued(t, b, stream) == 0 }, 10*time.Second, 5*time.Millisecond, "messages must leave %s", stream)
}

func fast(uint64) time.Duration { return time.Millisecond }

// consume runs Consume in the background and returns a function that stops it and checks its result.
func consume(t *testing.T, b *bus.Bus, c proto.Consumer, h bus.Handler, opts bus.ConsumeOptions) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Consume(ctx, c, h, opts) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(stop)
	return stop
}

func TestConsume_HandlesEachMessageAndEmptiesTheQueue(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	const n = 50
	for i := range n {
		publishTask(t, b, fmt.Sprintf("t%03d", i))
	}
	var mu sync.Mutex
	seen := map[string]int{}
	all := make(chan struct{})
	stop := consume(t, b, simulateConsumer(t), bus.Decoded(func(_ context.Context, _ *bus.Delivery, m *proto.Task) error {
		mu.Lock()
		defer mu.Unlock()
		if seen[m.ID]++; len(seen) == n {
			close(all)
		}
		return nil
	}), bus.ConsumeOptions{Parallel: 4})
	<-all
	stop()
	require.Equal(t, 0, queued(t, b, proto.StreamTasks))
	for id, k := range seen {
		require.Equal(t, 1, k, id)
	}
}

func TestConsume_DeadAfterTheLastDelivery(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	c := simulateConsumer(t)
	c.MaxDeliver = 3
	publishTask(t, b, "t000")
	publishTask(t, b, "t001")
	var tries atomic.Int64
	recorded := make(chan *proto.Failure, 4)
	stop := consume(t, b, c, bus.Decoded(func(_ context.Context, d *bus.Delivery, m *proto.Task) error {
		if m.ID == "t001" {
			return nil
		}
		if tries.Add(1) == 2 {
			panic("boom")
		}
		return errors.New("does not work")
	}), bus.ConsumeOptions{RetryDelay: fast, OnDead: func(_ context.Context, d *bus.Delivery, f *proto.Failure) error {
		recorded <- f
		return nil
	}})
	f := <-recorded
	stop()
	require.Equal(t, proto.CodeInternal, f.Code)
	require.Equal(t, int64(3), tries.Load())
	waitEmpty(t, b, proto.StreamTasks)

	var dead []*proto.Dead
	require.NoError(t, b.ReadSet(t.Context(), proto.StreamDead, "tf.dead.>", func(_ string, data []byte) error {
		d, err := proto.Decode[proto.Dead](data)
		dead = append(dead, d)
		return err
	}))
	require.Len(t, dead, 1)
	require.Equal(t, "tf.tasks.simulate.c-1.t000", dead[0].Subject)
	require.Equal(t, uint64(3), dead[0].Deliveries)
	_, err := proto.Decode[proto.Task](dead[0].Data)
	require.NoError(t, err, "a dead letter keeps the message as it was")
}

func TestConsume_UndecodableIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	_, err := b.JetStream().Publish(t.Context(), "tf.tasks.simulate.c-1.t000", []byte("not msgpack"))
	require.NoError(t, err)
	got := make(chan *proto.Failure, 1)
	stop := consume(t, b, simulateConsumer(t), bus.Decoded(func(context.Context, *bus.Delivery, *proto.Task) error {
		t.Error("handler called with a message that cannot be decoded")
		return nil
	}), bus.ConsumeOptions{OnDead: func(_ context.Context, d *bus.Delivery, f *proto.Failure) error {
		got <- f
		return nil
	}})
	require.Equal(t, proto.CodeMalformedMessage, (<-got).Code)
	stop()
	waitEmpty(t, b, proto.StreamTasks)
	require.Equal(t, 1, queued(t, b, proto.StreamDead))
}

func TestConsume_LaterNeverDies(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	c := simulateConsumer(t)
	c.MaxDeliver = 2
	publishTask(t, b, "t000")
	done := make(chan struct{})
	stop := consume(t, b, c, func(_ context.Context, d *bus.Delivery) error {
		switch {
		case d.Deliveries < 5:
			return bus.Later(time.Millisecond, "delivery %d", d.Deliveries)
		case d.Deliveries == 5: // the first real failure; with the waits counted it would be the last
			return errors.New("not this time")
		}
		close(done)
		return nil
	}, bus.ConsumeOptions{RetryDelay: func(uint64) time.Duration { return time.Millisecond }})
	<-done
	stop()
	require.Equal(t, 0, queued(t, b, proto.StreamTasks))
	require.Equal(t, 0, queued(t, b, proto.StreamDead))
}

func TestConsume_StopGivesBackAtOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	publishTask(t, b, "t000")
	started := make(chan struct{})
	stop := consume(t, b, simulateConsumer(t), func(ctx context.Context, _ *bus.Delivery) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}, bus.ConsumeOptions{})
	<-started
	stop()
	again := make(chan uint64, 1)
	at := time.Now()
	stop = consume(t, b, simulateConsumer(t), func(_ context.Context, d *bus.Delivery) error {
		again <- d.Deliveries
		return nil
	}, bus.ConsumeOptions{})
	require.Equal(t, uint64(2), <-again)
	require.Less(t, time.Since(at), 5*time.Second, "not after the ack wait")
	stop()
}

func TestConsume_HardLetsTheHandlerFinish(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	publishTask(t, b, "t000")
	ctx, drain := context.WithCancel(t.Context())
	started, finish := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, simulateConsumer(t), func(ctx context.Context, _ *bus.Delivery) error {
			close(started)
			<-finish
			return ctx.Err()
		}, bus.ConsumeOptions{Hard: t.Context()})
	}()
	<-started
	drain()
	close(finish)
	require.NoError(t, <-done)
	require.Equal(t, 0, queued(t, b, proto.StreamTasks))
}

func TestConsume_KeepAliveHoldsTheMessage(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	// A consumer of our own with a short ack wait; the declared ones wait half a minute.
	c := proto.Consumer{Stream: proto.StreamEvents, Name: "short", Filter: "tf.events.>", AckWait: 300 * time.Millisecond, MaxDeliver: 5}
	bus.EnsureConsumer(t.Context(), t, b, c)
	b.Event(t.Context(), proto.Event{Collection: "c-1", Level: proto.LevelInfo, Stage: proto.StagePlan})
	var calls atomic.Int64
	finished := make(chan struct{})
	stop := consume(t, b, c, func(context.Context, *bus.Delivery) error {
		if calls.Add(1) == 1 {
			time.Sleep(4 * c.AckWait) // the passing of the ack wait is what is tested
			close(finished)
		}
		return nil
	}, bus.ConsumeOptions{Parallel: 2})
	<-finished
	stop()
	require.Equal(t, int64(1), calls.Load(), "a message that is kept alive is delivered once")
}

func TestPublish_TheLargestMessageFits(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	dead := &proto.Dead{Stream: "S", Subject: "tf.tasks.x", Failure: proto.Failure{Code: proto.CodeInternal}}
	small, err := proto.Encode(dead)
	require.NoError(t, err)
	dead.Data = make([]byte, proto.MaxMessageBytes-len(small)-8)
	require.NoError(t, b.Publish(t.Context(), proto.DeadSubject(dead.Subject), dead, ""))

	// Its own dead letter is larger than it: it keeps the failure and loses the data.
	d := &bus.Delivery{Stream: "S", Subject: "tf.tasks.y", Sequence: 1, Data: make([]byte, proto.MaxMessageBytes)}
	require.NoError(t, b.Bury(t.Context(), d, proto.Failf(proto.CodeInternal, "too much")))
	require.Equal(t, 2, queued(t, b, proto.StreamDead))
}
