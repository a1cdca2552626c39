package proto

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Evaluate says what an evaluation runs the baseline on: files of a dataset, by digest, and the workloads that must pass.
type Evaluate struct {
	Solution   string        `msgpack:"solution" json:"solution"` // its name, as in the solution's file
	Definition DefinitionRef `msgpack:"definition" json:"definition"`
	Files      []EvalFile    `msgpack:"files" json:"files"`         // definition, solution, workloads and blobs
	Workloads  []string      `msgpack:"workloads" json:"workloads"` // uuids
	Timeout    time.Duration `msgpack:"timeout,omitempty" json:"timeout,omitempty"`
}

// EvalFile is a file of the dataset that an evaluation lays out. Its content is in the tensor store.
type EvalFile struct {
	Path   string `msgpack:"path" json:"path"`     // relative to the dataset, with slashes
	Digest string `msgpack:"digest" json:"digest"` // hex SHA-256
}

// Validate names the first field that no worker could use.
func (e *Evaluate) Validate() error {
	if e.Solution == "" {
		return errors.New("solution is empty")
	}
	if len(e.Workloads) == 0 {
		return errors.New("workloads is empty")
	}
	seen := map[string]bool{}
	for i, f := range e.Files {
		if !filepath.IsLocal(f.Path) || seen[f.Path] {
			return fmt.Errorf("files[%d]: path %q leads out of the dataset, or comes twice", i, f.Path)
		}
		seen[f.Path] = true
		if err := checkDigest(fmt.Sprintf("files[%d]", i), f.Digest); err != nil {
			return err
		}
	}
	return e.Definition.validate()
}
