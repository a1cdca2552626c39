package hubtest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Of a commit.
const (
	mostLine  = 32 << 20 // bytes: a file of mostRegular in base64, or much escaped
	mostLines = 100_000
)

type commitHeader struct {
	Summary     string `json:"summary"`
	Description string `json:"description"`
	Parent      string `json:"parentCommit"`
}

// operation is a line of a commit after the first.
type operation struct {
	key      string
	Path     string `json:"path"`
	Content  string `json:"content"`
	Encoding string `json:"encoding"`
	Algo     string `json:"algo"`
	OID      string `json:"oid"`
	Size     int64  `json:"size"`
	data     []byte
	entry    entry  // where data went
	sample   []byte // its beginning
}

// makeCommit takes a commit: to a branch, to a pull request, or to a new pull request (create_pr=1).
func (h *hub) makeCommit(q *request) (any, error) {
	header, ops, err := h.readCommit(q)
	if err != nil {
		return nil, err
	}
	// One at a time, as on the Hub. What is refused here has had no effect.
	if !h.busy.TryLock() {
		return nil, refused(http.StatusConflict, "Another commit operation is in progress for this repository. Please try again later.")
	}
	defer h.busy.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	rev := q.PathValue("rev")
	create := q.URL.Query().Get("create_pr") == "1"
	ref, head, ok := h.resolve(rev)
	if !ok || ref == "" {
		return nil, badRev(rev)
	}
	if err := h.may(q, rev); err != nil {
		return nil, err
	}
	if err := h.quota(); err != nil {
		return nil, err
	}
	base := head
	switch {
	case create && header.Parent != "":
		if _, base, ok = h.resolve(header.Parent); !ok {
			return nil, badRev(header.Parent)
		}
	case header.Parent == "" && !create:
		h.violate("commit %q to %s names no parent", header.Summary, rev)
	case header.Parent != "" && !strings.HasPrefix(head, header.Parent):
		return nil, refused(http.StatusPreconditionFailed, "A commit has happened since. Please refresh and try again.")
	}
	c := &Commit{Author: q.user.Name, Summary: header.Summary, Description: header.Description, Changes: map[string]*entry{}, Ops: len(ops)}
	if err := h.change(c, base, ops); err != nil {
		return nil, err
	}
	answer := map[string]any{"success": true, "hookOutput": ""}
	if create {
		d, err := h.newDiscussion(q.user.Name, header.Summary, header.Description, true)
		if err != nil {
			return nil, err
		}
		d.Status, ref = "open", d.ref()
		h.state.Refs[ref] = base
		answer["pullRequestUrl"] = d.url(h)
	}
	if err := h.addCommit(ref, c); err != nil {
		return nil, err
	}
	if d := h.ofRef(ref); d != nil {
		if err := h.addEvent(d, "commit", c.Author, map[string]any{"subject": c.Summary, "oid": c.OID}); err != nil {
			return nil, err
		}
	}
	answer["commitOid"] = c.OID
	answer["commitUrl"] = fmt.Sprintf("%s/datasets/%s/commit/%s", h.base(), h.o.Repo, c.OID)
	return answer, nil
}

// readCommit decodes a commit, a line of JSON for its header and for each operation.
func (h *hub) readCommit(q *request) (header commitHeader, ops []operation, err error) {
	if ct := q.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/x-ndjson") {
		h.note("a commit of type %q", ct)
		return header, nil, refused(http.StatusBadRequest, "Content-Type must be application/x-ndjson")
	}
	// A client that still sends when it is refused may not see the answer.
	defer func() { _, _ = io.Copy(io.Discard, q.Body) }()
	first := true
	lines := bufio.NewScanner(q.Body)
	lines.Buffer(nil, mostLine)
	for lines.Scan() && lines.Err() == nil { // what comes with an error is part of a line
		var l struct {
			Key   string          `json:"key"`
			Value json.RawMessage `json:"value"`
		}
		err := strict(lines.Bytes(), &l)
		switch {
		case err != nil:
		case first != (l.Key == "header"):
			err = fmt.Errorf("the line of the header is the first and no other")
		case first:
			err = strict(l.Value, &header)
		default:
			op := operation{key: l.Key}
			if err = strict(l.Value, &op); err == nil {
				err = op.decode()
			}
			if err == nil && op.key == "file" {
				if err := h.stash(&op); err != nil {
					return header, nil, err
				}
			}
			ops = append(ops, op)
		}
		if err != nil {
			h.note("commit: %v", err)
			return header, nil, refused(http.StatusUnprocessableEntity, "%v", err)
		}
		if len(ops) > mostLines {
			return header, nil, refused(http.StatusRequestEntityTooLarge, "Payload Too Large: at most %d operations", mostLines)
		}
		first = false
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return header, nil, tooLarge(mostLine)
	case err != nil:
		return header, nil, badBody(err)
	case len(ops) == 0:
		h.note("a commit of nothing")
		return header, nil, refused(http.StatusBadRequest, "Add a line with the key `lfsFile`, `file` or `deletedFile`")
	case header.Summary == "":
		return header, nil, refused(http.StatusBadRequest, "summary is required")
	case h.o.MostOps > 0 && len(ops) > h.o.MostOps:
		return header, nil, refused(http.StatusRequestEntityTooLarge, "Payload Too Large")
	}
	return header, ops, nil
}

