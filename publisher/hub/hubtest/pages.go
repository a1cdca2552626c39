package hubtest

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Pages for people: what a rehearsal has made, as a reviewer would see it. They run no script.

//go:embed pages.html
var pagesHTML string

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"seg": url.PathEscape, "path": escapePath, "size": readable, "ago": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"short": func(oid string) string { return oid[:min(10, len(oid))] }, "markdown": markdown,
	"count": count,
}).Parse(pagesHTML))

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// readable gives a size with two digits or more, rounded down.
func readable(n int64) string {
	units := []string{"B", "kB", "MB", "GB"}
	tenths := n * 10
	i := 0
	for ; tenths >= 10_000 && i < len(units)-1; i++ {
		tenths /= 1000
	}
	if i > 0 && tenths < 100 {
		return fmt.Sprintf("%d.%d %s", tenths/10, tenths%10, units[i])
	}
	return fmt.Sprintf("%d %s", tenths/10, units[i])
}

// show answers with a page.
func (h *hub) show(q *request, name, title string, data any) (any, error) {
	return nil, h.page(q, http.StatusOK, name, title, data)
}

func (h *hub) page(q *request, status int, name, title string, data any) error {
	var b bytes.Buffer
	err := pages.ExecuteTemplate(&b, name, map[string]any{"Repo": h.o.Repo, "Base": "/datasets/" + h.o.Repo, "Title": title, "Data": data})
	if err != nil {
		return err
	}
	q.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	q.w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	q.w.WriteHeader(status)
	_, _ = q.w.Write(b.Bytes())
	return nil
}

// noPage answers for the addresses that are nobody's.
func (h *hub) noPage(q *request) (any, error) {
	if path := strings.TrimRight(q.URL.EscapedPath(), "/"); path != q.URL.EscapedPath() {
		if u, err := url.Parse(path); err == nil && KindOf(&http.Request{Method: q.Method, Host: q.Host, URL: u}) == Page {
			u.RawQuery = q.URL.RawQuery
			http.Redirect(q.w, q.Request, u.String(), http.StatusFound)
			return nil, nil
		}
	}
	return h.unknown(q)
}

func (h *hub) frontPage(q *request) (any, error) {
	http.Redirect(q.w, q.Request, "/datasets/"+h.o.Repo, http.StatusFound)
	return nil, nil
}

// listed is a pull request in a list.
type listed struct {
	*discussion
	Commits int
	Changes changes
}

func (h *hub) listed() ([]listed, error) {
	var list []listed
	for _, d := range h.discuss {
		if !d.PullRequest {
			continue
		}
		commits, changed, err := h.changesOf(d)
		if err != nil {
			return nil, err
		}
		list = append(list, listed{d, len(commits), changed})
	}
	slices.SortFunc(list, func(a, b listed) int { return b.Num - a.Num })
	return list, nil
}

// changed is a file that differs from what it is compared to.
type changed struct {
	Path string
	How  string // added, changed or deleted
	entry
	Before int64 // size
}

type changes []changed

// Size is what there is to read, in bytes.
func (c changes) Size() (n int64) {
	for _, f := range c {
		n += f.entry.Size
	}
	return n
}

// changesOf gives a pull request's commits, newest first, and what they change.
func (h *hub) changesOf(d *discussion) ([]*Commit, changes, error) {
	head := h.state.Refs[d.ref()]
	commits, err := h.history(head, d.Start)
	if err != nil {
		return nil, nil, err
	}
	list, err := h.compare(d.Start, head)
	return commits, list, err
}

func (h *hub) compare(from, to string) (changes, error) {
	before, err := h.tree(from)
	if err != nil {
		return nil, err
	}
	after, err := h.tree(to)
	if err != nil {
		return nil, err
	}
	var list changes
	for path, e := range after {
		old, was := before[path]
		switch {
		case !was:
			list = append(list, changed{Path: path, How: "added", entry: e})
		case old != e:
			list = append(list, changed{Path: path, How: "changed", entry: e, Before: old.Size})
		}
	}
	for path, e := range before {
		if _, is := after[path]; !is {
			list = append(list, changed{Path: path, How: "deleted", Before: e.Size})
		}
	}
	slices.SortFunc(list, func(a, b changed) int { return cmp.Compare(a.Path, b.Path) })
	return list, nil
}

