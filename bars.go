package main

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/proto"
)

// bars is the screen of a terminal: a bar for each stage of each task in work, gone when the task is.
type bars struct {
	progress *mpb.Progress
	stages   map[string][]*mpb.Bar // by task
}

func newBars(w io.Writer) *bars {
	return &bars{progress: mpb.New(mpb.WithOutput(w), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond)), stages: map[string][]*mpb.Bar{}}
}

func (b *bars) Line(text string) {
	// An error can only be of the terminal, where there is nobody left to tell.
	_, _ = fmt.Fprintln(b.progress, "\r"+text) // a typed ^C has moved the cursor to the right
}

func (b *bars) Show(v *coordinator.View) {
	for i := range v.Tasks {
		t := &v.Tasks[i]
		switch {
		case t.State == proto.StateQueued || t.State.Final():
			b.drop(t.ID)
		default:
			b.update(t, i)
		}
	}
}

func (b *bars) update(t *coordinator.TaskView, place int) {
	if b.stages[t.ID] == nil {
		for i, s := range t.Stages {
			b.stages[t.ID] = append(b.stages[t.ID], b.progress.AddBar(0,
				mpb.BarPriority(place*len(t.Stages)+i), mpb.BarRemoveOnComplete(),
				mpb.PrependDecorators(decor.Name(fmt.Sprintf("%s %-9s", taskName(t), s.Stage))),
				mpb.AppendDecorators(decor.CountersNoUnit("%d / %d"))))
		}
	}
	for i, s := range t.Stages {
		bar := b.stages[t.ID][i]
		// Never "complete": a stage's total can still grow, and the bar goes when the task does.
		bar.SetTotal(max(s.Total, s.Done), false)
		bar.SetCurrent(s.Done)
	}
}

func (b *bars) drop(task string) {
	for _, bar := range b.stages[task] {
		bar.Abort(true)
	}
	delete(b.stages, task)
}

func (b *bars) Close() {
	for task := range b.stages {
		b.drop(task)
	}
	b.progress.Shutdown()
}
