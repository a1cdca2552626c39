package coordinator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Request is what a person asked for, flag by flag: the user's side of a Collection. Make one with DefaultRequest.
type Request struct {
	TraceDir  string // --trace-dir: dataset directory, with the definitions
	Selection        // --definitions, --op-type, --all

	Engine        proto.EngineKind // --engine
	ModelKey      string           // --model-key
	ModelPath     string           // --model-path
	TP            int              // --tp; 0: from the definitions
	EP            int              // --ep; 0: from the definitions
	PageSize      int              // --page-size; 0: from the definitions
	ServerFlags   []string         // --extra-server-flag
	DumpDir       string           // --dump-dir: recorded directory or archive, for replay
	DumpRate      float64          // replay, simulate: dumps a second; 0: as fast as possible
	Layers        int              // simulate: layers a forward pass; 0: its default
	PoolTokens    int              // simulate: KV pool; 0: sized to the batch
	BatchSizes    []int            // --batch-sizes
	proto.Traffic                  // --num-batches, --dataset, --sharegpt-path, --isl, --osl, --random-range-ratio, --disable-ignore-eos, --seed

	DumpCount  int      // --dump-count: dumps a process
	Include    []string // --include-pattern; empty: from the definitions
	Dump       string   // --dump: run
	QuotaBytes int64    // most disk a dump directory may hold; 0: no quota
	SkipConst  bool     // --skip-const-axis-check

	WorkloadsPerBatch int // --workloads-per-batch
	ReplaceFirst      bool
	NoEval            bool
	NoPush            bool
}

// DefaultRequest is what no flag changes.
func DefaultRequest() Request {
	return Request{
		TraceDir: ".", Engine: proto.EngineSimulate, BatchSizes: []int{8, 32, 64, 128}, DumpCount: 500, Dump: "run", WorkloadsPerBatch: 4,
		Traffic: proto.Traffic{NumBatches: 2, Dataset: "random", ISL: 1024, OSL: 1024, RangeRatio: 0.5},
	}
}

// Validate reports the first flag that cannot be meant, with its value.
func (r *Request) Validate() error {
	switch r.Engine {
	case proto.EngineSGLang, proto.EngineReplay, proto.EngineSimulate:
	default:
		return fmt.Errorf("--engine is %q, must be sglang, replay or simulate", r.Engine)
	}
	if len(r.BatchSizes) == 0 {
		return fmt.Errorf("--batch-sizes is empty")
	}
	seen := map[int]bool{}
	for _, b := range r.BatchSizes {
		if b <= 0 || seen[b] {
			return fmt.Errorf("--batch-sizes has %d: each must be positive and given once", b)
		}
		seen[b] = true
	}
	for _, f := range []struct {
		flag         string
		value, least int
	}{
		{"--num-batches", r.NumBatches, 1}, {"--isl", r.ISL, 1}, {"--osl", r.OSL, 1}, {"--dump-count", r.DumpCount, 1},
		{"--workloads-per-batch", r.WorkloadsPerBatch, 1}, {"--tp", r.TP, 0}, {"--ep", r.EP, 0}, {"--page-size", r.PageSize, 0},
		{"--layers", r.Layers, 0}, {"--pool-tokens", r.PoolTokens, 0},
	} {
		if f.value < f.least {
			return fmt.Errorf("%s is %d, must be at least %d", f.flag, f.value, f.least)
		}
	}
	switch {
	case math.IsNaN(r.RangeRatio) || r.RangeRatio < 0 || r.RangeRatio > 1:
		return fmt.Errorf("--random-range-ratio is %v, must be from 0 to 1", r.RangeRatio)
	case math.IsNaN(r.DumpRate) || math.IsInf(r.DumpRate, 0) || r.DumpRate < 0:
		return fmt.Errorf("--dump-rate is %v, must be a number from 0", r.DumpRate)
	case r.QuotaBytes < 0:
		return fmt.Errorf("disk quota is %d bytes, must not be negative", r.QuotaBytes)
	case r.Dataset != "random" && r.Dataset != "sharegpt":
		return fmt.Errorf("--dataset is %q, must be random or sharegpt", r.Dataset)
	case r.Dataset == "sharegpt" && r.ShareGPTPath == "":
		return fmt.Errorf("--dataset sharegpt needs --sharegpt-path")
	case r.Dump != "run":
		return fmt.Errorf("--dump is %q: this release converts run calls only", r.Dump)
	case r.Engine == proto.EngineReplay && r.DumpDir == "":
		return fmt.Errorf("--engine replay needs --dump-dir, a recorded dump directory or archive")
	case r.Engine != proto.EngineReplay && r.DumpDir != "":
		return fmt.Errorf("--dump-dir is %q, but --engine is %s: only replay reads one", r.DumpDir, r.Engine)
	case r.Engine == proto.EngineSGLang && r.ModelPath == "":
		return fmt.Errorf("--engine sglang needs --model-path")
	}
	return nil
}

