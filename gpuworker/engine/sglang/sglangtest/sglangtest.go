package sglangtest

import (
	_ "embed" // the package that the driver imports
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/execfile"
)

// optionsEnv makes the test binary a stand-in: Options as JSON.
const optionsEnv = "TRACEFLEET_SGLANGTEST"

// Options say which release is stood in for, and how it misbehaves.
type Options struct {
	Release    string            `json:"release"`
	Packages   map[string]string `json:"packages,omitempty"` // versions that override those of the release; "" : not installed
	Fail       string            `json:"fail,omitempty"`     // one of the Fail constants
	FailAfter  int               `json:"fail_after,omitempty"`
	HoldFor    int               `json:"hold_for,omitempty"`    // requests that must be in flight before the first is answered
	Calls      []string          `json:"calls,omitempty"`       // functions that are called at all; none: all
	Diary      string            `json:"diary"`                 // file that gets a line for whatever happens
	Site       string            `json:"site"`                  // its site-packages
	NoDumpLogs bool              `json:"no_dump_log,omitempty"` // FlashInfer runs without its log level
	Logger     string            `json:"logger,omitempty"`      // see LoggerEnv
}

// Ways to misbehave.
const (
	FailOOMStart    = "oom-start"    // the weights leave no memory
	FailHangStart   = "hang-start"   // never ready
	FailCrash       = "crash"        // a scheduler dies of CUDA's memory after FailAfter requests
	FailNCCL        = "nccl"         // at start
	FailWatchdog    = "watchdog"     // after FailAfter requests
	FailPackage     = "package"      // a package is older than the release asks for
	FailCapture     = "capture"      // graphs cannot be captured
	FailKilled      = "killed"       // the server is killed after FailAfter requests
	FailDeaf        = "deaf"         // it does not hear SIGTERM
	FailChildren    = "children"     // it starts processes in sessions of their own, which do not hear SIGTERM
	FailStall       = "stall"        // requests after the first FailAfter are never answered
	FailRetract     = "retract"      // the KV pool is full
	FailRefuse      = "refuse"       // requests get status 400
	FailAbort       = "abort"        // requests are given up on, with status 200
	FailHiccup      = "hiccup"       // the first FailAfter connections are closed before an answer
	FailSilentReady = "silent-ready" // it does not log that it is ready
)

//go:embed site/sglang/__init__.py
var module []byte

// Main is what TestMain calls first. It does not return in a process of the stand-in.
func Main() {
	text := os.Getenv(optionsEnv)
	if text == "" {
		return
	}
	var o Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fmt.Fprintf(os.Stderr, "sglangtest: %s: %v\n", optionsEnv, err)
		os.Exit(1)
	}
	os.Exit(interpret(&o, os.Args[1:]))
}

// Stand is a stand-in that was installed for a test.
type Stand struct {
	Python string // path to give as the interpreter
	Site   string // its site-packages
	diary  string
}

// Python installs a stand-in. Package testing's directory for it is removed with the test.
func Python(t testing.TB, o Options) *Stand {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if o.Release == "" {
		o.Release = "0.5.16"
	}
	o.Logger = os.Getenv(LoggerEnv)
	o.Diary, o.Site = filepath.Join(dir, "diary"), filepath.Join(dir, "site")
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	real, err := exec.LookPath("python3")
	if err != nil {
		real = "/no/python3"
	}
	script := fmt.Sprintf("#!/bin/sh\nexport %s=%s %s_BINARY=%s GORACE=atexit_sleep_ms=0\ncase \"$1\" in\n*driver.py) PYTHONPATH=%s exec %s \"$@\";;\nesac\nexec %s \"$@\"\n",
		optionsEnv, quoted(string(data)), optionsEnv, quoted(exe), quoted(o.Site), quoted(real), quoted(exe))
	for path, content := range map[string]string{
		filepath.Join(dir, "python"):                       script,
		filepath.Join(o.Site, "sglang", "__init__.py"):     string(module),
		filepath.Join(o.Site, "sglang", "srt", "layer.py"): "from flashinfer.norm import rmsnorm\n\nrmsnorm(1, 2)\n",
	} {
		execfile.Write(t, path, content)
	}
	return &Stand{Python: filepath.Join(dir, "python"), Site: o.Site, diary: o.Diary}
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// NeedPython skips a test of the offline mode where there is no interpreter for the driver.
func NeedPython(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("needs python3, to run the driver of the offline mode")
	}
}

// Diary gives what happened, one entry a line: "pid 12", "health", "generate 1", "chat", "batch 2 [4 4]", "args --foo", "env A=b" and others.
func (s *Stand) Diary(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile(s.diary)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// Entries gives the entries that begin with a word, without it.
func (s *Stand) Entries(t testing.TB, word string) (list []string) {
	t.Helper()
	for _, e := range s.Diary(t) {
		if rest, ok := strings.CutPrefix(e, word+" "); ok || e == word {
			list = append(list, strings.TrimPrefix(rest, word))
		}
	}
	return list
}

// PIDs gives the processes that the stand-in was.
func (s *Stand) PIDs(t testing.TB) (list []int) {
	t.Helper()
	for _, e := range s.Entries(t, "pid") {
		n, err := strconv.Atoi(e)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

// note writes into the diary. Lines are short, so that processes do not cut into each other's.
func (o *Options) note(format string, args ...any) {
	f, err := os.OpenFile(o.Diary, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sglangtest:", err)
		return
	}
	defer f.Close()
	fmt.Fprintf(f, format+"\n", args...)
}
