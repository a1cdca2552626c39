package fidump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// CallID names one call as session.jsonl does: a dump directory, and the replay of it.
type CallID struct {
	Dump  string // base name of the dump directory
	Flush int    // number of the replay from 1; 0: the call itself
}

// Session reads session.jsonl as it grows, and tells the order in which calls were first logged. Processes append to that
// file without a lock: lines may be torn, glued or cut into each other. Whatever names its dump in full is taken; the rest is
// counted in Damaged and passed over, since the dumps' own records hold all else.
type Session struct {
	path    string
	offset  int64
	carry   []byte // the start of a line whose end is not written yet, from offset-len(carry) on
	first   map[CallID]int64
	plans   map[int64][]PlannedCall
	damaged int
}

// PlannedCall is a call of a wrapper's plan as the session log has it, whether its dump is there or not.
type PlannedCall struct {
	Name   Name
	SelfID string // the wrapper object; empty: the line does not tell
	At     int64  // as Position gives it
}

// Plans gives the plan calls of a process that have a whole line, in the order of the lines. It only grows.
func (s *Session) Plans(pid int64) []PlannedCall { return s.plans[pid] }

// NewSession makes a reader of the session.jsonl in a directory of dumps. The file need not exist yet.
func NewSession(dir string) *Session {
	return &Session{path: dir + "/" + SessionFile, first: map[CallID]int64{}, plans: map[int64][]PlannedCall{}}
}

// Position gives where in the file the call was first logged, for comparison only; false if it has not been seen.
func (s *Session) Position(id CallID) (int64, bool) {
	at, ok := s.first[id]
	return at, ok
}

// Len gives how many calls were seen.
func (s *Session) Len() int { return len(s.first) }

// Damaged counts the lines that were not one whole record.
func (s *Session) Damaged() int { return s.damaged }

// maxLineBytes bounds a line; what is longer is no record but damage, and is dropped.
const maxLineBytes = MaxRecordBytes

// Update reads what was appended since the last call. A file that became shorter is read anew. A missing file is no error.
func (s *Session) Update() error {
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read session: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read session: %w", err)
	}
	if st.Size() < s.offset {
		s.offset, s.carry, s.first, s.plans = 0, nil, map[CallID]int64{}, map[int64][]PlannedCall{}
	}
	buf := make([]byte, min(int64(256<<10), max(st.Size()-s.offset, 1)))
	for s.offset < st.Size() {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), st.Size()-s.offset)], s.offset)
		s.offset += int64(n)
		s.take(buf[:n])
		if errors.Is(err, io.EOF) || n == 0 && err == nil {
			break
		}
		if err != nil {
			return fmt.Errorf("read session %s: %w", s.path, err)
		}
	}
	s.unfinished()
	return nil
}

// unfinished notes the call of a line that has no end yet, and never gets one where the process was killed: its first fields
// name it already.
func (s *Session) unfinished() {
	if !bytes.HasPrefix(s.carry, recordStart) {
		return
	}
	if id, ok := headOfRecord(s.carry); ok {
		s.note(id, s.offset-int64(len(s.carry)))
	}
}

// take splits what was read, ending at s.offset, into lines.
func (s *Session) take(data []byte) {
	at := s.offset - int64(len(data)) - int64(len(s.carry)) // of the line begun last
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			break
		}
		line := data[:end]
		if len(s.carry) > 0 {
			line = append(s.carry, line...)
			s.carry = s.carry[:0]
		}
		s.line(at, line)
		at += int64(len(line)) + 1
		data = data[end+1:]
	}
	if len(s.carry)+len(data) > maxLineBytes {
		s.carry = s.carry[:0]
		s.damaged++
		return
	}
	s.carry = append(s.carry, data...)
}

// recordStart is how every record begins; Python writes keys in the order in which the logger sets them.
var recordStart = []byte(`{"function_name": "`)

