package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Provenance states where a workload came from: a line of provenance/<op_type>/<definition>.jsonl, which travels with the
// dataset. JSON null means unknown. The key of a line is (uuid, collection, task). No field names a host, path, process, attempt,
// node, dump or manifest, so that equal sets of manifests produce equal bytes. docs/publishing.md has the same table for readers.
type Provenance struct {
	UUID             string   `json:"uuid"`               // of the workload's line
	Collection       Text     `json:"collection"`         // id of the collection that added the workload; null: `tracefleet sanitize` did
	Task             Text     `json:"task"`               // id of its task, such as t000; null: `tracefleet sanitize` did
	Engine           Text     `json:"engine"`             // inference engine that made the calls: sglang, simulate, or what the user stated
	EngineRelease    Text     `json:"engine_release"`     // release of Engine, such as 0.5.16
	FlashInfer       Text     `json:"flashinfer"`         // release of FlashInfer that logged the calls, as the dumps record it
	Model            Text     `json:"model"`              // repository (owner/name); of a local directory its last path element
	GPU              Text     `json:"gpu"`                // model of the GPUs, as the driver names it
	TensorParallel   Number   `json:"tensor_parallel"`    // ranks
	ExpertParallel   Number   `json:"expert_parallel"`    // ranks
	BatchSize        Number   `json:"batch_size"`         // requests in flight that were asked for
	Traffic          *Traffic `json:"traffic"`            // requests that tracefleet sent; null: it sent none, or they are unknown
	CallsWithContent int      `json:"calls_with_content"` // calls of the task with this content: layers, ranks, steps
	CallsWithShape   int      `json:"calls_with_shape"`   // calls of the task with these axes, num_pages aside
	Simulated        bool     `json:"simulated"`          // no GPU ran
	Stated           []string `json:"stated"`             // sorted names of the fields above that only the user stated
	Mode             Text     `json:"mode"`               // how the engine was driven: offline, http-paged or http-ragged
}

// Traffic states which requests tracefleet sent.
type Traffic struct {
	Dataset     string   `json:"dataset"`      // where prompts come from: random, sharegpt or trace
	Requests    int      `json:"requests"`     // requests that were asked for
	ISL         Number   `json:"isl"`          // maximum of input tokens per request; null with trace, which has its own lengths
	OSL         Number   `json:"osl"`          // maximum of output tokens per request; null with trace in mode offline
	RangeRatio  *float64 `json:"range_ratio"`  // random: lengths are uniform from this share of the most; null otherwise
	Seed        int64    `json:"seed"`         // of lengths and token ids
	Chat        bool     `json:"chat"`         // chat completions, through the model's template
	IgnoreEOS   bool     `json:"ignore_eos"`   // requests do not end at an end-of-sequence token
	PrefixCache bool     `json:"prefix_cache"` // the engine's prefix cache is on
	TraceSpeed  float64  `json:"trace_speed"`  // trace: times the recorded speed; 0: as fast as the batch size allows
}

// Text is a string whose empty value is unknown, and null in JSON.
type Text string

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

// Number is a count whose zero is unknown, and null in JSON.
type Number int

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if n == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(int(n))
}

// MarshalLine returns the line without a newline. Equal values have equal bytes.
func (p Provenance) MarshalLine() ([]byte, error) {
	if p.Stated == nil {
		p.Stated = []string{}
	}
	return json.Marshal(p)
}

// ParseProvenance parses a line. A field that is absent is unknown, except for uuid, simulated and the counts, which must be there.
// Fields of later releases are ignored.
func ParseProvenance(line []byte) (Provenance, error) {
	var p struct {
		Provenance
		Simulated *bool `json:"simulated"`
	}
	err := json.Unmarshal(line, &p)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return Provenance{}, fmt.Errorf("%s is a JSON %s", wrong.Field, wrong.Value)
	case err != nil:
		return Provenance{}, err
	case p.UUID == "":
		return Provenance{}, errors.New("uuid is missing")
	case p.Simulated == nil:
		return Provenance{}, errors.New("simulated is missing, must be true or false")
	case p.CallsWithContent < 1 || p.CallsWithShape < p.CallsWithContent:
		return Provenance{}, fmt.Errorf("calls_with_content is %d and calls_with_shape %d, must be at least 1 and at least as many", p.CallsWithContent, p.CallsWithShape)
	}
	p.Provenance.Simulated = *p.Simulated
	return p.Provenance, nil
}

