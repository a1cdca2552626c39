package hub

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Status is a pull request's.
type Status string

// The statuses. A draft cannot be merged, and an open pull request does not become a draft again.
const (
	StatusDraft  Status = "draft"
	StatusOpen   Status = "open"
	StatusClosed Status = "closed"
	StatusMerged Status = "merged"
)

// PR is a pull request. What PRs gives lacks Description, DescriptionID and Head.
type PR struct {
	Num           int
	Title         string
	Status        Status
	Author        string
	CreatedAt     time.Time
	Description   string // Markdown
	DescriptionID string // of the event that holds the description
	Head          string // commit of its ref, 40 hex digits; "" where the ref was deleted
	URL           string // for people
}

// Ref gives the revision that holds the pull request's files, refs/pr/N.
func (p PR) Ref() string { return "refs/pr/" + strconv.Itoa(p.Num) }

// The lengths that the Hub allows, in characters.
const (
	shortestTitle = 3
	longestTitle  = 200
	longestText   = 65536
)

// CreatePR makes a pull request on the default branch, with no commit yet: a draft. It posts once. Where the answer is lost it
// fails with an *Error that has Lost set, and PRs tells whether it was made.
func (r *Repo) CreatePR(ctx context.Context, title, description string) (PR, error) {
	if n := utf8.RuneCountInString(title); n < shortestTitle || n > longestTitle {
		return PR{}, fmt.Errorf("a pull request's title has %d characters, must have %d to %d", n, shortestTitle, longestTitle)
	}
	if err := checkText(description); err != nil {
		return PR{}, err
	}
	send := map[string]any{"title": title, "description": description, "pullRequest": true}
	var answer struct{ Num int }
	cl := call{op: "create pull request", method: http.MethodPost, url: r.api("discussions"), once: true}
	if err := r.c.json(ctx, cl, send, &answer); err != nil {
		return PR{}, err
	}
	if answer.Num <= 0 {
		return PR{}, &Error{Op: cl.op, Method: cl.method, URL: cl.url, Status: http.StatusOK, Lost: true, Message: "the answer has no number"}
	}
	return PR{Num: answer.Num, Title: title, Status: StatusDraft, Description: description, URL: r.prURL(answer.Num)}, nil
}

func checkText(text string) error {
	if n := utf8.RuneCountInString(text); n < 1 || n > longestText {
		return fmt.Errorf("a pull request's text has %d characters, must have 1 to %d", n, longestText)
	}
	return nil
}

func (r *Repo) prURL(num int) string {
	return r.c.url("datasets", r.id, "discussions", strconv.Itoa(num))
}

// discussion gives the URL of a pull request in the API, or of something of it. Pull requests are discussions there.
func (r *Repo) discussion(num int, pieces ...string) string {
	return r.api(append([]string{"discussions", strconv.Itoa(num)}, pieces...)...)
}

// summary is what a list of discussions and a single one have in common.
type summary struct {
	Num           int
	Title         string
	Status        Status
	IsPullRequest bool
	CreatedAt     time.Time
	Author        struct{ Name string }
}

func (s *summary) pr(r *Repo) PR {
	return PR{Num: s.Num, Title: s.Title, Status: s.Status, Author: s.Author.Name, CreatedAt: s.CreatedAt, URL: r.prURL(s.Num)}
}

// PR asks for a pull request. It fails with status 404 where there is none of that number.
func (r *Repo) PR(ctx context.Context, num int) (PR, error) {
	var answer struct {
		summary
		Events []struct {
			ID   string
			Type string
			Data struct {
				Latest struct{ Raw string }
			}
		}
		Changes struct {
			HeadCommitID string
			RefDeleted   bool
		}
	}
	op := fmt.Sprintf("ask for pull request %d", num)
	if err := r.c.json(ctx, call{op: op, method: http.MethodGet, url: r.discussion(num)}, nil, &answer); err != nil {
		return PR{}, err
	}
	if !answer.IsPullRequest {
		return PR{}, fmt.Errorf("%s is a discussion, not a pull request; give a pull request's number", r.prURL(num))
	}
	pr := answer.pr(r)
	for _, e := range answer.Events {
		if e.Type == "comment" { // the first one is the description
			pr.Description, pr.DescriptionID = e.Data.Latest.Raw, e.ID
			break
		}
	}
	pr.Head = answer.Changes.HeadCommitID
	if pr.Head == "" && !answer.Changes.RefDeleted { // the Hub need not say, and does not before the first commit
		info, err := r.Info(ctx, pr.Ref())
		if err != nil {
			return PR{}, err
		}
		pr.Head = info.SHA
	}
	return pr, nil
}

