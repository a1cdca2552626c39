package main

import (
	"slices"
	"strings"
	"unicode"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/gpuworker/pyenv"
	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/proto"
)

// lookHere completes a request that is to be served by this node with what the node says of itself: its SGLang release and its GPUs.
// What cannot be collected on them is then refused before anything starts, and not by the worker.
func (c *collectCmd) lookHere(env *environ, r *coordinator.Request) error {
	if err := c.check(); err != nil {
		return err
	}
	if r.SGLang == "" {
		python, err := resolvePython(c.Python, c.CondaEnv)
		if err != nil {
			return err
		}
		report, err := pyenv.Probe(env.Soft, python)
		if err != nil {
			return err
		}
		if r.SGLang = report.Packages["sglang"]; r.SGLang == "" {
			return proto.Failf(proto.CodeEnvironment, "%s has no SGLang", python).
				WithHint("`tracefleet gpuworker setup` makes an environment; --python or --conda-env names one; `tracefleet doctor` says what is missing")
		}
	}
	if r.GPUType != "" {
		return nil
	}
	node, err := lease.Open(env.Soft, lease.Options{GPUs: c.GPUs, Visible: lease.VisibleHere(), Log: env.Log})
	if err != nil {
		return err
	}
	models, err := coordinator.LoadCatalogue(r.Catalogue)
	if err != nil {
		return err
	}
	for i, d := range node.Devices() {
		switch kind := gpuType(d.Name, models.GPUTypes()); {
		case i == 0:
			r.GPUType = kind
		case kind != r.GPUType: // a task may get either
			r.GPUType = ""
			return nil
		}
	}
	return nil
}

// gpuType gives the catalogue's word for a device by the driver's name of it, such as h100 for "NVIDIA H100 80GB HBM3". It must be a
// whole word of the name: an L40S is no l4, and a GH200 no h200. One that the catalogue has no word for keeps its name, where that tells its
// architecture; empty: it does not.
func gpuType(name string, known []string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for _, word := range known {
		if slices.Contains(words, strings.ToLower(word)) {
			return word
		}
	}
	if reach.Capability(name) == 0 {
		return ""
	}
	return name
}
