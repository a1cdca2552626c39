package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/hub"
	"github.com/tracefleet/tracefleet/publisher/prbody"
	"github.com/tracefleet/tracefleet/publisher/push"
)

// write makes the pull request's text from the records as they are, and gives the log as a file where it does not fit.
func (w *pushWork) write(ctx context.Context, c *push.Content, simulated bool) error {
	page, err := w.page(ctx, simulated)
	if err != nil {
		return err
	}
	others := prbody.Others(w.pr.Description, w.m.Collection, w.def.Name)
	page.Untold = w.untold(others)
	section, logCut, err := prbody.Section(page, prbody.Room(others))
	if err != nil {
		return proto.Failf(proto.CodeInternal, "push %s: %v", w.def.Name, err)
	}
	if logCut {
		c.Own = append(c.Own, hub.FileOf(page.LogPath, []byte(strings.Join(page.Log, "\n")+"\n")))
	}
	w.pull.Text.Title = prbody.Title(page)
	w.pull.Text.Description = func(old string) string { return prbody.Merge(old, section) }
	return nil
}

// untold counts the workloads that the pull request has, and that neither this collection's nor another's section tells of.
func (w *pushWork) untold(others string) (n int) {
	pushed := w.pushed()
	for uuid := range w.there {
		if !slices.Contains(pushed, uuid) && !strings.Contains(others, uuid) {
			n++
		}
	}
	return n
}

// page gathers what the text says.
func (w *pushWork) page(ctx context.Context, simulated bool) (*prbody.Page, error) {
	spec := w.spec
	p := &prbody.Page{
		Collection: w.m.Collection, Definition: w.def.Name, OpType: w.def.OpType, DefinitionPR: spec.Publish.DefinitionPR, Simulated: simulated,
		Engine: string(spec.Engine.Kind), Versions: map[string]string{}, Skipped: len(w.state.Skipped), Evaluation: w.state.Evaluation, Unproven: w.state.Unproven, Warnings: w.state.Warnings,
		LogPath: fmt.Sprintf("logs/%s/%s/%s.log", w.def.OpType, w.def.Name, w.m.Collection),
	}
	if spec.Engine.Kind == proto.EngineSGLang {
		p.Model, p.Flags = cmp.Or(modelName(spec.Engine.ModelPath), spec.Engine.ModelKey), spec.Engine.Flags
	}
	for _, api := range w.def.APIs() {
		p.APIs = append(p.APIs, api.String())
	}
	if w.solution != nil {
		p.Solution = w.solution.Name
	}
	if err := w.batches(ctx, p); err != nil {
		return nil, err
	}
	if err := w.shapes(p); err != nil {
		return nil, err
	}
	err := w.p.o.Bus.Events(ctx, proto.EventFilter(w.m.Collection), time.Time{}, func(e *proto.Event) error {
		if e.Level != proto.LevelProgress && e.Text != "" {
			p.Log = append(p.Log, strings.TrimSpace(fmt.Sprintf("%s %s %s: %s", e.Time.UTC().Format("15:04:05"), cmp.Or(e.Task, "-"), e.Role, e.Text)))
		}
		return nil
	})
	return p, err
}

// trafficOf returns the traffic of a task in a line.
func trafficOf(t *proto.Traffic, mode proto.EngineMode) string {
	parts := []string{cmp.Or(t.Dataset, "random")}
	switch {
	case t.Dataset != "trace":
		parts = append(parts, fmt.Sprintf("at most %d tokens in, %d out", t.ISL, t.OSL))
	case prefills(mode): // other lengths are in its file alone
		parts = append(parts, fmt.Sprintf("at most %d tokens out", t.OSL))
	}
	if parts[0] == "random" {
		parts = append(parts, fmt.Sprintf("lengths from %g of that", t.RangeRatio))
	}
	parts = append(parts, fmt.Sprintf("seed %d", t.Seed))
	if t.Requests > 0 {
		parts = append(parts, fmt.Sprintf("%d requests", t.Requests))
	} else {
		parts = append(parts, fmt.Sprintf("%d batches", t.NumBatches))
	}
	if t.Chat {
		parts = append(parts, "chat")
	}
	return strings.Join(parts, ", ")
}