// Key returns what no two lines of a file may share.
func (p Provenance) Key() string { return fmt.Sprintf("%s\n%s\n%s", p.UUID, p.Collection, p.Task) }

// ProvenanceKey returns the key of a line.
func ProvenanceKey(line []byte) (string, error) {
	p, err := ParseProvenance(line)
	return p.Key(), err
}

// ProvenanceUUID returns the uuid of the workload that a line is about.
func ProvenanceUUID(line []byte) (string, error) {
	p, err := ParseProvenance(line)
	return p.UUID, err
}

// ProvenanceLine is a line of a provenance file.
type ProvenanceLine struct {
	Provenance
	Raw    []byte // without its newline
	Number int    // from 1
	Err    error  // why the line does not parse; then only Raw and Number are set
}

// ParseProvenanceLines parses a provenance file. Blank lines are left out.
func ParseProvenanceLines(data []byte) []ProvenanceLine {
	var list []ProvenanceLine
	number := 0
	for raw := range bytes.Lines(data) {
		number++
		if len(bytes.TrimSpace(raw)) == 0 {
			continue
		}
		l := ProvenanceLine{Raw: bytes.TrimSuffix(raw, []byte("\n")), Number: number}
		l.Provenance, l.Err = ParseProvenance(l.Raw)
		list = append(list, l)
	}
	return list
}

// Provenance reads the provenance of a definition's workloads; a file that does not exist has no lines.
func (r *Reader) Provenance(opType, definition string) ([]ProvenanceLine, error) {
	data, err := r.readNamed(fitrace.ProvenancePath, opType, definition)
	return ParseProvenanceLines(data), err
}

// readNamed reads a file of a definition; one that does not exist is empty.
func (r *Reader) readNamed(path func(opType, definition string) string, opType, definition string) ([]byte, error) {
	if err := errors.Join(fitrace.CheckName("op_type", opType), fitrace.CheckName("definition", definition)); err != nil {
		return nil, err
	}
	return r.readIfThere(path(opType, definition))
}

// Simulated reports of each workload of a definition whose provenance is known whether it is simulated, by uuid. It asks the
// dataset's provenance and the private records.
func (r *Reader) Simulated(opType, definition string) (map[string]bool, error) {
	lines, err := r.Provenance(opType, definition)
	if err != nil {
		return nil, err
	}
	origins, err := r.Origins(opType, definition)
	if err != nil {
		return nil, err
	}
	known := SimulatedOf(lines)
	for uuid, o := range origins {
		known[uuid] = known[uuid] || o.From.Simulated
	}
	return known, nil
}

// SimulatedOf reports of each workload in lines whether it is simulated, by uuid. Lines that do not parse are left out.
func SimulatedOf(lines []ProvenanceLine) map[string]bool {
	known := map[string]bool{}
	for _, l := range lines {
		if l.Err == nil {
			known[l.UUID] = known[l.UUID] || l.Simulated
		}
	}
	return known
}

// Origin is the private record of a workload, for debugging: a line of .tracefleet/provenance/<op_type>/<definition>.jsonl. It
// names hosts, processes and dumps, and is never pushed. What it shares with Provenance is read there.
type Origin struct {
	UUID     string           `json:"uuid"`
	Manifest string           `json:"manifest"` // the smallest id of those with this content
	Notes    []string         `json:"notes,omitempty"`
	From     proto.Provenance `json:"from"` // of Manifest
}

func originPath(opType, definition string) string {
	return Private + "/provenance/" + opType + "/" + definition + ".jsonl"
}

// Origins reads the private records of a definition's workloads, by uuid. Lines that do not parse are left out.
func (r *Reader) Origins(opType, definition string) (map[string]Origin, error) {
	data, err := r.readNamed(originPath, opType, definition)
	if err != nil {
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
