package coordinator

import (
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// Request holds the flags of a submission: the user's side of a Collection. DefaultRequest returns one.
type Request struct {
	TraceDir  string // --trace-dir: dataset directory, with the definitions
	Selection        // --definitions, --op-type, --all

	Engine        proto.EngineKind // --engine; there is no default, see EngineFor
	ModelKey      string           // --model-key
	ModelPath     string           // --model-path
	Catalogue     string           // --model-catalogue: the user's file of models; empty: where LoadCatalogue looks
	TP            int              // --tp; 0: from the definitions, else the catalogue
	EP            int              // --ep; 0: likewise
	PageSize      int              // --page-size; 0: likewise
	ServerFlags   []string         // --extra-server-flag and the older flags that are one
	DumpDir       string           // --dump-dir: recorded directory or archive, for replay
	Recorded      proto.Recorded   // --recorded-engine, --recorded-gpu, --recorded-model
	DumpRate      float64          // replay, simulate: dumps a second; 0: as fast as possible
	Layers        int              // simulate: layers a forward pass; 0: its default
	PoolTokens    int              // sglang, simulate: KV pool; 0: sized to the batch
	BatchSizes    []int            // --batch-sizes
	proto.Traffic                  // --num-batches, --num-samples, --dataset, --sharegpt-path, --trace-path, --chat, --isl, --osl, --seed, …

	GPUType      string        // --gpu-type: h100, b200, …; empty: not known
	SGLang       string        // --sglang-version: release to plan for; empty: the node's own
	AnyRelease   bool          // --any-release
	Host         string        // --base-url: where the server listens; empty: loopback
	Port         int           // --base-url, --sglang-port; 0: a free one
	StartTimeout time.Duration // --start-timeout; 0: the engine's default

	DumpCount  int      // --dump-count: dumps a process
	Include    []string // --include-pattern; empty: from the definitions
	Dump       string   // --dump: auto, run or plan
	TraceDump  bool     // --trace-dump
	QuotaBytes int64    // most disk a dump directory may hold; 0: no quota
	SkipConst  bool     // --skip-const-axis-check

	WorkloadsPerBatch int // --workloads-per-batch
	ReplaceFirst      bool

	Repo           string // --repo-id: owner/name on the Hub; empty: no pull requests
	PR             int    // --pr-num: pull request to continue; 0: a new one a definition
	DefinitionPR   string // --definition-pr
	NoEval         bool
	NoPush         bool
	AllowSimulated bool
}

// What --dump says. A task has run or plan.
const (
	DumpAuto = "auto" // plans where they stand for their runs, else runs
	DumpRun  = "run"
	DumpPlan = "plan"
	DumpNone = proto.DumpNone // nothing: measures what serving costs without
)

// DefaultRequest returns the request that no flag changes. It names no engine.
func DefaultRequest() Request {
	return Request{
		TraceDir: ".", BatchSizes: []int{8, 32, 64, 128}, DumpCount: 500, Dump: DumpAuto, WorkloadsPerBatch: 4,
		Traffic: proto.Traffic{NumBatches: 2, Dataset: "random", ISL: 1024, OSL: 1024, RangeRatio: 0.5},
	}
}

// Validate returns an error for the first flag whose value is invalid.
func (r *Request) Validate() error {
	if err := CheckEngine(r.Engine); err != nil {
		return err
	}
	if err := r.validateSizes(); err != nil {
		return err
	}
	for _, f := range []struct {
		flag        string
		value, most float64
		upTo        string
	}{
		{"--random-range-ratio", r.RangeRatio, 1, " to 1"}, {"--dump-rate", r.DumpRate, math.MaxFloat64, ""},
		{"--trace-speed", r.TraceSpeed, proto.MaxTraceSpeed, fmt.Sprintf(" to %g", float64(proto.MaxTraceSpeed))},
	} {
		if math.IsNaN(f.value) || f.value < 0 || f.value > f.most {
			return fmt.Errorf("%s is %v, must be a number from 0%s", f.flag, f.value, f.upTo)
		}
	}
	if r.QuotaBytes < 0 {
		return fmt.Errorf("disk quota is %d bytes, must not be negative", r.QuotaBytes)
	}
	if r.QuotaBytes > 0 && r.QuotaBytes < leastQuota {
		return fmt.Errorf("--dump-quota is %d bytes, must be at least %d: a single dump needs more", r.QuotaBytes, leastQuota)
	}
	if r.Engine.Serves() {
		if err := r.validateTraffic(); err != nil {
			return err
		}
	}
	if err := r.validatePush(); err != nil {
		return err
	}
	return r.validateEngine()
}

func (r *Request) validateTraffic() error {
	switch {
	case r.Dataset != "random" && r.Dataset != "sharegpt" && r.Dataset != "trace":
		return fmt.Errorf("--dataset is %q, must be random, sharegpt or trace", r.Dataset)
	case r.Dataset == "sharegpt" && r.ShareGPTPath == "" && r.Engine != proto.EngineSGLang:
		return fmt.Errorf("--dataset sharegpt needs --sharegpt-path")
	case r.Dataset == "trace" && r.TracePath == "":
		return fmt.Errorf("--dataset trace needs --trace-path, a JSONL of timestamps, lengths and hash ids")
	case r.Dataset != "trace" && r.TracePath != "":
		return fmt.Errorf("--trace-path is %q, but --dataset is %s: only trace reads it", r.TracePath, r.Dataset)
	case r.Dataset != "trace" && r.TraceBlock != 0:
		return fmt.Errorf("--trace-block-size is %d, but --dataset is %s: only a trace has hash ids", r.TraceBlock, r.Dataset)
	case r.Dataset != "trace" && r.TraceSpeed != 0:
		return fmt.Errorf("--trace-speed is %v, but --dataset is %s: only a trace has times", r.TraceSpeed, r.Dataset)
	}
	return nil
}

var repoPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func (r *Request) validatePush() error {
	switch u, err := url.Parse(r.DefinitionPR); {
	case r.Repo != "" && !repoPattern.MatchString(r.Repo):
		return fmt.Errorf("--repo-id is %q, must be owner/name", r.Repo)
	case r.PR < 0:
		return fmt.Errorf("--pr-num is %d, must be a number of a pull request", r.PR)
	case r.Repo == "" && (r.PR > 0 || r.DefinitionPR != "" || r.AllowSimulated):
		return fmt.Errorf("--pr-num, --definition-pr and --allow-simulated are about a push: name the repository with --repo-id")
	case r.DefinitionPR != "" && (err != nil || u.Host == "" || u.Scheme != "https"):
		return fmt.Errorf("--definition-pr is %q, must be an https URL", r.DefinitionPR)
	}
	return nil
}

func (r *Request) validateEngine() error {
	serves := r.Engine == proto.EngineSGLang
	if _, err := sglang.ParseRelease(r.SGLang); err != nil && r.SGLang != "" {
		return fmt.Errorf("--sglang-version: %w", err)
	}
	switch {
	case !slices.Contains([]string{DumpAuto, DumpRun, DumpPlan, DumpNone}, r.Dump):
		return fmt.Errorf("--dump is %q, must be auto, run, plan or none", r.Dump)
	case r.Dump == DumpNone && (!serves || r.TraceDump):
		return fmt.Errorf("--dump none measures --engine sglang without any dump; it cannot be with --engine %s or --trace-dump", r.Engine)
	case r.Engine == proto.EngineReplay && r.DumpDir == "":
		return fmt.Errorf("--engine replay needs --dump-dir, a recorded dump directory or archive")
	case serves && r.ModelPath == "" && r.ModelKey == "":
		return fmt.Errorf("--engine sglang needs --model-path, or --model-key for a model of the catalogue")
	case r.Port < 0 || r.Port > 65535:
		return fmt.Errorf("the server's port is %d, must be from 1 to 65535", r.Port)
	case r.StartTimeout < 0:
		return fmt.Errorf("--start-timeout is %v, must not be negative", r.StartTimeout)
	}
	return validateRecorded(r.Recorded)
}

// mostStated is the longest name that a user may state, in bytes: longer ones are no names.
const mostStated = 200

// validateRecorded checks what the user states of recorded dumps.
func validateRecorded(r proto.Recorded) error {
	for _, f := range []struct{ flag, value string }{
		{"--recorded-engine", r.Engine}, {"--recorded-gpu", r.GPU}, {"--recorded-model", r.Model},
	} {
		if strings.TrimSpace(f.value) != f.value || len(f.value) > mostStated || strings.ContainsFunc(f.value, func(c rune) bool { return !unicode.IsPrint(c) }) {
			return fmt.Errorf("%s is %q, must be a name of at most %d printable characters without blanks around it", f.flag, f.value, mostStated)
		}
	}
	served := r.Served()
	switch {
	case r.Engine == "":
		return nil
	case served.Engine == "" || strings.ContainsAny(r.Engine, " ,") || strings.HasSuffix(r.Engine, "=") || strings.Contains(served.Release, "="):
		return fmt.Errorf("--recorded-engine is %q, must be NAME or NAME==RELEASE, such as sglang==0.5.16", r.Engine)
	case strings.EqualFold(served.Engine, string(proto.EngineSimulate)):
		return fmt.Errorf("--recorded-engine is %q: simulated dumps are marked as such, and a statement cannot mark them; leave it out", r.Engine)
	}
	return nil
}

// leastQuota bounds --dump-quota: under less no call with tensors of a model is dumped, and an attempt would wait 30 s to find that.
const leastQuota = 1 << 20
