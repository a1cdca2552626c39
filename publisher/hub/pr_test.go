package hub

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

// TestCreatePR_Lost: it is posted once; who called finds out by asking.
func TestCreatePR_Lost(t *testing.T) {
	t.Parallel()
	for _, fault := range []hubtest.Action{
		{When: hubtest.After, Cut: true}, {When: hubtest.After, Status: 500}, {When: hubtest.After, Status: 200, Body: "{}"},
		{When: hubtest.After, Status: 200, Body: "<html>"}, {Status: 503}, {Cut: true}, {Status: 408},
	} {
		b := setup(t, hubtest.Options{}, Options{})
		b.hub.Fault(hubtest.Once(hubtest.CreatePR, fault))
		_, err := b.repo.CreatePR(t.Context(), "Add workloads", "text")
		if e := asError(t, err); !e.Lost || e.Retryable {
			t.Errorf("%+v: %+v", fault, e)
		}
		if n := b.hub.Count(hubtest.CreatePR); n != 1 {
			t.Errorf("%+v: posted %d times", fault, n)
		}
		var found []int
		for pr, err := range b.repo.PRs(t.Context(), PRQuery{Author: "contributor", Status: StatusDraft, Search: "Add workloads"}) {
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, pr.Num)
		}
		if len(found) != len(b.hub.PRs()) {
			t.Errorf("%+v: found %v of %d", fault, found, len(b.hub.PRs()))
		}
	}
}

func TestCreatePR_RefusedIsNotLost(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	b.hub.Fault(hubtest.Once(hubtest.CreatePR, hubtest.RateLimited(9)))
	if pr := b.pr(); pr.Num != 1 || len(b.slept) != 1 {
		t.Errorf("%+v, waited %v", pr, b.slept)
	}
	reader := setup(t, hubtest.Options{Users: []hubtest.User{{Name: "r", Token: "hf_reader", Role: "read"}}}, Options{})
	_, err := reader.repo.CreatePR(t.Context(), "Add workloads", "text")
	if e := asError(t, err); e.Status != 403 || e.Lost || !strings.Contains(e.Error(), "write access") {
		t.Errorf("%v", e)
	}
	for _, c := range [][2]string{{"ab", "text"}, {strings.Repeat("é", 201), "text"}, {"title", ""}, {"title", strings.Repeat("é", 65537)}} {
		if _, err := b.repo.CreatePR(t.Context(), c[0], c[1]); err == nil {
			t.Errorf("a title of %d and a text of %d characters are taken", len(c[0]), len(c[1]))
		}
	}
	if pr, err := b.repo.CreatePR(t.Context(), strings.Repeat("é", 200), strings.Repeat("é", 65536)); err != nil || pr.Num != 2 {
		t.Errorf("the longest: %+v, %v", pr, err)
	}
}

