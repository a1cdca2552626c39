package gate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/publisher/gate"
)

func trace(definition, solution, uuid, status, log string) string {
	return fmt.Sprintf(`{"definition":%q,"solution":%q,"workload":{"uuid":%q},"evaluation":{"status":%q,"log":%q}}`, definition, solution, uuid, status, log)
}

func file(lines ...string) []gate.File {
	return []gate.File{{Name: "traces.json", Data: []byte("[" + strings.Join(lines, ",") + "]")}}
}

var want = gate.Want{Definition: "d", Solution: "s", Workloads: []string{"u1", "u2", "u3"}}

func TestJudge_AllPassed(t *testing.T) {
	t.Parallel()
	v, err := gate.Judge(want, file(trace("d", "s", "u3", "PASSED", ""), trace("d", "s", "u1", "PASSED", ""), trace("d", "s", "u2", "PASSED", "")))
	require.NoError(t, err)
	require.Equal(t, 3, v.Passed)
	require.Empty(t, v.Refused)
	require.Len(t, v.Lines, 3)
	require.Contains(t, string(v.Lines[0]), `"u1"`, "in the order of the workloads")
}

func TestJudge_Refused(t *testing.T) {
	t.Parallel()
	log := strings.Repeat("x", 5000) + "CUDA error"
	v, err := gate.Judge(want, file(
		trace("d", "s", "u1", "PASSED", ""), trace("d", "s", "u2", "RUNTIME_ERROR", log),
		trace("d", "other solution", "u3", "PASSED", ""), trace("other", "s", "u3", "PASSED", ""), trace("d", "s", "u9", "PASSED", ""),
	))
	require.NoError(t, err)
	require.Equal(t, 1, v.Passed)
	require.Equal(t, 3, v.Others)
	require.Len(t, v.Refused, 2)
	require.Equal(t, "u2 RUNTIME_ERROR", v.Refused[0].Workload+" "+v.Refused[0].Status)
	require.True(t, strings.HasSuffix(v.Refused[0].Log, "CUDA error") && len(v.Refused[0].Log) < 1000)
	require.Equal(t, gate.Refused{Workload: "u3", Status: gate.Missing}, v.Refused[1])
}

// The latest trace of a workload counts, whether it is better or worse.
func TestJudge_Again(t *testing.T) {
	t.Parallel()
	one := gate.Want{Definition: "d", Solution: "s", Workloads: []string{"u1"}}
	v, err := gate.Judge(one, file(trace("d", "s", "u1", "TIMEOUT", ""), trace("d", "s", "u1", "PASSED", "")))
	require.NoError(t, err)
	require.Equal(t, 1, v.Passed)
	require.Equal(t, 1, v.Again)
	v, err = gate.Judge(one, file(trace("d", "s", "u1", "PASSED", ""), trace("d", "s", "u1", "INCORRECT_NUMERICAL", "")))
	require.NoError(t, err)
	require.Len(t, v.Refused, 1)
}

func TestJudge_Garbage(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		`{"definition": "d"}`: "traces.json is no list",
		`["text"]`:            "traces.json: trace 1",
		`[{"definition":"d","solution":"s","workload":{"uuid":"u1"}}]`: "trace 1, of workload u1, has no evaluation.status",
	} {
		_, err := gate.Judge(want, []gate.File{{Name: "traces.json", Data: []byte(text)}})
		require.ErrorContains(t, err, says)
	}
	v, err := gate.Judge(want, nil)
	require.NoError(t, err)
	require.Len(t, v.Refused, 3, "no trace at all is no pass")
}

func TestVerdict_Refuse(t *testing.T) {
	t.Parallel()
	v, err := gate.Judge(want, file(trace("d", "s", "u1", "PASSED", ""), trace("d", "s", "u2", "TIMEOUT", ""), trace("d", "s", "u3", "PASSED", "")))
	require.NoError(t, err)
	v.Refuse("u1", "OUTPUT_CONSTANT", "out is 0")
	v.Refuse("u1", "OUTPUT_CONSTANT", "lse is 0")
	v.Refuse("u2", "OUTPUT_CONSTANT", "out is 0")
	require.Equal(t, 1, v.Passed)
	require.Equal(t, []gate.Refused{{Workload: "u2", Status: "TIMEOUT"}, {Workload: "u1", Status: "OUTPUT_CONSTANT", Log: "out is 0"}}, v.Refused)
}
