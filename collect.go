package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher"
)

// trafficFlags are the flags of the scripts that collect replaces, under their names.
type trafficFlags struct {
	BatchSizes       []int   `placeholder:"N,..." default:"8,32,64,128" help:"Requests in flight; one engine lifetime each. Both 64 128 and 64,128 work."`
	NumBatches       int     `default:"2" help:"Requests are batch size × this."`
	NumSamples       int     `placeholder:"N" help:"Requests, instead of batch size × --num-batches."`
	Dataset          string  `default:"random" help:"Where prompts come from: random, sharegpt, or trace for a file of recorded arrivals."`
	ShareGPTPath     string  `name:"sharegpt-path" placeholder:"FILE" help:"ShareGPT file; sglang finds it in the Hugging Face cache, too."`
	TracePath        string  `placeholder:"FILE" help:"trace: JSONL with timestamp, input_length, output_length and hash_ids, as Mooncake's."`
	TraceBlockSize   int     `placeholder:"N" help:"trace: prompt tokens that one hash id stands for; 512 by default, as in Mooncake's traces."`
	TraceSpeed       float64 `placeholder:"X" help:"trace: how many times as fast as recorded; 0: as fast as the batch size lets."`
	Chat             bool    `help:"Chat completions, through the model's own template, instead of token ids."`
	ISL              int     `name:"isl" default:"1024" help:"Most input tokens of a request."`
	OSL              int     `name:"osl" default:"1024" help:"Most output tokens of a request."`
	RandomRangeRatio float64 `default:"0.5" help:"Lengths are uniform from this share of the most."`
	DisableIgnoreEOS bool    `name:"disable-ignore-eos" help:"Let requests end at an end-of-sequence token."`
	DisableRadix     bool    `name:"disable-radix-cache" help:"No prefix cache."`
	Seed             int64   `help:"Seed of lengths and token ids."`
}

// modelFlags say which model is served, where, and by which release: all that decides what can be reached.
type modelFlags struct {
	ModelKey       string `placeholder:"KEY" help:"Model by its catalogue name, with its path, ranks and flags for the GPU type."`
	ModelPath      string `placeholder:"PATH" help:"Model directory or repository, over the catalogue's."`
	ModelCatalogue string `placeholder:"FILE" env:"TRACEFLEET_MODELS" help:"Models of your own, over the built-in ones; else ~/.config/tracefleet/models.json where it exists."`
	GPUType        string `name:"gpu-type" placeholder:"TYPE" help:"GPUs that will run it, such as h100, h200, b200 or gb200."`
	SGLangVersion  string `name:"sglang-version" placeholder:"V" help:"SGLang release to plan for; without it, the node's own decides when a task starts."`
	TP             int    `name:"tp" help:"Tensor parallel ranks, over what the definitions and the catalogue say."`
	EP             int    `name:"ep" help:"Expert parallel ranks, over what the definitions and the catalogue say."`
	PageSize       int    `help:"KV page size, over what the definitions and the catalogue say."`
}

// engineFlags choose and configure the engine. coordinator.CheckFlags refuses those of another engine.
type engineFlags struct {
	Engine string `env:"TRACEFLEET_ENGINE" placeholder:"ENGINE" help:"What makes the calls; it has no default. sglang: real inference. replay: recorded dumps, implied by --dump-dir. simulate: no GPU and no model, invented calls, marked as simulated."`
	modelFlags
	recordedFlags
	ExtraServerFlag []string      `placeholder:"FLAG" sep:"none" help:"Passed to the server, as --extra-server-flag=--flag or '--extra-server-flag=--flag value'; translated where the release renamed it."`
	AnyRelease      bool          `help:"Try a release outside the tested range."`
	StartTimeout    time.Duration `placeholder:"DURATION" help:"Longest wait for the server to be ready, such as 90m; weights of hundreds of GB take long."`
	DumpDir         string        `placeholder:"PATH" help:"A recorded dump directory, or a tar of one (plain, gzip, zstd, xz)."`
	DumpRate        float64       `help:"Dumps a second; 0: as fast as possible."`
	Layers          int           `help:"Layers a forward pass; 0: its default."`
	PoolTokens      int           `help:"KV pool in tokens; 0: sized to the batch, since a run's dump holds a layer's whole pool."`
}

// recordedFlags hold the user's statements about recorded dumps. A pointer distinguishes an empty value, as from an empty variable,
// from no value.
type recordedFlags struct {
	RecordedEngine *string `placeholder:"NAME[==RELEASE]" help:"Engine that made the dumps, such as sglang==0.5.16, where they do not record it; marked as stated by the user."`
	RecordedGPU    *string `name:"recorded-gpu" placeholder:"NAME" help:"GPU that they were recorded on; marked likewise."`
	RecordedModel  *string `placeholder:"NAME" help:"Model that they were recorded with; marked likewise."`
}

