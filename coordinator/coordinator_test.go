package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

const doneEnd = `done [t000 t001 t002 t003]
t000 offline tp1 ep1 ps1 bs8: dec_tp1_ps1 norm done attempt 1 published 2 failures 0`

func TestCoordinator_ToTheEnd(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.roles()
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, nil)
	if c := f.wait(id); c.State != proto.StateDone {
		t.Fatalf("ended %s", f.end(id))
	}
	if got := f.end(id); !strings.HasPrefix(got, doneEnd) {
		t.Errorf("got %s", got)
	}
	// Batches of a definition in planned order, and only the first may replace.
	want := []string{"t000/dec_tp1_ps1 first", "t001/dec_tp1_ps1"}
	if got := f.published(id, "dec_tp1_ps1"); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	a, err := Result(t.Context(), f.bus, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Check(); err != nil {
		t.Error(err)
	}
	if a.Outcome != OutcomeDone || a.Total.Dumps != 24 || a.Total.Workloads != 4 || a.Total.NewWorkloads != 6 || a.Total.Rejected["not_fitting"] != 4 ||
		!a.Simulated || !slices.Equal(a.Total.BatchSizes, []int{4, 8}) || a.Total.GPUSeconds != 16 || a.Total.PeakBytes != 8 {
		t.Errorf("account %+v", a)
	}
	f.empty(id)
}

func TestCoordinator_NothingDumped(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.manifests = 0
	f.roles()
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, nil)
	f.wait(id)
	a, err := Result(t.Context(), f.bus, id)
	if err != nil || a.Check() != nil || a.Outcome != OutcomeNothing || a.State != proto.StateDone {
		t.Errorf("account %+v, %v", a, err)
	}
}

// A coordinator that is stopped before its k-th use of the broker, for every k, and one that goes on, end as one that was left
// alone.
func TestCoordinator_RestartAnywhere(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.roles()
	var want string
	for k := 0; ; k++ {
		ctx, cancel := context.WithCancel(t.Context())
		var ops atomic.Int64
		var last atomic.Value
		first := f.coordinator(func(op string) {
			if k > 0 && ops.Add(1) == int64(k) {
				last.Store(op)
				cancel()
			}
		})
		id := f.submit(int64(k), nil)
		done := make(chan error, 1)
		go func() { done <- first.Run(ctx) }()
		stopped := false
		if k == 0 {
			f.wait(id)
		} else {
			ended := make(chan struct{})
			waitCtx, stopWait := context.WithCancel(ctx)
			go func() {
				defer close(ended)
				for e := range f.s.collections.Watch(waitCtx, id) {
					if e.Value != nil && e.Value.State.Final() {
						return
					}
				}
			}()
			<-ended
			stopped = ctx.Err() != nil
			stopWait()
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatalf("run stopped at %d (%v): %v", k, last.Load(), err)
		}
		if stopped {
			stop := f.start(f.coordinator(nil).Run)
			f.wait(id)
			stop()
		}
		got := strings.ReplaceAll(f.end(id), id, "ID")
		order := strings.Join(append(f.published(id, "dec_tp1_ps1"), f.published(id, "mamba_tp2")...), ", ")
		got += "\n" + order
		if k == 0 {
			want = got
		}
		if got != want {
			t.Fatalf("stopped before operation %d (%v), ended\n%s\nwant\n%s", k, last.Load(), got, want)
		}
		f.empty(id)
		if k > 0 && !stopped {
			t.Logf("stopped at each of %d operations", k-1)
			if k < 20 {
				t.Errorf("only %d operations: the hook is not where it should be", k)
			}
			return
		}
	}
}

func TestCoordinator_TwoAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.roles()
	for i := range 2 {
		c := New(Options{Bus: bustest.Connect(t, f.srv, fmt.Sprintf("c%d", i)), Log: bustest.Log(t), Sweep: 10 * time.Millisecond})
		f.start(c.Run)
	}
	var ids []string
	for seed := range int64(6) {
		ids = append(ids, f.submit(seed, nil))
	}
	for _, id := range ids {
		f.wait(id)
		if got := f.end(id); !strings.HasPrefix(got, doneEnd) {
			t.Errorf("got %s", got)
		}
		if got := f.published(id, "dec_tp1_ps1"); !slices.Equal(got, []string{"t000/dec_tp1_ps1 first", "t001/dec_tp1_ps1"}) {
			t.Errorf("published %q", got)
		}
		f.empty(id)
	}
}

