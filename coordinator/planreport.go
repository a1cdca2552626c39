package coordinator

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/launch"
	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/proto"
)

// PlanReport is the answer of `collect --plan-only`.
type PlanReport struct {
	Collection string        `json:"collection"`
	Tasks      []PlannedTask `json:"tasks"`
	Unverified bool          `json:"unverified,omitempty"` // sglang: the release is not known or was not read; the warnings name the one that was
	Warnings   []string      `json:"warnings,omitempty"`
}

// PlannedTask is a task as it would be queued, with the environment its engine's processes would get.
type PlannedTask struct {
	ID          string           `json:"id"`
	Definitions []string         `json:"definitions"`
	Engine      proto.EngineSpec `json:"engine"`
	BatchSize   int              `json:"batch_size,omitempty"` // absent, with Requests and Traffic, where the engine serves no requests
	Requests    int              `json:"requests,omitempty"`
	Traffic     proto.Traffic    `json:"traffic,omitzero"`
	Dump        proto.DumpSpec   `json:"dump"`
	Unchecked   []string         `json:"unchecked,omitempty"` // definitions that were not compared with the model, each with the reason
	Env         []string         `json:"env"`                 // NAME=value, sorted
	Launch      *PlannedLaunch   `json:"launch,omitempty"`    // sglang
}

// PlannedLaunch is how SGLang would be started for a task, by the release planned for or else the newest known. The port is
// added when the task starts, unless it was given.
type PlannedLaunch struct {
	Release  string         `json:"release"`
	Args     []string       `json:"args,omitempty"`   // of the interpreter, in the HTTP modes
	Engine   map[string]any `json:"engine,omitempty"` // keywords of sgl.Engine, in offline mode
	Env      []string       `json:"env"`
	GPUs     int            `json:"gpus"`            // devices that it takes
	Ready    string         `json:"ready,omitempty"` // path that answers 200 when the server is ready
	Notices  []string       `json:"notices,omitempty"`
	Cautions []string       `json:"cautions,omitempty"`
	Shell    string         `json:"shell"` // the same as one line for a shell
}

// What stands in a PlanReport where the worker's directories will be.
const (
	DumpDirPlaceholder  = "<dump-dir>"
	traceDirPlaceholder = "<trace-dump-dir>"
)

// Report makes the report of a plan. defs hold at least the definitions of its tasks. The error is of a launch that the release
// does not take, as a *proto.Failure.
func (p *Plan) Report(collection string, defs []*fitrace.Definition) (*PlanReport, error) {
	r := &PlanReport{Collection: collection, Unverified: p.Unverified, Warnings: p.Warnings}
	for i := range p.Tasks {
		t := &p.Tasks[i]
		pt := PlannedTask{
			ID: t.ID, Engine: t.Engine, BatchSize: t.BatchSize, Requests: requests(t),
			Traffic: t.Traffic, Dump: t.Dump,
		}
		for _, d := range t.Definitions {
			pt.Definitions = append(pt.Definitions, d.Name)
		}
		switch t.Engine.Kind {
		case proto.EngineSGLang:
			c, err := command(t, defs)
			if err != nil {
				return nil, err
			}
			pt.Env = c.Env
			pt.Unchecked = newSetting(t.Engine, "", false).unchecked(ofTask(t, defs))
			pt.Launch = &PlannedLaunch{
				Release: c.Release, Args: c.Args, Env: c.Env, GPUs: c.GPUs, Ready: c.Ready, Notices: c.Notices, Cautions: c.Cautions, Shell: c.Shell("python3"),
			}
			if len(c.Args) == 0 {
				pt.Launch.Engine = c.Keywords()
			}
		case proto.EngineSimulate:
			pt.Env = t.Dump.Environ(DumpDirPlaceholder)
		}
		r.Tasks = append(r.Tasks, pt)
	}
	return r, nil
}

// command returns the command line of a task for the release it is planned for, on a node of which only the GPU type is known.
func command(t *proto.Task, defs []*fitrace.Definition) (*launch.Command, error) {
	return launch.ForTask(t, ofTask(t, defs), launch.Node{
		Capability: reach.Capability(t.Engine.GPUType), DumpDir: DumpDirPlaceholder, TraceDir: traceDirPlaceholder,
	})
}