// stated returns what the flags state.
func (f recordedFlags) stated() (r proto.Recorded, err error) {
	for _, s := range []struct {
		flag string
		from *string
		to   *string
	}{
		{"--recorded-engine", f.RecordedEngine, &r.Engine}, {"--recorded-gpu", f.RecordedGPU, &r.GPU}, {"--recorded-model", f.RecordedModel, &r.Model},
	} {
		if s.from != nil && *s.from == "" {
			return r, cli.Usagef("%s is empty, must be a name; leave it out where it is unknown", s.flag)
		}
		*s.to = orZero(s.from)
	}
	return r, nil
}

type dumpFlags struct {
	DumpCount          int      `default:"500" help:"Most dumps a process writes."`
	Dump               string   `default:"auto" enum:"auto,run,plan,none" help:"What is dumped. plan: the plan calls alone, far lighter, for definitions whose structure is all there. auto: sglang: plans where they lose nothing; else run. none: nothing, to measure what dumping costs."`
	TraceDump          bool     `help:"Let FlashInfer write the definitions of what is called, for definitions harvest."`
	IncludePattern     []string `placeholder:"PATTERN,..." help:"Dump these functions instead of what the definitions need."`
	DumpQuota          string   `placeholder:"SIZE" help:"Most disk a dump directory may hold, such as 30GB; none by default."`
	SkipConstAxisCheck bool     `help:"Accept other constants than the definition's, as across TP."`
}

type publishFlags struct {
	WorkloadsPerBatch int  `default:"4" help:"Most new workloads a definition and batch size."`
	ReplaceFirst      bool `help:"A definition's first batch takes the place of its lines."`
	pushFlags
}

// pushFlags say what happens on the Hub. A pointer tells a value that is empty or 0, as from a variable that was not set, from none.
type pushFlags struct {
	RepoID         *string `name:"repo-id" placeholder:"OWNER/NAME" help:"Dataset repository on the Hub to open a pull request in, one a definition; none by default. The publisher's token and HF_ENDPOINT decide who and where."`
	PRNum          *int    `name:"pr-num" placeholder:"N" help:"Pull request to continue, of one definition; a new one by default."`
	DefinitionPR   *string `name:"definition-pr" placeholder:"URL" help:"Pull request that brings the definition, for the text."`
	NoEval         bool    `aliases:"no-eval-baseline" help:"Skip the evaluation of the baseline; the pull requests' text states that."`
	NoPush         bool    `help:"Print what would be pushed, and push nothing."`
	AllowSimulated bool    `help:"Allow simulated workloads on a Hub that is not on loopback; every pull request's title and text mark them."`
}

