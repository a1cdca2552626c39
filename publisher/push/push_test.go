package push_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
	"github.com/tracefleet/tracefleet/publisher/hub"
	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
	"github.com/tracefleet/tracefleet/publisher/push"
)

const (
	marker     = "<!-- the marker -->"
	definition = "definitions/op/d.json"
	workloads  = "workloads/op/d.jsonl"
	solution   = "solutions/baseline/op/d/baseline.json"
)

// rig is a Hub, and a pull request's state that outlives the pushes on it, as in the pushes bucket.
type rig struct {
	t      *testing.T
	hub    *hubtest.Server
	client *hub.Client
	repo   *hub.Repo
	state  proto.PushState
}

func newRig(t *testing.T, o hubtest.Options) *rig {
	t.Helper()
	r := &rig{t: t, hub: hubtest.New(t, o), state: proto.PushState{Collection: "c", Definition: "d"}}
	client, err := hub.New(hub.Options{
		Endpoint: r.hub.URL, Token: r.hub.Token, Parallel: 1, Log: zerolog.Nop(), Sleep: func(context.Context, time.Duration) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.client = client
	if r.repo, err = client.Dataset("flashinfer-ai/flashinfer-trace"); err != nil {
		t.Fatal(err)
	}
	return r
}

// whose tells pull requests apart by their first words.
func whose(description string) push.Whose {
	switch first, _, _ := strings.Cut(description, "\n"); first {
	case marker:
		return push.Ours
	case "earlier":
		return push.Earlier
	case "another":
		return push.Another
	}
	return push.Theirs
}

// pull goes on from what was saved last: what an interrupted push had in memory is gone.
func (r *rig) pull() *push.Pull {
	state := r.state
	return &push.Pull{
		Client: r.client, Repo: r.repo, State: &state, Log: zerolog.Nop(),
		Text: push.Text{Title: "Workloads of d", Description: func(string) string { return marker + "\ntext" }, Whose: whose},
		Save: func(_ context.Context, s *proto.PushState) error { r.state = *s; return nil },
	}
}

func (r *rig) sync(c *push.Content) error {
	p := r.pull()
	if err := p.Sync(r.t.Context(), "add workloads of d", c); err != nil {
		return err
	}
	r.state = *p.State
	return nil
}

func (r *rig) read(rev, path string) string {
	r.t.Helper()
	var b bytes.Buffer
	if _, err := r.repo.Read(r.t.Context(), rev, path, &b); err != nil {
		r.t.Fatal(err)
	}
	return b.String()
}

func line(n int) string {
	return fmt.Sprintf(`{"definition": "d", "solution": null, "workload": {"uuid": "u%d"}, "evaluation": null}`, n)
}

const provenance = "provenance/op/d.jsonl"

func provenanceLine(n int) string {
	return fmt.Sprintf(`{"uuid":"u%d","collection":"c","task":"t000","calls_with_content":1,"calls_with_shape":1,"simulated":false}`, n)
}

// travelling adds the provenance of the workloads to a content.
func travelling(c *push.Content) *push.Content {
	l := push.Lines{Path: provenance, Key: dataset.ProvenanceKey, With: workloads, Workload: dataset.ProvenanceUUID}
	for i := range c.Lines[0].Add {
		l.Add = append(l.Add, []byte(provenanceLine(i)))
	}
	c.Lines = append(c.Lines, l)
	return c
}

// A commit has the provenance of the workloads that it adds, and not of workloads that the repository already has.
func TestSync_Provenance_TravelsWithItsWorkloads(t *testing.T) {
	t.Parallel()
	theirs := `{"uuid":"u0","collection":"theirs","task":"t009","calls_with_content":4,"calls_with_shape":4,"simulated":false}` + "\nno JSON\n"
	r := newRig(t, hubtest.Options{Seed: map[string][]byte{workloads: []byte(line(0) + "\n"), provenance: []byte(theirs)}})
	for n := 2; n <= 4; n += 2 {
		if err := r.sync(travelling(content(n))); err != nil {
			t.Fatal(err)
		}
	}
	rev := hub.PR{Num: r.state.PR}.Ref()
	if got, want := r.read(rev, provenance), theirs+provenanceLine(1)+"\n"+provenanceLine(2)+"\n"+provenanceLine(3)+"\n"; got != want {
		t.Errorf("provenance is\n%swant\n%s", got, want)
	}
	if r.state.Commits != 4 {
		t.Errorf("%d commits, want 4: blobs and lines, twice", r.state.Commits)
	}
	before := r.hub.Count(hubtest.MakeCommit)
	if err := r.sync(travelling(content(4))); err != nil || r.hub.Count(hubtest.MakeCommit) != before {
		t.Errorf("pushed again: %d commits, %v", r.hub.Count(hubtest.MakeCommit)-before, err)
	}
}

// content is a collection's after so many workloads.
func content(n int) *push.Content {
	c := &push.Content{
		Firm:    []hub.File{hub.FileOf(definition, []byte(`{"name": "d", "op_type": "op"}`))},
		Offered: []hub.File{hub.FileOf(solution, []byte(`{"name": "baseline"}`))},
		Lines:   []push.Lines{{Path: workloads, Key: push.WorkloadKey}},
	}
	for i := range n {
		c.Blobs = append(c.Blobs, hub.FileOf(fmt.Sprintf("blob/workloads/op/d/u%d.safetensors", i), bytes.Repeat([]byte{byte(i)}, 2000+i)))
		c.Lines[0].Add = append(c.Lines[0].Add, []byte(line(i)))
	}
	return c
}

func TestSync(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubtest.Options{Seed: map[string][]byte{"README.md": []byte("a dataset")}})
	for n := 2; n <= 4; n += 2 { // a batch after another
		if err := r.sync(content(n)); err != nil {
			t.Fatal(err)
		}
	}
	pr, err := r.repo.PR(t.Context(), r.state.PR)
	if err != nil || pr.Status != hub.StatusDraft || pr.Head != r.state.Head {
		t.Fatalf("pull request %+v, %v; our head is %s", pr, err, r.state.Head)
	}
	if got, want := r.read(pr.Ref(), workloads), line(0)+"\n"+line(1)+"\n"+line(2)+"\n"+line(3)+"\n"; got != want {
		t.Errorf("lines are\n%swant\n%s", got, want)
	}
	// Blobs and whole files come before lines, twice.
	if r.state.Commits != 4 || r.hub.Count(hubtest.CreatePR) != 1 {
		t.Errorf("%d commits, %d pull requests", r.state.Commits, r.hub.Count(hubtest.CreatePR))
	}
	// Again: nothing is left to do.
	before := r.hub.Count(hubtest.MakeCommit) + r.hub.Count(hubtest.PutObject) + r.hub.Count(hubtest.EditComment)
	if err := r.sync(content(4)); err != nil {
		t.Fatal(err)
	}
	if after := r.hub.Count(hubtest.MakeCommit) + r.hub.Count(hubtest.PutObject) + r.hub.Count(hubtest.EditComment); after != before {
		t.Errorf("%d writes of what was there", after-before)
	}
	p := r.pull()
	if err := p.Open(t.Context()); err != nil || !p.State.Open {
		t.Fatal(err)
	}
	if err := p.Open(t.Context()); err != nil {
		t.Errorf("opening it again: %v", err)
	}
	if pr, err := r.repo.PR(t.Context(), r.state.PR); err != nil || pr.Status != hub.StatusOpen {
		t.Errorf("%+v, %v", pr, err)
	}
}

// What the repository has is never changed: its lines stay in front, byte for byte, and its files stay.
func TestSync_AppendOnly(t *testing.T) {
	t.Parallel()
	theirs := "{\"definition\":\"d\",\"workload\":{\"uuid\":\"u1\",\"axes\":{}}}\nnot JSON\n" + `{"workload": {"uuid": "other"}}` // no newline at the end
	r := newRig(t, hubtest.Options{Seed: map[string][]byte{
		workloads: []byte(theirs), definition: []byte("{\"op_type\": \"op\",\n \"name\": \"d\"}\n"), solution: []byte(`{"name": "theirs"}`),
	}})
	if err := r.sync(content(3)); err != nil {
		t.Fatal(err)
	}
	ref := hub.PR{Num: r.state.PR}.Ref()
	if got, want := r.read(ref, workloads), theirs+"\n"+line(0)+"\n"+line(2)+"\n"; got != want {
		t.Errorf("lines are\n%swant\n%s", got, want)
	}
	if got := r.read(ref, solution); got != `{"name": "theirs"}` || len(r.state.Warnings) != 1 || !strings.Contains(r.state.Warnings[0], solution) {
		t.Errorf("solution is %s, warnings %q", got, r.state.Warnings)
	}
}

func TestSync_Conflicts(t *testing.T) {
	t.Parallel()
	for name, seed := range map[string]map[string][]byte{
		definition:                           {definition: []byte(`{"name": "d", "op_type": "op", "axes": {}}`)},
		"blob/workloads/op/d/u0.safetensors": {"blob/workloads/op/d/u0.safetensors": []byte("something else")},
	} {
		r := newRig(t, hubtest.Options{Seed: seed})
		err := r.sync(content(1))
		var f *proto.Failure
		if !errors.As(err, &f) || f.Code != proto.CodeHubConflict || !strings.Contains(f.Message, name) {
			t.Errorf("%s: %v", name, err)
		}
		if r.hub.Count(hubtest.MakeCommit) != 0 {
			t.Errorf("%s: something was written", name)
		}
	}
}

// Somebody else adds to the same files between our looking and our commit: their lines stay, ours follow, none comes twice.
func TestSync_SomebodyElse(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubtest.Options{})
	if err := r.sync(content(1)); err != nil {
		t.Fatal(err)
	}
	ref := hub.PR{Num: r.state.PR}.Ref()
	other := newRigOn(r)
	once := make(chan struct{}, 1)
	once <- struct{}{}
	r.hub.Fault(func(req *http.Request, _ int) hubtest.Action {
		if hubtest.KindOf(req) == hubtest.PathsInfo { // we have read the head by now
			select {
			case <-once:
				file := hub.FileOf(workloads, []byte(line(0)+"\n"+line(7)+"\n"))
				if _, err := other.Add(context.Background(), ref, hub.Add{Summary: "theirs", Files: []hub.File{file}}); err != nil {
					t.Error(err)
				}
			default:
			}
		}
		return hubtest.Action{}
	})
	if err := r.sync(content(3)); err != nil {
		t.Fatal(err)
	}
	if got, want := r.read(ref, workloads), line(0)+"\n"+line(7)+"\n"+line(1)+"\n"+line(2)+"\n"; got != want {
		t.Errorf("lines are\n%swant\n%s", got, want)
	}
}

