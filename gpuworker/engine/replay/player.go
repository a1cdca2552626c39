package replay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// player writes recordings into the dump directory, one after the other.
type player struct {
	ctx      context.Context
	job      *engine.Job
	report   func(engine.Progress)
	place    func(from, to string) error
	limiter  *rate.Limiter // nil: as fast as possible
	result   *engine.Result
	total    int64
	reported time.Time
	taken    map[string]bool // names in the dump directory

	// Of the recording at hand.
	script  *script
	renamed map[string]string // dumps whose name another recording had already
	next    int               // the first dump that may not have begun
	session *os.File
}

// play writes one recording.
func (p *player) play(s *script) error {
	p.script, p.next, p.renamed = s, 0, map[string]string{}
	for _, d := range s.dumps {
		if name := p.unique(d.name, d.base); name != d.base {
			p.renamed[d.base] = name
		}
	}
	if err := p.logged(); err != nil {
		return err
	}
	for _, d := range s.dumps {
		if err := p.finish(d); err != nil {
			return err
		}
	}
	return p.strays()
}

// logged plays what session.jsonl names.
func (p *player) logged() (err error) {
	from := filepath.Join(p.script.root, fidump.SessionFile)
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	to := filepath.Join(p.job.DumpDir, fidump.SessionFile)
	if p.session, err = os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.session.Close()) }()
	return eachLine(from, p.line)
}

// unique gives a name that no recording played before has. The process id is made another one: it tells processes of
// different recordings apart, as it would have, had they run together. The records keep their own.
func (p *player) unique(name fidump.Name, base string) string {
	for n := 1; p.taken[base]; n++ {
		base = fmt.Sprintf("%s_pid%d%03d_%s_call%04d", name.Time, name.PID, n, name.Function, name.Sequence)
	}
	p.taken[base] = true
	return base
}

// line plays what the logger had written when it appended this line to the session, then the line.
func (p *player) line(line []byte) error {
	if e, dir, ok := parse(line); ok {
		base, _, _ := strings.Cut(dir, "/")
		if d := p.script.byDir[base]; d != nil {
			if err := p.unlogged(d); err != nil {
				return err
			}
			if err := p.begin(d); err != nil {
				return err
			}
			if part := d.parts[dir]; part != nil {
				if err := p.advance(part, e.Status); err != nil {
					return err
				}
			}
			if to, ok := p.renamed[base]; ok {
				line = bytes.ReplaceAll(line, []byte(base), []byte(to))
			}
		}
	}
	_, err := p.session.Write(line)
	return err
}

// unlogged plays the dumps that the session does not name and that are older than d.
func (p *player) unlogged(d *dump) error {
	for ; p.next < len(p.script.dumps); p.next++ {
		older := p.script.dumps[p.next]
		if older.name.Compare(d.name) >= 0 {
			return nil
		}
		if older.begun || older.parts[older.base].session > 0 {
			continue
		}
		if err := p.finish(older); err != nil {
			return err
		}
	}
	return nil
}

// begin makes a dump's directory, when there is time and room for it.
func (p *player) begin(d *dump) error {
	if d.begun {
		return nil
	}
	if p.limiter != nil {
		if err := p.limiter.Wait(p.ctx); err != nil {
			return err
		}
	}
	if err := p.job.Wait(p.ctx); err != nil {
		return err
	}
	d.begun = true
	p.result.Dumps++
	if time.Since(p.reported) >= progressEvery {
		p.progress("")
	}
	return os.Mkdir(p.to(d.base), 0o755)
}

// advance plays one logged step of a part: with a call that was logged its inputs, with one that has returned its outputs, and
// one line of its metadata. The last step plays all that is left, for the dump may be eaten after it.
func (p *player) advance(part *part, status string) error {
	part.session--
	steps := 1
	if part.session <= 0 {
		steps, status = len(part.metadata), "completed"
	}
	if status != "graph_capture_pending_flush" {
		if err := p.files(part, &part.inputs); err != nil {
			return err
		}
	}
	if status == "completed" {
		if err := p.files(part, &part.outputs); err != nil {
			return err
		}
	}
	return p.log(part, steps)
}