// apply puts the flags into a request.
func (f pushFlags) apply(r *coordinator.Request) error {
	switch {
	case f.RepoID != nil && *f.RepoID == "":
		return cli.Usagef("--repo-id is empty, must be OWNER/NAME; leave it out to push nothing")
	case f.PRNum != nil && *f.PRNum < 1:
		return cli.Usagef("--pr-num is %d, must be the number of a pull request; leave it out for a new one", *f.PRNum)
	case f.DefinitionPR != nil && *f.DefinitionPR == "":
		return cli.Usagef("--definition-pr is empty, must be an https URL, or left out")
	}
	r.Repo, r.PR, r.DefinitionPR = orZero(f.RepoID), orZero(f.PRNum), orZero(f.DefinitionPR)
	r.NoEval, r.NoPush, r.AllowSimulated = f.NoEval, f.NoPush, f.AllowSimulated
	return nil
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// idle names the flags that change nothing, for want of a repository. Scripts of the older entry point give them as a matter of course, and
// what they ask for is what happens: that is no error.
func (f pushFlags) idle() string {
	switch {
	case f.RepoID != nil || !f.NoEval && !f.NoPush:
		return ""
	case !f.NoPush:
		return "--no-eval"
	case !f.NoEval:
		return "--no-push"
	}
	return "--no-eval and --no-push"
}

type collectCmd struct {
	connectFlags
	sizeFlags
	selectionFlags
	engineFlags
	trafficFlags
	dumpFlags
	publishFlags
	olderFlags
	nodeFlags
	givenFlags
	TraceDir   string `required:"" aliases:"flashinfer-trace-dir" placeholder:"DIR" help:"Dataset directory: definitions are read there, workloads and blobs written."`
	StateDir   string `default:".tracefleet-state" placeholder:"DIR" help:"The embedded broker's files, dumps in work, logs. The same directory resumes (${default})."`
	Sanitizers int    `default:"2" help:"Sanitizers in this process."`
	PlanOnly   bool   `help:"Print the tasks, with the command lines of their servers, and run nothing."`
	Detach     bool   `help:"With --nats: submit and return."`
	JSON       bool   `name:"json" help:"Print the closing account as JSON."`
}

func (c *collectCmd) request() (coordinator.Request, error) {
	quota, err := cli.ParseBytes(c.DumpQuota)
	if err != nil {
		return coordinator.Request{}, cli.Usagef("--dump-quota: %w", err)
	}
	r := c.setting()
	r.TraceDir, r.Selection = c.TraceDir, c.selection()
	if r.Engine, err = c.engineOf(c.Engine, c.DumpDir, c.RepoID != nil); err != nil {
		return r, err
	}
	if r.Recorded, err = c.stated(); err != nil {
		return r, err
	}
	r.ServerFlags, r.AnyRelease, r.StartTimeout = c.ExtraServerFlag, c.AnyRelease, c.StartTimeout
	r.DumpDir, r.DumpRate, r.Layers, r.PoolTokens = c.DumpDir, c.DumpRate, c.Layers, c.PoolTokens
	r.BatchSizes = c.BatchSizes
	r.Traffic = proto.Traffic{
		NumBatches: c.NumBatches, Requests: c.NumSamples, Dataset: c.Dataset, ShareGPTPath: c.ShareGPTPath,
		TracePath: c.TracePath, TraceBlock: c.TraceBlockSize, TraceSpeed: c.TraceSpeed, Chat: c.Chat, ISL: c.ISL, OSL: c.OSL, RangeRatio: c.RandomRangeRatio,
		DisableIgnoreEOS: c.DisableIgnoreEOS, DisableRadix: c.DisableRadix, Seed: c.Seed,
	}
	r.DumpCount, r.Include, r.Dump, r.TraceDump = c.DumpCount, c.IncludePattern, c.Dump, c.TraceDump
	r.QuotaBytes, r.SkipConst = quota, c.SkipConstAxisCheck
	r.WorkloadsPerBatch, r.ReplaceFirst = c.WorkloadsPerBatch, c.ReplaceFirst
	if err := c.pushFlags.apply(&r); err != nil {
		return r, err
	}
	return r, c.olderFlags.apply(&r)
}

// setting is what the model flags say of a request.
func (f modelFlags) setting() coordinator.Request {
	return coordinator.Request{
		ModelKey: f.ModelKey, ModelPath: f.ModelPath, Catalogue: f.ModelCatalogue, GPUType: f.GPUType, SGLang: f.SGLangVersion,
		TP: f.TP, EP: f.EP, PageSize: f.PageSize,
	}
}

// Run plans, submits and follows a collection; without --nats it also does the work.
func (c *collectCmd) Run(env *environ) error {
	request, err := c.request()
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	if err := request.Validate(); err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: err}
	}
	if request.Engine == proto.EngineSGLang && c.NATS == "" && !c.PlanOnly {
		if err := c.lookHere(env, &request); err != nil {
			return &cli.ExitError{Code: cli.ExitUsage, Err: err}
		}
	}
	submission, err := coordinator.Prepare(request)
	if err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: err} // nothing was started
	}
	for _, w := range append(submission.Warnings, submission.Plan.Warnings...) {
		fmt.Fprintln(env.Stderr, "warning:", w)
	}
	if flags := c.idle(); flags != "" {
		fmt.Fprintf(env.Stderr, "warning: nothing is pushed without --repo-id, with or without %s\n", flags)
	}
	if c.PlanOnly {
		return c.printPlan(env, submission)
	}
	if c.NATS != "" {
		return c.inFleet(env, submission)
	}
	if c.Detach {
		return cli.Usagef("--detach needs --nats: without a fleet no other process does the work")
	}
	if err := c.preflight(env, submission); err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: err} // nothing was started
	}
	return c.here(env, submission)
}

func (c *collectCmd) printPlan(env *environ, s *coordinator.Submission) error {
	report, err := s.Plan.Report(s.Collection.ID, s.Definitions)
	if err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: err}
	}
	if c.JSON {
		return cli.JSON(env.Stdout, report)
	}
	report.Write(env.Stdout)
	return nil
}

