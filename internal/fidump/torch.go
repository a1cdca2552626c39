package fidump

import (
	"archive/zip"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tracefleet/tracefleet/internal/rawfile"
)

// maxPickleBytes bounds the pickle of an inputs.pt: it holds descriptions only, some 100 bytes a tensor.
const maxPickleBytes = 8 << 20

// maxExpandedBytes bounds a tensor that is larger than its storage, which strides of 0 make possible.
const maxExpandedBytes = 64 << 20

// TorchError says what in an inputs.pt is not what torch.save writes.
type TorchError struct {
	File   string
	Tensor string // "" where the fault is not of one tensor
	Field  string // zip, pickle, byteorder, storage, size or stride
	Reason string
}

// Error names file, tensor, field and reason.
func (e *TorchError) Error() string {
	if e.Tensor != "" {
		return fmt.Sprintf("torch file %s: tensor %q: %s: %s", e.File, e.Tensor, e.Field, e.Reason)
	}
	return fmt.Sprintf("torch file %s: %s: %s", e.File, e.Field, e.Reason)
}

// torchInputs reads the zip that torch.save makes: {name}/data.pkl describes tensors as views of storages, each of which is a
// stored (not compressed) entry {name}/data/{key}.
type torchInputs struct {
	described
	f     *rawfile.File
	views map[string]*torchView
	read  atomic.Int64
}

// torchView is a tensor of the pickle: a strided view of a storage.
type torchView struct {
	storage torchStorage
	dtype   string
	item    int64 // bytes of an element
	offset  int64 // elements
	size    []int64
	stride  []int64

	file   string // of the storage, resolved by resolve
	begin  int64  // of the storage in the file
	length int64  // bytes of the storage
	crc    uint32
}

// torchStorage is what a persistent id of the pickle names.
type torchStorage struct {
	key   string
	dtype string // "" for an untyped storage, whose tensors say theirs
}

func openTorch(path string) (_ *torchInputs, err error) {
	f, err := rawfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open tensors: %w", err)
	}
	in := &torchInputs{described: described{path: path}, f: f}
	defer func() {
		if err != nil {
			f.Close()
			var fault *TorchError
			if errors.As(err, &fault) {
				fault.File = path
			}
		}
	}()
	archive, err := zip.NewReader(f, f.Size())
	if err != nil {
		return nil, &TorchError{Field: "zip", Reason: err.Error()}
	}
	entries, root, err := torchEntries(archive)
	if err != nil {
		return nil, err
	}
	if order := entries[root+"byteorder"]; order != nil {
		text, err := in.entry(order, 16)
		if err != nil {
			return nil, err
		}
		if string(text) != "little" {
			return nil, &TorchError{Field: "byteorder", Reason: fmt.Sprintf("%q, only little is read", text)}
		}
	}
	pickled, err := in.entry(entries[root+"data.pkl"], maxPickleBytes)
	if err != nil {
		return nil, err
	}
	if in.views, err = unpickle(pickled); err != nil {
		return nil, err
	}
	for key, view := range in.views {
		if err := view.resolve(key, entries[root+"data/"+view.storage.key]); err != nil {
			return nil, err
		}
		in.tensors = append(in.tensors, view.describe(key))
	}
	slices.SortFunc(in.tensors, func(a, b Tensor) int { return strings.Compare(a.Key, b.Key) })
	return in, nil
}

// torchEntries gives the archive's entries by name, and the folder that torch.save put them in, with its slash.
func torchEntries(archive *zip.Reader) (map[string]*zip.File, string, error) {
	entries := make(map[string]*zip.File, len(archive.File))
	root := ""
	for _, f := range archive.File {
		if entries[f.Name] != nil {
			return nil, "", &TorchError{Field: "zip", Reason: fmt.Sprintf("entry %q appears twice", f.Name)}
		}
		entries[f.Name] = f
		if folder, ok := strings.CutSuffix(f.Name, "data.pkl"); ok && strings.Count(folder, "/") == 1 {
			if root != "" {
				return nil, "", &TorchError{Field: "zip", Reason: "more than one data.pkl"}
			}
			root = folder
		}
	}
	if root == "" {
		return nil, "", &TorchError{Field: "zip", Reason: "no data.pkl: not written by torch.save"}
	}
	return entries, root, nil
}

// entry reads one small entry.
func (in *torchInputs) entry(f *zip.File, most int64) ([]byte, error) {
	if f.UncompressedSize64 > uint64(most) {
		return nil, &TorchError{Field: "zip", Reason: fmt.Sprintf("entry %q of %d bytes, at most %d are read", f.Name, f.UncompressedSize64, most)}
	}
	r, err := f.Open()
	if err != nil {
		return nil, &TorchError{Field: "zip", Reason: fmt.Sprintf("entry %q: %v", f.Name, err)}
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, most))
	if err != nil {
		return nil, &TorchError{Field: "zip", Reason: fmt.Sprintf("entry %q: %v", f.Name, err)}
	}
	in.read.Add(int64(len(data)))
	return data, nil
}

