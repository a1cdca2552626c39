package gpuworker

import (
	"context"
	"fmt"
	"slices"

	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// begins logs and reports the begin of the attempt, with the batch size where the engine serves requests.
func (a *attempt) begins(ctx context.Context) {
	t := &a.began.Task
	line, text := a.log.Info().Str("engine", string(t.Engine.Kind)), fmt.Sprintf("attempt %d begins", a.began.Attempt)
	if t.Engine.Kind.Serves() {
		line, text = line.Int("batch_size", t.BatchSize), fmt.Sprintf("%s: batch size %d", text, t.BatchSize)
	}
	line.Msg("attempt begins")
	a.report.say(ctx, proto.LevelInfo, proto.StageEngine, text+" on "+a.w.id, nil)
}

// origin returns the fields that every manifest of the attempt has. The engine's own are added when it reports them, see
// engine.Job.Identify.
func (a *attempt) origin(defs []*fitrace.Definition) manifest.Origin {
	t := &a.began.Task
	p := t.Provenance()
	p.Host, p.Versions, p.Model = a.w.opt.Node, map[string]string{"tracefleet": a.w.opt.Version}, modelPath(p.Model)
	if t.Engine.Kind == proto.EngineSGLang { // other engines run on no GPU, whatever this node has
		p.GPU = a.grant.Model
		if t.Engine.SGLang != "" {
			p.Versions["sglang"] = t.Engine.SGLang // the engine refuses another release
		}
	}
	borrows, scale := slices.ContainsFunc(defs, fitrace.BorrowsScale), proto.Scale{}
	if borrows {
		scale = modelScale(&t.Engine, a.log)
	}
	return manifest.Origin{
		Collection: t.Collection, Task: t.ID, Attempt: a.began.Attempt, Node: a.w.opt.Node, Definitions: t.Definitions, SkipConst: t.Dump.SkipConst,
		PlanOnly: t.Dump.PlanOnly, Borrows: borrows, Scale: scale, Provenance: p,
	}
}
