package tail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// ours reports whether FlashInfer (or the safetensors library below it, whose writes begin as .tmp files) makes files of
// that name in a dump.
func ours(name string) bool {
	switch name {
	case "metadata.jsonl", "inputs.safetensors", "inputs.pt", "outputs.safetensors", "outputs.pt":
		return true
	}
	return strings.HasPrefix(name, ".tmp")
}

// removeDump deletes the dump directory dir below root, or one replay of it. What FlashInfer did not write is left, and so
// are the directories that hold it; then the error names it. What is gone already is no error.
//
// os.Root resolves every name below the opened directory and refuses links that lead out of it.
func removeDump(root *os.Root, dir string, flush int) error {
	if flush > 0 {
		return removeFiles(root, path.Join(dir, "graph_flushes", fmt.Sprintf("flush_%04d", flush)))
	}
	replays := path.Join(dir, "graph_flushes")
	entries, err := list(root, replays)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "flush_") || !e.IsDir() {
			errs = append(errs, fmt.Errorf("delete dump: %s/%s is not FlashInfer's, left in place", replays, e.Name()))
			continue
		}
		errs = append(errs, removeFiles(root, path.Join(replays, e.Name())))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := root.Remove(replays); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete dump: %w", err)
	}
	return removeFiles(root, dir)
}

// removeFiles deletes the files of one dump or replay, and then its directory.
func removeFiles(root *os.Root, dir string) error {
	entries, err := list(root, dir)
	if err != nil {
		return err
	}
	foreign := ""
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if !ours(e.Name()) || e.IsDir() {
			foreign = name
			continue
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete dump: %w", err)
		}
	}
	if foreign != "" {
		return fmt.Errorf("delete dump: %s is not FlashInfer's, left in place", foreign)
	}
	if err := root.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete dump: %w", err)
	}
	return nil
}

// removeOutputs deletes only what a finished call returned, which no workload needs, and gives back nothing but room.
func removeOutputs(root *os.Root, dir string) {
	for _, name := range [...]string{"outputs.safetensors", "outputs.pt"} {
		_ = root.Remove(path.Join(dir, name)) // under pressure only, and the dump itself goes soon
	}
}

// list gives the entries of a directory; none if it does not exist. A link in its place is an error, never followed.
func list(root *os.Root, dir string) ([]fs.DirEntry, error) {
	st, err := root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("delete dump: %w", err)
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("delete dump: %s is not a directory but %s, left in place", dir, st.Mode().Type())
	}
	f, err := root.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("delete dump: %w", err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("delete dump: %w", err)
	}
	return entries, nil
}
