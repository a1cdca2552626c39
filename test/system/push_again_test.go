package system_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

// A definition has one pull request, whatever collects for it again: what is open is added to, once the evaluation has passed and not before,
// and its text has a section of each collection.
func TestPush_Again(t *testing.T) {
	t.Parallel()
	standIn(t)
	h := hubtest.New(t, hubtest.Options{})
	dataset, state := newDataset(t), t.TempDir()
	collect := func(want int, name, behave string, more ...string) string {
		t.Helper()
		args := pushArgs(dataset, filepath.Join(state, name), append([]string{"--python", "python3", "--gpus", "0,1,2,3"}, more...)...)
		out, errs, code := runIn(t.Context(), t, env(h, "FAKE_BENCH_EVAL="+behave), args...)
		if code != want {
			t.Fatalf("%s: exit %d, want %d\n%s\n%s", name, code, want, out, errs)
		}
		return out
	}
	collect(0, "first", "")
	first := pushed(t, h, 2)
	texts := map[int]string{}
	for _, pr := range h.PRs() {
		texts[pr.Num] = pr.Description
	}

	out := collect(4, "second", "INCORRECT_NUMERICAL:1", "--seed", "2")
	if !strings.Contains(out, "INCORRECT_NUMERICAL") || !strings.Contains(out, "none of them is in it") || strings.Contains(out, "draft") {
		t.Errorf("after an evaluation that refused:\n%s", out)
	}
	for path, data := range pushed(t, h, 2) {
		if data != first[path] {
			t.Errorf("%s of what is open was written to", path)
		}
	}
	for _, pr := range h.PRs() {
		if pr.Status != "open" || pr.Description != texts[pr.Num] {
			t.Errorf("pull request %d is %s, its text\n%s", pr.Num, pr.Status, pr.Description)
		}
	}

	collect(0, "third", "", "--seed", "3")
	files := pushed(t, h, 2)
	for path, data := range first {
		if strings.Contains(path, decode+".jsonl") && (!strings.HasPrefix(files[path], data) || files[path] == data) {
			t.Errorf("%s is not added to", path)
		}
	}
	for _, pr := range h.PRs() {
		if strings.Contains(pr.Title, sampling) { // there is nothing new of it
			continue
		}
		if n := strings.Count(pr.Description, "<!-- tracefleet collection="); pr.Status != "open" || n != 2 || !strings.HasPrefix(pr.Description, strings.TrimRight(texts[pr.Num], "\n")) {
			t.Errorf("pull request %d is %s, its text has %d sections\n%s", pr.Num, pr.Status, n, pr.Description)
		}
		if strings.Contains(pr.Description, "has no record of") {
			t.Errorf("pull request %d: all that it has is told of\n%s", pr.Num, pr.Description)
		}
	}

	for i, pr := range h.PRs() {
		other := h.PRs()[1-i].Num
		definition := decode
		if strings.Contains(pr.Title, sampling) {
			definition = sampling
		}
		_, errs, code := runIn(t.Context(), t, env(h), littleArgs(dataset, filepath.Join(state, "fourth"),
			"--batch-sizes", "4", "--definitions", definition, "--repo-id", repo, "--no-eval", "--pr-num", strconv.Itoa(other))...)
		if code != 2 || !strings.Contains(errs, "is of another definition") {
			t.Errorf("%s to pull request %d: exit %d\n%s", definition, other, code, errs)
		}
	}
}

// A definition that the repository has with another content is found before anything runs, and before anything is written.
func TestPush_OtherDefinition(t *testing.T) {
	t.Parallel()
	seed := map[string][]byte{"definitions/gqa_paged/" + decode + ".json": []byte(`{"name": "` + decode + `", "op_type": "gqa_paged"}`)}
	h := hubtest.New(t, hubtest.Options{Seed: seed})
	dataset := newDataset(t)
	for _, more := range [][]string{{"--no-eval"}, {"--no-push"}} {
		state := filepath.Join(t.TempDir(), "state")
		out, errs, code := runIn(t.Context(), t, env(h), pushArgs(dataset, state, more...)...)
		if code != 2 || !strings.Contains(errs, "definitions/gqa_paged/"+decode+".json") || strings.Contains(out+errs, "attempt 1 begins") {
			t.Errorf("%v: exit %d\n%s\n%s", more, code, out, errs)
		}
		if _, err := os.Stat(state); err == nil {
			t.Errorf("%v: a broker was started", more)
		}
	}
	if prs := h.PRs(); len(prs) > 0 {
		t.Errorf("pull requests: %v", prs)
	}
}

// Who waits for the Hub is told so, and why.
func TestPush_Waiting(t *testing.T) {
	t.Parallel()
	h := hubtest.New(t, hubtest.Options{})
	h.Fault(hubtest.Once(hubtest.MakeCommit, hubtest.RetryLater(503, 1)))
	_, errs, code := runIn(t.Context(), t, env(h), pushArgs(newDataset(t), filepath.Join(t.TempDir(), "state"), "--no-eval")...)
	if code != 0 || !strings.Contains(errs, "the Hub is asked again in ") || !strings.Contains(errs, "it answered 503 Service Unavailable") {
		t.Errorf("exit %d\n%s", code, errs)
	}
}

