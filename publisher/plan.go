package publisher

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// StepKind is one step of a publication.
type StepKind string

// The steps, in their order.
const (
	StepDefinition StepKind = "definition" // the definition's file is in the dataset
	StepBlobs      StepKind = "blobs"      // the tensors of the chosen workloads are
	StepCheck      StepKind = "check"      // they were read back: header, and the digest of each tensor
	StepProvenance StepKind = "provenance" // the origin of each workload is in provenance/ and in the private records
	StepLines      StepKind = "lines"      // the workloads file refers to them: the commit
	StepSettle     StepKind = "settle"     // blobs of replaced lines are gone, nothing is left over
)

var steps = []StepKind{StepDefinition, StepBlobs, StepCheck, StepProvenance, StepLines, StepSettle}

// Plan is what a publication does to the dataset, as data. It is saved before it runs, and running it again, from any
// point of an interrupted run, ends in the same dataset. Tensors are named by digest.
type Plan struct {
	Version  int            `json:"version"`
	Steps    []StepKind     `json:"steps"` // none: nothing was chosen, and the dataset stays as it is
	Change   dataset.Change `json:"change"`
	Warnings []string       `json:"warnings,omitempty"`
}

const planVersion = 2

// Request is what to publish.
type Request struct {
	Definition *fitrace.Definition
	Collection string // for provenance; empty offline
	Task       string
	Max        int  // most new workloads
	Replace    bool // the definition's lines give way, if there is anything to put in their place
}

// Prepare selects from the gathered contents for the dataset as it is, and plans the change. It only reads. A definition that the
// dataset has with another content is a failure with code dataset_conflict; simulated calls for a workloads file that keeps other
// lines, and the reverse, are one with code simulated_mix.
func Prepare(r *dataset.Reader, q Request, g *Gathered) (*Plan, Selection, error) {
	def := q.Definition
	plan := &Plan{Version: planVersion, Change: dataset.Change{OpType: def.OpType, Definition: def.Name, File: def.Raw}}
	if _, err := r.HasDefinition(def.OpType, def.Name, def.Raw); err != nil {
		return nil, Selection{}, err
	}
	old, err := r.Workloads(def.OpType, def.Name)
	if err != nil {
		return nil, Selection{}, fmt.Errorf("read the dataset's workloads of %s: %w", def.Name, err)
	}
	for _, err := range old.Errs {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%v; the line stays as it is", err))
	}
	if g.simulated && g.real { // also if this definition has calls of one kind alone: the recording cannot be trusted
		return nil, Selection{}, MixedDumps("calls of " + def.Name)
	}
	contents := g.Contents()
	if len(contents) > 0 {
		if err := checkMix(r, def, old, q.Replace, callsAre(g.simulated)); err != nil {
			return nil, Selection{}, err
		}
	}
	plan.Change.Replace = q.Replace && len(contents) > 0
	if q.Replace && !plan.Change.Replace && len(old.Lines) > 0 {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%s: nothing to put in the place of its %d lines, they stay", old.File, len(old.Lines)))
	}
	sel, warnings, err := choose(r, old, def.Name, plan.Change.Replace, contents, Limits{New: q.Max, PerAxes: DefaultPerAxes, Asked: g.batchSize})
	if err != nil {
		return nil, sel, err
	}
	plan.Warnings = append(plan.Warnings, warnings...)
	shapes := g.Shapes()
	for _, c := range sel.Chosen {
		e, err := entryOf(c, q, shapes[shapeKey(c.Axes)])
		if err != nil {
			return nil, sel, err
		}
		plan.Change.Entries = append(plan.Change.Entries, e)
	}
	if err := plan.Change.Seal(old); err != nil {
		return nil, sel, err
	}
	if len(plan.Change.Entries) > 0 {
		plan.Steps = steps
	}
	return plan, sel, nil
}

// choose selects, with regard to the lines that stay. Blobs are read only of lines whose axes a candidate has too.
func choose(r *dataset.Reader, old *dataset.Workloads, definition string, replace bool, contents []*Content, lim Limits) (Selection, []string, error) {
	byUUID, byShape := map[string]bool{}, map[string][]*Content{}
	for _, c := range contents {
		key := shapeKey(c.Axes)
		byUUID[c.UUID], byShape[key] = true, append(byShape[key], c)
	}
	var have []Shape
	var warnings []string
	known, prints, compare := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, l := range old.Lines {
		// Only lines that parse and are of the definition say something of it, and just these are replaced.
		if replace || !dataset.Replaceable(l, definition) {
			continue
		}
		axes := axesOf(l)
		key := shapeKey(axes)
		have = append(have, axes)
		if byUUID[l.Workload.UUID] {
			known[l.Workload.UUID] = true
		}
		if len(byShape[key]) == 0 {
			continue
		}
		fp, err := fingerprintLine(r, l)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("%s:%d: cannot be compared with what was collected: %v", old.File, l.Number, err))
			continue
		}
		prints[fp], compare[key] = true, true
	}
	for key := range compare {
		for _, c := range byShape[key] {
			fp, err := fingerprintOf(&c.Candidate)
			if err != nil {
				return Selection{}, nil, fmt.Errorf("workload %s of %s: %w", c.UUID, c.Definition, err)
			}
			known[c.UUID] = known[c.UUID] || prints[fp]
		}
	}
	return Select(contents, have, known, lim), warnings, nil
}

