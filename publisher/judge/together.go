package judge

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// together judges the workloads of the definition beside each other and beside what is published of it. Of two that are too much alike
// the later one is told: lines are only ever added at the end.
func (s *subject) together() {
	published := s.opt.Published[s.name]
	mine := map[string]bool{}
	for _, l := range s.lines {
		mine[l.Workload.UUID] = true
	}
	shapes, there := map[string]int{}, map[string]int{} // here, and in the repository
	sizes, contents, twins := map[int64]bool{}, map[string]string{}, map[string]string{}
	count := 0
	for _, l := range published.Lines {
		if l.Err != nil || l.Definition != s.name || mine[l.Workload.UUID] {
			continue
		}
		count++
		there[shape(l)]++
		sizes[batch(l)] = true
		if key, ok := byFile(l, published.digest); ok {
			twins[key] = l.Workload.UUID
		}
	}
	for _, l := range s.lines {
		if len(twins) > 0 && l.content != "" { // else no blob need be hashed
			if key, ok := byFile(l.Line, s.fileDigest); ok && twins[key] != "" {
				s.add(PublishedTwin, l, l.at, "has the content of the published %s", twins[key])
				continue
			}
		}
		count++
		sizes[batch(l.Line)] = true
		key := shape(l.Line)
		switch shapes[key]++; {
		case shapes[key] > perShape:
			s.add(RepeatedShape, l, l.at, "%d workloads have the axes %s, num_pages aside: %d are enough", shapes[key], key, perShape)
		case there[key]+shapes[key] > perShape:
			s.add(PublishedShape, l, l.at, "with %d published ones, %d workloads have the axes %s, num_pages aside: %d are enough", there[key], there[key]+shapes[key], key, perShape)
		}
		if l.content == "" {
			continue
		}
		if twin := contents[l.content]; twin != "" {
			s.add(Duplicate, l, l.at, "has the content of %s", twin)
		} else {
			contents[l.content] = l.at
		}
	}
	if n := slices.Collect(maps.Keys(sizes)); count >= sameBatch && len(n) == 1 && n[0] >= 0 {
		s.add(OneBatchSize, nil, "", "all %d workloads have a batch size of %d", count, n[0])
	}
}

func (p Published) digest(file string) (string, bool) {
	sum, ok := p.Blobs[file]
	return sum, ok
}

// byFile is a line's content with the digest of a blob's file in place of each tensor's, which is all that a repository tells without
// sending it. Equal tensors written by the same program are equal files.
func byFile(l fitrace.Line, digest func(file string) (string, bool)) (key string, ok bool) {
	var parts []string
	for _, in := range l.Workload.Inputs {
		switch in.Type {
		case fitrace.Random:
			parts = append(parts, strconv.Quote(in.Name)+" random")
		case fitrace.ScalarInput:
			parts = append(parts, scalarPart(in))
		case fitrace.Safetensors:
			file, err := dataset.BlobFile(in.Path)
			if err != nil {
				return "", false
			}
			sum, ok := digest(file)
			if !ok {
				return "", false
			}
			parts = append(parts, fmt.Sprintf("%q %q %s", in.Name, in.TensorKey, sum))
		}
	}
	return content(l, parts), true
}

// fileDigest hashes a blob of the dataset. One that cannot be read is told elsewhere.
func (s *subject) fileDigest(file string) (string, bool) {
	b := s.blobs[file]
	if b == nil || b.names == nil {
		return "", false
	}
	if b.sum != "" {
		return b.sum, true
	}
	f, err := s.root.Open(file)
	if err != nil {
		return "", false
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", false
	}
	b.sum = hex.EncodeToString(sum.Sum(nil))
	return b.sum, true
}

// CheckOutputs judges what the baseline computed. The findings are of those outputs alone.
func CheckOutputs(outputs []Output) []Finding {
	var found []Finding
	for _, o := range outputs {
		add := func(c Code, format string, args ...any) {
			found = append(found, Finding{Code: c, Severity: c.severity(), Definition: o.Definition, Workload: o.Workload, Message: "output " + o.Name + fmt.Sprintf(format, args...)})
		}
		switch {
		case o.NaN > 0:
			add(OutputNaN, " has %d NaN among %d elements", o.NaN, o.Elements)
		case o.Elements >= constantElements && o.Inf == o.Elements:
			add(OutputConstant, " is infinite in all %d elements", o.Elements)
		case o.Elements-o.Inf >= constantElements && o.Min == o.Max:
			add(OutputConstant, " is %v in %d of %d elements", o.Min, o.Elements-o.Inf, o.Elements)
		}
	}
	return found
}
