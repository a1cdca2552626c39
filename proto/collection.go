package proto

import (
	"errors"
	"fmt"
	"time"
)

// Collection is what one submission asks for: definitions × model × batch sizes × traffic. The user's side resolves the
// definitions against its trace directory and stores their JSON by digest, so that no other node needs that directory.
type Collection struct {
	ID          string          `msgpack:"id" json:"id"`
	Definitions []DefinitionRef `msgpack:"definitions" json:"definitions"` // sorted by name
	Engine      EngineSpec      `msgpack:"engine" json:"engine"`
	BatchSizes  []int           `msgpack:"batch_sizes,omitempty" json:"batch_sizes,omitempty"` // requests in flight, in planned order; empty where EngineKind.Serves is false
	Traffic     Traffic         `msgpack:"traffic" json:"traffic,omitzero"`                    // zero where EngineKind.Serves is false
	Dump        DumpSpec        `msgpack:"dump" json:"dump"`
	Publish     PublishSpec     `msgpack:"publish" json:"publish"`
	SubmittedAt time.Time       `msgpack:"submitted_at" json:"submitted_at"`
	SubmittedBy string          `msgpack:"submitted_by,omitempty" json:"submitted_by,omitempty"` // user@host
}

// DefinitionRef names a definition and the SHA-256 of the JSON that was meant.
type DefinitionRef struct {
	Name   string `msgpack:"name" json:"name"`
	OpType string `msgpack:"op_type" json:"op_type"`
	Digest string `msgpack:"digest" json:"digest"` // hex SHA-256, key in the definitions bucket
}

// EngineKind says what serves the requests.
type EngineKind string

// The engines.
const (
	EngineSGLang   EngineKind = "sglang"
	EngineReplay   EngineKind = "replay"
	EngineSimulate EngineKind = "simulate"
	EngineEvaluate EngineKind = "evaluate" // tasks only: the baseline on a pull request's workloads
)

// Serves reports whether the engine serves requests, so that a task has a batch size, traffic and ranks. The calls of a replay
// were made elsewhere: what served them is unknown unless the dumps record it or the user states it.
func (k EngineKind) Serves() bool { return k == EngineSGLang || k == EngineSimulate }

// EngineMode says how an engine is driven. A definition decides which one reaches its API.
type EngineMode string

// The modes, after the three flows of the scripts this replaces.
const (
	ModeOffline    EngineMode = "offline"     // Engine.generate, exact batch size: decode
	ModeHTTPPaged  EngineMode = "http-paged"  // server with the ragged path off: paged prefill
	ModeHTTPRagged EngineMode = "http-ragged" // server, max_new_tokens 1: ragged prefill
	ModeAny        EngineMode = "any"         // the API is reached in whichever mode runs
)