// batches lists each task that holds the definition and whose batch was published.
func (w *pushWork) batches(ctx context.Context, p *prbody.Page) error {
	tasks, err := w.p.tasks.List(ctx, w.m.Collection+".*")
	if err != nil {
		return err
	}
	type batch struct {
		index int
		prbody.Batch
	}
	var list []batch
	for _, e := range tasks {
		t := e.Value
		if e.Err != nil || t.Task.Evaluate != nil {
			continue
		}
		for i, d := range t.Task.Definitions {
			if d.Name != w.def.Name {
				continue
			}
			if t.Task.Engine.Kind.Serves() { // all tasks of a definition are driven alike
				p.Mode, p.Traffic = string(t.Task.Engine.Mode), trafficOf(&t.Task.Traffic, t.Task.Engine.Mode)
			}
			pub, _, err := w.p.publications.Get(ctx, proto.PublicationKey(w.m.Collection, t.Task.ID, i))
			if errors.Is(err, bus.ErrNotFound) || err == nil && pub.State != proto.StateDone {
				continue
			}
			if err != nil {
				return err
			}
			if slices.ContainsFunc(pub.Workloads, func(u string) bool { return !slices.Contains(w.m.Workloads, u) }) {
				continue // published since this step was asked for: the next one tells of it
			}
			list = append(list, batch{t.Task.Index, prbody.Batch{Size: t.Task.BatchSize, Calls: pub.All.Sum(), Tally: pub.All}})
		}
	}
	slices.SortFunc(list, func(a, b batch) int { return cmp.Compare(a.index, b.index) })
	for _, b := range list {
		p.Batches = append(p.Batches, b.Batch)
	}
	return nil
}

// shapes adds each workload, and the GPUs and versions that it was collected with, to the page.
func (w *pushWork) shapes(p *prbody.Page) error {
	lines, err := w.local.Workloads(w.def.OpType, w.def.Name)
	if err != nil {
		return err
	}
	origins, err := w.local.Origins(w.def.OpType, w.def.Name)
	if err != nil {
		return err
	}
	shapes := map[string]int{}
	provenance, err := w.local.Provenance(w.def.OpType, w.def.Name)
	if err != nil {
		return err
	}
	for _, l := range provenance {
		shapes[l.UUID] = l.CallsWithShape
	}
	in := inspection{r: w.local}
	pageSize := w.def.PageSize()
	var gpus []string
	var from []*proto.Provenance
	for _, l := range lines.Lines {
		if !slices.Contains(w.pushed(), l.Workload.UUID) {
			continue
		}
		var axes []string
		for _, a := range l.Workload.Axes {
			axes = append(axes, fmt.Sprintf("%s=%d", a.Name, a.Value))
		}
		o := origins[l.Workload.UUID]
		from = append(from, &o.From)
		for name, version := range o.From.Versions {
			p.Versions[name] = version
		}
		if gpu := o.From.GPU; gpu != "" && !slices.Contains(gpus, gpu) {
			gpus = append(gpus, gpu)
		}
		p.Shapes = append(p.Shapes, prbody.Shape{
			UUID: l.Workload.UUID, Axes: strings.Join(axes, " "), Batch: max(batchOf(axesOf(l)), 0), Calls: shapes[l.Workload.UUID],
			KV: kvLengths(in.integers(l, inputKVIndptr), in.integers(l, inputLastPageLen), pageSize),
		})
	}
	if p.GPU = strings.Join(gpus, ", "); w.spec.Engine.Kind == proto.EngineReplay {
		p.GPU, p.Recorded = "", recordedOf(from)
	}
	return nil
}

// recordedOf returns what is known of replayed calls by their provenance.
func recordedOf(from []*proto.Provenance) *prbody.Recorded {
	fact := func(field string, value func(*proto.Provenance) string) (facts []prbody.Fact) {
		for _, p := range from {
			f := prbody.Fact{Text: value(p)}
			f.Stated = f.Text != "" && slices.Contains(p.Stated, field)
			if !slices.Contains(facts, f) {
				facts = append(facts, f)
			}
		}
		return facts
	}
	measured := func(value func(*proto.Provenance) string) func(*proto.Provenance) string {
		return func(p *proto.Provenance) string {
			if p.Simulated {
				return "none, simulated"
			}
			return value(p)
		}
	}
	return &prbody.Recorded{
		Engine:  fact(proto.StatedEngine, func(p *proto.Provenance) string { return p.Served.Engine }),
		Release: fact(proto.StatedEngine, func(p *proto.Provenance) string { return p.Served.Release }),
		Model:   fact(proto.StatedModel, measured(func(p *proto.Provenance) string { return modelName(p.Model) })),
		GPU:     fact(proto.StatedGPU, measured(func(p *proto.Provenance) string { return p.GPU })),
	}
}
