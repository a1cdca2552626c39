package push

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/tracefleet/tracefleet/publisher/hub"
)

// Content is what a pull request is to have in the end, beside what it has already.
type Content struct {
	// Firm files must be exactly so: the definition. Another content under such a path is a failure with code hub_conflict.
	Firm []hub.File
	// Offered files are added where there are none: the solution and the reference test. Another content stays, with a warning.
	Offered []hub.File
	// Blobs must be there, with this content, before any line is.
	Blobs []hub.File
	// Lines are added at the end of their files.
	Lines []Lines
	// Own files are ours alone and replaced when they change: the log.
	Own []hub.File
}

// Lines are lines of one JSONL file.
type Lines struct {
	Path string
	Key  func(line []byte) (string, error) // what makes two lines the same: the workload's uuid
	Add  [][]byte                          // without their newlines
	// With, if set, is the path of other Lines before these: a line is added only if the same commit adds the line there whose
	// key Workload returns. So what travels with a workload is not added for one that the repository has from somebody else.
	With     string
	Workload func(line []byte) (string, error)
}

// along returns the lines that travel with what was added elsewhere in the commit, by path and key.
func (l *Lines) along(added map[string]map[string]bool) (*Lines, error) {
	if l.With == "" {
		return l, nil
	}
	kept := *l
	kept.Add = nil
	for i, line := range l.Add {
		key, err := l.Workload(line)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d of those to add: %w", l.Path, i+1, err)
		}
		if added[l.With][key] {
			kept.Add = append(kept.Add, line)
		}
	}
	return &kept, nil
}

// WorkloadKey returns the uuid of a workload's line.
func WorkloadKey(line []byte) (string, error) {
	var l struct {
		Workload struct {
			UUID string `json:"uuid"`
		} `json:"workload"`
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return "", err
	}
	if l.Workload.UUID == "" {
		return "", fmt.Errorf("the line has no workload.uuid")
	}
	return l.Workload.UUID, nil
}

// TraceKey returns the solution and the workload's uuid of a trace's line.
func TraceKey(line []byte) (string, error) {
	uuid, err := WorkloadKey(line)
	if err != nil {
		return "", err
	}
	var l struct {
		Solution string `json:"solution"`
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return "", err
	}
	return l.Solution + "\n" + uuid, nil
}

// merge returns have with the lines added that are not in it, and the keys of those. Bytes that are there are never changed, but for
// a newline at the end of a last line that has none. Lines that do not parse stay, and are the same as no other.
func (l *Lines) merge(have []byte) ([]byte, map[string]bool, error) {
	known := map[string]bool{}
	for line := range bytes.Lines(have) {
		if key, err := l.Key(bytes.TrimSpace(line)); err == nil {
			known[key] = true
		}
	}
	out := bytes.Clone(have)
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	added := map[string]bool{}
	for i, line := range l.Add {
		key, err := l.Key(line)
		if err != nil {
			return nil, nil, fmt.Errorf("%s, line %d of those to add: %w", l.Path, i+1, err)
		}
		if known[key] {
			continue
		}
		known[key], added[key] = true, true
		out = append(append(out, line...), '\n')
	}
	if len(added) == 0 {
		return have, nil, nil
	}
	return out, added, nil
}
