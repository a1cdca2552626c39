package launch

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// definition makes a definition as far as launches look at one.
func definition(name, opType, api string, tags ...string) *fitrace.Definition {
	return &fitrace.Definition{Name: name, OpType: opType, Tags: append([]string{"fi_api:flashinfer." + api}, tags...)}
}

var (
	decode   = definition("decode", "gqa_paged", "decode.BatchDecodeWithPagedKVCacheWrapper", "stage:decode")
	paged    = definition("paged", "gqa_paged", "prefill.BatchPrefillWithPagedKVCacheWrapper", "stage:prefill")
	ragged   = definition("ragged", "gqa_ragged", "prefill.BatchPrefillWithRaggedKVCacheWrapper", "stage:prefill")
	mla      = definition("mla", "mla_paged", "mla.BatchMLAPagedAttentionWrapper", "stage:prefill")
	norm     = definition("norm", "rmsnorm", "norm.rmsnorm")
	sampling = definition("sampling", "sampling", "sampling.top_k_top_p_sampling_from_probs")
	topK     = definition("topk", "sampling", "sampling.top_k_sampling_from_probs")
	rope     = definition("rope", "rope", "rope.apply_rope_with_cos_sin_cache_inplace")
	fp8moe   = definition("fp8moe", "moe", "fused_moe.trtllm_fp8_block_scale_moe")
	biased   = withInput(definition("biased", "moe", "fused_moe.trtllm_fp8_block_scale_moe"), "routing_bias", "bfloat16")
	mamba    = withInput(definition("mamba", "mamba_ssu", "mamba.selective_state_update"), "state", "bfloat16")
	unheard  = definition("unheard", "new", "future.something_new")
)

func withInput(d *fitrace.Definition, name, dtype string) *fitrace.Definition {
	d.Inputs = append(d.Inputs, fitrace.TensorSpec{Name: name, Shape: []string{"n"}, DType: dtype})
	return d
}

func task(mode proto.EngineMode, defs ...*fitrace.Definition) *proto.Task {
	t := &proto.Task{
		Collection: "c", ID: "t", BatchSize: 8,
		Engine:  proto.EngineSpec{Kind: proto.EngineSGLang, Mode: mode, ModelPath: "/models/llama", TP: 1, EP: 1, PageSize: 1, SGLang: "0.5.16", Architecture: "LlamaForCausalLM"},
		Traffic: proto.Traffic{NumBatches: 2, Dataset: "random", ISL: 100, OSL: 20},
		Dump:    proto.DumpSpec{Count: 500, What: "run"},
	}
	for _, d := range defs {
		t.Definitions = append(t.Definitions, proto.DefinitionRef{Name: d.Name, OpType: d.OpType})
		t.Dump.Include = append(t.Dump.Include, fitrace.IncludePatterns(d)...)
	}
	return t
}

func forTask(t *proto.Task, defs []*fitrace.Definition, n Node) (*Command, *proto.Failure) {
	c, err := ForTask(t, defs, n)
	if err == nil {
		return c, nil
	}
	return nil, proto.AsFailure(err, "not a failure")
}

