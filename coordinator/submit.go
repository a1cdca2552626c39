package coordinator

import (
	"context"
	"errors"
	"fmt"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// Submitted tells what Submit did.
type Submitted struct {
	ID      string      `json:"id"`
	Resumed bool        `json:"resumed"` // the same was asked for before and is not finished: this goes on with it
	Pushed  bool        `json:"pushed"`  // the same was collected before and not pushed: now it is
	Earlier proto.State `json:"earlier,omitempty"`
}

// Submit hands a submission to the coordinator, or finds it there. A collection that asks for the same and is not finished is
// resumed; one that ended and was to push nothing is pushed, where that is asked for now; after any other that ended, a new one is made, its id
// with "-2", "-3" and so on. Definitions are stored first, so that a
// collection never names JSON that nobody has. s.Collection.ID is set.
func Submit(ctx context.Context, b *bus.Bus, s *Submission) (*Submitted, error) {
	store, err := openStore(ctx, b)
	if err != nil {
		return nil, err
	}
	out := &Submitted{}
	base := ContentID(s.Collection)
	for n := 1; ; n++ {
		out.ID = base
		if n > 1 {
			out.ID = fmt.Sprintf("%s-%d", base, n)
		}
		state, _, err := store.collections.Get(ctx, out.ID)
		if errors.Is(err, bus.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("look for collection %s: %w", out.ID, err)
		}
		if !state.State.Final() || state.Retry {
			out.Resumed, s.Collection.ID = true, out.ID
			return out, nil
		}
		out.Earlier = state.State
	}
	if id, err := store.unpushed(ctx, s.Collection); err != nil {
		return nil, err
	} else if id != "" {
		s.Collection.ID = id
		return &Submitted{ID: id, Pushed: true}, nil
	}
	s.Collection.ID = out.ID
	for _, d := range s.Definitions {
		digest, err := b.PutDefinition(ctx, d.Raw)
		if err != nil {
			return nil, fmt.Errorf("store definition %s: %w", d.Name, err)
		}
		if digest != d.Digest() {
			return nil, proto.Failf(proto.CodeInternal, "definition %s: stored under digest %s, its own is %s", d.Name, digest, d.Digest())
		}
	}
	if err := b.Publish(ctx, proto.SubmitSubject(out.ID), s.Collection, ""); err != nil {
		return nil, fmt.Errorf("submit collection %s: %w", out.ID, err)
	}
	return out, nil
}

// unpushed finds the latest collection that differs from a specification only in that it was to push nothing, and has it pushed as the
// specification says: what was collected to be looked at first is what is published then. Empty: there is none, or nothing is to be pushed.
func (s *jobstore) unpushed(ctx context.Context, spec *proto.Collection) (string, error) {
	if spec.Publish.Repo == "" || spec.Publish.NoPush {
		return "", nil
	}
	planned, silent := *spec, *spec
	planned.Publish.NoPush = true
	silent.Publish.Repo, silent.Publish.PR, silent.Publish.AllowSimulated, silent.Publish.DefinitionPR = "", 0, false, ""
	found := ""
	for _, c := range []proto.Collection{planned, silent} {
		for _, noEval := range []bool{false, true} {
			c.Publish.NoEval = noEval
			base := ContentID(&c)
			for id, n := base, 2; ; id, n = fmt.Sprintf("%s-%d", base, n), n+1 {
				state, _, err := s.collections.Get(ctx, id)
				if errors.Is(err, bus.ErrNotFound) {
					break
				}
				if err != nil {
					return "", fmt.Errorf("look for collection %s: %w", id, err)
				}
				switch {
				case state.Spec.Publish == spec.Publish && (!state.State.Final() || state.Retry):
					return id, nil // that of the same command, interrupted
				case pushable(state):
					found = id
				}
			}
		}
	}
	if found == "" {
		return "", nil
	}
	return found, s.change(ctx, found, func(c *proto.CollectionState) error {
		if pushable(c) {
			c.Spec.Publish, c.Retry = spec.Publish, true
		}
		return nil
	})
}

// pushable reports whether a collection ended and was to push nothing.
func pushable(c *proto.CollectionState) bool {
	return c.State.Final() && !c.Retry && (c.Spec.Publish.Repo == "" || c.Spec.Publish.NoPush)
}

// Result gives the closing account of a collection, or its account so far.
func Result(ctx context.Context, b *bus.Bus, id string) (*Account, error) {
	detail, err := ShowJob(ctx, b, id)
	if err != nil {
		return nil, err
	}
	return detail.Account, nil
}
