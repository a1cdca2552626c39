package publisher

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/baseline"
	"github.com/tracefleet/tracefleet/publisher/dataset"
	"github.com/tracefleet/tracefleet/publisher/hub"
	"github.com/tracefleet/tracefleet/publisher/judge"
	"github.com/tracefleet/tracefleet/publisher/prbody"
	"github.com/tracefleet/tracefleet/publisher/push"
)

// evaluationTimeout is the longest that the baseline may run on a definition's workloads.
const evaluationTimeout = 2 * time.Hour

// pushWork is one step of one pull request.
type pushWork struct {
	p     *Publisher
	m     *proto.Push
	spec  *proto.Collection
	state *proto.PushState
	save  func(context.Context, *proto.PushState) error

	local    *dataset.Reader
	def      *fitrace.Definition
	solution *baseline.Solution // nil: there is none for the definition's API
	note     string             // why
	hub      *HubSession
	pull     *push.Pull
	pr       hub.PR            // that is gone on with, where it was looked for; its number is 0 when there is none yet
	there    map[string][]byte // workload lines that pr adds, by uuid
	calls    Calls             // what the workloads are, once simulated has found out
	said     atomic.Int64      // when a wait for the Hub was reported, in Unix seconds
}

func (w *pushWork) do(ctx context.Context) error {
	if err := w.open(ctx); err != nil {
		return err
	}
	defer w.local.Close()
	switch w.m.Step {
	case proto.PushCheck:
		// Whether recorded dumps are simulated is not known before they are read.
		kind := w.spec.Engine.Kind
		return w.aim(ctx, func(title string) bool {
			return kind == proto.EngineReplay || (kind == proto.EngineSimulate) == prbody.SaysSimulated(title)
		})
	case proto.PushBatch:
		return w.batch(ctx)
	case proto.PushPrepare:
		return w.prepare(ctx)
	case proto.PushConclude:
		return w.conclude(ctx)
	}
	return proto.Failf(proto.CodeInternal, "push %s: no step %q", w.m.Definition.Name, w.m.Step)
}

// open looks at everything that no step may do without, before anything is written.
func (w *pushWork) open(ctx context.Context) (err error) {
	data, err := w.p.o.Bus.Definition(ctx, w.m.Definition.Digest)
	if err != nil {
		return fmt.Errorf("push %s: %w", w.m.Definition.Name, err)
	}
	if w.def, err = fitrace.ParseDefinition(data, w.m.Definition.Name+".json"); err != nil {
		return proto.Failf(proto.CodeBadDefinition, "push %s: %v", w.m.Definition.Name, err)
	}
	o := w.p.o
	o.waiting = w.waiting
	o.receipts = filepath.Join(cmp.Or(o.TraceDir, w.spec.Publish.TraceDir), ".tracefleet", "uploads")
	var asked []*fitrace.Definition // whether the repository takes it: what comes after the check asks when it writes
	if w.m.Step == proto.PushCheck {
		asked = append(asked, w.def)
	}
	s, err := OpenHub(ctx, o, w.spec.Publish, CallsOf(w.spec.Engine.Kind), asked...)
	if err != nil {
		return err
	}
	if w.solution, err = baseline.For(w.def); err != nil {
		w.note = err.Error()
	}
	if w.local, err = dataset.OpenReader(cmp.Or(w.p.o.TraceDir, w.spec.Publish.TraceDir)); err != nil {
		return proto.Failf(proto.CodeDatasetWrite, "push %s: %v", w.def.Name, err)
	}
	if w.state.PR == 0 {
		w.state.PR = w.spec.Publish.PR
	}
	w.hub = s
	w.pull = &push.Pull{
		Client: s.Client, Repo: s.Repo, State: w.state, Save: w.save, Log: w.p.o.Log, Given: w.spec.Publish.PR != 0,
		Text: push.Text{Whose: whose(w.m.Collection, w.def.Name)}, Index: &pullIndex{met: &w.p.met, where: s.Endpoint + " " + s.Repo.ID(), definition: w.def.Name},
	}
	return nil
}

