package hub

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

// push is what a careful caller does: it may be called again after any error, and then goes on.
func (b *bundle) push(files []File) error {
	ctx := b.t.Context()
	var pr PR
	for found, err := range b.repo.PRs(ctx, PRQuery{Author: "contributor", Search: "Add workloads"}) {
		if err != nil {
			return err
		}
		pr = found
	}
	if pr.Num == 0 {
		var err error
		if pr, err = b.repo.CreatePR(ctx, "Add workloads", "text"); err != nil {
			return err
		}
	}
	if _, err := b.repo.Add(ctx, pr.Ref(), Add{Summary: "add", Files: files}); err != nil {
		return err
	}
	full, err := b.repo.PR(ctx, pr.Num)
	if err != nil {
		return err
	}
	if err := b.repo.EditDescription(ctx, full, "done"); err != nil {
		return err
	}
	return b.repo.Open(ctx, pr.Num, "ready")
}

// faults are what happens to one request, in every way that a network and a Hub have.
var faults = map[string]hubtest.Action{
	"cut before":  {Cut: true},
	"cut after":   {When: hubtest.After, Cut: true},
	"500 before":  {Status: 500},
	"500 after":   {When: hubtest.After, Status: 500},
	"504 after":   {When: hubtest.After, Status: 504},
	"cut within":  {CutBody: 40},
	"garbled":     {When: hubtest.After, Status: 200, Body: `{"`},
	"forbidden":   {Status: 403, Body: `{"error":"no"}`},
	"rate limit":  hubtest.RateLimited(1),
	"older limit": hubtest.RetryLater(429, 1),
	"quota":       hubtest.CommitQuota(),
}

// TestPush_AnyFaultAnywhere has each fault happen to each request of a push in turn. Whatever happened, pushing again ends in the
// same: one pull request, each file in one commit of it, one comment, and every content sent once, but for what was cut.
func TestPush_AnyFaultAnywhere(t *testing.T) {
	t.Parallel()
	files := []File{text("workloads/gqa/d.jsonl", 5), blob(1, 2000), blob(2, 2500), FileOf("definitions/gqa/d.json", []byte("{}"))}
	o := hubtest.Options{Verify: true, ChunkSize: 2200}
	quiet := setup(t, o, Options{Parallel: 1})
	if err := quiet.push(files); err != nil {
		t.Fatal(err)
	}
	requests := 0
	for _, n := range quiet.hub.Counts() {
		requests += n
	}
	if requests < 14 {
		t.Fatalf("a push is %d requests", requests)
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 1; at <= requests; at++ {
				b := setup(t, o, Options{Parallel: 1})
				var kind hubtest.Kind
				b.hub.Fault(func(r *http.Request, n int) hubtest.Action {
					if n != at {
						return hubtest.Action{}
					}
					kind = hubtest.KindOf(r)
					return fault
				})
				tries := 0
				for err := errors.New("not yet"); err != nil; tries++ {
					if tries == 3 {
						t.Fatalf("at request %d (%s): %v", at, kind, err)
					}
					err = b.push(files)
				}
				b.pushed(fmt.Sprintf("at request %d (%s)", at, kind), quiet, files)
			}
		})
	}
}

// pushed compares the Hub to one where nothing happened.
func (b *bundle) pushed(where string, quiet *bundle, files []File) {
	b.t.Helper()
	got, want := b.hub.PRs(), quiet.hub.PRs()
	if len(got) != 1 {
		b.t.Fatalf("%s: %d pull requests", where, len(got))
	}
	ops := 0
	for _, c := range got[0].Commits {
		ops += c.Ops
	}
	if ops != len(files) {
		b.t.Errorf("%s: %d files in %d commits, want %d", where, ops, len(got[0].Commits), len(files))
	}
	if p, q := got[0], want[0]; p.Status != q.Status || p.Description != q.Description || !reflect.DeepEqual(p.Comments, q.Comments) {
		b.t.Errorf("%s: %+v, want %+v", where, p, q)
	}
	b.check("refs/pr/1", files...)
	b.check("main")
}

// TestNoSecrets: neither errors nor logs have the token or a signature, whatever answers repeat of them.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	const token = "hf_verysecrettoken"
	users := []hubtest.User{{Name: "contributor", Token: token}}
	files := []File{text("a.json", 2), blob(1, 2000), blob(2, 9000)}
	var said bytes.Buffer
	for at := 1; at <= 30; at++ {
		for _, mode := range []string{"repeat", "cut", "redirect"} {
			b := setup(t, hubtest.Options{Users: users, Verify: true, ChunkSize: 4000}, Options{Retries: 1})
			b.hub.Fault(func(r *http.Request, n int) hubtest.Action {
				if n < at {
					return hubtest.Action{}
				}
				all := b.hub.URL + r.URL.String() + " for " + token + " X-Amz-Signature=… https://s3/x?X-Amz-Signature=abc"
				switch mode {
				case "repeat":
					return hubtest.Action{Status: 400, Body: `{"error":"cannot do ` + all + `"}`, Header: http.Header{
						"X-Error-Code": {token}, "X-Request-Id": {token}, "X-Error-Message": {all},
					}}
				case "redirect":
					return hubtest.Action{Status: 307, Header: http.Header{"Location": {"http://127.0.0.1:1/?X-Amz-Signature=abc&t=" + token}}}
				}
				return hubtest.Action{Cut: true}
			})
			err := b.push(files)
			fmt.Fprintf(&said, "%v\n%+v\n%#v\n%s", err, err, err, b.log.String())
			var out bytes.Buffer
			_, err = b.repo.Read(t.Context(), "main", ".gitattributes", &out)
			fmt.Fprintf(&said, "%v\n%+v\n", err, err)
		}
	}
	for _, secret := range []string{"verysecret", "Signature=abc", "X-Amz-Expires", "sig=", "uploadId"} {
		if i := strings.Index(said.String(), secret); i >= 0 {
			t.Errorf("%s is in: …%s…", secret, said.String()[max(0, i-300):min(said.Len(), i+100)])
		}
	}
	if !strings.Contains(said.String(), "cannot do") && !strings.Contains(said.String(), "(token)") {
		t.Error("nothing was repeated, so this test shows nothing")
	}
}
