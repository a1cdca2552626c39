package harvest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// Status is where a file ended.
type Status string

// The three ends.
const (
	Staged    Status = "staged"
	Duplicate Status = "duplicate" // of a definition of the dataset, or of another file of this harvest
	SetAside  Status = "set_aside"
)

// Change is one difference between what the tracer wrote and what is staged.
type Change struct {
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Why   string `json:"why"`
}

// Entry says what became of one file.
type Entry struct {
	Source  string   `json:"source"`
	Status  Status   `json:"status"`
	Name    string   `json:"name,omitempty"` // of the definition; of a file set aside, as far as it came
	OpType  string   `json:"op_type,omitempty"`
	Path    string   `json:"path,omitempty"`    // below the staging directory
	Of      string   `json:"of,omitempty"`      // what it is a duplicate of
	Alike   []string `json:"alike,omitempty"`   // definitions of the dataset that have its interface under another name
	Reason  string   `json:"reason,omitempty"`  // set aside
	Detail  string   `json:"detail,omitempty"`  // set aside or duplicate: in words
	Changes []Change `json:"changes,omitempty"` // to the tracer's file
	Doubts  []string `json:"doubts,omitempty"`  // what could not be checked
	Notes   []string `json:"notes,omitempty"`   // what is good to know
}

// Counts add up: Files = Staged + Duplicates + SetAside.
type Counts struct {
	Files      int `json:"files"`
	Staged     int `json:"staged"`
	Duplicates int `json:"duplicates"`
	SetAside   int `json:"set_aside"`
}

// Report is what became of every file.
type Report struct {
	Counts  Counts  `json:"counts"`
	Entries []Entry `json:"files"` // sorted by source

	definitions map[string][]byte // path below the staging directory to JSON
	originals   map[string][]byte // the same, of files set aside
}

// Definition gives the JSON staged under a path of an entry.
func (r *Report) Definition(path string) ([]byte, bool) {
	data, ok := r.definitions[path]
	return data, ok
}

// settle holds the definitions against the dataset and against each other.
func settle(results []*result, set *dataset) *Report {
	r := &Report{Entries: []Entry{}, definitions: map[string][]byte{}, originals: map[string][]byte{}}
	staged := map[string]*result{}
	for _, res := range results {
		if res.entry.Status == Staged {
			res.against(set)
		}
		if res.entry.Status == Staged {
			res.among(staged)
		}
	}
	for _, res := range results {
		e := &res.entry
		switch e.Status {
		case Staged:
			e.Path = fitrace.DefinitionPath(e.OpType, e.Name)
			r.definitions[e.Path] = render(res.t)
			r.Counts.Staged++
		case Duplicate:
			r.Counts.Duplicates++
		case SetAside:
			if res.file.Data != nil {
				e.Path = r.keepOriginal(res.file)
			}
			r.Counts.SetAside++
		}
		r.Counts.Files++
		r.Entries = append(r.Entries, *e)
	}
	return r
}

// against tells a definition that the dataset has already from one that takes a name of it for something else.
func (res *result) against(set *dataset) {
	e := &res.entry
	known := set.byName[e.Name]
	if known == nil {
		for _, like := range set.alike(res.def) {
			if sameCode(like.Reference, res.def.Reference) {
				e.Status, e.Of, e.Detail = Duplicate, like.Name, "the dataset has it under another name, reference and all"
				return
			}
			e.Alike = append(e.Alike, like.Name)
			e.Doubts = append(e.Doubts, fmt.Sprintf("%s of the dataset has the same axes, inputs and outputs: worth adding only if this computes something else", like.Name))
		}
		return
	}
	if diff := differs(known, res.def); diff != "" {
		e.Status, e.Reason = SetAside, ReasonNameTaken
		e.Detail = fmt.Sprintf("the dataset has another definition of this name: %s (dataset first)", diff)
		return
	}
	if theirs := epsilonOf(known); res.eps != "" && theirs != "" && !sameNumber(theirs, res.eps) {
		e.Status, e.Reason = SetAside, ReasonNameTaken
		e.Detail = fmt.Sprintf("the dataset's definition of this name has epsilon %s, these calls have %s", theirs, res.eps)
		return
	}
	e.Status, e.Of, e.Detail = Duplicate, e.Name, "the dataset has it"
	if !sameCode(known.Reference, res.def.Reference) {
		e.Detail = "the dataset has it, with a reference of its own"
	}
}

func sameNumber(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

// among tells a definition that another file gave already. Two that differ in models only become one, with the tags of both.
func (res *result) among(staged map[string]*result) {
	e := &res.entry
	other := staged[e.Name]
	if other == nil {
		staged[e.Name] = res
		return
	}
	if diff := differs(other.def, res.def); diff != "" || !sameCode(other.def.Reference, res.def.Reference) {
		if diff == "" {
			diff = "their references differ"
		}
		e.Status, e.Reason = SetAside, ReasonNameTaken
		e.Detail = fmt.Sprintf("%s gives another definition of this name: %s (that one first)", other.file.Source, diff)
		return
	}
	e.Status, e.Of, e.Detail = Duplicate, e.Name, "the same as "+other.file.Source
	var models []string
	for _, tag := range res.t.tags {
		switch {
		case slices.Contains(other.t.tags, tag):
		case strings.HasPrefix(tag, "model:"):
			models = append(models, tag)
		case strings.HasPrefix(tag, "tp:"), strings.HasPrefix(tag, "ep:"):
			other.entry.Doubts = append(other.entry.Doubts, fmt.Sprintf("%s has it with %s", res.file.Source, tag))
		}
	}
	if len(models) > 0 {
		at := slices.IndexFunc(other.t.tags, func(t string) bool { return strings.HasPrefix(t, "fi_api:") })
		if at < 0 {
			at = len(other.t.tags)
		}
		other.t.tags = slices.Insert(other.t.tags, at, models...)
		other.entry.Changes = append(other.entry.Changes, Change{Field: "tags", To: strings.Join(models, ", "), Why: "added: " + res.file.Source + " is the same definition"})
	}
}

// keepOriginal stores the text of a file that was set aside and gives its path.
func (r *Report) keepOriginal(f *File) string {
	base := "aside/" + pathName(f.Source)
	path := base + ".json"
	for n := 2; r.originals[path] != nil; n++ {
		path = fmt.Sprintf("%s_%d.json", base, n)
	}
	r.originals[path] = f.Data
	return path
}

// pathName makes a file name of a source.
func pathName(source string) string {
	source = strings.TrimSuffix(source, ".json")
	name := strings.Map(func(c rune) rune {
		if c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '_'
	}, source)
	if len(name) > 200 {
		name = name[len(name)-200:]
	}
	if name == "" {
		name = "file"
	}
	return name
}
