package sglangtest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine/sglang/sglangtest"
	"github.com/tracefleet/tracefleet/internal/fidump"
)

func TestMain(m *testing.M) {
	sglangtest.Main()
	os.Exit(m.Run())
}

// server starts a stand-in and gives its address once it says that it is ready, and its dump directory.
func server(t *testing.T, release string, env []string, args ...string) (url, dumps string) {
	t.Helper()
	stand := sglangtest.Python(t, sglangtest.Options{Release: release})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := ln.Addr().(*net.TCPAddr).Port
	require.NoError(t, ln.Close())
	dumps = t.TempDir()
	cmd := exec.Command(stand.Python, append([]string{"-m", "sglang.launch_server", "--model-path", "m", "--port", strconv.Itoa(port)}, args...)...)
	cmd.Env = append(append(os.Environ(), "FLASHINFER_LOGLEVEL=10", "FLASHINFER_DUMP_DIR="+dumps), env...)
	out, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	ready := false
	for !ready && lines.Scan() {
		ready = strings.Contains(lines.Text(), "fired up and ready")
	}
	drained := make(chan struct{})
	go func() { defer close(drained); _, _ = io.Copy(io.Discard, out) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-drained
		_ = cmd.Wait()
	})
	require.True(t, ready, "the server ended: %v", lines.Err())
	return fmt.Sprintf("http://127.0.0.1:%d", port), dumps
}

func get(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func dumped(t *testing.T, dir string) int {
	t.Helper()
	names, err := fidump.List(dir)
	require.NoError(t, err)
	return len(names)
}

var quiet = []string{"--attention-backend", "flashinfer", "--disable-cuda-graph", "--disable-flashinfer-autotune", "--skip-server-warmup"}

// TestHealth: health checks generate, and so cost dumps, unless the environment turns that off, which it does for one of them.
func TestHealth(t *testing.T) {
	t.Parallel()
	url, dumps := server(t, "0.5.16", nil, quiet...)
	require.Zero(t, dumped(t, dumps))
	require.Equal(t, 200, get(t, url+"/model_info"))
	require.Equal(t, 404, get(t, url+"/ready"), "only the newest have it")
	require.Zero(t, dumped(t, dumps))
	require.Equal(t, 200, get(t, url+"/health"))
	one := dumped(t, dumps)
	require.Positive(t, one)

	url, dumps = server(t, "0.5.20", []string{"SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION=0"}, quiet...)
	require.Equal(t, 200, get(t, url+"/ready"))
	require.Equal(t, 200, get(t, url+"/health"))
	require.Zero(t, dumped(t, dumps))
	require.Equal(t, 200, get(t, url+"/health_generate"))
	require.Equal(t, one, dumped(t, dumps))
}

// TestBeforeTraffic: what each switch turns off is there without it.
func TestBeforeTraffic(t *testing.T) {
	t.Parallel()
	_, dumps := server(t, "0.5.16", nil, quiet...)
	require.Zero(t, dumped(t, dumps))
	for i := range quiet[2:] {
		args := append(append([]string{}, quiet[:2+i]...), quiet[3+i:]...)
		_, dumps := server(t, "0.5.16", nil, args...)
		require.Positive(t, dumped(t, dumps), "without %s", quiet[2+i])
	}
}

// TestFlags: what a release does not take ends with argparse's words and status 2.
func TestFlags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ release, flag, words string }{
		{"0.5.23", "--disable-piecewise-cuda-graph", "unrecognized arguments: --disable-piecewise-cuda-graph"},
		{"0.5.8", "--disable-prefill-cuda-graph", "unrecognized arguments"},
		{"0.5.16", "--attention-backend=nonsense", "argument --attention-backend"},
		{"0.5.16", "--page-size=x", "argument --page-size"},
	} {
		stand := sglangtest.Python(t, sglangtest.Options{Release: tc.release})
		out, err := exec.Command(stand.Python, "-m", "sglang.launch_server", "--model-path", "m", tc.flag).CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 2, exit.ExitCode())
		require.Contains(t, string(out), "launch_server.py: error: "+tc.words)
	}
}

// TestEngineKeywords: the Engine's keywords are a table of their own.
func TestEngineKeywords(t *testing.T) {
	t.Parallel()
	sglangtest.NeedPython(t)
	for keyword, known := range map[string]bool{"disable_cuda_graph": true, "disable_piecewise_cuda_graph": false} {
		stand := sglangtest.Python(t, sglangtest.Options{Release: "0.5.16"})
		script := filepath.Join(t.TempDir(), "a_driver.py")
		keywords, err := json.Marshal(map[string]any{"model_path": "m", keyword: true})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(script, []byte("import json, sys, sglang\nsglang.Engine(**json.loads(sys.argv[1])).shutdown()\n"), 0o644))
		out, err := exec.Command(stand.Python, script, string(keywords)).CombinedOutput()
		if known {
			require.NoError(t, err, "%s", out)
		} else {
			require.Error(t, err)
			require.Contains(t, string(out), "TypeError: ServerArgs.__init__() got an unexpected keyword argument '"+keyword+"'")
		}
	}
}
