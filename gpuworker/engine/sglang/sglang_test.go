package sglang_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang"
	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang/sglangtest"
	"github.com/tracefleet/tracefleet/gpuworker/proc"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

func TestMain(m *testing.M) {
	proc.MaybeSupervise()
	sglangtest.Main()
	if text := os.Getenv(workerEnv); text != "" {
		os.Exit(work(text))
	}
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0") // or each process of a race build ends a second late
	goleak.VerifyTestMain(m)
}

// Definitions by the mode that reaches them.
const (
	decodeDef = "gqa_paged_decode_h32_kv8_d128_ps1"
	pagedDef  = "gqa_paged_prefill_causal_h32_kv8_d128_ps1"
	raggedDef = "gqa_ragged_prefill_causal_h32_kv8_d128"
)

// bench is one lifetime under test.
type bench struct {
	stand *sglangtest.Stand
	opt   sglang.Options
	job   engine.Job

	served atomic.Int64 // requests, as last reported

	mu    sync.Mutex
	texts []string
}

func newBench(t *testing.T, mode proto.EngineMode, stand sglangtest.Options, defs ...string) *bench {
	t.Helper()
	if mode == proto.ModeOffline {
		sglangtest.NeedPython(t)
	}
	b := &bench{stand: sglangtest.Python(t, stand)}
	b.opt = sglang.Options{Python: b.stand.Python, StartTimeout: time.Minute, StopGrace: 20 * time.Second}
	list := enginetest.Definitions(t, defs...)
	b.job = engine.Job{Task: enginetest.Task(proto.EngineSGLang, mode, list), Definitions: list, DumpDir: t.TempDir(), ScratchDir: t.TempDir(), Log: zerolog.Nop()}
	b.job.Task.Engine.ModelPath = t.TempDir()
	b.job.Task.BatchSize = 4
	b.job.Task.Dump.Count = 10000
	return b
}

func (b *bench) run(ctx context.Context) (engine.Result, error) {
	return sglang.New(b.opt).Run(ctx, b.job, func(p engine.Progress) {
		b.served.Store(p.Done)
		if p.Text != "" {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.texts = append(b.texts, p.Text)
		}
	})
}

func (b *bench) said() string { return strings.Join(b.texts, "\n") }

// noneLeft holds that every process that the stand-in was is gone.
func (b *bench) noneLeft(t *testing.T) {
	t.Helper()
	pids := b.stand.PIDs(t)
	require.NotEmpty(t, pids)
	for _, pid := range pids {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "process %d of %v is still there", pid, pids)
	}
}

func failure(t *testing.T, err error) *proto.Failure {
	t.Helper()
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.NotEmpty(t, f.Hint, "%v", f)
	return f
}

// TestEngine holds the engine to the contract of all engines. The stand-in makes one call a request (or a batch), so that what
// the suite counts at the gate is what is dumped.
func TestEngine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, def, call string
		mode            proto.EngineMode
		batches, osl    int
	}{
		{"offline", decodeDef, "BatchDecodeWithPagedKVCacheWrapper.plan", proto.ModeOffline, 12, 2},
		{"paged", pagedDef, "BatchPrefillWithPagedKVCacheWrapper.plan", proto.ModeHTTPPaged, 3, 1},
		{"ragged", raggedDef, "BatchPrefillWithRaggedKVCacheWrapper.plan", proto.ModeHTTPRagged, 3, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			enginetest.Run(t, func(t *testing.T) (engine.Engine, engine.Job) {
				b := newBench(t, tc.mode, sglangtest.Options{Calls: []string{tc.call}}, tc.def)
				b.job.Task.Traffic.NumBatches, b.job.Task.Traffic.OSL = tc.batches, tc.osl
				b.job.Task.Traffic.RangeRatio = 1
				return sglang.New(b.opt), b.job
			}, enginetest.Options{})
		})
	}
}

