package coordinator

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tracefleet/tracefleet/proto"
)

func (m *model) put(was, is *proto.TaskState) {
	if is.Task.Evaluate != nil {
		m.r.evals[is.Task.ID] = is
		return
	}
	m.r.tasks[slices.Index(m.r.tasks, was)] = is
}

// pusher lets the publisher do one step of a pull request, as it would: what is done already, or is of an earlier round, is nothing to do.
func (m *model) pusher(t *rapid.T, works func(string) bool) {
	var subjects []string
	for s := range m.pushes {
		subjects = append(subjects, s)
	}
	if len(subjects) == 0 {
		return
	}
	slices.Sort(subjects)
	subject := rapid.SampledFrom(subjects).Draw(t, "push")
	p := m.pushes[subject]
	if rapid.Bool().Draw(t, "acknowledged") {
		delete(m.pushes, subject) // else it comes once more
	}
	next := &proto.PushState{Collection: "c", Index: p.Index, Definition: p.Definition.Name, Round: p.Round}
	if had := m.r.pushes[p.Index]; had != nil {
		if had.Round != p.Round || had.Ended() || p.Step == proto.PushCheck && had.Step != "" || p.Step == proto.PushBatch && len(had.Workloads) >= len(p.Workloads) ||
			p.Step == proto.PushPrepare && had.Evaluate != nil {
			return
		}
		*next = *had
	}
	if !works("hub") {
		next.Failure = proto.Failf(proto.CodeHubFailed, "no answer")
		m.r.pushes[p.Index] = next
		return
	}
	switch p.Step {
	case proto.PushBatch:
		for _, u := range next.Workloads {
			if !slices.Contains(p.Workloads, u) {
				t.Fatalf("%v is pushed over %v", p.Workloads, next.Workloads)
			}
		}
		next.Workloads, next.Skipped = nil, nil
		for _, u := range p.Workloads {
			if strings.Contains(u, m.theirs) {
				next.Skipped = append(next.Skipped, u)
			} else {
				next.Workloads = append(next.Workloads, u)
			}
		}
	case proto.PushPrepare:
		if len(next.Workloads) == 0 {
			t.Fatalf("nothing is to be evaluated: %+v", next)
		}
		next.Evaluate = &proto.Evaluate{Solution: "s", Workloads: next.Workloads, Definition: p.Definition}
	case proto.PushConclude:
		next.Evaluation = &proto.Evaluation{Skipped: true}
		if !m.r.collection.Spec.Publish.NoEval {
			e := m.r.evals[proto.EvaluationID(p.Index)]
			if e == nil || e.Attempt != p.Evaluation || !e.State.Final() {
				t.Fatalf("asked to judge attempt %d of %+v", p.Evaluation, e)
			}
			next.Evaluation = &proto.Evaluation{Attempt: p.Evaluation, Of: len(next.Workloads), Passed: len(next.Workloads)}
			if e.State != proto.StateDone || !works("baseline") {
				next.Evaluation.Passed--
			}
		}
		next.Open = next.Evaluation.OK()
	}
	next.Step = p.Step
	m.r.pushes[p.Index] = next
}

// Whatever crashes and fails: a pull request leaves its draft only with every batch in it, and after an evaluation that passed; and retries
// bring all of them there.
func TestDecide_Pushes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tasks := drawTasks(t)
		m := newModel(tasks)
		m.theirs = rapid.SampledFrom([]string{"none", "t000", "t"}).Draw(t, "in the repository")
		spec := &m.r.collection.Spec
		spec.Publish.Repo, spec.Publish.NoEval = "owner/set", rapid.Bool().Draw(t, "no-eval")
		for _, d := range []string{"a", "b", "c"} { // whether a task holds it or not
			spec.Definitions = append(spec.Definitions, proto.DefinitionRef{Name: d})
		}
		for try := 0; ; try++ {
			m.run(t, try < 3)
			if m.r.collection.State == proto.StateDone {
				break
			}
			if m.r.collection.Failure == nil {
				t.Fatalf("ended %s without saying why", m.r.collection.State)
			}
			if try > 3 {
				t.Fatalf("ended %s though nothing failed: %v", m.r.collection.State, m.r.collection.Failure)
			}
			next := *m.r.collection
			next.Retry = true
			m.r.collection = &next
		}
		for i, d := range m.r.collection.Spec.Definitions {
			want, held := m.r.written(d.Name)
			p := m.r.pushes[i]
			switch {
			case held == 0:
				if p != nil {
					t.Fatalf("%s was pushed, which no task holds: %+v", d.Name, p)
				}
			case len(p.Workloads) > 0 && (!p.Open || !p.Evaluation.OK()):
				t.Fatalf("%s ended as %+v", d.Name, p)
			case len(p.Workloads) == 0 && (p.Open || p.Evaluate != nil || p.Evaluation != nil):
				t.Fatalf("%s has nothing to push, and ended as %+v", d.Name, p)
			case !slices.Equal(slices.Sorted(slices.Values(slices.Concat(p.Workloads, p.Skipped))), slices.Sorted(slices.Values(want))):
				t.Fatalf("the pull request of %s has %v without %v, the dataset %v", d.Name, p.Workloads, p.Skipped, want)
			}
		}
	})
}

