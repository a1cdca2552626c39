package replay_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
	"go.uber.org/goleak"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/engine/replay"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recording simulates a small lifetime: a recording that needs nothing from outside the repository.
func recording(t *testing.T, dir string, names ...string) {
	t.Helper()
	defs := enginetest.Definitions(t, names...)
	task := enginetest.Task(proto.EngineSimulate, proto.ModeOffline, defs)
	task.Engine.TP = 2
	task.Dump.Count = 20
	require.NoError(t, os.MkdirAll(dir, 0o755))
	_, err := simulate.New().Run(t.Context(), engine.Job{Task: task, Definitions: defs, DumpDir: dir, Log: zerolog.Nop()}, func(engine.Progress) {})
	require.NoError(t, err)
}

func job(from string) engine.Job {
	return engine.Job{Task: proto.Task{
		Collection: "c-test", ID: "t000", BatchSize: 1,
		Engine: proto.EngineSpec{Kind: proto.EngineReplay, DumpDir: from, TP: 1, EP: 1},
	}, Log: zerolog.Nop()}
}

func play(t *testing.T, from string) (string, engine.Result, error) {
	t.Helper()
	j := job(from)
	j.DumpDir = t.TempDir()
	result, err := replay.New().Run(t.Context(), j, func(engine.Progress) {})
	return j.DumpDir, result, err
}

// files gives every regular file, and directory, below dir with the digest of its content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if e.IsDir() {
			all[name+"/"] = ""
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, f)
		all[name] = fmt.Sprintf("%d bytes, %x", n, h.Sum(nil))
		return err
	}))
	return all
}

func equalTrees(t *testing.T, want, got map[string]string) {
	t.Helper()
	for name, data := range want {
		have, ok := got[name]
		require.True(t, ok, "%s is missing", name)
		require.Equal(t, data, have, name)
	}
	for name := range got {
		require.Contains(t, want, name, "was not recorded")
	}
}

func TestEngine(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	recording(t, from, "gqa_paged_decode_h16_kv4_d128_ps1")
	before := files(t, from)
	archive := filepath.Join(t.TempDir(), "recording.tar")
	f, err := os.Create(archive)
	require.NoError(t, err)
	pack(t, f, from, ".")
	require.NoError(t, f.Close())
	for name, source := range map[string]string{"directory": from, "archive": archive} {
		t.Run(name, func(t *testing.T) {
			enginetest.Run(t, func(*testing.T) (engine.Engine, engine.Job) { return replay.New(), job(source) }, enginetest.Options{NoBudget: true})
		})
	}
	equalTrees(t, before, files(t, from))
}

func TestGolden(t *testing.T) {
	t.Parallel()
	root := goldentest.Dumps(t)
	cases, err := os.ReadDir(root)
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			from := filepath.Join(root, c.Name())
			before := files(t, from)
			to, result, err := play(t, from)
			require.NoError(t, err)
			equalTrees(t, before, files(t, to))
			require.Len(t, enginetest.Dumps(t, to), int(result.Dumps))
			require.NoError(t, os.RemoveAll(to)) // what the tailer does to it leaves the source alone
			equalTrees(t, before, files(t, from))
		})
	}
}

// TestGolden_Archive plays the corpus as it is packed: many recordings in one archive.
func TestGolden_Archive(t *testing.T) {
	t.Parallel()
	root := goldentest.Dumps(t)
	want := 0
	cases, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, c := range cases {
		want += len(enginetest.Dumps(t, filepath.Join(root, c.Name())))
	}
	to, result, err := play(t, filepath.Join(goldentest.Dir(t), "dumps-a.tar.zst"))
	require.NoError(t, err)
	require.Len(t, enginetest.Dumps(t, to), want)
	require.EqualValues(t, want, result.Dumps)
}

