package judge

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// Options say what is known beside the dataset's files.
type Options struct {
	// Published is what the repository has of each definition, for duplicates and for how diverse all of it is. A line whose uuid
	// the dataset has too is the same line.
	Published map[string]Published
}

// Published is what a repository has of one definition.
type Published struct {
	Lines []fitrace.Line
	// Blobs gives the hex SHA-256 of the blobs' files, by path in the dataset. Lines with tensors whose blob is not in it are not
	// compared by content.
	Blobs map[string]string
}

// Output sums up one output tensor of the baseline on one workload.
type Output struct {
	Definition string  `json:"definition"`
	Workload   string  `json:"workload"` // uuid
	Name       string  `json:"name"`
	Elements   int64   `json:"elements"`
	NaN        int64   `json:"nan"`
	Inf        int64   `json:"inf"` // of either sign; the log-sum-exp of no keys is one
	Min        float64 `json:"min"` // of the finite elements
	Max        float64 `json:"max"`
}

// Check judges definitions of a dataset by every rule; none named: all of them. The error is for a directory that cannot be read.
func Check(r *dataset.Reader, definitions []string, opt Options) (*Report, error) {
	root, err := os.OpenRoot(r.Dir())
	if err != nil {
		return nil, fmt.Errorf("judge dataset: %w", err)
	}
	defer root.Close()
	c := &checker{r: r, root: root, opt: opt, rep: &Report{}}
	if c.index, err = scan(root.FS()); err != nil {
		return nil, fmt.Errorf("judge dataset %s: %w", r.Dir(), err)
	}
	if len(definitions) == 0 {
		definitions = c.index.names()
	}
	definitions = slices.Compact(slices.Sorted(slices.Values(definitions)))
	if err := c.readOthers(definitions); err != nil {
		return nil, fmt.Errorf("judge dataset %s: %w", r.Dir(), err)
	}
	for _, name := range definitions {
		if err := c.definition(name); err != nil {
			return nil, fmt.Errorf("judge definition %s of dataset %s: %w", name, r.Dir(), err)
		}
	}
	return c.rep, nil
}

// checker is one run of Check.
type checker struct {
	r      *dataset.Reader
	root   *os.Root
	opt    Options
	index  *index
	rep    *Report
	uuids  map[string]string // where each uuid was met first
	others []byte            // the workloads files that are not judged, for who refers to a blob
}

// subject is the definition that is judged.
type subject struct {
	*checker
	name   string
	opType string              // of its path
	def    *fitrace.Definition // nil: it does not parse
	lines  []*line             // that parse and are of the definition
	blobs  map[string]*blob    // by path in the dataset
	unread []byte              // lines that were not judged to their end: what they refer to is not known
	// unknown are the constraints of which it was told that they cannot be evaluated.
	unknown map[string]bool
}

// add notes a finding about the definition, or about the line if there is one.
func (s *subject) add(c Code, l *line, file, format string, args ...any) {
	f := Finding{Code: c, Severity: c.severity(), Definition: s.name, File: file, Message: fmt.Sprintf(format, args...)}
	if l != nil {
		f.Workload = l.Workload.UUID
	}
	s.rep.Findings = append(s.rep.Findings, f)
}

func (c *checker) definition(name string) error {
	s := &subject{checker: c, name: name, blobs: map[string]*blob{}, unknown: map[string]bool{}}
	if !s.defined() {
		return nil
	}
	c.rep.Counts.Definitions++
	if err := s.workloads(); err != nil {
		return err
	}
	solutions := s.solutions()
	s.traces(solutions)
	if err := s.provenance(); err != nil {
		return err
	}
	if s.def == nil {
		return nil
	}
	for _, l := range s.lines {
		s.fit(l)
		s.values(l)
	}
	if err := s.leftOver(); err != nil {
		return err
	}
	s.real()
	return nil
}

// readOthers reads the workloads files of other definitions: a uuid is of one workload in the whole dataset, and a blob may be
// referred to from anywhere.
func (c *checker) readOthers(judged []string) error {
	c.uuids = map[string]string{}
	files, err := c.r.Glob("workloads/*/*.jsonl")
	if err != nil {
		return err
	}
	for _, file := range files {
		opType, name := path.Base(path.Dir(file)), strings.TrimSuffix(path.Base(file), ".jsonl")
		if slices.Contains(judged, name) {
			continue
		}
		w, err := c.r.Workloads(opType, name)
		if err != nil {
			return err
		}
		c.others = append(c.others, w.Raw...)
		for _, l := range w.Lines {
			if _, met := c.uuids[l.Workload.UUID]; !met && l.Err == nil {
				c.uuids[l.Workload.UUID] = at(file, l.Number)
			}
		}
	}
	return nil
}

// at names a line of a file.
func at(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }
