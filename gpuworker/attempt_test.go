package gpuworker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker"
	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// plenty is a node that grants device 3 to whoever asks.
type plenty struct{}

func (plenty) GPUs() []proto.GPU { return []proto.GPU{{Index: 3}} }

func (plenty) Acquire(context.Context, *proto.Task) (gpuworker.Grant, error) {
	return gpuworker.Grant{Devices: []string{"3"}, GPUs: 1, Model: "NVIDIA H200", Release: func() {}}, nil
}

func (plenty) Ready(ctx context.Context) error { return ctx.Err() }

var _ gpuworker.Leases = plenty{}

// asSGLang has a task and a worker take a scripted engine for the real one.
func asSGLang(change ...func(*proto.Task)) func(*proto.TaskState) {
	return func(s *proto.TaskState) {
		s.Task.Engine.Kind, s.Task.Engine.Mode, s.Task.Engine.SGLang = proto.EngineSGLang, proto.ModeHTTPPaged, "0.5.16"
		for _, c := range change {
			c(&s.Task)
		}
	}
}

func withSGLang(eng engine.Engine) func(*gpuworker.Options) {
	return func(o *gpuworker.Options) {
		o.Engines, o.Leases = engine.Registry{proto.EngineSGLang: eng}, plenty{}
	}
}

// norms writes n dumps of one process.
func norms(w *fidump.Writer, from, n int) error {
	for i := range n {
		p, err := w.Begin(fidump.Call{
			Time: time.Date(2026, 1, 1, 0, 0, from+i, 0, time.UTC), Function: "rmsnorm", Module: "flashinfer.norm",
			Signature: "(input: torch.Tensor, weight: torch.Tensor, eps: float = 1e-06) -> torch.Tensor",
			Args: []fidump.Value{
				fidump.TensorArg("arg_0", "bfloat16", []int64{int64(1 + from + i), 4096}, nil), fidump.TensorArg("arg_1", "bfloat16", []int64{4096}, nil),
				fidump.FloatArg("arg_2", 1e-5),
			},
		})
		if err != nil {
			return err
		}
		if err := p.Return(fidump.TensorArg("", "bfloat16", []int64{1, 4096}, nil)); err != nil {
			return err
		}
	}
	return nil
}

