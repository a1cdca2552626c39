package proc

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
)

// maxLine is how much of a line is given; the rest of it is in the log file only.
const maxLine = 16 << 10

// sink takes the child's output: lines for the callback, bytes for the log file.
type sink struct {
	line    func(string)
	file    *os.File
	room    int64
	carry   []byte // of a line whose end is not there yet, maxLine at most
	dropped int    // bytes of that line beyond it
	mu      sync.Mutex
	last    string // the last line, for an error of Start
}

func newSink(spec Spec) (*sink, error) {
	s := &sink{line: spec.Line, room: spec.LogMax}
	if s.room <= 0 {
		s.room = DefaultLogMax
	}
	if spec.LogFile == "" {
		return s, nil
	}
	var err error
	s.file, err = os.OpenFile(spec.LogFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	return s, err
}

// copy reads until the output ends.
func (s *sink) copy(r io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		s.keep(buf[:n])
		s.split(buf[:n])
		if err != nil {
			break
		}
	}
	if len(s.carry) > 0 {
		s.give() // a last line without an end
	}
}

// keep appends to the log file, up to its limit. A full disk loses the log and not the child.
func (s *sink) keep(data []byte) {
	if s.file == nil || s.room <= 0 || len(data) == 0 {
		return
	}
	if int64(len(data)) > s.room {
		data = data[:s.room]
		defer fmt.Fprintf(s.file, "\n[log cut here: it reached its limit]\n")
	}
	s.room -= int64(len(data))
	_, _ = s.file.Write(data)
}

func (s *sink) split(data []byte) {
	for len(data) > 0 {
		end := bytes.IndexAny(data, "\r\n")
		part := data
		if end >= 0 {
			part, data = data[:end], data[end+1:]
		} else {
			data = nil
		}
		take := min(len(part), maxLine-len(s.carry))
		s.carry = append(s.carry, part[:take]...)
		s.dropped += len(part) - take
		if end >= 0 && len(s.carry) > 0 { // empty between \r and \n, and of no use elsewhere
			s.give()
		}
	}
}

// ansi matches terminal control sequences, as progress bars and coloured logs write them.
var ansi = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

func (s *sink) give() {
	text := strings.ToValidUTF8(string(s.carry), "\uFFFD")
	if strings.IndexByte(text, 0x1b) >= 0 {
		text = ansi.ReplaceAllString(text, "")
	}
	if s.dropped > 0 {
		text += fmt.Sprintf(" … [%d bytes more]", s.dropped)
	}
	s.carry, s.dropped = s.carry[:0], 0
	if text = strings.TrimRight(text, " \t"); text == "" {
		return
	}
	s.mu.Lock()
	s.last = text
	s.mu.Unlock()
	if s.line != nil {
		s.line(text)
	}
}

// words gives the last line for an error.
func (s *sink) words() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == "" {
		return ""
	}
	return ": " + s.last
}

func (s *sink) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}
