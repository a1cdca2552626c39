package hubtest

import (
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Seed: map[string][]byte{"definitions/gqa/d.json": []byte(`{"name":"<d>"}`), "b/a.safetensors": []byte("abc")}})
	draft(t, s)
	if a := commitTo(t, s, meToken, "refs%2Fpr%2F1", s.Head("main"), fileLine("workloads/gqa/d.jsonl", "{}\n"), fileLine("definitions/gqa/d.json", "[1]")); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	ask(t, s, meToken, "POST", apiPath+"/discussions/1/comment", `{"comment":"All **passed**."}`)
	ask(t, s, meToken, "POST", apiPath+"/discussions/1/title", `{"title":"another title"}`)
	ask(t, s, meToken, "POST", apiPath+"/discussions/1/status", `{"status":"open"}`)
	head := s.Head("refs/pr/1")
	for path, want := range map[string][]string{
		webPath:                                               {"another title", `href="` + webPath + `/discussions/1"`, "1 open", "definitions/"},
		webPath + "/discussions":                              {"another title", ">open<", ">2<", "6 B"},
		webPath + "/discussions/1":                            {"another title", "<p>text</p>", "<strong>passed</strong>", "workloads/gqa/d.jsonl", ">added<", ">changed<", "1 commit ", "2 files", head[:10]},
		webPath + "/commits/main":                             {"initial commit", "system"},
		webPath + "/commit/" + head:                           {"workloads/gqa/d.jsonl", s.Head("main")},
		webPath + "/tree/refs%2Fpr%2F1":                       {"workloads/", "b/"},
		webPath + "/tree/main/b":                              {"a.safetensors", "3 B", "LFS ", `href="` + webPath + `/tree/main"`},
		webPath + "/blob/main/" + "b/a.safetensors":           {sha256Hex([]byte("abc")), "not shown here"},
		webPath + "/blob/main/definitions/gqa/d.json":         {`&#34;name&#34;: &#34;&lt;d&gt;&#34;`},
		webPath + "/blob/refs%2Fpr%2F1/workloads/gqa/d.jsonl": {"<pre>{}"},
	} {
		a := ask(t, s, "", "GET", path, "")
		if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
		for _, w := range want {
			if !strings.Contains(a.body, w) {
				t.Errorf("%s lacks %q", path, w)
			}
		}
	}
	if a := ask(t, s, "", "GET", "/", ""); a.status != 302 || a.header.Get("Location") != webPath {
		t.Errorf("%+v", a)
	}
	for _, path := range []string{"", "/discussions", "/discussions/1", "/commits/refs%2Fpr%2F1", "/commit/" + head} {
		a := ask(t, s, "", "GET", webPath+path+"/?a=b", "")
		if a.status != 302 || a.header.Get("Location") != webPath+path+"?a=b" {
			t.Errorf("%s/: %d to %s", path, a.status, a.header.Get("Location"))
		}
	}
	for path, want := range map[string]string{
		"/discussions/2": "Discussion not found", "/tree/main/nowhere": "nowhere does not exist", "/tree/nowhere": "Invalid rev id: nowhere",
		"/blob/main/<b>": "&lt;b&gt; does not exist", "/commit/" + strings.Repeat("0", 40): "Invalid rev id",
	} {
		a := ask(t, s, "", "GET", webPath+strings.ReplaceAll(path, "<b>", "%3Cb%3E"), "")
		if a.status != 404 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(a.body, want) ||
			!strings.Contains(a.body, `<p><a href="`+webPath+`">`) || a.header.Get("X-Error-Message") == "" {
			t.Errorf("%s: %+v", path, a)
		}
	}
	if v := s.Violations(); len(v) > 0 {
		t.Errorf("looking at pages is noted: %q", v)
	}
}

