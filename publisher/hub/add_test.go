package hub

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

// commits gives the commits of the only pull request, and checks that each is the parent of the next.
func (b *bundle) commits() []hubtest.Commit {
	b.t.Helper()
	prs := b.hub.PRs()
	if len(prs) != 1 {
		b.t.Fatalf("%d pull requests, want 1", len(prs))
	}
	parent := b.hub.Head("main")
	for _, c := range prs[0].Commits {
		if c.Parent != parent {
			b.t.Errorf("commit %q has parent %s, want %s", c.Summary, c.Parent, parent)
		}
		parent = c.OID
	}
	return prs[0].Commits
}

func texts(n int) []File {
	files := make([]File, n)
	for i := range files {
		files[i] = FileOf(fmt.Sprintf("solutions/s%04d.json", i), []byte(fmt.Sprint(i)))
	}
	return files
}

// TestAdd_AnswerLost: whatever the Hub says in place of the answer to a commit that it made, there is one commit.
func TestAdd_AnswerLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault hubtest.Action
		sent  int // commits
		made  int
	}{
		{"cut after the effect", hubtest.Action{When: hubtest.After, Cut: true}, 1, 1},
		{"500 after the effect", hubtest.Action{When: hubtest.After, Status: 500}, 1, 1},
		{"504 after the effect", hubtest.Action{When: hubtest.After, Status: 504}, 1, 1},
		{"an answer that is no JSON", hubtest.Action{When: hubtest.After, Status: 200, Body: "<html>"}, 1, 1},
		{"an answer that names no commit", hubtest.Action{When: hubtest.After, Status: 200, Body: "{}"}, 1, 1},
		{"cut before the effect", hubtest.Action{Cut: true}, 2, 1},
		{"503 before the effect", hubtest.Action{Status: 503}, 2, 1},
		{"cut within the body", hubtest.Action{CutBody: 20}, 2, 1},
		{"504 before the effect: less at a time", hubtest.Action{Status: 504}, 3, 2},
	} {
		b := setup(t, hubtest.Options{}, Options{})
		pr := b.pr()
		files := append(texts(3), blob(1, 100))
		b.hub.Fault(hubtest.Once(hubtest.MakeCommit, c.fault))
		added, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "add", Files: files})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		b.check(pr.Ref(), files...)
		if sent, made := b.hub.Count(hubtest.MakeCommit), len(b.commits()); sent != c.sent || made != c.made || added.Commits != c.made {
			t.Errorf("%s: %d commits sent, %d made, %d counted; want %d and %d", c.name, sent, made, added.Commits, c.sent, c.made)
		}
		if added.Head != b.hub.Head(pr.Ref()) {
			t.Errorf("%s: head is %s, want %s", c.name, added.Head, b.hub.Head(pr.Ref()))
		}
	}
}

// TestAdd_LateEffect: the Hub gives up on a commit and makes it all the same, after it was asked and said that it had not, and
// while the same is sent again.
func TestAdd_LateEffect(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	pr := b.pr()
	files := texts(4)
	late, done, n := make(chan struct{}), make(chan struct{}), 0
	b.hub.Fault(func(r *http.Request, _ int) hubtest.Action {
		if hubtest.KindOf(r) != hubtest.MakeCommit {
			return hubtest.Action{}
		}
		if n++; n == 1 {
			return hubtest.Action{When: hubtest.Later, Wait: late, Done: done, Status: http.StatusGatewayTimeout}
		}
		if n == 2 {
			close(late)
			<-done
		}
		return hubtest.Action{}
	})
	added, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "add", Files: files})
	if err != nil {
		t.Fatal(err)
	}
	b.check(pr.Ref(), files...)
	if made := b.commits(); len(made) != 1 || added.Commits != 1 || added.Head != made[0].OID || n != 2 {
		t.Errorf("made %d commits with %d tries: %+v", len(made), n, added)
	}
}

func TestAdd_LostForGood(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{Retries: 2})
	pr := b.pr()
	b.hub.Fault(func(r *http.Request, _ int) hubtest.Action {
		return map[hubtest.Kind]hubtest.Action{hubtest.MakeCommit: {Cut: true}}[hubtest.KindOf(r)]
	})
	_, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "add", Files: texts(1)})
	if e := asError(t, err); !e.Lost || e.Conflict || !strings.Contains(e.Error(), "ask the Hub") {
		t.Errorf("%+v", e)
	}
	if n := b.hub.Count(hubtest.MakeCommit); n != 3 {
		t.Errorf("%d tries, want 3", n)
	}
	// Who cannot even ask says so, and which commit it was about.
	asked := b.hub.Count(hubtest.Preupload)
	b.hub.Fault(func(r *http.Request, _ int) hubtest.Action {
		if b.hub.Count(hubtest.Preupload) > asked+1 || hubtest.KindOf(r) == hubtest.MakeCommit {
			return hubtest.Action{Cut: true}
		}
		return hubtest.Action{}
	})
	_, err = b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "add", Files: texts(1)})
	if err == nil || !strings.Contains(err.Error(), "while asking what became of") {
		t.Errorf("%v", err)
	}
}

