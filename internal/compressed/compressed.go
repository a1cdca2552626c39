// Package compressed opens files that may be compressed with gzip, zstd or xz. The first bytes decide, not the name.
package compressed

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/tracefleet/tracefleet/internal/rawfile"
)

// file is an open file and its decompressor.
type file struct {
	*bufio.Reader
	raw  *rawfile.File
	zstd *zstd.Decoder // nil: another compression, or none
}

// Open opens a regular file for reading and decompresses it. A directory, pipe or device is an error that wraps rawfile.ErrNotRegular.
func Open(path string) (io.ReadCloser, error) {
	raw, err := rawfile.Open(path)
	if err != nil {
		return nil, err
	}
	f := &file{raw: raw}
	if err := f.decompress(); err != nil {
		raw.Close()
		return nil, err
	}
	return f, nil
}

func (f *file) decompress() error {
	in := bufio.NewReaderSize(io.NewSectionReader(f.raw, 0, f.raw.Size()), 1<<20)
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var out io.Reader
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		out, err = gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		f.zstd, err = zstd.NewReader(in)
		out = f.zstd
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		out, err = xz.NewReader(in)
	default:
		f.Reader = in
		return nil
	}
	f.Reader = bufio.NewReaderSize(out, 1<<20)
	return err
}

// Close closes the file.
func (f *file) Close() error {
	if f.zstd != nil {
		f.zstd.Close()
	}
	return f.raw.Close()
}
