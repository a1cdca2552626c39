package evaluate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/evaluate"
	"github.com/tracefleet/tracefleet/gpuworker/proc"
	"github.com/tracefleet/tracefleet/internal/execfile"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

func TestMain(m *testing.M) {
	proc.MaybeSupervise()
	os.Exit(m.Run())
}

// files is a store.
type files map[string][]byte

func (f files) Get(_ context.Context, digest string) ([]byte, error) {
	if data, ok := f[digest]; ok {
		return data, nil
	}
	return nil, errors.New("no such digest")
}

// bench is a definition with three workloads, and a stand-in for flashinfer-bench that behaves as it is told.
type bench struct {
	t    *testing.T
	o    evaluate.Options
	task *proto.Evaluate
	def  *fitrace.Definition
	left string // the directory of what an evaluation leaves
}

const solution = "flashinfer_wrapper"

func newBench(t *testing.T, behave string) *bench {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("needs python3, which the stand-in for flashinfer-bench is written in")
	}
	site, err := filepath.Abs("../../../test/system/site")
	require.NoError(t, err)
	raw, err := os.ReadFile("../../../testdata/dataset/definitions/rmsnorm/rmsnorm_h4096.json")
	require.NoError(t, err)
	def, err := fitrace.ParseDefinition(raw, "rmsnorm_h4096.json")
	require.NoError(t, err)
	b := &bench{t: t, def: def, left: t.TempDir(), task: &proto.Evaluate{Solution: solution, Definition: proto.DefinitionRef{Name: def.Name, OpType: def.OpType, Digest: def.Digest()}}}
	var lines strings.Builder
	for i := range 3 {
		u := fmt.Sprintf("00000000-0000-0000-0000-00000000000%d", i)
		b.task.Workloads = append(b.task.Workloads, u)
		fmt.Fprintf(&lines, `{"definition": %q, "solution": null, "workload": {"uuid": %q, "axes": {"batch_size": %d}, "inputs": {"hidden_states": {"type": "random"}, "weight": {"type": "random"}}}, "evaluation": null}`+"\n", def.Name, u, i+1)
	}
	store := files{}
	for path, data := range map[string]string{
		fitrace.DefinitionPath(def.OpType, def.Name): string(raw), fitrace.WorkloadsPath(def.OpType, def.Name): lines.String(),
		"solutions/baseline/rmsnorm/rmsnorm_h4096/x.json": fmt.Sprintf(`{"name": %q}`, solution),
	} {
		digest := strings.Repeat(fmt.Sprintf("%02x", len(store)), 32)
		store[digest] = []byte(data)
		b.task.Files = append(b.task.Files, proto.EvalFile{Path: path, Digest: digest})
	}
	b.o = evaluate.Options{
		Python: python, Store: store, Dir: t.TempDir(), Grace: 5 * time.Second, Few: 1,
		Env: append(os.Environ(), "PYTHONPATH="+site, "FAKE_BENCH_EVAL="+behave, "HF_TOKEN=secret", "HUGGINGFACE_TOKEN=secret", "TRACEFLEET_NKEY=secret", "NATS_CREDS=secret"),
	}
	return b
}

// run evaluates: the status of each workload, and what was said of them.
func (b *bench) run(ctx context.Context) (map[string]string, []string, error) {
	job := engine.Job{
		Task:        proto.Task{Collection: "c", ID: "e000", Evaluate: b.task},
		Definitions: []*fitrace.Definition{b.def}, ScratchDir: b.t.TempDir(), TraceDir: b.left, Devices: []string{"3"}, Log: zerolog.Nop(),
	}
	var said []string
	_, err := evaluate.New(b.o).Run(ctx, job, func(p engine.Progress) {
		if strings.HasPrefix(p.Text, "Solution ") {
			said = append(said, p.Text)
		} else if p.Text != "" {
			b.t.Log(p.Text)
		}
	})
	status := map[string]string{}
	data, readErr := os.ReadFile(filepath.Join(job.TraceDir, proto.TracesFile))
	if readErr == nil {
		var list []struct {
			Workload   struct{ UUID string }
			Evaluation struct{ Status string }
		}
		require.NoError(b.t, json.Unmarshal(data, &list))
		for _, tr := range list {
			status[tr.Workload.UUID] = tr.Evaluation.Status
		}
	}
	return status, said, err
}

func TestRun(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	status, said, err := b.run(t.Context())
	require.NoError(t, err)
	require.Len(t, status, 3)
	require.Len(t, said, 3, "a line a workload")
	left, err := os.ReadDir(b.o.Dir)
	require.NoError(t, err)
	require.Empty(t, left, "the dataset goes when its evaluation has ended")
}

// A baseline runs without what opens the Hub or the broker.
func TestRun_Secrets(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	left := filepath.Join(t.TempDir(), "env")
	b.o.Python = execfile.Write(t, filepath.Join(t.TempDir(), "python"), "#!/bin/sh\nenv >> "+left+"\nexec "+b.o.Python+" \"$@\"\n")
	_, _, err := b.run(t.Context())
	require.NoError(t, err)
	env, err := os.ReadFile(left)
	require.NoError(t, err)
	require.Contains(t, string(env), "CUDA_VISIBLE_DEVICES=3")
	require.NotContains(t, string(env), "secret")
}