// An engine warms up, begins, serves until its budget is spent, and leaves a log and what FlashInfer's trace dump wrote.
func TestAttempt_WarmUpTrafficHarvest(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000", asSGLang(func(task *proto.Task) { task.Dump.TraceDump, task.Dump.Count = true, 7 }))
	eng := scripted(func(ctx context.Context, job engine.Job, _ func(engine.Progress)) (engine.Result, error) {
		for _, dir := range []string{job.DumpDir, job.ScratchDir, job.TraceDir} {
			if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
				return engine.Result{}, fmt.Errorf("%q is not an empty directory: %w", dir, err)
			}
		}
		if len(job.Devices) != 1 || job.Devices[0] != "3" {
			return engine.Result{}, fmt.Errorf("devices %v", job.Devices)
		}
		for path, text := range map[string]string{
			filepath.Join(job.ScratchDir, "server.log"): "ready to roll", filepath.Join(job.ScratchDir, "port"): "30000",
			filepath.Join(job.TraceDir, "rmsnorm_h4096.json"): `{"name": "rmsnorm_h4096"}`, filepath.Join(job.TraceDir, "torn.json"): `{"name": `,
			filepath.Join(job.TraceDir, "notes.txt"): "{}", filepath.Join(job.TraceDir, "huge.json"): `"` + strings.Repeat("x", proto.MaxMessageBytes) + `"`,
		} {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				return engine.Result{}, err
			}
		}
		if err := os.Symlink("/etc/passwd", filepath.Join(job.TraceDir, "link.json")); err != nil {
			return engine.Result{}, err
		}
		w := fidump.NewWriter(job.DumpDir, 100, map[string]string{"flashinfer": "0.6.14"})
		if err := norms(w, 0, 3); err != nil {
			return engine.Result{}, err
		}
		if err := job.Begin(ctx); err != nil {
			return engine.Result{}, err
		}
		served := 0
		for at := 3; !job.Spent(); at++ {
			if err := context.Cause(ctx); err != nil {
				return engine.Result{}, err
			}
			if at < 7 { // FlashInfer writes no more than its budget
				if err := norms(w, at, 1); err != nil {
					return engine.Result{}, err
				}
			}
			served++
			time.Sleep(time.Millisecond)
		}
		return engine.Result{Requests: int64(served)}, nil
	})
	w := f.start(eng, withSGLang(eng), func(o *gpuworker.Options) { o.KeepDumps = 1 })
	s := f.until(key, is(proto.StateCollected))
	require.Equal(t, int64(7), s.Counts.Dumps)
	require.Equal(t, int64(7), s.Counts.Manifests)
	require.Equal(t, int64(3), s.Counts.BeforeTraffic)
	early := 0
	for _, m := range f.takeManifests(7) {
		require.Equal(t, proto.ModeHTTPPaged, m.Provenance.Mode)
		require.Equal(t, "NVIDIA H200", m.Provenance.GPU)
		require.Equal(t, "0.5.16", m.Provenance.Versions["sglang"])
		require.Equal(t, "0.6.14", m.Provenance.Versions["flashinfer"])
		if m.Defect != nil {
			require.Equal(t, proto.DefectNoTraffic, m.Defect.Reason)
			early++
		}
	}
	require.Equal(t, 3, early)

	require.Len(t, s.Harvest, 2)
	require.Equal(t, "rmsnorm_h4096.json", s.Harvest[0].File)
	data, err := f.bus.Definition(t.Context(), s.Harvest[0].Digest)
	require.NoError(t, err)
	require.Equal(t, `{"name": "rmsnorm_h4096"}`, string(data))
	require.Equal(t, "evidence.json", s.Harvest[1].File)
	data, err = f.bus.Definition(t.Context(), s.Harvest[1].Digest)
	require.NoError(t, err)
	var evidence struct {
		Functions map[string][]struct {
			Arguments map[string]struct {
				DType string
				Shape []int64
			}
		}
	}
	require.NoError(t, json.Unmarshal(data, &evidence))
	require.Len(t, evidence.Functions["rmsnorm"], 1)
	require.Equal(t, []int64{4096}, evidence.Functions["rmsnorm"][0].Arguments["arg_1"].Shape)

	w.soft()
	require.NoError(t, w.wait())
	fourth, err := filepath.Glob(filepath.Join(w.dir, "kept", "c-test.t000.1", "*_rmsnorm_call0004"))
	require.NoError(t, err)
	require.Len(t, fourth, 1, "the first of traffic is kept")
	require.Equal(t, []string{filepath.Dir(fourth[0]), filepath.Join(w.dir, "logs", "c-test.t000.1.log")}, dirs(t, w.dir), "nothing else but the log is left")
	kept, err := os.ReadFile(filepath.Join(w.dir, "logs", "c-test.t000.1.log"))
	require.NoError(t, err)
	require.Equal(t, "ready to roll", string(kept))
}

// What was dumped before traffic alone is nothing, and the failure says what became of the budget.
func TestAttempt_NothingOfTraffic(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		count, warm int
		begin       bool
		message     string
		hint        string
	}{
		"budget spent":   {count: 4, warm: 4, begin: true, message: "all 4 dumps were made before the first request", hint: "budget of 4"},
		"hidden":         {count: 9, warm: 4, begin: true, message: "all 4 dumps were made before the first request", hint: "graphs hide calls"},
		"never served":   {count: 9, warm: 2, message: "all 2 dumps", hint: "graphs hide calls"},
		"nothing at all": {count: 9, begin: true, message: "sglang in mode http-paged served 5 requests and dumped nothing", hint: "no call matched"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			key := f.submit("t000", asSGLang(func(task *proto.Task) { task.Dump.Count = c.count }))
			eng := scripted(func(ctx context.Context, job engine.Job, _ func(engine.Progress)) (engine.Result, error) {
				err := norms(fidump.NewWriter(job.DumpDir, 100, nil), 0, c.warm)
				if err == nil && c.begin {
					err = job.Begin(ctx)
				}
				return engine.Result{Requests: 5}, err
			})
			f.start(eng, withSGLang(eng))
			s := f.until(key, is(proto.StateFailed))
			require.Equal(t, proto.CodeNothingDumped, s.Failure.Code)
			require.Contains(t, s.Failure.Message, c.message)
			require.Contains(t, s.Failure.Hint, c.hint)
			require.Len(t, s.Failures, 1, "another attempt would bring no more")
		})
	}
}

