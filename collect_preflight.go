package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/gpuworker/engine/replay"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/disk"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// leastStateBytes is the least free space of a state directory. It takes the broker's files and the dumps of running tasks.
const leastStateBytes = 16 << 20

// preflight returns an error for faults that would otherwise show only after an engine has started: a dataset or state directory that cannot
// be written, or a file named by a flag that cannot be read. It is for a collection that runs in this process; in a fleet the paths are those of other nodes.
func (c *collectCmd) preflight(env *environ, s *coordinator.Submission) error {
	if err := dataset.Check(c.TraceDir, s.Definitions); err != nil {
		return err
	}
	if err := checkStateDir(c.StateDir, c.TraceDir); err != nil {
		return err
	}
	if c.ModelCatalogue != "" {
		if _, err := coordinator.LoadCatalogue(c.ModelCatalogue); err != nil {
			return fmt.Errorf("--model-catalogue: %w", err)
		}
	}
	e := s.Collection.Engine
	if e.Kind == proto.EngineSGLang && filepath.IsAbs(e.ModelPath) {
		if _, err := os.Stat(e.ModelPath); err != nil {
			return fmt.Errorf("--model-path: %w", err)
		}
	}
	if e.Kind == proto.EngineReplay {
		return replay.Check(e.DumpDir)
	}
	return checkTraffic(env, s.Plan.Tasks)
}

// checkTraffic reads the traffic of the task with the largest batch, which reads all that the others read.
func checkTraffic(env *environ, tasks []proto.Task) error {
	if len(tasks) == 0 {
		return nil
	}
	task := slices.MaxFunc(tasks, func(a, b proto.Task) int { return a.BatchSize - b.BatchSize })
	var source *traffic.Source
	var err error
	if task.Engine.Kind == proto.EngineSimulate {
		source, err = simulate.Traffic(&task)
	} else {
		source, err = traffic.New(&task, traffic.Options{})
	}
	if err != nil {
		return err
	}
	for _, doubt := range source.Doubts() {
		fmt.Fprintln(env.Stderr, "warning:", doubt)
	}
	return nil
}

// checkStateDir returns an error if nothing could be stored in a state directory.
func checkStateDir(dir, dataset string) error {
	at, err := disk.Nearest(dir)
	if err == nil {
		err = disk.Writable(at)
	}
	if err != nil {
		return fmt.Errorf("open --state-dir %s: %w; pass a writable --state-dir", dir, err)
	}
	if free, err := disk.Free(at); err == nil && free < leastStateBytes {
		return fmt.Errorf("--state-dir %s: its file system has %s free (%d bytes), at least %s are needed; free space there, or pass another --state-dir",
			dir, cli.Bytes(free), free, cli.Bytes(leastStateBytes))
	}
	inside, err := within(dir, dataset)
	if err == nil && inside {
		return fmt.Errorf("--state-dir %s is inside the dataset %s and would become part of it; pass a --state-dir outside the dataset", dir, dataset)
	}
	return err
}

// within reports whether path is dir or below it, whatever links lead there. path need not exist.
func within(path, dir string) (bool, error) {
	at, err := filepath.Abs(path)
	if err != nil {
		return false, err
	}
	for rest := ""; ; at, rest = filepath.Dir(at), filepath.Join(filepath.Base(at), rest) {
		real, err := filepath.EvalSymlinks(at)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			continue
		}
		if err != nil {
			return false, err
		}
		root, err := filepath.EvalSymlinks(dir)
		if err == nil {
			root, err = filepath.Abs(root)
		}
		if err != nil {
			return false, err
		}
		rel, err := filepath.Rel(root, filepath.Join(real, rest))
		return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)), err
	}
}
