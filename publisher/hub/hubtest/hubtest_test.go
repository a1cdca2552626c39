package hubtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	meToken   = "hf_me"
	peerToken = "hf_peer"
	bossToken = "hf_boss"
	readToken = "hf_read"
	apiPath   = "/api/datasets/flashinfer-ai/flashinfer-trace"
	webPath   = "/datasets/flashinfer-ai/flashinfer-trace"
)

func people() []User {
	return []User{
		{Name: "me", Token: meToken}, {Name: "peer", Token: peerToken}, {Name: "boss", Token: bossToken, Writer: true},
		{Name: "reader", Token: readToken, Role: "read"},
	}
}

// start starts a Hub whose violations are looked at here, and not reported.
func start(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Users == nil {
		o.Users = people()
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// answer is an answer that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	return v
}

// ask sends a request. headers are pairs; redirects are not followed.
func ask(t *testing.T, s *Server, token, method, path, body string, headers ...string) answer {
	t.Helper()
	target := path
	if !strings.HasPrefix(path, "http") {
		target = s.URL + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		req.Body = http.NoBody
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if req.Header.Get("Chunked") != "" {
		req.ContentLength = -1
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// commitTo sends a commit of lines below its header.
func commitTo(t *testing.T, s *Server, token, rev, parent string, lines ...string) answer {
	t.Helper()
	header := fmt.Sprintf(`{"key":"header","value":{"summary":"s","parentCommit":%q}}`, parent)
	if parent == "" {
		header = `{"key":"header","value":{"summary":"s"}}`
	}
	return ask(t, s, token, "POST", apiPath+"/commit/"+rev, header+"\n"+strings.Join(lines, "\n"), "Content-Type", "application/x-ndjson")
}

func fileLine(path, content string) string {
	return fmt.Sprintf(`{"key":"file","value":{"path":%q,"content":%q}}`, path, content)
}

// draft makes a pull request of me.
func draft(t *testing.T, s *Server) {
	t.Helper()
	if a := ask(t, s, meToken, "POST", apiPath+"/discussions", `{"title":"title","description":"text","pullRequest":true}`); a.status != 200 {
		t.Fatalf("%+v", a)
	}
}

func TestStrict(t *testing.T) {
	t.Parallel()
	const lfs = `{"operation":"upload","transfers":["basic"],"hash_algo":"sha256","objects":[],"ref":{"name":"refs/pr/1"}}`
	lfsHeaders := []string{"Accept", lfsType, "Content-Type", lfsType}
	seed := map[string][]byte{"old.json": []byte("{}")}
	for _, c := range []struct {
		name   string
		status int // where the Hub is strict
		want   string
		do     func(*testing.T, *Server, string) answer
	}{
		{"a route of nobody", 404, "answered by nobody", func(t *testing.T, s *Server, _ string) answer {
			return ask(t, s, meToken, "GET", apiPath+"/branch/x", "")
		}},
		{"a route of nobody in storage", 404, "answered by nobody", func(t *testing.T, s *Server, _ string) answer { return ask(t, s, "", "GET", s.Storage+"/x", "") }},
		{"a field of no schema", 422, "unknown field", func(t *testing.T, s *Server, _ string) answer {
			return ask(t, s, meToken, "POST", apiPath+"/discussions", `{"title":"title","description":"text","draft":true}`)
		}},
		{"two values", 422, "more than one", func(t *testing.T, s *Server, _ string) answer {
			return ask(t, s, meToken, "POST", apiPath+"/discussions/1/comment", `{"comment":"a"}{}`)
		}},
		{"a body of unknown length", 200, "without Content-Length", func(t *testing.T, s *Server, _ string) answer {
			return ask(t, s, meToken, "POST", apiPath+"/discussions/1/title", `{"title":"new title"}`, "Chunked", "1")
		}},
		{"no parent", 200, "names no parent", func(t *testing.T, s *Server, _ string) answer {
			return commitTo(t, s, meToken, "refs%2Fpr%2F1", "", fileLine("a", "1"))
		}},
		{"a commit of no lines", 400, "a commit of nothing", func(t *testing.T, s *Server, head string) answer {
			return commitTo(t, s, meToken, "refs%2Fpr%2F1", head)
		}},
		{"a commit that is no NDJSON", 400, `type "application/json"`, func(t *testing.T, s *Server, _ string) answer {
			return ask(t, s, meToken, "POST", apiPath+"/commit/refs%2Fpr%2F1", "{}", "Content-Type", "application/json")
		}},
		{"no header", 422, "the line of the header", func(t *testing.T, s *Server, _ string) answer {
			return ask(t, s, meToken, "POST", apiPath+"/commit/refs%2Fpr%2F1", fileLine("a", "1"), "Content-Type", "application/x-ndjson")
		}},
		{"an operation of no schema", 422, `key "move"`, func(t *testing.T, s *Server, head string) answer {
			return commitTo(t, s, meToken, "refs%2Fpr%2F1", head, `{"key":"move","value":{"path":"a"}}`)
		}},
		{"a deletion", 200, "deletes old.json", func(t *testing.T, s *Server, head string) answer {
			return commitTo(t, s, meToken, "refs%2Fpr%2F1", head, `{"key":"deletedFile","value":{"path":"old.json"}}`)
		}},
		{"a path twice", 200, "has a twice", func(t *testing.T, s *Server, head string) answer {
			return commitTo(t, s, meToken, "refs%2Fpr%2F1", head, fileLine("a", "1"), fileLine("a", "2"))
		}},
		{"what is there already", 200, "there already, such as old.json", func(t *testing.T, s *Server, head string) answer {
			return commitTo(t, s, meToken, "refs%2Fpr%2F1", head, fileLine("old.json", "{}"))
		}},
		{"a large file within the commit", 200, "sent as a large file", func(t *testing.T, s *Server, head string) answer {
			return commitTo(t, s, meToken, "refs%2Fpr%2F1", head, fileLine("a.safetensors", "1"))
		}},
		{"a ref in the LFS batch", 403, "may not write to the repository", func(t *testing.T, s *Server, _ string) answer {
			return ask(t, s, meToken, "POST", webPath+".git/info/lfs/objects/batch", lfs, lfsHeaders...)
		}},
		{"the token to storage", 400, "the token was sent to storage", func(t *testing.T, s *Server, _ string) answer {
			return ask(t, s, meToken, "PUT", s.Storage+"/objects/x", "x")
		}},
		{"a sample that is none", 200, "a sample of 1 bytes for a file of 9", func(t *testing.T, s *Server, _ string) answer {
			return ask(t, s, meToken, "POST", apiPath+"/preupload/refs%2Fpr%2F1", `{"files":[{"path":"a","sample":"YQ==","size":9}]}`)
		}},
		{"a draft again", 422, "open and closed only", func(t *testing.T, s *Server, _ string) answer {
			return ask(t, s, meToken, "POST", apiPath+"/discussions/1/status", `{"status":"draft"}`)
		}},
	} {
		for _, lenient := range []bool{false, true} {
			s := start(t, Options{Seed: seed, Lenient: lenient})
			draft(t, s)
			a := c.do(t, s, s.Head("refs/pr/1"))
			got := s.Violations()
			switch {
			case lenient && len(got) > 0:
				t.Errorf("%s: noted though lenient: %q", c.name, got)
			case !lenient && (len(got) != 1 || !strings.Contains(got[0], c.want) || a.status != c.status):
				t.Errorf("%s: %d %q, want %d and %q", c.name, a.status, got, c.status, c.want)
			}
		}
	}
}

// reporter is a test that only listens.
type reporter struct {
	*testing.T
	cleanups []func()
	errors   []string
}

func (r *reporter) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *reporter) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func TestNew_ReportsToTheTest(t *testing.T) {
	t.Parallel()
	r := &reporter{T: t}
	s := New(r, Options{Users: people()})
	ask(t, s, meToken, "GET", "/somewhere", "")
	for _, f := range r.cleanups {
		f()
	}
	if len(r.errors) != 1 || !strings.Contains(r.errors[0], "GET /somewhere") {
		t.Errorf("reported %q", r.errors)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Lenient: true})
	draft(t, s)
	pre := `{"files":[{"path":"a","sample":"YQ==","size":1}]}`
	for _, c := range []struct {
		token, method, path, body string
		want                      int
		says                      string
	}{
		{"", "GET", apiPath, "", 200, ""},
		{"", "POST", apiPath + "/discussions", "{}", 401, ""},
		{"", "POST", apiPath + "/preupload/main", pre, 401, ""},
		{"", "POST", apiPath + "/paths-info/main", `{"paths":[".gitattributes"]}`, 200, "gitattributes"},
		{"", "GET", "/api/whoami-v2", "", 401, ""},
		{"hf_wrong", "GET", apiPath, "", 401, "Invalid credentials in Authorization header"},
		{readToken, "GET", apiPath, "", 200, ""},
		{readToken, "POST", apiPath + "/discussions/1/comment", `{"comment":"x"}`, 403, "write token"},
		{readToken, "POST", apiPath + "/paths-info/main", `{"paths":[]}`, 200, ""},
		{meToken, "POST", apiPath + "/preupload/main", pre, 403, "pass `create_pr=1` as a query parameter"},
		{meToken, "POST", apiPath + "/preupload/main?create_pr=1", pre, 200, ""},
		{meToken, "POST", apiPath + "/preupload/refs%2Fpr%2F1", pre, 200, ""},
		{peerToken, "POST", apiPath + "/preupload/refs%2Fpr%2F1", pre, 403, "author"},
		{bossToken, "POST", apiPath + "/preupload/refs%2Fpr%2F1", pre, 200, ""},
		{bossToken, "POST", apiPath + "/preupload/main", pre, 200, ""},
		{peerToken, "POST", apiPath + "/discussions/1/title", `{"title":"mine"}`, 403, ""},
		{peerToken, "POST", apiPath + "/discussions/1/status", `{"status":"closed"}`, 403, ""},
		{peerToken, "POST", apiPath + "/discussions/1/comment", `{"comment":"x"}`, 201, ""},
		{meToken, "POST", apiPath + "/discussions/1/merge", "", 403, ""},
		{meToken, "GET", "/api/datasets/other/repo", "", 404, "Repository not found"},
		{meToken, "GET", apiPath + "/revision/refs%252Fpr%252F1", "", 404, "Invalid rev id: refs%2Fpr%2F1"},
		{meToken, "GET", apiPath + "/discussions/9", "", 404, ""},
	} {
		a := ask(t, s, c.token, c.method, c.path, c.body)
		if a.status != c.want || !strings.Contains(a.body, c.says) || a.header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s %s: %d %s, want %d %s", c.token, c.method, c.path, a.status, a.body, c.want, c.says)
		}
		if a.status >= 400 && a.header.Get("X-Error-Message") == "" {
			t.Errorf("%s %s: no X-Error-Message", c.method, c.path)
		}
	}
	private := start(t, Options{Private: true})
	if a := ask(t, private, "", "GET", apiPath, ""); a.status != 401 {
		t.Errorf("a private repository: %d", a.status)
	}
	if a := ask(t, private, "", "POST", apiPath+"/paths-info/main", `{"paths":[]}`); a.status != 401 {
		t.Errorf("paths of a private repository: %d", a.status)
	}
}

func TestCommit_ByGit(t *testing.T) {
	t.Parallel()
	files := tree{}
	c := &Commit{Author: "me", Summary: "summary", Description: "why", Date: time.Unix(1700000000, 0)}
	for path, content := range map[string]string{"a/b/x.json": "one\n", "a/y": "two\n", "a.c/z": "3", "a-b": "4"} {
		files[path] = entry{OID: gitOID("blob", []byte(content)), Size: int64(len(content))}
	}
	c.seal(files)
	// By git commit, for the same files, names and dates.
	if c.OID != "5cf6cb6f5c72a94afb7619c2f7d81f7a657887e1" {
		t.Errorf("commit %s", c.OID)
	}
	dirs := files.dirs()
	if dirs[""] != "d32398354ac706178596025f523ff6bac614a937" || dirs["a"] != "300ea4482ee258103b4021774f361d262312a78e" {
		t.Errorf("trees %v", dirs)
	}
}

// TestRestart: a rehearsal goes on where it was.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir, Seed: map[string][]byte{"a.safetensors": []byte("abc")}})
	draft(t, s)
	for i := range 3 {
		if a := commitTo(t, s, meToken, "refs%2Fpr%2F1", s.Head("refs/pr/1"), fileLine(fmt.Sprintf("f%d", i), "x")); a.status != 200 {
			t.Fatalf("%+v", a)
		}
	}
	if _, err := Start(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second Hub on the directory: %v", err)
	}
	prs, head := s.PRs(), s.Head("main")
	files, err := s.Files("refs/pr/1")
	if err != nil || len(files) != 5 || !s.Fresh {
		t.Fatalf("%d files, %v", len(files), err)
	}
	s.Close()
	again := start(t, Options{Dir: dir, Seed: map[string][]byte{"other": nil}})
	got, err := again.Files("refs/pr/1")
	if err != nil || !reflect.DeepEqual(got, files) || !reflect.DeepEqual(again.PRs(), prs) || again.Head("main") != head || again.Fresh {
		t.Errorf("%v: %+v, want %+v", err, again.PRs(), prs)
	}
	draft(t, again)
	if len(again.PRs()) != 2 {
		t.Errorf("%d pull requests", len(again.PRs()))
	}
	again.Close()
	if _, err := Start(Options{Dir: dir, Repo: "other/repo"}); err == nil || !strings.Contains(err.Error(), "flashinfer-ai/flashinfer-trace") {
		t.Errorf("another repository: %v", err)
	}
}

func TestKindOf_KnowsEveryRoute(t *testing.T) {
	t.Parallel()
	for _, r := range append(slices.Clone(routes), storage...) {
		method, pattern, _ := strings.Cut(r.pattern, " ")
		path := strings.NewReplacer("{ns}", "a", "{name}", "b", "{rev}", "refs%2Fpr%2F1", "{dir...}", "d%2Fe", "{path...}", "d/e", "{num}", "1",
			"{event}", "x", "{oid}", "x", "{part}", "1", "{$}", "").Replace(pattern)
		req, err := http.NewRequestWithContext(t.Context(), method, "http://host"+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if got := KindOf(req); got != r.kind {
			t.Errorf("%s %s is %s, want %s", method, path, got, r.kind)
		}
	}
}
