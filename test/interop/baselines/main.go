// Command baselines writes the baseline solution of every definition of some datasets that has one, and prints which, a line each as
// JSON. Judges hold what it wrote to the signatures of FlashInfer's releases.
//
//	baselines OUT DATASET...
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/publisher/baseline"
)

// line is what is printed of a definition.
type line struct {
	Definition string `json:"definition"`         // its file
	Solution   string `json:"solution,omitempty"` // the file written
	None       string `json:"none,omitempty"`     // why there is no baseline
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: baselines OUT DATASET...")
		os.Exit(2)
	}
	for i, root := range os.Args[2:] {
		// By dataset, since two of them may have a definition of one name.
		if err := write(filepath.Join(os.Args[1], strconv.Itoa(i)), root); err != nil {
			fmt.Fprintln(os.Stderr, "baselines:", err)
			os.Exit(1)
		}
	}
}

func write(out, root string) error {
	defs, errs := fitrace.LoadDefinitions(root)
	for _, err := range errs {
		fmt.Fprintln(os.Stderr, "baselines: not read:", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, def := range defs {
		done := line{Definition: filepath.Join(root, "definitions", def.OpType, def.Name+".json")}
		if s, err := baseline.For(def); err != nil {
			done.None = err.Error()
		} else {
			done.Solution = filepath.Join(out, def.Name+".json")
			if err := os.WriteFile(done.Solution, s.JSON, 0o644); err != nil {
				return err
			}
		}
		if err := json.NewEncoder(os.Stdout).Encode(done); err != nil {
			return err
		}
	}
	return nil
}
