package dataset

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/gofrs/flock"
	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/safetensors"
)

// Tensors gives a tensor's bytes by their digest.
type Tensors func(digest string) ([]byte, error)

// Writer changes a dataset. It holds the directory's lock until it is closed. Errors are *proto.Failure or ErrChanged.
type Writer struct {
	Reader
	tree *atomicfile.Tree
	lock *flock.Flock
	log  zerolog.Logger
}

// Options are for opening a Writer.
type Options struct {
	Log zerolog.Logger
	// Before is atomicfile.Tree's: tests break a chosen step with it.
	Before func(atomicfile.Step) error
}

// Open makes the directory if need be, takes its lock and settles what an interrupted change left. It fails with
// dataset_locked while another Writer has it, in this process or another.
func Open(dir string, o Options) (*Writer, error) {
	w, err := open(dir, o)
	return w, failure(dir, err)
}

func open(dir string, o Options) (_ *Writer, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	tree, err := atomicfile.OpenTree(dir)
	if err != nil {
		return nil, err
	}
	tree.Before = o.Before
	w := &Writer{Reader: Reader{root: tree.Root()}, tree: tree, log: o.Log}
	defer func() {
		if err != nil {
			_ = w.Close()
		}
	}()
	if err := tree.MkdirAll(Private); err != nil {
		return nil, err
	}
	if w.lock, err = lock(tree); err != nil {
		return nil, err
	}
	if err := w.recover(); err != nil {
		return nil, fmt.Errorf("settle an interrupted change: %w", err)
	}
	return w, nil
}

// Close gives the lock back.
func (w *Writer) Close() error {
	var err error
	if w.lock != nil {
		err = w.lock.Unlock()
	}
	return errors.Join(err, w.tree.Close())
}

// recover settles the journal, if a change was interrupted.
func (w *Writer) recover() error {
	if err := w.tree.Remove(Private + "/" + atomicfile.TempName); err != nil {
		return err
	}
	j, err := w.readJournal()
	if err != nil || j == nil {
		return err
	}
	w.log.Warn().Str("dataset", w.Dir()).Str("def", j.Definition).Msg("settling a change that was interrupted")
	return w.settle(j)
}

// Begin writes the journal: from here to Settle a crash leaves only what the next Open can settle. It refuses a change of a
// dataset that is at neither of its ends, and a definition that contradicts the dataset's, before anything is written.
func (w *Writer) Begin(c *Change) error { return failure(w.Dir(), w.begin(c)) }

func (w *Writer) begin(c *Change) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := w.recover(); err != nil { // of a change that failed, and could not be taken back then
		return err
	}
	old, err := w.Workloads(c.OpType, c.Definition)
	if err != nil {
		return err
	}
	if old.Digest != c.Base && old.Digest != c.Result {
		return fmt.Errorf("%s: %w", old.File, ErrChanged)
	}
	has, err := w.HasDefinition(c.OpType, c.Definition, c.File)
	if err != nil {
		return err
	}
	j := &journal{OpType: c.OpType, Definition: c.Definition, Base: c.Base, Result: c.Result, NewDefinition: !has, Blobs: c.dropped(old)}
	if j.Records, err = w.records(c, old); err != nil {
		return err
	}
	for _, e := range c.Entries {
		// A blob that is there already is settled too: if no line refers to it in the end, it was an orphan of this uuid.
		if len(e.Tensors) > 0 {
			j.Blobs = append(j.Blobs, c.blobOf(e))
		}
	}
	if j.NewDirs, err = w.missingDirs(j); err != nil {
		return err
	}
	if err := w.ignorePrivate(); err != nil {
		return err
	}
	return w.writeJournal(j)
}

// ignorePrivate keeps our records out of the dataset's commits.
func (w *Writer) ignorePrivate() error {
	const name = Private + "/.gitignore"
	if _, err := w.root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return w.tree.Write(name, atomicfile.Bytes([]byte("*\n")))
}

// PutDefinition copies the definition's file, unless the dataset has it.
func (w *Writer) PutDefinition(c *Change) error {
	has, err := w.HasDefinition(c.OpType, c.Definition, c.File)
	if err == nil && !has {
		err = w.tree.Create(fitrace.DefinitionPath(c.OpType, c.Definition), atomicfile.Bytes(c.File))
	}
	return failure(w.Dir(), err)
}