// TestAdd_LostOften: how often an answer may be lost is counted for each commit.
func TestAdd_LostOften(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{Retries: 1})
	pr := b.pr()
	b.hub.Fault(func(r *http.Request, _ int) hubtest.Action {
		if hubtest.KindOf(r) != hubtest.MakeCommit {
			return hubtest.Action{}
		}
		if b.hub.Count(hubtest.MakeCommit)%2 == 1 {
			return hubtest.Action{Cut: true}
		}
		return hubtest.Action{When: hubtest.After, Status: 500}
	})
	files := texts(1100)
	added, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "add", Files: files})
	if err != nil || added.Commits != 3 || len(b.commits()) != 3 {
		t.Errorf("%+v, %v; %d commits", added, err, len(b.commits()))
	}
	b.check(pr.Ref(), files...)
}

// TestAdd_HubBehindItself: 412 under the parent that is the head passes, or is a conflict in the end.
func TestAdd_HubBehindItself(t *testing.T) {
	t.Parallel()
	refusal := hubtest.Action{Status: http.StatusPreconditionFailed, Body: `{"error":"A commit has happened since. Please refresh and try again."}`}
	b := setup(t, hubtest.Options{}, Options{})
	pr := b.pr()
	b.hub.Fault(hubtest.Times(2, hubtest.MakeCommit, refusal))
	if added, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "add", Files: texts(1)}); err != nil || added.Commits != 1 || len(b.slept) != 1 {
		t.Errorf("%+v, %v; waited %v", added, err, b.slept)
	}
	b.hub.Fault(hubtest.Times(100, hubtest.MakeCommit, refusal))
	_, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "add", Files: texts(2)})
	if e := asError(t, err); !e.Conflict || e.Lost || b.hub.Count(hubtest.MakeCommit) != 3+6 {
		t.Errorf("%+v after %d tries", e, b.hub.Count(hubtest.MakeCommit)-3)
	}
}

func TestAdd_Conflict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		parent func(seen string) string
		before hubtest.Kind // when another commit comes in between
		other  string       // the file that it has
		want   bool
	}{
		{"the parent is not the head", func(string) string { return strings.Repeat("0", 40) }, "", "", true},
		{"another commit, while the commit is on its way", nil, hubtest.MakeCommit, "other.json", true},
		{"another commit, while the parent was being read", func(seen string) string { return seen }, hubtest.Preupload, "other.json", true},
		{"another commit, before the head is asked for", nil, hubtest.Preupload, "other.json", false},
		{"another commit of the same", nil, hubtest.MakeCommit, "solutions/s0000.json", false},
	} {
		b := setup(t, hubtest.Options{}, Options{})
		pr := b.pr()
		var once sync.Once
		b.hub.Fault(func(r *http.Request, _ int) hubtest.Action {
			if hubtest.KindOf(r) == c.before {
				once.Do(func() {
					if _, err := b.hub.Push(pr.Ref(), "other", "in between", map[string][]byte{c.other: []byte("0")}); err != nil {
						t.Error(err)
					}
				})
			}
			return hubtest.Action{}
		})
		add := Add{Summary: "add", Files: texts(1)}
		if c.parent != nil {
			add.Parent = c.parent(b.hub.Head(pr.Ref()))
		}
		added, err := b.repo.Add(t.Context(), pr.Ref(), add)
		if !c.want {
			ours := 0
			for _, commit := range b.commits() {
				if commit.Author == "contributor" {
					ours++
				}
			}
			if err != nil || added.Head != b.hub.Head(pr.Ref()) || added.Commits != ours {
				t.Errorf("%s: %+v, %v; %d commits are ours", c.name, added, err, ours)
			}
			continue
		}
		if e := asError(t, err); !e.Conflict || e.Lost || e.Retryable {
			t.Errorf("%s: %+v", c.name, e)
		}
		if files, _ := b.hub.Files(pr.Ref()); files["solutions/s0000.json"] != nil {
			t.Errorf("%s: it was committed all the same", c.name)
		}
	}
}