// EngineSpec is one server configuration.
type EngineSpec struct {
	Kind      EngineKind `msgpack:"kind" json:"kind"`
	Mode      EngineMode `msgpack:"mode,omitempty" json:"mode,omitempty"` // set by planning
	ModelKey  string     `msgpack:"model_key,omitempty" json:"model_key,omitempty"`
	ModelPath string     `msgpack:"model_path,omitempty" json:"model_path,omitempty"`
	TP        int        `msgpack:"tp" json:"tp"`                                       // tensor parallel ranks; 0 in a collection: from the definitions; 0 in a replay: unknown
	EP        int        `msgpack:"ep" json:"ep"`                                       // expert parallel ranks, likewise
	PageSize  int        `msgpack:"page_size" json:"page_size"`                         // tokens a KV page; 0: from the definitions, else the engine's default
	Flags     []string   `msgpack:"flags,omitempty" json:"flags,omitempty"`             // --extra-server-flag, in order
	DumpDir   string     `msgpack:"dump_dir,omitempty" json:"dump_dir,omitempty"`       // replay: the recorded directory or archive
	DumpRate  float64    `msgpack:"dump_rate,omitempty" json:"dump_rate,omitempty"`     // replay, simulate: dumps a second; 0: as fast as possible
	Recorded  *Recorded  `msgpack:"recorded,omitempty" json:"recorded,omitempty"`       // replay: what the user states of the dumps
	Layers    int        `msgpack:"layers,omitempty" json:"layers,omitempty"`           // simulate: layers a forward pass; 0: its default
	PoolToken int        `msgpack:"pool_tokens,omitempty" json:"pool_tokens,omitempty"` // KV pool in tokens; 0: sized to the batch

	// The rest is SGLang's alone.
	SGLang       string        `msgpack:"sglang,omitempty" json:"sglang,omitempty"`               // release planned for, such as 0.5.16; empty: the node's own
	AnyRelease   bool          `msgpack:"any_release,omitempty" json:"any_release,omitempty"`     // try a release outside the tested range
	GPUType      string        `msgpack:"gpu_type,omitempty" json:"gpu_type,omitempty"`           // h100, b200, …: what the model catalogue's flags are chosen by
	Architecture string        `msgpack:"architecture,omitempty" json:"architecture,omitempty"`   // the model's, as its config.json states: LlamaForCausalLM; empty: not known at submission
	ModelConfig  string        `msgpack:"model_config,omitempty" json:"model_config,omitempty"`   // the part of the model's config.json that decides shapes, as JSON with its keys; empty: not available at submission
	ModelSource  string        `msgpack:"model_source,omitempty" json:"model_source,omitempty"`   // where ModelConfig was read, for messages
	GPUs         int           `msgpack:"gpus,omitempty" json:"gpus,omitempty"`                   // devices that the engine takes, where pipeline or data parallelism makes them more than tp; set by planning
	ModelFlags   []string      `msgpack:"model_flags,omitempty" json:"model_flags,omitempty"`     // of the model catalogue; Flags win over them
	Host         string        `msgpack:"host,omitempty" json:"host,omitempty"`                   // where the server listens; empty: loopback
	Port         int           `msgpack:"port,omitempty" json:"port,omitempty"`                   // 0: a free one
	StartTimeout time.Duration `msgpack:"start_timeout,omitempty" json:"start_timeout,omitempty"` // from launch to ready; 0: the engine's default
}

// Bounds of traffic, which planning and package traffic share.
const (
	MaxTokens     = 1 << 24 // of a prompt, or an answer
	MaxTraceSpeed = 1e6     // times as fast as recorded
)

// DefaultTraceBlock is the number of prompt tokens that one hash id stands for in Mooncake's traces.
const DefaultTraceBlock = 512

// Traffic describes which requests arrive.
type Traffic struct {
	NumBatches       int     `msgpack:"num_batches" json:"num_batches"`               // requests = batch size × num_batches
	Requests         int     `msgpack:"requests,omitempty" json:"requests,omitempty"` // how many, instead of batch size × num_batches
	Dataset          string  `msgpack:"dataset" json:"dataset"`                       // random | sharegpt | trace
	ShareGPTPath     string  `msgpack:"sharegpt_path,omitempty" json:"sharegpt_path,omitempty"`
	TracePath        string  `msgpack:"trace_path,omitempty" json:"trace_path,omitempty"`   // trace: timestamps, lengths and hash ids, JSONL
	TraceBlock       int     `msgpack:"trace_block,omitempty" json:"trace_block,omitempty"` // trace: tokens of a prompt that one hash id stands for; 0: DefaultTraceBlock
	TraceSpeed       float64 `msgpack:"trace_speed,omitempty" json:"trace_speed,omitempty"` // trace: 2 plays it twice as fast; 0: as fast as the batch size lets
	Chat             bool    `msgpack:"chat,omitempty" json:"chat,omitempty"`               // chat completions, through the model's own template
	ISL              int     `msgpack:"isl" json:"isl"`                                     // input tokens a request, the most
	OSL              int     `msgpack:"osl" json:"osl"`                                     // output tokens a request, the most
	RangeRatio       float64 `msgpack:"random_range_ratio" json:"random_range_ratio"`       // lengths are uniform in [ratio × max, max]
	DisableIgnoreEOS bool    `msgpack:"disable_ignore_eos,omitempty" json:"disable_ignore_eos,omitempty"`
	DisableRadix     bool    `msgpack:"disable_radix_cache,omitempty" json:"disable_radix_cache,omitempty"` // no prefix cache
	Seed             int64   `msgpack:"seed" json:"seed"`
}

