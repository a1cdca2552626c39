package dataset

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/safetensors"
	"github.com/tracefleet/tracefleet/proto"
)

// Reader reads a dataset. Links that lead out of the directory are errors.
type Reader struct {
	root *os.Root
	at   string // the dataset's directory below root; empty: root
}

// OpenReader opens a dataset for reading. It takes no lock: every file is whole, since files change as wholes, but
// two reads may see two states. Of a snapshot in the Hugging Face cache the links to the files of its repository are followed.
func OpenReader(dir string) (*Reader, error) {
	r := &Reader{}
	if real, _, ok := snapshotOf(dir); ok {
		dir, r.at = filepath.Dir(filepath.Dir(real)), path.Join("snapshots", filepath.Base(real))
	}
	var err error
	if r.root, err = os.OpenRoot(dir); err != nil {
		return nil, fmt.Errorf("open dataset: %w", err)
	}
	return r, nil
}

// Close releases the directory.
func (r *Reader) Close() error { return r.root.Close() }

// Dir is the dataset's directory.
func (r *Reader) Dir() string { return filepath.Join(r.root.Name(), filepath.FromSlash(r.at)) }

// name returns the name below root of a file of the dataset.
func (r *Reader) name(file string) string { return path.Join(r.at, file) }

// Workloads is a definition's workloads file.
type Workloads struct {
	File   string // relative to the dataset
	Raw    []byte
	Digest string // of Raw
	Lines  []fitrace.Line
	Errs   []error // of the lines that do not parse, naming file and line
}

// Workloads reads a definition's workloads file; one that does not exist is empty.
func (r *Reader) Workloads(opType, definition string) (*Workloads, error) {
	return r.readWorkloads(fitrace.WorkloadsPath(opType, definition))
}

func (r *Reader) readWorkloads(name string) (*Workloads, error) {
	data, err := r.readIfThere(name)
	if err != nil {
		return nil, err
	}
	w := &Workloads{File: name, Raw: data, Digest: digestOf(data)}
	w.Lines, w.Errs = fitrace.ParseLines(bytes.NewReader(data), name)
	return w, nil
}

func (r *Reader) read(file string) ([]byte, error) {
	data, err := r.root.ReadFile(r.name(file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, cmp.Or(r.leadsOut(file), err)
	}
	return data, err
}

// readIfThere reads a file; one that does not exist is empty.
func (r *Reader) readIfThere(name string) ([]byte, error) {
	data, err := r.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Glob lists the files that match a pattern of path.Match below the dataset, sorted.
func (r *Reader) Glob(pattern string) ([]string, error) {
	files, err := fs.Sub(r.root.FS(), path.Join(".", r.at))
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, pattern)
	slices.Sort(names)
	return names, err
}

// Size returns a file's size.
func (r *Reader) Size(name string) (int64, error) {
	info, err := r.root.Stat(r.name(name))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// HasDefinition reports whether the dataset has this definition already. Another content under its name, in this op type
// or another, is a failure with code dataset_conflict; a difference in white space or key order is none.
func (r *Reader) HasDefinition(opType, name string, data []byte) (bool, error) {
	same, err := r.Glob("definitions/*/" + name + ".json")
	if err != nil {
		return false, err
	}
	want := fitrace.DefinitionPath(opType, name)
	for _, file := range same {
		if file != want {
			return false, proto.Failf(proto.CodeDatasetConflict, "dataset %s has definition %s as %s, not as %s", r.Dir(), name, file, want).
				WithHint("a name belongs to one op type: rename the definition, or move the file")
		}
	}
	have, err := r.read(want)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !bytes.Equal(have, data) && !fitrace.EqualJSON(have, data) {
		return false, proto.Failf(proto.CodeDatasetConflict, "dataset %s has another definition in %s than the one collected for", r.Dir(), want).
			WithHint("collect with the dataset's definition, or give the new one a name of its own")
	}
	return true, nil
}

// BlobFile turns the path in a line into one below the dataset.
func BlobFile(ref string) (string, error) {
	name := path.Clean(strings.TrimPrefix(ref, "./"))
	if !fs.ValidPath(name) || name == "." || strings.ContainsAny(ref, "\\\x00") {
		return "", fmt.Errorf("path %q leads out of the dataset", ref)
	}
	return name, nil
}

// Blob is an open blob.
type Blob struct {
	file   *os.File
	header *safetensors.Header
}

// OpenBlob opens a blob and reads its header.
func (r *Reader) OpenBlob(name string) (*Blob, error) {
	f, err := r.root.Open(r.name(name))
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open blob %s: %w", name, err)
	}
	h, err := safetensors.ReadHeader(f, info.Size())
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open blob %s: %w", name, err)
	}
	return &Blob{file: f, header: h}, nil
}

// Close closes the file.
func (b *Blob) Close() error { return b.file.Close() }

// Names lists the tensors.
func (b *Blob) Names() []string {
	names := make([]string, len(b.header.Tensors))
	for i, t := range b.header.Tensors {
		names[i] = t.Name
	}
	return names
}

// Tensor reads a tensor's description and hashes its bytes. ok is false where the blob has no such tensor.
func (b *Blob) Tensor(key string) (t Tensor, ok bool, err error) {
	info, section, ok := b.section(key)
	if !ok {
		return t, false, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, section); err != nil {
		return t, true, fmt.Errorf("read tensor %s of %s: %w", key, b.file.Name(), err)
	}
	return Tensor{Name: key, DType: string(info.DType), Shape: info.Shape, Digest: hex.EncodeToString(sum.Sum(nil))}, true, nil
}

// Data reads a tensor's bytes, if the blob has it.
func (b *Blob) Data(key string) (dtype string, data []byte, err error) {
	info, section, ok := b.section(key)
	if !ok {
		return "", nil, fmt.Errorf("%s has no tensor %s", b.file.Name(), key)
	}
	data, err = io.ReadAll(section)
	return string(info.DType), data, err
}

func (b *Blob) section(key string) (info safetensors.TensorInfo, r io.Reader, ok bool) {
	found := b.header.Find(key)
	if found == nil {
		return info, nil, false
	}
	info = *found
	return info, io.NewSectionReader(b.file, b.header.DataStart+info.Begin, info.End-info.Begin), true
}

// equal reports whether two tensors have the same type, shape and bytes.
func (t Tensor) equal(u Tensor) bool {
	return t.Name == u.Name && t.DType == u.DType && slices.Equal(t.Shape, u.Shape) && t.Digest == u.Digest
}
