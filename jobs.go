package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

type jobsCmd struct {
	List   jobsListCmd   `cmd:"" help:"Every collection, live or ended, latest first."`
	Show   jobsShowCmd   `cmd:"" help:"One collection: tasks, attempts, where every dump went."`
	Watch  jobsWatchCmd  `cmd:"" help:"Follow one until it has ended."`
	Cancel jobsCancelCmd `cmd:"" help:"Stop one: running engines too. What is published stays."`
	Retry  jobsRetryCmd  `cmd:"" help:"Run the failed and cancelled tasks of an ended one again."`
	Logs   jobsLogsCmd   `cmd:"" help:"The stored log of one."`
}

// jobFlags find the broker that knows the jobs.
type jobFlags struct {
	connectFlags
	StateDir string `default:".tracefleet-state" placeholder:"DIR" help:"State directory of the collection, without --nats (${default})."`
}

// errHostGone says that the process whose broker was joined has ended.
var errHostGone = errors.New("the process that holds the state directory has ended")

// with runs fn on the broker, and on the job that id names unless id is empty.
func (f jobFlags) with(env *environ, id string, fn func(ctx context.Context, b *bus.Bus, id string) error) error {
	return f.withSession(env, id, func(ctx context.Context, s *session, id string) error { return fn(ctx, s.bus, id) })
}

func (f jobFlags) withSession(env *environ, id string, fn func(ctx context.Context, s *session, id string) error) error {
	s, err := f.join(env.Soft, env, f.StateDir)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithCancelCause(env.Soft)
	defer cancel(nil)
	if s.guest {
		go func() {
			<-s.bus.Closed()
			cancel(errHostGone)
		}()
	}
	if id != "" {
		if id, err = coordinator.FindJob(ctx, s.bus, id); err != nil {
			return err
		}
		if dir, err := coordinator.TraceDir(ctx, s.bus, id); err == nil {
			env.Commands.Use("trace-dir", dir)
		}
	}
	err = fn(ctx, s, id)
	var concluded *cli.ExitError
	if err != nil && s.guest && !errors.As(err, &concluded) {
		select {
		case <-s.bus.Closed(): // whatever it was in the middle of
			return errHostGone
		case <-time.After(time.Second): // the error can come first
		}
	}
	return err
}