func newRigOn(r *rig) *hub.Repo {
	r.t.Helper()
	client, err := hub.New(hub.Options{Endpoint: r.hub.URL, Token: r.hub.Token, Log: zerolog.Nop()})
	if err != nil {
		r.t.Fatal(err)
	}
	repo, err := client.Dataset("flashinfer-ai/flashinfer-trace")
	if err != nil {
		r.t.Fatal(err)
	}
	return repo
}

// TestSync_AnyFault has each fault happen to each request of two batches in turn, the process being killed by it: what the push had in
// memory is gone. Run again, it ends as it does undisturbed, with one pull request, and what was sent again is within one part.
func TestSync_AnyFault(t *testing.T) {
	t.Parallel()
	quiet := newRig(t, hubtest.Options{Verify: true})
	run := func(r *rig) error {
		for n := 1; n <= 2; n++ {
			if err := r.sync(content(n)); err != nil {
				return err
			}
		}
		p := r.pull()
		err := p.Open(r.t.Context())
		if err == nil {
			r.state = *p.State
		}
		return err
	}
	if err := run(quiet); err != nil {
		t.Fatal(err)
	}
	requests := 0
	for _, n := range quiet.hub.Counts() {
		requests += n
	}
	want := quiet.read("refs/pr/1", workloads)
	for name, fault := range map[string]hubtest.Action{
		"killed before": {Status: 403, Body: `{"error":"no"}`}, "killed after": {When: hubtest.After, Status: 403, Body: `{"error":"no"}`},
		"lost answer": {When: hubtest.After, Cut: true}, "500 after": {When: hubtest.After, Status: 500}, "cut within": {CutBody: 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 1; at <= requests; at++ {
				r := newRig(t, hubtest.Options{Verify: true})
				r.hub.Fault(func(_ *http.Request, n int) hubtest.Action {
					if n == at {
						return fault
					}
					return hubtest.Action{}
				})
				err := run(r)
				for range 3 {
					if err == nil {
						break
					}
					err = run(r)
				}
				if err != nil {
					t.Fatalf("request %d: %v", at, err)
				}
				if n := r.hub.Count(hubtest.CreatePR); n > 2 || r.state.PR != 1 || len(r.hub.PRs()) != 1 {
					t.Fatalf("request %d: pull request %d after %d tries", at, r.state.PR, n)
				}
				if got := r.read("refs/pr/1", workloads); got != want {
					t.Fatalf("request %d: lines are\n%swant\n%s", at, got, want)
				}
				var again, part int64
				for _, b := range content(2).Blobs {
					again, part = again+r.hub.Received(b.SHA256)-b.Size, max(part, b.Size)
				}
				if again > part {
					t.Fatalf("request %d: %d bytes were sent again, the largest part has %d", at, again, part)
				}
			}
		})
	}
}

