package hubtest

import (
	"crypto/sha1" // git's object ids
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// entry is a file in a tree.
type entry struct {
	OID  string `json:"oid"` // blob id; of an LFS file, that of its pointer
	Size int64  `json:"size"`
	LFS  string `json:"lfs,omitempty"` // SHA-256 of an LFS file's content
}

// digest is the oid by which preupload knows the content.
func (e entry) digest() string {
	if e.LFS != "" {
		return e.LFS
	}
	return e.OID
}

// tree is the files of a commit, by path.
type tree map[string]entry

// Commit is a commit, as it is stored.
type Commit struct {
	OID         string            `json:"oid"`
	Parent      string            `json:"parent,omitempty"`
	Author      string            `json:"author"`
	Summary     string            `json:"summary"`
	Description string            `json:"description,omitempty"`
	Date        time.Time         `json:"date"`
	Changes     map[string]*entry `json:"changes"` // nil: deleted
	Ops         int               `json:"ops"`     // lines of the request that made it
}

func gitOID(kind string, content []byte) string {
	h := sha1.New() // git's object ids
	fmt.Fprintf(h, "%s %d\x00", kind, len(content))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}

func pointer(sha256 string, size int64) []byte {
	return fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", sha256, size)
}

// dirs gives git's id of each directory, "" being the root.
func (t tree) dirs() map[string]string {
	type child struct {
		name, mode, oid string
	}
	children := map[string][]child{"": nil}
	for path, e := range t {
		dir, name := split(path)
		children[dir] = append(children[dir], child{name, "100644", e.OID})
		for ; dir != ""; dir, _ = split(dir) {
			if _, ok := children[dir]; !ok {
				children[dir] = nil
			}
		}
	}
	ids := make(map[string]string, len(children))
	// Deeper directories first: a directory's id has those of its children.
	order := slices.SortedFunc(maps.Keys(children), func(a, b string) int { return depth(b) - depth(a) })
	for _, dir := range order {
		list := children[dir]
		// git sorts directories as if their names ended in a slash.
		key := func(c child) string {
			if c.mode == "40000" {
				return c.name + "/"
			}
			return c.name
		}
		sort.Slice(list, func(i, j int) bool { return key(list[i]) < key(list[j]) })
		var content []byte
		for _, c := range list {
			raw, _ := hex.DecodeString(c.oid)
			content = append(fmt.Appendf(content, "%s %s\x00", c.mode, c.name), raw...)
		}
		ids[dir] = gitOID("tree", content)
		if dir != "" {
			parent, name := split(dir)
			children[parent] = append(children[parent], child{name, "40000", ids[dir]})
		}
	}
	return ids
}

func depth(dir string) int {
	if dir == "" {
		return 0
	}
	return 1 + strings.Count(dir, "/")
}

func split(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// seal gives the commit git's id, for the tree that it makes.
func (c *Commit) seal(t tree) {
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", t.dirs()[""])
	if c.Parent != "" {
		fmt.Fprintf(&b, "parent %s\n", c.Parent)
	}
	who := fmt.Sprintf("%s <%s@users.noreply.huggingface.co> %d +0000", c.Author, c.Author, c.Date.Unix())
	fmt.Fprintf(&b, "author %s\ncommitter %s\n\n%s\n", who, who, c.Summary)
	if c.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", c.Description)
	}
	c.OID = gitOID("commit", []byte(b.String()))
}

// apply changes t.
func (c *Commit) apply(t tree) {
	for path, e := range c.Changes {
		if e == nil {
			delete(t, path)
		} else {
			t[path] = *e
		}
	}
}

// commit gives a stored commit.
func (h *hub) commit(oid string) (*Commit, error) {
	if c := h.commits[oid]; c != nil {
		return c, nil
	}
	c := &Commit{}
	ok, err := h.store.readJSON(c, commitDir, oid+".json")
	if err != nil || !ok {
		return nil, fmt.Errorf("commit %s: %w", oid, cmpErr(err, errMissing))
	}
	h.commits[oid] = c
	return c, nil
}

// mostTrees is how many trees are kept ready; others are made anew from the commits.
const mostTrees = 64

// tree gives the files of a commit. They must not be changed.
func (h *hub) tree(oid string) (tree, error) {
	var missing []*Commit
	base := tree{}
	for at := oid; at != ""; {
		if t, ok := h.trees[at]; ok {
			base = t
			break
		}
		c, err := h.commit(at)
		if err != nil {
			return nil, err
		}
		missing = append(missing, c)
		at = c.Parent
	}
	if len(missing) == 0 {
		return base, nil
	}
	t := maps.Clone(base)
	for _, c := range slices.Backward(missing) {
		c.apply(t)
	}
	if len(h.trees) >= mostTrees {
		clear(h.trees)
	}
	h.trees[oid] = t
	return t, nil
}

// addCommit stores a commit on top of ref and moves ref to it.
func (h *hub) addCommit(ref string, c *Commit) error {
	c.Parent, c.Date = h.state.Refs[ref], h.o.Now().UTC().Truncate(time.Second)
	t := tree{}
	if c.Parent != "" {
		parent, err := h.tree(c.Parent)
		if err != nil {
			return err
		}
		t = maps.Clone(parent)
	}
	c.apply(t)
	c.seal(t)
	if err := h.store.writeJSON(c, commitDir, c.OID+".json"); err != nil {
		return err
	}
	h.commits[c.OID] = c
	return h.setRef(ref, c.OID)
}

// history gives the commits from oid back to, and without, end.
func (h *hub) history(oid, end string) ([]*Commit, error) {
	var list []*Commit
	for oid != "" && oid != end {
		c, err := h.commit(oid)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
		oid = c.Parent
	}
	return list, nil
}
