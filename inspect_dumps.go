package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

// functionReport sums up the calls of one function in a dump directory.
type functionReport struct {
	Function  string         `json:"function"`
	Calls     int            `json:"calls"`
	Processes int            `json:"processes"`
	Completed int            `json:"completed"`
	Replays   int            `json:"replays"` // of CUDA graphs
	Paired    int            `json:"paired"`  // with a plan
	Unpaired  map[string]int `json:"unpaired,omitempty"`
	Defects   map[string]int `json:"defects,omitempty"`
	Rows      map[int64]int  `json:"rows,omitempty"` // first size of the first tensor argument → calls

	pids map[int64]bool
}

// dumpReport is what inspect prints of a dump directory.
type dumpReport struct {
	Dir       string              `json:"dir"`
	Counts    proto.AttemptCounts `json:"counts"`
	Functions []*functionReport   `json:"functions"`
	Versions  map[string]string   `json:"versions"`
}

func (c *inspectCmd) dumps(env *environ) error {
	r := &dumpReport{Dir: c.Dir, Versions: map[string]string{}, Functions: []*functionReport{}}
	byName := map[string]*functionReport{}
	origin := manifest.Origin{Collection: "offline", Task: "inspect", Attempt: 1, Node: nodeName()}
	var err error
	r.Counts, err = tail.Scan(env.Hard, c.Dir, origin, func(m *proto.Manifest, _ map[string][]byte) error {
		name := cmp.Or(m.Call.Function, "(unknown)")
		if byName[name] == nil {
			byName[name] = &functionReport{Function: name, Unpaired: map[string]int{}, Defects: map[string]int{}, Rows: map[int64]int{}, pids: map[int64]bool{}}
		}
		byName[name].add(m)
		maps.Copy(r.Versions, m.Provenance.Versions)
		return nil
	})
	if err != nil {
		return err
	}
	if r.Counts.Dumps == 0 {
		return noDumps(c.Dir, c.Dir+" is neither a dataset (no definitions or workloads directory) nor a dump directory")
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		byName[name].Processes = len(byName[name].pids)
		r.Functions = append(r.Functions, byName[name])
	}
	if c.JSON {
		return cli.JSON(env.Stdout, r)
	}
	var rows [][]string
	for _, f := range r.Functions {
		rows = append(rows, []string{
			f.Function, strconv.Itoa(f.Calls), strconv.Itoa(f.Processes), strconv.Itoa(f.Replays), strconv.Itoa(f.Paired), rejections(f.Unpaired),
			ranges(f.Rows), rejections(f.Defects),
		})
	}
	cli.Table(env.Stdout, []string{"FUNCTION", "CALLS", "PROCESSES", "REPLAYS", "WITH PLAN", "WITHOUT", "ROWS", "DEFECTS"}, rows)
	var versions []string
	for _, k := range slices.Sorted(maps.Keys(r.Versions)) {
		versions = append(versions, k+" "+r.Versions[k])
	}
	fmt.Fprintf(env.Stdout, "\n%d dumps: %d calls, %d plans, %d graph captures; %s on disk, %s read; %s\n", r.Counts.Dumps, r.Counts.Manifests,
		r.Counts.Plans, r.Counts.Captures, cli.Bytes(r.Counts.BytesSeen), cli.Bytes(r.Counts.BytesRead), strings.Join(versions, ", "))
	if r.Counts.Manifests == 0 && r.Counts.Plans > 0 {
		fmt.Fprintln(env.Stdout, "plans alone: pass --dump plan to sanitize, which makes workloads of them")
	}
	return nil
}

func (f *functionReport) add(m *proto.Manifest) {
	f.Calls++
	f.pids[m.Call.PID] = true
	if m.Call.Status == "completed" {
		f.Completed++
	}
	if m.Call.Flush > 0 {
		f.Replays++
	}
	switch {
	case m.Plan != nil:
		f.Paired++
	case m.PlanNote != proto.PlanNone:
		f.Unpaired[string(m.PlanNote)]++
	}
	if m.Defect != nil {
		f.Defects[m.Defect.Reason]++
	}
	for _, t := range m.Call.Tensors {
		if len(t.Shape) > 0 {
			f.Rows[t.Shape[0]]++
			break
		}
	}
}
