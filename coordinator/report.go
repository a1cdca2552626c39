package coordinator

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Resolution is the answer of `definitions resolve`: what a selection is, what would be dumped for it, and which definitions
// would share an engine.
type Resolution struct {
	Definitions []ResolvedDefinition `json:"definitions"`
	Warnings    []string             `json:"warnings,omitempty"`
}

// ResolvedDefinition is one definition of a Resolution. The need holds what the definition itself says; zeros ask for nothing.
type ResolvedDefinition struct {
	Name    string   `json:"name"`
	OpType  string   `json:"op_type"`
	APIs    []string `json:"fi_api"`
	Include []string `json:"include"` // dump patterns
	Need
	Group       int  `json:"group"` // from 1, in planned order; 0: not collectable
	Collectable bool `json:"collectable"`
}

// NewResolution explains defs (sorted, as Resolve gives them) for an engine with its explicit flags.
func NewResolution(engine proto.EngineSpec, defs []*fitrace.Definition) *Resolution {
	usable, _ := Collectable(defs)
	groups, warnings := groupsFor(engine, usable)
	home := map[string]int{}
	for i, g := range groups {
		for _, d := range g.defs {
			home[d.Name] = i + 1
		}
	}
	r := &Resolution{Warnings: warnings, Definitions: []ResolvedDefinition{}}
	for _, d := range defs {
		rd := ResolvedDefinition{Name: d.Name, OpType: d.OpType, APIs: []string{}, Need: needOf(d), Group: home[d.Name]}
		for _, api := range d.APIs() {
			rd.APIs = append(rd.APIs, api.String())
		}
		rd.Include = fitrace.IncludePatterns(d)
		rd.Collectable = rd.Group > 0
		if !rd.Collectable {
			rd.Mode, rd.Why = "", "not collectable: no fi_api tag"
		}
		r.Definitions = append(r.Definitions, rd)
	}
	return r
}

// Table gives the resolution as header and rows of text.
func (r *Resolution) Table() (header []string, rows [][]string) {
	header = []string{"DEFINITION", "OP TYPE", "GROUP", "MODE", "TP", "EP", "PAGE", "DUMPS", "WHY"}
	for _, d := range r.Definitions {
		rows = append(rows, []string{d.Name, d.OpType, orDash(d.Group), string(d.Mode), orDash(d.TP), orDash(d.EP), orDash(d.PageSize),
			strings.Join(d.Include, " "), d.Why})
	}
	return header, rows
}

// PlanReport is the answer of `collect --plan-only`.
type PlanReport struct {
	Collection string        `json:"collection"`
	Tasks      []PlannedTask `json:"tasks"`
	Warnings   []string      `json:"warnings,omitempty"`
}

// PlannedTask is a task as it would be queued, with the environment its engine's processes would get.
type PlannedTask struct {
	ID          string           `json:"id"`
	Definitions []string         `json:"definitions"`
	Engine      proto.EngineSpec `json:"engine"`
	BatchSize   int              `json:"batch_size"`
	Requests    int              `json:"requests"`
	Traffic     proto.Traffic    `json:"traffic"`
	Dump        proto.DumpSpec   `json:"dump"`
	Env         []string         `json:"env"` // NAME=value, sorted
}

// DumpDirPlaceholder stands in a PlanReport where the worker's dump directory will be.
const DumpDirPlaceholder = "<dump-dir>"

// Report makes the report of a plan.
func (p *Plan) Report(collection string) *PlanReport {
	r := &PlanReport{Collection: collection, Warnings: p.Warnings}
	for i := range p.Tasks {
		t := &p.Tasks[i]
		pt := PlannedTask{
			ID: t.ID, Engine: t.Engine, BatchSize: t.BatchSize, Requests: t.BatchSize * t.Traffic.NumBatches,
			Traffic: t.Traffic, Dump: t.Dump,
		}
		if t.Engine.Kind != proto.EngineReplay {
			pt.Env = t.Dump.Environ(DumpDirPlaceholder)
		}
		for _, d := range t.Definitions {
			pt.Definitions = append(pt.Definitions, d.Name)
		}
		r.Tasks = append(r.Tasks, pt)
	}
	return r
}

// Table gives the report as header and rows of text.
func (r *PlanReport) Table() (header []string, rows [][]string) {
	header = []string{"TASK", "ENGINE", "MODE", "TP", "EP", "PAGE", "BATCH", "REQUESTS", "ISL/OSL", "DEFINITIONS"}
	for _, t := range r.Tasks {
		rows = append(rows, []string{t.ID, string(t.Engine.Kind), string(t.Engine.Mode), strconv.Itoa(t.Engine.TP), strconv.Itoa(t.Engine.EP),
			orDash(t.Engine.PageSize), strconv.Itoa(t.BatchSize), strconv.Itoa(t.Requests),
			fmt.Sprintf("%d/%d", t.Traffic.ISL, t.Traffic.OSL), strings.Join(t.Definitions, " ")})
	}
	return header, rows
}

func orDash(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}
