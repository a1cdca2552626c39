package sglang

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/proc"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// TestDiagnose: the log's own lines, and how the process ended, become a code and a remedy.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	exited := &proc.Exit{Code: 1}
	for _, tc := range []struct {
		name  string
		lines []string
		exit  *proc.Exit
		code  proto.Code
		words string
		hint  string
	}{
		{"unknown flag", []string{"usage: launch_server.py [-h]", "launch_server.py: error: unrecognized arguments: --disable-piecewise-cuda-graph"}, &proc.Exit{Code: 2},
			proto.CodeBadServerFlag, "unrecognized arguments: --disable-piecewise-cuda-graph", "--extra-server-flag"},
		{"ambiguous flag", []string{"launch_server.py: error: ambiguous option: --cuda-graph-bs could match --cuda-graph-bs-decode, --cuda-graph-bs-prefill"}, &proc.Exit{Code: 2},
			proto.CodeBadServerFlag, "ambiguous option", ""},
		{"bad value", []string{"launch_server.py: error: argument --attention-backend: invalid choice: 'x' (choose from triton, flashinfer)"}, &proc.Exit{Code: 2},
			proto.CodeBadServerFlag, "invalid choice: 'x'", ""},
		{"unknown keyword", []string{"TypeError: ServerArgs.__init__() got an unexpected keyword argument 'disable_piecewise_cuda_graph'"}, exited,
			proto.CodeBadServerFlag, "disable_piecewise_cuda_graph", "keywords"},
		{"unknown keyword of a msgspec Struct", []string{"TypeError: Unexpected keyword argument 'foo'"}, exited, proto.CodeBadServerFlag, "'foo'", ""},
		{"old package", []string{"Exception: flashinfer_python is installed with version 0.6.1, which is less than the minimum required version 0.6.14. Please uninstall"}, exited,
			proto.CodeEnvironment, "minimum required version 0.6.14", "gpuworker setup"},
		{"no package", []string{"Exception: sglang-kernel with minimum required version 0.4.5 is not installed. Please reinstall"}, exited, proto.CodeEnvironment, "0.4.5", "doctor"},
		{"no module", []string{"ModuleNotFoundError: No module named 'sgl_kernel'"}, exited, proto.CodeEnvironment, "sgl_kernel", "doctor"},
		{"no compiler", []string{"FileNotFoundError: [Errno 2] No such file or directory: 'ninja'"}, exited, proto.CodeEnvironment, "ninja", "ninja"},
		{"no GPU", []string{"RuntimeError: No CUDA GPUs are available"}, exited, proto.CodeEnvironment, "No CUDA GPUs", "nvidia-smi"},
		{"capture, with CUDA's words", []string{"torch.AcceleratorError: CUDA error: operation not permitted when stream is capturing", "cudaErrorStreamCaptureUnsupported"}, exited,
			proto.CodeGraphCapture, "", "turns graphs on"},
		{"capture, with SGLang's words", []string{"Exception: Capture cuda graph failed: CUDA out of memory", "torch.OutOfMemoryError: CUDA out of memory"}, exited,
			proto.CodeGraphCapture, "Capture cuda graph failed", ""},
		{"no memory for the pool", []string{"RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current value: mem_fraction_static=0.05"}, exited,
			proto.CodeOutOfMemory, "increase --mem-fraction-static", "--mem-fraction-static"},
		{"pool too small", []string{"RuntimeError: Decode out of memory. ", "Out of memory. Try to lower your batch size."}, exited, proto.CodeOutOfMemory, "the KV pool", "--pool-tokens"},
		{"no memory", []string{"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."}, exited, proto.CodeOutOfMemory, "2.00 GiB", "dumping needs room"},
		{"nccl", []string{"RuntimeError: NCCL error: unhandled system error"}, exited, proto.CodeNCCL, "unhandled system error", "NCCL_DEBUG"},
		{"torch's nccl watchdog is nccl", []string{"[rank1]:[E] ProcessGroupNCCL.cpp:632] Watchdog caught collective operation timeout: Timeout(ms)=600000", "Scheduler watchdog timeout (self.watchdog_timeout=300, self.soft=False)"}, exited,
			proto.CodeNCCL, "ProcessGroupNCCL", ""},
		{"one device twice", []string{"torch.distributed.DistBackendError: NCCL error", "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 1b000"}, exited, proto.CodeNCCL, "Duplicate GPU", "as many GPUs"},
		{"watchdog", []string{"[2026-11-23 10:00:00 TP0] Scheduler watchdog timeout (self.watchdog_timeout=300, self.soft=False)"}, &proc.Exit{Code: -1, Signal: syscall.SIGKILL},
			proto.CodeWatchdog, "watchdog timeout", "--watchdog-timeout"},
		{"disk", []string{"OSError: [Errno 28] No space left on device: '/x'"}, exited, proto.CodeDiskFull, "No space left", "free space"},
		{"port", []string{"ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 30000): address already in use"}, exited, proto.CodeEngineFailed, "port is taken", "--sglang-port"},
		{"gated model", []string{"huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo"}, exited, proto.CodeEnvironment, "does not give the model", "hf auth login"},
		{"no model", []string{"OSError: foo/bar is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'"}, exited, proto.CodeBadCollection, "model was not found", "--model-path"},
		{"host memory", []string{"RuntimeError: Rank 0 scheduler died during initialization (exit code: -9). If exit code is -9 (SIGKILL), a common cause is the OS OOM killer."}, exited,
			proto.CodeOutOfMemory, "host memory", "dmesg"},
		{"a rank that ended by itself", []string{"ValueError: Unsupported architecture: Foo", "RuntimeError: Rank 0 scheduler died during initialization (exit code: 1). If exit code is -9 (SIGKILL), a common cause is the OS OOM killer."}, exited,
			proto.CodeEngineFailed, "exit code: 1", "Unsupported architecture: Foo"},
		{"only a signal", []string{"loading"}, &proc.Exit{Code: -1, Signal: syscall.SIGKILL}, proto.CodeEngineFailed, "signal 9", "dmesg"},
		{"only status 2", []string{"loading"}, &proc.Exit{Code: 2}, proto.CodeEngineFailed, "exit status 2", "command line"},
		{"an exception nobody knows", []string{"Traceback (most recent call last):", "  File x", "ValueError: Unsupported architecture: Foo", "more"}, exited, proto.CodeEngineFailed, "ValueError: Unsupported architecture: Foo", "last lines"},
		{"nothing at all", nil, exited, proto.CodeEngineFailed, "it logged nothing", "last lines"},
		{"a harmless import of one of many models", []string{"[2026-11-23 10:00:00] Ignore import error when loading sglang.srt.models.x: No module named 'y'"}, exited, proto.CodeEngineFailed, "", ""},
		{"it answered with an error, and lives", []string{"[2026-11-23 10:00:00] fine"}, nil, proto.CodeEngineFailed, "(status 500)", ""},
	} {
		w := newWatch(nil)
		for _, l := range tc.lines {
			w.line(l)
		}
		f := w.diagnose("0.5.16", phaseStart, tc.exit, errors.New("status 500"))
		require.Equal(t, tc.code, f.Code, "%s: %v", tc.name, f)
		require.Contains(t, f.Message, tc.words, tc.name)
		require.Contains(t, f.Message, "SGLang 0.5.16 failed while starting", tc.name)
		require.NotEmpty(t, f.Hint, tc.name)
		require.Contains(t, f.Hint, tc.hint, tc.name)
	}
}

