// Package enginetest is the suite every engine passes: what the worker's loop relies on, whatever runs behind the interface.
// That nothing is left running is for the engine's own TestMain to verify, with goleak.
package enginetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Factory makes an engine and a job for it that dumps at least ten calls. The suite sets the job's dump directory and log.
type Factory func(t *testing.T) (engine.Engine, engine.Job)

// Options says what an engine cannot be held to.
type Options struct {
	// NoBudget is for engines whose number of dumps is not theirs to choose.
	NoBudget bool
}

// Run holds an engine to the contract of package engine.
func Run(t *testing.T, factory Factory, opts Options) {
	t.Run("dumps are well-formed and final", func(t *testing.T) {
		t.Parallel()
		dir, result, err := play(t, t.Context(), factory, nil)
		require.NoError(t, err)
		dumps := Dumps(t, dir)
		require.GreaterOrEqual(t, len(dumps), 10, "dump directories")
		require.EqualValues(t, len(dumps), result.Dumps, "dumps by the engine's count")
		require.Positive(t, result.EngineSeconds)
		for _, name := range dumps {
			checkDump(t, filepath.Join(dir, name))
		}
		checkSession(t, dir, dumps)
	})

	t.Run("equal jobs give equal tensors", func(t *testing.T) {
		t.Parallel()
		one, result, err := play(t, t.Context(), factory, nil)
		require.NoError(t, err)
		two, _, err := play(t, t.Context(), factory, nil)
		require.NoError(t, err)
		a, b := Structure(t, one), Structure(t, two)
		require.NotEmpty(t, a)
		if result.Simulated || opts.NoBudget {
			require.Equal(t, a, b)
		}
	})

	t.Run("cancelled before the start", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err := play(t, ctx, factory, nil)
		require.ErrorIs(t, err, context.Canceled)
	})

	t.Run("cancelled while it dumps", func(t *testing.T) {
		t.Parallel()
		stop := errors.New("the user said so")
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		var dumps atomic.Int64
		dir, _, err := play(t, ctx, factory, func(job *engine.Job) {
			job.Gate = func(ctx context.Context) error {
				if dumps.Add(1) == 5 {
					cancel(stop)
				}
				return context.Cause(ctx)
			}
		})
		require.Error(t, err)
		require.True(t, errors.Is(err, stop) || errors.Is(err, context.Canceled), "error is %v", err)
		require.Less(t, len(Dumps(t, dir)), 10, "dumps after the fifth gate was told to stop")
	})

	t.Run("waits at the gate", func(t *testing.T) {
		t.Parallel()
		var mu sync.Mutex
		closed, waiting, at := false, 0, 0
		open, full := make(chan struct{}), make(chan struct{})
		var dir string
		gate := func(ctx context.Context) error {
			mu.Lock()
			if at++; at == 5 {
				closed = true
			}
			if !closed {
				mu.Unlock()
				return nil
			}
			if waiting++; waiting == 1 {
				close(full)
			}
			mu.Unlock()
			select {
			case <-open:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		done := make(chan error, 1)
		ready := make(chan string, 1)
		go func() {
			_, _, err := play(t, t.Context(), factory, func(job *engine.Job) { job.Gate = gate; ready <- job.DumpDir })
			done <- err
		}()
		dir = <-ready
		<-full
		require.LessOrEqual(t, len(Dumps(t, dir)), 5, "an engine that waits writes nothing new")
		select {
		case err := <-done:
			t.Fatalf("the engine ended at a closed gate: %v", err)
		default:
		}
		close(open)
		require.NoError(t, <-done)
		require.GreaterOrEqual(t, len(Dumps(t, dir)), 10)
	})

	t.Run("eaten dumps do not come back", func(t *testing.T) {
		t.Parallel()
		var dir string
		eaten := map[string]bool{}
		eat := func(context.Context) error {
			for _, name := range Dumps(t, dir) {
				if final(filepath.Join(dir, name)) && !graph(filepath.Join(dir, name)) {
					eaten[name] = true
					require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
				}
			}
			return nil
		}
		var mu sync.Mutex
		got, _, err := play(t, t.Context(), factory, func(job *engine.Job) {
			dir = job.DumpDir
			job.Gate = func(ctx context.Context) error { mu.Lock(); defer mu.Unlock(); return eat(ctx) }
		})
		require.NoError(t, err)
		require.NotEmpty(t, eaten)
		for _, name := range Dumps(t, got) {
			require.False(t, eaten[name], "%s was written again after it had been eaten", name)
		}
	})

	t.Run("nothing is written elsewhere", func(t *testing.T) {
		t.Parallel()
		eng, job := factory(t)
		parent := t.TempDir()
		job.DumpDir, job.Log = filepath.Join(parent, "dumps"), zerolog.Nop()
		require.NoError(t, os.Mkdir(job.DumpDir, 0o755))
		_, err := eng.Run(t.Context(), job, func(engine.Progress) {})
		require.NoError(t, err)
		entries, err := os.ReadDir(parent)
		require.NoError(t, err)
		require.Len(t, entries, 1, "beside the dump directory")
	})

	if opts.NoBudget {
		return
	}
	t.Run("the budget is per process", func(t *testing.T) {
		t.Parallel()
		dir, _, err := play(t, t.Context(), factory, func(job *engine.Job) { job.Task.Dump.Count = 7 })
		require.NoError(t, err)
		per := map[int64]int{}
		for _, name := range Dumps(t, dir) {
			n, ok := fidump.ParseName(name)
			require.True(t, ok, name)
			per[n.PID]++
		}
		require.NotEmpty(t, per)
		for pid, n := range per {
			require.Equal(t, 7, n, "dumps of process %d", pid)
		}
	})
}

// play runs a fresh engine into a fresh directory.
func play(t *testing.T, ctx context.Context, factory Factory, change func(*engine.Job)) (string, engine.Result, error) {
	t.Helper()
	eng, job := factory(t)
	job.DumpDir, job.Log = t.TempDir(), zerolog.Nop()
	if change != nil {
		change(&job)
	}
	ended := atomic.Bool{}
	result, err := eng.Run(ctx, job, func(engine.Progress) {
		if ended.Load() {
			t.Error("progress reported after Run returned")
		}
	})
	ended.Store(true)
	return job.DumpDir, result, err
}

// Dumps lists the dump directories, by name: for one process that is call order.
func Dumps(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		if _, ok := fidump.ParseName(e.Name()); ok && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// Structure gives every integer input tensor below dir, as "dump/key dtype shape bytes".
func Structure(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	for _, name := range Dumps(t, dir) {
		path := filepath.Join(dir, name)
		rec, _, err := fidump.ReadRecord(filepath.Join(path, "metadata.jsonl"))
		if err != nil || rec == nil {
			continue
		}
		in, err := fidump.OpenInputs(path, rec)
		if err != nil {
			continue
		}
		for _, tensor := range in.Tensors() {
			if !strings.Contains(tensor.DType, "int") && tensor.DType != "bool" {
				continue
			}
			data, err := in.Read(tensor.Key)
			require.NoError(t, err)
			list = append(list, fmt.Sprintf("%s/%s %s %v %x", name, tensor.Key, tensor.DType, tensor.Shape, data))
		}
		require.NoError(t, in.Close())
	}
	slices.Sort(list)
	return list
}

// checkDump reads a dump as the tailer does.
func checkDump(t *testing.T, path string) {
	t.Helper()
	name, _ := fidump.ParseName(filepath.Base(path))
	rec, state, err := fidump.ReadRecord(filepath.Join(path, "metadata.jsonl"))
	require.NoError(t, err, path)
	require.Equal(t, fidump.Completed, state, path)
	require.Equal(t, name.Function, rec.FunctionName, path)
	require.Equal(t, name.PID, rec.ProcessID, path)
	require.Equal(t, name.Sequence, rec.CallSequence, path)
	require.Equal(t, filepath.Base(path), filepath.Base(rec.DumpDir), path)
	require.NotEmpty(t, rec.Signature, path)
	in, err := fidump.OpenInputs(path, rec)
	require.NoError(t, err, path)
	defer in.Close()
	require.NotEmpty(t, in.Tensors(), path)
	entries, err := os.ReadDir(path)
	require.NoError(t, err)
	for _, e := range entries {
		require.False(t, strings.HasPrefix(e.Name(), "."), "%s is left in %s", e.Name(), path)
	}
}

// checkSession holds that every dump has its two records in session.jsonl, in order.
func checkSession(t *testing.T, dir string, dumps []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "session.jsonl"))
	require.NoError(t, err)
	status := map[string][]string{}
	for line := range bytes.Lines(data) {
		var r struct {
			Dir    string `json:"dump_dir"`
			Status string `json:"execution_status"`
		}
		require.NoError(t, json.Unmarshal(line, &r))
		status[filepath.Base(r.Dir)] = append(status[filepath.Base(r.Dir)], r.Status)
	}
	for _, name := range dumps {
		require.Equal(t, []string{"inputs_saved", "completed"}, status[name], name)
	}
}

