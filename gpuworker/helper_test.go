package gpuworker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker"
	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/internal/tensorstore"
	"github.com/tracefleet/tracefleet/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// scripted is an engine that does what a test says around the real simulation.
type scripted func(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error)

func (f scripted) Run(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
	return f(ctx, job, report)
}

// simulated is the real engine, for the end of a script.
func simulated(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
	return simulate.New().Run(ctx, job, report)
}

// fleet is a broker with queued tasks.
type fleet struct {
	t       *testing.T
	connect func(name string) *bus.Bus
	bus     *bus.Bus
	tasks   *bus.Record[proto.TaskState]
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	server := bustest.StartServer(t, t.TempDir())
	return newFleetOn(t, func(name string) *bus.Bus { return bustest.Connect(t, server, name) })
}

func newFleetOn(t *testing.T, connect func(name string) *bus.Bus) *fleet {
	t.Helper()
	f := &fleet{t: t, connect: connect, bus: connect("test")}
	var err error
	f.tasks, err = bus.OpenRecord[proto.TaskState](t.Context(), f.bus, proto.BucketTasks)
	require.NoError(t, err)
	return f
}

// submit queues a small task as the coordinator would, and gives its key.
func (f *fleet) submit(id string, change ...func(*proto.TaskState)) string {
	f.t.Helper()
	defs := enginetest.Definitions(f.t, "rmsnorm_h4096", "gqa_paged_decode_h32_kv8_d128_ps1")
	for _, d := range defs {
		_, err := f.bus.PutDefinition(f.t.Context(), d.Raw)
		require.NoError(f.t, err)
	}
	task := enginetest.Task(proto.EngineSimulate, proto.ModeOffline, defs)
	task.ID = id
	s := &proto.TaskState{Task: task, State: proto.StateQueued}
	for _, c := range change {
		c(s)
	}
	key := proto.TaskKey(task.Collection, task.ID)
	_, err := f.tasks.Create(f.t.Context(), key, s)
	require.NoError(f.t, err)
	f.queue(key, "first")
	return key
}

// queue publishes a task's message once more.
func (f *fleet) queue(key, why string) {
	f.t.Helper()
	s := f.state(key)
	require.NoError(f.t, f.bus.Publish(f.t.Context(), proto.TaskSubject(s.Task.Engine.Kind, s.Task.Collection, s.Task.ID), &s.Task, key+why))
}

func (f *fleet) state(key string) *proto.TaskState {
	f.t.Helper()
	s, _, err := f.tasks.Get(f.t.Context(), key)
	require.NoError(f.t, err)
	return s
}

// until waits for a state of a task.
func (f *fleet) until(key string, want func(*proto.TaskState) bool) *proto.TaskState {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	for e := range f.tasks.Watch(ctx, key) {
		if e.Value != nil && want(e.Value) {
			return e.Value
		}
	}
	f.t.Fatalf("task %s is %+v", key, f.state(key))
	return nil
}

func is(state proto.State) func(*proto.TaskState) bool {
	return func(s *proto.TaskState) bool { return s.State == state }
}

// update changes a record as another role would.
func (f *fleet) update(key string, change func(*proto.TaskState)) {
	f.t.Helper()
	for {
		s, rev, err := f.tasks.Get(f.t.Context(), key)
		require.NoError(f.t, err)
		change(s)
		if _, err = f.tasks.Update(f.t.Context(), key, s, rev); !errors.Is(err, bus.ErrConflict) {
			require.NoError(f.t, err)
			return
		}
	}
}

func (f *fleet) count(stream, filter string) int {
	f.t.Helper()
	n, err := f.bus.CountSubjects(f.t.Context(), stream, filter)
	require.NoError(f.t, err)
	return n
}

func (f *fleet) queueEmpties() {
	f.t.Helper()
	f.countBecomes(proto.StreamTasks, ">", 0)
}

// countBecomes waits until want subjects under filter hold a message.
func (f *fleet) countBecomes(stream, filter string, want int) {
	f.t.Helper()
	for start := time.Now(); f.count(stream, filter) != want; time.Sleep(5 * time.Millisecond) {
		require.Less(f.t, time.Since(start), 30*time.Second, "%s of %s: %d subjects, want %d", filter, stream, f.count(stream, filter), want)
	}
}

// takeManifests takes n manifests from their queue, by id.
func (f *fleet) takeManifests(n int) map[string]*proto.Manifest {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	i := slices.IndexFunc(proto.Consumers(), func(c proto.Consumer) bool { return c.Name == proto.ConsumerSanitizers })
	found := map[string]*proto.Manifest{}
	require.NoError(f.t, f.bus.Consume(ctx, proto.Consumers()[i], bus.Decoded(func(_ context.Context, _ *bus.Delivery, m *proto.Manifest) error {
		if found[m.ID] = m; len(found) == n {
			cancel()
		}
		return nil
	}), bus.ConsumeOptions{}))
	return found
}

// worker is a running worker.
type worker struct {
	*gpuworker.Worker
	dir        string
	soft, hard context.CancelFunc
	done       chan error
	once       sync.Once
	err        error
}

// start runs a worker with eng as its simulate engine.
func (f *fleet) start(eng engine.Engine, change ...func(*gpuworker.Options)) *worker {
	f.t.Helper()
	b := f.connect("worker")
	store, err := tensorstore.Open(f.t.Context(), b)
	require.NoError(f.t, err)
	opt := gpuworker.Options{
		Bus: b, Store: store, Engines: engine.Registry{proto.EngineSimulate: eng}, WorkDir: filepath.Join(f.t.TempDir(), "work"), Node: "node",
		Version: "test", Heartbeat: 50 * time.Millisecond, Lost: 10 * time.Second, Log: bustest.Log(f.t),
		Backoff: func(int) time.Duration { return 10 * time.Millisecond },
	}
	for _, c := range change {
		c(&opt)
	}
	w, err := gpuworker.New(opt)
	require.NoError(f.t, err)
	soft, stopSoft := context.WithCancel(context.Background())
	hard, stopHard := context.WithCancel(context.Background())
	r := &worker{Worker: w, dir: opt.WorkDir, soft: stopSoft, hard: stopHard, done: make(chan error, 1)}
	go func() { r.done <- w.Run(soft, hard) }()
	f.t.Cleanup(func() { r.hard(); _ = r.wait() })
	return r
}

// wait gives the result of Run.
func (w *worker) wait() error {
	w.once.Do(func() { w.err = <-w.done; w.soft(); w.hard() })
	return w.err
}

// dirs lists what is left of dump directories.
func dirs(t *testing.T, root string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(root, "*", "*"))
	require.NoError(t, err)
	return list
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}
