package coordinator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/proto"
)

// Pull requests, one a definition: what the records ask for next. The publisher does each step and writes it down.
//
//	check ──▶ batch, as batches are published ──▶ prepare ──▶ the evaluation, a task ──▶ conclude
//	                                        └── --no-eval, --no-push ──────────────────────▲

// all gives the planned tasks, then the evaluations.
func (r *records) all() []*proto.TaskState {
	list := slices.Clone(r.tasks)
	for _, id := range slices.Sorted(maps.Keys(r.evals)) {
		list = append(list, r.evals[id])
	}
	return list
}

// pushing gives the steps of all pull requests, and whether none of them can go on by itself.
func (r *records) pushing() (steps []step, settled bool) {
	settled = true
	if r.collection.Spec.Publish.Repo == "" {
		return nil, true
	}
	for i := range r.collection.Spec.Definitions {
		more, rests := r.pushed(i)
		steps, settled = append(steps, more...), settled && rests
	}
	return steps, settled
}

// pushed gives the next step of a definition's pull request; rests says that there will be none without a retry.
func (r *records) pushed(index int) (steps []step, rests bool) {
	spec, d := r.collection.Spec, r.collection.Spec.Definitions[index]
	p := r.pushes[index]
	written, held := r.written(d.Name)
	ask := func(s proto.PushStep, round, evaluation uint32) []step {
		m := &proto.Push{Collection: spec.ID, Index: index, Definition: d, Step: s, Round: round, Evaluation: evaluation}
		if s != proto.PushCheck {
			m.Workloads = written
		}
		return []step{{push: m}}
	}
	switch {
	case held == 0 || p != nil && p.Ended():
		return nil, true // no task of the collection holds it, or it is over
	case p == nil:
		return ask(proto.PushCheck, 0, 0), false
	case p.Step == "":
		return ask(proto.PushCheck, p.Round, 0), false
	case len(written) > p.Handled():
		return ask(proto.PushBatch, p.Round, 0), false
	}
	for _, t := range r.tasks {
		if !holds(t, d.Name) {
			continue
		}
		if !t.State.Final() {
			return nil, false
		}
		if t.State != proto.StateDone {
			return nil, true // a part of what was asked for: it stays a draft, and a retry brings the rest
		}
	}
	switch e := r.evals[proto.EvaluationID(index)]; {
	case len(p.Workloads) == 0:
		return nil, true // nothing was collected, or nothing that the repository has not
	case spec.Publish.NoEval || spec.Publish.NoPush:
		return ask(proto.PushConclude, p.Round, 0), false
	case p.Evaluate == nil:
		return ask(proto.PushPrepare, p.Round, 0), false
	case e == nil:
		return []step{{evaluate: evaluationTask(&spec, index, p.Evaluate)}}, false
	case e.State.Final():
		return ask(proto.PushConclude, p.Round, e.Attempt), false
	}
	return nil, false
}

// unchecked reports whether a task has to wait because it is not known yet that the repository takes its definitions; the failure is why it
// takes none of them, so that no GPU need run for it.
func (r *records) unchecked(t *proto.TaskState) (wait bool, why *proto.Failure) {
	if r.collection.Spec.Publish.Repo == "" || t.Task.Evaluate != nil {
		return false, nil
	}
	refused := 0
	for i, d := range r.collection.Spec.Definitions {
		if !holds(t, d.Name) {
			continue
		}
		switch p := r.pushes[i]; {
		case p == nil || p.Step == "" && p.Failure == nil:
			wait = true
		case p.Step == "":
			refused++
			why = p.Failure
		}
	}
	if refused < len(t.Task.Definitions) {
		why = nil
	}
	return wait, why
}

func holds(t *proto.TaskState, definition string) bool {
	return slices.ContainsFunc(t.Task.Definitions, func(d proto.DefinitionRef) bool { return d.Name == definition })
}

