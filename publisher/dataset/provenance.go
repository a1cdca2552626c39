package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Origin is where a workload came from: a line of .tracefleet/provenance/<op_type>/<definition>.jsonl. The dataset's own
// lines have no room for it.
type Origin struct {
	UUID        string           `json:"uuid"`
	Collection  string           `json:"collection,omitempty"`
	Task        string           `json:"task,omitempty"`
	Manifest    string           `json:"manifest"`     // the smallest id of those with this content
	SeenContent int              `json:"seen_content"` // manifests of the task with this content: layers, ranks, steps
	SeenShape   int              `json:"seen_shape"`   // manifests of the task with these axes, num_pages aside
	Notes       []string         `json:"notes,omitempty"`
	From        proto.Provenance `json:"from"` // of Manifest
}

func provenanceFile(opType, definition string) string {
	return Private + "/provenance/" + opType + "/" + definition + ".jsonl"
}

// PutProvenance adds the entries' origins. It comes before the lines, and holds more than those until Settle: a line whose
// origin is lost would be worse than an origin whose line never came.
func (w *Writer) PutProvenance(c *Change) error {
	return failure(w.Dir(), w.putProvenance(c))
}

func (w *Writer) putProvenance(c *Change) error {
	file := provenanceFile(c.OpType, c.Definition)
	old, err := w.read(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	added := map[string]bool{}
	for _, e := range c.Entries {
		added[e.UUID] = true
	}
	b := keepOrigins(old, func(uuid string) bool { return !added[uuid] })
	for _, e := range c.Entries {
		b.WriteString(e.Provenance)
		b.WriteByte('\n')
	}
	if bytes.Equal(b.Bytes(), old) {
		return nil
	}
	return w.tree.Write(file, atomicfile.Bytes(b.Bytes()))
}

// trimProvenance drops the origins of workloads that have no line.
func (w *Writer) trimProvenance(opType, definition string, now *Workloads) error {
	file := provenanceFile(opType, definition)
	old, err := w.read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b := keepOrigins(old, func(uuid string) bool { return bytes.Contains(now.Raw, []byte(uuid)) })
	switch {
	case b.Len() == 0:
		return w.tree.Remove(file)
	case bytes.Equal(b.Bytes(), old):
		return nil
	}
	return w.tree.Write(file, atomicfile.Bytes(b.Bytes()))
}

// keepOrigins copies the lines whose uuid passes. A line that does not parse is dropped: the file is ours alone.
func keepOrigins(old []byte, keep func(uuid string) bool) *bytes.Buffer {
	b := &bytes.Buffer{}
	for line := range bytes.Lines(old) {
		var o struct {
			UUID string `json:"uuid"`
		}
		if json.Unmarshal(line, &o) == nil && o.UUID != "" && keep(o.UUID) {
			b.Write(bytes.TrimRight(line, "\n"))
			b.WriteByte('\n')
		}
	}
	return b
}

// Origins reads the provenance of a definition's workloads, by uuid. Lines that do not parse are left out.
func (r *Reader) Origins(opType, definition string) (map[string]Origin, error) {
	if err := errors.Join(fitrace.CheckName("op_type", opType), fitrace.CheckName("definition", definition)); err != nil {
		return nil, err
	}
	data, err := r.read(provenanceFile(opType, definition))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	origins := map[string]Origin{}
	for line := range bytes.Lines(data) {
		var o Origin
		if json.Unmarshal(line, &o) == nil && o.UUID != "" {
			origins[o.UUID] = o
		}
	}
	return origins, nil
}
