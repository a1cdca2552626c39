package judge

import (
	"fmt"
	"slices"
	"strings"
)

// Severity says what a finding means for a publication.
type Severity string

// The severities.
const (
	Refuse Severity = "refuse" // nothing may be published
	Skip   Severity = "skip"   // this workload may not be published, others may
	Warn   Severity = "warn"   // a reviewer should know
)

// Finding is one thing that is wrong.
type Finding struct {
	Code       Code     `json:"code"`
	Severity   Severity `json:"severity"`
	Definition string   `json:"definition,omitempty"`
	Workload   string   `json:"workload,omitempty"` // uuid
	File       string   `json:"file,omitempty"`     // relative to the dataset; of a line with its number: "workloads/gemm/x.jsonl:3"
	Message    string   `json:"message"`            // names field and value; one line
}

// String is one line.
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-6s %s", f.Severity, f.Code)
	for _, part := range []string{f.Definition, f.Workload, f.File} {
		if part != "" {
			b.WriteString(" " + part)
		}
	}
	return b.String() + ": " + f.Message
}

// Counts says what was looked at.
type Counts struct {
	Definitions int `json:"definitions"`
	Workloads   int `json:"workloads"` // lines that parse
	Blobs       int `json:"blobs"`     // files that were read
	Tensors     int `json:"tensors"`   // that lines refer to and that were read
	Constraints int `json:"constraints"`
	Solutions   int `json:"solutions"`
	Traces      int `json:"traces"` // lines that parse
}

// Report is what a judge found.
type Report struct {
	Findings []Finding `json:"findings"`
	Counts   Counts    `json:"counts"`
}

// Refuses reports whether nothing may be published.
func (r *Report) Refuses() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == Refuse })
}

// Excuse turns refusals into warnings where theirs says that a finding is about what others published before: a line, a
// solution or a trace of theirs is no reason to hold back ours.
func (r *Report) Excuse(theirs func(Finding) bool) {
	for i, f := range r.Findings {
		if f.Severity != Warn && theirs(f) {
			r.Findings[i].Severity = Warn
			r.Findings[i].Message += " (was there before)"
		}
	}
}

// Text has a line for each finding of these severities, or of all where none is named, refusals first, each with its newline.
func (r *Report) Text(of ...Severity) string {
	sorted := slices.Clone(r.Findings)
	slices.SortStableFunc(sorted, func(a, b Finding) int { return strings.Compare(string(a.Severity), string(b.Severity)) })
	var b strings.Builder
	for _, f := range sorted {
		if len(of) == 0 || slices.Contains(of, f.Severity) {
			b.WriteString(f.String() + "\n")
		}
	}
	return b.String()
}