// What was collected to be looked at first is what the same command publishes then, without running anything again.
func TestPush_Later(t *testing.T) {
	t.Parallel()
	for name, before := range map[string][]string{"planned": {"--repo-id", repo, "--no-push"}, "collected": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hubtest.New(t, hubtest.Options{})
			dataset, state := newDataset(t), filepath.Join(t.TempDir(), "state")
			args := littleArgs(dataset, state, "--batch-sizes", "4", "8", "--definitions", decode, sampling)
			if out, errs, code := runIn(t.Context(), t, env(h), append(args, before...)...); code != 0 || len(h.PRs()) > 0 {
				t.Fatalf("exit %d, %d pull requests\n%s\n%s", code, len(h.PRs()), out, errs)
			}
			args = append(args, "--repo-id", repo, "--no-eval")
			out, errs, code := runIn(t.Context(), t, env(h), args...)
			if code != 0 || !strings.Contains(errs, "was collected before and not pushed") || strings.Count(errs, "attempt 1 begins") != 2 { // what was said before is said again
				t.Fatalf("exit %d\n%s\n%s", code, out, errs)
			}
			samePushed(t, pushed(t, h, 2), dataset)
			if _, errs, _ := runIn(t.Context(), t, env(h), args...); strings.Contains(errs, "was collected before") {
				t.Errorf("what is published is taken for what is not:\n%s", errs)
			}
		})
	}
}

// A draft is opened only when the baseline has passed on all that it has, whoever collected it.
func TestPush_Unproven(t *testing.T) {
	t.Parallel()
	standIn(t)
	h := hubtest.New(t, hubtest.Options{})
	dataset, state := newDataset(t), t.TempDir()
	run := func(want int, behave string, more ...string) (out, errs string) {
		t.Helper()
		out, errs, code := runIn(t.Context(), t, env(h, "FAKE_BENCH_EVAL="+behave), more...)
		if code != want {
			t.Fatalf("exit %d, want %d\n%s\n%s", code, want, out, errs)
		}
		return out, errs
	}
	collect := func(want int, behave, name string, more ...string) (out, errs string) {
		return run(want, behave, littleArgs(dataset, filepath.Join(state, name), append([]string{
			"--batch-sizes", "4", "--definitions", decode, "--repo-id", repo, "--python", "python3", "--gpus", "0,1,2,3",
		}, more...)...)...)
	}
	out, _ := collect(4, "INCORRECT_NUMERICAL:1", "first")
	id := strings.TrimSuffix(strings.Fields(out[strings.Index(out, "collection c-"):])[1], ":")
	if _, errs := collect(4, "", "second", "--seed", "2", "--pr-num", "1"); !strings.Contains(errs, "workloads of other runs in") {
		t.Errorf("nothing was said of the draft's other workloads:\n%s", errs)
	}
	if prs := h.PRs(); len(prs) != 1 || prs[0].Status != "draft" {
		t.Errorf("pull requests %+v", prs)
	}
	run(0, "", "jobs", "retry", id, "--state-dir", filepath.Join(state, "first"))
	collect(0, "", "first")
	if prs := h.PRs(); len(prs) != 1 || prs[0].Status != "open" || strings.Contains(prs[0].Description, "**Refused**") {
		t.Errorf("after all passed: pull requests %+v", prs)
	}
	// What is not to be evaluated opens no draft with what was refused, and is added to nothing that is open unless the user names it.
	if _, errs := collect(1, "", "third", "--seed", "3", "--no-eval"); !strings.Contains(errs, "pull request 1 of "+repo+" is yours, open, and of the same definition") ||
		strings.Contains(errs, "attempt 1 begins") {
		t.Errorf("--no-eval beside what is open:\n%s", errs)
	}
	if err := h.MergePR(1); err != nil {
		t.Fatal(err)
	}
	collect(4, "INCORRECT_NUMERICAL:1", "fourth", "--seed", "4")
	collect(4, "", "fifth", "--seed", "5", "--no-eval", "--pr-num", "2")
	if prs := h.PRs(); len(prs) != 2 || prs[1].Status != "draft" {
		t.Errorf("pull requests %+v", prs)
	}
}

// Two collections at once make no two open pull requests of a definition, of which only one could be merged.
func TestPush_AtOnce(t *testing.T) {
	t.Parallel()
	h := hubtest.New(t, hubtest.Options{})
	type end struct {
		errs string
		code int
	}
	ends := make(chan end)
	for seed, rate := range map[string]string{"1": "8", "2": "3"} { // both have asked before the first is through, some seconds before the other
		args := littleArgs(newDataset(t), filepath.Join(t.TempDir(), "state"),
			"--batch-sizes", "4", "--definitions", decode, "--repo-id", repo, "--no-eval", "--seed", seed, "--dump-rate", rate)
		go func() {
			_, errs, code := runIn(t.Context(), t, env(h), args...)
			ends <- end{errs, code}
		}()
	}
	codes := map[int]int{}
	for range 2 {
		e := <-ends
		codes[e.code]++
		if e.code != 0 && !strings.Contains(e.errs, "of the same definition") {
			t.Errorf("exit %d\n%s", e.code, e.errs)
		}
	}
	open := 0
	for _, pr := range h.PRs() {
		if pr.Status == "open" {
			open++
		}
	}
	if open != 1 || codes[0] != 1 || codes[1] != 1 {
		t.Errorf("%d open pull requests, exit codes %v", open, codes)
	}
}
