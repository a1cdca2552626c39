package publisher

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
	"github.com/tracefleet/tracefleet/publisher/push"
)

// Where nothing says any more that dumps were real, they go to a real Hub as little as simulated ones.
func TestSimulated_Unknown(t *testing.T) {
	t.Parallel()
	local, err := dataset.OpenReader(t.TempDir())
	require.NoError(t, err)
	defer local.Close()
	for _, test := range []struct {
		name     string
		endpoint string
		publish  proto.PublishSpec
		engine   proto.EngineKind
		refused  string
		warned   int
	}{
		{"a real Hub", "https://huggingface.co", proto.PublishSpec{}, proto.EngineReplay, "is not in " + local.Dir(), 0},
		{"a real Hub, simulated", "https://huggingface.co", proto.PublishSpec{}, proto.EngineSimulate, "are simulated", 0},
		{"insisted on", "https://huggingface.co", proto.PublishSpec{AllowSimulated: true}, proto.EngineReplay, "", 1},
		{"nothing is pushed", "https://huggingface.co", proto.PublishSpec{NoPush: true}, proto.EngineReplay, "", 1},
		{"loopback", "http://127.0.0.1:8000", proto.PublishSpec{}, proto.EngineReplay, "", 1},
	} {
		w := &pushWork{
			m: &proto.Push{Workloads: []string{"u1", "u2"}}, spec: &proto.Collection{Publish: test.publish, Engine: proto.EngineSpec{Kind: test.engine}},
			state: &proto.PushState{}, local: local, def: &fitrace.Definition{Name: "d", OpType: "op"}, hub: &HubSession{Endpoint: test.endpoint},
		}
		simulated, err := w.simulated()
		require.True(t, simulated, "%s: it must be marked", test.name)
		require.Len(t, w.state.Warnings, test.warned, test.name)
		if test.refused == "" {
			require.NoError(t, err, test.name)
			continue
		}
		var f *proto.Failure
		require.True(t, errors.As(err, &f), test.name)
		require.Equal(t, proto.CodeSimulatedPush, f.Code, test.name)
		require.Contains(t, f.Message, test.refused, test.name)
	}
}

// A pull request is known by the markers in its text.
func TestWhose(t *testing.T) {
	t.Parallel()
	const a, b, other = "<!-- tracefleet collection=c-a definition=d -->\n", "<!-- tracefleet collection=c-b definition=d -->\n", "<!-- tracefleet collection=c-a definition=e -->\n"
	for text, want := range map[string]push.Whose{
		a: push.Ours, b: push.Earlier, b + "text\n\n---\n\n" + a: push.Ours, other: push.Another, "": push.Theirs, "text": push.Theirs, "a note\n" + a: push.Ours,
	} {
		require.Equal(t, want, whose("c-a", "d")(text), text)
	}
}

// What a pull request has of runs that no section tells of is counted: their records are gone, and their lines are not.
func TestUntold(t *testing.T) {
	t.Parallel()
	w := &pushWork{m: &proto.Push{Workloads: []string{"ours"}}, state: &proto.PushState{}}
	require.Zero(t, w.untold(""), "there is no pull request yet")
	w.there = map[string][]byte{"ours": nil, "told": nil, "lost": nil, "forgotten": nil}
	require.Equal(t, 2, w.untold("another section, with `told`"))
}
