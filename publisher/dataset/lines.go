package dataset

import (
	"bytes"
	"path"
	"slices"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// Replaceable reports whether --replace-first may drop a line: one that parses and is of the definition. What does not
// parse may be anything, so it stays.
func Replaceable(l fitrace.Line, definition string) bool {
	return l.Err == nil && l.Definition == definition
}

// compose gives the new content of the workloads file. Appending leaves every byte that is there, and ends an unfinished
// last line first; replacing keeps the lines that are not Replaceable, in front.
func (c *Change) compose(old *Workloads) []byte {
	var b bytes.Buffer
	if c.Replace {
		for _, l := range old.Lines {
			if !Replaceable(l, c.Definition) {
				b.Write(l.Raw)
				b.WriteByte('\n')
			}
		}
	} else {
		b.Write(old.Raw)
		if n := len(old.Raw); n > 0 && old.Raw[n-1] != '\n' && len(c.Entries) > 0 {
			b.WriteByte('\n')
		}
	}
	for _, e := range c.Entries {
		b.WriteString(e.Line)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// Seal sets what the change starts from and leads to. old must be the definition's workloads as they are.
func (c *Change) Seal(old *Workloads) error {
	c.Base = old.Digest
	c.Result = digestOf(c.compose(old))
	return c.check()
}

// dropped lists the blobs of the lines that the change replaces, as far as they are the definition's own: what a line
// refers to elsewhere belongs to someone else.
func (c *Change) dropped(old *Workloads) []string {
	if !c.Replace {
		return nil
	}
	var blobs []string
	for _, l := range old.Lines {
		if !Replaceable(l, c.Definition) {
			continue
		}
		for _, in := range l.Workload.Inputs {
			if in.Type != fitrace.Safetensors {
				continue
			}
			if name, err := BlobFile(in.Path); err == nil && path.Dir(name) == fitrace.BlobDir(c.OpType, c.Definition) {
				blobs = append(blobs, name)
			}
		}
	}
	slices.Sort(blobs)
	return slices.Compact(blobs)
}

// blobOf is where an entry's blob lies.
func (c *Change) blobOf(e Entry) string {
	name, _ := BlobFile(fitrace.BlobPath(c.OpType, c.Definition, e.UUID)) // checked names cannot lead out
	return name
}