func (h *hub) repoPage(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list, err := h.listed()
	if err != nil {
		return nil, err
	}
	t, err := h.tree(h.state.Refs[mainRef])
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, d := range list {
		counts[d.Status]++
	}
	return h.show(q, "repo", h.o.Repo, map[string]any{"PRs": list[:min(10, len(list))], "Counts": counts, "Head": h.state.Refs[mainRef], "Items": t.list("", false), "Rev": "main"})
}

func (h *hub) listPage(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list, err := h.listed()
	if err != nil {
		return nil, err
	}
	return h.show(q, "list", "Pull requests", list)
}

// moment is an event, as a page shows it.
type moment struct {
	event
	Text    string // of a comment
	OID     string
	Subject string // of a commit
	Status  string
	From    string
	To      string
}

func (h *hub) prPage(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.find(q)
	if err != nil {
		return nil, err
	}
	commits, list, err := h.changesOf(d)
	if err != nil {
		return nil, err
	}
	var moments []moment
	described := false
	for _, e := range d.Events {
		m := moment{event: e}
		if e.Type == "comment" {
			if !described {
				described = true // it is shown above all
				continue
			}
			m.Text = e.comment().Latest.Raw
		} else if err := json.Unmarshal(e.Data, &m); err != nil {
			return nil, err
		}
		moments = append(moments, m)
	}
	return h.show(q, "pr", d.Title, map[string]any{
		"PR": d, "Ref": d.ref(), "Text": d.description(), "Events": moments, "Commits": commits, "Changes": list, "Head": h.state.Refs[d.ref()],
	})
}

func (h *hub) commitsPage(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	oid, _, err := h.at(q)
	if err != nil {
		return nil, err
	}
	list, err := h.history(oid, "")
	if err != nil {
		return nil, err
	}
	return h.show(q, "commits", "Commits of "+q.PathValue("rev"), list)
}

func (h *hub) commitPage(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	oid, _, err := h.at(q)
	if err != nil {
		return nil, err
	}
	c, err := h.commit(oid)
	if err != nil {
		return nil, err
	}
	list, err := h.compare(c.Parent, oid)
	if err != nil {
		return nil, err
	}
	return h.show(q, "commit", c.Summary, map[string]any{"Commit": c, "Changes": list, "Head": oid})
}

func (h *hub) treePage(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, t, err := h.at(q)
	if err != nil {
		return nil, err
	}
	dir := strings.Trim(q.PathValue("dir"), "/")
	items := t.list(dir, false)
	if len(items) == 0 {
		return nil, notFound("EntryNotFound", dir+" does not exist")
	}
	parent, _ := split(dir)
	return h.show(q, "tree", cmp.Or(dir, "Files"), map[string]any{"Rev": q.PathValue("rev"), "Dir": dir, "Parent": parent, "Items": items})
}

// mostShown is how much of a file a page shows, in bytes.
const mostShown = 200_000

func (h *hub) blobPage(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, t, err := h.at(q)
	if err != nil {
		return nil, err
	}
	path := q.PathValue("path")
	e, ok := t[path]
	if !ok {
		return nil, notFound("EntryNotFound", path+" does not exist")
	}
	dir, _ := split(path)
	data := map[string]any{"Rev": q.PathValue("rev"), "Path": path, "Dir": dir, "Entry": e}
	if e.LFS == "" && e.Size <= mostShown {
		content, err := os.ReadFile(h.content(e))
		if err != nil {
			return nil, err
		}
		var pretty bytes.Buffer
		switch {
		case strings.HasSuffix(path, ".json") && json.Indent(&pretty, content, "", "  ") == nil:
			data["Content"] = pretty.String()
		case utf8.Valid(content):
			data["Content"] = string(content)
		}
	}
	return h.show(q, "blob", path, data)
}
