package compressed

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"

	"github.com/tracefleet/tracefleet/internal/rawfile"
)

func TestOpen_EachCompression_IsDetectedByContent(t *testing.T) {
	t.Parallel()
	const text = "some text, some text\n"
	for name, make := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"xz":   func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
	} {
		var packed bytes.Buffer
		w, err := make(&packed)
		require.NoError(t, err)
		_, err = w.Write([]byte(text))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		got, err := read(t, packed.Bytes())
		require.NoError(t, err, name)
		require.Equal(t, text, got, name)
		_, err = read(t, packed.Bytes()[:packed.Len()/2])
		require.Error(t, err, "%s, cut", name)
	}
	for _, plain := range []string{"", "x", text} {
		got, err := read(t, []byte(plain))
		require.NoError(t, err)
		require.Equal(t, plain, got)
	}
}

func read(t *testing.T, content []byte) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o644))
	f, err := Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	return string(data), err
}

func TestOpen_NoRegularFile_IsRefusedWithoutWaiting(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{pipe, filepath.Dir(pipe), "/dev/null"} {
		_, err := Open(path)
		require.ErrorIs(t, err, rawfile.ErrNotRegular, path)
	}
	_, err := Open(filepath.Join(filepath.Dir(pipe), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
