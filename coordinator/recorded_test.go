package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
)

// Dumps of several recordings are reported apart, each once, and one simulated among them marks the collection.
func TestCallsOfTasks_MixedRecordings_AllAreReported(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	put := func(task, manifest, function string, p proto.Provenance) {
		v := &proto.Verdict{
			Collection: "c-1", Task: task, Attempt: 1, Manifest: manifest, Function: function, Candidates: []proto.Candidate{},
			Rejections: []proto.Rejection{{Reason: "no_match"}}, Provenance: p,
		}
		subject := proto.VerdictSubject("c-1", task, 1, manifest)
		require.NoError(t, f.bus.Publish(t.Context(), subject, v, subject))
	}
	sglang := proto.Provenance{Engine: proto.EngineReplay, Served: proto.Served{Engine: "sglang", Release: "0.5.16"}, Model: "m", Stated: []string{proto.StatedModel}}
	put("t000", "0a", "rmsnorm", proto.Provenance{Engine: proto.EngineReplay})
	put("t000", "0b", "rmsnorm", sglang)
	put("t000", "0c", "rmsnorm", sglang)
	put("t000", "0d", "", proto.Provenance{Engine: proto.EngineReplay, Model: "of no call"})
	put("t000", "0e", "rmsnorm", proto.Provenance{Engine: proto.EngineReplay, Served: proto.Served{Engine: "simulate", Release: "2"}, Simulated: true})
	state := func(task string, kind proto.EngineKind, manifests int64) *proto.TaskState {
		s := &proto.TaskState{Task: proto.Task{Collection: "c-1", ID: task, Engine: proto.EngineSpec{Kind: kind, Recorded: &proto.Recorded{GPU: "H200"}}}, Attempt: 1}
		s.Counts.Manifests = manifests
		return s
	}
	calls, err := callsOfTasks(t.Context(), f.bus, []*proto.TaskState{state("t000", proto.EngineReplay, 5)})
	require.NoError(t, err)
	require.True(t, calls.simulated)
	require.Equal(t, []RecordedCalls{{}, {Engine: "sglang", Release: "0.5.16", Model: "m", Stated: []string{"model"}}, {Engine: "simulate", Release: "2"}}, calls.recorded)

	calls, err = callsOfTasks(t.Context(), f.bus, []*proto.TaskState{state("t001", proto.EngineReplay, 0)})
	require.NoError(t, err)
	require.Equal(t, []RecordedCalls{{GPU: "H200", Stated: []string{"gpu"}}}, calls.recorded)

	calls, err = callsOfTasks(t.Context(), f.bus, []*proto.TaskState{state("t000", proto.EngineSGLang, 5)})
	require.NoError(t, err)
	require.Empty(t, calls.recorded)
}
