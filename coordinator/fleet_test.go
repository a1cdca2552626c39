package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// fleet is a broker with stand-ins for the other roles, which speak proto messages and nothing else. What each should do is
// set before start.
type fleet struct {
	t   *testing.T
	srv *bus.Server
	bus *bus.Bus
	s   *jobstore

	manifests int                                                          // manifests a task
	run       func(ctx context.Context, t *proto.TaskState) *proto.Failure // nil: a run that works
	failPub   func(p *proto.Publish) *proto.Failure                        // nil: publications work

	mu       sync.Mutex
	asked    []string // publications in the order they came to the publisher, without repeats: "t000/def first"
	finished map[string]bool
}

func newFleet(t *testing.T) *fleet {
	srv := bustest.StartServer(t, t.TempDir())
	f := &fleet{t: t, srv: srv, bus: bustest.Connect(t, srv, "fleet"), manifests: 3, finished: map[string]bool{}}
	var err error
	if f.s, err = openStore(t.Context(), f.bus); err != nil {
		t.Fatal(err)
	}
	return f
}

// start runs fn until the test ends, or until stop is called.
func (f *fleet) start(fn func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := fn(ctx); err != nil {
			f.t.Errorf("a role ended: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	f.t.Cleanup(stop)
	return stop
}

func (f *fleet) roles() {
	f.worker()
	f.start(func(ctx context.Context) error {
		return f.bus.Consume(ctx, f.consumer(proto.StreamManifests), bus.Decoded[proto.Manifest](f.sanitize), bus.ConsumeOptions{Parallel: 4})
	})
	f.publisher()
}

func (f *fleet) worker() (stop func()) {
	return f.start(func(ctx context.Context) error {
		return f.bus.Consume(ctx, f.consumer(proto.StreamTasks), bus.Decoded[proto.Task](f.work), bus.ConsumeOptions{Parallel: 4})
	})
}

func (f *fleet) publisher() (stop func()) {
	return f.start(func(ctx context.Context) error {
		return f.bus.Consume(ctx, f.consumer(proto.StreamPublish), bus.Decoded[proto.Publish](f.publish), bus.ConsumeOptions{})
	})
}

func (f *fleet) consumer(stream string) proto.Consumer {
	for _, c := range proto.Consumers() {
		if c.Stream == stream && (stream != proto.StreamTasks || c.Name == proto.TaskConsumer(proto.EngineSimulate)) {
			return c
		}
	}
	f.t.Errorf("no consumer of %s", stream)
	return proto.Consumer{}
}

// work is a gpuworker.
func (f *fleet) work(ctx context.Context, _ *bus.Delivery, task *proto.Task) error {
	key := proto.TaskKey(task.Collection, task.ID)
	t, rev, err := f.s.tasks.Get(ctx, key)
	if err != nil {
		return err
	}
	if t.State != proto.StateQueued {
		return nil
	}
	t.State, t.Attempt, t.Worker, t.Heartbeat, t.StartedAt = proto.StateRunning, t.Attempt+1, "w1", time.Now(), time.Now()
	if rev, err = f.s.tasks.Update(ctx, key, t, rev); errors.Is(err, bus.ErrConflict) {
		return bus.Later(0, "somebody else changed it")
	} else if err != nil {
		return err
	}
	if f.run != nil {
		if fail := f.run(ctx, t); fail != nil {
			t.State, t.Failure = proto.StateFailed, fail
			if _, err = f.s.tasks.Update(ctx, key, t, rev); errors.Is(err, bus.ErrConflict) {
				return nil
			}
			return err
		}
	}
	for i := range f.manifests {
		m := &proto.Manifest{Collection: task.Collection, Task: task.ID, Attempt: t.Attempt, ID: fmt.Sprintf("m%d", i),
			Call: proto.Call{Dump: "d", Function: "f"}, Definitions: task.Definitions}
		if err := f.bus.Publish(ctx, proto.ManifestSubject(task.Collection, task.ID, t.Attempt, m.ID), m, ""); err != nil {
			return err
		}
	}
	n := int64(f.manifests)
	t.State = proto.StateCollected
	t.Counts = proto.AttemptCounts{Dumps: n + 3, Manifests: n, Plans: 2, Captures: 1, EngineSeconds: 2, GPUSeconds: 4, BytesSeen: 100, PeakBytes: int64(task.BatchSize)}
	_, err = f.s.tasks.Update(ctx, key, t, rev)
	if errors.Is(err, bus.ErrConflict) {
		return nil
	}
	return err
}

// sanitize rejects every third manifest and makes the others candidates of every definition.
func (f *fleet) sanitize(ctx context.Context, _ *bus.Delivery, m *proto.Manifest) error {
	v := &proto.Verdict{Collection: m.Collection, Task: m.Task, Attempt: m.Attempt, Manifest: m.ID, Function: "f",
		Rejections: []proto.Rejection{{Reason: "not_fitting"}}}
	return f.bus.Publish(ctx, proto.VerdictSubject(m.Collection, m.Task, m.Attempt, m.ID), v, "")
}

// publish is a publisher: of the verdicts one is a workload, the next a duplicate, all else is rejected. They are counted under
// the first definition of the task.
func (f *fleet) publish(ctx context.Context, _ *bus.Delivery, p *proto.Publish) error {
	key := proto.PublicationKey(p.Collection, p.Task, p.Index)
	pub, rev, err := f.s.publications.Get(ctx, key)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	if err == nil && pub.Attempt == p.Attempt && pub.State.Final() {
		return nil
	}
	f.ask(p)
	n, err := f.bus.CountSubjects(ctx, proto.StreamVerdicts, proto.VerdictPrefix(p.Collection, p.Task, p.Attempt)+">")
	if err != nil {
		return err
	}
	next := &proto.Publication{Collection: p.Collection, Task: p.Task, Attempt: p.Attempt, Index: p.Index, Definition: p.Definition.Name,
		State: proto.StateDone, FinishedAt: time.Now()}
	if p.Index == 0 {
		next.Home = tally(n)
	}
	if n > 0 {
		next.Workloads = []string{"uuid-" + p.Task + "-" + p.Definition.Name}
	}
	next.Seen = proto.Seen{Axes: map[string]map[int64]int{"n": {int64(p.Index): 1}}, KVLen: map[int64]int{16: 1}}
	if f.failPub != nil {
		if fail := f.failPub(p); fail != nil {
			next.State, next.Failure, next.Workloads = proto.StateFailed, fail, nil
		}
	}
	if rev == 0 {
		_, err = f.s.publications.Create(ctx, key, next)
	} else {
		_, err = f.s.publications.Update(ctx, key, next, rev)
	}
	return err
}

func tally(n int) proto.Tally {
	t := proto.Tally{Workload: min(n, 1), Duplicate: min(max(n-1, 0), 1)}
	for range max(n-2, 0) {
		t.Reject("not_fitting")
	}
	return t
}

func (f *fleet) ask(p *proto.Publish) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := fmt.Sprintf("%s %s/%s", p.Collection, p.Task, p.Definition.Name)
	if p.First {
		s += " first"
	}
	if p.Attempt > 1 {
		s += fmt.Sprintf(" attempt %d", p.Attempt)
	}
	if !slices.Contains(f.asked, s) {
		f.asked = append(f.asked, s)
	}
}

// published gives what was asked of the publisher for a definition, in order.
func (f *fleet) published(collection, definition string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, a := range f.asked {
		rest, ok := strings.CutPrefix(a, collection+" ")
		if name, _, _ := strings.Cut(rest, " "); ok && strings.HasSuffix(name, "/"+definition) {
			out = append(out, rest)
		}
	}
	return out
}

func (f *fleet) coordinator(before func(string)) *Coordinator {
	c := New(Options{Bus: f.bus, Log: bustest.Log(f.t), Sweep: 50 * time.Millisecond})
	c.before = before
	return c
}

// submit sends a collection of three definitions in two groups; seed tells collections apart.
func (f *fleet) submit(seed int64, edit func(*proto.Collection)) string {
	f.t.Helper()
	all := planDefs(f.t)
	defs := []*fitrace.Definition{all["dec_tp1_ps1"], all["mamba_tp2"], all["norm"]}
	spec := specFor(proto.EngineSpec{Kind: proto.EngineSimulate}, []int{8, 4}, defs...)
	spec.Traffic.Seed = seed
	spec.ID, spec.SubmittedAt = "", time.Unix(seed, 0).UTC()
	if edit != nil {
		edit(spec)
	}
	got, err := Submit(f.t.Context(), f.bus, &Submission{Collection: spec, Definitions: defs})
	if err != nil {
		f.t.Fatal(err)
	}
	return got.ID
}

// wait follows a collection to its end.
func (f *fleet) wait(id string) *proto.CollectionState {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	for e := range f.s.collections.Watch(ctx, id) {
		if e.Value != nil && e.Value.State.Final() && !e.Value.Retry {
			return e.Value
		}
	}
	f.t.Fatalf("collection %s did not end: %s", id, f.end(id))
	return nil
}

// waitTask waits until a task's record satisfies ok.
func (f *fleet) waitTask(id, task string, ok func(*proto.TaskState) bool) *proto.TaskState {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	for e := range f.s.tasks.Watch(ctx, proto.TaskKey(id, task)) {
		if e.Value != nil && ok(e.Value) {
			return e.Value
		}
	}
	f.t.Fatalf("task %s did not get there: %s", task, f.end(id))
	return nil
}

func in(s proto.State) func(*proto.TaskState) bool {
	return func(t *proto.TaskState) bool { return t.State == s }
}

// end describes the records of a collection, without what differs from run to run.
func (f *fleet) end(id string) string {
	ctx := context.WithoutCancel(f.t.Context())
	c, _, err := f.s.collections.Get(ctx, id)
	if err != nil {
		return err.Error()
	}
	tasks, pubs, _, err := f.s.read(ctx, id)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", c.State, c.Tasks)
	if c.Failure != nil {
		fmt.Fprintf(&b, " (%s)", c.Failure.Message)
	}
	for _, t := range tasks {
		fmt.Fprintf(&b, "\n%s %s attempt %d published %d failures %d counts %+v", brief(t.Task), t.State, t.Attempt, t.Published, len(t.Failures), t.Counts)
		if t.Failure != nil {
			fmt.Fprintf(&b, " (%s)", t.Failure.Message)
		}
	}
	for _, p := range pubs {
		fmt.Fprintf(&b, "\n%s.%d %s %s attempt %d %+v", p.Task, p.Index, p.Definition, p.State, p.Attempt, p.Home)
	}
	return b.String()
}

// empty fails the test if a queue still holds something of the collection.
func (f *fleet) empty(id string) {
	f.t.Helper()
	for stream, filter := range map[string]string{
		proto.StreamTasks: "tf.tasks.*." + id + ".*", proto.StreamPublish: "tf.publish." + id + ".>", proto.StreamManifests: "tf.manifests." + id + ".>",
	} {
		deadline := time.Now().Add(10 * time.Second)
		for {
			n, err := f.bus.CountSubjects(f.t.Context(), stream, filter)
			if err != nil {
				f.t.Fatal(err)
			}
			if n == 0 {
				break
			}
			if time.Now().After(deadline) {
				f.t.Errorf("%d messages of %s are left in %s", n, id, stream)
				break
			}
		}
	}
}