func TestWould(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubtest.Options{Seed: map[string][]byte{workloads: []byte(line(0) + "\n")}})
	steps, err := r.pull().Would(t.Context(), content(2))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(steps, "\n")
	for _, want := range []string{"open a draft pull request", "add " + definition, "add blob/workloads/op/d/u1.safetensors, 2001 bytes", "append 1 lines to " + workloads} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if n := r.hub.Count(hubtest.MakeCommit) + r.hub.Count(hubtest.CreatePR) + r.hub.Count(hubtest.PutObject); n != 0 {
		t.Errorf("%d writes", n)
	}
}

// What is published is read where the next commit goes: on main, then on the pull request.
func TestPublished(t *testing.T) {
	t.Parallel()
	data, sums, err := newRig(t, hubtest.Options{}).pull().Published(t.Context(), workloads, "blob/workloads/op/d")
	if err != nil || data != nil || sums != nil {
		t.Fatalf("of an empty repository: %q, %v, %v", data, sums, err)
	}
	r := newRig(t, hubtest.Options{Seed: map[string][]byte{workloads: []byte(line(0) + "\n")}})
	data, sums, err = r.pull().Published(t.Context(), workloads, "blob/workloads/op/d")
	if err != nil || string(data) != line(0)+"\n" || len(sums) != 0 {
		t.Fatalf("of a main branch without blobs: %q, %v, %v", data, sums, err)
	}
	c := content(2)
	if err := r.sync(c); err != nil {
		t.Fatal(err)
	}
	data, sums, err = r.pull().Published(t.Context(), workloads, "blob/workloads/op/d")
	if err != nil || string(data) != line(0)+"\n"+line(1)+"\n" || len(sums) != 2 {
		t.Fatalf("of the pull request: %q, %v, %v", data, sums, err)
	}
	for _, f := range c.Blobs {
		if sums[f.Path] != f.SHA256 {
			t.Errorf("%s: %s, want %s", f.Path, sums[f.Path], f.SHA256)
		}
	}
}