// resolve finds the view's storage in the archive and holds size, stride and offset against it.
func (v *torchView) resolve(key string, f *zip.File) error {
	fault := func(field, format string, args ...any) error {
		return &TorchError{Tensor: key, Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	if f == nil {
		return fault("storage", "there is no entry data/%s", v.storage.key)
	}
	if f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64 {
		return fault("storage", "entry %q is compressed, which torch.save never does", f.Name)
	}
	begin, err := f.DataOffset()
	if err != nil {
		return fault("storage", "entry %q: %v", f.Name, err)
	}
	v.file, v.begin, v.length, v.crc = f.Name, begin, int64(f.UncompressedSize64), f.CRC32
	if v.length < 0 {
		return fault("storage", "entry %q claims %d bytes", f.Name, f.UncompressedSize64)
	}
	if len(v.size) != len(v.stride) {
		return fault("stride", "%v does not belong to size %v", v.stride, v.size)
	}
	elements := v.length / v.item
	last, count := v.offset, int64(1) // index of the last element of the view in the storage; elements of the view
	if v.offset < 0 || v.offset > elements {
		return fault("storage", "offset %d in a storage of %d elements", v.offset, elements)
	}
	for i, n := range v.size {
		if n < 0 || v.stride[i] < 0 {
			return fault("size", "size %v, stride %v: negative", v.size, v.stride)
		}
		if n == 0 {
			count = 0
		}
	}
	if count == 0 {
		return nil
	}
	most := max(elements, maxExpandedBytes/v.item)
	for i, n := range v.size {
		if count > most/n {
			return fault("size", "%v is more than a storage of %d elements can back", v.size, elements)
		}
		count *= n
		if n > 1 && v.stride[i] > elements/(n-1) {
			return fault("stride", "%v with size %v reaches beyond a storage of %d elements", v.stride, v.size, elements)
		}
		last += (n - 1) * v.stride[i]
		if last >= elements {
			return fault("stride", "%v with size %v and offset %d reaches beyond a storage of %d elements", v.stride, v.size, v.offset, elements)
		}
	}
	if count > 0 && last >= elements {
		return fault("storage", "offset %d in a storage of %d elements", v.offset, elements)
	}
	return nil
}

func (v *torchView) count() int64 {
	n := int64(1)
	for _, s := range v.size {
		n *= s
	}
	return n
}

// contiguous reports whether the elements lie in row-major order without gaps, as torch's is_contiguous does.
func (v *torchView) contiguous() bool {
	want := int64(1)
	for i := len(v.size) - 1; i >= 0; i-- {
		if v.size[i] != 1 && v.stride[i] != want {
			return false
		}
		want *= v.size[i]
	}
	return true
}

func (v *torchView) describe(key string) Tensor {
	return Tensor{Key: key, DType: v.dtype, Shape: v.size, Stride: v.stride, Nbytes: v.count() * v.item}
}

// Read gives the view's elements in row-major order, whatever its strides.
func (in *torchInputs) Read(key string) ([]byte, error) {
	v := in.views[key]
	if v == nil {
		return nil, fmt.Errorf("read tensor %q of %s: %w", key, in.path, ErrNoTensor)
	}
	count := v.count()
	if count == 0 {
		return []byte{}, nil
	}
	span := count
	if !v.contiguous() {
		span = 1
		for i, n := range v.size {
			span += (n - 1) * v.stride[i]
		}
	}
	data := make([]byte, span*v.item)
	in.read.Add(int64(len(data)))
	if n, err := in.f.ReadAt(data, v.begin+v.offset*v.item); n < len(data) {
		if err == nil || errors.Is(err, io.EOF) {
			return nil, &TorchError{in.path, key, "storage", fmt.Sprintf("file ends inside entry %q; it was cut", v.file)}
		}
		return nil, fmt.Errorf("read tensor %q of %s: %w", key, in.path, err)
	}
	if int64(len(data)) == v.length && crc32.ChecksumIEEE(data) != v.crc {
		return nil, &TorchError{in.path, key, "storage", fmt.Sprintf("entry %q does not match its checksum", v.file)}
	}
	if v.contiguous() {
		return data, nil
	}
	return v.gather(data, count), nil
}

// gather copies the elements out of the span in row-major order.
func (v *torchView) gather(span []byte, count int64) []byte {
	out := make([]byte, 0, count*v.item)
	index := make([]int64, len(v.size))
	at := int64(0)
	for {
		out = append(out, span[at*v.item:(at+1)*v.item]...)
		d := len(index) - 1
		for ; d >= 0; d-- {
			index[d]++
			at += v.stride[d]
			if index[d] < v.size[d] {
				break
			}
			at -= v.stride[d] * v.size[d]
			index[d] = 0
		}
		if d < 0 {
			return out
		}
	}
}

// BytesRead counts what was read of entries, not the archive's directory.
func (in *torchInputs) BytesRead() int64 { return in.read.Load() }

// Close closes the file.
func (in *torchInputs) Close() error { return in.f.Close() }
