// Package atomicfile changes files only as wholes: whoever looks, or comes after a crash, finds the old content or the new
// one, never a part.
//
// A file is written beside its place under a temporary name, synced, renamed, and the rename made durable by syncing the
// directory. A [Tree] does so within one directory tree and never outside of it: a symbolic link that leads out is an error
// (os.Root), and a link in the place of a file is replaced, not written through.
//
// It does not make two changes one: that needs a journal (publisher/dataset has one). It does not lock.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// TempName is the name under which a Tree writes a file before the rename. One writer at a time is all a tree allows, so
// one name a directory is enough, and what a crash leaves is found without searching. It ends in none of the suffixes that
// dataset readers look for.
const TempName = ".tracefleet.tmp"

// FileMode is the mode of every file written.
const FileMode = 0o644

// Step is one change to the file system, as given to Tree.Before.
type Step struct {
	Op   string // create, write, sync, rename, syncdir, remove, mkdir, rmdir
	Name string // slash-separated, relative to the tree
}

// Tree is a directory tree with one writer.
type Tree struct {
	root *os.Root
	// Before is asked before each change; its error becomes that of the change. Tests break a chosen step with it. Nil: no
	// one is asked.
	Before func(Step) error
}

// OpenTree opens dir, which must exist.
func OpenTree(dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Tree{root: root}, nil
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
// nothing else is left but, perhaps, directories; only when the final sync of the directory fails may the new content be
// there already.
func (t *Tree) Write(name string, write func(io.Writer) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", filepath.Join(t.Dir(), filepath.FromSlash(name)), err)
		}
	}()
	dir := path.Dir(name)
	if err := t.MkdirAll(dir); err != nil {
		return err
	}
	tmp := path.Join(dir, TempName)
	if err := t.writeTemp(tmp, write); err != nil {
		_ = t.root.Remove(tmp)
		return err
	}
	if err := t.step("rename", name); err != nil {
		_ = t.root.Remove(tmp)
		return err
	}
	if err := t.root.Rename(tmp, name); err != nil {
		_ = t.root.Remove(tmp)
		return err
	}
	return t.SyncDir(dir)
}

// WriteBytes is Write for content at hand.
func (t *Tree) WriteBytes(name string, data []byte) error {
	return t.Write(name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

func (t *Tree) writeTemp(tmp string, write func(io.Writer) error) error {
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
	if err := write(stepWriter{t, tmp, f}); err != nil {
		return err
	}
	if err := t.step("sync", tmp); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
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

// Remove removes a file, if it is there, and makes that durable.
func (t *Tree) Remove(name string) error {
	if _, err := t.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := t.step("remove", name); err != nil {
		return err
	}
	if err := t.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.SyncDir(path.Dir(name))
}

// RemoveEmptyDir removes a directory if it is there and empty.
func (t *Tree) RemoveEmptyDir(name string) error {
	entries, err := fs.ReadDir(t.root.FS(), name)
	if errors.Is(err, fs.ErrNotExist) || len(entries) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if err := t.step("rmdir", name); err != nil {
		return err
	}
	if err := t.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.SyncDir(path.Dir(name))
}

// MkdirAll makes a directory and its parents, durably.
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
	return t.SyncDir(parent)
}

// SyncDir makes the entries of a directory durable.
func (t *Tree) SyncDir(name string) error {
	if err := t.step("syncdir", name); err != nil {
		return err
	}
	d, err := t.root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// WriteFile replaces one file anywhere by data, for callers who need no tree. The directory must exist; two writers of one
// file at a time each leave a whole file, the later one wins.
func WriteFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".tracefleet-*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", name, err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(FileMode); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