// A pull request that ended is not written to, and one that somebody else began keeps its text.
func TestSync_TheirPullRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubtest.Options{})
	pr, err := r.repo.CreatePR(t.Context(), "Theirs", "their text")
	if err != nil {
		t.Fatal(err)
	}
	r.state.PR = pr.Num
	if err := r.sync(content(1)); err != nil {
		t.Fatal(err)
	}
	if pr, err := r.repo.PR(t.Context(), pr.Num); err != nil || pr.Description != "their text" {
		t.Errorf("%+v, %v", pr, err)
	}
	if err := push.Addable(r.repo, hub.PR{Num: 3, Status: hub.StatusMerged}, whose); err == nil || !strings.Contains(err.Error(), "3 of flashinfer-ai/flashinfer-trace is merged") {
		t.Error(err)
	}
}

// Two pull requests of one definition change one file: what an earlier collection opened is gone on with, or nothing is. Its draft is left
// alone, since what it has did not pass; so is what is closed.
func TestSync_GoesOn(t *testing.T) {
	t.Parallel()
	open := func(r *rig, num int) error { return r.repo.Open(t.Context(), num, "") }
	for name, test := range map[string]struct {
		description string
		then        func(*rig, int) error
		adopt       bool
		num         int
		says        string
	}{
		"earlier, open":             {"earlier\ntext", open, true, 1, ""},
		"earlier, open, not for it": {"earlier\ntext", open, false, 0, "pull request 1 of flashinfer-ai/flashinfer-trace is yours, open, and of the same definition"},
		"earlier, a draft":          {"earlier\ntext", func(*rig, int) error { return nil }, true, 2, ""},
		"another's definition":      {"another\ntext", open, true, 2, ""},
		"no text of ours":           {"text", open, true, 2, ""},
		"earlier, closed":           {"earlier\ntext", func(r *rig, num int) error { return errors.Join(open(r, num), r.hub.ClosePR(num)) }, true, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, hubtest.Options{Seed: map[string][]byte{"README.md": []byte("a dataset")}})
			pr, err := r.repo.CreatePR(t.Context(), "Before", test.description)
			if err != nil {
				t.Fatal(err)
			}
			if err := test.then(r, pr.Num); err != nil {
				t.Fatal(err)
			}
			p := r.pull()
			p.Adopt = func(hub.PR) bool { return test.adopt }
			err = p.Sync(t.Context(), "add workloads of d", content(2))
			if p.State.PR != test.num || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("pull request %d, %v", p.State.PR, err)
			}
		})
	}
}

