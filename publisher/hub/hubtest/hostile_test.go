package hubtest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestNumbers(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	draft(t, s)
	const most, beyond = "2147483647", "999999999999999999999"
	for _, c := range []struct {
		path string
		bad  []string
		good []string
	}{
		{"/tree/main?cursor=", []string{"-5", beyond, "x", "9223372036854775807"}, []string{"", "0", "1", most}},
		{"/tree/main?limit=", []string{"-5", "0", beyond, "x"}, []string{"", "1", most}},
		{"/tree/main?limit=" + most + "&cursor=", []string{"-1"}, []string{"1", most}},
		{"/discussions?p=", []string{"-1", beyond, "x"}, []string{"", "0", "1", most}},
	} {
		for _, n := range c.bad {
			if a := ask(t, s, "", "GET", apiPath+c.path+n, ""); a.status != 400 || !strings.Contains(a.json(t)["error"].(string), n) {
				t.Errorf("%s%s: %d %s", c.path, n, a.status, a.body)
			}
		}
		for _, n := range c.good {
			if a := ask(t, s, "", "GET", apiPath+c.path+n, ""); a.status != 200 {
				t.Errorf("%s%s: %d %s", c.path, n, a.status, a.body)
			}
		}
	}
	for _, n := range []string{"-1", "0", beyond, "x"} {
		if a := ask(t, s, "", "GET", apiPath+"/discussions/"+n, ""); a.status != 404 {
			t.Errorf("discussion %s: %d", n, a.status)
		}
	}
	if a := ask(t, s, meToken, "POST", apiPath+"/preupload/refs%2Fpr%2F1", `{"files":[{"path":"a","sample":"","size":-1}]}`); a.status != 422 {
		t.Errorf("a file of -1 bytes: %+v", a)
	}
}

// TestParts: what is too large for its parts is refused before the parts are listed.
func TestParts(t *testing.T) {
	t.Parallel()
	s := start(t, Options{ChunkSize: 5})
	for size, want := range map[int64]int{1 << 62: 0, 50_000: 0, 49_999: 10_000} {
		body := fmt.Sprintf(`{"operation":"upload","transfers":["multipart"],"hash_algo":"sha256","objects":[{"oid":%q,"size":%d}]}`, sha256Hex(fmt.Append(nil, size)), size)
		a := ask(t, s, meToken, "POST", webPath+".git/info/lfs/objects/batch", body, "Accept", lfsType, "Content-Type", lfsType)
		if n := strings.Count(a.body, "/parts/"); a.status != 200 || n != want || (n == 0) != strings.Contains(a.body, "Invalid object") {
			t.Errorf("%d bytes: %d, %d parts, want %d", size, a.status, n, want)
		}
	}
	objects := strings.TrimSuffix(strings.Repeat("{},", mostObjects+1), ",")
	a := ask(t, s, meToken, "POST", webPath+".git/info/lfs/objects/batch", `{"operation":"upload","hash_algo":"sha256","objects":[`+objects+`]}`, "Accept", lfsType, "Content-Type", lfsType)
	if a.status != 413 {
		t.Errorf("%d objects: %d", mostObjects+1, a.status)
	}
}

// TestOutside: no digest leads out of its directory.
func TestOutside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Options{Dir: dir, Lenient: true})
	draft(t, s)
	info, err := os.Stat(filepath.Join(dir, stateName))
	if err != nil {
		t.Fatal(err)
	}
	padded := func(name string, n int) string { return ".." + strings.Repeat("/", n-2-len(name)) + name }
	oid := padded(stateName, 64)
	line := fmt.Sprintf(`{"key":"lfsFile","value":{"path":"a","algo":"sha256","oid":%q,"size":%d}}`, oid, info.Size())
	if a := commitTo(t, s, meToken, "refs%2Fpr%2F1", s.Head("main"), line); a.status != 422 {
		t.Errorf("commit: %+v", a)
	}
	if a := ask(t, s, meToken, "POST", webPath+".git/info/lfs/verify", fmt.Sprintf(`{"oid":%q,"size":%d}`, oid, info.Size())); a.status != 404 {
		t.Errorf("verify: %+v", a)
	}
	if a := ask(t, s, "", "GET", apiPath+"/revision/"+url.PathEscape(padded("discussions/1", 40)), ""); a.status != 404 {
		t.Errorf("revision: %+v", a)
	}
}

