package gpuworker

import (
	"context"
	"sync"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// Each event is a synced write on the broker; nobody's eye needs more.
const progressEvery = 250 * time.Millisecond

// reporter sends an attempt's events.
type reporter struct {
	bus   *bus.Bus
	event proto.Event // collection, task, attempt, role and node

	mu     sync.Mutex
	latest engine.Progress
	sent   engine.Progress
	at     time.Time
}

func newReporter(b *bus.Bus, node string, s *proto.TaskState) *reporter {
	return &reporter{bus: b, event: proto.Event{
		Collection: s.Task.Collection, Task: s.Task.ID, Attempt: s.Attempt, Role: "gpuworker", Node: node,
	}}
}

// say sends a line of the log.
func (r *reporter) say(ctx context.Context, level proto.Level, stage proto.Stage, text string, f *proto.Failure) {
	e := r.event
	e.Level, e.Stage, e.Text, e.Failure = level, stage, text, f
	r.bus.Event(ctx, e)
}

func (r *reporter) progress(ctx context.Context, stage proto.Stage, done, total int64) {
	e := r.event
	e.Level, e.Stage, e.Done, e.Total = proto.LevelProgress, stage, done, total
	r.bus.Event(ctx, e)
}

// engine takes the engine's progress; it is called often, and sends the latest now and then.
func (r *reporter) engine(ctx context.Context, p engine.Progress) {
	if p.Text != "" {
		r.say(ctx, proto.LevelInfo, proto.StageEngine, p.Text, nil)
	}
	r.mu.Lock()
	r.latest = p
	due := time.Since(r.at) >= progressEvery
	r.mu.Unlock()
	if due {
		r.flush(ctx)
	}
}

// flush sends the engine's latest progress if it was not sent.
func (r *reporter) flush(ctx context.Context) {
	r.mu.Lock()
	p := r.latest
	news := p.Done != r.sent.Done || p.Total != r.sent.Total
	r.sent, r.at = p, time.Now()
	r.mu.Unlock()
	if news {
		r.progress(ctx, proto.StageEngine, p.Done, p.Total)
	}
}

// dumps sends how many dumps were eaten, now and then, until ctx ends.
func (r *reporter) dumps(ctx context.Context, eaten func() int64) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for sent := int64(0); ; {
		select {
		case <-tick.C:
			if n := eaten(); n != sent {
				r.progress(ctx, proto.StageDump, n, 0)
				sent = n
			}
		case <-ctx.Done():
			return
		}
	}
}
