package hubtest

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const mainRef = "refs/heads/main"

var errMissing = errors.New("there is none")

func cmpErr(err, otherwise error) error { return cmp.Or(err, otherwise) }

// hub is the repository and what is asked of it.
type hub struct {
	o       Options
	store   *store
	secret  string // of the signatures
	base    func() string
	storage func() string
	fresh   bool // the repository was made by this Start

	busy sync.Mutex // held while a commit is made: the Hub refuses another one meanwhile

	mu         sync.Mutex // of all below
	state      state
	discuss    map[int]*discussion
	commits    map[string]*Commit
	trees      map[string]tree
	uploads    map[string]*upload
	epoch      int // of the signatures that are valid
	fault      func(*http.Request, int) Action
	requests   int
	counts     map[Kind]int
	received   map[string]int64
	violations []string
	window     window
	made       []int64 // when commits were made, unix seconds
}

// state is what changes in place.
type state struct {
	Repo  string            `json:"repo"`
	Refs  map[string]string `json:"refs"`  // ref → commit
	Next  int               `json:"next"`  // number of the next discussion
	Event int               `json:"event"` // number of the next event
}

func newHub(o Options, dir string) (*hub, error) {
	s, err := openStore(dir)
	if err != nil {
		return nil, err
	}
	h := &hub{
		o: o, store: s, secret: fmt.Sprintf("%x", o.Now().UnixNano()), discuss: map[int]*discussion{}, commits: map[string]*Commit{},
		trees: map[string]tree{}, uploads: map[string]*upload{}, counts: map[Kind]int{}, received: map[string]int64{},
		state: state{Repo: o.Repo, Refs: map[string]string{}, Next: 1},
	}
	known, err := s.readJSON(&h.state, stateName)
	if err != nil {
		return nil, err
	}
	if !known {
		h.fresh = true
		return h, h.seed()
	}
	if h.state.Repo != o.Repo {
		return nil, fmt.Errorf("%s holds the repository %s, not %s: choose another directory", dir, h.state.Repo, o.Repo)
	}
	for n := 1; n < h.state.Next; n++ {
		d := &discussion{}
		if ok, err := s.readJSON(d, discussionDir, fmt.Sprintf("%d.json", n)); err != nil || !ok {
			return nil, fmt.Errorf("discussion %d: %w", n, cmpErr(err, errMissing))
		}
		h.discuss[n] = d
	}
	return h, nil
}

func (h *hub) setRef(ref, oid string) error {
	h.state.Refs[ref] = oid
	return h.store.writeJSON(&h.state, stateName)
}

// seed makes the first commit.
func (h *hub) seed() error {
	c := &Commit{Author: "system", Summary: "initial commit", Changes: map[string]*entry{}}
	attributes, err := h.seedAttributes()
	if err != nil {
		return err
	}
	if err := h.add(c, attributes, ".gitattributes", []byte(attributes)); err != nil {
		return err
	}
	for path, data := range h.o.Seed {
		if err := h.add(c, attributes, path, data); err != nil {
			return err
		}
	}
	if h.o.SeedDir != "" {
		err := walk(h.o.SeedDir, func(path, name string) error {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return h.add(c, attributes, path, data)
		})
		if err != nil {
			return err
		}
	}
	return h.addCommit(mainRef, c)
}

func (h *hub) seedAttributes() (string, error) {
	if data, ok := h.o.Seed[".gitattributes"]; ok {
		return string(data), nil
	}
	if h.o.SeedDir != "" {
		data, err := os.ReadFile(filepath.Join(h.o.SeedDir, ".gitattributes"))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return string(data), err
		}
	}
	return defaultAttributes, nil
}

// walk visits the files of a directory, without those whose names, or whose directories' names, begin with a dot.
func walk(dir string, visit func(path, name string) error) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != dir && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(rel), name)
	})
}

// push commits files to ref.
func (h *hub) push(ref, author, summary string, files map[string][]byte) (string, error) {
	attributes, err := h.text(h.state.Refs[ref], ".gitattributes")
	if err != nil {
		return "", err
	}
	c := &Commit{Author: author, Summary: summary, Changes: map[string]*entry{}, Ops: len(files)}
	for path, data := range files {
		if err := h.add(c, attributes, path, data); err != nil {
			return "", err
		}
	}
	err = h.addCommit(ref, c)
	return c.OID, err
}

// add has a commit add a file, an LFS file or another as the Hub would have it.
func (h *hub) add(c *Commit, attributes, path string, data []byte) error {
	e, err := h.put(data, len(data) > 0 && wantsLFS(attributes, path, int64(len(data)), data[:min(len(data), 512)]))
	c.Changes[path] = &e
	return err
}

// put stores a content.
func (h *hub) put(data []byte, lfs bool) (entry, error) {
	e := entry{OID: gitOID("blob", data), Size: int64(len(data))}
	if !lfs {
		return e, h.store.write(data, gitDir, e.OID)
	}
	e.LFS = sha256Hex(data)
	e.OID = gitOID("blob", pointer(e.LFS, e.Size))
	return e, h.store.write(data, lfsDir, e.LFS)
}

// content gives where a file's content is stored.
func (h *hub) content(e entry) string {
	if e.LFS != "" {
		return h.store.path(lfsDir, e.LFS)
	}
	return h.store.path(gitDir, e.OID)
}

// text gives a small file's content at a commit, "" where there is none.
func (h *hub) text(oid, path string) (string, error) {
	if oid == "" {
		return "", nil
	}
	t, err := h.tree(oid)
	if err != nil {
		return "", err
	}
	e, ok := t[path]
	if !ok {
		return "", nil
	}
	data, err := os.ReadFile(h.content(e))
	return string(data), err
}

// resolve gives the commit of a branch, a ref or a commit's id.
func (h *hub) resolve(rev string) (ref, oid string, ok bool) {
	for _, ref := range []string{rev, "refs/heads/" + rev} {
		if oid, ok := h.state.Refs[ref]; ok {
			return ref, oid, true
		}
	}
	if isHex(rev, 40) {
		if c, err := h.commit(rev); err == nil {
			return "", c.OID, true
		}
	}
	return "", "", false
}

// violate records what a careful publisher would not do.
func (h *hub) violate(format string, args ...any) {
	if !h.o.Lenient {
		h.violations = append(h.violations, fmt.Sprintf(format, args...))
	}
}
