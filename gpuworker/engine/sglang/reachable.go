package sglang

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/proto"
)

// reachable asks whether this node's SGLang and GPUs call what the task is after: planning knew neither for sure. An API that
// nothing is known of is looked for in the node's own SGLang. A task of which no definition is left is refused; what is out of
// reach beside others, and where an unknown one was found, is told.
func (e *Engine) reachable(job *engine.Job, n *node) (told []string, err error) {
	t := &job.Task
	q := reach.Query{Release: n.release, TP: t.Engine.TP, Architecture: t.Engine.Architecture, PlanOnly: t.Dump.What == "plan"}
	if e.opt.Capability != nil {
		q.Capability = e.opt.Capability()
	}
	if q.Architecture == "" {
		q.Architecture, _ = reach.Architecture(t.Engine.ModelPath) // what is wrong with a model is SGLang's to say
	}
	var out []string
	for _, d := range job.Definitions {
		a := reach.Ask(d, q)
		switch a.Verdict {
		case reach.Unreachable:
			text := d.Name + ": " + a.Why
			if a.Instead != "" {
				text += "; called in its place: " + a.Instead
			}
			out = append(out, text)
		case reach.Unknown:
			places, err := n.find(d)
			switch {
			case err != nil:
				told = append(told, fmt.Sprintf("%s: %s, and it could not be looked for: %v", d.Name, a.Why, err))
			case len(places) == 0:
				out = append(out, fmt.Sprintf("%s: %s, and SGLang %s here does not mention it", d.Name, a.Why, n.release))
			default:
				told = append(told, fmt.Sprintf("%s: its API is unknown to tracefleet; this node's SGLang mentions it at %s", d.Name, places[0]))
			}
		}
	}
	if len(out) == 0 || len(out) < len(job.Definitions) {
		return append(told, out...), nil
	}
	return nil, proto.Failf(proto.CodeUnreachable, "this worker cannot reach what the task is after: %s", strings.Join(out, "; ")).
		WithHint("`tracefleet definitions resolve` says what can be reached, with which flags and on which GPUs")
}

// find looks for a definition's APIs in the node's packages.
func (n *node) find(d *fitrace.Definition) (places []string, err error) {
	looked := false
	for _, site := range n.site {
		for _, api := range d.APIs() {
			found, lookErr := reach.LookFor(api, site)
			if lookErr != nil { // most directories of a search path have no SGLang
				err = cmp.Or(err, lookErr)
				continue
			}
			looked = true
			places = append(places, found...)
		}
	}
	if looked {
		err = nil
	}
	return places, err
}
