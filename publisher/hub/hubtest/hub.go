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
		state: state{Refs: map[string]string{}, Next: 1},
	}
	known, err := s.readJSON(&h.state, stateName)
	if err != nil {
		return nil, err
	}
	if !known {
		return h, h.seed()
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
	files := map[string][]byte{".gitattributes": []byte(defaultAttributes)}
	for path, data := range h.o.Seed {
		files[path] = data
	}
	if h.o.SeedDir != "" {
		if err := readTree(h.o.SeedDir, files); err != nil {
			return err
		}
	}
	_, err := h.push(mainRef, "system", "initial commit", files)
	return err
}

// readTree reads the files of a directory, without those whose names, or whose directories' names, begin with a dot.
func readTree(dir string, files map[string][]byte) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != dir && strings.HasPrefix(d.Name(), ".") && d.Name() != ".gitattributes":
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
		files[filepath.ToSlash(rel)], err = os.ReadFile(name)
		return err
	})
}

// push commits files to ref, sorted into LFS and others as the Hub would.
func (h *hub) push(ref, author, summary string, files map[string][]byte) (string, error) {
	attributes := string(files[".gitattributes"])
	if attributes == "" {
		var err error
		if attributes, err = h.text(h.state.Refs[ref], ".gitattributes"); err != nil {
			return "", err
		}
	}
	c := &Commit{Author: author, Summary: summary, Changes: map[string]*entry{}, Ops: len(files)}
	for path, data := range files {
		e, err := h.put(data, len(data) > 0 && wantsLFS(attributes, path, int64(len(data)), data[:min(len(data), 512)]))
		if err != nil {
			return "", err
		}
		c.Changes[path] = &e
	}
	err := h.addCommit(ref, c)
	return c.OID, err
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
	if len(rev) == 40 {
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