// waiting reports in a step's first wait, and from time to time after it, that the step waits for the Hub.
func (w *pushWork) waiting(why *hub.Error, d time.Duration) {
	last, now := w.said.Load(), w.p.o.Now().Unix()
	if now-last >= 60 && w.said.CompareAndSwap(last, now) {
		answer := fmt.Sprint(why.Err)
		if why.Status != 0 {
			answer = fmt.Sprintf("it answered %d %s", why.Status, http.StatusText(why.Status))
		}
		w.p.pushEvent(w.m, proto.LevelWarn, fmt.Sprintf("%s: the Hub is asked again in %s to %s: %s", w.def.Name, d.Round(time.Second), why.Op, answer), nil)
	}
}

// aim looks for the pull request that is gone on with. What is added to one that is open, and that reviewers may be reading, waits for the
// evaluation; so what is not to be evaluated is added to none of an earlier collection, nor what is simulated to one that does not say so.
// fits says whether a title fits them.
func (w *pushWork) aim(ctx context.Context, fits func(title string) bool) (err error) {
	if w.spec.Publish.NoPush && !w.hub.Known {
		return nil // nobody's pull requests can be asked for
	}
	w.pull.Adopt = func(pr hub.PR) bool { return !w.spec.Publish.NoEval && fits(pr.Title) }
	if w.pr, err = w.pull.Find(ctx); err != nil {
		return err
	}
	if w.pull.Given && !prbody.SaysSimulated(w.pr.Title) && !fits(w.pr.Title) {
		return proto.Failf(proto.CodeSimulatedPush, "the workloads are simulated, and the title of pull request %d does not say so: %s", w.pr.Num, w.pr.Title).
			WithHint("leave --pr-num out")
	}
	if w.pr.Num != 0 {
		if w.there, err = w.pull.Added(ctx, w.file(), push.WorkloadKey); err != nil {
			return err
		}
	}
	w.state.Open = w.pr.Status == hub.StatusOpen
	// A draft that somebody opened by hand has some of them already.
	w.state.Held = w.state.Open && !w.spec.Publish.NoEval && !slices.ContainsFunc(w.m.Workloads, func(u string) bool { return w.there[u] != nil })
	return nil
}

// file is where the definition's workloads are, in the repository as in the dataset.
func (w *pushWork) file() string { return fitrace.WorkloadsPath(w.def.OpType, w.def.Name) }

// saying gives which titles fit workloads: those that say that they are simulated, or those that do not.
func saying(simulated bool) func(title string) bool {
	return func(title string) bool { return prbody.SaysSimulated(title) == simulated }
}

func (w *pushWork) warn(text string) {
	if !slices.Contains(w.state.Warnings, text) {
		w.state.Warnings = append(w.state.Warnings, text)
	}
}

// whole is what the pull request has besides workloads.
func (w *pushWork) whole() *push.Content {
	c := &push.Content{Firm: firm(w.def)}
	if w.solution != nil {
		c.Offered = []hub.File{hub.FileOf(w.solution.Path, w.solution.JSON), hub.FileOf(w.solution.Test.Path, []byte(w.solution.Test.Source))}
	}
	return c
}

// content returns the files that the pull request needs for these workloads: definition, baseline, blobs, lines and their provenance.
func (w *pushWork) content(uuids []string) (*push.Content, error) {
	c := w.whole()
	lines, blobs, err := linesOf(w.local, w.def, uuids)
	if err != nil {
		return nil, err
	}
	c.Blobs = blobs
	c.Lines = []push.Lines{{Path: w.file(), Key: push.WorkloadKey, Add: lines}}
	provenance, err := w.local.Provenance(w.def.OpType, w.def.Name)
	if err != nil {
		return nil, err
	}
	travels := push.Lines{Path: fitrace.ProvenancePath(w.def.OpType, w.def.Name), Key: dataset.ProvenanceKey, With: w.file(), Workload: dataset.ProvenanceUUID}
	for _, l := range provenance {
		if l.Err == nil && slices.Contains(uuids, l.UUID) {
			travels.Add = append(travels.Add, l.Raw)
		}
	}
	c.Lines = append(c.Lines, travels)
	return c, nil
}