// TestPages_Errors: people get a page, programs get JSON, of what is nobody's too.
func TestPages_Errors(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Lenient: true, Private: true})
	for _, c := range []struct {
		token, method, path string
		status              int
		html                bool
	}{
		{"", "GET", webPath, 401, true},
		{"hf_wrong", "GET", webPath, 401, true},
		{meToken, "GET", "/datasets/other/repo", 404, true},
		{meToken, "GET", "/datasets/other/repo/", 302, true},
		{meToken, "GET", "/nowhere", 404, true},
		{meToken, "GET", "/nowhere/", 404, true},
		{meToken, "GET", webPath + "/nowhere/", 404, true},
		{meToken, "POST", webPath, 404, false},
		{meToken, "GET", "/api/nowhere", 404, false},
		{meToken, "GET", apiPath + "/tree/nowhere", 404, false},
		{meToken, "POST", webPath + "/info/lfs/nowhere", 404, false},
	} {
		a := ask(t, s, c.token, c.method, c.path, "")
		if a.status != c.status || strings.HasPrefix(a.header.Get("Content-Type"), "text/html") != c.html {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.header.Get("Content-Type"))
		}
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"# A *b*\ntext\nmore\n\n***\n":                       "<h1>A <em>b</em></h1>\n<p>text\nmore</p>\n<hr>\n",
		"- a\n  - b\n  - c\n- d\n\n1. e":                     "<ul><li>a<ul><li>b</li>\n<li>c</li></ul></li>\n<li>d</li></ul>\n<ol><li>e</li></ol>\n",
		"| a | b |\n|---|--:|\n| `x|y` | 1 \\| 2 |":          "<table>\n<tr><th>a</th><th>b</th></tr>\n<tr><td>`x</td><td>y`</td><td>1 | 2</td></tr>\n</table>\n",
		"```sh\na <b> `c`\n```\nd":                           "<pre><code>a &lt;b&gt; `c`\n</code></pre>\n<p>d</p>\n",
		"```\nnever closed":                                  "<pre><code>never closed\n</code></pre>\n",
		"<!-- a -->\nb\n<!-- c -->\nd <!-- e":                "<p>b</p>\n<p>d &lt;!-- e</p>\n",
		"> a\n> b":                                           "<blockquote>a\nb</blockquote>\n",
		"<details><summary>Log</summary>\n\nx\n\n</details>": "<details><summary>Log</summary>\n<p>x</p>\n</details>\n",
		"[a](https://x.y/z?a=1&b=2) https://x.y/b.":          `<p><a href="https://x.y/z?a=1&amp;b=2">a</a> <a href="https://x.y/b">https://x.y/b</a>.</p>` + "\n",
		"**b** `**c**` a_b_c":                                "<p><strong>b</strong> <code>**c**</code> a_b_c</p>\n",
		"<script>x</script> [a](javascript:x)":               "<p>&lt;script&gt;x&lt;/script&gt; [a](javascript:x)</p>\n",
		`[a](https://x"onclick="y)`:                          `<p><a href="https://x&#34;onclick=&#34;y">a</a></p>` + "\n",
		"":                                                   "",
	} {
		if got := string(markdown(text)); got != want {
			t.Errorf("%q:\n got %q\nwant %q", text, got, want)
		}
	}
}

// FuzzMarkdown: whatever the text, rendering ends and lets no tag of the text through but those that are known.
func FuzzMarkdown(f *testing.F) {
	for _, s := range []string{"# a\n- b\n  1. c\n\n- d", "|a|\n|-|\n|b|", "```\n", "> <b>x</b>\n<details open>", "[a](b) **c** `d`", "<img src=x onerror=y>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := strings.ToLower(string(markdown(text)))
		for rest := got; ; {
			_, after, found := strings.Cut(rest, "<")
			if !found {
				return
			}
			name := strings.TrimPrefix(after, "/")
			name = name[:min(strings.IndexAny(name+">", "> "), len(name))]
			if !strings.Contains(" h1 h2 h3 h4 h5 h6 p hr ul ol li table tr th td blockquote pre code a strong em details summary br sub b ", " "+name+" ") {
				t.Errorf("%q lets <%s through: %q", text, name, got)
			}
			rest = after
		}
	})
}

func TestReadable(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 9_949: "9.9 kB", 10_000: "10 kB", 999_999: "999 kB", 1_000_000: "1.0 MB", 12_345_678: "12 MB",
		999_999_999: "999 MB", 1_000_000_000: "1.0 GB", 45_000_000_000: "45 GB",
	} {
		if got := readable(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
