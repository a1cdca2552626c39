package safetensors

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/tracefleet/tracefleet/internal/rawfile"
)

// ErrNoTensor says that a file has no tensor of the name asked for.
var ErrNoTensor = errors.New("no such tensor")

// File is an open safetensors file.
type File struct {
	f      *rawfile.File
	path   string
	header *Header
	head   *[]byte // the start of the file, from the pread that took the header
	have   int64   // how much of head is filled
	read   atomic.Int64
}

// Open opens path and checks its header. A fault of the file is a *FormatError that names path.
func Open(path string) (*File, error) {
	f, err := rawfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open tensors: %w", err)
	}
	t := &File{f: f, path: path, head: headPool.Get().(*[]byte)}
	h, n, err := readHeader(f, f.Size(), *t.head)
	if err != nil {
		t.Close()
		return nil, t.named(err)
	}
	t.header, t.have = h, int64(n)
	t.read.Store(max(t.have, h.DataStart))
	return t, nil
}

func (t *File) named(err error) error {
	var fault *FormatError
	if errors.As(err, &fault) {
		fault.File = t.path
		return err
	}
	return fmt.Errorf("read tensors of %s: %w", t.path, err)
}

// Header gives the checked header. It stays valid after Close.
func (t *File) Header() *Header { return t.header }

// Size is the file's size in bytes.
func (t *File) Size() int64 { return t.f.Size() }

// BytesRead counts what was read from the file so far, header included.
func (t *File) BytesRead() int64 { return t.read.Load() }

// Read gives the raw little-endian bytes of one tensor in a slice of its own. ErrNoTensor if there is none of that name.
func (t *File) Read(name string) ([]byte, error) {
	info := t.header.Find(name)
	if info == nil {
		return nil, fmt.Errorf("read tensor %q of %s: %w", name, t.path, ErrNoTensor)
	}
	data := make([]byte, info.Bytes())
	begin := t.header.DataStart + info.Begin
	if begin+info.Bytes() <= t.have {
		copy(data, (*t.head)[begin:])
		return data, nil
	}
	t.read.Add(info.Bytes())
	if err := readFull(t.f, data, begin); err != nil {
		var fault *FormatError
		if errors.As(err, &fault) {
			fault.Tensor = name
		}
		return nil, t.named(err)
	}
	return data, nil
}

// Close closes the file; no Read may be under way or follow.
func (t *File) Close() error {
	if t.head != nil {
		headPool.Put(t.head)
		t.head, t.have = nil, 0
	}
	return t.f.Close()
}

var _ io.Closer = (*File)(nil)
