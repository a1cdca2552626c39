package judge

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// index is where the dataset has what, by the name of the definition. Files are recognised by their paths alone.
type index struct {
	definitions map[string][]place
	workloads   map[string][]place
	solutions   map[string][]place
	traces      map[string][]place
	provenance  map[string][]place
	stray       map[string][]string // files of the definition's name at another depth
	named       map[string][]string // solutions by their own name, of all definitions
}

// place is a file and what follows from its path.
type place struct {
	path   string
	author string // of solutions and traces
	opType string
	name   string // the file's, without its ending
}

// scan walks four directories as flashinfer-bench's validator does, and provenance/ likewise: a definition, a workloads file, a solution,
// a traces file and a provenance file lie at one depth each, and files at another depth are noted as stray.
func scan(fsys fs.FS) (*index, error) {
	x := &index{
		definitions: map[string][]place{}, workloads: map[string][]place{}, solutions: map[string][]place{}, traces: map[string][]place{},
		provenance: map[string][]place{},
		stray:      map[string][]string{}, named: map[string][]string{},
	}
	for _, kind := range []struct {
		dir, ending string
		depth       int
		put         func(p place, parts []string)
	}{
		{"definitions", ".json", 2, func(p place, parts []string) {
			p.opType = parts[0]
			x.definitions[p.name] = append(x.definitions[p.name], p)
		}},
		{"workloads", ".jsonl", 2, func(p place, parts []string) {
			p.opType = parts[0]
			x.workloads[p.name] = append(x.workloads[p.name], p)
		}},
		{"solutions", ".json", 4, func(p place, parts []string) {
			p.author, p.opType = parts[0], parts[1]
			x.solutions[parts[2]] = append(x.solutions[parts[2]], p)
			x.named[p.name] = append(x.named[p.name], p.path)
		}},
		{"traces", ".jsonl", 3, func(p place, parts []string) {
			p.author, p.opType = parts[0], parts[1]
			x.traces[p.name] = append(x.traces[p.name], p)
		}},
		{"provenance", ".jsonl", 2, func(p place, parts []string) {
			p.opType = parts[0]
			x.provenance[p.name] = append(x.provenance[p.name], p)
		}},
	} {
		err := fs.WalkDir(fsys, kind.dir, func(file string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && file == kind.dir {
				return fs.SkipAll
			}
			if err != nil || entry.IsDir() || path.Ext(file) != kind.ending {
				return err
			}
			parts := strings.Split(file, "/")[1:]
			p := place{path: file, name: strings.TrimSuffix(path.Base(file), kind.ending)}
			if len(parts) == kind.depth {
				kind.put(p, parts)
			} else {
				x.strayed(p, parts)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return x, nil
}

// strayed notes a file at a wrong depth with every definition whose name its path has.
func (x *index) strayed(p place, parts []string) {
	names := append(slices.Clone(parts[:len(parts)-1]), p.name)
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		x.stray[name] = append(x.stray[name], p.path)
	}
}

// names lists the definitions.
func (x *index) names() []string { return slices.Sorted(maps.Keys(x.definitions)) }
