package dataset

import (
	"bytes"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// Progress is how much of a change the dataset shows.
type Progress struct {
	Definition bool // the definition's file is there
	Blobs      int  // blobs that read back as they should
	WantBlobs  int
	Provenance bool // every entry has its provenance line
	Lines      bool // the workloads file is the change's result
	Settled    bool // no change is under way
}

// Progress looks how far a change is done, reading only.
func (r *Reader) Progress(c *Change) Progress {
	var p Progress
	if c.check() != nil {
		return p
	}
	p.Definition, _ = r.HasDefinition(c.OpType, c.Definition, c.File)
	provenance, _ := r.readIfThere(fitrace.ProvenancePath(c.OpType, c.Definition)) // unreadable is as good as absent: the step reports why
	p.Provenance = true
	for _, e := range c.Entries {
		if len(e.Tensors) > 0 {
			p.WantBlobs++
			if r.checkBlob(c, e) == nil {
				p.Blobs++
			}
		}
		p.Provenance = p.Provenance && bytes.Contains(provenance, []byte(e.Provenance+"\n"))
	}
	if now, err := r.Workloads(c.OpType, c.Definition); err == nil {
		p.Lines = now.Digest == c.Result
	}
	j, err := r.readJournal()
	p.Settled = err == nil && j == nil
	return p
}