func TestCoordinator_CancelAndRetry(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	release := make(chan struct{})
	f.run = func(ctx context.Context, t *proto.TaskState) *proto.Failure {
		if t.Attempt > 1 {
			return nil
		}
		select { // a long run, which does not look at its record
		case <-release:
		case <-ctx.Done():
		}
		return nil
	}
	f.roles()
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, nil)
	f.waitTask(id, "t000", in(proto.StateRunning))
	if err := RetryJob(t.Context(), f.bus, id); err == nil || !strings.Contains(err.Error(), "has not ended") {
		t.Errorf("retry of a live collection: %v", err)
	}
	if err := CancelJob(t.Context(), f.bus, id); err != nil {
		t.Fatal(err)
	}
	if c := f.wait(id); c.State != proto.StateCancelled {
		t.Errorf("ended %s", f.end(id))
	}
	close(release)
	f.empty(id)
	a, err := Result(t.Context(), f.bus, id)
	if err != nil || a.Outcome != OutcomeCancelled || a.Check() != nil {
		t.Errorf("account %+v, %v", a, err)
	}
	if err := CancelJob(t.Context(), f.bus, id); err == nil {
		t.Error("cancelling what has ended is no error")
	}
	if err := RetryJob(t.Context(), f.bus, id); err != nil {
		t.Fatal(err)
	}
	if c := f.wait(id); c.State != proto.StateDone || c.Cancel {
		t.Errorf("after the retry: %s", f.end(id))
	}
	if err := RetryJob(t.Context(), f.bus, id); err == nil {
		t.Error("retrying what is done is no error")
	}
	if got := f.published(id, "dec_tp1_ps1"); len(got) != 2 || !strings.Contains(got[0], "first") || strings.Contains(got[1], "first") {
		t.Errorf("published %q", got)
	}
}

func TestCoordinator_FailureAndRetry(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.run = func(_ context.Context, t *proto.TaskState) *proto.Failure {
		if t.Task.ID == "t000" && t.Attempt == 1 {
			return proto.Failf(proto.CodeEngineFailed, "the engine ended")
		}
		return nil
	}
	f.failPub = func(p *proto.Publish) *proto.Failure {
		if p.Task == "t002" && p.Attempt == 1 {
			return proto.Failf(proto.CodeDatasetWrite, "no room")
		}
		return nil
	}
	f.roles()
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, nil)
	c := f.wait(id)
	if c.State != proto.StateFailed || c.Failure.Code != proto.CodeEngineFailed || !strings.Contains(c.Failure.Message, "t000 (the engine ended)") ||
		!strings.Contains(c.Failure.Message, "t002 (") || !strings.Contains(c.Failure.Message, "no room") {
		t.Fatalf("ended %s", f.end(id))
	}
	if err := RetryJob(t.Context(), f.bus, id); err != nil {
		t.Fatal(err)
	}
	if c := f.wait(id); c.State != proto.StateDone || c.Failure != nil {
		t.Fatalf("after the retry: %s", f.end(id))
	}
	// t001 was published while t000 had failed, and replaced what was there; the retry of t000 must not replace it.
	want := []string{"t001/dec_tp1_ps1 first", "t000/dec_tp1_ps1 attempt 2"}
	if got := f.published(id, "dec_tp1_ps1"); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	t0 := f.waitTask(id, "t000", in(proto.StateDone))
	if len(t0.Failures) != 1 || t0.Forgiven != 1 || t0.AttemptsLeft() != proto.MaxAttempts || t0.Failures[0].Failure.Code != proto.CodeEngineFailed {
		t.Errorf("history %+v, forgiven %d", t0.Failures, t0.Forgiven)
	}
	a, err := Result(t.Context(), f.bus, id)
	if err != nil || a.Check() != nil || a.Outcome != OutcomeDone || a.Total.Workloads != 4 {
		t.Errorf("account %+v, %v", a, err)
	}
}

