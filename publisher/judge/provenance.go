package judge

import (
	"fmt"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// provenance judges the definition's provenance file. A dataset without one is valid.
func (s *subject) provenance() error {
	for _, p := range s.index.provenance[s.name] {
		if p.opType != s.opType {
			s.add(ProvenancePath, nil, p.path, "the definition is under %s: move the file", s.opType)
		}
	}
	lines, err := s.r.Provenance(s.opType, s.name)
	if err != nil {
		return err
	}
	uuids := map[string]bool{}
	for _, l := range s.lines {
		uuids[l.Workload.UUID] = true
	}
	for _, f := range Provenance(fitrace.ProvenancePath(s.opType, s.name), lines, uuids) {
		f.Definition = s.name
		s.rep.Findings = append(s.rep.Findings, f)
	}
	return s.mixed()
}

// mixed reports simulated workloads beside others.
func (s *subject) mixed() error {
	simulated, err := s.r.Simulated(s.opType, s.name)
	if err != nil {
		return err
	}
	var first, other *line
	for _, l := range s.lines {
		switch {
		case simulated[l.Workload.UUID] && first == nil:
			first = l
		case !simulated[l.Workload.UUID] && other == nil:
			other = l
		}
	}
	if first != nil && other != nil {
		s.add(SimulatedMix, nil, first.at, "%s is simulated, and the workload in %s is not known to be", first.Workload.UUID, other.at)
	}
	return nil
}

// Provenance judges the lines of a provenance file. uuids are those of the workloads.
func Provenance(file string, lines []dataset.ProvenanceLine, uuids map[string]bool) []Finding {
	var found []Finding
	keys := map[string]int{}
	for _, l := range lines {
		add := func(c Code, format string, args ...any) {
			found = append(found, Finding{Code: c, Severity: c.severity(), Workload: l.UUID, File: at(file, l.Number), Message: fmt.Sprintf(format, args...)})
		}
		err := l.Err
		if err == nil {
			err = text(l.Raw)
		}
		if err == nil {
			err = brokenLine(l.Raw)
		}
		if err != nil {
			add(ProvenanceParse, "%s", oneLine(err))
			continue
		}
		if first := keys[l.Key()]; first > 0 {
			add(ProvenanceTwice, "uuid, collection and task are those of line %d", first)
		} else {
			keys[l.Key()] = l.Number
		}
		if !uuids[l.UUID] {
			add(ProvenanceWorkload, "no workload has the uuid %s", l.UUID)
		}
	}
	return found
}
