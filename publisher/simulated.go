package publisher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// Calls states whether calls are simulated.
type Calls int

// The values of Calls.
const (
	CallsUnknown   Calls = iota // recorded dumps that were not looked at
	CallsReal                   // a GPU ran
	CallsSimulated              // no GPU ran
)

// CallsOf returns whether an engine's calls are simulated.
func CallsOf(kind proto.EngineKind) Calls {
	switch kind {
	case proto.EngineSimulate:
		return CallsSimulated
	case proto.EngineReplay:
		return CallsUnknown
	}
	return CallsReal
}

func callsAre(simulated bool) Calls {
	if simulated {
		return CallsSimulated
	}
	return CallsReal
}

// MixedDumps returns the failure of a recording in which only some dumps are marked as simulated.
func MixedDumps(what string) *proto.Failure {
	return proto.Failf(proto.CodeSimulatedMix, "%s: some dumps are marked as simulated and some are not", what).
		WithHint("separate them, and pass each as a --dump-dir with a --trace-dir of its own")
}

// unmixed returns a failure if calls, added to the lines that a workloads file keeps, would put simulated and other workloads into one
// file. known holds, by uuid, whether the workloads whose provenance is known are simulated.
func unmixed(file, where string, kept []fitrace.Line, known map[string]bool, calls Calls) *proto.Failure {
	wrong, first := 0, 0
	for _, l := range kept {
		simulated, ok := known[l.Workload.UUID]
		simulated = simulated && ok && l.Err == nil
		if calls == CallsSimulated && !simulated || calls == CallsReal && simulated {
			if wrong++; wrong == 1 {
				first = l.Number
			}
		}
	}
	if wrong == 0 {
		return nil
	}
	adds, has := "calls that are not simulated", "are simulated"
	if calls == CallsSimulated {
		adds, has = "simulated calls", "are not known to be simulated"
	}
	return proto.Failf(proto.CodeSimulatedMix, "add %s to %s of %s: %d of its %d lines %s (the first is line %d)", adds, file, where, wrong, len(kept), has, first)
}

// CheckMix returns a failure if a collection's calls may not be added to the workloads files of definitions in a dataset directory. It is
// called before an engine starts; Prepare checks again. A directory that does not exist has no lines.
func CheckMix(dir string, defs []*fitrace.Definition, replace bool, calls Calls) error {
	r, err := dataset.OpenReader(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return proto.Failf(proto.CodeDatasetWrite, "%v", err)
	}
	defer r.Close()
	for _, d := range defs {
		old, err := r.Workloads(d.OpType, d.Name)
		if err != nil {
			return proto.Failf(proto.CodeDatasetWrite, "dataset %s: %v", dir, err)
		}
		if err := checkMix(r, d, old, replace, calls); err != nil {
			return err
		}
	}
	return nil
}

// checkMix is CheckMix of one definition, whose lines are old.
func checkMix(r *dataset.Reader, def *fitrace.Definition, old *dataset.Workloads, replace bool, calls Calls) error {
	var kept []fitrace.Line
	for _, l := range old.Lines {
		if !replace || !dataset.Replaceable(l, def.Name) {
			kept = append(kept, l)
		}
	}
	if len(kept) == 0 || calls == CallsUnknown {
		return nil
	}
	known, err := r.Simulated(def.OpType, def.Name)
	if err != nil {
		return fmt.Errorf("read the provenance of %s: %w", def.Name, err)
	}
	if f := unmixed(old.File, "dataset "+r.Dir(), kept, known, calls); f != nil {
		return f.WithHint("%s", ownDirectory(r.Dir(), calls))
	}
	return nil
}

// ownDirectory returns the remedy: how to make a dataset directory with the definitions only.
func ownDirectory(dir string, calls Calls) string {
	to := filepath.Clean(dir) + "-real"
	if calls == CallsSimulated {
		to = filepath.Clean(dir) + "-simulated"
	}
	if _, err := os.Lstat(to); err == nil {
		return fmt.Sprintf("pass a --trace-dir of their own, such as %s", to)
	}
	return fmt.Sprintf("pass a --trace-dir of their own: %s && %s", cli.ShellJoin([]string{"mkdir", to}), cli.ShellJoin([]string{"cp", "-r", filepath.Join(dir, "definitions"), to + "/"}))
}