func TestEngine_Offline(t *testing.T) {
	t.Parallel()
	b := newBench(t, proto.ModeOffline, sglangtest.Options{}, decodeDef)
	b.job.Task.Traffic.OSL = 16
	b.job.Devices = []string{"3"}
	var begun atomic.Int64
	b.job.Begin = func(context.Context) error { begun.Add(1); return nil }
	var identity engine.Identity
	b.job.Identify = func(id engine.Identity) {
		require.Empty(t, enginetest.Dumps(t, b.job.DumpDir), "dumps before the engine said what it is")
		identity = id
	}
	result, err := b.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, engine.Identity{Versions: result.Versions, Mode: proto.ModeOffline}, identity)
	b.noneLeft(t)
	require.EqualValues(t, 1, begun.Load())
	require.EqualValues(t, 8, result.Requests)
	require.Equal(t, 1, result.GPUs)
	require.False(t, result.Simulated)
	require.Equal(t, map[string]string{"sglang": "0.5.16", "flashinfer": "0.6.14", "torch": "2.11.0", "python": "3.12.3"}, result.Versions)
	batches := b.stand.Entries(t, "batch")
	require.Len(t, batches, 2)
	for _, batch := range batches {
		fields := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(batch))
		require.Equal(t, "4", fields[0], "requests of a batch")
		require.Len(t, fields, 5)
		for _, n := range fields[1:] {
			require.Equal(t, fields[1], n, "the answers of a batch end together: %s", batch)
		}
	}
	require.Equal(t, []string{""}, b.stand.Entries(t, "flush"), "the Engine is ended between two forward passes")
	require.Contains(t, b.said(), "the KV pool holds")
	require.NotContains(t, b.said(), "not collected: ")
	require.Contains(t, b.said(), "weights loaded, 1.97 GB in 1.25 s")
}

func TestEngine_HTTP(t *testing.T) {
	t.Parallel()
	b := newBench(t, proto.ModeHTTPRagged, sglangtest.Options{HoldFor: 4}, raggedDef)
	b.job.Task.Traffic.NumBatches = 3
	b.job.Devices = []string{"2"}
	b.opt.Env, b.opt.WorkspaceBase = []string{"A_NAME=b"}, "/local/disk"
	result, err := b.run(t.Context())
	require.NoError(t, err)
	b.noneLeft(t)
	require.EqualValues(t, 12, result.Requests)
	require.Equal(t, 1, result.GPUs)
	require.Less(t, result.EngineSeconds, 10.0, "a server that says it is ready is not waited for")
	require.Equal(t, []string{"4"}, b.stand.Entries(t, "most in flight"), "the batch size is held, and no more")
	require.Empty(t, b.stand.Entries(t, "health"), "health checks may generate")
	env := b.stand.Entries(t, "env")
	require.Contains(t, env, "CUDA_VISIBLE_DEVICES=2")
	require.Contains(t, env, "CUDA_DEVICE_ORDER=PCI_BUS_ID", "leases count as nvidia-smi does")
	require.Contains(t, env, "FLASHINFER_WORKSPACE_BASE=/local/disk")
	require.Contains(t, env, "FLASHINFER_LOGDEST="+filepath.Join(b.job.ScratchDir, "flashinfer", "%i.log"))
	require.Contains(t, b.said(), "prefill of 1 requests")
	log, err := os.ReadFile(filepath.Join(b.job.ScratchDir, "sglang.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "The server is fired up and ready to roll!")
	require.Equal(t, []string{""}, b.stand.Entries(t, "asked to stop"))
}

// TestEngine_Secrets: what opens the Hub does not reach the engine, unless the node's own configuration names it.
func TestEngine_Secrets(t *testing.T) {
	t.Setenv("HF_TOKEN", "hf_secret")
	b := newBench(t, proto.ModeHTTPRagged, sglangtest.Options{}, raggedDef)
	_, err := b.run(t.Context())
	require.NoError(t, err)
	require.NotContains(t, strings.Join(b.stand.Diary(t), "\n"), "hf_secret")
	b = newBench(t, proto.ModeHTTPRagged, sglangtest.Options{}, raggedDef)
	b.opt.Env = []string{"HF_TOKEN=hf_for_models"}
	_, err = b.run(t.Context())
	require.NoError(t, err)
	require.Contains(t, b.stand.Entries(t, "env"), "HF_TOKEN=hf_for_models")
}

func TestEngine_Chat(t *testing.T) {
	t.Parallel()
	b := newBench(t, proto.ModeHTTPPaged, sglangtest.Options{}, pagedDef)
	b.job.Task.Traffic.Chat = true
	_, err := b.run(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, b.stand.Entries(t, "chat"))
	require.Empty(t, b.stand.Entries(t, "generate"))
}

// TestEngine_Ranks: each rank dumps by itself, and all of them end.
func TestEngine_Ranks(t *testing.T) {
	t.Parallel()
	b := newBench(t, proto.ModeHTTPRagged, sglangtest.Options{}, raggedDef)
	b.job.Task.Engine.TP = 2
	b.job.Devices = []string{"0", "1"}
	result, err := b.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, result.GPUs)
	require.Len(t, b.stand.PIDs(t), 3)
	b.noneLeft(t)
}

func TestEngine_BudgetSpent(t *testing.T) {
	t.Parallel()
	for _, mode := range []proto.EngineMode{proto.ModeOffline, proto.ModeHTTPRagged} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			def := map[proto.EngineMode]string{proto.ModeOffline: decodeDef, proto.ModeHTTPRagged: raggedDef}[mode]
			b := newBench(t, mode, sglangtest.Options{}, def)
			b.job.Task.Traffic.NumBatches = 100
			// Of a batch that is under way when the budget is spent nothing is served: let the first one end.
			b.job.Spent = func() bool { return b.served.Load() > 0 && len(enginetest.Dumps(t, b.job.DumpDir)) > 20 }
			result, err := b.run(t.Context())
			require.NoError(t, err)
			require.Positive(t, result.Requests)
			require.Less(t, result.Requests, int64(400))
			require.Contains(t, b.said(), "dump budget spent after")
			b.noneLeft(t)
		})
	}
}