// pack writes a tar of a tree.
func pack(t *testing.T, w io.Writer, dir, prefix string) {
	t.Helper()
	tw := tar.NewWriter(w)
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		require.NoError(t, err)
		h, err := tar.FileInfoHeader(info, "")
		require.NoError(t, err)
		rel, _ := filepath.Rel(dir, path)
		h.Name = filepath.Join(prefix, rel)
		require.NoError(t, tw.WriteHeader(h))
		if e.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		_, err = tw.Write(data)
		return err
	}))
	require.NoError(t, tw.Close())
}

func TestArchive(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	recording(t, from, "fused_add_rmsnorm_h4096", "rmsnorm_h4096")
	var plain bytes.Buffer
	pack(t, &plain, from, "a/b")
	for name, compress := range map[string]func(io.Writer) io.WriteCloser{
		"plain": func(w io.Writer) io.WriteCloser { return nopCloser{w} },
		"gzip":  func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"zstd":  func(w io.Writer) io.WriteCloser { z, err := zstd.NewWriter(w); require.NoError(t, err); return z },
		"xz":    func(w io.Writer) io.WriteCloser { z, err := xz.NewWriter(w); require.NoError(t, err); return z },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			archive := filepath.Join(t.TempDir(), "recording")
			f, err := os.Create(archive)
			require.NoError(t, err)
			z := compress(f)
			_, err = z.Write(plain.Bytes())
			require.NoError(t, err)
			require.NoError(t, z.Close())
			require.NoError(t, f.Close())

			to, result, err := play(t, archive)
			require.NoError(t, err)
			equalTrees(t, files(t, from), files(t, to))
			require.True(t, result.Simulated, "a recording of a simulation stays one")
			require.Equal(t, "0.7.2.post1+simulated", result.Versions["flashinfer"])
			require.Equal(t, replay.Marks{Marked: true}, replay.Peek(archive), "known before it is unpacked")
		})
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestArchive_Refused(t *testing.T) {
	t.Parallel()
	const dump = "20260101_000000_000_pid1_rmsnorm_call0001/"
	for name, tc := range map[string]struct {
		header tar.Header
		want   string
	}{
		"parent":   {tar.Header{Name: "../" + dump + "metadata.jsonl", Typeflag: tar.TypeReg}, "leads out of the archive"},
		"inside":   {tar.Header{Name: "x/../" + dump + "metadata.jsonl", Typeflag: tar.TypeReg}, "leads out of the archive"},
		"absolute": {tar.Header{Name: "/tmp/" + dump + "metadata.jsonl", Typeflag: tar.TypeReg}, "leads out of the archive"},
		"symlink":  {tar.Header{Name: dump, Linkname: "/etc", Typeflag: tar.TypeSymlink}, "is a link"},
		"hardlink": {tar.Header{Name: dump + "x", Linkname: "/etc/passwd", Typeflag: tar.TypeLink}, "is a link"},
		"device":   {tar.Header{Name: dump + "x", Typeflag: tar.TypeChar}, "neither a file nor a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			tw := tar.NewWriter(&b)
			tc.header.Mode = 0o644
			require.NoError(t, tw.WriteHeader(&tc.header))
			require.NoError(t, tw.Close())
			archive := filepath.Join(t.TempDir(), "x.tar")
			require.NoError(t, os.WriteFile(archive, b.Bytes(), 0o644))
			to, _, err := play(t, archive)
			requireFailure(t, err, proto.CodeDumpDir, tc.want)
			require.Empty(t, files(t, to), "the staging directory is gone")
		})
	}
}

func requireFailure(t *testing.T, err error, code proto.Code, text string) {
	t.Helper()
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, code, f.Code)
	require.Contains(t, f.Message, text)
}

