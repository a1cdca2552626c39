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

// mentioned searches the node's own SGLang for the APIs without a table entry; package launch checks the others. A task whose APIs
// are all unknown and not mentioned there is refused before it costs GPU time. Otherwise it returns what was found.
func (n *node) mentioned(job *engine.Job) (found []string, err error) {
	var absent []string
	for _, d := range job.Definitions {
		a := reach.Ask(d, reach.Query{Release: n.release})
		if a.Verdict != reach.Unknown {
			continue
		}
		places, err := n.find(d)
		switch {
		case err != nil:
			found = append(found, fmt.Sprintf("%s: it could not be searched for in this node's SGLang: %v", d.Name, err))
		case len(places) == 0:
			absent = append(absent, fmt.Sprintf("%s: %s, and it is not mentioned there", d.Name, a.Why))
		default:
			found = append(found, fmt.Sprintf("%s: this node's SGLang mentions its API at %s", d.Name, places[0]))
		}
	}
	if len(absent) > 0 && len(absent) == len(job.Definitions) {
		return nil, proto.Failf(proto.CodeUnreachable, "SGLang %s has no call to collect for this task: %s", n.release, strings.Join(absent, "; ")).
			WithHint("leave these out, or run a node with another release of SGLang; docs/collectable.md lists what is collectable, with which flags and on which GPUs")
	}
	return append(found, absent...), nil
}

// find returns the places in the node's packages that mention a definition's APIs.
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
