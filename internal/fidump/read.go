package fidump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/tracefleet/tracefleet/internal/jsonscan"
	"github.com/tracefleet/tracefleet/internal/rawfile"
)

// State is how far a dump has come.
type State uint8

// The states, in the order in which a dump goes through them.
const (
	Absent       State = iota // there is no metadata.jsonl: nothing was written yet, or the process died before
	Torn                      // metadata.jsonl has no complete record: it is being written, or the process died meanwhile
	GraphPending              // captured in a CUDA graph; tensors come with replays, in directories of their own
	InputsSaved               // the inputs are final; the call runs, or never returned
	Completed                 // the call has returned: the directory is final
)

// String names the state as the logger does where it has a word for it.
func (s State) String() string {
	switch s {
	case Absent:
		return "absent"
	case Torn:
		return "torn"
	case GraphPending:
		return "graph_capture_pending_flush"
	case InputsSaved:
		return "inputs_saved"
	case Completed:
		return "completed"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MaxRecordBytes bounds one record; the largest real ones have some 20 kB.
const MaxRecordBytes = 16 << 20

// RecordError says which line of a metadata file is no record.
type RecordError struct {
	File string
	Line int // from 1; 0: too far into the file to be counted
	Err  error
}

// Error names file and line.
func (e *RecordError) Error() string {
	return fmt.Sprintf("dump record %s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap gives the fault itself.
func (e *RecordError) Unwrap() error { return e.Err }

// tailBytes is what the first read takes from the end of the file: both lines of nearly every dump.
const tailBytes = 16 << 10

var tailPool = sync.Pool{New: func() any { b := make([]byte, tailBytes); return &b }}

// ReadRecord returns the last complete record of a metadata.jsonl and the state it records. A record is complete when its line
// ends and parses; a torn line at the end is passed over, since the logger appends while others read. Absent and Torn come
// without a record. A file whose complete lines hold no record gives a *RecordError.
func ReadRecord(path string) (*Record, State, error) {
	f, err := rawfile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Absent, nil
	}
	if err != nil {
		return nil, Absent, fmt.Errorf("read dump record: %w", err)
	}
	defer f.Close()
	pooled := tailPool.Get().(*[]byte)
	defer tailPool.Put(pooled)
	return lastRecord(f, f.Size(), path, *pooled)
}

// ReadRecordOf is ReadRecord of a metadata.jsonl that was read already; name is the file's, for errors.
func ReadRecordOf(data []byte, name string) (*Record, State, error) {
	return lastRecord(bytes.NewReader(data), int64(len(data)), name, make([]byte, tailBytes))
}

// lastRecord looks for the last record from the end of the file, since that of a graph's capture grows by a line a replay.
func lastRecord(r io.ReaderAt, size int64, path string, buf []byte) (*Record, State, error) {
	for window := int64(len(buf)); ; window *= 4 {
		begin := max(0, size-window)
		if size-begin > int64(len(buf)) {
			buf = make([]byte, size-begin)
		}
		part := buf[:size-begin]
		if n, err := r.ReadAt(part, begin); n < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				return nil, Torn, nil // became shorter while we read: it is being replaced
			}
			return nil, Absent, fmt.Errorf("read dump record %s: %w", path, err)
		}
		rec, fault := lastWhole(part, begin == 0)
		switch {
		case rec != nil:
			return rec, rec.state(), nil
		case fault != nil && (fault.final || begin == 0):
			return nil, Torn, &RecordError{File: path, Line: lineOf(r, begin+int64(fault.at)), Err: fault.err}
		case begin == 0:
			return nil, Torn, nil
		case window > MaxRecordBytes:
			return nil, Torn, &RecordError{File: path, Line: lineOf(r, begin), Err: fmt.Errorf("no record in the last %d bytes of the file", window)}
		}
	}
}

// lineFault is a complete line that is no record.
type lineFault struct {
	err   error
	at    int  // offset of the line
	final bool // it is JSON, but not of a record: no earlier line counts
}

// lastWhole gives the last record among the terminated lines of part, or the last line that should have been one. Without
// fromStart the first line of part may lack its beginning, and is left alone.
func lastWhole(part []byte, fromStart bool) (*Record, *lineFault) {
	var first *lineFault
	end := bytes.LastIndexByte(part, '\n') // what follows is still being written
	for end >= 0 {
		at := bytes.LastIndexByte(part[:end], '\n')
		if at < 0 && !fromStart {
			break
		}
		if line := bytes.TrimSpace(part[at+1 : end]); len(line) > 0 {
			rec, err := parseRecord(string(line))
			if err == nil {
				return rec, nil
			}
			var syntax *jsonscan.SyntaxError
			if !errors.As(err, &syntax) {
				return nil, &lineFault{err, at + 1, true}
			}
			if first == nil {
				first = &lineFault{err, at + 1, false}
			}
		}
		end = at
	}
	return nil, first
}

func (r *Record) state() State {
	switch r.Status {
	case "completed":
		return Completed
	case "graph_capture_pending_flush":
		return GraphPending
	default:
		return InputsSaved
	}
}

// lineOf gives the number of the line at offset, 0 far into a file; only errors need it.
func lineOf(r io.ReaderAt, offset int64) int {
	if offset > 4*MaxRecordBytes {
		return 0
	}
	line, buf := 1, make([]byte, 64<<10)
	for at := int64(0); at < offset; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), offset-at)], at)
		line += bytes.Count(buf[:n], []byte{'\n'})
		if at += int64(n); err != nil || n == 0 {
			break
		}
	}
	return line
}
