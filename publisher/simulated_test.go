package publisher

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

const foreignLine = `{"definition":"paged_decode_ps4","solution":null,"workload":{"axes":{"batch_size":3,"num_pages":9,"len_indptr":4,"num_kv_indices":9},"inputs":{"q":{"type":"random"}},"uuid":"11111111-2222-4333-8444-555555555555"},"evaluation":null}` + "\n"

func TestPrepare_SimulatedAndOthers_NeverShareAFile(t *testing.T) {
	t.Parallel()
	s, def := store{}, testDefinition(t, defName)
	workloads, provenance := fitrace.WorkloadsPath("gqa_paged", defName), fitrace.ProvenancePath("gqa_paged", defName)
	old := func() *proto.Verdict { return verdict("o0", s.candidate(defName, 0, 3, 3, 3)) }
	publish := func(t *testing.T, dir string, v ...*proto.Verdict) {
		mustPublish(t, dir, []*fitrace.Definition{def}, v, s, LocalOptions{})
	}
	for name, test := range map[string]struct {
		prepare   func(t *testing.T, dir string)
		simulated bool
		replace   bool
		refused   string // words of the failure, separated by |; empty: it is published
	}{
		"simulated into nothing":   {func(*testing.T, string) {}, true, false, ""},
		"simulated into simulated": {func(t *testing.T, dir string) { publish(t, dir, simulated(old())...) }, true, false, ""},
		"simulated into simulated, without our records": {func(t *testing.T, dir string) {
			publish(t, dir, simulated(old())...)
			require.NoError(t, os.RemoveAll(filepath.Join(dir, dataset.Private)))
		}, true, false, ""},
		"simulated into simulated, without provenance": {func(t *testing.T, dir string) {
			publish(t, dir, simulated(old())...)
			require.NoError(t, os.Remove(filepath.Join(dir, provenance)))
		}, true, false, ""},
		"simulated into simulated, without either": {func(t *testing.T, dir string) {
			publish(t, dir, simulated(old())...)
			require.NoError(t, os.RemoveAll(filepath.Join(dir, dataset.Private)))
			require.NoError(t, os.Remove(filepath.Join(dir, provenance)))
		}, true, false, "simulated calls|1 of its 1 lines are not known to be simulated"},
		"simulated into real": {func(t *testing.T, dir string) { publish(t, dir, old()) }, true, false, workloads + "|1 of its 1 lines are not known to be simulated (the first is line 1)|mkdir DIR-simulated && cp -r DIR/definitions DIR-simulated/"},
		"simulated into others'": {func(t *testing.T, dir string) {
			publish(t, dir, simulated(old())...)
			write(t, filepath.Join(dir, workloads), appendTo(t, filepath.Join(dir, workloads), foreignLine))
		}, true, false, "1 of its 2 lines are not known to be simulated (the first is line 2)"},
		"simulated into a line that does not parse": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, workloads), badLine) }, true, false, "not known to be simulated"},
		"simulated in the place of real":            {func(t *testing.T, dir string) { publish(t, dir, old()) }, true, true, ""},
		"simulated in the place of what does not parse": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, workloads), badLine)
		}, true, true, "not known to be simulated"},
		"real into real":    {func(t *testing.T, dir string) { publish(t, dir, old()) }, false, false, ""},
		"real into others'": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, workloads), foreignLine) }, false, false, ""},
		"real into simulated": {func(t *testing.T, dir string) { publish(t, dir, simulated(old())...) }, false, false,
			"calls that are not simulated to " + workloads + "|1 of its 1 lines are simulated|mkdir DIR-real && cp"},
		"real into simulated, without provenance": {func(t *testing.T, dir string) {
			publish(t, dir, simulated(old())...)
			require.NoError(t, os.Remove(filepath.Join(dir, provenance)))
		}, false, false, "are simulated"},
		"real in the place of simulated": {func(t *testing.T, dir string) { publish(t, dir, simulated(old())...) }, false, true, ""},
	} {
		t.Run(name, func(t *testing.T) { // one after the other: they share the store
			dir := filepath.Join(t.TempDir(), "set")
			require.NoError(t, os.Mkdir(dir, 0o755))
			test.prepare(t, dir)
			calls, verdicts := CallsReal, s.someVerdicts(defName)
			if test.simulated {
				calls, verdicts = CallsSimulated, simulated(verdicts...)
			}
			before := public(t, dir)
			early := CheckMix(dir, []*fitrace.Definition{def}, test.replace, calls)
			res, err := PublishLocal(t.Context(), dir, []*fitrace.Definition{def}, verdicts, s.get, LocalOptions{Max: 4, Replace: test.replace, Log: nopLog})
			require.NoError(t, err)
			if test.refused == "" {
				require.NoError(t, early)
				require.Nil(t, res[0].Failure)
				require.Len(t, res[0].Workloads, 4)
				return
			}
			require.NotNil(t, res[0].Failure)
			require.Equal(t, proto.CodeSimulatedMix, res[0].Failure.Code)
			require.EqualError(t, early, res[0].Failure.Error(), "the early check has the same text")
			for word := range strings.SplitSeq(strings.ReplaceAll(test.refused, "DIR", dir), "|") {
				require.Contains(t, early.Error(), word)
			}
			require.True(t, maps.Equal(before, public(t, dir)), "something was written")
		})
	}
}

func TestPrepare_MixedDumps_AreRefused(t *testing.T) {
	t.Parallel()
	s, dir, defs := store{}, t.TempDir(), []*fitrace.Definition{testDefinition(t, defName), testDefinition(t, "other")}
	list := append(simulated(verdict("a", s.candidate(defName, 0, 1, 2))), verdict("b", s.candidate("other", 0, 4)))
	res, err := PublishLocal(t.Context(), dir, defs, list, s.get, LocalOptions{Max: 4, Log: nopLog})
	require.NoError(t, err)
	for _, r := range res {
		require.NotNil(t, r.Failure)
		require.Equal(t, proto.CodeSimulatedMix, r.Failure.Code)
	}
	require.NoDirExists(t, filepath.Join(dir, "workloads"))
	require.NoDirExists(t, filepath.Join(dir, "provenance"))
	// The record of a dump that cannot be converted may be too short for its mark.
	mustPublish(t, dir, defs, append(simulated(verdict("a", s.candidate(defName, 0, 1, 2))), rejection("r", defName, "corrupt_dump")), s, LocalOptions{})
	require.Len(t, provenanceOf(t, dir), 1)
	require.True(t, provenanceOf(t, dir)[0].Simulated)
}

func TestCheckMix_NoDirectoryOrUnknownCalls_Passes(t *testing.T) {
	t.Parallel()
	dir, defs := t.TempDir(), []*fitrace.Definition{testDefinition(t, defName)}
	require.NoError(t, CheckMix(filepath.Join(dir, "none"), defs, false, CallsSimulated))
	write(t, filepath.Join(dir, fitrace.WorkloadsPath("gqa_paged", defName)), foreignLine)
	require.NoError(t, CheckMix(dir, defs, false, CallsUnknown))
	require.Error(t, CheckMix(dir, defs, false, CallsSimulated))
}