// TestAdd_LostAndOvertaken: another's commit came in before ours, whose answer was lost as well.
func TestAdd_LostAndOvertaken(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	pr := b.pr()
	b.hub.Fault(func(r *http.Request, _ int) hubtest.Action {
		if hubtest.KindOf(r) != hubtest.MakeCommit {
			return hubtest.Action{}
		}
		if _, err := b.hub.Push(pr.Ref(), "other", "in between", map[string][]byte{"other.json": nil}); err != nil {
			t.Error(err)
		}
		return hubtest.Action{Cut: true}
	})
	_, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "add", Files: texts(1)})
	if e := asError(t, err); !e.Conflict || e.Lost {
		t.Errorf("%+v", e)
	}
}

func TestAdd_Busy(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	pr := b.pr()
	release := b.hub.Hold()
	b.hub.Fault(func(*http.Request, int) hubtest.Action {
		if b.hub.Count(hubtest.MakeCommit) == 10 {
			release()
			release = func() {}
		}
		return hubtest.Action{}
	})
	if _, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "add", Files: texts(1)}); err != nil {
		t.Fatal(err)
	}
	const s = time.Second
	want := []time.Duration{s, 2 * s, 4 * s, 8 * s, 8 * s, 8 * s, 8 * s, 8 * s, 8 * s}
	if n := b.hub.Count(hubtest.MakeCommit); n != 10 || len(b.commits()) != 1 || !slices.Equal(b.slept, want) {
		t.Errorf("%d tries, %d commits, waited %v", n, len(b.commits()), b.slept)
	}
}

func TestAdd_Splits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		files int
		most  int
		want  []int // files in each commit
	}{
		{"500 are one", 500, 0, []int{500}},
		{"501 are two", 501, 0, []int{500, 1}},
		{"halved where it is too much", 1100, 130, []int{125, 125, 125, 125, 125, 125, 125, 125, 100}},
	} {
		b := setup(t, hubtest.Options{MostOps: c.most}, Options{})
		pr := b.pr()
		files := texts(c.files)
		added, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "Add", Description: "why", Files: files})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		b.check(pr.Ref(), files...)
		made := b.commits()
		if len(made) != len(c.want) || added.Commits != len(c.want) {
			t.Fatalf("%s: %d commits, want %d", c.name, len(made), len(c.want))
		}
		for i, commit := range made {
			summary := "Add"
			if i > 0 {
				summary = fmt.Sprintf("Add (part %d)", i+1)
			}
			if commit.Ops != c.want[i] || commit.Summary != summary || commit.Description != "why" {
				t.Errorf("%s: commit %d is %q with %d files, want %q with %d", c.name, i, commit.Summary, commit.Ops, summary, c.want[i])
			}
		}
	}
}

// TestAdd_MuchContent: what is sent within a commit is bounded in bytes too, and one file that is too much for the Hub is an error.
func TestAdd_MuchContent(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	pr := b.pr()
	var files []File
	for i := range 8 {
		files = append(files, FileOf(fmt.Sprintf("solutions/%d.json", i), bytes.Repeat([]byte{'a' + byte(i)}, 9<<20)))
	}
	if _, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "Add", Files: files}); err != nil {
		t.Fatal(err)
	}
	b.check(pr.Ref(), files...)
	if made := b.commits(); len(made) != 2 || made[0].Ops != 7 {
		t.Errorf("%d commits, the first with %d files; want 2 and 7", len(made), made[0].Ops)
	}
	b.hub.Fault(hubtest.Once(hubtest.MakeCommit, hubtest.Action{Status: http.StatusRequestEntityTooLarge}))
	_, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "Add", Files: texts(1)})
	if e := asError(t, err); e.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("%+v", e)
	}
}

// TestAdd_LargeText: a JSONL file of more than 10 MiB goes to storage, and the Hub writes so in .gitattributes.
func TestAdd_LargeText(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	pr := b.pr()
	f := text("workloads/gqa/d.jsonl", 600_000)
	added, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "Add", Files: []File{f}})
	if err != nil || added.Sent != 1 {
		t.Fatalf("%+v, %v", added, err)
	}
	b.check(pr.Ref(), f)
	if files, _ := b.hub.Files(pr.Ref()); !bytes.Contains(files[".gitattributes"], []byte("workloads/gqa/d.jsonl filter=lfs")) {
		t.Errorf("attributes are %s", files[".gitattributes"])
	}
}
