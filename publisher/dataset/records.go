package dataset

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// record is a change of a file of JSON lines about the definition's workloads: the provenance or the private record. The workloads
// file decides which of the two contents is valid.
type record struct {
	File   string `json:"file"`
	Before string `json:"before"` // empty: there was no file
	After  string `json:"after"`
}

// recordFiles lists the record files of a definition, and the line that an entry has in each.
func recordFiles(opType, definition string) []struct {
	name   string
	lineOf func(Entry) string
} {
	return []struct {
		name   string
		lineOf func(Entry) string
	}{
		{fitrace.ProvenancePath(opType, definition), func(e Entry) string { return e.Provenance }},
		{originPath(opType, definition), func(e Entry) string { return e.Origin }},
	}
}

// records returns what a change does to the record files: lines of the workloads that it replaces or adds go, those of its
// entries come at the end. Other lines stay as they are, also those that do not parse.
func (r *Reader) records(c *Change, old *Workloads) ([]record, error) {
	gone := map[string]bool{}
	for _, e := range c.Entries {
		gone[e.UUID] = true
	}
	if c.Replace {
		for _, l := range old.Lines {
			if Replaceable(l, c.Definition) {
				gone[l.Workload.UUID] = true
			}
		}
	}
	var list []record
	for _, file := range recordFiles(c.OpType, c.Definition) {
		before, err := r.readIfThere(file.name)
		if err != nil {
			return nil, err
		}
		after := linesWhere(string(before), func(line string) bool { return !gone[uuidOf(line)] })
		for _, e := range c.Entries {
			after += file.lineOf(e) + "\n"
		}
		list = append(list, record{File: file.name, Before: string(before), After: after})
	}
	return list, nil
}

// both returns Before with the lines of After that it lacks: the content until the workloads file is renamed. A workload line
// without provenance would be worse than provenance without its workload line.
func (rec *record) both() string {
	have := map[string]bool{}
	for line := range strings.Lines(rec.Before) {
		have[strings.TrimSuffix(line, "\n")] = true
	}
	all := linesWhere(rec.Before, func(string) bool { return true })
	return all + linesWhere(rec.After, func(line string) bool { return !have[line] })
}

// settled returns the content that follows from the workloads file. have is the file's content: if somebody else wrote it or
// the workloads file, the lines of workloads that are gone are removed, and nothing else.
func (rec *record) settled(j *journal, have string, now *Workloads) string {
	ours := slices.Contains([]string{rec.Before, rec.After, rec.both()}, have)
	switch {
	case ours && now.Digest == j.Result:
		return rec.After
	case ours && now.Digest == j.Base:
		return rec.Before
	}
	raw := string(now.Raw)
	return linesWhere(have, func(line string) bool {
		uuid := uuidOf(line)
		return uuid == "" || strings.Contains(raw, uuid)
	})
}

// PutProvenance adds the entries' lines to the provenance and to the private records. It is called before the workload lines are written.
func (w *Writer) PutProvenance(c *Change) error {
	return failure(w.Dir(), w.putRecords())
}

func (w *Writer) putRecords() error {
	j, err := w.readJournal()
	if err != nil || j == nil {
		return err
	}
	for i := range j.Records {
		if err := w.putRecord(j.Records[i].File, j.Records[i].both()); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) settleRecords(j *journal, now *Workloads) error {
	for i := range j.Records {
		have, err := w.readIfThere(j.Records[i].File)
		if err != nil {
			return err
		}
		if err := w.putRecord(j.Records[i].File, j.Records[i].settled(j, string(have), now)); err != nil {
			return err
		}
	}
	return nil
}

// putRecord writes a file with this content; if the content is empty, it removes the file.
func (w *Writer) putRecord(name, content string) error {
	have, err := w.readIfThere(name)
	switch {
	case err != nil || string(have) == content && (content != "" || !w.exists(name)):
		return err
	case content == "":
		return w.tree.Remove(name)
	}
	return w.tree.Write(name, atomicfile.Bytes([]byte(content)))
}

// linesWhere returns the lines that pass, each with a newline at its end.
func linesWhere(data string, keep func(line string) bool) string {
	var b strings.Builder
	for line := range strings.Lines(data) {
		if line = strings.TrimSuffix(line, "\n"); keep(line) {
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// uuidOf returns the uuid that a record's line states; empty: it does not parse.
func uuidOf(line string) string {
	var o struct {
		UUID string `json:"uuid"`
	}
	if json.Unmarshal([]byte(line), &o) != nil {
		return ""
	}
	return o.UUID
}
