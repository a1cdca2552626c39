package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tracefleet/tracefleet/proto"
)

// model is a collection without a broker: decide's steps are applied to maps, and other roles are moves that may happen at any
// time. A step may be lost, which is what a crash before it is.
type model struct {
	r      records
	queued map[string]bool // tasks whose message is in the queue
	asked  map[string]*proto.Publish
	order  map[string][]string // by definition: tasks in the order they were published
	firsts map[string]int
	now    time.Time

	pushes map[string]*proto.Push // asked for, by subject
	theirs string                 // the repository has the content of workloads whose uuid has this in it
}

func newModel(definitions [][]string) *model {
	m := &model{queued: map[string]bool{}, asked: map[string]*proto.Publish{}, order: map[string][]string{}, firsts: map[string]int{}, now: time.Unix(0, 0), pushes: map[string]*proto.Push{}, theirs: "none"}
	m.r = records{evals: map[string]*proto.TaskState{}, pushes: map[int]*proto.PushState{}, pubs: map[string]*proto.Publication{}, verdicts: map[string]int{}, collection: &proto.CollectionState{State: proto.StateRunning}}
	m.r.collection.Spec.ID = "c"
	for i, defs := range definitions {
		t := &proto.TaskState{State: proto.StateQueued, Task: proto.Task{Collection: "c", ID: fmt.Sprintf("t%03d", i), Index: i}}
		for _, d := range defs {
			t.Task.Definitions = append(t.Task.Definitions, proto.DefinitionRef{Name: d})
		}
		m.r.collection.Tasks = append(m.r.collection.Tasks, t.Task.ID)
		m.r.tasks = append(m.r.tasks, t)
	}
	return m
}

// apply does a step, as the role would.
func (m *model) apply(t *rapid.T, s step) {
	switch {
	case s.plan:
		t.Fatalf("asked to plan what is planned")
	case s.collection != nil:
		m.r.collection = s.collection
	case s.task != nil:
		if !s.was.State.CanMove(s.task.State) && s.was.State != s.task.State {
			t.Fatalf("task %s moves from %s to %s", s.task.Task.ID, s.was.State, s.task.State)
		}
		switch i := slices.Index(m.r.tasks, s.was); {
		case s.was.Task.Evaluate != nil && m.r.evals[s.was.Task.ID] == s.was:
			m.r.evals[s.was.Task.ID] = s.task
		case i < 0:
			return // a conflict
		default:
			m.r.tasks[i] = s.task
		}
		if len(s.purge) > 0 {
			delete(m.queued, s.task.Task.ID)
			for key, p := range m.asked {
				if p.Task == s.task.Task.ID {
					delete(m.asked, key)
				}
			}
		}
	case s.queue != nil:
		m.queued[s.queue.Task.ID] = true
	case s.push != nil:
		m.pushes[proto.PushSubject(s.push)] = s.push
	case s.evaluate != nil:
		if m.r.evals[s.evaluate.ID] == nil {
			m.r.evals[s.evaluate.ID] = &proto.TaskState{Task: *s.evaluate, State: proto.StateQueued}
		}
	case s.reopen != nil:
		m.r.pushes[s.reopen.Index] = s.reopen
	case s.publish != nil:
		m.asked[proto.PublicationKey("c", s.publish.Task, s.publish.Index)] = s.publish
	}
}

// outside lets another role make a move, if it can.
func (m *model) outside(t *rapid.T, failures bool) {
	works := func(what string) bool { return !failures || rapid.IntRange(0, 4).Draw(t, what) > 0 }
	switch rapid.IntRange(0, 4).Draw(t, "who") {
	case 4:
		m.pusher(t, works)
	case 0: // a worker takes a task
		for _, s := range m.r.all() {
			if s.State == proto.StateQueued && m.queued[s.Task.ID] {
				next := *s
				next.State, next.Attempt, next.Heartbeat = proto.StateRunning, s.Attempt+1, m.now
				m.put(s, &next)
				return
			}
		}
	case 1: // a worker ends, in any order
		if s := rapid.SampledFrom(m.r.all()).Draw(t, "task"); s.State == proto.StateRunning {
			next := *s
			next.State, next.Counts.Manifests = proto.StateCollected, 1
			if !works("engine") {
				next.State, next.Failure = proto.StateFailed, proto.Failf(proto.CodeEngineFailed, "it failed")
			}
			delete(m.queued, s.Task.ID)
			m.put(s, &next)
		}
	case 2: // a sanitizer
		for _, s := range m.r.tasks {
			if s.State == proto.StateCollected {
				m.r.verdicts[s.Task.ID] = 1
			}
		}
	case 3: // the publisher takes any message
		var keys []string
		for key := range m.asked {
			keys = append(keys, key)
		}
		if len(keys) == 0 {
			return
		}
		slices.Sort(keys)
		key := rapid.SampledFrom(keys).Draw(t, "publication")
		p := m.asked[key]
		delete(m.asked, key)
		if had := m.r.pubs[key]; had != nil && had.Attempt == p.Attempt {
			return // sent twice
		}
		pub := &proto.Publication{Collection: "c", Task: p.Task, Index: p.Index, Attempt: p.Attempt, Definition: p.Definition.Name, State: proto.StateDone}
		if !works("publisher") {
			pub.State, pub.Failure = proto.StateFailed, proto.Failf(proto.CodeDatasetWrite, "no room")
		}
		if pub.State == proto.StateDone && (!failures || rapid.Bool().Draw(t, "workloads")) {
			pub.Workloads = []string{"u-" + key}
		}
		m.r.pubs[key] = pub
		if pub.State == proto.StateDone {
			m.order[p.Definition.Name] = append(m.order[p.Definition.Name], p.Task)
			if p.First && len(pub.Workloads) > 0 {
				m.firsts[p.Definition.Name]++
			}
		}
	}
}