// batch brings what was published so far into the pull request. What a check warned of before may be so no more.
func (w *pushWork) batch(ctx context.Context) error {
	w.state.Warnings = nil
	if w.note != "" {
		w.warn(w.note)
	}
	simulated, err := w.simulated()
	if err != nil {
		return err
	}
	if err := w.aim(ctx, saying(simulated)); err != nil {
		return err
	}
	if err := w.judge(ctx); err != nil {
		return err
	}
	workloads := w.pushed()
	if len(workloads) == 0 {
		w.state.Held = false
		return nil
	}
	c, err := w.content(workloads)
	if err != nil {
		return err
	}
	if err := w.write(ctx, c, simulated); err != nil {
		return err
	}
	if w.spec.Publish.NoPush || w.state.Held {
		plan, err := w.pull.Would(ctx, c)
		if err != nil {
			return err
		}
		w.state.Workloads = workloads
		if w.spec.Publish.NoPush {
			w.state.Plan = plan
			return nil
		}
		w.p.pushEvent(w.m, proto.LevelInfo, fmt.Sprintf("%s: %d workloads wait for the evaluation: %s is open", w.def.Name, len(workloads), w.state.URL), nil)
		return nil
	}
	summary := fmt.Sprintf("Add workloads of %s", w.def.Name)
	if err := w.pull.Sync(ctx, summary, c); err != nil {
		return err
	}
	w.state.Workloads = workloads
	w.p.pushEvent(w.m, proto.LevelInfo, fmt.Sprintf("%s: %d workloads are in %s", w.def.Name, len(w.state.Workloads), w.state.URL), nil)
	return nil
}

// pushed returns the collection's workloads that are in the pull request, or are to be.
func (w *pushWork) pushed() []string {
	return slices.DeleteFunc(slices.Clone(w.m.Workloads), func(u string) bool { return slices.Contains(w.state.Skipped, u) })
}

// judge applies the checks before a publication to the dataset directory as it is, and records which workloads are left out.
func (w *pushWork) judge(ctx context.Context) error {
	if err := w.hub.unmixed(ctx, w.pull.Rev(), w.calls, w.def); err != nil {
		return err
	}
	published, err := w.published(ctx)
	if err != nil {
		return err
	}
	report, err := judge.Check(w.local, []string{w.def.Name}, judge.Options{Published: map[string]judge.Published{w.def.Name: published}})
	if err != nil {
		return err
	}
	if w.p.o.Python != "" {
		theirs, err := judge.RunValidate(ctx, w.p.o.Python, w.local.Dir(), []string{w.def.Name})
		switch {
		case errors.Is(err, judge.ErrNoValidate): // the releases of flashinfer-bench have none yet
		case err != nil:
			return proto.Failf(proto.CodeNotPublishable, "flashinfer-bench validate could not be run: %v", err).WithRetry()
		default:
			report.Findings = append(report.Findings, theirs.Findings...)
		}
	}
	// What others wrote, and what was there before, is not what is published now.
	report.Excuse(func(f judge.Finding) bool {
		if f.Workload != "" {
			return !slices.Contains(w.m.Workloads, f.Workload)
		}
		theirs, _, _ := strings.Cut(f.File, ":")
		return strings.HasPrefix(theirs, "provenance/") || (strings.HasPrefix(theirs, "solutions/") || strings.HasPrefix(theirs, "traces/")) && !strings.Contains(theirs, "/"+baseline.Author+"/")
	})
	w.state.Skipped = nil
	for _, f := range report.Findings {
		if f.Severity == judge.Skip && !slices.Contains(w.state.Workloads, f.Workload) && !slices.Contains(w.state.Skipped, f.Workload) {
			w.state.Skipped = append(w.state.Skipped, f.Workload)
		}
		if f.Code == judge.NoBaseline && w.solution != nil {
			continue // it comes with the pull request
		}
		w.warn(f.String())
	}
	if report.Refuses() {
		return proto.Failf(proto.CodeNotPublishable, "the checks of %s say\n%s", w.local.Dir(), report.Text(judge.Refuse)).WithHint("correct what is named, without taking lines away")
	}
	return nil
}

