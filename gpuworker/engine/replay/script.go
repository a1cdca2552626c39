package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fidump"
)

// script is a recording, read: its dumps in call order, and everything in it that is not one.
type script struct {
	root  string
	dumps []*dump // by their names' time, process and number
	byDir map[string]*dump
	stray []string // other files, relative to root, session.jsonl left out
}

// dump is a recorded directory, by its parts: the call itself, and a part for each graph replay below it.
type dump struct {
	name  fidump.Name
	base  string
	parts map[string]*part // by the path of the record directory, relative to root
	order []string
	begun bool
}

// part is a directory with a metadata.jsonl of its own.
type part struct {
	dir      string // relative to root
	dirs     []string
	inputs   []string // files there when the call is logged first, relative to root
	outputs  []string // files there when it is logged as completed
	metadata [][]byte // lines of metadata.jsonl that are not played yet; the last may be torn
	session  int      // session lines still to come
	hasMeta  bool
}

// entry is what a session line says, as far as playing needs it.
type entry struct {
	Dir    string `json:"dump_dir"`
	Status string `json:"execution_status"`
}

// record gives the directory the line is about, relative to the recording: DUMP, or DUMP/graph_flushes/flush_0001.
func (e entry) record() (string, bool) {
	parts := strings.Split(strings.TrimRight(e.Dir, "/"), "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if _, ok := fidump.ParseName(parts[i]); ok {
			return filepath.Join(parts[i:]...), true
		}
	}
	return "", false
}

// parse reads a session line; false: it is torn, or names no dump.
func parse(line []byte) (entry, string, bool) {
	var e entry
	if json.Unmarshal(line, &e) != nil {
		return e, "", false
	}
	dir, ok := e.record()
	return e, dir, ok
}

// read lists a recording and its session.
func read(root string) (*script, error) {
	s := &script{root: root, byDir: map[string]*dump{}}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := fidump.ParseName(e.Name())
		switch {
		case ok && e.IsDir():
			d := &dump{name: name, base: e.Name(), parts: map[string]*part{}}
			if err := d.list(root, e.Name()); err != nil {
				return nil, err
			}
			s.dumps, s.byDir[e.Name()] = append(s.dumps, d), d
		case e.Name() == fidump.SessionFile:
		default:
			if err := s.listStray(e.Name()); err != nil {
				return nil, err
			}
		}
	}
	slices.SortStableFunc(s.dumps, func(a, b *dump) int { return a.name.Compare(b.name) })
	err = eachLine(filepath.Join(root, fidump.SessionFile), func(line []byte) error {
		if _, dir, ok := parse(line); ok {
			if p := s.part(dir); p != nil {
				p.session++
			}
		}
		return nil
	})
	return s, err
}

// part gives the part of a record directory, or nil.
func (s *script) part(dir string) *part {
	base, _, _ := strings.Cut(dir, "/")
	if d := s.byDir[base]; d != nil {
		return d.parts[dir]
	}
	return nil
}

// list sorts the files of a dump into its parts.
func (d *dump) list(root, dir string) error {
	p := &part{dir: dir, dirs: []string{dir}}
	d.parts[dir] = p
	d.order = append(d.order, dir)
	return d.fill(p, root, dir)
}

func (d *dump) fill(p *part, root, dir string) error {
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() && filepath.Base(dir) == "graph_flushes" && dir == filepath.Join(d.base, "graph_flushes"):
			err = d.list(root, path)
		case e.IsDir():
			p.dirs = append(p.dirs, path)
			err = d.fill(p, root, path)
		case !e.Type().IsRegular(): // a link, a socket: nothing that FlashInfer writes
		case path == filepath.Join(p.dir, fidump.MetadataFile):
			var data []byte
			data, err = os.ReadFile(filepath.Join(root, path))
			p.metadata, p.hasMeta = slices.Collect(bytes.Lines(data)), true
		case dir == p.dir && strings.HasPrefix(e.Name(), "outputs."):
			p.outputs = append(p.outputs, path)
		default:
			p.inputs = append(p.inputs, path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listStray takes a file, or a directory with all that is in it.
func (s *script) listStray(name string) error {
	return filepath.WalkDir(filepath.Join(s.root, name), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if rel, relErr := filepath.Rel(s.root, path); relErr == nil && (e.IsDir() || e.Type().IsRegular()) {
			s.stray = append(s.stray, rel)
		}
		return nil
	})
}

// eachLine gives a file's lines, newlines included; a file that is not there has none.
func eachLine(path string, fn func([]byte) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return lines(f, fn)
}