// TestHarvest_Nothing: why traffic left no dump, in the order of how much each reason explains.
func TestHarvest_Nothing(t *testing.T) {
	t.Parallel()
	task := func(mode proto.EngineMode) *proto.Task {
		return &proto.Task{Engine: proto.EngineSpec{Mode: mode}, Dump: proto.DumpSpec{Count: 500, Include: []string{"X.run", "X.plan"}}}
	}
	spent := map[string]int{"X.run": 500}
	for _, tc := range []struct {
		name  string
		h     harvest
		f     facts
		mode  proto.EngineMode
		code  proto.Code
		words string
	}{
		{"dumps failed", harvest{logs: true, dumpErrors: []string{"[DUMP ERROR (inputs) in X.run]: disk"}}, facts{Captured: []string{"decode"}}, proto.ModeOffline, proto.CodeNothingDumped, "DUMP ERROR"},
		{"capture spent the budget", harvest{logs: true, before: spent, budget: 500}, facts{Captured: []string{"decode"}}, proto.ModeOffline, proto.CodeGraphCapture, "spent the budget of 500"},
		{"graphs hide the calls", harvest{logs: true, budget: 500}, facts{Captured: []string{"decode"}, Replayed: true}, proto.ModeOffline, proto.CodeGraphCapture, "replayed without being made"},
		{"warm-up spent the budget", harvest{logs: true, before: spent, budget: 500}, facts{}, proto.ModeOffline, proto.CodeNothingDumped, "before the first request"},
		{"another backend", harvest{logs: true, budget: 500}, facts{Backend: "fa3"}, proto.ModeOffline, proto.CodeNothingDumped, "chose fa3"},
		{"no log level", harvest{budget: 500}, facts{}, proto.ModeOffline, proto.CodeNothingDumped, "own log is empty"},
		{"ragged was not taken", harvest{logs: true, budget: 500}, facts{}, proto.ModeHTTPRagged, proto.CodeNothingDumped, "a paged path was taken"},
		{"other calls", harvest{logs: true, budget: 500, called: []string{"rmsnorm"}}, facts{}, proto.ModeOffline, proto.CodeNothingDumped, "FlashInfer was called (rmsnorm), but nothing that matches X.run,X.plan"},
		{"no such call", harvest{logs: true, budget: 500}, facts{}, proto.ModeOffline, proto.CodeNothingDumped, "nothing that matches X.run,X.plan was called"},
	} {
		f := tc.h.nothing(task(tc.mode), tc.f, "0.5.16")
		require.Equal(t, tc.code, f.Code, tc.name)
		require.Contains(t, f.Message, tc.words, tc.name)
		require.NotEmpty(t, f.Hint, tc.name)
		require.False(t, f.Retryable, tc.name)
	}
}

