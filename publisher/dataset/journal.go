package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"syscall"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

const journalFile = Private + "/journal.json"

// journal names what a change may touch, before it touches it. It does not record how far the change came: the workloads file
// shows that.
type journal struct {
	OpType        string   `json:"op_type"`
	Definition    string   `json:"definition"`
	Base          string   `json:"base"`           // hex SHA-256 of the workloads file before the change
	Result        string   `json:"result"`         // and after it
	NewDefinition bool     `json:"new_definition"` // the dataset had no such definition
	NewDirs       []string `json:"new_dirs"`       // directories the dataset did not have, parents last
	Blobs         []string `json:"blobs"`          // written, or of replaced lines
	Records       []record `json:"records"`
}

// dirs lists the directories in which the change writes files.
func (j *journal) dirs() []string {
	return []string{
		path.Dir(fitrace.DefinitionPath(j.OpType, j.Definition)), path.Dir(fitrace.WorkloadsPath(j.OpType, j.Definition)),
		fitrace.BlobDir(j.OpType, j.Definition), path.Dir(fitrace.ProvenancePath(j.OpType, j.Definition)), path.Dir(originPath(j.OpType, j.Definition)),
	}
}

// missingDirs lists those which the dataset does not have yet, each before its parent. One that is no directory, or leads out of
// the dataset, is an error: nothing could be taken back from there.
func (r *Reader) missingDirs(j *journal) ([]string, error) {
	missing := map[string]bool{}
	for _, dir := range j.dirs() {
		for ; dir != "."; dir = path.Dir(dir) {
			info, err := r.root.Stat(dir)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				missing[dir] = true
			case err != nil && !errors.Is(err, syscall.ENOTDIR): // of that, the parent tells
				return nil, fmt.Errorf("%s must be a directory of the dataset: %w", dir, err)
			case err == nil && !info.IsDir():
				return nil, fmt.Errorf("%s is a file, not a directory", dir)
			}
		}
	}
	list := slices.Sorted(maps.Keys(missing))
	slices.Reverse(list)
	return list, nil
}

// readJournal returns nil where no change is under way.
func (r *Reader) readJournal() (*journal, error) {
	data, err := r.read(journalFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	j := &journal{}
	if err := json.Unmarshal(data, j); err != nil {
		return nil, badJournal(r.Dir(), err)
	}
	// What the journal names may be removed: it must not lead anywhere else.
	if err := errors.Join(fitrace.CheckName("op_type", j.OpType), fitrace.CheckName("definition", j.Definition)); err != nil {
		return nil, badJournal(r.Dir(), err)
	}
	for _, blob := range j.Blobs {
		if !fs.ValidPath(blob) || path.Dir(blob) != fitrace.BlobDir(j.OpType, j.Definition) {
			return nil, badJournal(r.Dir(), fmt.Errorf("blob %q is not one of %s", blob, j.Definition))
		}
	}
	for _, dir := range j.NewDirs {
		if !fs.ValidPath(dir) {
			return nil, badJournal(r.Dir(), fmt.Errorf("directory %q leads out of the dataset", dir))
		}
	}
	for _, rec := range j.Records {
		if rec.File != fitrace.ProvenancePath(j.OpType, j.Definition) && rec.File != originPath(j.OpType, j.Definition) {
			return nil, badJournal(r.Dir(), fmt.Errorf("%q is no record file of %s", rec.File, j.Definition))
		}
	}
	return j, nil
}

func badJournal(dir string, err error) error {
	return proto.Failf(proto.CodeDatasetWrite, "dataset %s: journal %s: %v", dir, journalFile, err).
		WithHint("nobody but tracefleet should write there; look at the definition's blobs with inspect, then remove the journal")
}

func (w *Writer) writeJournal(j *journal) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := w.tree.Write(journalFile, atomicfile.Bytes(append(data, '\n'))); err != nil {
		return err
	}
	return w.tree.Sync()
}

// settle makes everything the journal names follow from the workloads file as it is: before the commit that takes the
// change back, after it that finishes it, and if someone else wrote in between it is right as well. Idempotent; the
// journal goes last.
func (w *Writer) settle(j *journal) error {
	for _, dir := range j.dirs() {
		if err := w.tree.Remove(dir + "/" + atomicfile.TempName); err != nil {
			return err
		}
	}
	now, err := w.Workloads(j.OpType, j.Definition)
	if err != nil {
		return err
	}
	if err := w.sweep(j.Blobs, now); err != nil {
		return err
	}
	if err := w.settleRecords(j, now); err != nil {
		return err
	}
	if j.NewDefinition && len(now.Raw) == 0 {
		if err := w.tree.Remove(fitrace.DefinitionPath(j.OpType, j.Definition)); err != nil {
			return err
		}
	}
	for _, dir := range j.NewDirs {
		if err := w.tree.RemoveEmptyDir(dir); err != nil {
			return err
		}
	}
	// The journal goes when all else is sure. If a power cut brings it back, it is settled once more.
	if err := w.tree.Sync(); err != nil {
		return err
	}
	return w.tree.Remove(journalFile)
}

// sweep removes those of the blobs to which no line refers, in this file or any other. A line that does not parse may mean
// anything: a blob whose name it holds stays.
func (w *Writer) sweep(blobs []string, now *Workloads) error {
	gone := slices.DeleteFunc(slices.Clone(blobs), func(blob string) bool { return now.mentions(blob) || !w.exists(blob) })
	if len(gone) == 0 {
		return nil
	}
	files, err := w.Glob("workloads/*/*.jsonl")
	if err != nil {
		return err
	}
	for _, file := range files {
		if file == now.File {
			continue
		}
		other, err := w.readWorkloads(file)
		if err != nil {
			return err
		}
		gone = slices.DeleteFunc(gone, other.mentions)
	}
	for _, blob := range gone {
		if err := w.tree.Remove(blob); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) exists(name string) bool {
	_, err := r.root.Lstat(name)
	return err == nil
}

// mentions reports whether a line refers to the blob, or holds its file name in any other way.
func (w *Workloads) mentions(blob string) bool {
	if bytes.Contains(w.Raw, []byte(path.Base(blob))) {
		return true
	}
	for _, l := range w.Lines { // the name may be escaped
		for _, in := range l.Workload.Inputs {
			if name, err := BlobFile(in.Path); err == nil && name == blob {
				return true
			}
		}
	}
	return false
}

// Interrupted reports whether a change is under way, or was and is not settled.
func (r *Reader) Interrupted() bool { return r.exists(journalFile) }