// PutBlobs writes the blobs that are not there yet.
func (w *Writer) PutBlobs(c *Change, tensors Tensors) error {
	for _, e := range c.Entries {
		if len(e.Tensors) == 0 || w.checkBlob(c, e) == nil {
			continue
		}
		if err := w.putBlob(c, e, tensors); err != nil {
			return failure(w.Dir(), err)
		}
	}
	return nil
}

func (w *Writer) putBlob(c *Change, e Entry, tensors Tensors) error {
	list := make([]safetensors.Entry, len(e.Tensors))
	for i, t := range e.Tensors {
		data, err := tensors(t.Digest)
		if err != nil {
			return fmt.Errorf("workload %s of %s: tensor %s: %w", e.UUID, c.Definition, t.Name, err)
		}
		if got := digestOf(data); got != t.Digest {
			return fmt.Errorf("workload %s of %s: tensor %s has digest %s, not %s", e.UUID, c.Definition, t.Name, got, t.Digest)
		}
		list[i] = safetensors.Entry{Name: t.Name, DType: safetensors.DType(t.DType), Shape: t.Shape, Data: data}
	}
	// As the safetensors package orders them: the widest elements first, so that all are aligned, then by name.
	slices.SortFunc(list, func(a, b safetensors.Entry) int {
		return cmp.Or(cmp.Compare(b.DType.Size(), a.DType.Size()), cmp.Compare(a.Name, b.Name))
	})
	return w.tree.Create(c.blobOf(e), func(out io.Writer) error { return safetensors.Write(out, list, nil) })
}

// CheckBlobs reads every blob of the change again: the header, and each tensor's type, shape and digest. It also checks that
// each line refers to these tensors.
func (w *Writer) CheckBlobs(c *Change) error {
	for _, e := range c.Entries {
		if err := w.checkBlob(c, e); err != nil {
			return failure(w.Dir(), err)
		}
	}
	return nil
}

func (r *Reader) checkBlob(c *Change, e Entry) error {
	line, err := fitrace.ParseLine([]byte(e.Line))
	if err != nil {
		return fmt.Errorf("workload %s of %s: our own line: %w", e.UUID, c.Definition, err)
	}
	refs := 0
	for _, in := range line.Workload.Inputs {
		if in.Type != fitrace.Safetensors {
			continue
		}
		refs++
		known := slices.ContainsFunc(e.Tensors, func(t Tensor) bool { return t.Name == in.TensorKey })
		if name, err := BlobFile(in.Path); err != nil || name != c.blobOf(e) || !known {
			return fmt.Errorf("workload %s of %s: input %s refers to %s of %s, which is not written", e.UUID, c.Definition, in.Name, in.TensorKey, in.Path)
		}
	}
	if refs != len(e.Tensors) {
		return fmt.Errorf("workload %s of %s: %d inputs refer to %d tensors", e.UUID, c.Definition, refs, len(e.Tensors))
	}
	if refs == 0 {
		return nil
	}
	b, err := r.OpenBlob(c.blobOf(e))
	if err != nil {
		return err
	}
	defer b.Close()
	if n := len(b.Names()); n != refs {
		return fmt.Errorf("blob %s has %d tensors, not %d", c.blobOf(e), n, refs)
	}
	for _, want := range e.Tensors {
		got, ok, err := b.Tensor(want.Name)
		if err != nil {
			return err
		}
		if !ok || !got.equal(want) {
			return fmt.Errorf("blob %s: tensor %s reads back as %+v, not as %+v", c.blobOf(e), want.Name, got, want)
		}
	}
	return nil
}

// PutLines writes the workloads file: the commit.
func (w *Writer) PutLines(c *Change) error { return failure(w.Dir(), w.putLines(c)) }

func (w *Writer) putLines(c *Change) error {
	old, err := w.Workloads(c.OpType, c.Definition)
	if err != nil || old.Digest == c.Result {
		return err
	}
	content := c.compose(old)
	if old.Digest != c.Base || digestOf(content) != c.Result {
		return fmt.Errorf("%s: %w", old.File, ErrChanged)
	}
	// Everything the lines refer to is on the disk before the lines are.
	if err := w.tree.Sync(); err != nil {
		return err
	}
	if err := w.tree.Write(old.File, atomicfile.Bytes(content)); err != nil {
		return err
	}
	return w.tree.Sync()
}

// Settle ends the change, or takes back what was not committed of it.
func (w *Writer) Settle() error {
	j, err := w.readJournal()
	if err == nil && j != nil {
		err = w.settle(j)
	}
	return failure(w.Dir(), err)
}
