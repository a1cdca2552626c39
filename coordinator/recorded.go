package coordinator

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// RecordedCalls holds the known labels of calls that were replayed. An empty field is unknown.
type RecordedCalls struct {
	Engine  string   `json:"engine,omitempty"`
	Release string   `json:"release,omitempty"`
	Model   string   `json:"model,omitempty"`
	GPU     string   `json:"gpu,omitempty"`
	Stated  []string `json:"stated,omitempty"` // which of engine (with its release), gpu and model only the user states
}

// callsOf holds what the verdicts of a collection's tasks state about the calls.
type callsOf struct {
	simulated bool            // at least one call is
	recorded  []RecordedCalls // of replays: the distinct ones, sorted
}

var errEnough = errors.New("enough was read")

// callsOfTasks reads the verdicts of tasks: one of a task whose engine serves, since all of its calls are alike, and all of a
// replay's, whose dumps may come from several recordings.
func callsOfTasks(ctx context.Context, b *bus.Bus, tasks []*proto.TaskState) (calls callsOf, err error) {
	for _, t := range tasks {
		replay := t.Task.Engine.Kind == proto.EngineReplay
		if replay && t.Counts.Manifests == 0 {
			calls.add(t.Task.Provenance())
		}
		if t.Counts.Manifests == 0 {
			continue
		}
		filter := proto.VerdictPrefix(t.Task.Collection, t.Task.ID, t.Attempt) + ">"
		err := b.ReadSet(ctx, proto.StreamVerdicts, filter, func(_ string, data []byte) error {
			v, err := proto.Decode[proto.Verdict](data)
			if err == nil {
				calls.simulated = calls.simulated || v.Provenance.Simulated
			}
			switch {
			case !replay:
				return errEnough
			case err == nil && v.Function != "": // one without a function was made for a manifest that could not be read
				calls.add(v.Provenance)
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return calls, err
		}
	}
	slices.SortFunc(calls.recorded, func(a, b RecordedCalls) int {
		return cmp.Or(cmp.Compare(a.Engine, b.Engine), cmp.Compare(a.Release, b.Release), cmp.Compare(a.Model, b.Model), cmp.Compare(a.GPU, b.GPU),
			slices.Compare(a.Stated, b.Stated))
	})
	return calls, nil
}

// add adds what p states of a replayed call, once.
func (c *callsOf) add(p proto.Provenance) {
	r := RecordedCalls{Engine: p.Served.Engine, Release: p.Served.Release, Model: p.Model, GPU: p.GPU, Stated: p.Stated}
	if !slices.ContainsFunc(c.recorded, func(have RecordedCalls) bool {
		return have.Engine == r.Engine && have.Release == r.Release && have.Model == r.Model && have.GPU == r.GPU && slices.Equal(have.Stated, r.Stated)
	}) {
		c.recorded = append(c.recorded, r)
	}
}