func TestForTask_Server(t *testing.T) {
	t.Parallel()
	defs := []*fitrace.Definition{paged, norm, sampling}
	job := task(proto.ModeHTTPPaged, defs...)
	job.Engine.PageSize, job.Dump.TraceDump = 64, true
	c, err := ForTask(job, defs, Node{Release: "0.5.23", Capability: 90, DumpDir: "/run/dumps", TraceDir: "/run/trace", CacheDir: "/var/cache/tf", Port: 31000})
	require.NoError(t, err)
	require.Equal(t, "0.5.23", c.Release)
	require.Equal(t, "-m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 31000 --tp-size 1 --page-size 64 "+
		"--max-total-tokens 1920 --max-running-requests 8 --skip-tokenizer-init --disable-decode-cuda-graph --disable-prefill-cuda-graph "+
		"--disable-flashinfer-autotune --skip-server-warmup --watchdog-timeout 3600 --attention-backend flashinfer --sampling-backend flashinfer",
		strings.Join(c.Args, " "))
	require.Equal(t, "/ready", c.Ready)
	require.Empty(t, c.Engine)
	require.True(t, slices.IsSorted(c.Env))
	require.Equal(t, []string{
		"FLASHINFER_DUMP_DIR=/run/dumps",
		"FLASHINFER_DUMP_EXCLUDE=*.__init__",
		"FLASHINFER_DUMP_INCLUDE=" + strings.Join(job.Dump.Include, ","),
		"FLASHINFER_DUMP_MAX_COUNT=500",
		"FLASHINFER_DUMP_MAX_SIZE_GB=1048576",
		"FLASHINFER_DUMP_SAFETENSORS=1",
		"FLASHINFER_LOGDEST=/run/dumps.log/%i.log",
		"FLASHINFER_LOGLEVEL=10",
		"FLASHINFER_TRACE_DUMP=1",
		"FLASHINFER_TRACE_DUMP_DIR=/run/trace",
		"FLASHINFER_WORKSPACE_BASE=/var/cache/tf",
		"SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION=0",
		"SGLANG_FLASHINFER_USE_PAGED=1",
	}, c.Env)
	require.Equal(t, []string{"the task was planned for SGLang 0.5.16, and the node has 0.5.23"}, c.Notices)
}

func TestForTask_Offline(t *testing.T) {
	t.Parallel()
	defs := []*fitrace.Definition{decode}
	job := task(proto.ModeOffline, defs...)
	c, err := ForTask(job, defs, Node{DumpDir: "d"})
	require.NoError(t, err)
	require.Empty(t, c.Args)
	require.Empty(t, c.Ready)
	require.Empty(t, c.Notices)
	require.Equal(t, map[string]any{
		"attention_backend": "flashinfer", "disable_decode_cuda_graph": true, "disable_prefill_cuda_graph": true, "disable_flashinfer_autotune": true,
		"log_level": "info", "max_running_requests": int64(8), "max_total_tokens": int64(1033), "model_path": "/models/llama", "page_size": int64(1),
		"skip_tokenizer_init": true, "tp_size": int64(1), "watchdog_timeout": 3600.0,
	}, c.Keywords())
	require.NotContains(t, strings.Join(c.Env, " "), "SGLANG_")

	job.Traffic.Chat, job.Engine.Mode = true, proto.ModeAny
	c, err = ForTask(job, defs, Node{DumpDir: "d"})
	require.NoError(t, err)
	require.NotContains(t, c.Keywords(), "skip_tokenizer_init", "chat needs the tokenizer")
	require.NotEmpty(t, c.Engine, "what any mode reaches runs offline")
}

func TestForTask_Releases(t *testing.T) {
	t.Parallel()
	defs := []*fitrace.Definition{decode}
	job := task(proto.ModeOffline, defs...)
	job.Engine.SGLang = ""
	c, err := ForTask(job, defs, Node{})
	require.NoError(t, err)
	require.Equal(t, "0.5.23", c.Release)
	require.Equal(t, []string{"which SGLang will run is not known: these are the words of 0.5.23"}, c.Notices)

	_, f := forTask(job, defs, Node{Release: "0.6.0"})
	require.Equal(t, proto.CodeReleaseUnknown, f.Code)
	require.Contains(t, f.Error(), "0.5.8 to 0.5.23")
	require.Contains(t, f.Hint, "--any-release")
	job.Engine.AnyRelease = true
	c, err = ForTask(job, defs, Node{Release: "0.6.0"})
	require.NoError(t, err)
	require.Equal(t, "0.5.23", c.Release)

	job.Dump.TraceDump = true
	c, err = ForTask(job, defs, Node{Release: "0.5.11"})
	require.NoError(t, err)
	require.Contains(t, strings.Join(c.Notices, "\n"), "the FlashInfer of SGLang 0.5.11 has no trace dump")
	c, err = ForTask(job, defs, Node{Release: "0.5.12"})
	require.NoError(t, err)
	require.Empty(t, c.Notices)
	job.Engine.ModelPath = ""
	_, f = forTask(job, defs, Node{})
	require.Equal(t, proto.CodeBadCollection, f.Code)
}

