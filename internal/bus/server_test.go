package bus_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

func TestStartEmbedded_OneBrokerAStateDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := bustest.StartServer(t, dir)
	_, err := bus.StartEmbedded(bus.Embedded{StateDir: dir})
	require.ErrorIs(t, err, bus.ErrStateDirInUse)
	require.ErrorContains(t, err, fmt.Sprint(os.Getpid()))
	require.ErrorContains(t, err, dir)
	s.Close()
	again, err := bus.StartEmbedded(bus.Embedded{StateDir: dir})
	require.NoError(t, err, "a closed broker gives its directory free")
	again.Close()
}

func TestStartEmbedded_BadInput(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	busy, err := bus.StartEmbedded(bus.Embedded{StateDir: t.TempDir(), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(busy.Close)
	for name, tc := range map[string]struct {
		cfg  bus.Embedded
		want string
	}{
		"no directory":     {bus.Embedded{}, "state directory is empty"},
		"a file":           {bus.Embedded{StateDir: file}, "file"},
		"no port":          {bus.Embedded{StateDir: t.TempDir(), Listen: "localhost"}, "localhost"},
		"port not number":  {bus.Embedded{StateDir: t.TempDir(), Listen: "localhost:nats"}, `"nats"`},
		"address taken":    {bus.Embedded{StateDir: t.TempDir(), Listen: busy.URL()[len("nats://"):]}, "address already in use"},
		"port beyond 2^16": {bus.Embedded{StateDir: t.TempDir(), Listen: "localhost:70000"}, "70000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := bus.StartEmbedded(tc.cfg)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestConnect_NamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  bus.Config
		want string
	}{
		"nobody there": {bus.Config{URL: "nats://127.0.0.1:1", Wait: 50 * time.Millisecond}, "nats://127.0.0.1:1"},
		"no creds":     {bus.Config{URL: "nats://127.0.0.1:1", Creds: "/nowhere/creds"}, "/nowhere/creds"},
		"no nkey":      {bus.Config{URL: "nats://127.0.0.1:1", NKey: "/nowhere/seed"}, "/nowhere/seed"},
		"no ca":        {bus.Config{URL: "nats://127.0.0.1:1", CA: "/nowhere/ca.pem"}, "/nowhere/ca.pem"},
		"half a pair":  {bus.Config{URL: "nats://127.0.0.1:1", Cert: "/nowhere/cert.pem"}, "both or neither"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := bus.Connect(t.Context(), tc.cfg)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestEnsure_ManyAtOnceAndAgain(t *testing.T) {
	t.Parallel()
	p := bustest.StartProcess(t, t.TempDir())
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			b, err := bus.Connect(t.Context(), bus.Config{URL: p.URL, Name: fmt.Sprint(i), Log: bustest.Log(t)})
			if err != nil {
				errs[i] = err
				return
			}
			defer b.Close()
			if errs[i] = b.Ensure(t.Context()); errs[i] == nil {
				errs[i] = b.Ensure(t.Context())
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

func TestEnsure_OtherSettingsAreNamed(t *testing.T) {
	t.Parallel()
	s := bustest.StartServer(t, t.TempDir())
	b, err := s.Connect(t.Context(), "test")
	require.NoError(t, err)
	t.Cleanup(b.Close)
	_, err = b.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: proto.StreamTasks, Subjects: []string{"tf.tasks.>"}})
	require.NoError(t, err)
	err = b.Ensure(t.Context())
	require.ErrorContains(t, err, proto.StreamTasks)
	require.ErrorContains(t, err, "subjects is tf.tasks.>, must be tf.tasks.*.*.*")
	require.ErrorContains(t, err, "retention")
}

// Every ack means that the message is on disk: a broker killed right after the last one has them all.
func TestKill_NothingAckedIsLost(t *testing.T) {
	t.Parallel()
	p := bustest.StartProcess(t, t.TempDir())
	b := p.Connect("test")
	r, err := bus.OpenRecord[proto.TaskState](t.Context(), b, proto.BucketTasks)
	require.NoError(t, err)
	const n = 200
	var pending []*bus.Pending
	for i := range n {
		m := task(fmt.Sprintf("t%03d", i))
		w, err := b.PublishAsync(t.Context(), proto.TaskSubject(m.Engine.Kind, m.Collection, m.ID), m, "")
		require.NoError(t, err)
		pending = append(pending, w)
	}
	rev, err := r.Create(t.Context(), "c-1.t000", taskState("t000", 1))
	require.NoError(t, err)
	for _, w := range pending {
		require.NoError(t, w.Wait(t.Context()))
	}
	p.Kill()
	p.Restart()
	require.Equal(t, n, queued(t, b, proto.StreamTasks))
	_, have, err := r.Get(t.Context(), "c-1.t000")
	require.NoError(t, err)
	require.Equal(t, rev, have)
	_, err = r.Update(t.Context(), "c-1.t000", taskState("t000", 2), rev)
	require.NoError(t, err, "compare-and-set goes on where it was")
}

// The broker dies under a publisher, a consumer, a watch and a follower; all of them come back by themselves.
func TestKill_EverythingReconnects(t *testing.T) {
	t.Parallel()
	p := bustest.StartProcess(t, t.TempDir())
	b := p.Connect("test")
	r, err := bus.OpenRecord[proto.TaskState](t.Context(), b, proto.BucketTasks)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	watched := r.Watch(ctx, ">")
	require.True(t, (<-watched).Synced)
	events := make(chan string, 100)
	followed := make(chan error, 1)
	go func() {
		followed <- b.Follow(ctx, proto.EventFilter("c-1"), time.Time{}, func(e *proto.Event) error { events <- e.Text; return nil })
	}()
	handled := make(chan string, 100)
	stop := consume(t, b, simulateConsumer(t), func(_ context.Context, d *bus.Delivery) error { handled <- d.Subject; return nil }, bus.ConsumeOptions{})
	publishTask(t, b, "t000")
	require.Contains(t, <-handled, "t000")
	b.Event(ctx, proto.Event{Collection: "c-1", Level: proto.LevelInfo, Stage: proto.StagePlan, Text: "before"})
	require.Equal(t, "before", <-events)

	p.Kill()
	published := make(chan error, 1)
	go func() { // while the broker is away
		m := task("t001")
		published <- b.Publish(t.Context(), proto.TaskSubject(m.Engine.Kind, m.Collection, m.ID), m, "")
	}()
	p.Restart()
	require.NoError(t, <-published)
	at := time.Now()
	for s := range handled {
		if s == "tf.tasks.simulate.c-1.t001" {
			break
		}
	}
	_, err = r.Put(ctx, "c-1.t009", taskState("t009", 1))
	require.NoError(t, err)
	for e := range watched {
		if e.Key == "c-1.t009" {
			break
		}
	}
	b.Event(ctx, proto.Event{Collection: "c-1", Level: proto.LevelInfo, Stage: proto.StagePlan, Text: "after"})
	require.Equal(t, "after", <-events)
	require.Less(t, time.Since(at), 20*time.Second)
	stop()
	cancel()
	require.NoError(t, <-followed)
	for range watched {
		continue
	}
}
