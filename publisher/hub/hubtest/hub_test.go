package hubtest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	s := start(t, Options{Lenient: true, RequestsLimit: 3, CommitsPerHour: 1, Now: func() time.Time { return now }})
	for i, want := range []int{200, 200, 200, 429, 429} {
		a := ask(t, s, meToken, "GET", apiPath, "")
		left := fmt.Sprintf(`"api";r=%d;t=300`, max(0, 2-i))
		if a.status != want || a.header.Get("RateLimit") != left || a.header.Get("RateLimit-Policy") != `"fixed window";"api";q=3;w=300` {
			t.Errorf("request %d: %d, %s, want %d, %s", i, a.status, a.header.Get("RateLimit"), want, left)
		}
	}
	now = now.Add(5 * time.Minute)
	if a := ask(t, s, bossToken, "GET", apiPath, ""); a.status != 200 {
		t.Errorf("in the next window: %d", a.status)
	}
	if a := commitTo(t, s, bossToken, "main", "", fileLine("a", "1")); a.status != 200 {
		t.Errorf("the first commit: %+v", a)
	}
	a := commitTo(t, s, bossToken, "main", "", fileLine("b", "1"))
	if a.status != 429 || !strings.Contains(a.body, "1 per hour") || strings.Contains(a.header.Get("RateLimit"), "r=0") != true {
		t.Errorf("the second commit: %+v", a)
	}
	now = now.Add(time.Hour)
	if a := commitTo(t, s, bossToken, "main", "", fileLine("b", "1")); a.status != 200 {
		t.Errorf("an hour later: %+v", a)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Seed: map[string][]byte{"a": []byte("0"), "b": []byte("0")}})
	for range 3 {
		draft(t, s)
	}
	for i, lines := range [][]string{{fileLine("a", "1"), fileLine("c", "1")}, {fileLine("a", "2")}} {
		ref := fmt.Sprintf("refs%%2Fpr%%2F%d", i+1)
		if a := commitTo(t, s, meToken, ref, s.Head("main"), lines...); a.status != 200 {
			t.Fatalf("%+v", a)
		}
	}
	merge := func(n int) answer {
		return ask(t, s, bossToken, "POST", fmt.Sprintf("%s/discussions/%d/merge", apiPath, n), `{"comment":"fine"}`)
	}
	if a := merge(1); a.status != 400 || !strings.Contains(a.body, "draft") {
		t.Errorf("a draft: %+v", a)
	}
	for n := 1; n <= 3; n++ {
		if a := ask(t, s, meToken, "POST", fmt.Sprintf("%s/discussions/%d/status", apiPath, n), `{"status":"open"}`); a.status != 200 {
			t.Errorf("open %d: %+v", n, a)
		}
	}
	if a := merge(3); a.status != 400 || !strings.Contains(a.body, "no associated changes") {
		t.Errorf("one of nothing: %+v", a)
	}
	if a := merge(1); a.status != 200 {
		t.Errorf("%+v", a)
	}
	if files, err := s.Files("main"); err != nil || string(files["a"]) != "1" || string(files["b"]) != "0" || string(files["c"]) != "1" {
		t.Errorf("%q, %v", files, err)
	}
	if a := merge(2); a.status != 409 || !strings.Contains(a.body, "conflicts: a") {
		t.Errorf("one with conflicts: %+v", a)
	}
	if err := s.MergePR(1); err == nil {
		t.Error("merged twice")
	}
	if a := commitTo(t, s, meToken, "refs%2Fpr%2F1", s.Head("refs/pr/1"), fileLine("d", "1")); a.status != 403 {
		t.Errorf("a commit to what is merged: %+v", a)
	}
}