// published is what the repository has of the definition. A line of it that does not parse is its maintainers' to mend.
func (w *pushWork) published(ctx context.Context) (judge.Published, error) {
	data, sums, err := w.pull.Published(ctx, w.file(), fitrace.BlobDir(w.def.OpType, w.def.Name))
	if err != nil {
		return judge.Published{}, err
	}
	lines, _ := fitrace.ParseLines(bytes.NewReader(data), w.file())
	return judge.Published{Lines: lines, Blobs: sums}, nil
}

// simulated reports whether any of the workloads is simulated, or may be, because its provenance is gone. They are pushed to no Hub but one on
// loopback, unless --allow-simulated is set.
func (w *pushWork) simulated() (bool, error) {
	known, err := w.local.Simulated(w.def.OpType, w.def.Name)
	if err != nil {
		return false, err
	}
	simulated, unknown := w.spec.Engine.Kind == proto.EngineSimulate, 0
	for _, u := range w.m.Workloads {
		is, ok := known[u]
		simulated = simulated || is
		if !ok {
			unknown++
		}
	}
	w.calls = callsAre(simulated || unknown > 0)
	refuse := !w.spec.Publish.AllowSimulated && !w.spec.Publish.NoPush && !loopback(w.hub.Endpoint)
	switch {
	case simulated && refuse:
		return true, simulatedPush(w.hub.Endpoint)
	case unknown > 0 && refuse:
		return true, proto.Failf(proto.CodeSimulatedPush, "where %d of %d workloads of %s come from is not in %s any more, so that they may be simulated",
			unknown, len(w.m.Workloads), w.def.Name, w.local.Dir()).WithHint("restore its provenance directory; --allow-simulated pushes them all the same, marked as simulated")
	case unknown > 0:
		w.warn(fmt.Sprintf("where %d of %d workloads come from is not known any more: they are marked as simulated", unknown, len(w.m.Workloads)))
	}
	return simulated || unknown > 0, nil
}

// prepare puts what an evaluation needs into the tensor store, by digest.
func (w *pushWork) prepare(ctx context.Context) error {
	if w.solution == nil { // the check had one: another release of the publisher made it
		return proto.Failf(proto.CodeNotPublishable, "%s", w.note)
	}
	c, err := w.content(w.state.Workloads)
	if err != nil {
		return err
	}
	lines := bytes.Join(append(c.Lines[0].Add, nil), []byte("\n"))
	files := append(c.Firm, c.Blobs...)
	files = append(files, hub.FileOf(w.solution.Path, w.solution.JSON), hub.FileOf(c.Lines[0].Path, lines))
	e := &proto.Evaluate{Solution: w.solution.Name, Definition: w.m.Definition, Workloads: w.state.Workloads, Timeout: evaluationTimeout}
	for _, f := range files {
		data, err := content(f)
		if err != nil {
			return fmt.Errorf("push %s: %w", w.def.Name, err)
		}
		digest, err := w.p.o.Store.Put(ctx, data)
		if err != nil {
			return fmt.Errorf("push %s: store %s: %w", w.def.Name, f.Path, err)
		}
		e.Files = append(e.Files, proto.EvalFile{Path: f.Path, Digest: digest})
	}
	w.state.Evaluate = e
	return nil
}

func content(f hub.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(r)
	return b.Bytes(), err
}

// hubFile makes a dataset's file one of a pull request.
func hubFile(r *dataset.Reader, name string) (hub.File, error) {
	if _, err := r.Size(name); err != nil { // it follows no link out of the dataset
		return hub.File{}, err
	}
	return hub.FileAt(name, filepath.Join(r.Dir(), filepath.FromSlash(name)))
}
