package main

import (
	"fmt"
	"slices"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

// selectionFlags choose definitions of a trace directory.
type selectionFlags struct {
	Definitions []string `name:"definitions" aliases:"def-name" placeholder:"NAME,..." help:"Definitions by name."`
	OpType      []string `name:"op-type" placeholder:"TYPE,..." help:"Every definition of an op type."`
	All         bool     `help:"Every definition of the trace directory."`
}

func (f selectionFlags) selection() coordinator.Selection {
	return coordinator.Selection{Names: f.Definitions, OpTypes: f.OpType, All: f.All}
}

type definitionsCmd struct {
	Resolve resolveCmd `cmd:"" help:"Show what would be dumped for a selection and which definitions share an engine; for sglang, which are collectable and why the others are not."`
	Harvest harvestCmd `cmd:"" help:"Definitions of what was really called, from FlashInfer's trace dump (collect --trace-dump), made true and staged for review."`
}

type resolveCmd struct {
	selectionFlags
	TraceDir string `required:"" type:"existingdir" placeholder:"DIR" help:"Directory that holds definitions/<op_type>/<name>.json."`
	Engine   string `enum:"sglang,replay,simulate" default:"simulate" help:"Engine to group for. sglang also shows what is collectable, by which server flags, and why not."`
	Dump     string `enum:"auto,run,plan" default:"auto" help:"What is dumped, as collect takes it."`
	modelFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints the resolution.
func (c *resolveCmd) Run(env *environ) error {
	sel := c.selection()
	if len(sel.Names)+len(sel.OpTypes) == 0 {
		sel.All = true // a question about nothing in particular is about everything
	}
	defs, warnings, err := coordinator.Resolve(c.TraceDir, sel)
	if err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: err}
	}
	request := c.setting()
	request.Engine = proto.EngineKind(c.Engine)
	engine, more, err := request.EngineSpec()
	if err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: err}
	}
	r := coordinator.NewResolution(engine, c.Dump, defs)
	r.Warnings = slices.Concat(warnings, more, r.Warnings)
	if c.JSON {
		return cli.JSON(env.Stdout, r)
	}
	header, rows := r.Table()
	cli.Table(env.Stdout, header, rows)
	fmt.Fprintln(env.Stdout)
	for _, line := range r.Summary() {
		fmt.Fprintln(env.Stdout, line)
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(env.Stderr, "warning:", w)
	}
	return nil
}