func final(path string) bool {
	data, err := os.ReadFile(filepath.Join(path, "metadata.jsonl"))
	return err == nil && bytes.HasSuffix(data, []byte("\n")) && bytes.Contains(data, []byte(`"execution_status": "completed"`))
}

func graph(path string) bool {
	_, err := os.Stat(filepath.Join(path, "graph_flushes"))
	return !errors.Is(err, fs.ErrNotExist)
}

// Definitions loads the project's own definitions by name; none: all of them.
func Definitions(t testing.TB, names ...string) []*fitrace.Definition {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	all, errs := fitrace.LoadDefinitions(filepath.Join(filepath.Dir(file), "..", "..", "..", "testdata", "dataset"))
	require.Empty(t, errs)
	if len(names) == 0 {
		return all
	}
	var list []*fitrace.Definition
	for _, name := range names {
		i := slices.IndexFunc(all, func(d *fitrace.Definition) bool { return d.Name == name })
		require.GreaterOrEqual(t, i, 0, "definition %s", name)
		list = append(list, all[i])
	}
	return list
}

// Task makes a small task for the definitions, as planning would.
func Task(kind proto.EngineKind, mode proto.EngineMode, defs []*fitrace.Definition) proto.Task {
	task := proto.Task{
		Collection: "c-test", ID: "t000", BatchSize: 4,
		Engine:  proto.EngineSpec{Kind: kind, Mode: mode, TP: 1, EP: 1},
		Traffic: proto.Traffic{NumBatches: 2, Dataset: "random", ISL: 64, OSL: 8, RangeRatio: 0.5, Seed: 1},
		Dump:    proto.DumpSpec{Count: 500, What: "run"},
	}
	for _, d := range defs {
		task.Definitions = append(task.Definitions, proto.DefinitionRef{Name: d.Name, OpType: d.OpType, Digest: d.Digest()})
		task.Dump.Include = append(task.Dump.Include, fitrace.IncludePatterns(d)...)
	}
	slices.Sort(task.Dump.Include)
	task.Dump.Include = slices.Compact(task.Dump.Include)
	return task
}