// serve answers without a connection, so that a panic is the test's.
func serve(s *Server, r *http.Request) *httptest.ResponseRecorder {
	mux := hubRoutes(s.hub)
	if strings.HasPrefix(r.URL.String(), s.Storage) {
		mux = storageRoutes(s.hub)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func TestBodies(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Lenient: true})
	draft(t, s)
	const form, ndjson = "application/x-www-form-urlencoded", "application/x-ndjson"
	const commit = apiPath + "/commit/refs%2Fpr%2F1"
	const deletion = `{"key":"deletedFile","value":{"path":"a"}}` + "\n"
	header := `{"key":"header","value":{"summary":"s"}}` + "\n"
	early := iotest.ErrReader(io.ErrUnexpectedEOF)
	much := func(begin, more string, n int) io.Reader {
		return io.MultiReader(strings.NewReader(begin), strings.NewReader(strings.Repeat(more, n)))
	}
	for _, c := range []struct {
		path, kind string
		body       io.Reader
		announced  int64 // -1: it is not
		want       int
	}{
		{apiPath + "/discussions", "", much(`{"title":"`, "x", mostJSON), -1, 413},
		{apiPath + "/discussions", "", early, 700_000_000, 413},
		{apiPath + "/discussions/1/merge", "", much(`{"comment":"`, "x", mostJSON), -1, 413},
		{apiPath + "/preupload/main", "", much(`{"files":[`, " ", mostJSON), -1, 413},
		{apiPath + "/paths-info/main", "", much(`{"paths":[`, " ", mostJSON), -1, 413},
		{apiPath + "/paths-info/main", form, much("paths=", "x", mostJSON), -1, 413},
		{webPath + "/info/lfs/verify", "", much(`{"oid":"`, "x", mostJSON), -1, 413},
		{commit, ndjson, much(header+`{"key":"`, "x", mostLine), -1, 413},
		{commit, ndjson, much(header, deletion, mostLines+1), -1, 413},
		{commit, ndjson, early, mostCommit + 1, 413},
		{apiPath + "/discussions", "", early, 10, 400},
		{commit, ndjson, io.MultiReader(strings.NewReader(header+deletion+deletion[:5]), early), 1000, 400},
		{commit, ndjson, io.MultiReader(strings.NewReader(header+deletion), early), 1000, 400},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", s.URL+c.path, c.body)
		r.ContentLength = c.announced
		r.Header.Set("Content-Type", c.kind)
		r.Header.Set("Authorization", "Bearer "+bossToken)
		if w := serve(s, r); w.Code != c.want || !strings.Contains(w.Body.String(), `"error":`) {
			t.Errorf("%s: %d %s, want %d", c.path, w.Code, w.Body, c.want)
		}
	}
	if prs := s.PRs(); len(prs) != 1 || len(prs[0].Commits) > 0 {
		t.Errorf("what was refused had an effect: %+v", prs)
	}
}

// bodies are what the routes take; what is sent differs in some value.
var bodies = map[Kind]string{
	Preupload: `{"files":[{"path":"a","sample":"YQ==","size":1}],"gitAttributes":"* filter=lfs","gitIgnore":"a"}`,
	MakeCommit: `[{"key":"header","value":{"summary":"s","description":"d"}},
		{"key":"file","value":{"path":"a","content":"YQ==","encoding":"base64"}},{"key":"file","value":{"path":"b","content":"b"}},
		{"key":"lfsFile","value":{"path":"c","algo":"sha256","oid":"` + hostileOID + `","size":3}},{"key":"deletedFile","value":{"path":"a"}}]`,
	PathsInfo:   `{"paths":["a","b"],"expand":true}`,
	CreatePR:    `{"title":"title","description":"text","pullRequest":true}`,
	Comment:     `{"comment":"text"}`,
	EditComment: `{"content":"text"}`,
	SetTitle:    `{"title":"title"}`,
	SetStatus:   `{"status":"open","comment":"text"}`,
	Merge:       `{"comment":"text"}`,
	LFSBatch:    `{"operation":"upload","transfers":["basic"],"hash_algo":"sha256","objects":[{"oid":"` + hostileOID + `","size":30}],"ref":{"name":"main"}}`,
	LFSVerify:   `{"oid":"` + hostileOID + `","size":3}`,
	LFSComplete: `{"oid":"` + hostileOID + `","parts":[{"partNumber":1,"etag":"x"},{"partNumber":2,"etag":"x"}]}`,
	PutObject:   `"abc"`,
}

const hostileOID = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

var hostile = []string{
	"", "0", "1", "2", "-1", "-5", "+1", "1e9", "0x10", "NaN", "2147483648", "9223372036854775807", "-9223372036854775808", "999999999999999999999",
	"main", "refs/heads/main", "refs/pr/1", "refs/pr/-1", "refs/pr/", "open", "closed", "upload", ".gitattributes", "a", "a/b", "a/", "/", "//", "..", "../..", ".git",
	"../state.json", ".." + strings.Repeat("/", 50) + stateName, ".." + strings.Repeat("/", 24) + "discussions/1", hostileOID, strings.Repeat("0", 40), strings.Repeat("a", 64),
	"\x00", "a\nb", "\r\n", "é", "\xff", "<script>", "%", "%2F", "%25", "**/**/a filter=lfs", "[", "> > - 1. | `", strings.Repeat("x", 5000), strings.Repeat("a/", 500),
}

