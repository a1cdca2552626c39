package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// LocalOptions are for publishing without a fleet.
type LocalOptions struct {
	Max     int  // most new workloads a definition
	Replace bool // take the place of the definitions' lines
	DryRun  bool // plan only; nothing is written, no lock taken
	Now     func() time.Time
	Log     zerolog.Logger

	before func(atomicfile.Step) error // tests break a chosen step with it
}

// Local is what became of one definition.
type Local struct {
	proto.Publication
	Plan  *Plan        `json:"-"`               // nil when planning failed
	Steps []StepStatus `json:"steps,omitempty"` // dry run: what of the plan is done already
}

// PublishLocal publishes verdicts into dir: the same choice, plan and writer as the role's, with nothing between. Each
// manifest must have one verdict, in any order. A definition that fails has its Failure in its own result and the others go
// on; the error is for what concerns all of them (the directory, its lock, ctx).
func PublishLocal(ctx context.Context, dir string, defs []*fitrace.Definition, verdicts []*proto.Verdict, tensors dataset.Tensors, o LocalOptions) (results []*Local, err error) {
	r, w, err := openLocal(dir, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if w != nil {
			err = errors.Join(err, w.Close())
		} else {
			err = errors.Join(err, r.Close())
		}
	}()
	names := make([]string, len(defs))
	for i, d := range defs {
		names[i] = d.Name
	}
	for i, def := range defs {
		if err := ctx.Err(); err != nil {
			return results, fmt.Errorf("publish %s: %w", def.Name, context.Cause(ctx))
		}
		g := NewGathered(names, i)
		for _, v := range verdicts {
			g.Add(v)
		}
		l := &Local{}
		results = append(results, l)
		l.Definition, l.Index = def.Name, i
		tensors := lookup(g.Contents(), tensors)
		if err := l.prepare(r, Request{Definition: def, Max: o.Max, Replace: o.Replace}, g, tensors); err != nil {
			l.fail(err)
			continue
		}
		for _, warning := range l.Plan.Warnings {
			o.Log.Warn().Str("def", def.Name).Msg(warning)
		}
		if o.DryRun {
			l.Steps = l.Plan.Status(r)
			continue
		}
		if err := l.Plan.Execute(w, tensors); err != nil {
			l.fail(err)
			continue
		}
		l.State = proto.StateDone
		if o.Now != nil {
			l.FinishedAt = o.Now()
		}
	}
	return results, nil
}

func openLocal(dir string, o LocalOptions) (*dataset.Reader, *dataset.Writer, error) {
	if o.DryRun {
		r, err := dataset.OpenReader(dir)
		return r, nil, err
	}
	w, err := dataset.Open(dir, dataset.Options{Log: o.Log, Before: o.before})
	if err != nil {
		return nil, nil, err
	}
	return &w.Reader, w, nil
}

func (l *Local) prepare(r *dataset.Reader, q Request, g *Gathered, tensors dataset.Tensors) error {
	plan, err := prepare(&l.Publication, r, q, g, tensors)
	l.Plan = plan
	return err
}

// fail records the error. No workload was written, and the tallies with it do not hold.
func (l *Local) fail(err error) {
	l.State, l.Failure, l.Workloads = proto.StateFailed, proto.AsFailure(err, proto.CodeDatasetWrite), nil
}

// prepare plans a publication and fills its record with what the plan leads to.
func prepare(p *proto.Publication, r *dataset.Reader, q Request, g *Gathered, tensors dataset.Tensors) (*Plan, error) {
	plan, sel, err := Prepare(r, q, g)
	if err != nil {
		return nil, err
	}
	p.State, p.Workloads = proto.StatePublishing, plan.UUIDs()
	p.All, p.Home, p.Unclaimed = g.Tallies(sel)
	p.Examples = g.Examples()
	p.Seen, err = g.Seen(q.Definition.PageSize(), tensors)
	return plan, err
}
