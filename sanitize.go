package main

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher"
	"github.com/tracefleet/tracefleet/publisher/dataset"
	"github.com/tracefleet/tracefleet/sanitizer"
)

// sanitizeCmd has the flags of sanitize_dumps.py.
type sanitizeCmd struct {
	selectionFlags
	DumpDir            string `required:"" type:"path" placeholder:"DIR" help:"Level-10 dump directory; nothing in it is changed."`
	TraceDir           string `name:"flashinfer-trace-dir" aliases:"trace-dir" required:"" placeholder:"DIR" help:"Dataset directory: definitions are read there, workloads and blobs written."`
	Replace            bool   `help:"Take the place of the definitions' lines instead of adding to them."`
	SkipConstAxisCheck bool   `help:"Accept other constants than the definition's, as across TP."`
	MaxNewWorkloads    int    `default:"20" help:"Most new workloads a definition."`
	Dump               string `default:"run" enum:"auto,run,plan" help:"What makes workloads. run: the runs. plan: each plan, which stands for the runs after it, also where those lack their cache, as before FlashInfer 0.6.12; plans of warm-up too, which nothing here tells apart. auto: runs, and the plans of wrappers none of whose runs is there, as collect --dump auto leaves them."`
	ModelConfig        string `type:"existingfile" placeholder:"FILE" help:"The model's config.json: the softmax scale of ragged MLA prefill follows from it, which no dump of the run has. If the dumps have the model's paged MLA plans, both must agree."`
	Mode               string `enum:"offline,http-paged,http-ragged,any" default:"any" help:"How the engine was driven. Plans of paged prefill stand for runs in http-paged alone: elsewhere they are made on every prefill."`
	DryRun             bool   `help:"Say what would be written, and write nothing."`
	JSON               bool   `name:"json" help:"Print JSON."`
}

// Memory of a conversion. Nearly all of it is garbage at once: collected only near the limit it costs a fifth less time. A
// directory whose verdicts alone come near the limit goes on with the ordinary collector.
const (
	spoolBytes   = 16 << 20 // of tensors, the rest goes to a file
	memoryLimit  = 56 << 20
	ordinaryFrom = 8000 // verdicts
)

// sanitizeReport is what sanitize prints.
type sanitizeReport struct {
	Counts      proto.AttemptCounts `json:"counts"`
	Definitions []*publisher.Local  `json:"definitions"`
	Total       proto.Tally         `json:"total"`     // each manifest once
	Simulated   bool                `json:"simulated"` // dumps are marked as simulated
}

// Run converts the directory: tail.Scan, sanitizer.Convert and publisher.PublishLocal, with no broker between them.
func (c *sanitizeCmd) Run(env *environ) error {
	if err := checkDumpDir("--dump-dir", c.DumpDir); err != nil {
		return err
	}
	if c.MaxNewWorkloads < 1 {
		return cli.Usagef("--max-new-workloads is %d, must be at least 1", c.MaxNewWorkloads)
	}
	defs, warnings, err := coordinator.Resolve(c.TraceDir, c.selection())
	if err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: err}
	}
	for _, w := range warnings {
		fmt.Fprintln(env.Stderr, "warning:", w)
	}
	if !c.DryRun {
		if err := dataset.Check(c.TraceDir, defs); err != nil {
			return &cli.ExitError{Code: cli.ExitUsage, Err: err} // nothing was converted
		}
	}
	tensors := newSpool(spoolBytes)
	defer tensors.Close()
	report := &sanitizeReport{}
	var verdicts []*proto.Verdict
	report.Counts, verdicts, err = c.convert(env, defs, tensors)
	if err != nil {
		return err
	}
	report.Simulated = slices.ContainsFunc(verdicts, func(v *proto.Verdict) bool { return v.Provenance.Simulated })
	report.Definitions, err = publisher.PublishLocal(env.Hard, c.TraceDir, defs, verdicts, tensors.Get, publisher.LocalOptions{
		Max: c.MaxNewWorkloads, Replace: c.Replace, DryRun: c.DryRun, Log: env.Log,
	})
	if err != nil {
		return err
	}
	return c.conclude(env, report)
}