// A decision made on a record that moved since is not written over the newer one, though that is known by now.
func TestCoordinator_StaleDecision(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	c := f.coordinator(nil)
	c.store = f.s
	was := &proto.TaskState{State: proto.StateQueued, Task: proto.Task{Collection: "c", ID: "t000", BatchSize: 1,
		Definitions: specFor(proto.EngineSpec{}, nil, planDefs(t)["norm"]).Definitions, Engine: proto.EngineSpec{Kind: proto.EngineSimulate, TP: 1, EP: 1}}}
	newer, next := *was, *was
	newer.State, next.State = proto.StateRunning, proto.StateFailed
	rev, err := f.s.tasks.Create(t.Context(), "c.t000", &newer)
	if err != nil {
		t.Fatal(err)
	}
	inner(c.tasks, "c").put("c.t000", &newer, rev)
	if again, err := c.writeTask(t.Context(), was, &next); err != nil || !again {
		t.Errorf("decide again: %v, %v", again, err)
	}
	if got := f.waitTask("c", "t000", func(*proto.TaskState) bool { return true }); got.State != proto.StateRunning {
		t.Errorf("the newer record was overwritten: %s", got.State)
	}
}

// The queue's message is lost while the task waits.
func TestCoordinator_LostQueueMessage(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, nil)
	subject := proto.TaskSubject(proto.EngineSimulate, id, "t001")
	f.waitMessage(proto.StreamTasks, subject)
	if err := f.bus.Purge(t.Context(), proto.StreamTasks, subject); err != nil {
		t.Fatal(err)
	}
	f.waitMessage(proto.StreamTasks, subject)
	f.roles()
	if c := f.wait(id); c.State != proto.StateDone {
		t.Errorf("ended %s", f.end(id))
	}
}

func (f *fleet) waitMessage(stream, subject string) {
	f.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		n, err := f.bus.CountSubjects(f.t.Context(), stream, subject)
		if err != nil {
			f.t.Fatal(err)
		}
		if n > 0 {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("no message on %s", subject)
		}
	}
}

// A worker dies, and its message is lost with it; three of those are enough.
func TestCoordinator_LostWorker(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, func(c *proto.Collection) { c.BatchSizes = []int{8} })
	for n := 1; n <= proto.MaxLost; n++ {
		f.waitTask(id, "t000", in(proto.StateQueued))
		f.waitMessage(proto.StreamTasks, proto.TaskSubject(proto.EngineSimulate, id, "t000"))
		f.takeAndDie(id, "t000", time.Now().Add(-2*proto.HeartbeatTimeout), true)
	}
	got := f.waitTask(id, "t000", in(proto.StateFailed))
	if got.Failure.Code != proto.CodeAttemptsExhausted || len(got.Failures) != proto.MaxLost || got.Failures[0].Failure.Code != proto.CodeAttemptLost {
		t.Errorf("failure %v, history %v", got.Failure, got.Failures)
	}
}

// takeAndDie makes a task running under a worker that last gave a sign at heartbeat.
func (f *fleet) takeAndDie(id, task string, heartbeat time.Time, purge bool) {
	f.t.Helper()
	key := proto.TaskKey(id, task)
	s, rev, err := f.s.tasks.Get(f.t.Context(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	s.State, s.Attempt, s.Worker, s.Heartbeat = proto.StateRunning, s.Attempt+1, "gone", heartbeat
	if _, err := f.s.tasks.Update(f.t.Context(), key, s, rev); err != nil {
		f.t.Fatal(err)
	}
	if purge {
		if err := f.bus.Purge(f.t.Context(), proto.StreamTasks, proto.TaskSubject(proto.EngineSimulate, id, task)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// A silent owner whose message is still in the queue, and a lively one without a message, are left alone.
func TestCoordinator_RescuesNobodyElse(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, nil)
	for _, task := range []string{"t000", "t001", "t002"} {
		f.waitMessage(proto.StreamTasks, proto.TaskSubject(proto.EngineSimulate, id, task))
	}
	f.takeAndDie(id, "t000", time.Now().Add(-time.Hour), false)
	f.takeAndDie(id, "t001", time.Now().Add(time.Hour), true)
	f.takeAndDie(id, "t002", time.Now().Add(-time.Hour), true)
	f.waitTask(id, "t002", in(proto.StateQueued)) // a sweep has passed
	for _, task := range []string{"t000", "t001"} {
		if got := f.waitTask(id, task, func(*proto.TaskState) bool { return true }); got.State != proto.StateRunning {
			t.Errorf("%s is %s", task, got.State)
		}
	}
}