// inFleet submits to a fleet and follows; stopping here stops nothing there.
func (c *collectCmd) inFleet(env *environ, s *coordinator.Submission) error {
	b, err := c.connect(env.Soft, env, "collect", c.sizeFlags)
	if err != nil {
		return err
	}
	defer b.Close()
	submitted, err := coordinator.Submit(env.Soft, b, s)
	if err != nil {
		return err
	}
	if c.Detach {
		if c.JSON {
			return cli.JSON(env.Stdout, submitted)
		}
		fmt.Fprintln(env.Stdout, submitted.ID)
		return nil
	}
	announce(env, submitted)
	if err := follow(env.Soft, env, b, submitted.ID, c.StateDir, ""); err != nil {
		if errors.Is(err, context.Canceled) {
			fmt.Fprintf(env.Stderr, "the fleet continues with %s; `tracefleet jobs watch %s` shows it, `tracefleet jobs cancel %s` stops it\n", submitted.ID, submitted.ID, submitted.ID)
			return &cli.ExitError{Code: cli.ExitInterrupted}
		}
		return err
	}
	return conclude(context.Background(), env, b, submitted.ID, c.JSON)
}

// here runs all four roles in this process until the collection has ended.
func (c *collectCmd) here(env *environ, s *coordinator.Submission) error {
	calls, err := c.keepApart(s)
	if err != nil {
		return &cli.ExitError{Code: cli.ExitUsage, Err: err}
	}
	if spec := s.Collection.Publish; spec.Repo != "" { // the publisher would find it out later
		if _, err := publisher.OpenHub(env.Soft, publisherOptions(env), spec, calls, s.Definitions...); err != nil {
			return &cli.ExitError{Code: cli.ExitUsage, Err: err}
		}
	}
	local, err := startLocal(env, c.connectFlags, localOptions{
		nodeFlags: c.nodeFlags, sizeFlags: c.sizeFlags, Engine: string(s.Collection.Engine.Kind), StateDir: c.StateDir, Sanitizers: c.Sanitizers, LogFile: filepath.Join(c.StateDir, "logs", "roles.log"),
		Evaluates: c.RepoID != nil && !c.NoEval && !c.NoPush,
	})
	if err != nil {
		return err
	}
	defer local.Close()
	submitted, err := coordinator.Submit(env.Hard, local.bus, s)
	if err != nil {
		return err
	}
	announce(env, submitted)
	ctx, cancel := context.WithCancelCause(env.Hard)
	defer cancel(nil)
	go func() { // a role that ends, by a signal or an error, ends the following
		cancel(local.Wait())
	}()
	err = follow(ctx, env, local.bus, submitted.ID, c.StateDir, "stopping when the task in hand is done; the same signal again stops now")
	switch {
	case err == nil:
		return conclude(context.Background(), env, local.bus, submitted.ID, c.JSON)
	case env.Hard.Err() == nil && ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.Canceled):
		return context.Cause(ctx) // a role's failure; err adds what was done when it came
	case env.Soft.Err() != nil:
		fmt.Fprintf(env.Stderr, "interrupted; the same command, on the same --state-dir, resumes %s\n", submitted.ID)
		return &cli.ExitError{Code: cli.ExitInterrupted}
	}
	return err
}

func announce(env *environ, s *coordinator.Submitted) {
	if s.Pushed {
		fmt.Fprintf(env.Stderr, "collection %s was collected before and not pushed: it is now\n", s.ID)
		return
	}
	if s.Resumed {
		fmt.Fprintf(env.Stderr, "collection %s: resumed\n", s.ID)
		return
	}
	fmt.Fprintf(env.Stderr, "collection %s\n", s.ID)
}

// conclude prints the closing account and turns it into an exit code.
func conclude(ctx context.Context, env *environ, b *bus.Bus, id string, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	account, err := coordinator.Result(ctx, b, id)
	if err != nil {
		return err
	}
	if asJSON {
		if err := cli.JSON(env.Stdout, account); err != nil {
			return err
		}
	} else {
		printAccount(env.Stdout, account)
	}
	if err := account.Check(); err != nil {
		return err
	}
	switch account.Outcome {
	case coordinator.OutcomeDone:
		return nil
	case coordinator.OutcomeNothing:
		return &cli.ExitError{Code: cli.ExitNothing}
	case coordinator.OutcomeRefused:
		return &cli.ExitError{Code: cli.ExitGate, Err: account.Failure}
	case coordinator.OutcomeFailed:
		if account.Failure != nil {
			return account.Failure
		}
	}
	return &cli.ExitError{Code: cli.ExitFailed, Err: fmt.Errorf("collection %s is %s", id, account.State)}
}