func TestHarvest_Lacking(t *testing.T) {
	t.Parallel()
	defs := enginetest.Definitions(t, "gqa_paged_decode_h32_kv8_d128_ps1", "rmsnorm_h4096")
	const class = "BatchDecodeWithPagedKVCacheWrapper"
	for _, tc := range []struct {
		after map[string]int
		words []string
	}{
		{map[string]int{class + ".run": 2, class + ".plan": 1, "rmsnorm": 1}, nil},
		{map[string]int{class + ".plan": 1, "rmsnorm": 1}, nil}, // plans stand for their runs
		{map[string]int{class + ".run": 2, class + ".plan": 1}, []string{"no call for rmsnorm_h4096 "}},
		{map[string]int{"rmsnorm": 1, "fused_add_rmsnorm": 1}, []string{"no call for gqa_paged_decode_h32_kv8_d128_ps1 "}},
		{map[string]int{class + ".run": 2, "rmsnorm": 1}, []string{class + " ran and was planned without a dump"}},
	} {
		told := (&harvest{after: tc.after}).lacking(defs)
		require.Len(t, told, len(tc.words), "%v", told)
		for i, w := range tc.words {
			require.Contains(t, told[i], w)
		}
	}
}

// TestTally counts calls, from an offset on, in a log that a rank has torn.
func TestTally(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	counts, end := tally(dir, 0)
	require.Empty(t, counts)
	require.Zero(t, end)
	w := fidump.NewWriter(dir, 12, nil)
	call := func(name string, more ...fidump.Value) {
		p, err := w.Begin(fidump.Call{Function: name, Args: append([]fidump.Value{fidump.IntArg("arg_0", 1)}, more...)})
		require.NoError(t, err)
		require.NoError(t, p.Return())
	}
	call("rmsnorm")
	call("rmsnorm")
	counts, end = tally(dir, 0)
	require.Equal(t, map[string]int{"rmsnorm": 2}, counts)
	call("X.run", fidump.StringArg("arg_1", strings.Repeat("long ", 1<<19))) // longer than the reader's buffer
	call("rmsnorm")
	f, err := os.OpenFile(filepath.Join(dir, fidump.SessionFile), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	for range 2 { // a call captured in a graph has two records of one status
		_, err = f.WriteString(`{"function_name": "Y.run", "execution_status": "graph_capture_pending_flush", "dump_dir": "/d/a"}` + "\n")
		require.NoError(t, err)
	}
	_, err = f.WriteString(`{"function_name": "rmsno`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	counts, _ = tally(dir, end)
	require.Equal(t, map[string]int{"X.run": 1, "rmsnorm": 1, "Y.run": 1}, counts)
}