// TestEngine_Releases: in every mode, what the oldest, some and the newest release are started with is what they take; nothing is
// dumped before the first request, and what is wanted is dumped after it.
func TestEngine_Releases(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"0.5.8", "0.5.12", "0.5.16", "0.5.20", "0.5.23"} {
		for mode, def := range map[proto.EngineMode]string{proto.ModeOffline: decodeDef, proto.ModeHTTPPaged: pagedDef, proto.ModeHTTPRagged: raggedDef, proto.ModeAny: "rmsnorm_h4096"} {
			t.Run(release+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				sglangtest.NeedPython(t)
				b := newBench(t, mode, sglangtest.Options{Release: release}, def)
				b.job.Task.Engine.SGLang = release
				b.job.Begin = func(context.Context) error {
					require.Empty(t, enginetest.Dumps(t, b.job.DumpDir), "before the first request")
					return nil
				}
				result, err := b.run(t.Context())
				if release == "0.5.8" && mode == proto.ModeAny { // whose norms are not FlashInfer's
					require.Equal(t, proto.CodeUnreachable, failure(t, err).Code)
					return
				}
				require.NoError(t, err)
				require.EqualValues(t, 8, result.Requests)
				require.Equal(t, release, result.Versions["sglang"])
				require.NotEmpty(t, enginetest.Dumps(t, b.job.DumpDir))
				require.NotContains(t, b.said(), "no call for")
				require.NotContains(t, b.said(), "was planned")
				require.Empty(t, b.stand.Entries(t, "health"), "health checks may generate")
				b.noneLeft(t)
			})
		}
	}
}

