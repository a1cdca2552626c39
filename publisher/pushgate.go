package publisher

// The evaluation's side of a pull request: what came of it, and whether the pull request leaves its draft.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/gate"
	"github.com/tracefleet/tracefleet/publisher/judge"
	"github.com/tracefleet/tracefleet/publisher/push"
)

// conclude judges the evaluation; the traces of one that passed follow in a last commit, and the pull request leaves its draft.
func (w *pushWork) conclude(ctx context.Context) error {
	traces := push.Lines{Path: "traces/baseline/" + w.def.OpType + "/" + w.def.Name + ".jsonl", Key: push.TraceKey}
	if w.m.Evaluation == 0 {
		w.state.Evaluation = &proto.Evaluation{Skipped: true, Of: len(w.state.Workloads)}
	} else {
		verdict, err := w.evaluation(ctx)
		if err != nil {
			return err
		}
		traces.Add = verdict
		if err := w.save(ctx, w.state); err != nil { // what follows may fail, and this is known
			return err
		}
	}
	if w.spec.Publish.NoPush {
		last := "evaluate the baseline on every workload, then open the pull request"
		if w.spec.Publish.NoEval {
			last = "open the pull request without an evaluation"
		}
		w.state.Plan = append(w.state.Plan, last)
		return nil
	}
	simulated, err := w.simulated()
	if err != nil {
		return err
	}
	if err := w.aim(ctx, saying(simulated)); err != nil {
		return err
	}
	e := w.state.Evaluation
	if w.state.Held && !e.OK() {
		w.p.pushEvent(w.m, proto.LevelError, fmt.Sprintf("%s: the baseline passed %d of %d workloads; none of them is added to %s, which is open",
			w.def.Name, e.Passed, e.Of, w.state.URL), nil)
		return nil
	}
	if w.state.Held {
		if err := w.again(ctx, &traces); err != nil || len(w.state.Workloads) == 0 {
			return err
		}
	}
	if w.state.Unproven, err = w.unproven(ctx, traces.Path); err != nil {
		return err
	}
	c, err := w.content(w.state.Workloads)
	if err != nil {
		return err
	}
	if err := w.write(ctx, c, simulated); err != nil {
		return err
	}
	w.state.Held = false
	summary := fmt.Sprintf("Add workloads of %s", w.def.Name)
	if len(traces.Add) > 0 {
		c.Lines = append(c.Lines, traces)
		summary = fmt.Sprintf("Add the baseline's traces of %s", w.def.Name)
	}
	if err := w.pull.Sync(ctx, summary, c); err != nil {
		return err
	}
	return w.leaveDraft(ctx)
}

// again applies the checks to what was held, since others may have added to the pull request in the meantime: what they have brought is left out.
func (w *pushWork) again(ctx context.Context, traces *push.Lines) error {
	held := w.state.Workloads
	w.state.Workloads = nil
	if err := w.judge(ctx); err != nil {
		w.state.Workloads = held
		return err
	}
	out := func(u string) bool { return slices.Contains(w.state.Skipped, u) }
	w.state.Workloads = slices.DeleteFunc(held, out)
	traces.Add = slices.DeleteFunc(traces.Add, func(line []byte) bool {
		uuid, err := push.WorkloadKey(line)
		return err != nil || out(uuid)
	})
	w.state.Held = len(w.state.Workloads) > 0
	w.state.Evaluation.Of = len(w.state.Workloads) // all of them passed
	w.state.Evaluation.Passed = w.state.Evaluation.Of
	return nil
}

// leaveDraft opens the pull request, unless something keeps it a draft.
func (w *pushWork) leaveDraft(ctx context.Context) error {
	e, stays := w.state.Evaluation, ""
	switch {
	case !e.OK():
		stays = fmt.Sprintf("the baseline passed %d of %d workloads", e.Passed, e.Of)
	case w.state.Unproven > 0:
		stays = fmt.Sprintf("%d workloads of other runs in it have no trace of a baseline that passed", w.state.Unproven)
	}
	if stays != "" {
		end := "stays a draft"
		if w.state.Open {
			end = "is open"
		}
		w.p.pushEvent(w.m, proto.LevelError, fmt.Sprintf("%s: %s; %s %s", w.def.Name, stays, w.state.URL, end), nil)
		return nil
	}
	if !w.state.Open { // two that are opened in the same moment are not kept apart: the Hub has no lock
		rival, err := w.pull.Rival(ctx)
		if err != nil {
			return err
		}
		if rival.Num != 0 {
			return proto.Failf(proto.CodeHubPR, "pull request %d of %s is open too, and of the same definition: only one of them can be merged, so that %d stays a draft",
				rival.Num, w.hub.Repo.ID(), w.state.PR).WithHint("close one of the two: where it is %d, its workloads go into a new one", w.state.PR)
		}
	}
	if err := w.pull.Open(ctx); err != nil {
		return err
	}
	w.p.pushEvent(w.m, proto.LevelInfo, fmt.Sprintf("%s: %s is open", w.def.Name, w.state.URL), nil)
	return nil
}

