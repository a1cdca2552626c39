package harvest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// EvidenceFile is the name of the summary of a run's dumps, beside its trace files.
const EvidenceFile = "evidence.json"

// maxFileBytes bounds a trace file; the largest have some 60 kB.
const maxFileBytes = 4 << 20

// ReadDir gives the trace files below dir, by their paths there. An evidence.json counts for the files of its directory.
func ReadDir(dir string) ([]File, error) {
	var files []File
	evidence := map[string]*Evidence{} // by directory
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || filepath.Ext(path) != ".json" {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := readFile(path)
		if entry.Name() == EvidenceFile {
			if err != nil {
				return err
			}
			evidence[filepath.Dir(path)], err = ParseEvidence(data, path)
			return err
		}
		files = append(files, File{Source: filepath.ToSlash(rel), Data: data, Err: err})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read trace files: %w", err)
	}
	for i := range files {
		files[i].Evidence = evidence[filepath.Dir(filepath.Join(dir, filepath.FromSlash(files[i].Source)))]
	}
	return files, nil
}

func readFile(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxFileBytes {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", path, maxFileBytes)
	}
	return os.ReadFile(path)
}

// FromJob gives the trace files that a job's tasks brought back (collect --trace-dump), with their evidence, ranks, page size and
// model. models names the model where the job does not.
func FromJob(ctx context.Context, b *bus.Bus, tasks []*proto.TaskState) ([]File, error) {
	var files []File
	for _, t := range tasks {
		evidence := &Evidence{}
		begin := len(files)
		if t.Task.Evaluate != nil {
			continue // its files are the baseline's traces
		}
		for _, h := range t.Harvest {
			source := t.Task.ID + "/" + h.File
			data, err := b.Definition(ctx, h.Digest)
			if err != nil {
				return nil, fmt.Errorf("trace file %s: %w", source, err)
			}
			if filepath.Base(h.File) == EvidenceFile {
				e, err := ParseEvidence(data, source)
				if err != nil {
					return nil, err
				}
				evidence.Merge(e)
				continue
			}
			files = append(files, File{Source: source, Data: data})
		}
		engine := t.Task.Engine
		for i := begin; i < len(files); i++ {
			f := &files[i]
			f.Evidence, f.TP, f.EP, f.PageSize = evidence, engine.TP, engine.EP, engine.PageSize
			if model := modelOf(engine); model != "" {
				f.Models = []string{model}
			}
		}
	}
	return files, nil
}

// modelOf names a task's model: its key in the catalogue, or the last part of its path.
func modelOf(engine proto.EngineSpec) string {
	if engine.ModelKey != "" {
		return engine.ModelKey
	}
	return modelTag(strings.TrimRight(engine.ModelPath, "/"))
}