// Submission is a request with its definitions, ready to be planned or sent.
type Submission struct {
	Collection  *proto.Collection
	Definitions []*fitrace.Definition // those of the collection, sorted by name
	Plan        *Plan
	Warnings    []string // of resolving; the plan has its own
}

// Prepare resolves a request and plans it, without a broker: all that `collect --plan-only` needs. Definitions without an API
// are left out with a warning. Errors are *proto.Failure, or of Validate.
func Prepare(r Request) (*Submission, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	defs, warnings, err := Resolve(r.TraceDir, r.Selection)
	if err != nil {
		return nil, err
	}
	usable, left := Collectable(defs)
	for _, d := range left {
		warnings = append(warnings, fmt.Sprintf("left out: definition %s has no fi_api tag, so nothing tells which call to dump", d.Name))
	}
	if len(usable) == 0 {
		return nil, proto.Failf(proto.CodeNoDefinitions, "none of the %d selected definitions has a fi_api tag: %s", len(defs), names(defs)).
			WithHint("add a tag such as \"fi_api:flashinfer.norm.rmsnorm\"")
	}
	spec, err := r.collection(usable)
	if err != nil {
		return nil, err
	}
	plan, err := NewPlan(spec, usable)
	if err != nil {
		return nil, err
	}
	return &Submission{Collection: spec, Definitions: usable, Plan: plan, Warnings: warnings}, nil
}

// collection makes the specification; its id is that of its content, see ContentID.
func (r *Request) collection(defs []*fitrace.Definition) (*proto.Collection, error) {
	traceDir, err := filepath.Abs(r.TraceDir)
	if err != nil {
		return nil, fmt.Errorf("trace directory %s: %w", r.TraceDir, err)
	}
	c := &proto.Collection{
		Engine: proto.EngineSpec{
			Kind: r.Engine, ModelKey: r.ModelKey, ModelPath: r.ModelPath, TP: r.TP, EP: r.EP, PageSize: r.PageSize, Flags: r.ServerFlags,
			DumpRate: r.DumpRate, Layers: r.Layers, PoolToken: r.PoolTokens,
		},
		BatchSizes: r.BatchSizes, Traffic: r.Traffic,
		Dump: proto.DumpSpec{Count: r.DumpCount, Include: r.Include, What: r.Dump, QuotaBytes: r.QuotaBytes, SkipConst: r.SkipConst},
		Publish: proto.PublishSpec{
			TraceDir: traceDir, WorkloadsPerBatch: r.WorkloadsPerBatch, ReplaceFirst: r.ReplaceFirst, NoEval: r.NoEval, NoPush: r.NoPush,
		},
	}
	// Paths are made absolute here, where they were typed: another process has another working directory.
	for _, p := range []struct {
		from string
		to   *string
	}{{r.DumpDir, &c.Engine.DumpDir}, {r.ShareGPTPath, &c.Traffic.ShareGPTPath}} {
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