// --pr-num is no remedy where it would be refused, since one of the two pull requests is of simulated workloads.
func TestSync_EarlierOpen_RemedyHoldsForSimulated(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		earlier, title string
		num            bool
	}{
		{"Workloads of d", "Workloads of d", true},
		{"SIMULATED: Workloads of d", "SIMULATED: Workloads of d", true},
		{"Workloads of d", "SIMULATED: Workloads of d", false},
		{"SIMULATED: Workloads of d", "Workloads of d", false},
	} {
		r := newRig(t, hubtest.Options{Seed: map[string][]byte{"README.md": []byte("a dataset")}})
		pr, err := r.repo.CreatePR(t.Context(), test.earlier, "earlier\ntext")
		require.NoError(t, err)
		require.NoError(t, r.repo.Open(t.Context(), pr.Num, ""))
		p := r.pull()
		p.Text.Title = test.title
		p.Adopt = func(hub.PR) bool { return false }
		err = p.Sync(t.Context(), "add workloads of d", content(2))
		require.ErrorContains(t, err, "is yours, open, and of the same definition")
		require.ErrorContains(t, err, "merge or close it first")
		require.Equal(t, test.num, strings.Contains(err.Error(), "--pr-num 1"), "%s, then %s: %v", test.earlier, test.title, err)
	}
}

