package tail

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
)

// Keep says which stored dumps are set aside instead of deleted: to look at, or to record. They hold what FlashInfer wrote, a
// layer's whole KV pool for a run, and leave the dump directory, so no quota counts them.
type Keep struct {
	Dir string // on the file system of the dump directory; made when the first dump is kept
	Max int    // most of each function, the first ones of traffic; 0: none
}

// disposal is how a stored dump leaves the dump directory: kept, where it is wanted, else deleted. A replay of a graph is never kept,
// nor is what was made before traffic. What it gives may be called on another goroutine.
func (t *Tailer) disposal(it *item) func() error {
	name, flush := it.name, it.flush
	if flush > 0 || it.early || t.kept[name.Function] >= t.opt.Keep.Max {
		return func() error { return removeDump(t.root, name.Dir, flush) }
	}
	t.kept[name.Function]++
	return func() error {
		if err := cmp.Or(
			os.MkdirAll(t.opt.Keep.Dir, 0o755),
			os.Rename(filepath.Join(t.opt.Dir, name.Dir), filepath.Join(t.opt.Keep.Dir, name.Dir)),
		); err != nil {
			return fmt.Errorf("keep dump: %w", err)
		}
		return nil
	}
}
