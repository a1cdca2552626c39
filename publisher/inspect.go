package publisher

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/publisher/dataset"
	"github.com/tracefleet/tracefleet/publisher/judge"
)

// Report is what a dataset holds.
type Report struct {
	Dir         string             `json:"dir"`
	Definitions []DefinitionReport `json:"definitions"` // sorted by op type and name
	Orphans     []string           `json:"orphans,omitempty"`
	Problems    []string           `json:"problems,omitempty"` // of the directory itself, and of definitions that do not parse
	Workloads   int                `json:"workloads"`
	BlobBytes   int64              `json:"blob_bytes"`
}

// DefinitionReport is what it holds of one definition.
type DefinitionReport struct {
	OpType     string               `json:"op_type"`
	Name       string               `json:"name"`
	Defined    bool                 `json:"defined"` // the definition's own file is there and parses
	Lines      int                  `json:"lines"`   // that parse and are of the definition
	Axes       map[string]AxisRange `json:"axes,omitempty"`
	BatchSizes map[int64]int        `json:"batch_sizes,omitempty"` // batch size → lines
	KVLen      map[int64]int        `json:"kv_len,omitempty"`      // KV length of a request, in powers of two (the upper bound) → requests
	Blobs      int                  `json:"blobs"`                 // distinct files that the lines refer to
	BlobBytes  int64                `json:"blob_bytes"`
	Duplicates int                  `json:"duplicates,omitempty"` // lines whose content another line has
	Dangling   []string             `json:"dangling,omitempty"`   // references to a blob or tensor that is not there, by line
	BadLines   []string             `json:"bad_lines,omitempty"`  // lines that do not parse or are of another definition
	Known      int                  `json:"known"`                // lines whose provenance is in the dataset or in the private records
	Travels    int                  `json:"travels"`              // of those, lines whose provenance is in the dataset
	Simulated  int                  `json:"simulated"`            // of those that are known, from a simulation
	Sources    map[string]int       `json:"sources,omitempty"`    // of those that are known: "engine release, model" → lines
	Provenance []string             `json:"provenance,omitempty"` // what is wrong with lines of the provenance file
}

// AxisRange sums up the values of an axis.
type AxisRange struct {
	Min      int64 `json:"min"`
	Max      int64 `json:"max"`
	Distinct int   `json:"distinct"`
}

// Inspect reads a dataset directory. What is wrong in it is part of the report. It writes nothing, with one exception: a
// publication that was interrupted is settled first, if nobody holds the directory's lock and it can be written.
func Inspect(dir string, log zerolog.Logger) (*Report, error) {
	r, err := dataset.OpenReader(dir)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	rep := &Report{Dir: dir}
	if r.Interrupted() {
		if w, err := dataset.Open(dir, dataset.Options{Log: log}); err != nil {
			rep.Problems = append(rep.Problems, fmt.Sprintf("a publication is under way or was interrupted: %v", err))
		} else if err := w.Close(); err != nil {
			return nil, err
		}
	}
	defs, errs := fitrace.LoadDefinitions(dir)
	for _, err := range errs {
		if !errors.Is(err, os.ErrNotExist) {
			rep.Problems = append(rep.Problems, err.Error())
		}
	}
	byName := map[string]*fitrace.Definition{}
	for _, d := range defs {
		byName[d.Name] = d
	}
	in := &inspection{r: r, used: map[string]bool{}}
	files, err := r.Glob("workloads/*/*.jsonl")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, file := range files {
		opType, name := path.Base(path.Dir(file)), strings.TrimSuffix(path.Base(file), ".jsonl")
		d, err := in.definition(opType, name, byName[name])
		if err != nil {
			rep.Problems = append(rep.Problems, err.Error())
			continue
		}
		seen[opType+"/"+name] = true
		rep.Workloads += d.Lines
		rep.BlobBytes += d.BlobBytes
		rep.Definitions = append(rep.Definitions, *d)
	}
	for _, d := range defs {
		if !seen[d.OpType+"/"+d.Name] {
			rep.Definitions = append(rep.Definitions, DefinitionReport{OpType: d.OpType, Name: d.Name, Defined: true})
		}
	}
	slices.SortFunc(rep.Definitions, func(a, b DefinitionReport) int {
		return cmp.Or(strings.Compare(a.OpType, b.OpType), strings.Compare(a.Name, b.Name))
	})
	rep.Orphans, err = in.orphans()
	return rep, err
}

// inspection is one walk through a dataset.
type inspection struct {
	r    *dataset.Reader
	used map[string]bool // blobs that a line refers to
	bad  []string        // raw lines that do not parse: what they mention is not an orphan
}

