package sglang_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang"
	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang/sglangtest"
	"github.com/tracefleet/tracefleet/proto"
)

// workerEnv makes the test binary a worker that runs one job and stops at its first gate: workerJob as JSON.
const workerEnv = "TRACEFLEET_SGLANG_TEST_WORKER"

type workerJob struct {
	Python, DumpDir, ScratchDir string
	Task                        proto.Task
}

// work is that worker.
func work(text string) int {
	var w workerJob
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	job := engine.Job{Task: w.Task, DumpDir: w.DumpDir, ScratchDir: w.ScratchDir}
	job.Gate = func(context.Context) error { fmt.Println("serving"); select {} }
	_, err := sglang.New(sglang.Options{Python: w.Python, StopGrace: 200 * time.Millisecond}).Run(context.Background(), job, func(engine.Progress) {})
	fmt.Fprintln(os.Stderr, "the worker's engine ended:", err)
	return 1
}

// TestEngine_WorkerKilled: kill -9 of the worker ends the server, its schedulers, the driver, and processes that left its group and
// session, whether they hear SIGTERM or not.
func TestEngine_WorkerKilled(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		mode proto.EngineMode
		fail string
		def  string
	}{
		{proto.ModeHTTPRagged, sglangtest.FailChildren, raggedDef},
		{proto.ModeHTTPRagged, sglangtest.FailDeaf, raggedDef},
		{proto.ModeOffline, "", decodeDef},
	} {
		t.Run(string(tc.mode)+" "+tc.fail, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, tc.mode, sglangtest.Options{Fail: tc.fail}, tc.def)
			data, err := json.Marshal(workerJob{b.stand.Python, b.job.DumpDir, b.job.ScratchDir, b.job.Task})
			require.NoError(t, err)
			exe, err := os.Executable()
			require.NoError(t, err)
			worker := exec.Command(exe)
			worker.Env, worker.Stderr = append(os.Environ(), workerEnv+"="+string(data)), os.Stderr
			out, err := worker.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, worker.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			_ = worker.Process.Kill()
			_ = worker.Wait()
			require.NoError(t, err)
			require.Equal(t, "serving\n", line)
			pids := b.stand.PIDs(t)
			require.GreaterOrEqual(t, len(pids), 2)
			// They are nobody's children whom a test could wait for.
			require.Eventually(t, func() bool {
				for _, pid := range pids {
					if syscall.Kill(pid, 0) == nil {
						return false
					}
				}
				return true
			}, time.Minute, 20*time.Millisecond, "processes of %v are still there", pids)
		})
	}
}
