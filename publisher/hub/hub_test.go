package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

// bundle is a Hub and a client of it. The client does not sleep: it writes down how long it would have.
type bundle struct {
	t    *testing.T
	hub  *hubtest.Server
	c    *Client
	repo *Repo
	log  lockedBuffer

	mu    sync.Mutex
	slept []time.Duration
}

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func setup(t *testing.T, ho hubtest.Options, o Options) *bundle {
	t.Helper()
	b := &bundle{t: t, hub: hubtest.New(t, ho)}
	o.Endpoint = b.hub.URL
	if o.Token == "" {
		o.Token = b.hub.Token
	}
	if o.Sleep == nil {
		o.Sleep = func(ctx context.Context, d time.Duration) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.slept = append(b.slept, d)
			return ctx.Err()
		}
	}
	o.Log = zerolog.New(&b.log)
	var err error
	if b.c, err = New(o); err != nil {
		t.Fatal(err)
	}
	if b.repo, err = b.c.Dataset("flashinfer-ai/flashinfer-trace"); err != nil {
		t.Fatal(err)
	}
	return b
}

// pr makes a pull request.
func (b *bundle) pr() PR {
	b.t.Helper()
	pr, err := b.repo.CreatePR(b.t.Context(), "Add workloads", "What, and from where.")
	if err != nil {
		b.t.Fatal(err)
	}
	return pr
}

// check compares the files at rev, without .gitattributes, to what they should be.
func (b *bundle) check(rev string, want ...File) {
	b.t.Helper()
	got, err := b.hub.Files(rev)
	if err != nil {
		b.t.Fatal(err)
	}
	delete(got, ".gitattributes")
	for _, f := range want {
		if data, ok := got[f.Path]; !ok || !bytes.Equal(data, contentOf(b.t, f)) {
			b.t.Errorf("%s at %s: there %t, with %d bytes, want %d", f.Path, rev, ok, len(data), f.Size)
		}
		delete(got, f.Path)
	}
	for path := range got {
		b.t.Errorf("%s at %s should not be there", path, rev)
	}
}

func contentOf(t *testing.T, f File) []byte {
	t.Helper()
	rc, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	var data bytes.Buffer
	if _, err := data.ReadFrom(rc); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

// blob makes a file that goes to storage, text one that does not.
func blob(i, size int) File {
	return FileOf(fmt.Sprintf("blob/workloads/gqa/d/%04d.safetensors", i), bytes.Repeat([]byte{byte(i), byte(i >> 8), 0xff}, size/3+1))
}

func text(path string, lines int) File {
	return FileOf(path, []byte(strings.Repeat("{\"axes\":{\"batch\":8}}\n", lines)))
}

// asError gives the *Error in err.
func asError(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, want an *Error", err)
	}
	return e
}

func TestAdd(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{Verify: true}, Options{})
	pr := b.pr()
	if pr.Num != 1 || pr.Status != StatusDraft || pr.Ref() != "refs/pr/1" || pr.URL != b.hub.URL+"/datasets/flashinfer-ai/flashinfer-trace/discussions/1" {
		t.Errorf("created %+v", pr)
	}
	first := []File{text("workloads/gqa/d.jsonl", 3), blob(1, 1000), blob(2, 300_000), FileOf("empty.safetensors", nil)}
	added, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "first", Files: first})
	if err != nil {
		t.Fatal(err)
	}
	b.check(pr.Ref(), first...)
	b.check("main")
	if added.Commits != 1 || added.Sent != 2 || added.Already != 0 || added.Bytes != first[1].Size+first[2].Size || added.Head != b.hub.Head(pr.Ref()) {
		t.Errorf("added %+v", added)
	}

	// The second time the list has grown, and only what is new is sent.
	second := append([]File{text("workloads/gqa/d.jsonl", 6), blob(3, 10)}, first[1:]...)
	again, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "second", Parent: added.Head, Files: second})
	if err != nil {
		t.Fatal(err)
	}
	b.check(pr.Ref(), second...)
	if again.Commits != 1 || again.Sent != 1 || again.Bytes != second[1].Size {
		t.Errorf("added again %+v", again)
	}
	last, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "third", Parent: added.Head, Files: second})
	if err != nil || last.Commits != 0 || last.Head != again.Head {
		t.Errorf("with nothing new: %+v, %v; want no commit, whatever the parent", last, err)
	}

	var out bytes.Buffer
	for _, f := range second {
		out.Reset()
		e, err := b.repo.Read(t.Context(), pr.Ref(), f.Path, &out)
		if err != nil || !e.Is(&f) || !bytes.Equal(out.Bytes(), contentOf(t, f)) {
			t.Errorf("read %s: %+v, %v", f.Path, e, err)
		}
	}
	infos, err := b.repo.PathsInfo(t.Context(), pr.Ref(), []string{second[0].Path, second[1].Path, "nowhere"})
	if err != nil || len(infos) != 2 || !infos[0].Is(&second[0]) || !infos[1].Is(&second[1]) || infos[1].LFS == "" {
		t.Errorf("paths info %+v, %v", infos, err)
	}
	if n := b.hub.Count(hubtest.MakeCommit); n != 2 {
		t.Errorf("%d commits were sent, want 2", n)
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	info, err := b.repo.Info(t.Context(), "main")
	if err != nil || info.ID != "flashinfer-ai/flashinfer-trace" || info.SHA != b.hub.Head("main") {
		t.Errorf("info %+v, %v", info, err)
	}
	_, err = b.repo.Info(t.Context(), "refs/pr/7")
	if e := asError(t, err); e.Status != http.StatusNotFound || e.Code != "RevisionNotFound" || e.Retryable {
		t.Errorf("a revision that is not there: %+v", e)
	}
}
