package hub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

func seeded(files ...File) map[string][]byte {
	seed := map[string][]byte{}
	for _, f := range files {
		rc, _ := f.Open()
		var b bytes.Buffer
		_, _ = b.ReadFrom(rc)
		seed[f.Path] = b.Bytes()
	}
	return seed
}

func TestRead_Resumes(t *testing.T) {
	t.Parallel()
	for _, f := range []File{blob(1, 500_000), text("workloads/gqa/d e%2F.jsonl", 20_000)} {
		for name, c := range map[string]cutting{
			"cut":                                 {end: errors.New("connection reset by peer")},
			"ended too early":                     {end: io.EOF},
			"all again, though the rest is asked": {end: errors.New("connection reset by peer"), noRange: true},
		} {
			b := setup(t, hubtest.Options{Seed: seeded(f)}, Options{})
			c.RoundTripper, c.after, c.times = b.c.http.Transport, 100_000, 2
			b.c.http.Transport = &c
			var out bytes.Buffer
			e, err := b.repo.Read(t.Context(), "main", f.Path, &out)
			if err != nil || !e.Is(&f) || e.Size != f.Size || !bytes.Equal(out.Bytes(), contentOf(t, f)) {
				t.Errorf("%s, %s: %+v, %d bytes, %v", f.Path, name, e, out.Len(), err)
			}
			if len(b.slept) != 2 {
				t.Errorf("%s, %s: waited %v", f.Path, name, b.slept)
			}
		}
	}
}

// cutting breaks bodies of answers after some bytes.
type cutting struct {
	http.RoundTripper
	after, times int
	end          error
	noRange      bool // the server does not know parts
}

func (c *cutting) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.noRange {
		r.Header.Del("Range")
	}
	resp, err := c.RoundTripper.RoundTrip(r)
	if err == nil && c.times > 0 && resp.StatusCode/100 == 2 {
		resp.Body = &broken{resp.Body, c.after * (3 - c.times), c.end} // later, so that some of it is new each time
		c.times--
	}
	return resp, err
}

type broken struct {
	rc   io.ReadCloser
	left int
	end  error
}

func (b *broken) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, b.end
	}
	n, err := b.rc.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (b *broken) Close() error { return b.rc.Close() }

func TestRead_Changes(t *testing.T) {
	t.Parallel()
	f := text("a.json", 9000)
	b := setup(t, hubtest.Options{Seed: seeded(f)}, Options{})
	b.c.http.Transport = &cutting{RoundTripper: b.c.http.Transport, after: 1000, times: 1, end: errors.New("connection reset by peer")}
	b.hub.Fault(func(*http.Request, int) hubtest.Action {
		if b.hub.Count(hubtest.Resolve) == 2 {
			if _, err := b.hub.Push("main", "other", "in between", seeded(text(f.Path, 9001))); err != nil {
				t.Error(err)
			}
		}
		return hubtest.Action{}
	})
	var out bytes.Buffer
	if _, err := b.repo.Read(t.Context(), "main", f.Path, &out); err == nil || !strings.Contains(err.Error(), "changed from "+f.GitSHA1) {
		t.Errorf("%v", err)
	}
}

func TestRead_Refuses(t *testing.T) {
	t.Parallel()
	f := text("a.json", 5)
	wrong := FileOf("a.json", []byte("something else of the same size"))
	for _, c := range []struct {
		name  string
		fault hubtest.Action
		want  string
	}{
		{"another content", hubtest.Action{Status: 200, Header: http.Header{"Etag": {`"` + f.GitSHA1 + `"`}}, Body: "other"}, "the Hub says " + f.GitSHA1},
		{"nobody says what it is", hubtest.Action{Status: 200, Header: http.Header{"Etag": {`W/"1-2"`}}, Body: "other"}, "paths-info"},
		{"nowhere", hubtest.Action{Status: 404, Header: http.Header{"X-Error-Code": {"EntryNotFound"}}}, "EntryNotFound"},
		{"a part where all is due", hubtest.Action{Status: 200, Header: http.Header{"Etag": {`"` + wrong.SHA256 + `"`}}, Body: "some"}, "the Hub says"},
	} {
		b := setup(t, hubtest.Options{Seed: seeded(f)}, Options{})
		b.hub.Fault(func(*http.Request, int) hubtest.Action { return c.fault })
		var out bytes.Buffer
		if _, err := b.repo.Read(t.Context(), "main", f.Path, &out); err == nil || !strings.Contains(err.Error(), c.want) || len(b.slept) > 0 {
			t.Errorf("%s: %v, want it to say %q; waited %v", c.name, err, c.want, b.slept)
		}
	}
	b := setup(t, hubtest.Options{Seed: seeded(f)}, Options{})
	full := errors.New("no space left")
	if _, err := b.repo.Read(t.Context(), "main", f.Path, failing{full}); !errors.Is(err, full) || len(b.slept) > 0 {
		t.Errorf("a receiver that fails: %v", err)
	}
}