// What fails is in the traces; every workload is tried.
func TestRun_Failing(t *testing.T) {
	t.Parallel()
	status, _, err := newBench(t, "RUNTIME_ERROR").run(t.Context())
	require.NoError(t, err)
	require.Len(t, status, 3)
	for _, s := range status {
		require.Equal(t, "RUNTIME_ERROR", s)
	}
}

// What the baseline computes is summed up, an element an output; what cannot be is left out, and ends nothing.
func TestRun_Outputs(t *testing.T) {
	t.Parallel()
	type output struct {
		Definition, Workload, Name string
		Elements, NaN, Inf         int64
		Min, Max                   float64
	}
	for behave, want := range map[string]struct {
		workloads int
		output    output
	}{
		"":      {3, output{Elements: 64, Max: 63}},
		"zeros": {3, output{Elements: 64}},
		"nan":   {3, output{Elements: 65, NaN: 1, Max: 63}},
		"raise": {2, output{Elements: 64, Max: 63}},
		"exit":  {},
		"hang":  {},
	} {
		t.Run(behave, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			b.o.Env = append(b.o.Env, "FAKE_BENCH_OUTPUTS="+behave)
			if behave == "hang" {
				b.o.SumUp = time.Second
			}
			status, _, err := b.run(t.Context())
			require.NoError(t, err)
			require.Len(t, status, 3)
			data, err := os.ReadFile(filepath.Join(b.left, proto.OutputsFile))
			if want.workloads == 0 {
				require.ErrorIs(t, err, os.ErrNotExist)
				return
			}
			require.NoError(t, err)
			var got []output
			require.NoError(t, json.Unmarshal(data, &got))
			require.Len(t, got, want.workloads)
			for i, o := range got {
				want.output.Definition, want.output.Name, want.output.Workload = b.def.Name, b.def.Outputs[0].Name, b.task.Workloads[i+3-want.workloads]
				require.Equal(t, want.output, o)
			}
		})
	}
}

// An attempt that dies leaves what it has: the next one on this node does the rest.
func TestRun_Resumes(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.o.Few = 2
	status, _, err := b.run(t.Context())
	require.NoError(t, err)
	require.Len(t, status, 3)

	b = newBench(t, "")
	dying := b.o
	for i, v := range b.o.Env {
		if strings.HasPrefix(v, "FAKE_BENCH_EVAL=") {
			b.o.Env = append(append([]string{}, b.o.Env[:i]...), b.o.Env[i+1:]...)
			b.o.Env = append(b.o.Env, "FAKE_BENCH_EVAL=die")
		}
	}
	traces := filepath.Join(b.o.Dir, "c.e000", "traces", "rmsnorm")
	require.NoError(t, os.MkdirAll(traces, 0o755))
	first := fmt.Sprintf(`{"definition": "rmsnorm_h4096", "solution": %q, "workload": {"uuid": %q}, "evaluation": {"status": "TIMEOUT", "log": ""}}`+"\n", solution, b.task.Workloads[0])
	require.NoError(t, os.WriteFile(filepath.Join(traces, "rmsnorm_h4096.jsonl"), []byte(first), 0o644))
	_, _, err = b.run(t.Context())
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.True(t, f.Retryable, "%v", f)
	require.Contains(t, f.Message, "signal 9")
	b.o = dying
	status, said, err := b.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, "TIMEOUT", status[b.task.Workloads[0]], "it is not run again")
	require.Len(t, said, 2)
}

func TestRun_Fails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*bench)
		code   proto.Code
		words  string
	}{
		"no package":                   {func(b *bench) { b.o.Env = append(os.Environ(), "PYTHONPATH=") }, proto.CodeEnvironment, "flashinfer-bench is not installed"},
		"no interpreter":               {func(b *bench) { b.o.Python = "/no/python" }, proto.CodeEnvironment, "/no/python"},
		"another solution":             {func(b *bench) { b.task.Solution = "another" }, proto.CodeInternal, "not found by its name"},
		"a path that leads out":        {func(b *bench) { b.task.Files[0].Path = "../out" }, proto.CodeInternal, "leads out"},
		"a workload that is not there": {func(b *bench) { b.task.Workloads = append(b.task.Workloads, "u9") }, proto.CodeInternal, "u9 is not in"},
		"too late":                     {func(b *bench) { b.task.Timeout = time.Millisecond }, proto.CodeStartTimeout, "was not through after 1ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			c.change(b)
			_, _, err := b.run(t.Context())
			var f *proto.Failure
			require.ErrorAs(t, err, &f)
			require.Equal(t, c.code, f.Code, "%v", f)
			require.Contains(t, f.Message, c.words)
			require.NotContains(t, f.Error(), "secret")
		})
	}
}
