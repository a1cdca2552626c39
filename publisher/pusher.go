package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
	"github.com/tracefleet/tracefleet/publisher/hub"
)

// The publisher's second queue: pull requests. What a step needs is read from the dataset directory and the records each time, so
// that a step can be repeated by anyone. The token is found here, and nowhere else.

// handlePush does one step of a pull request and writes it down.
func (p *Publisher) handlePush(ctx context.Context, _ *bus.Delivery, m *proto.Push) error {
	col, _, err := p.collections.Get(ctx, m.Collection)
	if errors.Is(err, bus.ErrNotFound) || err == nil && col.Cancel {
		return nil // nobody waits for it
	}
	if err != nil {
		return err
	}
	l, err := acquireLease(ctx, p.leases, pusherLease, p.self, p.o.Now().UTC())
	if err != nil {
		return err
	}
	return l.hold(ctx, p.o.Now, func(ctx context.Context) error { return p.pushStep(ctx, m, &col.Spec) })
}

// done reports whether a message asks for nothing new.
func done(s *proto.PushState, m *proto.Push) bool {
	switch {
	case s.Round != m.Round || s.Ended():
		return true
	case m.Step == proto.PushCheck:
		return s.Step != ""
	case m.Step == proto.PushBatch:
		return s.Handled() >= len(m.Workloads)
	case m.Step == proto.PushPrepare:
		return s.Evaluate != nil
	}
	return false
}

func (p *Publisher) pushStep(ctx context.Context, m *proto.Push, spec *proto.Collection) error {
	key := proto.PushKey(m.Collection, m.Index)
	rec, rev, err := p.pushes.Get(ctx, key)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	if rec == nil {
		rec = &proto.PushState{Collection: m.Collection, Index: m.Index, Definition: m.Definition.Name, Round: m.Round}
	} else if done(rec, m) {
		return nil
	}
	save := func(ctx context.Context, s *proto.PushState) (err error) {
		if rev == 0 {
			rev, err = p.pushes.Create(ctx, key, s)
		} else {
			rev, err = p.pushes.Update(ctx, key, s, rev)
		}
		return err
	}
	w := &pushWork{p: p, m: m, spec: spec, state: rec, save: save}
	if err := w.do(ctx); err != nil {
		return hubFailure(err)
	}
	if m.Step == proto.PushConclude {
		rec.FinishedAt = p.o.Now().UTC()
	}
	if m.Step != proto.PushPrepare || rec.Step == proto.PushBatch {
		rec.Step = m.Step
	}
	return save(ctx, rec)
}

// deadPush records that a step was given up: the coordinator waits for it.
func (p *Publisher) deadPush(ctx context.Context, d *bus.Delivery, f *proto.Failure) error {
	m, err := proto.Decode[proto.Push](d.Data)
	if err != nil {
		return nil // the coordinator finds the dead letter
	}
	key := proto.PushKey(m.Collection, m.Index)
	rec, rev, err := p.pushes.Get(ctx, key)
	switch {
	case errors.Is(err, bus.ErrNotFound):
		rec = &proto.PushState{Collection: m.Collection, Index: m.Index, Definition: m.Definition.Name, Round: m.Round}
	case err != nil:
		return err
	case done(rec, m):
		return nil
	}
	rec.Failure, rec.FinishedAt = f, p.o.Now().UTC()
	if rev == 0 {
		_, err = p.pushes.Create(ctx, key, rec)
	} else {
		_, err = p.pushes.Update(ctx, key, rec, rev)
	}
	if err != nil {
		return err
	}
	p.o.Log.Error().Str("collection", m.Collection).Str("def", m.Definition.Name).Err(f).Msg("push failed")
	p.pushEvent(m, proto.LevelError, fmt.Sprintf("%s was not pushed", m.Definition.Name), f)
	return nil
}

func (p *Publisher) pushEvent(m *proto.Push, level proto.Level, text string, f *proto.Failure) {
	p.o.Bus.Event(context.Background(), proto.Event{
		Collection: m.Collection, Role: "publisher", Stage: proto.StagePublish, Level: level, Text: text, Failure: f,
	})
}

// linesOf gives the workload lines of uuids in the dataset's order, and their blobs.
func linesOf(r *dataset.Reader, def *fitrace.Definition, uuids []string) (lines [][]byte, blobs []hub.File, err error) {
	w, err := r.Workloads(def.OpType, def.Name)
	if err != nil {
		return nil, nil, err
	}
	found := 0
	for _, l := range w.Lines {
		if !slices.Contains(uuids, l.Workload.UUID) || l.Definition != def.Name {
			continue
		}
		found++
		lines = append(lines, l.Raw)
		seen := map[string]bool{}
		for _, in := range l.Workload.Inputs {
			if in.Type != fitrace.Safetensors || seen[in.Path] {
				continue
			}
			seen[in.Path] = true
			name, err := dataset.BlobFile(in.Path)
			if err != nil {
				return nil, nil, fmt.Errorf("%s:%d: input %s: %w", w.File, l.Number, in.Name, err)
			}
			f, err := hubFile(r, name)
			if err != nil {
				return nil, nil, fmt.Errorf("%s:%d: input %s: %w", w.File, l.Number, in.Name, err)
			}
			blobs = append(blobs, f)
		}
	}
	if found != len(uuids) {
		return nil, nil, proto.Failf(proto.CodeDatasetConflict, "%s in %s has %d of the %d workloads that were published there", w.File, r.Dir(), found, len(uuids)).
			WithHint("somebody changed the file by hand; put it back, or collect again")
	}
	return lines, blobs, nil
}
