package coordinator

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/reach"
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
	Reach       reach.Verdict `json:"reach,omitempty"`   // sglang: whether its calls can be had
	Instead     string        `json:"instead,omitempty"` // what is called in its place
	Misfit      string        `json:"misfit,omitempty"`  // sglang: why the model's calls cannot have its const axes or element types
	Cautions    []string      `json:"cautions,omitempty"`
	Sources     []string      `json:"sources,omitempty"` // where that was read
	Group       int           `json:"group"`             // from 1, in planned order; 0: not collectable
	Collectable bool          `json:"collectable"`
}

// NewResolution explains defs (sorted, as Resolve gives them) for an engine with its explicit flags, and what --dump says.
func NewResolution(engine proto.EngineSpec, dump string, defs []*fitrace.Definition) *Resolution {
	s := newSetting(engine, dump, false)
	tagged, _ := Collectable(defs)
	var usable []*fitrace.Definition
	for _, d := range tagged {
		_, a := s.needOf(d)
		if why, _ := s.misfit(d); a.Verdict != reach.Unreachable && why == "" {
			usable = append(usable, d)
		}
	}
	groups, warnings := s.groups(usable)
	home, dumps := map[string]int{}, map[string]proto.DumpSpec{}
	for i, g := range groups {
		spec, err := s.dumpOf(proto.DumpSpec{}, g.need.Mode, g.defs)
		if err != nil {
			warnings = append(warnings, err.Error())
		}
		for _, d := range g.defs {
			home[d.Name], dumps[d.Name] = i+1, spec
		}
	}
	slices.Sort(warnings)
	r := &Resolution{Warnings: warnings, Definitions: []ResolvedDefinition{}}
	for _, d := range defs {
		rd := ResolvedDefinition{Name: d.Name, OpType: d.OpType, APIs: []string{}, Include: []string{}, Group: home[d.Name]}
		for _, api := range d.APIs() {
			rd.APIs = append(rd.APIs, api.String())
		}
		rd.Collectable = rd.Group > 0
		if len(rd.APIs) == 0 {
			rd.Need = Need{Why: "not collectable: no fi_api tag", TP: d.TP(), EP: d.EP(), PageSize: int(d.PageSize())}
			r.Definitions = append(r.Definitions, rd)
			continue
		}
		var a reach.Answer
		rd.Need, a = s.needOf(d)
		if s.sglang() {
			rd.Reach, rd.Instead, rd.Cautions, rd.Sources = a.Verdict, a.Instead, a.Cautions, a.Sources
			rd.Misfit, _ = s.misfit(d)
		}
		if !rd.Collectable {
			rd.Mode = ""
		}
		rd.Include = planned(dumps[d.Name].PlanOnly, fitrace.IncludePatterns(d))
		r.Definitions = append(r.Definitions, rd)
	}
	return r
}

// Table gives the resolution as header and rows of text.
func (r *Resolution) Table() (header []string, rows [][]string) {
	header = []string{"DEFINITION", "OP TYPE", "GROUP", "MODE", "TP", "EP", "PAGE", "DUMPS", "WHY"}
	for _, d := range r.Definitions {
		why := d.Why
		switch d.Reach {
		case reach.Unreachable:
			why = "unreachable: " + why
			if d.Instead != "" {
				why += "; " + d.Instead + " is called instead"
			}
		case reach.Unknown:
			why = "not known: " + why
		}
		if d.Misfit != "" && d.Reach != reach.Unreachable {
			why = "does not fit: " + d.Misfit
		}
		if d.Collectable && len(d.Requires) > 0 {
			why += " (" + strings.Join(d.Requires, ", ") + ")"
		}
		rows = append(rows, []string{d.Name, d.OpType, orDash(d.Group), string(d.Mode), orDash(d.TP), orDash(d.EP), orDash(d.PageSize),
			strings.Join(withoutSubclasses(d.Include), " "), why})
	}
	return header, rows
}

func orDash(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// withoutSubclasses returns patterns with those of FlashInfer's subclasses folded into their wrappers', for a table that people read.
func withoutSubclasses(patterns []string) []string {
	var out []string
	for _, p := range patterns {
		if base := fitrace.BaseFunction(p); !slices.Contains(out, base) {
			out = append(out, base)
		}
	}
	slices.Sort(out)
	return out
}
