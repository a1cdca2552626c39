package harvest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
)

// Names of the reports in a staging directory.
const (
	ReportJSON     = "harvest.json"
	ReportMarkdown = "HARVEST.md"
)

// ErrNotEmpty says that a staging directory holds something already, which may be a dataset or somebody's review.
var ErrNotEmpty = errors.New("the directory is not empty")

// Vacant reports an error unless dir is absent or empty.
func Vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("staging directory: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("staging directory %s: %w", dir, ErrNotEmpty)
	}
	return nil
}

// Stage writes the report into dir, which must be absent or empty; harvest.json comes last.
func (r *Report) Stage(dir string) error {
	if err := Vacant(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("staging directory: %w", err)
	}
	tree, err := atomicfile.OpenTree(dir)
	if err != nil {
		return fmt.Errorf("staging directory: %w", err)
	}
	defer tree.Close()
	write := func(name string, data []byte) error {
		if dir := path.Dir(name); dir != "." {
			if err := tree.MkdirAll(dir); err != nil {
				return fmt.Errorf("stage %s: %w", name, err)
			}
		}
		if err := tree.Write(name, atomicfile.Bytes(data)); err != nil {
			return fmt.Errorf("stage %s: %w", name, err)
		}
		return nil
	}
	for _, files := range []map[string][]byte{r.definitions, r.originals} {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := write(name, files[name]); err != nil {
				return err
			}
		}
	}
	if err := write(ReportMarkdown, r.Markdown()); err != nil {
		return err
	}
	var report bytes.Buffer
	enc := json.NewEncoder(&report)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("stage %s: %w", ReportJSON, err)
	}
	if err := write(ReportJSON, report.Bytes()); err != nil {
		return err
	}
	return tree.Sync()
}
