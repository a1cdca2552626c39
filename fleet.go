package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

type fleetCmd struct {
	jobFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints the processes whose announcements the broker has, and which roles are missing.
func (c *fleetCmd) Run(env *environ) error {
	return c.with(env, "", func(ctx context.Context, b *bus.Bus, _ string) error {
		list, err := coordinator.ListAnnounced(ctx, b)
		if err != nil {
			return err
		}
		lacks, err := coordinator.MissingRoles(ctx, b, list)
		if err != nil {
			return err
		}
		if c.JSON {
			err = cli.JSON(env.Stdout, workersOf(list))
		} else {
			printFleet(env, list)
		}
		c.printMissing(env, lacks)
		return err
	})
}

func workersOf(list []coordinator.Announced) []*proto.Worker {
	workers := []*proto.Worker{}
	for _, a := range list {
		workers = append(workers, a.Worker)
	}
	return workers
}

func printFleet(env *environ, list []coordinator.Announced) {
	var rows [][]string
	for _, w := range list {
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
			w.Age.Round(time.Second).String() + " ago",
		})
	}
	cli.Table(env.Stdout, []string{"WORKER", "ROLE", "HOST", "PID", "ENGINES", "GPUS", "DOING", "SEEN"}, rows)
}

// printMissing prints a line for each missing role. On a state directory one process runs all roles.
func (f jobFlags) printMissing(env *environ, lacks []coordinator.MissingRole) {
	for _, m := range lacks {
		command := m.Command()
		if f.NATS == "" {
			command = "tracefleet serve"
		}
		fmt.Fprintf(env.Stderr, "%s; `%s` starts one\n", m, command)
	}
}

// gpuCell returns a worker's GPUs, one a line, each with its holder.
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