// run goes on until the collection is final.
func (m *model) run(t *rapid.T, failures bool) {
	for range 3000 {
		m.now = m.now.Add(time.Second)
		for _, s := range decide(m.r, m.now) {
			if rapid.IntRange(0, 3).Draw(t, "crash") == 0 {
				break
			}
			m.apply(t, s)
		}
		if m.r.collection.State.Final() && !m.r.collection.Retry {
			return
		}
		m.outside(t, failures)
	}
	t.Fatalf("it does not end: %+v", m.r.collection)
}

func drawTasks(t *rapid.T) [][]string {
	return rapid.SliceOfN(rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3, rapid.ID), 1, 5).Draw(t, "tasks")
}

// Whatever crashes, and in whatever order workers and the publisher come: every definition of every task is published once, in
// planned order, and only the first may replace.
func TestDecide_PublishesInOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		m := newModel(tasks)
		m.run(t, false)
		if m.r.collection.State != proto.StateDone {
			t.Fatalf("ended %s", m.r.collection.State)
		}
		want := map[string][]string{}
		for i, defs := range tasks {
			for _, d := range defs {
				want[d] = append(want[d], fmt.Sprintf("t%03d", i))
			}
		}
		for d, order := range want {
			if !slices.Equal(m.order[d], order) || m.firsts[d] != 1 {
				t.Fatalf("%s was published as %v (%d first), want %v", d, m.order[d], m.firsts[d], order)
			}
		}
	})
}

// With failures it still ends, says so, and a retry (or several) brings it to done, replacing at most once.
func TestDecide_FailsAndRetries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(drawTasks(t))
		cancelled := rapid.Bool().Draw(t, "cancel")
		for try := 0; ; try++ {
			if cancelled && try == 0 {
				next := *m.r.collection
				next.Cancel = true
				m.r.collection = &next
			}
			m.run(t, try < 3)
			failed := slices.ContainsFunc(m.r.tasks, func(s *proto.TaskState) bool { return s.State != proto.StateDone })
			if failed == (m.r.collection.State == proto.StateDone) {
				t.Fatalf("collection is %s, a task that is not done: %v", m.r.collection.State, failed)
			}
			if !failed {
				break
			}
			if try > 3 {
				t.Fatalf("ended %s though nothing failed: %v", m.r.collection.State, m.r.collection.Failure)
			}
			next := *m.r.collection
			next.Retry = true
			m.r.collection = &next
		}
		for d, n := range m.firsts {
			if n > 1 {
				t.Fatalf("%s was replaced %d times", d, n)
			}
		}
	})
}

// A task's end may be heard of before what it published: until then nobody knows whether the next batch is the first to write.
func TestDecide_WaitsForWhatWasPublished(t *testing.T) {
	t.Parallel()
	m := newModel([][]string{{"a"}, {"a"}})
	m.r.tasks[0].State, m.r.tasks[0].Attempt, m.r.tasks[0].Published = proto.StateDone, 1, 1
	m.r.tasks[1].State, m.r.tasks[1].Attempt = proto.StatePublishing, 1
	if steps := decide(m.r, m.now); len(steps) != 0 {
		t.Fatalf("steps %+v", steps)
	}
	m.r.pubs["c.t000.0"] = &proto.Publication{Collection: "c", Task: "t000", Attempt: 1, Definition: "a", State: proto.StateDone, Workloads: []string{"u"}}
	if steps := decide(m.r, m.now); len(steps) != 1 || steps[0].publish == nil || steps[0].publish.First {
		t.Fatalf("steps %+v", steps)
	}
}

func TestDecide_EndedIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, s := range []proto.State{proto.StateDone, proto.StateFailed, proto.StateCancelled} {
		m := newModel([][]string{{"a"}})
		m.r.collection.State, m.r.collection.Cancel = s, true // cancelled too late
		if steps := decide(m.r, m.now); len(steps) != 0 {
			t.Errorf("%s: %+v", s, steps)
		}
	}
}

func TestDecide_CancelWinsOverRetry(t *testing.T) {
	t.Parallel()
	m := newModel([][]string{{"a"}, {"b"}})
	m.r.collection.Retry, m.r.collection.Cancel = true, true
	m.r.tasks[0].State = proto.StateFailed
	steps := decide(m.r, m.now)
	if len(steps) != 1 || steps[0].task == nil || steps[0].task.State != proto.StateCancelled || steps[0].task.Task.ID != "t001" {
		t.Errorf("steps %+v", steps)
	}
	var purged []string
	for _, p := range steps[0].purge {
		purged = append(purged, p.subject)
	}
	if got := strings.Join(purged, " "); !strings.Contains(got, "tf.tasks..c.t001") || !strings.Contains(got, "tf.publish.c.t001.0") {
		t.Errorf("purged %s", got)
	}
}

// A retry is advised only where it can help: it does not change what the collection itself states.
func TestDecide_TaskFailed_AdvisesARetryThatCanHelp(t *testing.T) {
	t.Parallel()
	for code, advised := range map[proto.Code]bool{proto.CodeBadCollection: false, proto.CodeDiskFull: true} {
		m := newModel([][]string{{"a"}})
		m.r.tasks[0].State, m.r.tasks[0].Failure = proto.StateFailed, proto.Failf(code, "no").WithHint("leave --recorded-model out")
		hint := m.r.closed(m.now).Failure.Hint
		if !strings.Contains(hint, "leave --recorded-model out") || strings.Contains(hint, "jobs retry") != advised {
			t.Errorf("%s: %s", code, hint)
		}
	}
}
