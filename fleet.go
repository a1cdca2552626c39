package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

type fleetCmd struct {
	jobFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints the workers that announced themselves and still do.
func (c *fleetCmd) Run(env *environ) error {
	return c.with(env, "", func(ctx context.Context, b *bus.Bus, _ string) error {
		records, err := bus.OpenRecord[proto.Worker](ctx, b, proto.BucketWorkers)
		if err != nil {
			return err
		}
		entries, err := records.List(ctx, ">")
		if err != nil {
			return err
		}
		workers := []*proto.Worker{}
		var rows [][]string
		for _, e := range entries {
			w := e.Value
			workers = append(workers, w)
			var engines []string
			for _, k := range w.Engines {
				engines = append(engines, string(k))
			}
			doing := w.Doing
			if w.Draining {
				doing += " (draining)"
			}
			rows = append(rows, []string{
				w.ID, w.Role, w.Host, strconv.Itoa(w.PID), strings.Join(engines, " "), gpuCell(w.GPUs), strings.ReplaceAll(doing, ", ", "\n"),
				time.Since(w.RenewedAt).Round(time.Second).String() + " ago",
			})
		}
		if c.JSON {
			return cli.JSON(env.Stdout, workers)
		}
		if len(rows) == 0 {
			fmt.Fprintln(env.Stderr, "no role's process has announced itself here")
		}
		cli.Table(env.Stdout, []string{"WORKER", "ROLE", "HOST", "PID", "ENGINES", "GPUS", "DOING", "SEEN"}, rows)
		return nil
	})
}

// gpuCell shows a worker's GPUs, one a line, with who holds each.
func gpuCell(list []proto.GPU) string {
	var lines []string
	for _, g := range list {
		line := fmt.Sprintf("GPU %d", g.Index)
		if g.Name != "" {
			line += " " + g.Name
		}
		if g.Bytes > 0 {
			line += " " + cli.Bytes(g.Bytes)
		}
		if g.Holder != "" {
			line += ", " + g.Holder
		} else {
			line += ", free"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