// ofTask returns the definitions of a task, in its order.
func ofTask(t *proto.Task, defs []*fitrace.Definition) (own []*fitrace.Definition) {
	byName := map[string]*fitrace.Definition{}
	for _, d := range defs {
		byName[d.Name] = d
	}
	for _, ref := range t.Definitions {
		own = append(own, byName[ref.Name])
	}
	return own
}

// Table returns the report as header and rows of text.
func (r *PlanReport) Table() (header []string, rows [][]string) {
	header = []string{"TASK", "ENGINE", "MODE", "TP", "EP", "PAGE", "BATCH", "REQUESTS", "ISL/OSL", "DUMPS", "DEFINITIONS"}
	for i := range r.Tasks {
		t := &r.Tasks[i]
		mode := string(t.Engine.Mode)
		if !t.Engine.Kind.Serves() {
			mode = "-"
		}
		rows = append(rows, []string{t.ID, string(t.Engine.Kind), mode, orDash(t.Engine.TP), orDash(t.Engine.EP),
			orDash(t.Engine.PageSize), orDash(t.BatchSize), orDash(t.Requests), t.lengths(), t.dumps(), strings.Join(t.Definitions, " ")})
	}
	return header, rows
}

// lengths returns the most input and output tokens of a request.
func (t *PlannedTask) lengths() string {
	switch {
	case !t.Engine.Kind.Serves():
		return "-"
	case t.Traffic.Dataset == "trace":
		return "trace"
	}
	return fmt.Sprintf("%d/%d", t.Traffic.ISL, t.Traffic.OSL)
}

// dumps says whether plans, runs or both kinds are what becomes workloads.
func (t *PlannedTask) dumps() string {
	if t.Dump.What == DumpRun && len(t.Dump.PlanOnly) > 0 {
		return "plan+run"
	}
	return t.Dump.What
}

// Write writes the report for a person: the table, then each task's environment, or for SGLang its command line, bare so that
// it can be copied, its traffic and what is to be known of it.
func (r *PlanReport) Write(w io.Writer) {
	header, rows := r.Table()
	cli.Table(w, header, rows)
	for i := range r.Tasks {
		t := &r.Tasks[i]
		if t.Launch == nil {
			for _, e := range t.Env {
				fmt.Fprintf(w, "%s  %s\n", t.ID, e)
			}
			continue
		}
		fmt.Fprintf(w, "\n%s: SGLang %s, %s, needs %s: %s\n%s\n", t.ID, t.Launch.Release, t.Engine.Mode, gpus(t.Launch.GPUs), t.traffic(), t.Launch.Shell)
		for _, u := range t.Unchecked {
			fmt.Fprintln(w, "  unchecked:", u)
		}
		if len(t.Launch.Args) > 0 && t.Engine.Port == 0 {
			fmt.Fprintln(w, "  note: --port, a free one, is added when the task starts")
		}
		for _, n := range t.Launch.Notices {
			fmt.Fprintln(w, "  note:", n)
		}
		for _, c := range t.Launch.Cautions {
			fmt.Fprintln(w, "  caution:", c)
		}
	}
}

func gpus(n int) string {
	if n == 1 {
		return "1 GPU"
	}
	return strconv.Itoa(n) + " GPUs"
}

// traffic describes in a line which requests arrive.
func (t *PlannedTask) traffic() string {
	what := "random token ids"
	switch {
	case t.Traffic.Dataset == "sharegpt":
		what = "ShareGPT from " + cmp.Or(t.Traffic.ShareGPTPath, "the Hugging Face cache")
	case t.Traffic.Dataset == "trace":
		what = "trace " + t.Traffic.TracePath
		if t.Traffic.TraceSpeed > 0 {
			what += fmt.Sprintf(" at %g times its speed", t.Traffic.TraceSpeed)
		}
	}
	if t.Traffic.Chat {
		what += ", as chat completions"
	}
	if t.Traffic.Dataset != "trace" {
		what += fmt.Sprintf(", up to %d tokens in and %d out", t.Traffic.ISL, t.Traffic.OSL)
	}
	if t.Traffic.Dataset == "random" {
		what += fmt.Sprintf(", from %g of that", t.Traffic.RangeRatio)
	}
	return fmt.Sprintf("%d requests, %d in flight: %s, seed %d", t.Requests, t.BatchSize, what, t.Traffic.Seed)
}

// requests gives how many a task serves.
func requests(t *proto.Task) int { return cmp.Or(t.Traffic.Requests, t.BatchSize*t.Traffic.NumBatches) }