// PRQuery chooses pull requests. The zero value is all of them.
type PRQuery struct {
	Author string // user name
	Status Status
	Search string // words of the title, as the Hub's own search takes them
}

// PRs lists pull requests, newest first as the Hub gives them. It ends after an error.
func (r *Repo) PRs(ctx context.Context, q PRQuery) iter.Seq2[PR, error] {
	return func(yield func(PR, error) bool) {
		for page, seen := 0, 0; ; page++ {
			params := url.Values{"p": {strconv.Itoa(page)}, "type": {"pull_request"}, "status": {"all"}}
			if q.Author != "" {
				params.Set("author", q.Author)
			}
			if q.Search != "" {
				params.Set("search", q.Search)
			}
			var answer struct {
				Discussions []summary
				Count       int
			}
			cl := call{op: "list pull requests", method: http.MethodGet, url: r.api("discussions") + "?" + params.Encode()}
			if err := r.c.json(ctx, cl, nil, &answer); err != nil {
				yield(PR{}, err)
				return
			}
			for _, d := range answer.Discussions {
				// The Hub's filter knows neither drafts nor merged ones.
				if !d.IsPullRequest || (q.Status != "" && d.Status != q.Status) || (q.Author != "" && !strings.EqualFold(d.Author.Name, q.Author)) {
					continue
				}
				if !yield(d.pr(r), nil) {
					return
				}
			}
			seen += len(answer.Discussions)
			if len(answer.Discussions) == 0 || seen >= answer.Count {
				return
			}
		}
	}
}

// EditDescription replaces a pull request's description. pr must come from PR, which knows the event to edit.
func (r *Repo) EditDescription(ctx context.Context, pr PR, text string) error {
	if pr.DescriptionID == "" {
		return fmt.Errorf("pull request %d has no description to edit; ask for it by PR first", pr.Num)
	}
	if err := checkText(text); err != nil {
		return err
	}
	cl := call{
		op: fmt.Sprintf("edit the description of pull request %d", pr.Num), method: http.MethodPost,
		url: r.discussion(pr.Num, "comment", strings.ToLower(pr.DescriptionID), "edit"),
	}
	return r.c.json(ctx, cl, map[string]any{"content": text}, nil)
}

// Comment adds a comment. It posts once: a lost answer is an *Error with Lost set.
func (r *Repo) Comment(ctx context.Context, num int, text string) error {
	if err := checkText(text); err != nil {
		return err
	}
	cl := call{op: fmt.Sprintf("comment on pull request %d", num), method: http.MethodPost, url: r.discussion(num, "comment"), once: true}
	return r.c.json(ctx, cl, map[string]any{"comment": text}, nil)
}

// Open makes a draft an open pull request, which can be merged, with a comment where that is not "". It does nothing to one that
// is open already, and fails for one that is closed or merged. A lost answer is settled by asking.
func (r *Repo) Open(ctx context.Context, num int, comment string) error {
	send := map[string]any{"status": string(StatusOpen)}
	if comment != "" {
		send["comment"] = comment
	}
	for try := 0; ; try++ {
		pr, err := r.PR(ctx, num)
		switch {
		case err != nil:
			return err
		case pr.Status == StatusOpen:
			return nil
		case pr.Status != StatusDraft:
			return fmt.Errorf("%s is %s, only a draft can be opened", pr.URL, pr.Status)
		}
		cl := call{op: fmt.Sprintf("open pull request %d", num), method: http.MethodPost, url: r.discussion(num, "status"), once: true}
		err = r.c.json(ctx, cl, send, nil)
		var e *Error
		if !errors.As(err, &e) || !e.Lost || ctx.Err() != nil || try >= r.c.o.Retries {
			return err
		}
		if err := r.c.wait(ctx, e, step(try)); err != nil {
			return err
		}
	}
}