// written gives the uuids that the collection published of a definition, in planned order, and how many tasks hold it.
func (r *records) written(definition string) (uuids []string, tasks int) {
	add := func(more []string) {
		for _, u := range more {
			if !slices.Contains(uuids, u) {
				uuids = append(uuids, u)
			}
		}
	}
	for _, t := range r.tasks {
		if !holds(t, definition) {
			continue
		}
		tasks++
		for _, w := range t.Written {
			if w.Definition == definition {
				add(w.Workloads)
			}
		}
		for i, d := range t.Task.Definitions {
			if pub := r.ended(t, i); d.Name == definition && pub != nil && pub.State == proto.StateDone {
				add(pub.Workloads)
			}
		}
	}
	return uuids, tasks
}

// evaluationTask is the task that runs the baseline on what a pull request holds.
func evaluationTask(spec *proto.Collection, index int, e *proto.Evaluate) *proto.Task {
	return &proto.Task{
		Collection: spec.ID, ID: proto.EvaluationID(index), Index: index, Definitions: []proto.DefinitionRef{spec.Definitions[index]},
		Engine: proto.EngineSpec{Kind: proto.EngineEvaluate, TP: 1, EP: 1}, Dump: proto.DumpSpec{What: proto.DumpNone, TraceDump: true}, Evaluate: e,
	}
}

// reopened gives the steps that let pull requests go on which failed, were refused, or were only planned: their records forget it, and an
// evaluation that ran is run again. The evaluations that failed are queued like every task.
func (r *records) reopened() []step {
	var steps []step
	for _, i := range slices.Sorted(maps.Keys(r.pushes)) {
		p := r.pushes[i]
		refused := p.Step == proto.PushConclude && !p.Evaluation.OK()
		unproven := p.Step == proto.PushConclude && p.Unproven > 0
		planned := len(p.Plan) > 0 && !r.collection.Spec.Publish.NoPush // it was only printed
		if p.Failure == nil && !refused && !unproven && !planned {
			continue
		}
		next := *p
		if planned {
			next = proto.PushState{Collection: p.Collection, Index: p.Index, Definition: p.Definition, Round: p.Round}
		}
		next.Round, next.Failure = p.Round+1, nil
		if next.Step != "" {
			next.Step = proto.PushCheck // the repository, the token and the pull request are looked at again by what comes next
		}
		if refused {
			next.Evaluation = nil
			if e := r.evals[proto.EvaluationID(i)]; e != nil && e.State == proto.StateDone {
				steps = append(steps, step{task: r.requeued(e), was: e, purge: leftovers(e)})
			}
		}
		steps = append(steps, step{reopen: &next})
	}
	return steps
}

// pushFailure says why not every pull request is what was asked for; nil: they all are.
func (r *records) pushFailure() *proto.Failure {
	var failed, refused, unproven []string
	stays := "the pull request stays a draft"
	var first *proto.Failure
	for _, i := range slices.Sorted(maps.Keys(r.pushes)) {
		switch p := r.pushes[i]; {
		case p.Failure != nil:
			failed = append(failed, p.Definition)
			if first == nil {
				first = p.Failure
			}
		case p.Step == proto.PushConclude && !p.Evaluation.OK():
			refused = append(refused, p.Definition)
			if p.Held {
				stays = "nothing is added to what is open"
			}
		case p.Step == proto.PushConclude && p.Unproven > 0:
			unproven = append(unproven, fmt.Sprintf("%s (%d)", p.Definition, p.Unproven))
		}
	}
	id := r.collection.Spec.ID
	switch {
	case first != nil:
		f := proto.Failf(first.Code, "%s could not be pushed: %s", strings.Join(failed, ", "), first.Message)
		f.Hint = strings.TrimPrefix(first.Hint+fmt.Sprintf("; the workloads are in the dataset directory, and `tracefleet jobs retry %s` pushes again", id), "; ")
		return f
	case len(refused) > 0:
		return proto.Failf(proto.CodeEvaluationRefused, "the baseline did not pass on every workload of %s: %s", strings.Join(refused, ", "), stays).
			WithHint("`tracefleet jobs show %s` names them; `tracefleet jobs retry %s` evaluates again", id, id)
	case len(unproven) > 0:
		return proto.Failf(proto.CodeEvaluationRefused, "the pull request stays a draft for workloads of other runs in it that have no trace of a baseline that passed: %s",
			strings.Join(unproven, ", ")).WithHint("retry the runs that collected them, then `tracefleet jobs retry %s`", id)
	}
	return nil
}
