package coordinator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"time"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Submission is a request with its definitions, ready to be planned or sent.
type Submission struct {
	Collection  *proto.Collection
	Definitions []*fitrace.Definition // those of the collection, sorted by name
	Plan        *Plan
	Warnings    []string // of resolving; the plan has its own
}

// Prepare resolves a request and plans it, without a broker: all that `collect --plan-only` needs. Definitions without an API
// are left out with a warning, and so are those that SGLang cannot collect, unless they were named: then nothing is planned. Errors
// are *proto.Failure, or of Validate.
func Prepare(r Request) (*Submission, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	defs, warnings, err := Resolve(r.TraceDir, r.Selection)
	if err != nil {
		return nil, err
	}
	named := func(name string) bool { return slices.Contains(r.Names, name) }
	usable, left := withAPI(defs)
	if untagged := slices.DeleteFunc(slices.Clone(left), func(d *fitrace.Definition) bool { return !named(d.Name) }); len(untagged) > 0 || len(usable) == 0 {
		if len(untagged) == 0 {
			untagged = left
		}
		return nil, proto.Failf(proto.CodeNoDefinitions, "no fi_api tag names the call to dump in %s of the selection: %s", counted(len(untagged)), names(untagged)).
			WithHint("leave them out, or add a tag such as \"fi_api:flashinfer.norm.rmsnorm\"")
	}
	if len(left) > 0 {
		warnings = append(warnings, fmt.Sprintf("left out: %s without a fi_api tag, which names the call to dump: %s", counted(len(left)), names(left)))
	}
	engine, more, err := r.EngineSpec()
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, more...)
	s := newSetting(engine, r.Dump, r.SkipConst)
	s.traceDir = r.TraceDir
	usable, unreached, _, err := s.collectable(usable, named)
	if err != nil {
		return nil, err
	}
	usable, unfit, _, err := s.fitting(usable, named)
	if err != nil {
		return nil, err
	}
	for _, u := range slices.Concat(unreached, unfit) {
		warnings = append(warnings, "left out: "+u)
	}
	if r.PR > 0 && len(usable) > 1 {
		return nil, proto.Failf(proto.CodeBadCollection, "--pr-num %d with %d definitions: %s", r.PR, len(usable), names(usable)).
			WithHint("a pull request is of one definition: collect them one by one, or without --pr-num")
	}
	spec, err := r.collection(engine, usable)
	if err != nil {
		return nil, err
	}
	plan, err := NewPlan(spec, usable)
	if err != nil {
		return nil, err
	}
	if spec.Engine.Kind == proto.EngineSGLang {
		more, err := tryLaunch(plan, usable)
		if err != nil {
			return nil, err
		}
		warnings = append(warnings, more...)
	}
	return &Submission{Collection: spec, Definitions: usable, Plan: plan, Warnings: warnings}, nil
}

// tryLaunch puts every task into the words of the release planned for: a flag that it does not take is an error here, before
// any node has waited for weights. Where no release was named the node's own decides, and what the newest known one does not
// take is a warning.
func tryLaunch(plan *Plan, defs []*fitrace.Definition) (warnings []string, err error) {
	for i := range plan.Tasks {
		t := &plan.Tasks[i]
		if t.Traffic.Chat && t.Engine.Mode == proto.ModeOffline {
			return nil, proto.Failf(proto.CodeBadCollection, "--chat with %s: it is collected with the offline Engine, which takes token ids alone", t.Definitions[0].Name).
				WithHint("leave --chat out, or collect it apart from the definitions that need chat")
		}
		if _, err := command(t, defs); err != nil {
			if t.Engine.SGLang != "" || proto.AsFailure(err, proto.CodeInternal).Code == proto.CodeBadCollection {
				return nil, err
			}
			warnings = append(warnings, err.Error()+" (a node with another release may take it)")
		}
	}
	slices.Sort(warnings)
	return slices.Compact(warnings), nil
}

// collection makes the specification; its id is that of its content, see ContentID.
func (r *Request) collection(engine proto.EngineSpec, defs []*fitrace.Definition) (*proto.Collection, error) {
	traceDir, err := filepath.Abs(r.TraceDir)
	if err != nil {
		return nil, fmt.Errorf("trace directory %s: %w", r.TraceDir, err)
	}
	c := &proto.Collection{
		Engine: engine,
		Dump:   proto.DumpSpec{Count: r.DumpCount, Include: r.Include, What: r.Dump, TraceDump: r.TraceDump, QuotaBytes: r.QuotaBytes, SkipConst: r.SkipConst},
		Publish: proto.PublishSpec{
			TraceDir: traceDir, WorkloadsPerBatch: r.WorkloadsPerBatch, ReplaceFirst: r.ReplaceFirst, NoEval: r.NoEval, NoPush: r.NoPush,
			Repo: r.Repo, PR: r.PR, AllowSimulated: r.AllowSimulated, DefinitionPR: r.DefinitionPR,
		},
	}
	if engine.Kind.Serves() {
		c.BatchSizes, c.Traffic = r.BatchSizes, r.Traffic
	}
	if c.Traffic.TraceBlock == proto.DefaultTraceBlock {
		c.Traffic.TraceBlock = 0 // the same collection, whether the default is written or not
	}
	// Paths are made absolute here, where they were typed: another process has another working directory.
	for _, p := range []struct {
		from string
		to   *string
	}{{r.DumpDir, &c.Engine.DumpDir}, {c.Traffic.ShareGPTPath, &c.Traffic.ShareGPTPath}, {c.Traffic.TracePath, &c.Traffic.TracePath}} {
		if p.from == "" {
			continue
		}
		if *p.to, err = filepath.Abs(p.from); err != nil {
			return nil, fmt.Errorf("path %s: %w", p.from, err)
		}
	}
	for _, d := range defs {
		c.Definitions = append(c.Definitions, proto.DefinitionRef{Name: d.Name, OpType: d.OpType, Digest: d.Digest()})
	}
	c.ID = ContentID(c)
	c.SubmittedAt, c.SubmittedBy = time.Now().UTC(), whoAmI()
	return c, nil
}

// ContentID is "c-" and the first 12 hex digits of the SHA-256 of what a collection asks for: its JSON without id, time and
// user. Asking for the same again gives the same id, which is how an interrupted collection is found and resumed.
func ContentID(c *proto.Collection) string {
	spec := *c
	spec.ID, spec.SubmittedAt, spec.SubmittedBy = "", time.Time{}, ""
	data, err := json.Marshal(spec)
	if err != nil { // a float that JSON has no form for; Validate lets none through
		data = fmt.Appendf(nil, "%#v", spec)
	}
	sum := sha256.Sum256(data)
	return "c-" + hex.EncodeToString(sum[:])[:12]
}

func whoAmI() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if u, err := user.Current(); err == nil {
		return u.Username + "@" + host
	}
	return host
}
