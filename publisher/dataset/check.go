package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/disk"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// leastFree is the least free space for a collection: the blob of one workload can take as much.
const leastFree = 4 << 20

// Check returns an error if a publication of the definitions could not be written to the dataset dir: links that lead out of
// it, as in a snapshot of the Hugging Face cache, places that cannot be written, files that cannot be read, no space. It leaves nothing in
// the dataset. Errors are *proto.Failure.
func Check(dir string, definitions []*fitrace.Definition) error {
	return check(dir, definitions, leastFree)
}

func check(dir string, definitions []*fitrace.Definition, least int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return unwritable(dir, err)
	}
	defer root.Close()
	r := Reader{root: root}
	places := map[string]bool{Private: true}
	for _, d := range definitions {
		for _, name := range []string{
			fitrace.DefinitionPath(d.OpType, d.Name), fitrace.WorkloadsPath(d.OpType, d.Name), fitrace.BlobDir(d.OpType, d.Name),
			fitrace.ProvenancePath(d.OpType, d.Name), originPath(d.OpType, d.Name),
		} {
			if _, err := root.Stat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return cmp.Or(r.leadsOut(name), unwritable(dir, err))
			}
			places[path.Dir(name)] = true
		}
		places[fitrace.BlobDir(d.OpType, d.Name)] = true
		_, err := r.Workloads(d.OpType, d.Name)
		_, err2 := r.Provenance(d.OpType, d.Name)
		_, err3 := r.Origins(d.OpType, d.Name)
		if err := cmp.Or(err, err2, err3); err != nil {
			return unwritable(dir, err)
		}
	}
	tried := map[string]bool{}
	for name := range places {
		at, err := disk.Nearest(filepath.Join(dir, filepath.FromSlash(name)))
		if err == nil && !tried[at] {
			tried[at] = true
			err = disk.Writable(at)
		}
		if err != nil {
			return unwritable(dir, err)
		}
	}
	if _, err := root.Stat(Private); err == nil { // its lock and its journal are there: open them as a publication does
		if w, err := Open(dir, Options{}); err == nil {
			return errors.Join(w.Close(), space(dir, least))
		} else if proto.AsFailure(err, proto.CodeDatasetWrite).Code != proto.CodeDatasetLocked {
			return err
		}
	}
	return space(dir, least)
}

func space(dir string, least int64) error {
	free, err := disk.Free(dir)
	if err != nil || free >= least { // a file system that does not report its space is not known to be full
		return nil
	}
	return proto.Failf(proto.CodeDiskFull, "dataset %s: its file system has %s free (%d bytes), at least %s are needed", dir, cli.Bytes(free), free, cli.Bytes(least)).
		WithHint("free space there, or pass a --trace-dir on another file system")
}

func unwritable(dir string, err error) error {
	if disk.Full(err) {
		return proto.Failf(proto.CodeDiskFull, "dataset %s: %v", dir, err).WithHint("free space there, or pass a --trace-dir on another file system")
	}
	return proto.Failf(proto.CodeDatasetWrite, "open dataset %s for writing: %v", dir, err).WithHint("pass a writable --trace-dir")
}

// leadsOut returns a failure if a link on the way to a file of the dataset leads out of it, nil if there is no link.
func (r *Reader) leadsOut(file string) error {
	link := ""
	for at := file; at != "."; at = path.Dir(at) {
		if to, err := r.root.Readlink(r.name(at)); err == nil {
			link = fmt.Sprintf("%s is a link to %s", at, to)
		}
	}
	if link == "" {
		return nil
	}
	if _, repo, ok := snapshotOf(r.Dir()); ok {
		return proto.Failf(proto.CodeDatasetWrite, "open dataset %s: it is a snapshot in the Hugging Face cache, of links to files that others share: %s", r.Dir(), link).
			WithHint("download it to a directory of its own: hf download %s --repo-type dataset --local-dir DIR; then pass --trace-dir DIR", repo)
	}
	return proto.Failf(proto.CodeDatasetWrite, "open dataset %s: %s, out of the dataset", r.Dir(), link).
		WithHint("copy it without links: %s; then pass --trace-dir DIR", cli.ShellJoin([]string{"cp", "-rL", r.Dir(), "DIR"}))
}

// snapshotOf reports whether dir is snapshots/<revision> of a repository in the Hugging Face cache, and returns its real path and the
// repository's name.
func snapshotOf(dir string) (real, repo string, ok bool) {
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil || filepath.Base(filepath.Dir(real)) != "snapshots" {
		return "", "", false
	}
	above := filepath.Dir(filepath.Dir(real))
	if info, err := os.Stat(filepath.Join(above, "blobs")); err != nil || !info.IsDir() {
		return "", "", false
	}
	repo, ok = strings.CutPrefix(filepath.Base(above), "datasets--")
	if !ok {
		return real, "OWNER/NAME", true
	}
	return real, strings.Replace(repo, "--", "/", 1), true
}
