package fidump

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Name is what the name of a dump directory says.
type Name struct {
	Dir      string // the base name itself
	Time     string // YYYYmmdd_HHMMSS_mmm, local time of the process
	PID      int64
	Function string // "rmsnorm" or "BatchDecodeWithPagedKVCacheWrapper.run"
	Sequence int64  // number among the calls of this function in this process, from 1
}

// Compare orders names by time, process, function and number: the order of the calls as far as names tell, and total.
func (n Name) Compare(o Name) int {
	return cmp.Or(strings.Compare(n.Time, o.Time), cmp.Compare(n.PID, o.PID), strings.Compare(n.Function, o.Function),
		cmp.Compare(n.Sequence, o.Sequence), strings.Compare(n.Dir, o.Dir))
}

// timeLen is the length of YYYYmmdd_HHMMSS_mmm.
const timeLen = 19

// ParseName takes apart the name of a dump directory, with or without a path before it; false if it is not one.
func ParseName(dir string) (Name, bool) {
	n := Name{Dir: baseName(dir)}
	s := n.Dir
	if len(s) < timeLen || s[8] != '_' || s[15] != '_' || !digits(s[:8]) || !digits(s[9:15]) || !digits(s[16:timeLen]) {
		return Name{}, false
	}
	n.Time, s = s[:timeLen], s[timeLen:]
	s, ok := strings.CutPrefix(s, "_pid")
	if !ok {
		return Name{}, false
	}
	pid, s, ok := strings.Cut(s, "_")
	if !ok || !digits(pid) {
		return Name{}, false
	}
	at := strings.LastIndex(s, "_call")
	if at < 1 || !digits(s[at+5:]) {
		return Name{}, false
	}
	n.Function = s[:at]
	var err1, err2 error
	n.PID, err1 = strconv.ParseInt(pid, 10, 64)
	n.Sequence, err2 = strconv.ParseInt(s[at+5:], 10, 64)
	if err1 != nil || err2 != nil || strings.ContainsAny(n.Function, "/\\") {
		return Name{}, false
	}
	return n, true
}

func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// baseName is the last component of a path of whichever machine made the dump.
func baseName(path string) string {
	path = strings.TrimRight(path, "/")
	return path[strings.LastIndexByte(path, '/')+1:]
}

// List gives the dump directories in dir, sorted by Compare; other entries are passed over. It costs one read of the directory
// and no stat of its entries, so it may be asked often while a directory of tens of thousands grows.
func List(dir string) ([]Name, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("list dumps: %w", err)
	}
	defer f.Close()
	var names []Name
	for {
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			if t := e.Type(); t != os.ModeDir && t != os.ModeIrregular {
				continue
			}
			if n, ok := ParseName(e.Name()); ok {
				names = append(names, n)
			}
		}
		if errors.Is(err, io.EOF) || err == nil && len(entries) == 0 {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list dumps: %w", err)
		}
	}
	slices.SortFunc(names, Name.Compare)
	return names, nil
}

// Flushes gives the numbers of the graph replays below a dump directory, ascending; none where there is no graph_flushes.
func Flushes(dumpDir string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(dumpDir, flushesDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list graph replays: %w", err)
	}
	var found []int
	for _, e := range entries {
		if text, ok := strings.CutPrefix(e.Name(), "flush_"); ok && e.IsDir() && digits(text) {
			if n, err := strconv.Atoi(text); err == nil && n > 0 {
				found = append(found, n)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// FlushDir gives the directory of graph replay number flush below a dump directory; for 0 the dump directory itself.
func FlushDir(dumpDir string, flush int) string {
	if flush == 0 {
		return dumpDir
	}
	return filepath.Join(dumpDir, flushesDir, fmt.Sprintf("flush_%04d", flush))
}

// Names of the files in a dump directory and beside it.
const (
	MetadataFile = "metadata.jsonl"
	SessionFile  = "session.jsonl"
	flushesDir   = "graph_flushes"
)