// TestEngine_Graphs: a user may turn graphs on; what their capture dumps comes before Begin and is told, and where it is all
// there is, the failure says so.
func TestEngine_Graphs(t *testing.T) {
	t.Parallel()
	graphs := func(t *testing.T, stand sglangtest.Options) *bench {
		b := newBench(t, proto.ModeOffline, stand, decodeDef)
		b.job.Task.Engine.Flags = []string{"--cuda-graph-backend-decode full"}
		return b
	}
	t.Run("beside traffic", func(t *testing.T) {
		t.Parallel()
		b := graphs(t, sglangtest.Options{})
		before := 0
		b.job.Begin = func(context.Context) error { before = len(enginetest.Dumps(t, b.job.DumpDir)); return nil }
		_, err := b.run(t.Context())
		require.NoError(t, err)
		require.Equal(t, 4*3, before, "4 captured batches of a plan and two layers' runs")
		require.Contains(t, b.said(), "12 calls were dumped before the first request")
		require.Contains(t, b.said(), "CUDA graphs are captured (target decode)")
		require.Contains(t, b.said(), "BatchDecodeWithPagedKVCacheWrapper ran and was planned without a dump", "a replayed graph plans nothing")
	})
	t.Run("instead of traffic", func(t *testing.T) {
		t.Parallel()
		b := graphs(t, sglangtest.Options{})
		b.job.Task.Dump.Count = 10
		_, err := b.run(t.Context())
		f := failure(t, err)
		require.Equal(t, proto.CodeGraphCapture, f.Code)
		require.Contains(t, f.Message, "spent the budget of 10 dumps")
	})
	t.Run("that cannot be captured", func(t *testing.T) {
		t.Parallel()
		_, err := graphs(t, sglangtest.Options{Fail: sglangtest.FailCapture}).run(t.Context())
		f := failure(t, err)
		require.Equal(t, proto.CodeGraphCapture, f.Code)
		require.Contains(t, f.Message, "stream is capturing")
	})
}

// TestEngine_UnknownAPI: an API that nothing is known of is looked for in the node's own SGLang before anything is started.
func TestEngine_UnknownAPI(t *testing.T) {
	t.Parallel()
	b := newBench(t, proto.ModeHTTPRagged, sglangtest.Options{}, raggedDef)
	norm, err := os.ReadFile("../../../testdata/dataset/definitions/rmsnorm/rmsnorm_h4096.json")
	require.NoError(t, err)
	odd, err := fitrace.ParseDefinition(bytes.ReplaceAll(norm, []byte("fi_api:flashinfer.norm.rmsnorm"), []byte("fi_api:flashinfer.norm.odd_norm")), "rmsnorm_h4096")
	require.NoError(t, err)
	b.job.Definitions = []*fitrace.Definition{odd}
	_, err = b.run(t.Context())
	f := failure(t, err)
	require.Equal(t, proto.CodeUnreachable, f.Code)
	require.Contains(t, f.Message, "odd_norm")
	require.NoFileExists(t, filepath.Join(b.job.ScratchDir, "sglang.log"), "nothing was started")

	b = newBench(t, proto.ModeHTTPRagged, sglangtest.Options{}, raggedDef)
	b.job.Definitions, b.job.Task.Dump.Include = []*fitrace.Definition{odd}, []string{"rmsnorm"}
	require.NoError(t, os.WriteFile(filepath.Join(b.stand.Site, "sglang", "srt", "odd.py"), []byte("import flashinfer\n\nflashinfer.norm.odd_norm(1)\n"), 0o644))
	_, err = b.run(t.Context())
	require.NoError(t, err)
	require.Contains(t, b.said(), "mentions its API at sglang/srt/odd.py:3")
	require.Contains(t, b.said(), "no call for rmsnorm_h4096 was dumped", "rmsnorm was, and it is after odd_norm")
}

