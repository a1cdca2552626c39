package system_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

// Workloads that passed, and on which a kernel that does nothing would pass too, keep a pull request a draft; where nothing is known of what
// the baseline computes, the text says so.
func TestPush_Outputs(t *testing.T) {
	t.Parallel()
	standIn(t)
	for behave, want := range map[string]struct {
		code   int
		status string
		words  string
	}{
		"zeros": {4, "draft", "OUTPUT_CONSTANT"},
		"nan":   {4, "draft", "OUTPUT_NAN"},
		"exit":  {0, "open", "**Not looked at** on "},
	} {
		t.Run(behave, func(t *testing.T) {
			t.Parallel()
			h := hubtest.New(t, hubtest.Options{})
			args := pushArgs(newDataset(t), filepath.Join(t.TempDir(), "state"), "--python", "python3", "--gpus", "0,1,2,3")
			out, errs, code := runIn(t.Context(), t, env(h, "FAKE_BENCH_OUTPUTS="+behave), args...)
			if code != want.code {
				t.Fatalf("exit %d, want %d\n%s\n%s", code, want.code, out, errs)
			}
			if n := len(h.PRs()); n != 2 {
				t.Errorf("%d pull requests", n)
			}
			for _, pr := range h.PRs() {
				if pr.Status != want.status || !strings.Contains(pr.Description, want.words) {
					t.Errorf("pull request %d is %s:\n%s", pr.Num, pr.Status, pr.Description)
				}
			}
		})
	}
}
