// Package gate judges an evaluation by the traces it left: every workload must have passed with the solution that was asked for, and
// none may be missing. Exit codes say nothing, so none is looked at.
package gate

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Missing is the status of a workload that has no trace.
const Missing = "MISSING"

// passed is flashinfer-bench's word.
const passed = "PASSED"

// Want is what must have passed.
type Want struct {
	Definition string
	Solution   string   // its name
	Workloads  []string // uuids
}

// Refuse takes a workload from those that passed. One that did not pass keeps its own reason.
func (v *Verdict) Refuse(workload, status, why string) {
	if slices.ContainsFunc(v.Refused, func(r Refused) bool { return r.Workload == workload }) {
		return
	}
	v.Passed--
	v.Refused = append(v.Refused, Refused{Workload: workload, Status: status, Log: why})
}

// File is a JSON array of traces.
type File struct {
	Name string
	Data []byte
}

// Verdict is the judgement.
type Verdict struct {
	Passed  int
	Refused []Refused // in the order of the workloads, then what Refuse added; none: all passed
	Lines   [][]byte  // the traces that count, in the order of the workloads
	Others  int       // traces of other definitions, solutions or workloads
	Again   int       // earlier traces of a workload that has a later one
}

// Refused is a workload that did not pass.
type Refused struct {
	Workload string
	Status   string // flashinfer-bench's, Missing, or Refuse's
	Log      string // the end of it
}

// logEnd is how much of a log is repeated, in bytes.
const logEnd = 600

type trace struct {
	Definition string `json:"definition"`
	Solution   string `json:"solution"`
	Workload   struct {
		UUID string `json:"uuid"`
	} `json:"workload"`
	Evaluation *struct {
		Status string `json:"status"`
		Log    string `json:"log"`
	} `json:"evaluation"`

	raw json.RawMessage
}

// Judge counts. The error is for files that are no traces, and names file and place.
func Judge(want Want, files []File) (*Verdict, error) {
	v := &Verdict{}
	latest := map[string]*trace{}
	for _, f := range files {
		var list []json.RawMessage
		if err := json.Unmarshal(f.Data, &list); err != nil {
			return nil, fmt.Errorf("%s is no list of traces: %w", f.Name, err)
		}
		for i, raw := range list {
			t := &trace{raw: raw}
			if err := json.Unmarshal(raw, t); err != nil {
				return nil, fmt.Errorf("%s: trace %d: %w", f.Name, i+1, err)
			}
			switch {
			case t.Definition != want.Definition || t.Solution != want.Solution || !slices.Contains(want.Workloads, t.Workload.UUID):
				v.Others++
				continue
			case t.Evaluation == nil || t.Evaluation.Status == "":
				return nil, fmt.Errorf("%s: trace %d, of workload %s, has no evaluation.status", f.Name, i+1, t.Workload.UUID)
			case latest[t.Workload.UUID] != nil:
				v.Again++
			}
			latest[t.Workload.UUID] = t
		}
	}
	for _, u := range want.Workloads {
		t := latest[u]
		if t == nil {
			v.Refused = append(v.Refused, Refused{Workload: u, Status: Missing})
			continue
		}
		v.Lines = append(v.Lines, t.raw)
		if t.Evaluation.Status == passed {
			v.Passed++
			continue
		}
		log := t.Evaluation.Log
		v.Refused = append(v.Refused, Refused{Workload: u, Status: t.Evaluation.Status, Log: log[max(0, len(log)-logEnd):]})
	}
	return v, nil
}