// A task that is to dump nothing and does has all that was wanted of it: what serving took.
func TestAttempt_DumpNone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000", asSGLang(func(task *proto.Task) { task.Dump.What, task.Dump.Include, task.Dump.Count = proto.DumpNone, nil, 1 }))
	eng := scripted(func(ctx context.Context, job engine.Job, _ func(engine.Progress)) (engine.Result, error) {
		if err := job.Begin(ctx); err != nil {
			return engine.Result{}, err
		}
		if job.Spent() {
			return engine.Result{}, errors.New("the budget is spent by nothing")
		}
		return engine.Result{Requests: 5, Tokens: 640, ServeSeconds: 2.5, EngineSeconds: 9, GPUs: 2}, nil
	})
	w := f.start(eng, withSGLang(eng))
	s := f.until(key, func(s *proto.TaskState) bool { return s.State == proto.StateCollected || s.State.Final() })
	require.Equal(t, proto.StateCollected, s.State, "%v", s.Failure)
	require.Empty(t, s.Failures)
	require.Zero(t, s.Counts.Dumps)
	require.Zero(t, s.Counts.Manifests)
	require.EqualValues(t, 640, s.Counts.Tokens)
	require.Equal(t, 2.5, s.Counts.ServeSeconds)
	require.Equal(t, 18.0, s.Counts.GPUSeconds)
	require.Zero(t, f.count(proto.StreamManifests, ">"))
	w.soft()
	require.NoError(t, w.wait())
	require.Empty(t, dirs(t, w.dir))
}

// Of the logs of many attempts the newest are kept, and of a long one its end.
func TestAttempt_Logs(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	key := f.submit("t000", asSGLang())
	eng := scripted(func(ctx context.Context, job engine.Job, _ func(engine.Progress)) (engine.Result, error) {
		long := strings.Repeat("early ", 1<<21) + "the end"
		if err := os.WriteFile(filepath.Join(job.ScratchDir, "server.log"), []byte(long), 0o644); err != nil {
			return engine.Result{}, err
		}
		if err := os.WriteFile(filepath.Join(job.ScratchDir, "driver.log"), []byte("driven"), 0o644); err != nil {
			return engine.Result{}, err
		}
		return engine.Result{}, proto.Failf(proto.CodeEnvironment, "broken")
	})
	root := filepath.Join(t.TempDir(), "work")
	for i := range 100 {
		old := filepath.Join(root, "logs", fmt.Sprintf("c-old.t%03d.1.log", i))
		writeFile(t, old, "old")
		at := time.Now().Add(-time.Hour - time.Duration(i)*time.Minute)
		require.NoError(t, os.Chtimes(old, at, at))
	}
	writeFile(t, filepath.Join(root, "logs", "README"), "not ours")
	w := f.start(eng, withSGLang(eng), func(o *gpuworker.Options) { o.WorkDir = root })
	f.until(key, is(proto.StateFailed))
	w.soft()
	require.NoError(t, w.wait())
	kept, err := os.ReadFile(filepath.Join(root, "logs", "c-test.t000.1.log"))
	require.NoError(t, err)
	require.Less(t, len(kept), 9<<20)
	require.True(t, strings.HasPrefix(string(kept), "==> driver.log <==\ndriven"), "%.80s", kept)
	require.True(t, strings.HasSuffix(string(kept), "early the end"))
	logs, err := filepath.Glob(filepath.Join(root, "logs", "*.log"))
	require.NoError(t, err)
	require.Len(t, logs, 64)
	require.NoFileExists(t, filepath.Join(root, "logs", "c-old.t099.1.log"))
	require.FileExists(t, filepath.Join(root, "logs", "c-old.t000.1.log"))
	require.FileExists(t, filepath.Join(root, "logs", "README"))
}