func (o *operation) decode() (err error) {
	switch {
	case o.key == "file" && o.Encoding == "base64":
		o.data, err = base64.StdEncoding.DecodeString(o.Content)
		o.Content = ""
	case o.key == "file" && (o.Encoding == "" || o.Encoding == "utf-8"):
		o.data = []byte(o.Content)
	case o.key == "lfsFile" && (o.Algo != "sha256" || !isHex(o.OID, 64) || o.Size <= 0):
		err = fmt.Errorf("lfsFile %s: algo %q, oid %q, size %d", o.Path, o.Algo, o.OID, o.Size)
	case o.key == "lfsFile", o.key == "deletedFile", o.key == "deletedFolder", o.key == "deletedEntry":
	default:
		err = fmt.Errorf("a line with key %q, encoding %q", o.key, o.Encoding)
	}
	return err
}

// stash stores a file's content, though the commit may yet be refused: memory has one file at a time.
func (h *hub) stash(o *operation) (err error) {
	o.Size, o.sample = int64(len(o.data)), bytes.Clone(o.data[:min(len(o.data), 512)])
	if o.Size <= mostRegular {
		o.entry, err = h.put(o.data, false)
	}
	o.Content, o.data = "", nil
	return err
}

// change fills in what the operations change.
func (h *hub) change(c *Commit, base string, ops []operation) error {
	t, err := h.tree(base)
	if err != nil {
		return err
	}
	attributes, _, err := h.rules(base, nil, new(string))
	if err != nil {
		return err
	}
	for i := range ops {
		op := &ops[i]
		if err := checkPath(strings.TrimSuffix(op.Path, "/")); err != nil {
			return err
		}
		if _, twice := c.Changes[op.Path]; twice {
			h.violate("commit %q has %s twice", c.Summary, op.Path)
		}
		switch op.key {
		case "file":
			err = h.changeFile(c, op, attributes)
		case "lfsFile":
			err = h.changeLFS(c, op)
			if !covered(attributes, op.Path) { // the Hub sees to it that git does not take the pointer for the file
				attributes += op.Path + " filter=lfs diff=lfs merge=lfs -text\n"
			}
		default:
			h.violate("commit %q deletes %s", c.Summary, op.Path)
			prefix := strings.TrimSuffix(op.Path, "/")
			for path := range t {
				if path == prefix || strings.HasPrefix(path, prefix+"/") {
					c.Changes[path] = nil
				}
			}
		}
		if err != nil {
			return err
		}
	}
	if before, err := h.text(base, ".gitattributes"); err != nil || before != attributes {
		e, putErr := h.put([]byte(attributes), false)
		if err := cmpErr(err, putErr); err != nil {
			return err
		}
		if c.Changes[".gitattributes"] == nil {
			c.Changes[".gitattributes"] = &e
		}
	}
	unchanged := slices.DeleteFunc(slices.Collect(maps.Keys(c.Changes)), func(path string) bool {
		e, ok := t[path]
		return !ok || c.Changes[path] == nil || e != *c.Changes[path]
	})
	if len(unchanged) > 0 {
		h.violate("commit %q sends %d files that are there already, such as %s", c.Summary, len(unchanged), slices.Min(unchanged))
	}
	return nil
}

func (h *hub) changeFile(c *Commit, op *operation, attributes string) error {
	if op.Size > mostRegular {
		return refused(http.StatusBadRequest, "Your push was rejected because it contains files larger than 10 MiB. "+
			"Please use https://git-lfs.github.com/ to store large files. Offending files: %s", op.Path)
	}
	if op.Size > 0 && wantsLFS(attributes, op.Path, op.Size, op.sample) {
		h.violate("commit %q: %s is to be sent as a large file", c.Summary, op.Path)
	}
	c.Changes[op.Path] = &op.entry
	return nil
}

func (h *hub) changeLFS(c *Commit, op *operation) error {
	if size := h.store.size(lfsDir, op.OID); size != op.Size {
		return refused(http.StatusBadRequest, "Your push was rejected because an LFS pointer pointed to a file that does not exist. "+
			"For instance, this can happen if you used git push --no-verify to push your changes. Offending file: - %s", op.Path)
	}
	c.Changes[op.Path] = &entry{OID: gitOID("blob", pointer(op.OID, op.Size)), Size: op.Size, LFS: op.OID}
	return nil
}
