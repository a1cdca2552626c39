package goldentest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tracefleet/tracefleet/internal/goldentest"
)

func TestDumps_EveryCase(t *testing.T) {
	t.Parallel()
	dumps := goldentest.Dumps(t)
	if again := goldentest.Dumps(t); again != dumps {
		t.Errorf("unpacked twice: %s and %s", dumps, again)
	}
	cases, err := filepath.Glob(filepath.Join(goldentest.Dir(t), "truth", "*.jsonl"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("no truth files: %v", err)
	}
	for _, c := range cases {
		name := filepath.Base(c[:len(c)-len(".jsonl")])
		if st, err := os.Stat(filepath.Join(dumps, name)); err != nil || !st.IsDir() {
			t.Errorf("case %s was not unpacked: %v", name, err)
		}
	}
}

func TestRealDumps_Session(t *testing.T) {
	t.Parallel()
	for _, run := range []string{"a", "c"} {
		if _, err := os.Stat(filepath.Join(goldentest.RealDumps(t, run), "session.jsonl")); err != nil {
			t.Error(err)
		}
	}
}