func entryOf(c *Content, q Request, seenShape int) (dataset.Entry, error) {
	line, err := lineOf(&c.Candidate, q.Definition.OpType)
	if err != nil {
		return dataset.Entry{}, fmt.Errorf("workload %s of %s: %w", c.UUID, c.Definition, err)
	}
	e := dataset.Entry{UUID: c.UUID, Line: string(fitrace.MarshalLine(line))}
	for _, in := range c.Inputs {
		if in.Kind == proto.InputSafetensors {
			t, err := tensorOf(in)
			if err != nil {
				return e, fmt.Errorf("workload %s of %s: %w", c.UUID, c.Definition, err)
			}
			e.Tensors = append(e.Tensors, t)
		}
	}
	if e.Provenance, err = provenanceLine(c, q, seenShape); err != nil {
		return e, fmt.Errorf("provenance of workload %s of %s: %w", c.UUID, c.Definition, err)
	}
	origin, err := json.Marshal(dataset.Origin{UUID: c.UUID, Manifest: c.First, Notes: c.Notes, From: c.Provenance})
	e.Origin = string(origin)
	return e, err
}

// UUIDs lists the planned workloads, in the order of their lines.
func (p *Plan) UUIDs() []string {
	list := make([]string, len(p.Change.Entries))
	for i, e := range p.Change.Entries {
		list[i] = e.UUID
	}
	return list
}

// Execute runs the steps. After an error the dataset is as it was before, unless even that could not be done; then the next
// Open does it. dataset.ErrChanged means that a new plan is needed.
func (p *Plan) Execute(w *dataset.Writer, tensors dataset.Tensors) error {
	if len(p.Steps) == 0 {
		return nil
	}
	if err := w.Begin(&p.Change); err != nil {
		return errors.Join(err, w.Settle())
	}
	for _, s := range p.Steps {
		if err := p.run(s, w, tensors); err != nil {
			return errors.Join(err, w.Settle())
		}
	}
	return nil
}

func (p *Plan) run(s StepKind, w *dataset.Writer, tensors dataset.Tensors) error {
	switch s {
	case StepDefinition:
		return w.PutDefinition(&p.Change)
	case StepBlobs:
		return w.PutBlobs(&p.Change, tensors)
	case StepCheck:
		return w.CheckBlobs(&p.Change)
	case StepProvenance:
		return w.PutProvenance(&p.Change)
	case StepLines:
		return w.PutLines(&p.Change)
	case StepSettle:
		return w.Settle()
	}
	return proto.Failf(proto.CodeInternal, "publication plan has a step %q, which this release does not know", s)
}

// StepStatus is what Status tells of a step.
type StepStatus struct {
	Kind StepKind `json:"kind"`
	Text string   `json:"text"`
	Done bool     `json:"done"`
}

// Status reports, reading only, what of the plan is done in the dataset: for a dry run, and to look at an interrupted one.
func (p *Plan) Status(r *dataset.Reader) []StepStatus {
	done := r.Progress(&p.Change)
	list := make([]StepStatus, len(p.Steps))
	for i, s := range p.Steps {
		st := StepStatus{Kind: s}
		switch s {
		case StepDefinition:
			st.Text, st.Done = fitrace.DefinitionPath(p.Change.OpType, p.Change.Definition), done.Definition
		case StepBlobs, StepCheck:
			st.Text, st.Done = fmt.Sprintf("%d blobs", done.WantBlobs), done.Blobs == done.WantBlobs
		case StepProvenance:
			st.Text, st.Done = fmt.Sprintf("%d workloads", len(p.Change.Entries)), done.Provenance
		case StepLines:
			verb := "append"
			if p.Change.Replace {
				verb = "replace by"
			}
			st.Text, st.Done = fmt.Sprintf("%s %d lines: %s", verb, len(p.Change.Entries), fitrace.WorkloadsPath(p.Change.OpType, p.Change.Definition)), done.Lines
		case StepSettle:
			st.Text, st.Done = "nothing left over", done.Lines && done.Settled
		}
		list[i] = st
	}
	return list
}

// Encode gives the plan as gzipped JSON: hundreds of lines that hardly differ fit a record.
func (p *Plan) Encode() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(p), z.Close()); err != nil {
		return nil, fmt.Errorf("encode publication plan: %w", err)
	}
	return b.Bytes(), nil
}

// errOldPlan means that an earlier release saved a plan: it lacks what this one writes.
var errOldPlan = errors.New("an earlier release made the publication plan")

// DecodePlan parses what Encode returned. With errOldPlan it returns the plan, too.
func DecodePlan(data []byte) (*Plan, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decode publication plan: %w", err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("decode publication plan: %w", err)
	}
	p := &Plan{}
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("decode publication plan: %w", err)
	}
	switch {
	case p.Version > planVersion:
		return nil, fmt.Errorf("publication plan has version %d, this release reads %d", p.Version, planVersion)
	case p.Version < planVersion:
		return p, errOldPlan
	}
	return p, nil
}