// What was merged or closed while it was added to is not the end: the next workloads go into a new one. A user's own choice is.
func TestSync_EndedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubtest.Options{Seed: map[string][]byte{"README.md": []byte("a dataset")}})
	if err := r.sync(content(2)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.repo.Open(t.Context(), 1, ""), r.hub.MergePR(1)); err != nil {
		t.Fatal(err)
	}
	p := r.pull()
	p.Given = true
	if err := p.Sync(t.Context(), "add workloads of d", content(4)); err == nil || !strings.Contains(err.Error(), "is merged, and takes no more") {
		t.Errorf("the user's choice: %v", err)
	}
	if err := r.sync(content(4)); err != nil || r.state.PR != 2 {
		t.Fatalf("pull request %d, %v", r.state.PR, err)
	}
	pr, err := r.repo.PR(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := line(0) + "\n" + line(1) + "\n" + line(2) + "\n" + line(3) + "\n"; r.read(pr.Ref(), workloads) != want {
		t.Errorf("it has\n%swant\n%s", r.read(pr.Ref(), workloads), want)
	}
}

// Somebody else's words, written while the commits were under way, are kept.
func TestSync_TextChangedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubtest.Options{Seed: map[string][]byte{"README.md": []byte("a dataset")}})
	if err := r.sync(content(1)); err != nil {
		t.Fatal(err)
	}
	p := r.pull()
	p.Text.Description = func(old string) string { return old + "\nmore" }
	r.hub.Fault(func(req *http.Request, _ int) hubtest.Action {
		if hubtest.KindOf(req) == hubtest.MakeCommit {
			pr, err := newRigOn(r).PR(context.Background(), 1)
			if err == nil {
				err = newRigOn(r).EditDescription(context.Background(), pr, marker+"\ntheir words")
			}
			if err != nil {
				t.Error(err)
			}
		}
		return hubtest.Action{}
	})
	if err := p.Sync(t.Context(), "add workloads of d", content(2)); err != nil {
		t.Fatal(err)
	}
	if pr, err := r.repo.PR(t.Context(), 1); err != nil || pr.Description != marker+"\ntheir words\nmore" {
		t.Errorf("%q, %v", pr.Description, err)
	}
}

// What is given by its number is looked at too.
func TestSync_Refused(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubtest.Options{Seed: map[string][]byte{"README.md": []byte("a dataset")}})
	pr, err := r.repo.CreatePR(t.Context(), "Before", "another\ntext")
	if err != nil {
		t.Fatal(err)
	}
	r.state.PR = pr.Num
	before := r.hub.Count(hubtest.MakeCommit)
	var f *proto.Failure
	if err := r.sync(content(2)); !errors.As(err, &f) || f.Code != proto.CodeHubPR || !strings.Contains(f.Message, "of another definition: Before") {
		t.Errorf("%v", err)
	}
	if n := r.hub.Count(hubtest.MakeCommit) - before; n != 0 {
		t.Errorf("%d commits", n)
	}
}

// What a pull request adds is told from what is published, and from what has no key.
func TestAdded(t *testing.T) {
	t.Parallel()
	r := newRig(t, hubtest.Options{Seed: map[string][]byte{workloads: []byte(line(7) + "\nnot a line\n")}})
	if added, err := r.pull().Added(t.Context(), workloads, push.WorkloadKey); err != nil || len(added) != 0 {
		t.Errorf("without a pull request %q, %v", added, err)
	}
	if err := r.sync(content(2)); err != nil {
		t.Fatal(err)
	}
	added, err := r.pull().Added(t.Context(), workloads, push.WorkloadKey)
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(added)), []string{"u0", "u1"}) || strings.TrimSpace(string(added["u1"])) != line(1) {
		t.Errorf("%q, %v", added, err)
	}
}