func TestForTask_BadFlags(t *testing.T) {
	t.Parallel()
	defs := []*fitrace.Definition{ragged}
	job := task(proto.ModeHTTPRagged, defs...)
	job.Engine.Flags = []string{"--attention-backnd flashinfer"}
	_, f := forTask(job, defs, Node{})
	require.Equal(t, proto.CodeBadServerFlag, f.Code)
	require.Contains(t, f.Message, "SGLang 0.5.16: --attention-backnd is not an option of this release; use --attention-backend")
	require.Contains(t, f.Hint, "--extra-server-flag")
	job.Engine.Flags, job.Engine.ModelFlags = nil, []string{"--no-such-thing"}
	_, f = forTask(job, defs, Node{})
	require.Equal(t, proto.CodeBadServerFlag, f.Code)
	require.Contains(t, f.Hint, "model catalogue")
	job.Engine.ModelFlags = []string{"--trust-remote-code"}
	job.Engine.Flags = []string{"--disable-cuda-graph", "--port 31000"}
	_, f = forTask(job, defs, Node{})
	require.Equal(t, proto.CodeBadServerFlag, f.Code)
	job.Engine.Flags = job.Engine.Flags[:1]
	c, err := ForTask(job, defs, Node{})
	require.NoError(t, err)
	require.Contains(t, c.Args, "--trust-remote-code")
	require.NotContains(t, c.Args, "--port", "none is chosen in a plan")
	require.Equal(t, []string{"--disable-cuda-graph is, in SGLang 0.5.16, --disable-decode-cuda-graph --disable-prefill-cuda-graph"}, c.Notices)
}

// TestForTask_Reach: what cannot be had is refused, or told where something else of the task can.
func TestForTask_Reach(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode     proto.EngineMode
		defs     []*fitrace.Definition
		node     Node
		flags    []string
		code     proto.Code // empty: a command
		text     string     // of the failure, or among the cautions
		included string     // among the arguments
	}{
		"never called":              {mode: proto.ModeOffline, defs: []*fitrace.Definition{topK}, code: proto.CodeUnreachable, text: "topk: "},
		"called with another type":  {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{biased}, node: Node{Capability: 100}, code: proto.CodeUncollectable, text: "biased: trtllm_fp8_block_scale_moe: SGLang 0.5.16 passes routing_bias as float32, not bfloat16"},
		"... that an older one has": {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{biased}, node: Node{Capability: 100, Release: "0.5.12"}, included: "flashinfer_trtllm"},
		"one of two does not bind":  {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{biased, fp8moe}, node: Node{Capability: 100}, text: "biased: will not be collected: trtllm_fp8_block_scale_moe", included: "flashinfer_trtllm"},
		"its type by a flag":        {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{mamba}, included: "--mamba-ssm-dtype bfloat16"},
		"another type by the user":  {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{mamba}, flags: []string{"--mamba-ssm-dtype=float32"}, code: proto.CodeUnreachable, text: "mamba: it needs --mamba-ssm-dtype bfloat16, and --mamba-ssm-dtype float32 is given"},
		"none of two":               {mode: proto.ModeOffline, defs: []*fitrace.Definition{topK, rope}, code: proto.CodeUnreachable, text: "; rope: "},
		"one of two":                {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{ragged, topK}, text: "topk: will not be collected: ", included: "flashinfer"},
		"another GPU":               {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{fp8moe}, node: Node{Capability: 90}, code: proto.CodeUnreachable, text: "SM90"},
		"the right GPU":             {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{fp8moe}, node: Node{Capability: 100}, included: "flashinfer_trtllm"},
		"not known":                 {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{unheard}, text: "unheard: nothing is known of something_new"},
		"another mode":              {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{paged}, code: proto.CodeUnreachable, text: "in mode http-paged, and the task is of mode http-ragged"},
		"excluded by the user":      {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{ragged}, flags: []string{"--enable-deterministic-inference"}, code: proto.CodeUnreachable, text: "is not called under --enable-deterministic-inference"},
		"rider gives way":           {mode: proto.ModeHTTPPaged, defs: []*fitrace.Definition{paged, sampling}, node: Node{Release: "0.5.10.post1", Capability: 90}, text: "sampling: will not be collected: it is called with", included: "--enable-deterministic-inference"},
		"rider gives way, foremost": {mode: proto.ModeHTTPPaged, defs: []*fitrace.Definition{sampling, paged}, node: Node{Release: "0.5.10.post1", Capability: 90}, text: "sampling: will not be collected: it is called with", included: "--enable-deterministic-inference"},
		"MLA":                       {mode: proto.ModeHTTPPaged, defs: []*fitrace.Definition{mla}, node: Node{Release: "0.5.8"}, included: "--flashinfer-mla-disable-ragged"},
		"two servers": {mode: proto.ModeHTTPRagged, defs: []*fitrace.Definition{fp8moe, definition("routed", "moe", "fused_moe.trtllm_fp8_block_scale_routed_moe")},
			node: Node{Capability: 100, Release: "0.5.23"}, code: proto.CodeBadCollection, text: "fp8moe and routed can not share a server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := task(tc.mode, tc.defs...)
			job.Engine.Flags = tc.flags
			c, f := forTask(job, tc.defs, tc.node)
			if tc.code != "" {
				require.NotNil(t, f)
				require.Equal(t, tc.code, f.Code)
				require.Contains(t, f.Message, tc.text)
				require.NotEmpty(t, f.Hint)
				return
			}
			require.Nil(t, f)
			require.Contains(t, strings.Join(c.Cautions, "\n"), tc.text)
			require.Contains(t, strings.Join(c.Args, " "), tc.included)
		})
	}
}

