package tail

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/internal/fidump"
)

// item is a dump on disk, from the listing that found it until it is deleted.
type item struct {
	entry
	found   int64     // number of the listing that found it
	foundAt time.Time // when that was
	listed  int64     // number of the latest listing that had it
	stage   stage
	read    bool
	early   bool  // made before the first request of ours
	disk    int64 // bytes of disk, as counted in room

	superseded bool // plans: no later run can take it
	carried    int  // plans: manifests that carry it and are being shipped
	shed       bool // its outputs are deleted
	replayed   int  // captures: number of the latest replay found
	stays      bool // until the engine ends, since there are replays below it or will be
}

// stage is how far the writer has come with a dump.
type stage uint8

const (
	empty    stage = iota // no record yet
	begun                 // a record, the call has not returned
	finished              // completed, or captured in a graph
)

// look lists the directory, finds replays, and sees how far each dump has come. It reports whether anything changed.
func (t *Tailer) look(final bool) (news bool, err error) {
	t.poll++
	now := time.Now()
	begin := t.start.warm && t.start.asked.Load() // before the listing: what comes after it is traffic
	names, err := fidump.List(t.opt.Dir)
	if err != nil {
		return false, dirFailure(t.opt.Dir, err)
	}
	for _, name := range names {
		it := t.known[name.Dir]
		if it == nil {
			it = &item{entry: entry{name: name}, found: t.poll, foundAt: now, early: t.start.warm}
			t.known[name.Dir] = it
			t.lost.listed(&it.entry)
			p := t.process(name.PID)
			p.pending = append(p.pending, it)
			p.dumped++
			p.serving = p.serving || !it.early
			news = true
		}
		it.listed = t.poll
	}
	t.forgetGone()
	if err := t.session.Update(); err != nil {
		return false, dirFailure(t.opt.Dir, err)
	}
	if t.findReplays(now, final || begin) {
		news = true
	}
	if begin {
		t.start.listed()
	}
	t.reckon()
	for _, p := range t.processes {
		for _, it := range p.pending {
			if it.stage != finished {
				before := it.stage
				t.inspect(it)
				news = news || it.stage != before
			}
		}
	}
	// Read last: every call that is finished by now has its line in it, and so have all calls before it.
	if err := t.session.Update(); err != nil {
		return false, dirFailure(t.opt.Dir, err)
	}
	t.room.measured()
	t.setBacklog()
	return news, nil
}

func (t *Tailer) process(pid int64) *process {
	p := t.processes[pid]
	if p == nil {
		p = &process{}
		t.processes[pid] = p
	}
	return p
}

// forgetGone drops what is not on disk any more: what was deleted, and directories that FlashInfer made and removed again
// when it found itself over its size limit. A dump that had a record and vanished stays, to become a defect.
func (t *Tailer) forgetGone() {
	for dir, it := range t.known {
		if it.listed == t.poll {
			continue
		}
		if it.read {
			delete(t.known, dir)
			t.room.resize(it, 0)
			continue
		}
		if it.stage == empty {
			delete(t.known, dir)
			t.room.resize(it, 0)
			p := t.processes[it.name.PID]
			p.pending = remove(p.pending, it)
			p.dumped-- // it does not count there either
			t.opt.Log.Debug().Str("dump", dir).Msg("directory was removed before it had a record: refused by FlashInfer")
		}
	}
}

// findReplays looks for new replays: of calls not read yet too, since a replay comes in the order before what was called
// after it. The session log tells without a system call; where all must be found, the disk is asked.
func (t *Tailer) findReplays(now time.Time, all bool) (news bool) {
	for _, p := range t.processes {
		for _, it := range p.captures {
			news = t.replaysOf(p, it, now) || news
		}
		for _, it := range p.pending[:len(p.pending):len(p.pending)] {
			if it.flush == 0 {
				news = t.replaysOf(p, it, now) || news
			}
		}
		if !all {
			continue
		}
		bases := slices.Clone(p.captures)
		for _, it := range p.pending {
			if it.flush == 0 {
				bases = append(bases, it)
			}
		}
		for _, it := range bases {
			onDisk, err := fidump.Flushes(filepath.Join(t.opt.Dir, it.name.Dir))
			if err != nil {
				t.opt.Log.Warn().Err(err).Str("dump", it.name.Dir).Msg("cannot list the replays of a call")
			}
			for _, n := range onDisk {
				news = t.addReplay(p, it, n, now) || news
			}
		}
	}
	return news
}

// replaysOf adds the replays of one call that the session log has by now. The lines of up to two in a row may be damaged.
func (t *Tailer) replaysOf(p *process, it *item, now time.Time) (news bool) {
	for ahead := 1; ahead <= 3; ahead++ {
		if _, ok := t.session.Position(fidump.CallID{Dump: it.name.Dir, Flush: it.replayed + ahead}); !ok {
			continue
		}
		for ; ahead > 0; ahead-- {
			it.replayed++
			news = t.addReplay(p, it, it.replayed, now) || news
		}
	}
	return news
}

