// Command tracefleet collects real kernel workloads: it runs inference with FlashInfer's level-10 API logging, turns each dumped
// call into a flashinfer-trace workload, and writes a diverse selection into a dataset. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/gpuworker/proc"
	"github.com/tracefleet/tracefleet/internal/cli"
)

// app is the command line. Each field is a subcommand in a file of its name.
type app struct {
	Collect     collectCmd     `cmd:"" help:"Submit a collection and follow it; without --nats all four roles run in this process."`
	Sanitize    sanitizeCmd    `cmd:"" help:"Convert a dump directory into a dataset directory, offline."`
	Inspect     inspectCmd     `cmd:"" help:"Show what is in a dataset or dump directory."`
	Definitions definitionsCmd `cmd:"" help:"What a selection of definitions would collect, and how."`
	Jobs        jobsCmd        `cmd:"" help:"What was submitted and how it goes."`
	Fleet       fleetCmd       `cmd:"" help:"Which processes serve the fleet, and what each is doing."`
	Doctor      doctorCmd      `cmd:"" help:"Check this node: what the sglang engine would miss here, and how to get it."`
	Coordinator coordinatorCmd `cmd:"" help:"Run the coordinator: plans collections and closes their tasks."`
	Gpuworker   gpuworkerCmd   `cmd:"" help:"Run a GPU worker: engines, dumps, manifests."`
	Sanitizer   sanitizerCmd   `cmd:"" help:"Run a sanitizer: manifests to candidates."`
	Publisher   publisherCmd   `cmd:"" help:"Run the publisher: candidates to the dataset."`
	HubSandbox  hubSandboxCmd  `cmd:"" help:"Serve a strict local Hub, to rehearse a publication against."`
	Serve       serveCmd       `cmd:"" help:"Run all roles and the broker in one long-lived process."`
	Version     versionCmd     `cmd:"" help:"Print the version."`

	LogLevel string `help:"Least level logged to standard error: debug, info, warn or error." default:"info" enum:"debug,info,warn,error"`
	LogJSON  bool   `help:"Log as JSON lines."`
}

// listFlags are those which take several values: --batch-sizes 64 128, --batch-sizes 64,128 or both.
var listFlags = []string{"batch-sizes", "def-name", "definitions", "include-pattern", "engines", "op-type"}

// expand puts the arguments into the form that the parser knows.
func expand(args []string) []string {
	return cli.ExpandLists(cli.ExpandPassed(args, "extra-server-flag"), listFlags...)
}

// environ is what a command may touch of the world; tests give it buffers.
type environ struct {
	Stdout, Stderr io.Writer
	// Commands completes the commands in what is written to Stdout, Stderr and Log.
	Commands *cli.Commands
	Log      zerolog.Logger
	// Soft ends at the first signal: take no more work, finish what is in hand. Hard ends at the second: stop now.
	Soft, Hard context.Context
}

func main() {
	proc.MaybeSupervise() // does not return in the process that watches over an engine's
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes a command line, prints why it failed, and returns the exit code. A command whose output could not be written has failed,
// whatever it returned.
func run(args []string, stdout, stderr io.Writer) int {
	out := cli.NewOutput(stdout)
	err := execute(args, out, stderr)
	if lost := out.Err(); lost != nil {
		if err != nil && !errors.Is(err, errors.Unwrap(lost)) && !silent(err) {
			fmt.Fprintf(stderr, "tracefleet: %v\n", err)
		}
		err = lost
	}
	if err != nil && !silent(err) {
		fmt.Fprintf(stderr, "tracefleet: %v\n", err)
	}
	return cli.ExitCode(err)
}

// execute parses a command line and runs its command.
func execute(args []string, stdout, stderr io.Writer) error {
	var a app
	helped := false
	parser, err := kong.New(&a, kong.Name("tracefleet"), kong.UsageOnError(), kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }), // called when the help was printed; the parser then continues
		kong.Description("Collects real kernel workloads from LLM inference into a flashinfer-trace dataset.\n\n"+
			"Exit codes: 0 done, 1 failed, 2 bad usage, 3 nothing collected, 4 evaluation gate refused, 5 interrupted (the same command resumes)."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.PostBuild(engineHelp))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(expand(args))
	switch {
	case helped:
		return nil
	case err != nil:
		return cli.Usagef("%w; run tracefleet --help", err)
	}
	soft, hard, stop := signals()
	defer stop()
	commands := newCommands(parser, parsed, stderr)
	err = parsed.Run(&environ{
		Stdout: commands.Writer(stdout, printsJSON(parsed)), Stderr: commands.Writer(stderr, false), Commands: commands,
		Log: newLogger(commands.Writer(stderr, a.LogJSON), a.LogLevel, a.LogJSON), Soft: soft, Hard: hard,
	})
	return shownError(commands, err)
}

// silent reports an exit code whose reason the command has printed already.
func silent(err error) bool {
	var exit *cli.ExitError
	return errors.As(err, &exit) && exit.Err == nil
}

// signals gives two contexts: the first ends at the first SIGINT or SIGTERM, the second at the second.
func signals() (soft, hard context.Context, stop func()) {
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	soft, softCancel := context.WithCancel(context.Background())
	hard, hardCancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		for _, cancel := range []context.CancelFunc{softCancel, hardCancel} {
			select {
			case <-ch:
				cancel()
			case <-done:
				return
			}
		}
	}()
	return soft, hard, func() {
		signal.Stop(ch)
		close(done)
		hardCancel()
		softCancel()
	}
}

type versionCmd struct{}

// Run prints the module version the binary was built from.
func (versionCmd) Run(env *environ) error {
	fmt.Fprintln(env.Stdout, version())
	return nil
}

// version is the module version, or the commit, that the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
