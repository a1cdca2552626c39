package hubtest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

func (h *hub) whoami(q *request) (any, error) {
	return map[string]any{
		"type": "user", "id": gitOID("blob", []byte(q.user.Name))[:24], "name": q.user.Name, "fullname": q.user.Name, "orgs": []any{},
		"auth": map[string]any{"type": "access_token", "accessToken": map[string]any{"displayName": "rehearsal", "role": q.user.Role}},
	}, nil
}

func (h *hub) validateYAML(q *request) (any, error) {
	return map[string]any{"errors": []any{}, "warnings": []any{}}, nil
}

// at gives the commit that a request is of, main's where it names none.
func (h *hub) at(q *request) (oid string, t tree, err error) {
	rev := cmp.Or(q.PathValue("rev"), "main")
	_, oid, ok := h.resolve(rev)
	if !ok {
		return "", nil, badRev(rev)
	}
	t, err = h.tree(oid)
	return oid, t, err
}

func (h *hub) revision(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	oid, t, err := h.at(q)
	if err != nil {
		return nil, err
	}
	c, err := h.commit(oid)
	if err != nil {
		return nil, err
	}
	siblings := []map[string]string{}
	for _, path := range sorted(t) {
		siblings = append(siblings, map[string]string{"rfilename": path})
	}
	return map[string]any{
		"id": h.o.Repo, "sha": oid, "lastModified": stamp(c.Date), "private": h.o.Private, "gated": false, "disabled": false,
		"tags": []string{}, "downloads": 0, "likes": 0, "siblings": siblings,
	}, nil
}

func sorted(t tree) []string {
	paths := make([]string, 0, len(t))
	for p := range t {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

type treeItem struct {
	Type string   `json:"type"`
	OID  string   `json:"oid"`
	Size int64    `json:"size"`
	Path string   `json:"path"`
	LFS  *lfsItem `json:"lfs,omitempty"`
}

type lfsItem struct {
	OID     string `json:"oid"`
	Size    int64  `json:"size"`
	Pointer int    `json:"pointerSize"`
}

func fileItem(path string, e entry) treeItem {
	it := treeItem{Type: "file", OID: e.OID, Size: e.Size, Path: path}
	if e.LFS != "" {
		it.LFS = &lfsItem{e.LFS, e.Size, len(pointer(e.LFS, e.Size))}
	}
	return it
}

func (h *hub) listTree(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, t, err := h.at(q)
	if err != nil {
		return nil, err
	}
	dir := strings.Trim(q.PathValue("dir"), "/")
	recursive, _ := strconv.ParseBool(q.URL.Query().Get("recursive"))
	items := t.list(dir, recursive)
	if len(items) == 0 && dir != "" {
		return nil, notFound("EntryNotFound", fmt.Sprintf("%s does not exist on %q", dir, cmp.Or(q.PathValue("rev"), "main")))
	}
	start, err := q.number("cursor", 0, 0)
	if err != nil {
		return nil, err
	}
	size, err := q.number("limit", 1, h.o.PageSize)
	if err != nil {
		return nil, err
	}
	start = min(start, len(items))
	end := min(start+min(size, h.o.PageSize), len(items))
	if end < len(items) {
		query := q.URL.Query()
		query.Set("cursor", strconv.Itoa(end))
		q.w.Header().Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, h.base(), q.URL.EscapedPath(), query.Encode()))
	}
	return items[start:end], nil
}

// list gives what is in dir, and with recursive below it, in the order of paths.
func (t tree) list(dir string, recursive bool) []treeItem {
	prefix := dir
	if dir != "" {
		prefix += "/"
	}
	items := []treeItem{}
	deep := func(path string) bool { return !recursive && strings.Contains(path[len(prefix):], "/") }
	for path, e := range t {
		if strings.HasPrefix(path, prefix) && !deep(path) {
			items = append(items, fileItem(path, e))
		}
	}
	for path, oid := range t.dirs() {
		if path != "" && strings.HasPrefix(path, prefix) && !deep(path) {
			items = append(items, treeItem{Type: "directory", OID: oid, Path: path})
		}
	}
	slices.SortFunc(items, func(a, b treeItem) int { return cmp.Compare(a.Path, b.Path) })
	return items
}

// pathsInfo takes JSON, and the form that the official client sends.
func (h *hub) pathsInfo(q *request) (any, error) {
	var body struct {
		Paths  []string `json:"paths"`
		Expand bool     `json:"expand"`
	}
	if strings.HasPrefix(q.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		if err := q.ParseForm(); err != nil {
			return nil, badBody(err)
		}
		body.Paths = q.PostForm["paths"]
	} else if err := h.read(q, &body); err != nil {
		return nil, err
	}
	if len(body.Paths) > 1000 {
		return nil, refused(http.StatusRequestEntityTooLarge, "too many parameters")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, t, err := h.at(q)
	if err != nil {
		return nil, err
	}
	dirs := t.dirs()
	items := []treeItem{}
	for _, path := range body.Paths {
		if e, ok := t[path]; ok {
			items = append(items, fileItem(path, e))
		} else if oid, ok := dirs[path]; ok && path != "" {
			items = append(items, treeItem{Type: "directory", OID: oid, Path: path})
		}
	}
	return items, nil
}

func (h *hub) listCommits(q *request) (any, error) {
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
	items := []map[string]any{}
	for _, c := range list {
		items = append(items, map[string]any{
			"id": c.OID, "title": c.Summary, "message": c.Description, "date": stamp(c.Date), "authors": []any{map[string]any{"user": c.Author}},
		})
	}
	return items, nil
}

func (h *hub) listRefs(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	type item struct {
		Name   string `json:"name"`
		Ref    string `json:"ref"`
		Target string `json:"targetCommit"`
	}
	branches, prs := []item{}, []item{}
	for ref, oid := range h.state.Refs {
		if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			branches = append(branches, item{name, ref, oid})
		} else {
			prs = append(prs, item{strings.TrimPrefix(ref, "refs/pr/"), ref, oid})
		}
	}
	answer := map[string]any{"branches": branches, "tags": []item{}, "converts": []item{}}
	if q.URL.Query().Get("include_prs") == "1" {
		answer["pullRequests"] = prs
	}
	return answer, nil
}

// resolveFile gives a file: by itself, or by a redirect to storage at another origin.
func (h *hub) resolveFile(q *request) (any, error) {
	h.mu.Lock()
	oid, t, err := h.at(q)
	path := q.PathValue("path")
	e, ok := t[path]
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	q.w.Header().Set("X-Repo-Commit", oid)
	if !ok {
		return nil, notFound("EntryNotFound", "Entry not found")
	}
	if e.LFS != "" {
		h.mu.Lock()
		target := h.sign(h.storage(), "/objects/"+url.PathEscape(e.LFS)+"?name="+url.QueryEscape(path))
		h.mu.Unlock()
		q.w.Header().Set("X-Linked-Etag", `"`+e.LFS+`"`)
		q.w.Header().Set("X-Linked-Size", strconv.FormatInt(e.Size, 10))
		http.Redirect(q.w, q.Request, target, http.StatusFound)
		return nil, nil
	}
	f, err := os.Open(h.content(e))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	q.w.Header().Set("ETag", `"`+e.OID+`"`)
	q.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	http.ServeContent(q.w, q.Request, "", info.ModTime(), f)
	return nil, nil
}
