package golden_test

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/tracefleet/tracefleet/coordinator/harvest"
	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

// TestReal_Evidence: what a worker notes of the calls it ships says of FlashInfer's trace files what the dumps themselves say.
func TestReal_Evidence(t *testing.T) {
	t.Parallel()
	dumps, traces := goldentest.RealDumps(t, "a"), filepath.Join(filepath.Dir(goldentest.RealDumps(t, "trace-a")), "a") // its folder is named after the run
	whole, _, err := harvest.ReadDumps(dumps)
	if err != nil {
		t.Fatal(err)
	}
	var noted manifest.Evidence
	for _, m := range read(t, dumps, proto.ModeOffline, nil, named(t, decodeDef, raggedDef)).manifests {
		noted.Add(m)
	}
	data, err := noted.JSON()
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := harvest.ParseEvidence(data, "evidence.json")
	if err != nil {
		t.Fatal(err)
	}
	report := func(e *harvest.Evidence) *harvest.Report {
		files, err := harvest.ReadDir(traces)
		if err != nil || len(files) == 0 {
			t.Fatalf("%d trace files, %v", len(files), err)
		}
		for i := range files {
			files[i].Evidence = e
		}
		return harvest.Run(files, nil)
	}
	want, got, without := report(whole), report(shipped), report(nil)
	if reflect.DeepEqual(want.Entries, without.Entries) {
		t.Fatal("the dumps say nothing of these files")
	}
	if !reflect.DeepEqual(got.Entries, want.Entries) {
		for i := range want.Entries {
			if !reflect.DeepEqual(got.Entries[i], want.Entries[i]) {
				t.Errorf("with what was noted %+v\nwith the dumps       %+v", got.Entries[i], want.Entries[i])
			}
		}
	}
}