// line notes the calls that a line names.
func (s *Session) line(at int64, line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	begin := bytes.Index(line, recordStart)
	if begin == 0 && line[len(line)-1] == '}' && !bytes.Contains(line[1:], recordStart) {
		if id, ok := wholeRecord(line); ok {
			s.notePlan(id, at, line)
			s.note(id, at)
			return
		}
	}
	s.damaged++
	for begin >= 0 { // each record whose beginning is there names its call, even when it is cut later
		rest := line[begin:]
		next := bytes.Index(rest[1:], recordStart)
		if next >= 0 {
			rest = rest[:next+1]
		}
		id, ok := wholeRecord(rest)
		if !ok {
			id, ok = headOfRecord(rest)
		}
		if ok {
			s.note(id, at+int64(begin))
		}
		if next < 0 {
			return
		}
		begin += next + 1
	}
}

// notePlan keeps a plan call at its first line. Only whole lines count: half a line could name a call that never was.
func (s *Session) notePlan(id CallID, at int64, line []byte) {
	function := line[len(recordStart):]
	function = function[:max(bytes.IndexByte(function, '"'), 0)]
	if !bytes.HasSuffix(function, planEnd) && !bytes.HasSuffix(function, beginEnd) {
		return
	}
	if _, seen := s.first[id]; seen || id.Flush > 0 {
		return
	}
	name, ok := ParseName(id.Dump)
	if !ok {
		return
	}
	call := PlannedCall{Name: name, At: at}
	if mark := bytes.LastIndex(line, []byte(`, "self_id": `)); mark >= 0 {
		call.SelfID, _ = numberField(line[mark:], `, "self_id": `)
	}
	s.plans[name.PID] = append(s.plans[name.PID], call)
}

// How the names of plan calls end.
var planEnd, beginEnd = []byte(".plan"), []byte(".begin_forward")

func (s *Session) note(id CallID, at int64) {
	if _, seen := s.first[id]; !seen {
		s.first[id] = at
	}
}

// wholeRecord names the call of a record without parsing all of it, since most of a session is signatures: the fields at its
// end say which dump it is, and those at its beginning must agree, else two records were cut into one.
func wholeRecord(line []byte) (CallID, bool) {
	at := bytes.LastIndex(line, []byte(`, "dump_dir": "`)) // searches from the end, where it is
	if at < 0 {
		return CallID{}, false
	}
	tail := line[at:]
	dir, ok := stringField(tail, `, "dump_dir": "`)
	if !ok {
		return CallID{}, false
	}
	if base, ok := stringField(tail, `, "graph_capture_base_dump_dir": "`); ok {
		dir = base
	}
	head, ok := headOfRecord(line)
	id := CallID{Dump: baseName(dir)}
	if !ok || head.Dump != id.Dump {
		return CallID{}, false
	}
	if text, ok := numberField(tail, `, "graph_capture_flush_index": `); ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return CallID{}, false
		}
		id.Flush = n
	}
	return id, true
}

// headOfRecord names the call from the first fields of a record, of which the logger makes the directory's name. It cannot
// tell a replay, but the capture of one was logged before it.
func headOfRecord(line []byte) (CallID, bool) {
	function, ok1 := stringField(line, `{"function_name": "`)
	number, ok2 := numberField(line, `, "call_sequence": `)
	stamp, ok3 := stringField(line, `, "timestamp": "`)
	pid, ok4 := numberField(line, `, "process_id": `)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return CallID{}, false
	}
	dump := stamp + "_pid" + pid + "_" + function + "_call" + "0000"[min(len(number), 4):] + number
	if _, ok := ParseName(dump); !ok {
		return CallID{}, false
	}
	return CallID{Dump: dump}, true
}

// stringField gives the string that follows mark. A mark holds quotes without a backslash before them, so it cannot stand
// inside a string. Values with escapes give false: neither names nor paths of ours have any.
func stringField(line []byte, mark string) (string, bool) {
	at := bytes.Index(line, []byte(mark))
	if at < 0 {
		return "", false
	}
	rest := line[at+len(mark):]
	end := bytes.IndexByte(rest, '"')
	if end < 0 || bytes.IndexByte(rest[:end], '\\') >= 0 {
		return "", false
	}
	return string(rest[:end]), true
}

// numberField gives the digits that follow mark, up to a comma or brace.
func numberField(line []byte, mark string) (string, bool) {
	at := bytes.Index(line, []byte(mark))
	if at < 0 {
		return "", false
	}
	rest := line[at+len(mark):]
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	if end == 0 || end == len(rest) || rest[end] != ',' && rest[end] != '}' {
		return "", false
	}
	return string(rest[:end]), true
}
