package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/coordinator/harvest"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// harvestCmd makes definitions of what FlashInfer's trace dump wrote.
type harvestCmd struct {
	jobFlags
	From     string   `type:"existingdir" placeholder:"DIR" help:"Directory that FlashInfer's trace dump wrote (FLASHINFER_TRACE_DUMP_DIR)."`
	Job      string   `placeholder:"ID" help:"Job that was collected with --trace-dump, instead of a directory."`
	TraceDir string   `required:"" type:"existingdir" placeholder:"DATASET" help:"Dataset whose names, tags and definitions count."`
	Out      string   `required:"" placeholder:"STAGING" help:"Empty or new directory for the definitions, HARVEST.md and harvest.json."`
	DumpDir  []string `type:"path" placeholder:"DUMPS" help:"Level-10 dumps of the same run: what the calls were really given."`
	Model    []string `placeholder:"NAME" help:"Model for model: tags; a job's own otherwise."`
	TP       int      `name:"tp" help:"Tensor parallel ranks of the run, for tp: tags; a job's own otherwise."`
	EP       int      `name:"ep" help:"Expert parallel ranks, for ep: tags."`
	JSON     bool     `name:"json" help:"Print JSON."`
}

// Run reads, normalises and stages.
func (c *harvestCmd) Run(env *environ) error {
	switch {
	case (c.From == "") == (c.Job == ""):
		return cli.Usagef("say where the trace files are: --from DIR or --job ID, one of them")
	case c.TP < 0 || c.EP < 0:
		return cli.Usagef("--tp is %d and --ep is %d, neither can be negative", c.TP, c.EP)
	}
	if err := harvest.Vacant(c.Out); err != nil {
		return cli.Usagef("--out: %w; give a new one: it is for review, and nothing in it is overwritten", err)
	}
	for _, dir := range c.DumpDir {
		if err := checkDumps("--dump-dir", dir); err != nil {
			return err
		}
	}
	files, err := c.files(env)
	if err != nil {
		return err
	}
	if err := c.complete(env, files); err != nil {
		return err
	}
	definitions, errs := fitrace.LoadDefinitions(c.TraceDir)
	for _, err := range errs {
		fmt.Fprintln(env.Stderr, "warning:", err)
	}
	report := harvest.Run(files, definitions)
	if err := report.Stage(c.Out); err != nil {
		return err
	}
	if c.JSON {
		if err := cli.JSON(env.Stdout, report); err != nil {
			return err
		}
	} else {
		c.print(env, report)
	}
	if report.Counts.Staged == 0 {
		return &cli.ExitError{Code: cli.ExitNothing}
	}
	return nil
}

// files reads the trace files of the directory or the job.
func (c *harvestCmd) files(env *environ) (files []harvest.File, err error) {
	if c.From != "" {
		if files, err = harvest.ReadDir(c.From); err == nil && len(files) == 0 {
			err = cli.Usagef("--from %s: no .json file in it; FlashInfer writes them with FLASHINFER_TRACE_DUMP=1 and FLASHINFER_TRACE_DUMP_DIR", c.From)
		}
		return files, err
	}
	err = c.with(env, c.Job, func(ctx context.Context, b *bus.Bus, id string) error {
		detail, err := coordinator.ShowJob(ctx, b, id)
		if err != nil {
			return err
		}
		if files, err = harvest.FromJob(ctx, b, detail.TaskStates); err == nil && len(files) == 0 {
			err = cli.Usagef("--job %s: its tasks brought no trace files; collect with --trace-dump", id)
		}
		return err
	})
	return files, err
}

// complete adds what the flags and the dumps say of the run.
func (c *harvestCmd) complete(env *environ, files []harvest.File) error {
	dumps := &harvest.Evidence{}
	for _, dir := range c.DumpDir {
		e, unreadable, err := harvest.ReadDumps(dir)
		if err != nil {
			return err
		}
		if unreadable > 0 {
			fmt.Fprintf(env.Stderr, "warning: %s: %d dumps have no whole record and are no evidence\n", dir, unreadable)
		}
		dumps.Merge(e)
	}
	merged := map[*harvest.Evidence]*harvest.Evidence{} // the files of a run share theirs
	for i := range files {
		f := &files[i]
		all := merged[f.Evidence]
		if all == nil {
			all = &harvest.Evidence{}
			all.Merge(f.Evidence)
			all.Merge(dumps)
			merged[f.Evidence] = all
		}
		f.Evidence = all
		if c.TP > 0 {
			f.TP = c.TP
		}
		if c.EP > 0 {
			f.EP = c.EP
		}
		if len(c.Model) > 0 {
			f.Models = slices.Clone(c.Model)
		}
	}
	if !slices.ContainsFunc(files, func(f harvest.File) bool { return !f.Evidence.Empty() }) {
		fmt.Fprintln(env.Stderr, "warning: no dumps of the run are at hand (--dump-dir): what only they can tell is set aside or listed as a doubt")
	}
	return nil
}

func (c *harvestCmd) print(env *environ, report *harvest.Report) {
	var rows [][]string
	for _, e := range report.Entries {
		said := e.Detail
		switch e.Status {
		case harvest.Staged:
			said = strconv.Itoa(len(e.Changes)) + " changes, " + strconv.Itoa(len(e.Doubts)) + " doubts"
		case harvest.Duplicate:
			said = e.Of + ": " + e.Detail
		case harvest.SetAside:
			said = e.Reason + ": " + e.Detail
		}
		rows = append(rows, []string{e.Source, string(e.Status), e.Name, said})
	}
	cli.Table(env.Stdout, []string{"FILE", "IS", "DEFINITION", "WHY"}, rows)
	n := report.Counts
	fmt.Fprintf(env.Stdout, "\n%d files: %d staged in %s, %d duplicates, %d set aside; %s/%s says what was changed and why\n",
		n.Files, n.Staged, c.Out, n.Duplicates, n.SetAside, c.Out, harvest.ReportMarkdown)
}