func (in *inspection) definition(opType, name string, def *fitrace.Definition) (*DefinitionReport, error) {
	w, err := in.r.Workloads(opType, name)
	if err != nil {
		return nil, err
	}
	origins, err := in.r.Origins(opType, name)
	if err != nil {
		return nil, err
	}
	provenance, err := in.r.Provenance(opType, name)
	if err != nil {
		return nil, err
	}
	simulated, err := in.r.Simulated(opType, name)
	if err != nil {
		return nil, err
	}
	sources := map[string]dataset.Provenance{}
	d := &DefinitionReport{
		OpType: opType, Name: name, Defined: def != nil && def.OpType == opType,
		Axes: map[string]AxisRange{}, BatchSizes: map[int64]int{}, KVLen: map[int64]int{}, Sources: map[string]int{},
	}
	var pageSize int64
	if def != nil {
		pageSize = def.PageSize()
	}
	uuids := map[string]bool{}
	for _, l := range w.Lines {
		uuids[l.Workload.UUID] = l.Err == nil
	}
	for _, f := range judge.Provenance(fitrace.ProvenancePath(opType, name), provenance, uuids) {
		d.Provenance = append(d.Provenance, f.File+": "+f.Message)
	}
	for _, l := range provenance {
		if l.Err == nil {
			sources[l.UUID] = l.Provenance
		}
	}
	values, blobs, contents := map[string]map[int64]bool{}, map[string]bool{}, map[string]int{}
	for _, l := range w.Lines {
		if l.Err != nil {
			d.BadLines = append(d.BadLines, l.Err.Error())
			in.bad = append(in.bad, string(l.Raw))
			continue
		}
		in.references(l, w.File, d, blobs)
		if l.Definition != name {
			d.BadLines = append(d.BadLines, fmt.Sprintf("%s:%d: is of definition %s", w.File, l.Number, l.Definition))
			continue
		}
		d.Lines++
		for _, a := range l.Workload.Axes {
			if values[a.Name] == nil {
				values[a.Name] = map[int64]bool{}
			}
			values[a.Name][a.Value] = true
		}
		if n := batchOf(axesOf(l)); n >= 0 {
			d.BatchSizes[n]++
		}
		for _, n := range kvLengths(in.integers(l, inputKVIndptr), in.integers(l, inputLastPageLen), pageSize) {
			d.KVLen[bucket(n)]++
		}
		if fp, err := fingerprintLine(in.r, l); err == nil {
			if contents[fp]++; contents[fp] > 1 {
				d.Duplicates++
			}
		}
		source, travels := sources[l.Workload.UUID]
		if o, ok := origins[l.Workload.UUID]; ok && !travels {
			source = sourceOf(&o.From)
		} else if !travels {
			continue
		}
		d.Known++
		if travels {
			d.Travels++
		}
		if simulated[l.Workload.UUID] {
			d.Simulated++
		}
		d.Sources[sourceText(source)]++
	}
	for name, set := range values {
		r := AxisRange{Min: 1<<63 - 1, Distinct: len(set)}
		for v := range set {
			r.Min, r.Max = min(r.Min, v), max(r.Max, v)
		}
		d.Axes[name] = r
	}
	for blob := range blobs {
		if n, err := in.r.Size(blob); err == nil {
			d.Blobs++
			d.BlobBytes += n
		}
	}
	return d, nil
}

// sourceText returns "engine release, model".
func sourceText(p dataset.Provenance) string {
	engine := strings.TrimSpace(cmp.Or(string(p.Engine), "unknown engine") + " " + string(p.EngineRelease))
	return engine + ", " + cmp.Or(string(p.Model), "unknown model")
}

// references notes the blobs of a line, and those of them that are not there.
func (in *inspection) references(l fitrace.Line, file string, d *DefinitionReport, blobs map[string]bool) {
	for _, input := range l.Workload.Inputs {
		if input.Type != fitrace.Safetensors {
			continue
		}
		name, err := dataset.BlobFile(input.Path)
		if err == nil {
			in.used[name], blobs[name] = true, true
			var b *dataset.Blob
			if b, err = in.r.OpenBlob(name); err == nil {
				if !slices.Contains(b.Names(), input.TensorKey) {
					err = fmt.Errorf("blob %s has no tensor %s", name, input.TensorKey)
				}
				b.Close()
			}
		}
		if err != nil {
			d.Dangling = append(d.Dangling, fmt.Sprintf("%s:%d: input %s: %v", file, l.Number, input.Name, err))
		}
	}
}

// integers reads an integer tensor of a line; none if there is none that can be read, which references tells.
func (in *inspection) integers(l fitrace.Line, name string) []int64 {
	for _, input := range l.Workload.Inputs {
		if input.Name != name || input.Type != fitrace.Safetensors {
			continue
		}
		file, err := dataset.BlobFile(input.Path)
		if err != nil {
			return nil
		}
		b, err := in.r.OpenBlob(file)
		if err != nil {
			return nil
		}
		defer b.Close()
		dtype, data, err := b.Data(input.TensorKey)
		if err != nil {
			return nil
		}
		return decodeIntegers(dtype, data)
	}
	return nil
}

// orphans lists blobs to which no line refers.
func (in *inspection) orphans() ([]string, error) {
	files, err := in.r.Glob("blob/workloads/*/*/*.safetensors")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(files, func(file string) bool {
		return in.used[file] || slices.ContainsFunc(in.bad, func(raw string) bool { return strings.Contains(raw, filepath.Base(file)) })
	}), nil
}
