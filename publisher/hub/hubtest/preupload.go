package hubtest

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// may says why q's user may not write to rev, or nil. A pull request is its author's, a branch is the writers'.
func (h *hub) may(q *request, rev string) error {
	if d := h.ofRef(rev); d != nil {
		if d.Status == "closed" || d.Status == "merged" {
			return refused(http.StatusForbidden, "This pull request is %s", d.Status)
		}
		if q.user.Writer || d.Author == q.user.Name {
			return nil
		}
		return refused(http.StatusForbidden, "Forbidden: only the author of a pull request may write to it")
	}
	if q.user.Writer || q.URL.Query().Get("create_pr") == "1" {
		return nil
	}
	return refused(http.StatusForbidden, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
}

func badRev(rev string) error {
	return notFound("RevisionNotFound", "Invalid rev id: "+rev)
}

func (h *hub) preupload(q *request) (any, error) {
	var body struct {
		Files []struct {
			Path   string `json:"path"`
			Sample string `json:"sample"`
			Size   int64  `json:"size"`
		} `json:"files"`
		GitIgnore     *string `json:"gitIgnore"`
		GitAttributes *string `json:"gitAttributes"`
	}
	if err := h.read(q, &body); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	rev := q.PathValue("rev")
	_, head, ok := h.resolve(rev)
	if !ok {
		return nil, badRev(rev)
	}
	if err := h.may(q, rev); err != nil {
		return nil, err
	}
	if len(body.Files) > 1000 {
		return nil, refused(http.StatusUnprocessableEntity, "files: Array must contain at most 1000 element(s)")
	}
	t, err := h.tree(head)
	if err != nil {
		return nil, err
	}
	attributes, ignore, err := h.rules(head, body.GitAttributes, body.GitIgnore)
	if err != nil {
		return nil, err
	}
	type item struct {
		Path   string `json:"path"`
		Mode   string `json:"uploadMode"`
		Ignore bool   `json:"shouldIgnore"`
		OID    string `json:"oid,omitempty"`
	}
	files := []item{}
	for _, f := range body.Files {
		if err := checkPath(f.Path); err != nil {
			return nil, err
		}
		if f.Size < 0 {
			return nil, refused(http.StatusUnprocessableEntity, "%s: size is %d, must not be negative", f.Path, f.Size)
		}
		sample, err := base64.StdEncoding.DecodeString(f.Sample)
		if err != nil || int64(len(sample)) != min(f.Size, 512) {
			h.violate("preupload of %s: a sample of %d bytes for a file of %d", f.Path, len(sample), f.Size)
		}
		it := item{Path: f.Path, Mode: "regular", Ignore: ignored(ignore, f.Path)}
		if wantsLFS(attributes, f.Path, f.Size, sample) {
			it.Mode = "lfs"
		}
		if e, ok := t[f.Path]; ok {
			it.OID = e.digest()
		}
		files = append(files, it)
	}
	return map[string]any{"commitOid": head, "files": files}, nil
}

// rules gives .gitattributes and .gitignore: those of a request, or those of the commit.
func (h *hub) rules(head string, attributes, ignore *string) (string, string, error) {
	texts := [2]string{}
	for i, given := range []*string{attributes, ignore} {
		if given != nil {
			texts[i] = *given
			continue
		}
		var err error
		if texts[i], err = h.text(head, []string{".gitattributes", ".gitignore"}[i]); err != nil {
			return "", "", err
		}
	}
	return texts[0], texts[1], nil
}

// checkPath refuses what the Hub refuses.
func checkPath(path string) error {
	bad := strings.HasPrefix(path, "/") || strings.ContainsAny(path, "\\\x00\n")
	for part := range strings.SplitSeq(path, "/") {
		bad = bad || part == "" || part == "." || part == ".." || part == ".git"
	}
	if bad {
		return refused(http.StatusUnprocessableEntity, "Invalid path: %q", path)
	}
	return nil
}
