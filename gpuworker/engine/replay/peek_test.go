package replay_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine/replay"
)

func TestPeek_Recordings(t *testing.T) {
	t.Parallel()
	const dump = "20261127_131535_637_pid12303_rmsnorm_call0001"
	real := filepath.Join("..", "..", "..", "testdata", "dumps", "flashinfer-0.7.2", dump)
	simulated := filepath.Join(t.TempDir(), "dumps")
	recording(t, simulated, "rmsnorm_h4096")
	both, torn := t.TempDir(), t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(both, "a"), os.DirFS(simulated)))
	require.NoError(t, os.CopyFS(filepath.Join(both, "b", dump), os.DirFS(real)))
	require.NoError(t, os.CopyFS(filepath.Join(torn, dump), os.DirFS(real)))
	require.NoError(t, os.WriteFile(filepath.Join(torn, dump, "metadata.jsonl"), []byte(`{"function_na`), 0o600))
	for name, test := range map[string]struct {
		dir  string
		want replay.Marks
	}{
		"simulated":        {simulated, replay.Marks{Marked: true}},
		"real":             {filepath.Dir(real), replay.Marks{Unmarked: true}},
		"one of each":      {both, replay.Marks{Marked: true, Unmarked: true}},
		"torn record":      {torn, replay.Marks{}},
		"no dumps":         {t.TempDir(), replay.Marks{}},
		"no such file":     {filepath.Join(torn, "none"), replay.Marks{}},
		"no archive":       {filepath.Join(torn, dump, "metadata.jsonl"), replay.Marks{}},
		"archive of dumps": {filepath.Join("..", "..", "..", "testdata", "recorded", "sglang-0.5.16-h200.tar.xz"), replay.Marks{Unmarked: true}},
	} {
		require.Equal(t, test.want, replay.Peek(test.dir), name)
	}
}