func TestPR(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	b.pr()
	pr, err := b.repo.PR(t.Context(), 1)
	if err != nil || pr.Title != "Add workloads" || pr.Status != StatusDraft || pr.Author != "contributor" || pr.Description != "What, and from where." ||
		pr.DescriptionID == "" || pr.Head != b.hub.Head("main") || pr.CreatedAt.IsZero() {
		t.Fatalf("%+v, %v", pr, err)
	}
	if err := b.repo.EditDescription(t.Context(), pr, "Something else."); err != nil {
		t.Fatal(err)
	}
	added, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "s", Files: texts(1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.repo.Comment(t.Context(), 1, "A comment."); err != nil {
		t.Fatal(err)
	}
	pr, err = b.repo.PR(t.Context(), 1)
	if err != nil || pr.Description != "Something else." || pr.Head != added.Head {
		t.Errorf("%+v, %v", pr, err)
	}
	if got := b.hub.PRs()[0].Comments; !slices.Equal(got, []string{"A comment."}) {
		t.Errorf("comments %q", got)
	}
	_, err = b.repo.PR(t.Context(), 2)
	if e := asError(t, err); e.Status != 404 {
		t.Errorf("%+v", e)
	}
	b.hub.Fault(hubtest.Once(hubtest.GetPR, hubtest.Action{Status: 200, Body: `{"num":3,"isPullRequest":false}`}))
	if _, err := b.repo.PR(t.Context(), 3); err == nil || !strings.Contains(err.Error(), "not a pull request") {
		t.Errorf("%v", err)
	}
	if err := b.repo.EditDescription(t.Context(), PR{Num: 1}, "x"); err == nil {
		t.Error("a description of no event is edited")
	}
}

// TestEdit_Again: an edit may be sent twice, a comment may not.
func TestEdit_Again(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	b.pr()
	pr, err := b.repo.PR(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	b.hub.Fault(hubtest.Once(hubtest.EditComment, hubtest.Action{When: hubtest.After, Cut: true}))
	if err := b.repo.EditDescription(t.Context(), pr, "new"); err != nil || b.hub.PRs()[0].Description != "new" {
		t.Errorf("%v, %+v", err, b.hub.PRs()[0])
	}
	b.hub.Fault(hubtest.Once(hubtest.Comment, hubtest.Action{When: hubtest.After, Cut: true}))
	err = b.repo.Comment(t.Context(), 1, "once")
	if e := asError(t, err); !e.Lost || len(b.hub.PRs()[0].Comments) != 1 {
		t.Errorf("%+v, %q", e, b.hub.PRs()[0].Comments)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault hubtest.Action
		posts int
	}{
		{"at once", hubtest.Action{}, 1},
		{"answer lost", hubtest.Action{When: hubtest.After, Cut: true}, 1},
		{"request lost", hubtest.Action{Cut: true}, 2},
		{"the Hub in trouble", hubtest.Action{Status: 500}, 2},
	} {
		b := setup(t, hubtest.Options{}, Options{})
		b.pr()
		b.hub.Fault(hubtest.Once(hubtest.SetStatus, c.fault))
		for range 2 { // the second time there is nothing to do
			if err := b.repo.Open(t.Context(), 1, "All passed."); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		pr := b.hub.PRs()[0]
		if pr.Status != "open" || len(pr.Comments) != 1 || b.hub.Count(hubtest.SetStatus) != c.posts {
			t.Errorf("%s: %+v after %d posts", c.name, pr, b.hub.Count(hubtest.SetStatus))
		}
		if err := b.hub.ClosePR(1); err != nil {
			t.Fatal(err)
		}
		if err := b.repo.Open(t.Context(), 1, ""); err == nil || !strings.Contains(err.Error(), "is closed") {
			t.Errorf("%s: a closed one: %v", c.name, err)
		}
	}
}

func TestPRs(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{PageSize: 3}, Options{})
	for i := range 8 {
		if _, err := b.repo.CreatePR(t.Context(), fmt.Sprintf("Add workloads %d", i), "text"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.repo.Open(t.Context(), 3, ""); err != nil {
		t.Fatal(err)
	}
	if err := b.hub.ClosePR(5); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    PRQuery
		want []int
	}{
		{PRQuery{}, []int{8, 7, 6, 5, 4, 3, 2, 1}},
		{PRQuery{Author: "Contributor"}, []int{8, 7, 6, 5, 4, 3, 2, 1}},
		{PRQuery{Author: "nobody"}, nil},
		{PRQuery{Status: StatusOpen}, []int{3}},
		{PRQuery{Status: StatusClosed}, []int{5}},
		{PRQuery{Status: StatusDraft}, []int{8, 7, 6, 4, 2, 1}},
		{PRQuery{Search: "workloads 6"}, []int{7}},
	} {
		var got []int
		for pr, err := range b.repo.PRs(t.Context(), c.q) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, pr.Num)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.q, got, c.want)
		}
	}
	for _, err := range b.repo.PRs(t.Context(), PRQuery{}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	b.hub.Fault(func(*http.Request, int) hubtest.Action { return hubtest.Action{Status: 404} })
	n := 0
	for _, err := range b.repo.PRs(t.Context(), PRQuery{}) {
		if n++; err == nil {
			t.Error("no error")
		}
	}
	if n != 1 {
		t.Errorf("%d results after an error", n)
	}
}

func TestWhoami(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{Users: []hubtest.User{{Name: "me", Token: "hf_mine", Role: "fineGrained"}}}, Options{})
	b.hub.Fault(hubtest.Once(hubtest.Whoami, hubtest.Action{Status: 500}))
	for range 3 {
		who, err := b.c.Whoami(t.Context())
		if err != nil || who.Name != "me" || who.Type != "user" || who.Role != "fineGrained" {
			t.Errorf("%+v, %v", who, err)
		}
	}
	if n := b.hub.Count(hubtest.Whoami); n != 2 {
		t.Errorf("asked %d times, want once and once more after a failure", n)
	}
	none, err := New(Options{Endpoint: b.hub.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Whoami(t.Context()); err == nil || !strings.Contains(err.Error(), "HF_TOKEN") || b.hub.Count(hubtest.Whoami) != 2 {
		t.Errorf("without a token: %v", err)
	}
}
