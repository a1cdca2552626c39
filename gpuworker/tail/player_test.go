package tail_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fidump"
)

// player writes a recorded dump directory into another one step by step, as FlashInfer wrote it: directory, inputs, record
// and session line when a call begins; outputs, record and session line when it has returned. What the recording damaged
// stays damaged. Files are linked, not copied.
type player struct {
	t        testing.TB
	from, to string
	steps    []func()
	records  map[fidump.CallID][][]byte // metadata lines not written yet
	begun    map[fidump.CallID]bool
	finished map[fidump.CallID]bool
}

// newPlayer reads the recording in from. The files of to must be on the same file system.
func newPlayer(t testing.TB, from, to string) *player {
	t.Helper()
	p := &player{t: t, from: from, to: to, records: map[fidump.CallID][][]byte{}, begun: map[fidump.CallID]bool{}, finished: map[fidump.CallID]bool{}}
	names, err := fidump.List(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		flushes, err := fidump.Flushes(filepath.Join(from, n.Dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range append([]int{0}, flushes...) {
			id := fidump.CallID{Dump: n.Dir, Flush: k}
			data, err := os.ReadFile(filepath.Join(p.dir(from, id), fidump.MetadataFile))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			p.records[id] = lines(data)
		}
	}
	session, err := os.ReadFile(filepath.Join(from, fidump.SessionFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	p.plan(names, lines(session))
	return p
}

// lines splits data after each newline; a torn end is a line too.
func lines(data []byte) [][]byte {
	return slices.DeleteFunc(bytes.SplitAfter(data, []byte{'\n'}), func(l []byte) bool { return len(l) == 0 })
}

func (p *player) plan(names []fidump.Name, session [][]byte) {
	logged := map[fidump.CallID]bool{}
	ids := make([]fidump.CallID, len(session))
	for i, l := range session {
		var r struct {
			Dir   string `json:"dump_dir"`
			Base  string `json:"graph_capture_base_dump_dir"`
			Flush int    `json:"graph_capture_flush_index"`
		}
		if json.Unmarshal(l, &r) != nil {
			continue
		}
		ids[i].Dump = path.Base(r.Dir)
		if r.Base != "" {
			ids[i] = fidump.CallID{Dump: path.Base(r.Base), Flush: r.Flush}
		}
		logged[ids[i]] = true
	}
	rest := names
	unlogged := func(before string) {
		for len(rest) > 0 && (before == "" || rest[0].Dir < before) {
			if id := (fidump.CallID{Dump: rest[0].Dir}); !logged[id] {
				p.steps = append(p.steps, func() { p.begin(id) }, func() { p.finish(id) })
			}
			rest = rest[1:]
		}
	}
	for i, l := range session {
		id := ids[i]
		if id.Flush == 0 {
			unlogged(id.Dump)
		}
		last := id.Dump == "" || !slices.Contains(ids[i+1:], id)
		p.steps = append(p.steps, func() {
			if id.Dump != "" {
				if last && p.begun[id] {
					p.finish(id)
				} else {
					p.begin(id)
				}
			}
			p.append(filepath.Join(p.to, fidump.SessionFile), l)
		})
	}
	unlogged("")
	p.steps = append(p.steps, func() { // calls whose last session line is damaged
		for id := range p.begun {
			p.finish(id)
		}
	})
}

func (p *player) dir(root string, id fidump.CallID) string {
	return fidump.FlushDir(filepath.Join(root, id.Dump), id.Flush)
}

// begin makes the dump if it is not there, and writes its next record.
func (p *player) begin(id fidump.CallID) {
	if !p.begun[id] {
		p.begun[id] = true
		p.check(os.MkdirAll(p.dir(p.to, id), 0o755))
		p.link(id, "inputs")
	}
	p.record(id)
}

// finish writes what is left of the dump.
func (p *player) finish(id fidump.CallID) {
	if p.finished[id] {
		return
	}
	p.finished[id] = true
	p.link(id, "outputs")
	for len(p.records[id]) > 0 {
		p.record(id)
	}
}

func (p *player) record(id fidump.CallID) {
	if list := p.records[id]; len(list) > 0 {
		p.append(filepath.Join(p.dir(p.to, id), fidump.MetadataFile), list[0])
		p.records[id] = list[1:]
	}
}

func (p *player) link(id fidump.CallID, kind string) {
	entries, err := os.ReadDir(p.dir(p.from, id))
	p.check(err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), kind+".") {
			err := os.Link(filepath.Join(p.dir(p.from, id), e.Name()), filepath.Join(p.dir(p.to, id), e.Name()))
			if !errors.Is(err, fs.ErrExist) {
				p.check(err)
			}
		}
	}
}

func (p *player) append(file string, data []byte) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	p.check(err)
	_, err = f.Write(data)
	p.check(errors.Join(err, f.Close()))
}

func (p *player) check(err error) {
	if err != nil {
		p.t.Helper()
		p.t.Error(err)
	}
}
