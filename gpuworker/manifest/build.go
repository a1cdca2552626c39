package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strconv"

	"github.com/tracefleet/tracefleet/proto"
)

// ID is a manifest's id: the same dump on the same node has the same id, in every attempt and every reading.
func ID(node, dump string, flush int) string {
	sum := sha256.Sum256([]byte(node + "/" + dump + "/" + strconv.Itoa(flush)))
	return hex.EncodeToString(sum[:16])
}

// Origin is what pairing does not know: which attempt the dumps are of. Build copies it into every manifest.
type Origin struct {
	Collection  string
	Task        string
	Attempt     uint32
	Node        string
	Definitions []proto.DefinitionRef
	SkipConst   bool
	PlanOnly    []string // wrapper classes of which only plans are dumped: each stands for the runs after it
	// Borrows: a definition takes the softmax scale of ragged runs from other calls of their process, see fitrace.BorrowsScale.
	Borrows bool
	// Scale is what the model's configuration states of it; Planned is set for each manifest.
	Scale proto.Scale
	// Provenance is what the attempt knows of itself. Versions logged in a dump win over those here; Rank, Attempt and Dump
	// are set for each manifest.
	Provenance proto.Provenance
	// Ranks gives a process's place among those of the attempt, by pid; nil where not all of them are known yet, and every
	// rank is -1.
	Ranks map[int64]int
}

// Build makes the manifest of r, and gives the content of its larger tensors by digest: its own and its plan's.
func (o *Origin) Build(r Result) (*proto.Manifest, map[string][]byte) {
	d := r.Dump
	m := &proto.Manifest{
		Collection: o.Collection, Task: o.Task, Attempt: o.Attempt, Node: o.Node,
		ID:   ID(o.Node, d.Call.Dump, d.Call.Flush),
		Call: d.Call, PlanNote: r.Note, Beside: r.Beside, Implied: r.Implied, Defect: d.Defect,
		Provenance: o.provenance(d), Definitions: o.Definitions, SkipConst: o.SkipConst,
	}
	if r.scaled {
		scale := o.Scale
		scale.Planned = r.Scales
		m.Scale = &scale
	}
	tensors := d.Tensors
	if r.Plan != nil {
		plan := r.Plan.Call
		m.Plan = &plan
		switch {
		case len(tensors) == 0:
			tensors = r.Plan.Tensors
		case len(r.Plan.Tensors) > 0:
			tensors = maps.Clone(tensors)
			maps.Copy(tensors, r.Plan.Tensors)
		}
	}
	return fit(m, tensors)
}

func (o *Origin) provenance(d *Dump) proto.Provenance {
	p := o.Provenance
	p.Attempt, p.Dump, p.PID, p.Rank = o.Attempt, d.Call.Dump, d.Call.PID, -1
	if d.Call.Flush > 0 {
		p.Dump += "/flush_" + pad4(d.Call.Flush)
	}
	if rank, ok := o.Ranks[d.Call.PID]; ok {
		p.Rank = rank
	}
	if len(d.Versions) > 0 {
		versions := make(map[string]string, len(d.Versions)+len(p.Versions))
		maps.Copy(versions, p.Versions)
		maps.Copy(versions, d.Versions)
		p.Versions = versions
	}
	if p.Versions[proto.VersionSimulate] != "" {
		p.Simulated = true
	}
	return p
}

func pad4(n int) string {
	s := strconv.Itoa(n)
	for len(s) < 4 {
		s = "0" + s
	}
	return s
}

// roomBytes is what a manifest's own tensors and texts may take of a message, the rest being for field names and the
// envelope.
const roomBytes = proto.MaxMessageBytes * 3 / 4

// fit moves inline tensors out of m while it is too large for a message. What is still too large then has arguments no
// kernel has; it becomes a defect, not a lost message.
func fit(m *proto.Manifest, tensors map[string][]byte) (*proto.Manifest, map[string][]byte) {
	size := weigh(&m.Call)
	if m.Plan != nil {
		size += weigh(m.Plan)
	}
	for i := range m.Definitions {
		size += len(m.Definitions[i].Name) + len(m.Definitions[i].OpType) + 96
	}
	if size <= roomBytes {
		return m, tensors
	}
	tensors = maps.Clone(tensors)
	if tensors == nil {
		tensors = make(map[string][]byte)
	}
	calls := []*proto.Call{&m.Call}
	if m.Plan != nil {
		calls = append(calls, m.Plan)
	}
	for _, c := range calls {
		c.Tensors = append([]proto.Tensor(nil), c.Tensors...)
		for i := range c.Tensors {
			t := &c.Tensors[i]
			if size > roomBytes && len(t.Inline) > 0 {
				size -= len(t.Inline)
				tensors[t.Digest], t.Inline = t.Inline, nil
			}
		}
	}
	if size <= roomBytes {
		return m, tensors
	}
	if m.Defect == nil {
		m.Defect = &proto.Defect{Reason: proto.DefectTooLarge, Detail: m.Call.Dump + ": " + strconv.Itoa(len(m.Call.Tensors)) +
			" tensors and " + strconv.Itoa(len(m.Call.Values)) + " values do not fit into a message"}
	}
	m.Plan, m.Call.Tensors, m.Call.Values = nil, nil, nil
	return m, nil
}

// weigh estimates the encoded size of a call from above.
func weigh(c *proto.Call) int {
	n := 512 + len(c.Dump) + len(c.Function) + len(c.Module) + len(c.Signature) + len(c.SelfID)
	for i := range c.Tensors {
		t := &c.Tensors[i]
		n += 160 + len(t.Key) + 9*(len(t.Shape)+len(t.Stride)) + len(t.Inline)
	}
	for i := range c.Values {
		n += 80 + len(c.Values[i].Key) + len(c.Values[i].String)
	}
	return n
}