// A part of what was asked for stays a draft, a refused evaluation ends the collection as such, and a retry evaluates again.
func TestDecide_Gate(t *testing.T) {
	t.Parallel()
	m := newModel([][]string{{"a"}})
	c := m.r.collection
	c.Spec.Publish.Repo, c.Spec.Definitions = "owner/set", []proto.DefinitionRef{{Name: "a"}}
	m.r.tasks[0].State, m.r.tasks[0].Attempt = proto.StateDone, 1
	m.r.pubs["c.t000.0"] = &proto.Publication{Collection: "c", Task: "t000", Attempt: 1, Definition: "a", State: proto.StateDone, Workloads: []string{"u"}}
	m.r.pushes[0] = &proto.PushState{
		Collection: "c", Definition: "a", Step: proto.PushConclude, Workloads: []string{"u"}, Evaluate: &proto.Evaluate{},
		Evaluation: &proto.Evaluation{Attempt: 1, Of: 1, Refused: []proto.RefusedEvaluation{{Workload: "u", Status: "INCORRECT_NUMERICAL"}}},
	}
	m.r.evals["e000"] = &proto.TaskState{Task: *evaluationTask(&c.Spec, 0, &proto.Evaluate{}), State: proto.StateDone, Attempt: 1}
	steps := decide(m.r, m.now)
	if len(steps) != 1 || steps[0].collection == nil || steps[0].collection.Failure.Code != proto.CodeEvaluationRefused {
		t.Fatalf("steps %+v", steps)
	}
	m.r.collection = steps[0].collection
	m.r.collection.Retry, m.r.collection.State = true, proto.StateRunning
	steps = decide(m.r, m.now)
	if len(steps) != 2 || steps[0].task == nil || steps[0].task.State != proto.StateQueued || steps[1].reopen == nil || steps[1].reopen.Round != 1 || steps[1].reopen.Evaluation != nil {
		t.Fatalf("steps %+v", steps)
	}

	// One of two batch sizes failed: nothing more is asked for.
	m = newModel([][]string{{"a"}, {"a"}})
	m.r.collection.Spec.Publish.Repo, m.r.collection.Spec.Definitions = "owner/set", []proto.DefinitionRef{{Name: "a"}}
	m.r.tasks[0].State, m.r.tasks[0].Attempt = proto.StateDone, 1
	m.r.tasks[1].State, m.r.tasks[1].Failure = proto.StateFailed, proto.Failf(proto.CodeOutOfMemory, "it did not fit")
	m.r.pubs["c.t000.0"] = &proto.Publication{Collection: "c", Task: "t000", Attempt: 1, Definition: "a", State: proto.StateDone, Workloads: []string{"u"}}
	m.r.pushes[0] = &proto.PushState{Collection: "c", Definition: "a", Step: proto.PushBatch, Workloads: []string{"u"}}
	steps = decide(m.r, m.now)
	if len(steps) != 1 || steps[0].collection == nil || !strings.Contains(steps[0].collection.Failure.Message, "did not fit") {
		t.Fatalf("steps %+v", steps)
	}
}

// No GPU runs before the repository was asked, nor for what it does not take.
func TestDecide_CheckFirst(t *testing.T) {
	t.Parallel()
	m := newModel([][]string{{"a"}, {"a", "b"}})
	m.r.collection.Spec.Publish.Repo, m.r.collection.Spec.Definitions = "owner/set", []proto.DefinitionRef{{Name: "a"}, {Name: "b"}}
	queued := func() (ids []string) {
		for _, s := range decide(m.r, m.now) {
			switch {
			case s.queue != nil:
				ids = append(ids, s.queue.Task.ID)
			case s.task != nil && s.task.State == proto.StateFailed:
				ids = append(ids, s.task.Task.ID+" "+string(s.task.Failure.Code))
			}
		}
		return ids
	}
	conflict := &proto.PushState{Collection: "c", Definition: "a", Failure: proto.Failf(proto.CodeHubConflict, "another definition")}
	for _, step := range []struct {
		index int
		push  *proto.PushState
		want  []string
	}{
		{0, nil, nil},
		{0, &proto.PushState{Collection: "c", Definition: "a", Step: proto.PushCheck}, []string{"t000"}},
		{1, &proto.PushState{Collection: "c", Index: 1, Definition: "b", Step: proto.PushCheck}, []string{"t000", "t001"}},
		{0, conflict, []string{"t000 hub_conflict", "t001"}},
		{1, &proto.PushState{Collection: "c", Index: 1, Definition: "b", Failure: conflict.Failure}, []string{"t000 hub_conflict", "t001 hub_conflict"}},
	} {
		if step.push != nil {
			m.r.pushes[step.index] = step.push
		}
		if got := queued(); !slices.Equal(got, step.want) {
			t.Errorf("after %+v: %v, want %v", step.push, got, step.want)
		}
	}
}
