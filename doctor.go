package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/gpuworker/doctor"
	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/gpuworker/pyenv"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

type doctorCmd struct {
	connectFlags
	Python   string `placeholder:"PATH" help:"Interpreter to look at, instead of the environment that gpuworker setup made."`
	CondaEnv string `name:"conda-env" placeholder:"NAME" help:"Conda environment to look at."`
	GPUs     string `name:"gpus" placeholder:"LIST" help:"GPUs that workers here would lease."`
	WorkDir  string `default:".tracefleet-work" placeholder:"DIR" help:"Where dumps would lie (${default})."`
	JSON     bool   `name:"json" help:"Print JSON."`
}

// Run prints a line a check; the exit code is 1 where the sglang engine could not run.
func (c *doctorCmd) Run(env *environ) error {
	if err := checkGPUs(c.GPUs); err != nil {
		return err
	}
	known := sglang.Known()
	list := doctor.Look(env.Hard, doctor.Options{
		Wish: pyenv.Wish{Python: c.Python, CondaEnv: c.CondaEnv, Dir: pyenv.DefaultDir()}, WorkDir: c.WorkDir, Getenv: os.Getenv,
		GPUs: func(ctx context.Context) (doctor.GPUs, error) {
			// Asked for all of them, a driver that does not answer is an error; a worker that was asked for none does without.
			n, err := lease.Open(ctx, lease.Options{GPUs: cmp.Or(c.GPUs, "all"), Visible: lease.VisibleHere(), Log: env.Log})
			if err != nil {
				return doctor.GPUs{}, err
			}
			return doctor.GPUs{List: n.GPUs(), Faults: n.Faults(), Notes: n.Notes()}, nil
		},
		Releases: [2]string{known[0], known[len(known)-1]},
		Tested:   func(release string) bool { _, err := sglang.Lookup(release, false); return err == nil },
	})
	list = append(list, c.broker(env), hubToken())
	failed := slices.ContainsFunc(list, func(f doctor.Finding) bool { return f.Grade == doctor.Fail })
	if c.JSON {
		if err := cli.JSON(env.Stdout, list); err != nil {
			return err
		}
	} else {
		for _, f := range list {
			line := fmt.Sprintf("%-5s %-17s %s", f.Grade, f.Check, f.Found)
			if f.Remedy != "" {
				line += ": " + f.Remedy
			}
			fmt.Fprintln(env.Stdout, line)
		}
	}
	if failed {
		return &cli.ExitError{Code: cli.ExitFailed}
	}
	return nil
}

// broker reports whether the fleet's broker answers.
func (c *doctorCmd) broker(env *environ) doctor.Finding {
	f := doctor.Finding{Check: "broker", Grade: doctor.OK, Found: "none named; collect brings its own"}
	if c.NATS == "" {
		return f
	}
	b, err := c.connect(env.Soft, env, "doctor", sizeFlags{})
	if err != nil {
		p := proto.AsFailure(err, proto.CodeInternal)
		return doctor.Finding{Check: f.Check, Grade: doctor.Fail, Found: p.Message, Remedy: cmp.Or(p.Hint, "check --nats, its credentials and the way there")}
	}
	b.Close()
	f.Found = "it answers, streams and buckets are there"
	return f
}

// hubToken tells whether this user has a token for the Hub, and never what it is. Gated models need one on a GPU node; one that may
// write belongs to the publisher's node alone.
func hubToken() doctor.Finding {
	f := doctor.Finding{Check: "hub token", Grade: doctor.OK, Found: "none"}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if os.Getenv(name) != "" {
			f.Found = "in " + name
			return f
		}
	}
	home := os.Getenv("HF_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return f
		}
		home = filepath.Join(user, ".cache", "huggingface")
	}
	path := cmp.Or(os.Getenv("HF_TOKEN_PATH"), filepath.Join(home, "token"))
	if data, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(data)) != "" {
		f.Found = "in " + path
	}
	return f
}