func TestEngine_Fails(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		mode   proto.EngineMode
		stand  sglangtest.Options
		change func(b *bench)
		code   proto.Code
		words  string
		retry  bool
	}{
		{name: "no memory at start", stand: sglangtest.Options{Fail: sglangtest.FailOOMStart}, code: proto.CodeOutOfMemory, words: "while starting"},
		{name: "no memory at start, offline", mode: proto.ModeOffline, stand: sglangtest.Options{Fail: sglangtest.FailOOMStart}, code: proto.CodeOutOfMemory, words: "while starting"},
		{name: "no memory under way", stand: sglangtest.Options{Fail: sglangtest.FailCrash, FailAfter: 4}, code: proto.CodeOutOfMemory, words: "while serving", retry: true},
		{name: "no memory under way, offline", mode: proto.ModeOffline, stand: sglangtest.Options{Fail: sglangtest.FailCrash, FailAfter: 4}, code: proto.CodeOutOfMemory, words: "while serving", retry: true},
		{name: "nccl", stand: sglangtest.Options{Fail: sglangtest.FailNCCL}, code: proto.CodeNCCL, words: "unhandled system error", retry: true},
		{name: "watchdog", stand: sglangtest.Options{Fail: sglangtest.FailWatchdog, FailAfter: 2}, code: proto.CodeWatchdog, words: "watchdog timeout", retry: true},
		{name: "old package", stand: sglangtest.Options{Fail: sglangtest.FailPackage}, code: proto.CodeEnvironment, words: "less than the minimum required version"},
		{name: "killed", stand: sglangtest.Options{Fail: sglangtest.FailKilled, FailAfter: 2}, code: proto.CodeEngineFailed, words: "signal 9", retry: true},
		{name: "refused requests", stand: sglangtest.Options{Fail: sglangtest.FailRefuse}, code: proto.CodeBadTraffic, words: "longer than the model's context length"},
		{name: "aborted requests", stand: sglangtest.Options{Fail: sglangtest.FailAbort}, code: proto.CodeEngineFailed, words: "aborted: Out of memory while extending", retry: true},
		{name: "aborted requests, offline", mode: proto.ModeOffline, stand: sglangtest.Options{Fail: sglangtest.FailAbort}, code: proto.CodeEngineFailed, words: "aborted: Out of memory while extending", retry: true},
		{name: "hung start", stand: sglangtest.Options{Fail: sglangtest.FailHangStart}, change: func(b *bench) { b.job.Task.Engine.StartTimeout = time.Second },
			code: proto.CodeStartTimeout, words: "was not ready after 1s; it logged last: ", retry: true},
		{name: "hung start, offline", mode: proto.ModeOffline, stand: sglangtest.Options{Fail: sglangtest.FailHangStart}, change: func(b *bench) { b.opt.StartTimeout = 5 * time.Second },
			code: proto.CodeStartTimeout, words: "was not ready after 5s", retry: true},
		{name: "no sglang", stand: sglangtest.Options{Packages: map[string]string{"sglang": ""}}, code: proto.CodeEnvironment, words: "has no sglang"},
		{name: "no flashinfer", stand: sglangtest.Options{Packages: map[string]string{"flashinfer-python": ""}}, code: proto.CodeEnvironment, words: "has no flashinfer-python"},
		{name: "no python", change: func(b *bench) { b.opt.Python = "/no/python" }, code: proto.CodeEnvironment, words: "/no/python"},
		{name: "another release", change: func(b *bench) { b.job.Task.Engine.SGLang = "0.5.20" }, code: proto.CodeEnvironment, words: "0.5.20"},
		{name: "nothing is logged", stand: sglangtest.Options{NoDumpLogs: true}, code: proto.CodeNothingDumped, words: "own log is empty"},
		{name: "nothing matches", change: func(b *bench) { b.job.Task.Dump.Include = []string{"nothing_like_it"} }, code: proto.CodeNothingDumped, words: "ragged prefill was not called"},
		{name: "nothing matches, older release", mode: proto.ModeHTTPPaged, stand: sglangtest.Options{Release: "0.5.12"},
			change: func(b *bench) { b.job.Task.Dump.Include = []string{"nothing_like_it"} }, code: proto.CodeNothingDumped, words: "FlashInfer was called (BatchPrefill"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.mode == "" {
				tc.mode = proto.ModeHTTPRagged
			}
			def := map[proto.EngineMode]string{proto.ModeOffline: decodeDef, proto.ModeHTTPRagged: raggedDef, proto.ModeHTTPPaged: pagedDef}[tc.mode]
			b := newBench(t, tc.mode, tc.stand, def)
			b.opt.StopGrace = 5 * time.Second
			if tc.change != nil {
				tc.change(b)
			}
			_, err := b.run(t.Context())
			f := failure(t, err)
			require.Equal(t, tc.code, f.Code, "%v", f)
			require.Contains(t, f.Message, tc.words)
			require.Equal(t, tc.retry, f.Retryable, "%v", f)
			if _, err := os.Stat(filepath.Join(b.job.ScratchDir, "sglang.log")); err == nil {
				b.noneLeft(t)
			}
		})
	}
}