// broken gives v with one of its values in another's place.
func broken(r *rand.Rand, v any) any {
	switch v := v.(type) {
	case map[string]any:
		if r.IntN(4) > 0 && len(v) > 0 {
			keys := slices.Sorted(maps.Keys(v))
			key := keys[r.IntN(len(keys))]
			v[key] = broken(r, v[key])
			return v
		}
	case []any:
		if r.IntN(6) > 0 && len(v) > 0 {
			i := r.IntN(len(v))
			v[i] = broken(r, v[i])
			return v
		}
	}
	odd := []any{nil, true, 0, -1, 1, 3, 1 << 62, -1 << 63, 1e308, 0.5, []any{}, map[string]any{}, []any{[]any{v, v}}, v}
	if i := r.IntN(2 * len(odd)); i < len(odd) {
		return odd[i]
	}
	return hostile[r.IntN(len(hostile))]
}

func hostileBody(r *rand.Rand, kind Kind) string {
	var v any
	if r.IntN(10) == 0 || json.Unmarshal([]byte(bodies[kind]), &v) != nil {
		return hostile[r.IntN(len(hostile))]
	}
	list, lines := v.([]any)
	if lines { // some of them
		list = append(list[:1], slices.DeleteFunc(list[1:], func(any) bool { return r.IntN(2) == 0 })...)
		v = list
	}
	if r.IntN(3) > 0 {
		v = broken(r, v)
	}
	if list, lines = v.([]any); !lines {
		list = []any{v}
	}
	var b strings.Builder
	for _, l := range list {
		line, _ := json.Marshal(l)
		b.Write(append(line, '\n'))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// TestHostile: whatever is asked, every route answers, and says whose fault it is.
func TestHostile(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Lenient: true, Verify: true, ChunkSize: 8, PageSize: 2, Seed: map[string][]byte{"a": []byte("1"), "b/c.safetensors": []byte("abcd")}})
	draft(t, s)
	r := rand.New(rand.NewPCG(1, 2))
	one := func(of []string) string { return of[r.IntN(len(of))] }
	wildcard := regexp.MustCompile(`{[^}]*}`)
	answers := map[int]int{}
	for range 200 {
		for _, rt := range append(slices.Clone(routes), storage...) {
			method, pattern, _ := strings.Cut(rt.pattern, " ")
			good := map[string]string{"{ns}": "flashinfer-ai", "{name}": "flashinfer-trace", "{num}": "1", "{rev}": "refs/pr/1", "{oid}": hostileOID, "{part}": "1", "{dir...}": "", "{$}": ""}
			odd := 0
			if r.IntN(3) == 0 {
				odd = 3
			}
			path := wildcard.ReplaceAllStringFunc(pattern, func(name string) string {
				if v, ok := good[name]; ok && r.IntN(5) >= odd {
					return url.PathEscape(v)
				}
				return url.PathEscape(one(hostile))
			})
			query := url.Values{}
			for range r.IntN(4) {
				query.Set(one([]string{"cursor", "cursor", "limit", "p", "p", "recursive", "type", "status", "author", "search", "create_pr", "include_prs", "size", "uploadId", "sig"}), one(hostile))
			}
			if u := s.hub.uploads[hostileOID]; u != nil && r.IntN(2) > 0 {
				query = url.Values{"uploadId": {u.id}}
			}
			target := s.URL + path + "?" + query.Encode()
			switch {
			case slices.ContainsFunc(storage, func(of route) bool { return of.kind == rt.kind }):
				target = s.hub.sign(s.Storage, path+"?"+query.Encode())
			case rt.kind == LFSComplete:
				signed := path + "?uploadId=" + query.Get("uploadId")
				target = s.URL + signed + "&sig=" + s.hub.mac(signed, 0)
			}
			body := hostileBody(r, rt.kind)
			req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
			if err != nil {
				continue // no client could send it
			}
			switch {
			case rt.kind == LFSBatch:
				req.Header.Set("Accept", lfsType)
				req.Header.Set("Content-Type", lfsType)
			case rt.kind == MakeCommit:
				req.Header.Set("Content-Type", "application/x-ndjson")
			case r.IntN(4) == 0:
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if !strings.HasPrefix(target, s.Storage) && r.IntN(4) > 0 {
				req.Header.Set("Authorization", "Bearer "+one([]string{meToken, bossToken, bossToken, readToken, "x"}))
			}
			req.Header.Set("Range", "bytes="+one(hostile)+"-"+one(hostile))
			if r.IntN(20) == 0 {
				req.ContentLength = -1
			}
			w := serve(s, req)
			answers[w.Code]++
			if w.Code >= 500 {
				t.Fatalf("%s %s %.300q: %d %s", method, target, body, w.Code, w.Body)
			}
		}
	}
	t.Logf("%v, %d pull requests", answers, len(s.PRs()))
}
