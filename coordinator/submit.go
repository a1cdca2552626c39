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
	Earlier proto.State `json:"earlier,omitempty"`
}

// Submit hands a submission to the coordinator, or finds it there. A collection that asks for the same and is not finished is
// resumed; after one that ended, a new one is made, its id with "-2", "-3" and so on. Definitions are stored first, so that a
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

// Result gives the closing account of a collection, or its account so far.
func Result(ctx context.Context, b *bus.Bus, id string) (*Account, error) {
	detail, err := ShowJob(ctx, b, id)
	if err != nil {
		return nil, err
	}
	return detail.Account, nil
}

var errEnough = errors.New("enough was read")

// anySimulated looks at one verdict of each task: a replay of simulated dumps is simulated too, and only they know.
func anySimulated(ctx context.Context, b *bus.Bus, tasks []*proto.TaskState) (bool, error) {
	simulated := false
	for _, t := range tasks {
		if t.Counts.Manifests == 0 {
			continue
		}
		filter := proto.VerdictPrefix(t.Task.Collection, t.Task.ID, t.Attempt) + ">"
		err := b.ReadSet(ctx, proto.StreamVerdicts, filter, func(_ string, data []byte) error {
			if v, err := proto.Decode[proto.Verdict](data); err == nil {
				simulated = simulated || v.Provenance.Simulated
			}
			return errEnough
		})
		if err != nil && !errors.Is(err, errEnough) {
			return false, err
		}
	}
	return simulated, nil
}