// TestForTask_Fusion: a norm is kept out of all-reduce fusion where ranks could fuse it, and only there.
func TestForTask_Fusion(t *testing.T) {
	t.Parallel()
	const off = "--enforce-disable-flashinfer-allreduce-fusion"
	defs := []*fitrace.Definition{norm}
	job := task(proto.ModeHTTPRagged, defs...)
	for tp, want := range map[int]bool{1: false, 4: true} {
		job.Engine.TP = tp
		c, err := ForTask(job, defs, Node{Capability: 90})
		require.NoError(t, err)
		require.Equal(t, want, slices.Contains(c.Args, off), "tp %d", tp)
	}
	job = task(proto.ModeOffline, decode)
	job.Engine.TP = 4
	c, err := ForTask(job, []*fitrace.Definition{decode}, Node{Capability: 90})
	require.NoError(t, err)
	require.NotContains(t, c.Keywords(), "enforce_disable_flashinfer_allreduce_fusion", "no norm is wanted")

	fusion := definition("fusion", "allreduce", "comm.allreduce_fusion")
	a := reach.Ask(fusion, reach.Query{Release: "0.5.16", TP: 4, Capability: 90})
	require.Equal(t, reach.Reachable, a.Verdict, a.Why)
	c, err = ForTask(task(proto.ModeHTTPRagged, fusion), []*fitrace.Definition{fusion}, Node{})
	require.Error(t, err, "tp is 1: %v", c)
	job = task(proto.ModeHTTPRagged, fusion)
	job.Engine.TP = 4
	c, err = ForTask(job, []*fitrace.Definition{fusion}, Node{Capability: 90})
	require.NoError(t, err)
	require.NotContains(t, c.Args, off)
	// A model that fuses nothing of its own accord: both can be had, and the switch would take the fusion away.
	defs = []*fitrace.Definition{norm, fusion}
	job = task(proto.ModeHTTPRagged, defs...)
	job.Engine.TP = 4
	c, err = ForTask(job, defs, Node{Capability: 90})
	require.NoError(t, err)
	require.NotContains(t, c.Args, off)
}