// hasReplays reports whether there are replays below a dump, even one whose own record is damaged.
func (t *Tailer) hasReplays(it *item) bool {
	_, err := os.Lstat(filepath.Dir(fidump.FlushDir(filepath.Join(t.opt.Dir, it.name.Dir), 1)))
	return err == nil
}

func (t *Tailer) addReplay(p *process, of *item, n int, now time.Time) bool {
	id := fidump.CallID{Dump: of.name.Dir, Flush: n}
	if t.replays[id] != nil {
		return false
	}
	it := &item{entry: entry{name: of.name, flush: n}, found: t.poll, foundAt: now, early: t.start.warm}
	t.replays[id] = it
	p.pending = append(p.pending, it)
	return true
}

// inspect sees how far the writer has come, and how much room the dump takes.
func (t *Tailer) inspect(it *item) {
	dir := fidump.FlushDir(filepath.Join(t.opt.Dir, it.name.Dir), it.flush)
	before := it.stage
	it.stage = stageOf(filepath.Join(dir, fidump.MetadataFile), it.stage)
	_, disk := manifest.Measure(dir)
	t.room.resize(it, disk)
	if it.stage == finished && before != finished {
		t.room.landed()
	}
}

// The logger writes these near the end of a record, so that the end of the file is enough to see the state.
var (
	statusField = []byte(`"execution_status": "`)
	statusDone  = [][]byte{[]byte(`completed"`), []byte(`graph_capture_pending_flush"`)}
)

// stageOf gives the stage that the last complete line of a metadata file tells, cheaply: package manifest reads it properly
// when it is the dump's turn. What cannot be read keeps its stage; the reading will say why.
func stageOf(path string, known stage) stage {
	f, err := os.Open(path)
	if err != nil {
		return known
	}
	defer f.Close()
	var buf [1 << 10]byte
	st, err := f.Stat()
	if err != nil {
		return known
	}
	n, err := f.ReadAt(buf[:], max(0, st.Size()-int64(len(buf))))
	if err != nil && !errors.Is(err, io.EOF) {
		return known
	}
	text := buf[:n]
	end := bytes.LastIndexByte(text, '\n')
	if at := bytes.LastIndex(text[:max(end, 0)], statusField); at >= 0 {
		for _, done := range statusDone {
			if bytes.HasPrefix(text[at+len(statusField):], done) {
				return finished
			}
		}
		return begun
	}
	// The field is further from the end than in any release known, or the last line is torn.
	switch _, state, err := fidump.ReadRecord(path); {
	case err != nil:
		return known
	case state == fidump.Completed || state == fidump.GraphPending:
		return finished
	case state == fidump.InputsSaved:
		return begun
	}
	return known
}

// turn gives the dumps that can be read now: of each process, those at the front of the call order that are settled.
func (t *Tailer) turn(final bool) []*item {
	var out []*item
	now := time.Now()
	for _, pid := range sortedPIDs(t.processes) {
		p := t.processes[pid]
		if len(p.pending) == 0 {
			continue
		}
		byEntry := make(map[*entry]*item, len(p.pending))
		entries := make([]*entry, len(p.pending))
		for i, it := range p.pending {
			entries[i] = &it.entry
			byEntry[&it.entry] = it
		}
		sorted := order(entries, t.session)
		for i, e := range sorted {
			it := byEntry[e]
			if !final && (it.found == t.poll || !t.settled(it, sorted[i+1:], byEntry, now)) {
				break
			}
			if it.flush > 0 && it.stage == empty && t.absent(it) {
				p.pending = remove(p.pending, it)
				continue
			}
			out = append(out, it)
		}
	}
	return out
}

// settled reports whether nothing more comes to a dump, given the calls of its process after it.
func (t *Tailer) settled(it *item, after []*entry, items map[*entry]*item, now time.Time) bool {
	if it.stage == finished || it.listed != t.poll && it.flush == 0 {
		return true
	}
	if len(after) == 0 {
		return false
	}
	// A replay writes its calls one after the other; an eager call may still write while a call that it made itself, or one of
	// another thread, is logged.
	next := items[after[0]]
	return it.flush > 0 || now.Sub(next.foundAt) >= t.opt.Grace
}

// absent reports whether a replay that the session log speaks of, or whose neighbours it does, has no directory.
func (t *Tailer) absent(it *item) bool {
	_, err := os.Lstat(fidump.FlushDir(filepath.Join(t.opt.Dir, it.name.Dir), it.flush))
	return errors.Is(err, fs.ErrNotExist)
}

func sortedPIDs(m map[int64]*process) []int64 {
	pids := make([]int64, 0, len(m))
	for pid := range m {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

func remove(list []*item, it *item) []*item {
	if at := slices.Index(list, it); at >= 0 {
		return slices.Delete(list, at, at+1)
	}
	return list
}
