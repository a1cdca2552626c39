package sglang

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/launch"
	"github.com/tracefleet/tracefleet/internal/modelconfig"
	release "github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// plan is how this lifetime's engine is started and spoken with.
type plan struct {
	args     []string       // of the interpreter, in the HTTP modes
	keywords map[string]any // of the Engine, in offline mode
	env      []string
	ready    string // path of the server that answers when it is ready
	host     string
	port     int
	notes    []string // what a reader of the log should know
}

func (p *plan) offline() bool { return p.keywords != nil }

// plan asks package launch for the command of the task on this node. It is the one that the planning showed, but for paths and
// ports.
func (e *Engine) plan(ctx context.Context, job *engine.Job, n *node) (*plan, error) {
	t := &job.Task
	if planned := t.Engine.SGLang; planned != "" && release.Compare(planned, n.release) != 0 {
		return nil, proto.Failf(proto.CodeEnvironment, "the task was planned for SGLang %s, and %s has %s", planned, e.opt.Python, n.release).
			WithHint("plan without --sglang-version, or make an environment that has it: `tracefleet gpuworker setup --sglang %s`", planned)
	}
	t.Engine.AnyRelease = t.Engine.AnyRelease || e.opt.AnyRelease
	where := launch.Node{Release: n.release, DumpDir: job.DumpDir, TraceDir: job.TraceDir, CacheDir: e.opt.WorkspaceBase, Architecture: t.Engine.Architecture}
	if e.opt.Capability != nil {
		where.Capability = e.opt.Capability()
	}
	if where.Architecture == "" {
		if config, err := modelconfig.ReadDir(t.Engine.ModelPath, ""); err == nil && config != nil { // SGLang reports what is wrong with it
			where.Architecture = config.Architecture()
		}
	}
	if t.Engine.Mode != proto.ModeOffline && t.Engine.Port == 0 {
		var err error
		if where.Port, err = freePort(ctx, t.Engine.Host); err != nil {
			return nil, err
		}
	}
	cmd, err := launch.ForTask(t, job.Definitions, where)
	if err != nil {
		return nil, err
	}
	if have := len(job.Devices); have > 0 && cmd.GPUs != have {
		return nil, proto.Failf(proto.CodeBadServerFlag, "task %s: its flags make SGLang %s take %d GPUs, and %d were leased for it", t.ID, n.release, cmd.GPUs, have).
			WithHint("plan with --sglang-version %s, so that its GPUs are counted by that release", n.release)
	}
	p := &plan{args: cmd.Args, env: cmd.Env, ready: cmd.Ready, notes: slices.Concat(cmd.Cautions, cmd.Notices)}
	if why, _ := misfits(job); len(why) > 0 {
		p.notes = append(p.notes, "not collected: "+strings.Join(why, "; "))
	}
	if len(cmd.Args) == 0 {
		p.keywords = cmd.Keywords()
		return p, nil
	}
	// A user's own flag wins over what was chosen, so the address is read from the command line.
	p.host = flagOf(cmd.Args, "--host")
	if p.port, err = strconv.Atoi(flagOf(cmd.Args, "--port")); err != nil {
		return nil, proto.Failf(proto.CodeBadServerFlag, "the command line of task %s has no --port that is a number: %q", t.ID, cmd.Args).
			WithHint("give the port by --sglang-port")
	}
	return p, nil
}

// flagOf returns the last value of a flag, which is the one that counts.
func flagOf(args []string, name string) (value string) {
	for i, a := range args {
		switch {
		case a == name && i+1 < len(args):
			value = args[i+1]
		case len(a) > len(name) && a[:len(name)+1] == name+"=":
			value = a[len(name)+1:]
		}
	}
	return value
}