// TestRead_Undescribed: where the answer with the content does not say what it is, the Hub is asked.
func TestRead_Undescribed(t *testing.T) {
	t.Parallel()
	f := text("a.json", 5000)
	for name, c := range map[string]struct {
		path   string
		answer hubtest.Action
		times  int
		want   string
	}{
		"no digest":                   {f.Path, hubtest.Action{Status: 200, Header: http.Header{"Etag": {`W/"1-2"`}}, Body: string(contentOf(t, f))}, 2, ""},
		"no digest, then one":         {f.Path, hubtest.Action{Status: 200, Body: "x"}, 1, ""},
		"no digest and other content": {f.Path, hubtest.Action{Status: 200, Body: strings.Repeat("x", int(f.Size))}, 2, "the Hub says " + f.GitSHA1},
		"no size": {f.Path, hubtest.Action{Status: 200, Header: http.Header{"Etag": {`"` + f.GitSHA1 + `"`}, "Transfer-Encoding": {"chunked"}},
			Body: string(contentOf(t, f))}, 2, ""},
		"a directory": {"dir", hubtest.Action{Status: 200}, 1, "names no digest"},
		"nothing":     {"none", hubtest.Action{Status: 200}, 1, "names no digest"},
	} {
		b := setup(t, hubtest.Options{Seed: map[string][]byte{f.Path: contentOf(t, f), "dir/x": nil}}, Options{})
		b.hub.Fault(hubtest.Times(c.times, hubtest.Resolve, c.answer))
		var out bytes.Buffer
		e, err := b.repo.Read(t.Context(), "main", c.path, &out)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want it to say %s", name, err, c.want)
			}
		} else if err != nil || !e.Is(&f) || !bytes.Equal(out.Bytes(), contentOf(t, f)) {
			t.Errorf("%s: %+v, %d bytes, %v", name, e, out.Len(), err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestTree(t *testing.T) {
	t.Parallel()
	seed := map[string][]byte{}
	for i := range 25 {
		seed[fmt.Sprintf("blob/d/%02d.safetensors", i)] = []byte{byte(i)}
		seed[fmt.Sprintf("workloads/%02d/x.jsonl", i)] = []byte{byte(i)}
	}
	b := setup(t, hubtest.Options{Seed: seed, PageSize: 7}, Options{})
	list := func(dir string) (files, dirs []string) {
		t.Helper()
		for e, err := range b.repo.Tree(t.Context(), "main", dir) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Dir {
				dirs = append(dirs, e.Path)
				continue
			}
			files = append(files, e.Path)
			if f := FileOf(e.Path, seed[e.Path]); e.Path != ".gitattributes" && !e.Is(&f) {
				t.Errorf("%+v", e)
			}
		}
		return files, dirs
	}
	if files, dirs := list(""); len(files) != 51 || len(dirs) != 28 {
		t.Errorf("%d files and %d directories, want 51 and 28", len(files), len(dirs))
	}
	if n := b.hub.Count(hubtest.ListTree); n != 12 {
		t.Errorf("%d pages, want 12", n)
	}
	if files, dirs := list("workloads/03"); !slices.Equal(files, []string{"workloads/03/x.jsonl"}) || dirs != nil {
		t.Errorf("%v %v", files, dirs)
	}
	for _, err := range b.repo.Tree(t.Context(), "main", "nowhere") {
		if e := asError(t, err); e.Status != 404 || e.Code != "EntryNotFound" {
			t.Errorf("%+v", e)
		}
	}
	n := 0
	for _, err := range b.repo.Tree(t.Context(), "main", "") {
		if n++; n == 3 || err != nil {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d entries after a break", n)
	}
}

// TestToken_GoesNowhereElse: neither along a redirect to another origin, on the same host even, nor to a page of a list there.
func TestToken_GoesNowhereElse(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Authorization") + r.Header.Get("Referer")
		fmt.Fprint(w, `{"id":"a/b","sha":"x"}`)
	}))
	defer other.Close()
	b := setup(t, hubtest.Options{}, Options{})
	b.hub.Fault(hubtest.Once(hubtest.Revision, hubtest.Action{Status: 302, Header: http.Header{"Location": {other.URL + "/x"}}}))
	if info, err := b.repo.Info(t.Context(), "main"); err != nil || info.SHA != "x" {
		t.Errorf("%+v, %v", info, err)
	}
	if got := <-seen; got != "" {
		t.Errorf("the other server was told %q", got)
	}
	b.hub.Fault(hubtest.Once(hubtest.ListTree, hubtest.Action{
		Status: 200, Body: "[]", Header: http.Header{"Link": {"<" + other.URL + `/next?secret=1>; rel="next"`}},
	}))
	for _, err := range b.repo.Tree(t.Context(), "main", "") {
		if err == nil || !strings.Contains(err.Error(), "not at the Hub's endpoint") {
			t.Errorf("%v", err)
		}
	}
	if len(seen) != 0 {
		t.Error("the other server was asked for a page")
	}
	f := blob(1, 10)
	b.hub.Fault(hubtest.Once(hubtest.LFSBatch, hubtest.Action{Status: 200, Body: fmt.Sprintf(
		`{"objects":[{"oid":%q,"size":%d,"actions":{"upload":{"href":"%s/up"},"verify":{"href":"%s/verify"}}}]}`, f.SHA256, f.Size, other.URL, other.URL)}))
	if _, err := b.repo.Upload(t.Context(), []File{f}); err != nil {
		t.Error(err)
	}
	for range 2 {
		if got := <-seen; got != "" {
			t.Errorf("the other server was told %q", got)
		}
	}
}