// unproven counts the draft's workloads that are not this collection's and have no trace of the baseline that passed. That the user wants no
// evaluation excuses this collection's alone.
func (w *pushWork) unproven(ctx context.Context, traces string) (int, error) {
	if w.state.Open {
		return 0, nil
	}
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(w.there)), func(uuid string) bool { return slices.Contains(w.state.Workloads, uuid) })
	if len(others) == 0 || w.solution == nil {
		return len(others), nil
	}
	proofs, err := w.pull.Added(ctx, traces, push.TraceKey)
	if err != nil {
		return 0, err
	}
	list, err := gate.Judge(gate.Want{Definition: w.def.Name, Solution: w.solution.Name, Workloads: others},
		[]gate.File{{Name: traces, Data: append(append([]byte{'['}, bytes.Join(slices.Collect(maps.Values(proofs)), []byte{','})...), ']')}})
	if err != nil {
		return 0, err
	}
	return len(list.Refused), nil
}

// evaluation judges what the evaluation's task made, writes it to the state, and gives the trace lines to publish: none unless all passed.
func (w *pushWork) evaluation(ctx context.Context) ([][]byte, error) {
	task, _, err := w.p.tasks.Get(ctx, proto.TaskKey(w.m.Collection, proto.EvaluationID(w.m.Index)))
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", w.def.Name, err)
	}
	w.state.Evaluation = &proto.Evaluation{Attempt: w.m.Evaluation, Of: len(w.state.Workloads)}
	e := w.state.Evaluation
	if task.State != proto.StateDone {
		why := "the evaluation was " + string(task.State)
		if task.Failure != nil {
			why = task.Failure.Error()
		}
		for _, u := range w.state.Workloads {
			e.Refused = append(e.Refused, proto.RefusedEvaluation{Workload: u, Status: gate.Missing, Log: why})
		}
		return nil, nil
	}
	var files []gate.File
	var outputs []judge.Output
	for _, h := range task.Harvest {
		data, err := w.p.o.Bus.Definition(ctx, h.Digest)
		if err != nil {
			return nil, fmt.Errorf("push %s: %s: %w", w.def.Name, h.File, err)
		}
		switch h.File {
		case proto.TracesFile:
			files = append(files, gate.File{Name: h.File, Data: data})
		case proto.OutputsFile:
			if err := json.Unmarshal(data, &outputs); err != nil {
				return nil, proto.Failf(proto.CodeInternal, "push %s: %s: %v", w.def.Name, h.File, err)
			}
		}
	}
	v, err := gate.Judge(gate.Want{Definition: w.def.Name, Solution: w.solution.Name, Workloads: w.state.Workloads}, files)
	if err != nil {
		return nil, proto.Failf(proto.CodeEvaluationRefused, "push %s: %v", w.def.Name, err)
	}
	w.telling(v, outputs)
	e.Passed = v.Passed
	for _, r := range v.Refused {
		e.Refused = append(e.Refused, proto.RefusedEvaluation{Workload: r.Workload, Status: r.Status, Log: r.Log})
	}
	if !e.OK() {
		return nil, nil
	}
	return v.Lines, nil
}

// telling refuses what passed and tells nothing: a workload on which the baseline computes one number throughout, or none, lets a kernel
// pass that does nothing.
func (w *pushWork) telling(v *gate.Verdict, outputs []judge.Output) {
	seen := map[string]bool{}
	for _, o := range outputs {
		seen[o.Workload] = true
	}
	for _, f := range judge.CheckOutputs(outputs) {
		if slices.Contains(w.state.Workloads, f.Workload) {
			v.Refuse(f.Workload, strings.ToUpper(string(f.Code)), f.Message)
		}
	}
	for _, u := range w.state.Workloads {
		if !seen[u] {
			w.state.Evaluation.Unseen++
		}
	}
}
