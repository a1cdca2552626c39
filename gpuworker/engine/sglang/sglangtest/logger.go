package sglangtest

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/sglang"
)

// logger is FlashInfer's API logging in one process: it reads its environment once, as that does at import.
type logger struct {
	writer           *fidump.Writer
	on               bool
	all              bool // the first generation logs calls that are not dumped, too
	include, exclude []string
	budget, dumped   int
	dest             *os.File
	real             *flashinfer // logs in this one's place
}

func newLogger(o *Options, flashinfer string) (*logger, error) {
	l := &logger{
		on:  os.Getenv("FLASHINFER_LOGLEVEL") == "10" && !o.NoDumpLogs,
		all: sglang.Compare(flashinfer, "0.6.12") < 0,
		writer: fidump.NewWriter(os.Getenv("FLASHINFER_DUMP_DIR"), int64(os.Getpid()), map[string]string{
			"flashinfer": flashinfer, "torch": "2.11.0", "python": "3.12.3",
		}),
		include: patterns("FLASHINFER_DUMP_INCLUDE"), exclude: patterns("FLASHINFER_DUMP_EXCLUDE"), budget: 1000,
	}
	if o.Logger != "" && l.on {
		var err error
		l.real, err = startFlashInfer(o.Logger, flashinfer)
		return l, err
	}
	if n, err := strconv.Atoi(os.Getenv("FLASHINFER_DUMP_MAX_COUNT")); err == nil {
		l.budget = n
	}
	if dest := os.Getenv("FLASHINFER_LOGDEST"); dest != "" && l.on {
		var err error
		dest = strings.ReplaceAll(dest, "%i", strconv.Itoa(os.Getpid()))
		if l.dest, err = os.OpenFile(dest, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
			return nil, fmt.Errorf("FileNotFoundError: [Errno 2] No such file or directory: '%s'", dest)
		}
		fmt.Fprintf(l.dest, "%s\nFlashInfer API Logging - System Information\n", strings.Repeat("=", 80))
	}
	return l, nil
}

func patterns(name string) (list []string) {
	for p := range strings.SplitSeq(os.Getenv(name), ",") {
		if p = strings.TrimSpace(p); p != "" {
			list = append(list, p)
		}
	}
	return list
}

func matchAny(list []string, name string) bool {
	for _, p := range list {
		if ok, err := path.Match(strings.ReplaceAll(p, "[!", "[^"), name); ok && err == nil {
			return true
		}
	}
	return false
}

// log takes a call that is made and returns at once.
func (l *logger) log(c fidump.Call, results ...fidump.Value) error {
	if !l.on {
		return nil
	}
	if l.real != nil {
		return l.real.log(c, results)
	}
	wanted := (len(l.include) == 0 || matchAny(l.include, c.Function)) && !matchAny(l.exclude, c.Function)
	if l.dest != nil && (wanted || l.all) {
		fmt.Fprintf(l.dest, "[%s] FlashInfer API Call: %s\n", time.Now().Format(time.DateTime), c.Function)
	}
	if !wanted {
		return nil
	}
	if l.dumped >= l.budget {
		if l.dest != nil {
			fmt.Fprintf(l.dest, "Dump limit reached (%d dumps). Skipping dump for %s. \n", l.budget, c.Function)
		}
		return nil
	}
	l.dumped++
	c.Time = time.Now()
	p, err := l.writer.Begin(c)
	if err != nil {
		if l.dest != nil {
			fmt.Fprintf(l.dest, "[DUMP ERROR (inputs) in %s]: %v\n", c.Function, err)
		}
		return err
	}
	return p.Return(results...)
}