// TestRedirect_KeepsTheBody: a repository whose id is spelt in another case is redirected to, and what was sent arrives.
func TestRedirect_KeepsTheBody(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	pr := b.pr()
	repo, err := b.c.Dataset("FlashInfer-AI/flashinfer-trace")
	if err != nil {
		t.Fatal(err)
	}
	files := []File{text("a.json", 3), blob(1, 100)}
	if _, err := repo.Add(t.Context(), pr.Ref(), Add{Summary: "s", Files: files}); err != nil {
		t.Fatal(err)
	}
	b.check(pr.Ref(), files...)
	// Older redirects make a reading request of a writing one.
	b.hub.Fault(hubtest.Once(hubtest.CreatePR, hubtest.Action{Status: 301, Header: http.Header{"Location": {b.hub.URL + "/elsewhere"}}}))
	if _, err := b.repo.CreatePR(t.Context(), "title", "text"); err == nil || !strings.Contains(err.Error(), b.hub.URL+"/elsewhere") {
		t.Errorf("%v", err)
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	c, err := New(Options{Endpoint: "http://proxy:1/hf"})
	if err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]string{
		"": "", `<http://proxy:1/a?x=1>; rel="next"`: "http://proxy:1/a?x=1",
		`<https://huggingface.co/api/b?cursor=c>;rel="next"`:             "http://proxy:1/hf/api/b?cursor=c",
		`<http://proxy:1/p>; rel="prev", <http://proxy:1/n>; rel="next"`: "http://proxy:1/n",
		`<http://proxy:1/p>; rel="prev"`:                                 "",
	} {
		if got, err := c.next(http.Header{"Link": {link}}); err != nil || got != want {
			t.Errorf("%s: %s, %v", link, got, err)
		}
	}
}
