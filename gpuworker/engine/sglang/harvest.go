package sglang

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fidump"
)

// Of a record of the session log: its beginning, and how a call's first record says that the call was dumped.
var (
	recordStart = []byte(`{"function_name": "`)
	firstStatus = [][]byte{[]byte(`"execution_status": "inputs_saved"`), []byte(`"execution_status": "graph_capture_pending_flush"`)}
)

// tally counts the dumps that the session log of dir has from an offset on, by function, and gives where it ends. Ranks append
// without a lock, so that a torn line may cost or add one: the counts are for messages, not for accounts.
func tally(dir string, from int64) (counts map[string]int, end int64) {
	counts = map[string]int{}
	f, err := os.Open(filepath.Join(dir, fidump.SessionFile))
	if err != nil {
		return counts, from
	}
	defer f.Close()
	if from, err = f.Seek(from, io.SeekStart); err != nil {
		return counts, from
	}
	pending := map[string]bool{} // graph captures have two records of one status
	r := bufio.NewReaderSize(f, 1<<20)
	name := "" // of the line's record; a long line comes in pieces
	for begin := true; ; {
		piece, err := r.ReadSlice('\n')
		from += int64(len(piece))
		if begin {
			rest, isRecord := bytes.CutPrefix(piece, recordStart)
			name = string(rest[:max(bytes.IndexByte(rest, '"'), 0)])
			if !isRecord {
				name = ""
			}
		}
		begin = err == nil
		switch {
		case name == "":
		case bytes.Contains(piece, firstStatus[0]):
			counts[name]++
		case bytes.Contains(piece, firstStatus[1]) && !pending[dumpOf(piece)]:
			pending[dumpOf(piece)] = true
			counts[name]++
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return counts, from
		}
	}
}

func dumpOf(line []byte) string {
	_, rest, ok := bytes.Cut(line, []byte(`"dump_dir": "`))
	if !ok {
		return ""
	}
	end := bytes.IndexByte(rest, '"')
	return string(rest[:max(end, 0)])
}

// What FlashInfer writes of a call, and of a dump that failed, in its own log.
var (
	calledLine = "FlashInfer API Call: "
	failedLine = "[DUMP ERROR"
)

const mostCalled = 8 // names in a message

// readLogs looks into the files that FlashInfer logs to.
func (h *harvest) readLogs(dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(io.LimitReader(f, 16<<20))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			h.logs = true
			if strings.Contains(lines.Text(), failedLine) {
				h.dumpErrors = append(h.dumpErrors[:min(len(h.dumpErrors), 2)], lines.Text())
			}
			if _, call, ok := strings.Cut(lines.Text(), calledLine); ok && len(h.called) < mostCalled && !slices.Contains(h.called, call) {
				h.called = append(h.called, call)
			}
		}
		_ = f.Close()
	}
}

// matches is fnmatch as FlashInfer's filters use it: case-sensitive. path.Match writes [^x] where fnmatch writes [!x], and
// names of functions have no slash that it would treat apart.
func matches(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "[!", "[^"), name)
	return ok && err == nil
}
