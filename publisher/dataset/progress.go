package dataset

// Progress is how much of a change the dataset shows.
type Progress struct {
	Definition bool // the definition's file is there
	Blobs      int  // blobs that read back as they should
	WantBlobs  int
	Provenance bool // every entry's origin is on record
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
	origins, _ := r.Origins(c.OpType, c.Definition) // unreadable is as good as absent: the step will tell why
	p.Provenance = true
	for _, e := range c.Entries {
		if len(e.Tensors) > 0 {
			p.WantBlobs++
			if r.checkBlob(c, e) == nil {
				p.Blobs++
			}
		}
		_, ok := origins[e.UUID]
		p.Provenance = p.Provenance && ok
	}
	if now, err := r.Workloads(c.OpType, c.Definition); err == nil {
		p.Lines = now.Digest == c.Result
	}
	j, err := r.readJournal()
	p.Settled = err == nil && j == nil
	return p
}