// convert returns the verdicts on every dump. The content of their tensors goes to the spool, inline ones too, so that equal
// content (the layers of a step) is held once.
func (c *sanitizeCmd) convert(env *environ, defs []*fitrace.Definition, tensors *spool) (proto.AttemptCounts, []*proto.Verdict, error) {
	origin := manifest.Origin{
		Collection: "offline", Task: "sanitize", Attempt: 1, Node: nodeName(), SkipConst: c.SkipConstAxisCheck,
		Provenance: proto.Provenance{Engine: proto.EngineReplay, Host: nodeName()},
	}
	if c.Mode != string(proto.ModeAny) {
		origin.Provenance.Mode, origin.Provenance.Stated = proto.EngineMode(c.Mode), []string{proto.StatedMode}
	}
	var err error
	if origin.PlanOnly, err = c.planOnly(env, defs); err != nil {
		return proto.AttemptCounts{}, nil, err
	}
	for _, d := range defs {
		origin.Definitions = append(origin.Definitions, proto.DefinitionRef{Name: d.Name, OpType: d.OpType, Digest: d.Digest()})
		origin.Borrows = origin.Borrows || fitrace.BorrowsScale(d)
	}
	if c.ModelConfig != "" {
		scale, err := modelconfig.ReadScale(c.ModelConfig)
		if err != nil {
			return proto.AttemptCounts{}, nil, cli.Usagef("--model-config: %v", err)
		}
		origin.Scale = proto.Scale{Model: scale.Value, How: scale.How}
	}
	var verdicts []*proto.Verdict
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(memoryLimit)
	ordinary := sync.OnceFunc(func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	})
	defer ordinary()
	first := map[string]*proto.Candidate{} // by uuid: equal content is held once
	kept := texts{}
	var counts proto.AttemptCounts
	counts, err = tail.Scan(env.Hard, c.DumpDir, origin, func(m *proto.Manifest, large map[string][]byte) error {
		converted, err := sanitizer.Convert(m, defs, func(digest string) ([]byte, error) {
			if data, ok := large[digest]; ok {
				return data, nil
			}
			return nil, proto.Failf(proto.CodeTensorLost, "dump %s: tensor %s has no content", m.Call.Dump, digest)
		})
		if err != nil {
			return err
		}
		for digest, data := range converted.Tensors {
			if err := tensors.Put(digest, data); err != nil {
				return err
			}
		}
		v := &converted.Verdict
		for _, r := range v.Rejections {
			env.Log.Debug().Str("dump", m.Call.Dump).Str("def", r.Definition).Str("reason", r.Reason).Str("detail", r.Detail).Msg("rejected")
		}
		kept.detach(v)
		for i := range v.Candidates {
			candidate := &v.Candidates[i]
			if equal := first[candidate.UUID]; equal != nil {
				candidate.Axes, candidate.Inputs, candidate.Notes = equal.Axes, equal.Inputs, equal.Notes
				continue
			}
			first[candidate.UUID] = candidate
			inputs := candidate.Inputs
			for j := range inputs {
				if inputs[j].Inline == nil {
					continue
				}
				if err := tensors.Put(inputs[j].Digest, inputs[j].Inline); err != nil {
					return err
				}
				inputs[j].Inline = nil
			}
		}
		verdicts = append(verdicts, v)
		if len(verdicts) == ordinaryFrom {
			ordinary()
		}
		return nil
	})
	return counts, verdicts, err
}

// planOnly returns the wrapper classes whose plans stand for runs. Where that is asked for and plans are not enough for a definition,
// the error says why. A run that was dumped is a workload of its own, of the same uuid as its plan's, so that none counts twice.
func (c *sanitizeCmd) planOnly(env *environ, defs []*fitrace.Definition) ([]string, error) {
	names, err := fidump.List(c.DumpDir)
	if err != nil {
		return nil, proto.Failf(proto.CodeDumpDir, "read dump directory %s: %v", c.DumpDir, err)
	}
	alone := manifest.PlansAlone(names)
	var classes []string
	for _, d := range defs {
		ok, why := fitrace.PlanSuffices(d, c.Mode)
		if !ok && c.Dump == coordinator.DumpPlan {
			return nil, cli.Usagef("--dump plan: plans alone do not make workloads of %s: %s; leave it out, or use --dump auto", d.Name, why)
		}
		for _, api := range d.APIs() {
			if ok && (c.Dump == coordinator.DumpPlan || alone[api.Class] > 0) {
				classes = append(classes, api.Class)
			}
		}
	}
	slices.Sort(classes)
	classes = slices.Compact(classes)
	if c.Dump != coordinator.DumpRun {
		return classes, nil
	}
	for _, class := range classes {
		fmt.Fprintf(env.Stderr, "warning: the runs of %d plans of %s were not dumped: --dump auto makes workloads of the plans, those of warm-up among them\n", alone[class], class)
	}
	return nil, nil
}

