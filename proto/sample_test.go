package proto

import (
	"strings"
	"time"
)

// samples are one message of each kind with every field set, as far as its rules allow.
func samples() []Message {
	at := time.Date(2026, 11, 23, 12, 30, 0, 123456789, time.UTC)
	digest := strings.Repeat("ab", 32)
	contiguous := true
	def := DefinitionRef{Name: "gqa_paged_decode_h32_kv8_d128_ps1", OpType: "gqa_paged", Digest: digest}
	engine := EngineSpec{
		Kind: EngineReplay, Recorded: &Recorded{Engine: "sglang==0.5.16", Model: "meta-llama/Llama-3.1-8B", GPU: "NVIDIA H200"}, Mode: ModeOffline, ModelKey: "llama-3.1-8b", ModelPath: "/models/llama", TP: 2, EP: 1, PageSize: 16,
		Flags: []string{"--mem-fraction-static", "0.8"}, DumpDir: "/dumps/recorded.tar.zst", DumpRate: 12.5, Layers: 2, PoolToken: 4096,
		SGLang: "0.5.16", AnyRelease: true, GPUType: "h200", Architecture: "LlamaForCausalLM", ModelConfig: `{"num_attention_heads":32}`, ModelSource: "/models/llama/config.json", GPUs: 4, ModelFlags: []string{"--trust-remote-code"}, Host: "127.0.0.1", Port: 30000, StartTimeout: time.Hour,
	}
	traffic := Traffic{
		NumBatches: 2, Dataset: "sharegpt", ShareGPTPath: "/data/sharegpt.json", ISL: 1024, OSL: 128, RangeRatio: 0.5,
		DisableIgnoreEOS: true, DisableRadix: true, Seed: 42, Requests: 7, TracePath: "/data/trace.jsonl", TraceBlock: 16, TraceSpeed: 2, Chat: true,
	}
	dump := DumpSpec{Count: 500, Include: []string{"*BatchDecode*.run"}, What: "run", QuotaBytes: 1 << 30, SkipConst: true, PlanOnly: []string{"BatchDecodeWithPagedKVCacheWrapper"}, TraceDump: true}
	publish := PublishSpec{TraceDir: "/data/set", WorkloadsPerBatch: 4, ReplaceFirst: true, NoEval: true, NoPush: true, Repo: "owner/set", PR: 7, AllowSimulated: true, DefinitionPR: "https://github.com/owner/repo/pull/1"}
	collection := Collection{
		ID: "c-0123456789ab", Definitions: []DefinitionRef{def}, Engine: engine, BatchSizes: []int{8, 32}, Traffic: traffic, Dump: dump,
		Publish: publish, SubmittedAt: at, SubmittedBy: "user@host",
	}
	uuids := []string{"6ba7b811-9dad-51d1-80b4-00c04fd430c8"}
	evaluate := Evaluate{Solution: "baseline_x", Definition: def, Files: []EvalFile{{Path: "workloads/x.jsonl", Digest: digest}}, Workloads: uuids, Timeout: time.Hour}
	evaluating := engine
	evaluating.Kind = EngineEvaluate
	task := Task{
		Collection: collection.ID, ID: "t001", Index: 1, Definitions: collection.Definitions, Engine: evaluating, BatchSize: 32, Traffic: traffic, Dump: dump,
		Evaluate: &evaluate,
	}
	failure := Failure{Code: CodeEngineFailed, Message: "engine replay: no such file", Hint: "check --dump-dir", Retryable: true}
	tensor := Tensor{Key: "arg_1", DType: "int32", Shape: []int64{3}, Stride: []int64{1}, Contiguous: &contiguous, Digest: digest, Inline: []byte{0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0, 0}}
	value := Value{Key: "kwarg_sm_scale", Type: ValueFloat, Bool: true, Int: -7, Float: 0.125, String: "text"}
	call := Call{
		Dump: "20261123_123000_123_pid4242_BatchDecodeWithPagedKVCacheWrapper.run_call0003", Flush: 2, Function: "BatchDecodeWithPagedKVCacheWrapper.run",
		Module: "flashinfer.decode", Signature: "(self, q, paged_kv_cache)", Sequence: 3, Timestamp: "20261123_123000_123", PID: 4242,
		SelfID: "140245", Status: "completed", Capture: true, Tensors: []Tensor{tensor}, Values: []Value{value},
	}
	provenance := Provenance{
		GPU:       "NVIDIA H200",
		Simulated: true, Engine: EngineSimulate, Mode: ModeHTTPPaged, Model: "llama-3.1-8b", Versions: map[string]string{"torch": "2.11", "flashinfer": "0.6"},
		Served: Served{Engine: "sglang", Release: "0.5.16"}, TP: 2, EP: 2, Traffic: &traffic, Stated: []string{"gpu"},
		Flags: []string{"--tp", "2"}, Host: "node", PID: 4242, Rank: 1, BatchSize: 32, Seed: 42, Attempt: 2, Dump: call.Dump + "/flush_0002",
	}
	manifest := Manifest{
		Collection: collection.ID, Task: task.ID, Attempt: 2, ID: digest[:32], Node: "node", Call: call, Plan: &call, PlanNote: PlanStale, Beside: BesideRagged, Implied: true,
		Scale:  &Scale{Planned: []float64{0.0625, 0.125}, Model: 0.25, How: "192^-0.5"},
		Defect: &Defect{Reason: "torn_metadata", Detail: "metadata.jsonl ends in the middle of a line"}, Provenance: provenance,
		Definitions: collection.Definitions, SkipConst: true,
	}
	scalar := value
	verdict := Verdict{
		Collection: collection.ID, Task: task.ID, Attempt: 2, Manifest: manifest.ID, Function: call.Function,
		Candidates: []Candidate{{
			Definition: def.Name, UUID: "6ba7b811-9dad-51d1-80b4-00c04fd430c8", Axes: []AxisValue{{Name: "batch_size", Value: 2}},
			Inputs: []Input{{Name: "kv_indptr", Kind: InputSafetensors, Scalar: &scalar, DType: "int32", Shape: []int64{3}, Digest: digest, Inline: tensor.Inline}},
			Notes:  []string{"sm_scale from head_dim"},
		}},
		Rejections: []Rejection{{Definition: "other", Reason: "const_axis", Detail: "num_kv_heads is 8, must be 4"}}, Provenance: provenance,
	}
	counts := AttemptCounts{
		Dumps: 10, Manifests: 7, Plans: 2, Captures: 1, BytesSeen: 1 << 30, BytesRead: 1 << 20, BytesShipped: 1 << 19, PeakBytes: 1 << 28,
		EngineSeconds: 12.5, GPUSeconds: 25, BeforeTraffic: 3, Tokens: 4096, ServeSeconds: 2.5,
	}
	state := TaskState{
		Task: task, State: StateRunning, Attempt: 2, Worker: "gpuworker-node-1-abc", Heartbeat: at, StartedAt: at, FinishedAt: at, Counts: counts,
		Published: 1, Failure: &failure, Failures: []Attempt{{Number: 1, Worker: "gpuworker-node-1-abc", At: at, Failure: failure}}, NotBefore: at,
		Interrupted: 1, Forgiven: 1, Harvest: []Harvested{{File: "rmsnorm_h4096.json", Digest: digest}}, Written: []Written{{Definition: def.Name, Workloads: []string{"6ba7b811-9dad-51d1-80b4-00c04fd430c8"}}},
	}
	tally := Tally{Workload: 1, Duplicate: 2, NotSelected: 3, Rejected: map[string]int{"no_plan": 1, "bad_indptr": 2, "const_axis": 3}}
	return []Message{
		&collection, &task, &manifest, &verdict,
		&Publish{Collection: collection.ID, Task: task.ID, Attempt: 2, Index: 1, Definition: def, First: true, Spec: publish},
		&Push{Collection: collection.ID, Index: 1, Definition: def, Step: PushConclude, Round: 1, Workloads: uuids, Evaluation: 2},
		&PushState{
			Collection: collection.ID, Index: 1, Definition: def.Name, Step: PushPrepare, Round: 1, PR: 7, URL: "https://hub/datasets/owner/set/discussions/7", Head: digest[:40],
			Open: true, Held: true, Unproven: 3, Workloads: uuids, Skipped: uuids[:1], Commits: 2, Bytes: 4096, Plan: []string{"add workloads/x.jsonl"}, Evaluate: &evaluate,
			Evaluation: &Evaluation{Attempt: 2, Passed: 1, Of: 2, Skipped: true, Unseen: 1, Refused: []RefusedEvaluation{{Workload: uuids[0], Status: "RUNTIME_ERROR", Log: "out of memory"}}},
			Warnings:   []string{"the solution is there already"}, Failure: &failure, FinishedAt: at,
		},
		&Event{
			Collection: collection.ID, Task: task.ID, Attempt: 2, Role: "gpuworker", Node: "node", Time: at, Level: LevelWarn, Stage: StageEngine,
			Text: "attempt 1 failed", Done: 3, Total: 8, Failure: &failure,
		},
		&Worker{
			ID: "gpuworker-node-1-abc", Role: "gpuworker", Host: "node", PID: 1, Version: "v0.1.0", StartedAt: at, RenewedAt: at, Engines: []EngineKind{EngineReplay},
			GPUs: []GPU{{Index: 1, Name: "NVIDIA GB200", Bytes: 186 << 30, Holder: "c-0123456789ab.t001"}}, Doing: "c-0123456789ab.t001 attempt 2", Draining: true,
		},
		&failure,
		&Dead{Stream: StreamTasks, Subject: TaskSubject(EngineReplay, collection.ID, task.ID), Sequence: 9, Deliveries: 20, At: at, Node: "node", Failure: failure, Data: []byte{0x80}},
		&CollectionState{
			Spec: collection, State: StateRunning, Tasks: []string{"t000", "t001"}, Cancel: true, Retry: true, Failure: &failure, StartedAt: at, FinishedAt: at,
		},
		&state,
		&Publication{
			Collection: collection.ID, Task: task.ID, Attempt: 2, Index: 1, Definition: def.Name, State: StateDone, Plan: []byte("plan"),
			Workloads: []string{"6ba7b811-9dad-51d1-80b4-00c04fd430c8"}, All: tally, Home: tally, Unclaimed: tally,
			Examples: []Example{{Reason: "dtype", Manifest: "0a", Dump: call.Dump, Detail: "run's q is float16, q must be bfloat16"}},
			Seen:     Seen{Axes: map[string]map[int64]int{"batch_size": {8: 1, 32: 2, 2: 3}, "num_pages": {7: 1}}, KVLen: map[int64]int{128: 4, 64: 1, 256: 2}},
			Failure:  &failure, FinishedAt: at,
		},
	}
}
