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
		Engine: string(spec.Engine.Kind), Model: cmp.Or(spec.Engine.ModelPath, spec.Engine.ModelKey), Versions: map[string]string{},
		Flags: spec.Engine.Flags, Traffic: trafficOf(spec), Skipped: len(w.state.Skipped), Evaluation: w.state.Evaluation, Unproven: w.state.Unproven, Warnings: w.state.Warnings,
		LogPath: fmt.Sprintf("logs/%s/%s/%s.log", w.def.OpType, w.def.Name, w.m.Collection),
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

func trafficOf(spec *proto.Collection) string {
	t := spec.Traffic
	parts := []string{cmp.Or(t.Dataset, "random"), fmt.Sprintf("at most %d tokens in, %d out", t.ISL, t.OSL), fmt.Sprintf("lengths from %g of that", t.RangeRatio), fmt.Sprintf("seed %d", t.Seed)}
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
			p.Mode = cmp.Or(p.Mode, string(t.Task.Engine.Mode))
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
	for _, l := range lines.Lines {
		if !slices.Contains(w.pushed(), l.Workload.UUID) {
			continue
		}
		var axes []string
		for _, a := range l.Workload.Axes {
			axes = append(axes, fmt.Sprintf("%s=%d", a.Name, a.Value))
		}
		o := origins[l.Workload.UUID]
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
	p.GPU = strings.Join(gpus, ", ")
	return nil
}