// files places files that are not placed yet.
func (p *player) files(part *part, list *[]string) error {
	if err := p.mkdirs(part); err != nil {
		return err
	}
	for _, path := range *list {
		if err := p.place(filepath.Join(p.script.root, path), p.to(path)); err != nil {
			return err
		}
	}
	*list = nil
	return nil
}

// log appends the part's next lines to its metadata.jsonl.
func (p *player) log(part *part, lines int) error {
	lines = min(lines, len(part.metadata))
	if !part.hasMeta || lines == 0 && len(part.metadata) > 0 {
		return nil
	}
	if err := p.mkdirs(part); err != nil {
		return err
	}
	f, err := os.OpenFile(p.to(filepath.Join(part.dir, fidump.MetadataFile)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Join(part.metadata[:lines], nil))
	part.metadata = part.metadata[lines:]
	part.hasMeta = len(part.metadata) > 0
	return errors.Join(err, f.Close())
}

// mkdirs makes the part's directories, once. A graph replay's appear below their dump's, which may have been eaten.
func (p *player) mkdirs(part *part) error {
	for _, dir := range part.dirs {
		if err := os.MkdirAll(p.to(dir), 0o755); err != nil {
			return err
		}
	}
	part.dirs = nil
	return nil
}

// finish plays what of a dump is left.
func (p *player) finish(d *dump) error {
	if err := p.begin(d); err != nil {
		return err
	}
	for _, dir := range d.order {
		part := d.parts[dir]
		if err := p.files(part, &part.inputs); err != nil {
			return err
		}
		if err := p.files(part, &part.outputs); err != nil {
			return err
		}
		if err := p.log(part, len(part.metadata)); err != nil {
			return err
		}
	}
	return nil
}

// strays plays what lies beside the dumps. What two recordings both have is kept from the first, unless a number tells them apart.
func (p *player) strays() error {
	tops := map[string]string{}
	for _, path := range p.script.stray {
		top, rest, _ := strings.Cut(path, "/")
		to, ok := tops[top]
		if !ok {
			to = top
			for n := 2; p.taken[to]; n++ {
				to = fmt.Sprintf("%s.%d", top, n)
			}
			p.taken[to], tops[top] = true, to
		}
		target := filepath.Join(p.job.DumpDir, to, rest)
		st, err := os.Stat(filepath.Join(p.script.root, path))
		if err != nil {
			return err
		}
		if st.IsDir() {
			err = os.MkdirAll(target, 0o755)
		} else {
			err = p.place(filepath.Join(p.script.root, path), target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// to gives where a path of the recording goes.
func (p *player) to(path string) string {
	base, rest, _ := strings.Cut(path, "/")
	if name, ok := p.renamed[base]; ok {
		base = name
	}
	return filepath.Join(p.job.DumpDir, base, rest)
}

// versions takes the versions that made the recording from its first readable record. One simulated recording marks them all.
func (p *player) versions(s *script) {
	var names []fidump.Name
	for _, d := range s.dumps {
		names = append(names, d.name)
	}
	rec := firstRecord(s.root, names)
	if rec == nil {
		return
	}
	if p.result.Versions == nil {
		p.result.Versions = rec.Versions
	}
	_, simulated := rec.Versions[proto.VersionSimulate]
	p.result.Simulated = p.result.Simulated || simulated
}

// firstRecord returns the first readable record that has versions, or nil.
func firstRecord(root string, dumps []fidump.Name) *fidump.Record {
	for _, d := range dumps {
		rec, _, err := fidump.ReadRecord(filepath.Join(root, d.Dir, fidump.MetadataFile))
		if err == nil && rec != nil && len(rec.Versions) > 0 {
			return rec
		}
	}
	return nil
}

func (p *player) progress(text string) {
	p.reported = time.Now()
	p.report(engine.Progress{Done: p.result.Dumps, Total: p.total, Dumps: p.result.Dumps, Text: text})
}

// lines gives lines of any length, newlines included.
func lines(r io.Reader, fn func([]byte) error) error {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			if err := fn(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