func TestSource_Unusable(t *testing.T) {
	t.Parallel()
	empty, garbage := t.TempDir(), filepath.Join(t.TempDir(), "notes.txt")
	require.NoError(t, os.WriteFile(garbage, bytes.Repeat([]byte("no tar"), 1000), 0o644))
	none := filepath.Join(t.TempDir(), "none")
	require.NoError(t, os.MkdirAll(none, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(none, "session.jsonl"), nil, 0o644))
	for name, tc := range map[string]struct {
		from string
		code proto.Code
		want string
	}{
		"unnamed":      {"", proto.CodeBadCollection, "no recording is named"},
		"missing":      {filepath.Join(empty, "gone"), proto.CodeDumpDir, "no such file"},
		"empty":        {empty, proto.CodeDumpDir, "holds no dumps"},
		"session only": {none, proto.CodeDumpDir, "holds no dumps"},
		"not a tar":    {garbage, proto.CodeDumpDir, "read entry 1 of archive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := play(t, tc.from)
			requireFailure(t, err, tc.code, tc.want)
		})
	}
}

// TestSteps watches a dump as the logger leaves it between its two records.
func TestSteps(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	recording(t, from, "rmsnorm_h4096", "fused_add_rmsnorm_h4096")
	j := job(from)
	j.DumpDir = t.TempDir()
	session := 0
	j.Gate = func(context.Context) error {
		// Before each dump: all dumps before it are final, and the session has exactly their lines.
		names := enginetest.Dumps(t, j.DumpDir)
		data, err := os.ReadFile(filepath.Join(j.DumpDir, "session.jsonl"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if n := bytes.Count(data, []byte("\n")); n > session {
			session = n
		}
		if len(names)*2 < session {
			t.Errorf("%d session lines before %d dumps", session, len(names))
		}
		return nil
	}
	_, err := replay.New().Run(t.Context(), j, func(engine.Progress) {})
	require.NoError(t, err)
	require.Positive(t, session)
}

func TestRoots_SameNames(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	recording(t, filepath.Join(from, "one"), "rmsnorm_h4096")
	recording(t, filepath.Join(from, "two"), "rmsnorm_h4096")
	require.NoError(t, os.WriteFile(filepath.Join(from, "one", "notes.txt"), []byte("1"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(from, "two", "notes.txt"), []byte("2"), 0o644))
	one := enginetest.Dumps(t, filepath.Join(from, "one"))
	to, result, err := play(t, from)
	require.NoError(t, err)
	all := enginetest.Dumps(t, to)
	require.Len(t, all, 2*len(one))
	require.EqualValues(t, len(all), result.Dumps)
	session, err := os.ReadFile(filepath.Join(to, "session.jsonl"))
	require.NoError(t, err)
	for _, name := range all {
		require.Equal(t, 2, strings.Count(string(session), "/"+name+`"`), name)
	}
	for name, want := range map[string]string{"notes.txt": "1", "notes.txt.2": "2"} {
		got, err := os.ReadFile(filepath.Join(to, name))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

// TestUnlogged has dumps that session.jsonl does not name, and lines that are torn.
func TestUnlogged(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	recording(t, from, "rmsnorm_h4096", "fused_add_rmsnorm_h4096")
	path := filepath.Join(from, "session.jsonl")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	all := bytes.SplitAfter(data, []byte("\n"))
	for i, line := range all {
		switch {
		case i%5 == 0:
			all[i] = nil
		case i%5 == 1:
			all[i] = line[:len(line)/2]
		}
	}
	require.NoError(t, os.WriteFile(path, bytes.Join(all, nil), 0o644))
	before := files(t, from)
	to, _, err := play(t, from)
	require.NoError(t, err)
	equalTrees(t, before, files(t, to))

	require.NoError(t, os.Remove(path))
	to, _, err = play(t, from)
	require.NoError(t, err)
	delete(before, "session.jsonl")
	equalTrees(t, before, files(t, to))
}

func TestRate(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	recording(t, from, "rmsnorm_h4096")
	n := len(enginetest.Dumps(t, from))
	j := job(from)
	j.DumpDir, j.Task.Engine.DumpRate = t.TempDir(), 200
	began := time.Now()
	_, err := replay.New().Run(t.Context(), j, func(engine.Progress) {})
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), time.Duration(n-1)*5*time.Millisecond-time.Millisecond)
}
