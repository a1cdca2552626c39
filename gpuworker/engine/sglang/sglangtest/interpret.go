package sglangtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tracefleet/tracefleet/internal/sglang"
)

// interpret is the interpreter's main.
func interpret(o *Options, args []string) int {
	switch {
	case len(args) > 1 && args[0] == "-c":
		return o.packages(args[2:])
	case len(args) > 1 && args[0] == "-m" && args[1] == "sglang.launch_server":
		return o.serve(args[2:])
	case len(args) == 1 && args[0] == engineMode:
		return o.engine()
	case len(args) == 2 && args[0] == schedulerMode:
		return o.scheduler(args[1])
	case len(args) == 1 && args[0] == sleeperMode:
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		o.note("pid %d", os.Getpid())
		fmt.Println("up")
		select {}
	}
	fmt.Fprintf(os.Stderr, "sglangtest: no stand-in for %q\n", args)
	return 1
}

// Arguments of the stand-in's own processes.
const (
	engineMode    = "sglangtest-engine"
	schedulerMode = "sglangtest-scheduler"
	sleeperMode   = "sglangtest-sleeper"
)

// table gives what the release takes.
func (o *Options) table() *sglang.Table {
	t, err := sglang.Lookup(o.Release, true)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sglangtest:", err)
		os.Exit(1)
	}
	return t
}

// packages answers package pyenv's question.
func (o *Options) packages([]string) int {
	found := map[string]string{"sglang": o.Release, "flashinfer-python": o.table().FlashInfer, "torch": "2.11.0", "ninja": "1.13.0"}
	for name, v := range o.Packages {
		if found[name] = v; v == "" {
			delete(found, name)
		}
	}
	err := json.NewEncoder(os.Stdout).Encode(map[string]any{"version": "3.12.3", "packages": found, "site": []string{o.Site}})
	if err != nil {
		return 1
	}
	return 0
}

// parse takes a command line apart as the release's own parser would; what it does not take ends the process as argparse does.
func (o *Options) parse(t *sglang.Table, args []string) map[string][]string {
	if err := t.CheckArgs(args); err != nil {
		var f *sglang.FlagError
		words := err.Error()
		if errors.As(err, &f) {
			switch {
			case t.Option(f.Flag) == nil || t.Option(f.Flag).Refused:
				words = "unrecognized arguments: " + f.Flag
			case strings.Contains(f.Problem, "missing"):
				words = "the following arguments are required: " + f.Flag
			default:
				words = "argument " + f.Flag + ": invalid choice or value: " + f.Problem
			}
		}
		fmt.Fprintln(os.Stderr, "usage: launch_server.py [-h] --model-path MODEL_PATH")
		fmt.Fprintln(os.Stderr, "launch_server.py: error: "+words)
		os.Exit(2)
	}
	fields := map[string][]string{}
	for i := 0; i < len(args); {
		name, value, joined := strings.Cut(args[i], "=")
		i++
		var values []string
		if joined {
			values = []string{value}
		}
		for ; !joined && i < len(args) && !strings.HasPrefix(args[i], "--"); i++ {
			values = append(values, args[i])
		}
		fields[t.Option(name).Field] = values
	}
	return fields
}
