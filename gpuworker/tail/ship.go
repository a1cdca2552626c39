package tail

import (
	"context"
	"fmt"

	"github.com/tracefleet/tracefleet/gpuworker/manifest"
)

// act ships what is ready, and then lets go of the plans that are done with.
func (t *Tailer) act(ctx context.Context, step manifest.Step) {
	for _, r := range step.Ready {
		t.ship(ctx, r)
	}
	if step.Err != nil && t.worst == nil {
		t.worst = step.Err
	}
	for _, plan := range step.Done {
		it := t.items[plan]
		if it == nil {
			continue
		}
		it.superseded = true
		t.release(plan, it)
	}
}

// drain ships what waited for a next call, and waits for all that is under way.
func (t *Tailer) drain(ctx context.Context) error {
	t.act(ctx, t.pairer.Close())
	for t.inFlight > 0 {
		select {
		case s := <-t.shipped:
			t.settle(s)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return t.worst
}

// shipment is the end of one Ship, and of the deletion of what it stored.
type shipment struct {
	result manifest.Result
	err    error // of Ship
	left   error // why the stored dump is still on disk
}

// ship begins one Ship. The dump is deleted on the same goroutine: large files take their time.
func (t *Tailer) ship(ctx context.Context, r manifest.Result) {
	m, tensors := t.opt.Origin.Build(r)
	t.inFlight++
	if plan := r.Carries(); plan != nil {
		t.items[plan].carried++
	}
	it := t.items[r.Dump]
	var dispose func() error
	if t.opt.Delete && !it.stays && !r.Implied {
		dispose = t.disposal(it)
	}
	go func() {
		s := shipment{result: r}
		if err := t.opt.Ship(ctx, m, tensors); err != nil {
			s.err = fmt.Errorf("ship manifest %s of dump %s: %w", m.ID, m.Provenance.Dump, err)
		} else if dispose != nil {
			s.left = dispose()
		}
		t.shipped <- s
	}()
}

// settle takes the end of a Ship.
func (t *Tailer) settle(s shipment) {
	t.inFlight--
	if s.err != nil {
		if t.worst == nil {
			t.worst = s.err
		}
		return
	}
	if !s.result.Implied {
		it := t.items[s.result.Dump]
		delete(t.items, s.result.Dump)
		if t.opt.Delete && !it.stays {
			t.deleted(it, s.left)
		}
	}
	if plan := s.result.Carries(); plan != nil {
		it := t.items[plan]
		it.carried--
		t.release(plan, it)
	}
}

// release deletes a plan's dump once no later run can take it and every manifest that carries it is stored.
func (t *Tailer) release(plan *manifest.Dump, it *item) {
	if it.superseded && it.carried == 0 {
		delete(t.items, plan)
		t.delete(it)
	}
}

// delete removes a dump that has no manifest of its own.
func (t *Tailer) delete(it *item) {
	if t.opt.Delete && !it.stays {
		t.deleted(it, t.disposal(it)())
	}
}

// deleted notes that a dump is gone from disk, or why it is not.
func (t *Tailer) deleted(it *item, left error) {
	if left != nil {
		t.opt.Log.Warn().Err(left).Str("dump", it.name.Dir).Msg("a stored dump stays on disk")
		return
	}
	if it.flush > 0 {
		delete(t.replays, it.call())
	}
	t.room.resize(it, 0)
}

// deleteRest removes what had to stay until the engine ended: captures. (Plans are let go by the pairer's end.)
func (t *Tailer) deleteRest() {
	for _, p := range t.processes {
		for _, it := range p.captures {
			it.stays = false
			t.delete(it)
		}
	}
}
