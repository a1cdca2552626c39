package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// fleet is a broker with one collected task, and what a publisher needs besides.
type fleet struct {
	t       *testing.T
	bus     *bus.Bus
	dir     string
	store   store
	tasks   *bus.Record[proto.TaskState]
	records *bus.Record[proto.Publication]
	refs    []proto.DefinitionRef
}

func newFleet(t *testing.T, defs ...*fitrace.Definition) *fleet {
	t.Helper()
	f := &fleet{t: t, bus: bustest.Start(t), dir: filepath.Join(t.TempDir(), "dataset"), store: store{}}
	ctx := t.Context()
	for _, d := range defs {
		digest, err := f.bus.PutDefinition(ctx, d.Raw)
		if err != nil {
			t.Fatal(err)
		}
		f.refs = append(f.refs, proto.DefinitionRef{Name: d.Name, OpType: d.OpType, Digest: digest})
	}
	var err error
	if f.tasks, err = bus.OpenRecord[proto.TaskState](ctx, f.bus, proto.BucketTasks); err != nil {
		t.Fatal(err)
	}
	if f.records, err = bus.OpenRecord[proto.Publication](ctx, f.bus, proto.BucketPublications); err != nil {
		t.Fatal(err)
	}
	return f
}

// task stores a task that waits for its publications, and its verdicts.
func (f *fleet) task(id string, attempt uint32, verdicts []*proto.Verdict) {
	f.t.Helper()
	ctx := f.t.Context()
	_, err := f.tasks.Put(ctx, proto.TaskKey("c-1", id), &proto.TaskState{
		Task: proto.Task{Collection: "c-1", ID: id, Definitions: f.refs, BatchSize: 8,
			Engine: proto.EngineSpec{Kind: proto.EngineSimulate, TP: 1, EP: 1}},
		State: proto.StatePublishing, Attempt: attempt,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, v := range verdicts {
		v.Task, v.Attempt = id, attempt
		subject := proto.VerdictSubject("c-1", id, attempt, v.Manifest)
		if err := f.bus.Publish(ctx, subject, v, subject); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fleet) message(task string, attempt uint32, index int, spec proto.PublishSpec) *proto.Publish {
	spec.TraceDir = f.dir
	if spec.WorkloadsPerBatch == 0 {
		spec.WorkloadsPerBatch = 4
	}
	return &proto.Publish{Collection: "c-1", Task: task, Attempt: attempt, Index: index, Definition: f.refs[index], Spec: spec}
}

func (f *fleet) send(m *proto.Publish) {
	f.t.Helper()
	if err := f.bus.Publish(f.t.Context(), proto.PublishSubject(m.Collection, m.Task, m.Index), m, ""); err != nil {
		f.t.Fatal(err)
	}
}

// run starts publishers, until the test ends.
func (f *fleet) run(n int) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range n {
		p := New(Options{Bus: f.bus, Store: f, Log: bustest.Log(f.t)})
		wg.Go(func() {
			if err := p.Run(ctx); err != nil {
				f.t.Error(err)
			}
		})
	}
	f.t.Cleanup(func() { cancel(); wg.Wait() })
}

// Get implements TensorStore.
func (f *fleet) Get(_ context.Context, digest string) ([]byte, error) { return f.store.get(digest) }

// Put implements TensorStore.
func (f *fleet) Put(context.Context, []byte) (string, error) {
	return "", errors.New("no evaluation is asked for here")
}

// ended waits for the end of a publication.
func (f *fleet) ended(task string, index int) *proto.Publication {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	for e := range f.records.Watch(ctx, proto.PublicationKey("c-1", task, index)) {
		if e.Value != nil && e.Value.State.Final() {
			return e.Value
		}
	}
	f.t.Fatalf("publication %s/%d did not end", task, index)
	return nil
}

func TestPublisher(t *testing.T) {
	t.Parallel()
	def := testDefinition(t, defName)
	f := newFleet(t, def, testDefinition(t, "other"))
	verdicts := f.store.someVerdicts(defName)
	f.task("t000", 2, verdicts)
	f.run(1)
	f.send(f.message("t000", 2, 0, proto.PublishSpec{}))
	f.send(f.message("t000", 2, 1, proto.PublishSpec{}))
	got, other := f.ended("t000", 0), f.ended("t000", 1)
	if got.State != proto.StateDone || got.Failure != nil || len(got.Workloads) != 4 {
		t.Fatalf("publication %+v", got)
	}
	if n := got.Home.Sum() + got.Unclaimed.Sum() + other.Home.Sum() + other.Unclaimed.Sum(); n != len(verdicts) {
		t.Errorf("%d manifests counted, want %d", n, len(verdicts))
	}
	sound(t, f.dir, 0)
	local := t.TempDir()
	mustPublish(t, local, []*fitrace.Definition{def}, verdicts, f.store, LocalOptions{})
	byRole, offline, file := public(t, f.dir), public(t, local), fitrace.ProvenancePath("gqa_paged", defName)
	// Without a collection and a task nothing else is known of them.
	if strings.ReplaceAll(byRole[file], `"collection":"c-1","task":"t000"`, `"collection":null,"task":null`) != offline[file] {
		t.Errorf("provenance\n%sand\n%s", byRole[file], offline[file])
	}
	delete(byRole, file)
	delete(offline, file)
	if !maps.Equal(byRole, offline) {
		t.Error("the role and the offline face write different datasets")
	}
	before := tree(t, f.dir)
	f.send(f.message("t000", 2, 0, proto.PublishSpec{})) // again, and one of an attempt that does not count
	f.send(f.message("t000", 1, 1, proto.PublishSpec{}))
	f.task("t001", 1, []*proto.Verdict{verdict("x", f.store.candidate(defName, 0, 9, 9, 9))})
	f.send(f.message("t001", 1, 0, proto.PublishSpec{}))
	if next := f.ended("t001", 0); len(next.Workloads) != 1 {
		t.Errorf("next batch: %+v", next)
	}
	after := tree(t, f.dir)
	for name, data := range before {
		if !strings.HasPrefix(after[name], data) {
			t.Errorf("%s is not what it was", name)
		}
	}
	if len(after) != len(before)+1 {
		t.Errorf("%d files, want one more than %d", len(after), len(before))
	}
}

// A plan was saved and its process died: the next publisher runs that plan, though it would choose otherwise by now.
func TestPublisher_SavedPlan(t *testing.T) {
	t.Parallel()
	def := testDefinition(t, defName)
	for _, tc := range []struct {
		executed bool // all but the record
		version  int
		want     int
	}{{false, planVersion, 2}, {true, planVersion, 2}, {false, planVersion - 1, 4}, {true, planVersion - 1, 2}} { // an old plan is made anew
		f := newFleet(t, def)
		verdicts := f.store.someVerdicts(defName)
		f.task("t000", 1, verdicts)
		g := NewGathered([]string{defName}, 0)
		for _, v := range verdicts {
			g.Add(v)
		}
		w, err := dataset.Open(f.dir, dataset.Options{Log: nopLog})
		if err != nil {
			t.Fatal(err)
		}
		rec := &proto.Publication{Collection: "c-1", Task: "t000", Attempt: 1, Definition: defName}
		tensors := lookup(g.Contents(), f.store.get)
		plan, err := prepare(rec, &w.Reader, Request{Definition: def, Collection: "c-1", Task: "t000", Max: 2}, g, tensors)
		if err != nil {
			t.Fatal(err)
		}
		plan.Version = tc.version
		if tc.executed {
			if err := plan.Execute(w, tensors); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if rec.Plan, err = plan.Encode(); err != nil {
			t.Fatal(err)
		}
		if _, err := f.records.Create(t.Context(), proto.PublicationKey("c-1", "t000", 0), rec); err != nil {
			t.Fatal(err)
		}
		f.run(1)
		f.send(f.message("t000", 1, 0, proto.PublishSpec{WorkloadsPerBatch: 4}))
		got := f.ended("t000", 0)
		if got.State != proto.StateDone || len(got.Workloads) != tc.want || len(lines(t, f.dir, defName)) != tc.want || got.All.Workload != tc.want {
			t.Errorf("%+v: %d workloads, %d lines, %+v", tc, len(got.Workloads), len(lines(t, f.dir, defName)), got.All)
		}
	}
}

// A saved plan whose dataset someone else changed is made anew.
func TestPublisher_StalePlan(t *testing.T) {
	t.Parallel()
	def := testDefinition(t, defName)
	f := newFleet(t, def)
	verdicts := f.store.someVerdicts(defName)
	f.task("t000", 1, verdicts)
	g := NewGathered([]string{defName}, 0)
	for _, v := range verdicts {
		g.Add(v)
	}
	if err := os.Mkdir(f.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := dataset.OpenReader(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	plan, _, err := Prepare(r, Request{Definition: def, Max: 4}, g)
	if err != nil {
		t.Fatal(err)
	}
	rec := &proto.Publication{Collection: "c-1", Task: "t000", Attempt: 1, Definition: defName, State: proto.StatePublishing}
	if rec.Plan, err = plan.Encode(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.records.Create(t.Context(), proto.PublicationKey("c-1", "t000", 0), rec); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, f.dir, []*fitrace.Definition{def}, verdicts, f.store, LocalOptions{Max: 2})
	f.run(1)
	f.send(f.message("t000", 1, 0, proto.PublishSpec{WorkloadsPerBatch: 20}))
	if got := f.ended("t000", 0); len(got.Workloads) != 3 || len(lines(t, f.dir, defName)) != 5 {
		t.Errorf("%d workloads, %d lines", len(got.Workloads), len(lines(t, f.dir, defName)))
	}
	sound(t, f.dir, 0)
}

func TestPublisher_Failure(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testDefinition(t, defName), testDefinition(t, "other"))
	f.task("t000", 1, f.store.someVerdicts(defName))
	write(t, filepath.Join(f.dir, "definitions/gqa_paged", defName+".json"), `{"name": "another"}`)
	f.run(1)
	f.send(f.message("t000", 1, 0, proto.PublishSpec{}))
	f.send(f.message("t000", 1, 1, proto.PublishSpec{}))
	if got := f.ended("t000", 0); got.State != proto.StateFailed || got.Failure.Code != proto.CodeDatasetConflict {
		t.Errorf("publication %+v", got)
	}
	if got := f.ended("t000", 1); got.State != proto.StateDone {
		t.Errorf("the next one: %+v", got)
	}
	// What cannot be decoded ends as well: somebody waits for it.
	f.task("t001", 1, nil)
	if _, err := f.bus.JetStream().Publish(t.Context(), proto.PublishSubject("c-1", "t001", 1), []byte("not msgpack")); err != nil {
		t.Fatal(err)
	}
	if got := f.ended("t001", 1); got.State != proto.StateFailed || got.Failure.Code != proto.CodeMalformedMessage || got.Definition != "other" {
		t.Errorf("publication %+v", got)
	}
}

// Two publishers, many batches: every line once, whoever wrote it.
func TestPublisher_Two(t *testing.T) {
	t.Parallel()
	def := testDefinition(t, defName)
	f := newFleet(t, def)
	const batches = 6
	for i := range batches {
		f.task(fmt.Sprintf("t%03d", i), 1, []*proto.Verdict{
			verdict("a", f.store.candidate(defName, 0, int32(i+1), 3)), verdict("b", f.store.candidate(defName, 0, 7)),
		})
	}
	f.run(2)
	for i := range batches {
		f.send(f.message(fmt.Sprintf("t%03d", i), 1, 0, proto.PublishSpec{}))
	}
	for i := range batches {
		if got := f.ended(fmt.Sprintf("t%03d", i), 0); got.State != proto.StateDone {
			t.Errorf("batch %d: %+v", i, got)
		}
	}
	if n := len(lines(t, f.dir, defName)); n != batches+1 {
		t.Errorf("%d lines, want %d", n, batches+1)
	}
	sound(t, f.dir, 0)
}

func TestPublisher_ReplaceFirst(t *testing.T) {
	t.Parallel()
	def := testDefinition(t, defName)
	f := newFleet(t, def)
	mustPublish(t, f.dir, []*fitrace.Definition{def}, []*proto.Verdict{verdict("old", f.store.candidate(defName, 0, 5, 5))}, f.store, LocalOptions{})
	f.task("t000", 1, []*proto.Verdict{rejection("r", defName, "no_plan")})
	f.task("t001", 1, []*proto.Verdict{verdict("a", f.store.candidate(defName, 0, 7))})
	f.task("t002", 1, []*proto.Verdict{verdict("b", f.store.candidate(defName, 0, 1, 1))})
	f.run(1)
	want := []int{1, 1, 2} // nothing came first: the old line stays; then it goes; then more is added
	for i, n := range want {
		m := f.message(fmt.Sprintf("t%03d", i), 1, 0, proto.PublishSpec{ReplaceFirst: true})
		m.First = i < 2 // the coordinator's word: until lines were written
		f.send(m)
		f.ended(m.Task, 0)
		if got := len(lines(t, f.dir, defName)); got != n {
			t.Errorf("%d lines after batch %d, want %d", got, i, n)
		}
	}
	sound(t, f.dir, 0)
}

func TestLease(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	rec, err := bus.OpenRecord[proto.Worker](t.Context(), b, proto.BucketLeases)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	one, two := proto.Worker{ID: "one", Host: host, PID: os.Getpid()}, proto.Worker{ID: "two", Host: host, PID: os.Getpid()}
	l, err := acquireLease(t.Context(), rec, publisherLease, one, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	err = l.hold(t.Context(), time.Now, func(ctx context.Context) error {
		if _, err := acquireLease(ctx, rec, publisherLease, two, time.Now()); err == nil {
			t.Error("two holders")
		}
		return errors.New("work failed")
	})
	if err == nil || err.Error() != "work failed" {
		t.Errorf("hold gave %v", err)
	}
	if _, err := acquireLease(t.Context(), rec, publisherLease, two, time.Now()); err != nil {
		t.Errorf("the lease was not given back: %v", err)
	}
	dead := proto.Worker{ID: "dead", Host: host, PID: 1 << 30}
	if _, err := rec.Put(t.Context(), publisherLease, &dead); err != nil {
		t.Fatal(err)
	}
	if _, err := acquireLease(t.Context(), rec, publisherLease, one, time.Now()); err != nil {
		t.Errorf("the lease of a process that is no more: %v", err)
	}
}

// A publisher that was frozen past the lease's life gives back only what is still its own.
func TestLease_GivesBackOnlyItsOwn(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	rec, err := bus.OpenRecord[proto.Worker](t.Context(), b, proto.BucketLeases)
	if err != nil {
		t.Fatal(err)
	}
	l, err := acquireLease(t.Context(), rec, publisherLease, proto.Worker{ID: "paused", Host: "a"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.hold(t.Context(), time.Now, func(ctx context.Context) error { // frozen past the TTL: another has the lease when work ends
		if err := rec.Delete(ctx, publisherLease); err != nil {
			t.Fatal(err)
		}
		_, err := acquireLease(ctx, rec, publisherLease, proto.Worker{ID: "other", Host: "b"}, time.Now())
		return err
	})
	if holder, _, err := rec.Get(t.Context(), publisherLease); err != nil || holder.ID != "other" {
		t.Errorf("the other's lease: %v, %v", holder, err)
	}
}