// DumpSpec describes what the engine dumps.
type DumpSpec struct {
	Count   int      `msgpack:"count" json:"count"`                         // dumps a process, FLASHINFER_DUMP_MAX_COUNT
	Include []string `msgpack:"include,omitempty" json:"include,omitempty"` // fnmatch patterns; set by planning unless the user did
	What    string   `msgpack:"what" json:"what"`                           // auto | run | plan | none; a task has one of the last three. none dumps nothing, to measure what dumping costs
	// PlanOnly are the wrapper classes of which only plan is dumped: each plan stands for the runs that follow it. Set by planning.
	PlanOnly   []string `msgpack:"plan_only,omitempty" json:"plan_only,omitempty"`
	TraceDump  bool     `msgpack:"trace_dump,omitempty" json:"trace_dump,omitempty"` // FlashInfer writes the definitions of what is called, too
	QuotaBytes int64    `msgpack:"quota_bytes" json:"quota_bytes"`                   // most disk the dump directory may hold; 0: no quota
	SkipConst  bool     `msgpack:"skip_const,omitempty" json:"skip_const,omitempty"` // --skip-const-axis-check
}

// PublishSpec is what happens to the candidates.
type PublishSpec struct {
	TraceDir          string `msgpack:"trace_dir" json:"trace_dir"`                     // dataset directory on the publisher's node
	WorkloadsPerBatch int    `msgpack:"workloads_per_batch" json:"workloads_per_batch"` // most new workloads a definition and task
	ReplaceFirst      bool   `msgpack:"replace_first,omitempty" json:"replace_first,omitempty"`
	NoEval            bool   `msgpack:"no_eval,omitempty" json:"no_eval,omitempty"`
	NoPush            bool   `msgpack:"no_push,omitempty" json:"no_push,omitempty"` // plan the pull requests and print them
	Repo              string `msgpack:"repo,omitempty" json:"repo,omitempty"`       // dataset repository on the Hub, as owner/name; empty: none
	PR                int    `msgpack:"pr,omitempty" json:"pr,omitempty"`           // pull request to continue; 0: a new one a definition
	AllowSimulated    bool   `msgpack:"allow_simulated,omitempty" json:"allow_simulated,omitempty"`
	DefinitionPR      string `msgpack:"definition_pr,omitempty" json:"definition_pr,omitempty"` // link to the pull request that brings the definition, for the text
}

// Kind implements Message.
func (*Collection) Kind() Kind { return KindCollection }

// Validate implements Message.
func (c *Collection) Validate() error {
	if err := checkToken("collection id", c.ID); err != nil {
		return err
	}
	if len(c.Definitions) == 0 {
		return errors.New("definitions is empty")
	}
	for i, d := range c.Definitions {
		if err := d.validate(); err != nil {
			return fmt.Errorf("definitions[%d]: %w", i, err)
		}
	}
	if len(c.BatchSizes) == 0 && c.Engine.Kind.Serves() {
		return errors.New("batch_sizes is empty")
	}
	for i, b := range c.BatchSizes {
		if b <= 0 {
			return fmt.Errorf("batch_sizes[%d] is %d, must be positive", i, b)
		}
	}
	if c.Publish.WorkloadsPerBatch <= 0 {
		return fmt.Errorf("workloads_per_batch is %d, must be positive", c.Publish.WorkloadsPerBatch)
	}
	return c.Engine.validate(0)
}

func (d DefinitionRef) validate() error {
	if err := checkName("definition name", d.Name); err != nil {
		return err
	}
	if err := checkName("op_type", d.OpType); err != nil {
		return err
	}
	return checkDigest("definition digest", d.Digest)
}

// validate checks what every user of a spec relies on. leastRanks is 1 for a task, which is one server, and 0 for a
// collection, where planning takes the ranks from the definitions.
func (e EngineSpec) validate(leastRanks int) error {
	switch e.Kind {
	case EngineSGLang, EngineReplay, EngineSimulate:
	case EngineEvaluate:
		if leastRanks == 0 {
			return fmt.Errorf("engine kind is %q, which no collection has", e.Kind)
		}
	default:
		return fmt.Errorf("engine kind is %q, must be sglang, replay or simulate", e.Kind)
	}
	if e.Kind == EngineReplay {
		leastRanks = 0
	}
	if e.TP < leastRanks || e.EP < leastRanks {
		return fmt.Errorf("tp is %d and ep is %d, both must be at least %d", e.TP, e.EP, leastRanks)
	}
	if e.PageSize < 0 {
		return fmt.Errorf("page_size is %d, must not be negative", e.PageSize)
	}
	return nil
}