func TestPoolTokens(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode                  proto.EngineMode
		batch, isl, osl, page int
		chat, noRadix         bool
		dataset               string
		given, want           int
	}{
		"given":               {batch: 8, given: 5000, want: 5000},
		"least":               {mode: proto.ModeOffline, batch: 1, isl: 10, osl: 10, page: 64, want: 1024},
		"decode":              {mode: proto.ModeOffline, batch: 64, isl: 1024, osl: 128, page: 1, want: 64*(1024+128+8+1) + 1},
		"decode in pages":     {mode: proto.ModeOffline, batch: 64, isl: 1024, osl: 128, page: 64, want: (64*(19+1) + 1) * 64},
		"no page size":        {mode: proto.ModeOffline, batch: 64, isl: 1024, osl: 128, want: 64*(1024+128+8+1) + 1},
		"ragged has one more": {mode: proto.ModeHTTPRagged, batch: 64, isl: 1024, osl: 128, page: 1, want: 64*(1024+1+8+1) + 1},
		"ragged with a step":  {mode: proto.ModeHTTPRagged, batch: 64, isl: 1024, osl: 2, page: 1, want: 64*(1024+2+8+1) + 1},
		"paged has prefixes":  {mode: proto.ModeHTTPPaged, batch: 64, isl: 1024, osl: 128, page: 1, want: 64*(1024+128+8+1) + 1 + 3*1024},
		"paged without cache": {mode: proto.ModeHTTPPaged, batch: 64, isl: 1024, osl: 128, page: 1, noRadix: true, want: 64*(1024+128+8+1) + 1},
		"chat":                {mode: proto.ModeOffline, batch: 64, isl: 1024, osl: 128, page: 1, chat: true, want: 64*(1024+512+128+8+1) + 1},
		"trace":               {mode: proto.ModeOffline, batch: 64, isl: 1024, osl: 128, dataset: "trace", want: 0},
	} {
		job := &proto.Task{
			BatchSize: tc.batch, Engine: proto.EngineSpec{Mode: tc.mode, PageSize: tc.page, PoolToken: tc.given},
			Traffic: proto.Traffic{ISL: tc.isl, OSL: tc.osl, Chat: tc.chat, DisableRadix: tc.noRadix, Dataset: tc.dataset},
		}
		got := PoolTokens(job)
		require.Equal(t, tc.want, got, name)
		require.Zero(t, got%max(tc.page, 1), "%s: whole pages", name)
	}
	job := task(proto.ModeOffline, decode)
	job.Traffic.Dataset = "trace"
	c, err := ForTask(job, []*fitrace.Definition{decode}, Node{})
	require.NoError(t, err)
	require.NotContains(t, c.Keywords(), "max_total_tokens")
	require.Contains(t, c.Notices[0], "--pool-tokens sets it")
}

// TestShell: a shell reads the line back as the same arguments.
func TestShell(t *testing.T) {
	t.Parallel()
	printf, err := exec.LookPath("printf")
	if err != nil {
		t.Skip("printf is not on the PATH")
	}
	c := &Command{Args: []string{"-m", "sglang.launch_server", "--chat-template", "it's {a} $b"}, Env: []string{"A=1 2"}}
	require.Equal(t, `env 'A=1 2' /py/python -m sglang.launch_server --chat-template 'it'\''s {a} $b'`, c.Shell("/py/python"))
	c = &Command{Engine: []sglang.Keyword{{Name: "model_path", Value: "it's"}, {Name: "tp_size", Value: int64(2)}}}
	line := c.Shell("python3")
	require.Contains(t, line, "env python3 -i -c 'import json, sys, sglang; engine = sglang.Engine(**json.loads(sys.argv[1]))' ")
	_, keywords, _ := strings.Cut(line, "argv[1]))' ")
	out, err := exec.Command("sh", "-c", printf+" %s "+keywords).Output()
	require.NoError(t, err)
	var read map[string]any
	require.NoError(t, json.Unmarshal(out, &read))
	require.Equal(t, map[string]any{"model_path": "it's", "tp_size": 2.0}, read)
}