type jobsListCmd struct {
	jobFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints every collection.
func (c *jobsListCmd) Run(env *environ) error {
	return c.with(env, "", func(ctx context.Context, b *bus.Bus, _ string) error {
		jobs, err := coordinator.ListJobs(ctx, b)
		if err != nil {
			return err
		}
		if c.JSON {
			return cli.JSON(env.Stdout, jobs)
		}
		var rows [][]string
		for i := range jobs {
			j := &jobs[i]
			rows = append(rows, []string{
				j.ID, string(j.State), string(j.Engine), strconv.Itoa(j.Definitions), fmt.Sprintf("%d/%d", j.Done, j.Tasks), strconv.Itoa(j.Failed),
				j.SubmittedAt.Local().Format(time.DateTime), j.SubmittedBy,
			})
		}
		if len(rows) == 0 {
			fmt.Fprintln(env.Stderr, "no collection was ever submitted here")
		}
		cli.Table(env.Stdout, []string{"COLLECTION", "STATE", "ENGINE", "DEFINITIONS", "TASKS DONE", "FAILED", "SUBMITTED", "BY"}, rows)
		return nil
	})
}

// jobArg names one job.
type jobArg struct {
	ID string `arg:"" help:"Collection id, or the beginning of it."`
}

type jobsShowCmd struct {
	jobFlags
	jobArg
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints one collection.
func (c *jobsShowCmd) Run(env *environ) error {
	return c.with(env, c.ID, func(ctx context.Context, b *bus.Bus, id string) error {
		detail, err := coordinator.ShowJob(ctx, b, id)
		if err != nil {
			return err
		}
		if c.JSON {
			return cli.JSON(env.Stdout, detail)
		}
		printAccount(env.Stdout, detail.Account)
		fmt.Fprintln(env.Stdout)
		printTasks(env, detail.TaskStates)
		c.printMissing(env, detail.Missing)
		return nil
	})
}

func printTasks(env *environ, tasks []*proto.TaskState) {
	var rows [][]string
	for _, t := range tasks {
		batch, mode, tp := "-", "-", "-" // unknown, or none
		if e := &t.Task.Engine; e.Kind.Serves() {
			batch, mode, tp = strconv.Itoa(t.Task.BatchSize), string(e.Mode), strconv.Itoa(e.TP)
		}
		rows = append(rows, []string{
			t.Task.ID, string(t.State), batch, mode, tp,
			strconv.Itoa(len(t.Task.Definitions)), strconv.FormatUint(uint64(t.Attempt), 10), t.Worker, strconv.FormatInt(t.Counts.Dumps, 10),
		})
	}
	cli.Table(env.Stdout, []string{"TASK", "STATE", "BATCH", "MODE", "TP", "DEFINITIONS", "ATTEMPT", "WORKER", "DUMPS"}, rows)
}

type jobsWatchCmd struct {
	jobFlags
	jobArg
	JSON bool `name:"json" help:"Print the closing account as JSON."`
}

// Run follows one collection.
func (c *jobsWatchCmd) Run(env *environ) error {
	err := c.watch(env)
	if errors.Is(err, errHostGone) {
		err = c.watch(env) // its broker went with it; how it ended is in the state directory
	}
	if errors.Is(err, context.Canceled) {
		return &cli.ExitError{Code: cli.ExitInterrupted}
	}
	return err
}

func (c *jobsWatchCmd) watch(env *environ) error {
	return c.withSession(env, c.ID, func(ctx context.Context, s *session, id string) error {
		if s.server != nil { // nobody else is here, so nothing more will happen
			job, err := coordinator.ShowJob(ctx, s.bus, id)
			if err != nil {
				return err
			}
			state := string(job.State)
			if job.Retrying {
				state += ", to be retried"
			}
			if !job.State.Final() || job.Retrying {
				return &cli.ExitError{Code: cli.ExitInterrupted, Err: fmt.Errorf("collection %s is %s, and nothing runs it; the same collect on this state directory, or `tracefleet serve`, resumes it", id, state)}
			}
		}
		if err := follow(ctx, env, s.bus, id, c.StateDir, ""); err != nil {
			return err
		}
		return conclude(context.Background(), env, s.bus, id, c.JSON)
	})
}

type jobsCancelCmd struct {
	jobFlags
	jobArg
}

// Run asks for the cancellation.
func (c *jobsCancelCmd) Run(env *environ) error {
	return c.withSession(env, c.ID, func(ctx context.Context, s *session, id string) error {
		if err := coordinator.CancelJob(ctx, s.bus, id); err != nil {
			return err
		}
		if s.server != nil { // nobody else is here
			fmt.Fprintf(env.Stdout, "%s: will be cancelled by the next collect or serve on this state directory; nothing runs it now\n", id)
			return nil
		}
		fmt.Fprintf(env.Stdout, "%s: cancelling\n", id)
		return nil
	})
}

type jobsRetryCmd struct {
	jobFlags
	jobArg
}

// Run asks for the retry.
func (c *jobsRetryCmd) Run(env *environ) error {
	return c.with(env, c.ID, func(ctx context.Context, b *bus.Bus, id string) error {
		if err := coordinator.RetryJob(ctx, b, id); err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "%s: its failed tasks are queued again; a coordinator and a gpuworker must run (on a state directory: run the same collect again, or `tracefleet serve`)\n", id)
		return nil
	})
}

type jobsLogsCmd struct {
	jobFlags
	jobArg
	Task string `placeholder:"TASK" help:"Only this task's lines."`
	JSON bool   `name:"json" help:"Print JSON lines."`
}

// Run prints the stored log.
func (c *jobsLogsCmd) Run(env *environ) error {
	return c.with(env, c.ID, func(ctx context.Context, b *bus.Bus, id string) error {
		return coordinator.JobLog(ctx, b, id, c.Task, func(e *proto.Event) error {
			if c.JSON {
				return cli.JSONLine(env.Stdout, e)
			}
			_, err := fmt.Fprintln(env.Stdout, e.Time.Local().Format(time.DateTime), eventLine(e))
			return err
		})
	})
}
