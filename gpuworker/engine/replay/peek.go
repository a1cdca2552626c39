package replay

import (
	"archive/tar"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/tracefleet/tracefleet/internal/compressed"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// peekBytes is how much of an archive, unpacked, Peek reads at most.
const peekBytes = 64 << 20

// Marks states which dumps of a recording were seen. Both are false if none could be read cheaply.
type Marks struct {
	Marked   bool // a dump that is marked as simulated
	Unmarked bool // a dump that is not
}

func (m *Marks) see(rec *fidump.Record) bool {
	if rec == nil || len(rec.Versions) == 0 {
		return false
	}
	_, marked := rec.Versions[proto.VersionSimulate]
	m.Marked, m.Unmarked = m.Marked || marked, m.Unmarked || !marked
	return true
}

// Peek reads the first readable dump of each recording below name, a directory or an archive; of an archive only within its first
// 64 MB. Errors are left to the engine, which reads all of it.
func Peek(name string) Marks {
	var m Marks
	info, err := os.Stat(name)
	switch {
	case err != nil:
	case info.IsDir():
		dirs, _ := Roots(name)
		for _, dir := range dirs {
			names, _ := fidump.List(dir)
			m.see(firstRecord(dir, names))
		}
	default:
		m.seeArchive(name)
	}
	return m
}

func (m *Marks) seeArchive(name string) {
	stream, err := compressed.Open(name)
	if err != nil {
		return
	}
	defer stream.Close()
	for r := tar.NewReader(io.LimitReader(stream, peekBytes)); ; {
		h, err := r.Next()
		if err != nil {
			return
		}
		if path.Base(h.Name) != fidump.MetadataFile || h.Size > fidump.MaxRecordBytes {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return
		}
		if rec, _, _ := fidump.ReadRecordOf(data, h.Name); m.see(rec) {
			return
		}
	}
}

// firstRecord returns the first readable record that has versions, or nil.
func firstRecord(root string, dumps []fidump.Name) *fidump.Record {
	for _, d := range dumps {
		rec, _, err := fidump.ReadRecord(filepath.Join(root, d.Dir, fidump.MetadataFile))
		if err == nil && rec != nil && len(rec.Versions) > 0 {
			return rec
		}
	}
	return nil
}