// TestEngine_Hiccup: a request whose connection broke before a byte came back is sent again.
func TestEngine_Hiccup(t *testing.T) {
	t.Parallel()
	b := newBench(t, proto.ModeHTTPRagged, sglangtest.Options{Fail: sglangtest.FailHiccup, FailAfter: 3}, raggedDef)
	result, err := b.run(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 8, result.Requests)
	require.Len(t, b.stand.Entries(t, "generate"), 8)
}

// TestEngine_Stubborn: neither a server that does not hear SIGTERM nor processes that left its group and session outlive Run.
func TestEngine_Stubborn(t *testing.T) {
	t.Parallel()
	for _, fail := range []string{sglangtest.FailDeaf, sglangtest.FailChildren} {
		t.Run(fail, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, proto.ModeHTTPRagged, sglangtest.Options{Fail: fail}, raggedDef)
			b.opt.StopGrace = 200 * time.Millisecond
			_, err := b.run(t.Context())
			require.NoError(t, err)
			b.noneLeft(t)
		})
	}
}

// TestEngine_Cancelled: the context's cause comes back, whatever the engine was doing, and nothing is left.
func TestEngine_Cancelled(t *testing.T) {
	t.Parallel()
	stop := errors.New("the user said so")
	for _, tc := range []struct {
		name  string
		mode  proto.EngineMode
		stand sglangtest.Options
	}{
		{"while it starts", proto.ModeHTTPRagged, sglangtest.Options{Fail: sglangtest.FailHangStart}},
		{"while it starts, offline", proto.ModeOffline, sglangtest.Options{Fail: sglangtest.FailHangStart}},
		{"while it serves", proto.ModeHTTPRagged, sglangtest.Options{HoldFor: 1000}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			def := map[proto.EngineMode]string{proto.ModeOffline: decodeDef, proto.ModeHTTPRagged: raggedDef}[tc.mode]
			b := newBench(t, tc.mode, tc.stand, def)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			eng := sglang.New(b.opt)
			b.job.Gate = func(context.Context) error { cancel(stop); return nil }
			_, err := eng.Run(ctx, b.job, func(p engine.Progress) {
				if strings.HasPrefix(p.Text, "loading safetensors") && tc.stand.Fail != "" {
					cancel(stop)
				}
			})
			require.ErrorIs(t, err, stop)
			b.noneLeft(t)
		})
	}
}

func TestEngine_Retractions(t *testing.T) {
	t.Parallel()
	b := newBench(t, proto.ModeHTTPRagged, sglangtest.Options{Fail: sglangtest.FailRetract}, raggedDef)
	_, err := b.run(t.Context())
	require.NoError(t, err)
	require.Contains(t, b.said(), "16 requests were retracted")
	require.Equal(t, 1, strings.Count(b.said(), "the KV pool is full"))
}

func TestEngine_SilentReady(t *testing.T) {
	t.Parallel()
	b := newBench(t, proto.ModeHTTPRagged, sglangtest.Options{Fail: sglangtest.FailSilentReady}, raggedDef)
	_, err := b.run(t.Context())
	require.NoError(t, err, "a log level that hides the line costs a wait, not the task")
}