// texts holds the words that verdicts repeat, once each. As they come they are parts of a dump's record, and would hold all of
// it in memory.
type texts struct {
	words    map[string]string
	versions map[string]string // the last seen; all dumps of an engine have the same
}

// detach makes v independent of the dump it was made from.
func (k *texts) detach(v *proto.Verdict) {
	v.Function = k.word(v.Function)
	if !maps.Equal(v.Provenance.Versions, k.versions) {
		k.versions = map[string]string{}
		for name, version := range v.Provenance.Versions {
			k.versions[k.word(name)] = k.word(version)
		}
	}
	if v.Provenance.Versions != nil {
		v.Provenance.Versions = k.versions
	}
}

func (k *texts) word(s string) string {
	w, ok := k.words[s]
	if !ok {
		if k.words == nil {
			k.words = map[string]string{}
		}
		w = strings.Clone(s)
		k.words[w] = w
	}
	return w
}

func (c *sanitizeCmd) conclude(env *environ, r *sanitizeReport) error {
	written := 0
	var failure *proto.Failure
	for _, d := range r.Definitions {
		r.Total.Add(d.Home)
		r.Total.Add(d.Unclaimed)
		written += len(d.Workloads)
		if d.Failure != nil && failure == nil {
			failure = d.Failure
		}
	}
	if c.JSON {
		if err := cli.JSON(env.Stdout, r); err != nil {
			return err
		}
	} else {
		c.print(env, r)
	}
	switch {
	case failure != nil:
		return failure
	case r.Total.Sum() != int(r.Counts.Manifests):
		return proto.Failf(proto.CodeInternal, "%d calls were read, %d are accounted for", r.Counts.Manifests, r.Total.Sum())
	case r.Counts.Dumps == 0:
		return &cli.ExitError{Code: cli.ExitNothing, Err: noDumps(c.DumpDir, "--dump-dir "+c.DumpDir)}
	case written == 0:
		return &cli.ExitError{Code: cli.ExitNothing}
	}
	return nil
}

func (c *sanitizeCmd) print(env *environ, r *sanitizeReport) {
	var rows [][]string
	for _, d := range r.Definitions {
		state := string(d.State)
		if c.DryRun && d.Failure == nil {
			state = "planned"
		}
		rows = append(rows, []string{
			d.Definition, state, strconv.Itoa(len(d.Workloads)), strconv.Itoa(d.All.Workload + d.All.Duplicate + d.All.NotSelected),
			strconv.Itoa(d.All.Duplicate), strconv.Itoa(d.All.NotSelected), rejections(d.All.Rejected),
		})
	}
	cli.Table(env.Stdout, []string{"DEFINITION", "STATE", "NEW", "FIT", "DUPLICATE", "NOT SELECTED", "REJECTED"}, rows)
	rejected := "0"
	if len(r.Total.Rejected) > 0 {
		rejected = rejections(r.Total.Rejected)
	}
	fmt.Fprintf(env.Stdout, "\n%d dumps: %d workloads, %d duplicates, %d not selected, %s rejected, %d plans, %d graph captures; %s on disk, %s read\n",
		r.Counts.Dumps, r.Total.Workload, r.Total.Duplicate, r.Total.NotSelected, rejected, r.Counts.Plans, r.Counts.Captures,
		cli.Bytes(r.Counts.BytesSeen), cli.Bytes(r.Counts.BytesRead))
	for _, d := range r.Definitions {
		printExamples(env.Stdout, d.Definition, d.Examples)
		for _, s := range d.Steps {
			fmt.Fprintf(env.Stdout, "%s: %v\n", d.Definition, s)
		}
	}
	if r.Simulated {
		fmt.Fprintln(env.Stdout, simulatedText(!c.DryRun && slices.ContainsFunc(r.Definitions, func(d *publisher.Local) bool { return len(d.Workloads) > 0 })))
	}
}