// TestStorage: what is signed is good for its object, its size and a while; what is stored is what was announced.
func TestStorage(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	content := bytes.Repeat([]byte("x"), 100)
	oid := sha256Hex(content)
	href := func(oid string, size int) string {
		t.Helper()
		body := fmt.Sprintf(`{"operation":"upload","transfers":["basic","multipart"],"hash_algo":"sha256","objects":[{"oid":%q,"size":%d}]}`, oid, size)
		a := ask(t, s, meToken, "POST", webPath+".git/info/lfs/objects/batch", body, "Accept", lfsType, "Content-Type", lfsType)
		object := a.json(t)["objects"].([]any)[0].(map[string]any)
		if object["actions"] == nil {
			return ""
		}
		return object["actions"].(map[string]any)["upload"].(map[string]any)["href"].(string)
	}
	good := href(oid, 100)
	for _, c := range []struct {
		name, url, body string
		want            int
	}{
		{"another object", strings.Replace(good, oid, sha256Hex(nil), 1), string(content), 403},
		{"no signature", s.Storage + "/objects/" + oid + "?size=100", string(content), 403},
		{"another size", good, "short", 411},
		{"another content", good, strings.Repeat("y", 100), 400},
		{"after it expired", good, string(content), 403},
	} {
		if strings.HasPrefix(c.name, "after") {
			s.ExpireURLs()
		}
		if a := ask(t, s, "", "PUT", c.url, c.body); a.status != c.want || !strings.Contains(a.body, "<Code>") {
			t.Errorf("%s: %+v, want %d", c.name, a, c.want)
		}
	}
	if a := ask(t, s, "", "PUT", href(oid, 100), string(content)); a.status != 200 {
		t.Errorf("%+v", a)
	}
	if again := href(oid, 100); again != "" {
		t.Errorf("what is stored is asked for again: %s", again)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Seed: map[string][]byte{"a.safetensors": []byte("abc"), "d/b.json": []byte("{}")}})
	a := ask(t, s, "", "HEAD", webPath+"/resolve/main/a.safetensors", "")
	location := a.header.Get("Location")
	if a.status != 302 || !strings.HasPrefix(location, s.Storage) || a.header.Get("X-Linked-Etag") != `"`+sha256Hex([]byte("abc"))+`"` ||
		a.header.Get("X-Linked-Size") != "3" || a.header.Get("X-Repo-Commit") != s.Head("main") || a.header.Get("X-Xet-Hash") != "" {
		t.Errorf("%+v", a)
	}
	if a := ask(t, s, "", "GET", location, ""); a.status != 200 || a.body != "abc" {
		t.Errorf("%+v", a)
	}
	if a := ask(t, s, "", "GET", webPath+"/resolve/"+s.Head("main")+"/d/b.json", "", "Range", "bytes=1-"); a.status != 206 || a.body != "}" ||
		a.header.Get("ETag") != `"`+gitOID("blob", []byte("{}"))+`"` {
		t.Errorf("%+v", a)
	}
	if a := ask(t, s, "", "GET", webPath+"/resolve/main/nowhere", ""); a.status != 404 || a.header.Get("X-Error-Code") != "EntryNotFound" {
		t.Errorf("%+v", a)
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	attributes := "*.bin filter=lfs -text\nkeep/*.bin -filter filter=none\n/top.txt filter=lfs\ndeep/**/x filter=lfs\n# *.json filter=lfs\nbroken\n"
	for path, want := range map[string]bool{
		"a.bin": true, "d/e/a.bin": true, "keep/a.bin": false, "keep/d/a.bin": true, "top.txt": true, "d/top.txt": false,
		"deep/x": true, "deep/a/b/x": true, "deep/a/y": false, "a.json": false, "broken": false,
	} {
		if got := covered(attributes, path); got != want {
			t.Errorf("%s is LFS: %t", path, got)
		}
	}
	for pattern, want := range map[string]bool{
		"**/y": true, "**": true, "**/**": true, "a/**/a/**/y": true, "a/**/b/**/y": false, "**/a": false, "a/**": true, "**/a/y/**": true,
		strings.Repeat("**/", 20) + "z": false, strings.Repeat("**/a/", 20) + "y": true,
	} {
		if got := covered(pattern+" filter=lfs", strings.Repeat("a/", 40)+"y"); got != want {
			t.Errorf("%s matches: %t", pattern, got)
		}
	}
	ignore := "*.log\n!keep.log\n/build/\n# x\nout\n"
	for path, want := range map[string]bool{
		"a.log": true, "d/a.log": true, "keep.log": false, "build/x/y": true, "d/build/x": false, "build": false, "out": true, "out/x": true, "x": false,
	} {
		if got := ignored(ignore, path); got != want {
			t.Errorf("%s is ignored: %t", path, got)
		}
	}
	if !wantsLFS("", "a", mostRegular+1, nil) || wantsLFS("", "a", mostRegular, []byte("text")) || !wantsLFS("", "a", mostBinary+1, []byte{0}) ||
		wantsLFS("", "a", mostBinary, []byte{0}) {
		t.Error("sizes decide otherwise")
	}
}
