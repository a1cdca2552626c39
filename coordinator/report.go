package coordinator

import (
	"cmp"
	"fmt"
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
	Counts      ResolutionCounts     `json:"counts"`
	Unverified  bool                 `json:"unverified,omitempty"` // sglang: the release is not known or was not read; see the warnings
	Warnings    []string             `json:"warnings,omitempty"`
}

// ResolvedDefinition is one definition of a Resolution. The need holds what the definition itself states; zeros ask for nothing.
type ResolvedDefinition struct {
	Name    string   `json:"name"`
	OpType  string   `json:"op_type"`
	APIs    []string `json:"fi_api"`
	Include []string `json:"include"` // dump patterns
	Need
	Reach       reach.Verdict `json:"reach,omitempty"`   // sglang: whether its API is called, and the call binds
	Binding     reach.Binding `json:"binding,omitempty"` // sglang: of an API that is called
	Instead     string        `json:"instead,omitempty"` // what is called in its place
	Misfit      string        `json:"misfit,omitempty"`  // sglang: why the model's calls cannot have its const axes or element types
	Cautions    []string      `json:"cautions,omitempty"`
	Sources     []string      `json:"sources,omitempty"` // where that was read
	Call        *reach.Call   `json:"call,omitempty"`    // sglang: what it passes, where that is recorded
	Unverified  bool          `json:"unverified,omitempty"`
	Group       int           `json:"group"`       // from 1, in planned order; 0: refused
	Collectable bool          `json:"collectable"` // its API is called, and the call binds
}

// ResolutionCounts counts the definitions of a Resolution: Total is the sum of the others.
type ResolutionCounts struct {
	Total       int       `json:"total"`
	Collectable int       `json:"collectable"`
	Unknown     int       `json:"unknown"` // planned, but its call is not known: the worker or the dumps decide
	Refused     []Refused `json:"refused"` // most first
}

// Refused holds a reason and the definitions that cannot be collected because of it.
type Refused struct {
	Reason      string   `json:"reason"`
	Count       int      `json:"count"`
	Definitions []string `json:"definitions"`
}

const noAPI = "no fi_api tag: no call to dump is named"

// NewResolution explains defs (sorted, as Resolve returns them) for an engine with its explicit flags, and a value of --dump.
func NewResolution(engine proto.EngineSpec, dump string, defs []*fitrace.Definition) *Resolution {
	s := newSetting(engine, dump, false)
	tagged, _ := withAPI(defs)
	var usable []*fitrace.Definition
	for _, d := range tagged {
		_, a := s.needOf(d)
		if why, _ := s.misfit(d); !a.Refused() && why == "" {
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
		if len(rd.APIs) == 0 {
			rd.Need = Need{Why: noAPI, TP: d.TP(), EP: d.EP(), PageSize: int(d.PageSize())}
			r.add(rd)
			continue
		}
		var a reach.Answer
		rd.Need, a = s.needOf(d)
		rd.Collectable = rd.Group > 0 && a.Collectable()
		if s.sglang() {
			rd.Reach, rd.Binding, rd.Instead, rd.Cautions, rd.Sources, rd.Unverified = a.Verdict, a.Binding, a.Instead, a.Cautions, a.Sources, a.Unverified
			if a.Binding != "" {
				rd.Call = reach.CallOf(d, reach.Query{Release: engine.SGLang, Capability: reach.Capability(engine.GPUType)})
			}
			rd.Misfit, _ = s.misfit(d)
		}
		if rd.Group == 0 {
			rd.Mode = ""
		}
		rd.Include = planned(dumps[d.Name].PlanOnly, fitrace.IncludePatterns(d))
		r.add(rd)
	}
	slices.SortStableFunc(r.Counts.Refused, func(a, b Refused) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Reason, b.Reason)) })
	return r
}

// add appends a definition and counts it.
func (r *Resolution) add(d ResolvedDefinition) {
	r.Definitions = append(r.Definitions, d)
	r.Unverified = r.Unverified || d.Unverified
	r.Counts.Total++
	switch {
	case d.Collectable:
		r.Counts.Collectable++
		return
	case d.Group > 0:
		r.Counts.Unknown++
		return
	}
	reason := d.Why
	switch {
	case d.Misfit != "" && d.Reach == reach.Reachable:
		reason = "does not fit: " + d.Misfit
	case d.Reach != "":
		reason = string(d.Reach) + ": " + reason
	}
	i := slices.IndexFunc(r.Counts.Refused, func(f Refused) bool { return f.Reason == reason })
	if i < 0 {
		i = len(r.Counts.Refused)
		r.Counts.Refused = append(r.Counts.Refused, Refused{Reason: reason})
	}
	r.Counts.Refused[i].Count++
	r.Counts.Refused[i].Definitions = append(r.Counts.Refused[i].Definitions, d.Name)
}

// Summary returns the counts as lines of text: collectable, unknown and refused, then one line for each reason.
func (r *Resolution) Summary() []string {
	refused := 0
	for _, f := range r.Counts.Refused {
		refused += f.Count
	}
	first := fmt.Sprintf("%s: %d collectable, %d refused", counted(r.Counts.Total), r.Counts.Collectable, refused)
	if r.Counts.Unknown > 0 {
		first += fmt.Sprintf(", %d not known", r.Counts.Unknown)
	}
	if r.Unverified {
		first += " (unverified)"
	}
	lines := []string{first}
	for _, f := range r.Counts.Refused {
		lines = append(lines, fmt.Sprintf("%4d refused, %s", f.Count, f.Reason))
	}
	return lines
}

// Table returns the resolution as header and rows of text.
func (r *Resolution) Table() (header []string, rows [][]string) {
	header = []string{"DEFINITION", "OP TYPE", "GROUP", "MODE", "TP", "EP", "PAGE", "DUMPS", "WHY"}
	for _, d := range r.Definitions {
		why := d.Why
		switch d.Reach {
		case reach.Unreachable, reach.Uncollectable:
			why = string(d.Reach) + ": " + why
			if d.Instead != "" {
				why += "; " + d.Instead + " is called instead"
			}
		case reach.Unknown:
			why = "not known: " + why
		}
		if d.Misfit != "" && d.Reach == reach.Reachable {
			why = "does not fit: " + d.Misfit
		}
		if d.Group > 0 && len(d.Requires) > 0 {
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
