package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/publisher"
)

type inspectCmd struct {
	Dir  string `arg:"" type:"path" help:"Dataset or dump directory."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run prints what is in the directory.
func (c *inspectCmd) Run(env *environ) error {
	if err := checkDumpDir("inspect", c.Dir); err != nil {
		return err
	}
	if !isDataset(c.Dir) {
		return c.dumps(env)
	}
	report, err := publisher.Inspect(c.Dir, env.Log)
	if err != nil {
		return err
	}
	if c.JSON {
		return cli.JSON(env.Stdout, report)
	}
	printDataset(env, report)
	if len(report.Problems) > 0 {
		return &cli.ExitError{Code: cli.ExitFailed}
	}
	return nil
}

// isDataset tells the two kinds of directory apart by what only a dataset has.
func isDataset(dir string) bool {
	for _, name := range []string{"definitions", "workloads"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			return true
		}
	}
	return false
}

// batchSizesOf is batchSizes of what lines have.
func batchSizesOf(d *publisher.DefinitionReport) string {
	if len(d.BatchSizes) > 0 {
		return ranges(d.BatchSizes)
	}
	for _, axis := range rowAxes {
		if r, ok := d.Axes[axis]; ok {
			return fmt.Sprintf("%d…%d (%d) (%s)", r.Min, r.Max, r.Distinct, axis)
		}
	}
	return "-"
}

func printDataset(env *environ, r *publisher.Report) {
	var rows [][]string
	for i := range r.Definitions {
		d := &r.Definitions[i]
		source := "-"
		if d.Known > 0 {
			source = fmt.Sprintf("%d of %d known, %d simulated", d.Known, d.Lines, d.Simulated)
			if d.Travels < d.Known {
				source += fmt.Sprintf(", %d in provenance/", d.Travels)
			}
		}
		rows = append(rows, []string{
			d.OpType, d.Name, strconv.Itoa(d.Lines), strconv.Itoa(d.Blobs), cli.Bytes(d.BlobBytes), batchSizesOf(d), ranges(d.KVLen), source,
		})
	}
	cli.Table(env.Stdout, []string{"OP TYPE", "DEFINITION", "LINES", "BLOBS", "BYTES", "BATCH SIZES", "KV LENGTHS ≤", "PROVENANCE"}, rows)
	fmt.Fprintf(env.Stdout, "\n%d workloads, %s of blobs, %d orphan blobs\n", r.Workloads, cli.Bytes(r.BlobBytes), len(r.Orphans))
	for i := range r.Definitions {
		d := &r.Definitions[i]
		for _, s := range d.Dangling {
			fmt.Fprintln(env.Stdout, "dangling:", s)
		}
		for _, s := range d.BadLines {
			fmt.Fprintln(env.Stdout, "bad line:", s)
		}
		for _, s := range d.Provenance {
			fmt.Fprintln(env.Stdout, "bad provenance:", s)
		}
		if d.Duplicates > 0 {
			fmt.Fprintf(env.Stdout, "duplicates: %d lines of %s repeat another's content\n", d.Duplicates, d.Name)
		}
	}
	for _, s := range r.Orphans {
		fmt.Fprintln(env.Stdout, "orphan:", s)
	}
	for _, s := range r.Problems {
		fmt.Fprintln(env.Stdout, "problem:", s)
	}
}
