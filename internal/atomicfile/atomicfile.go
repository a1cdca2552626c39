// Package atomicfile changes files only as wholes: whoever looks, or comes after a crash, finds the old content or the new
// one, never a part.
//
// A file is written beside its place under a temporary name, synced and renamed. A [Tree] does so within one directory tree
// and never outside of it: a symbolic link that leads out is an error (os.Root), and a link in the place of a file is
// replaced, not written through. What a tree changed is sure to outlive a power cut after [Tree.Sync], which syncs all files
// and directories that need it at once: a hundred small files cost little more than one.
//
// It does not make two changes one: that needs a journal (publisher/dataset has one). It does not lock.
package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// TempName is the name under which a Tree writes a file before the rename. One writer at a time is all a tree allows, so
// one name a directory is enough, and what a crash leaves is found without searching. It ends in none of the suffixes that
// dataset readers look for.
const TempName = ".tracefleet.tmp"

// FileMode is the mode of every file written.
const FileMode = 0o644

// Step is one change to the file system, as given to Tree.Before.
type Step struct {
	Op   string // create, write, sync, rename, syncdir, remove, rmdir, mkdir
	Name string // slash-separated, relative to the tree
}

// Tree is a directory tree with one writer.
type Tree struct {
	root *os.Root
	// Before is asked before each change; its error becomes that of the change. Tests break a chosen step with it. Nil: no
	// one is asked.
	Before func(Step) error

	files map[string]bool // written, not synced
	dirs  map[string]bool // changed, not synced
}

// OpenTree opens dir, which must exist.
func OpenTree(dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Tree{root: root, files: map[string]bool{}, dirs: map[string]bool{}}, nil
}

// Close releases the directory.
func (t *Tree) Close() error { return t.root.Close() }

// Root gives access for reading.
func (t *Tree) Root() *os.Root { return t.root }

// Dir gives the tree's directory as it was opened.
func (t *Tree) Dir() string { return t.root.Name() }

func (t *Tree) step(op, name string) error {
	if t.Before == nil {
		return nil
	}
	return t.Before(Step{Op: op, Name: name})
}

// Write replaces name by what write produces. Missing directories are made. After an error the old content is in place and
// nothing else is left but, perhaps, directories. After a power cut the file has the old content or the new; only Sync
// makes sure that it is the new.
func (t *Tree) Write(name string, write func(io.Writer) error) error {
	return t.named("write", name, t.write(name, true, write))
}

// Create is Write for a file to which nothing refers yet: its content is synced by Sync and not before, so that many files
// are synced together. A power cut may leave it empty.
func (t *Tree) Create(name string, write func(io.Writer) error) error {
	return t.named("write", name, t.write(name, false, write))
}

// Bytes makes the argument of Write and Create for content at hand.
func Bytes(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

func (t *Tree) named(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	var inner *fs.PathError
	if errors.As(err, &inner) { // its path is the temporary file's
		err = inner.Err
	}
	return fmt.Errorf("%s %s: %w", verb, filepath.Join(t.Dir(), filepath.FromSlash(name)), err)
}

func (t *Tree) write(name string, sync bool, write func(io.Writer) error) error {
	dir := path.Dir(name)
	if err := t.MkdirAll(dir); err != nil {
		return err
	}
	tmp := path.Join(dir, TempName)
	err := t.writeTemp(tmp, sync, write)
	if err == nil {
		err = t.step("rename", name)
	}
	if err == nil {
		err = t.root.Rename(tmp, name)
	}
	if err != nil {
		if t.step("remove", tmp) == nil {
			_ = t.root.Remove(tmp)
		}
		return err
	}
	t.dirs[dir] = true
	if !sync {
		t.files[name] = true
	}
	return nil
}

func (t *Tree) writeTemp(tmp string, sync bool, write func(io.Writer) error) error {
	if err := t.step("create", tmp); err != nil {
		return err
	}
	// A temporary file that a crash left may be a link by now, or not ours to write: start from none.
	if err := t.root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := t.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, FileMode)
	if err != nil {
		return err
	}
	defer f.Close()
	// The mode is part of the result: the umask must not decide it.
	if err := f.Chmod(FileMode); err != nil {
		return err
	}
	out := bufio.NewWriterSize(stepWriter{t, tmp, f}, 64<<10)
	if err := write(out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if sync {
		if err := t.step("sync", tmp); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return f.Close()
}

type stepWriter struct {
	t    *Tree
	name string
	f    *os.File
}

func (w stepWriter) Write(p []byte) (int, error) {
	if err := w.t.step("write", w.name); err != nil {
		return 0, err
	}
	return w.f.Write(p)
}

// Remove removes a file, if it is there.
func (t *Tree) Remove(name string) error {
	if _, err := t.root.Lstat(name); absent(err) {
		return nil
	} else if err != nil {
		return err
	}
	return t.remove("remove", name)
}

// absent reports whether err means that there is no such file; a file where a directory should be has none below it.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

// RemoveEmptyDir removes a directory if it is there and empty.
func (t *Tree) RemoveEmptyDir(name string) error {
	entries, err := fs.ReadDir(t.root.FS(), name)
	if absent(err) || len(entries) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return t.remove("rmdir", name)
}

func (t *Tree) remove(op, name string) error {
	if err := t.step(op, name); err != nil {
		return err
	}
	if err := t.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(t.files, name)
	delete(t.dirs, name)
	t.dirs[path.Dir(name)] = true
	return nil
}

// MkdirAll makes a directory and its parents.
func (t *Tree) MkdirAll(name string) error {
	info, err := t.root.Stat(name)
	if err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", name)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := path.Dir(name)
	if err := t.MkdirAll(parent); err != nil {
		return err
	}
	if err := t.step("mkdir", name); err != nil {
		return err
	}
	if err := t.root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	t.dirs[parent] = true
	return nil
}

// syncers is how many files are synced at a time: enough for the file system to commit them together.
const syncers = 16

// Sync makes everything changed so far outlive a power cut.
func (t *Tree) Sync() error {
	if err := t.syncAll("sync", t.files); err != nil {
		return err
	}
	return t.syncAll("syncdir", t.dirs)
}

func (t *Tree) syncAll(op string, pending map[string]bool) error {
	var g errgroup.Group
	g.SetLimit(syncers)
	for _, name := range slices.Sorted(maps.Keys(pending)) {
		if err := t.step(op, name); err != nil {
			return errors.Join(t.named(op, name, err), g.Wait())
		}
		g.Go(func() error {
			f, err := t.root.Open(name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed by someone else: nothing to keep
			}
			if err != nil {
				return err
			}
			defer f.Close()
			return t.named(op, name, f.Sync())
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	clear(pending)
	return nil
}
