package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

// quiet are the commands that print nothing to standard output: they serve until they are stopped.
var quiet = []string{"coordinator", "gpuworker work", "sanitizer", "publisher", "serve"}

// commands returns the names of all commands that can be run, such as "jobs list".
func commands(t *testing.T) (names []string) {
	t.Helper()
	parser, err := kong.New(&app{}, kong.Name("tracefleet"))
	require.NoError(t, err)
	for _, leaf := range parser.Model.Leaves(false) {
		names = append(names, strings.TrimPrefix(leaf.FullPath(), "tracefleet "))
	}
	return names
}

// setState changes the state of the collection that storeJob left in a state directory.
func setState(t *testing.T, dir string, to proto.State) {
	t.Helper()
	server, err := bus.StartEmbedded(bus.Embedded{StateDir: dir, Local: true, Log: zerolog.Nop()})
	require.NoError(t, err)
	defer server.Close()
	b, err := server.Connect(t.Context(), "test")
	require.NoError(t, err)
	defer b.Close()
	collections, err := bus.OpenRecord[proto.CollectionState](t.Context(), b, proto.BucketCollections)
	require.NoError(t, err)
	c, revision, err := collections.Get(t.Context(), "c-0123456789ab")
	require.NoError(t, err)
	c.State = to
	_, err = collections.Update(t.Context(), "c-0123456789ab", c, revision)
	require.NoError(t, err)
}

// TestOutput_FullDevice_FailsWithReason runs each command that prints, in each of its formats, with standard output on a full device.
func TestOutput_FullDevice_FailsWithReason(t *testing.T) {
	const dumps = "testdata/dumps/flashinfer-0.7.2"
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("no full device to write to: %v", err)
	}
	defer full.Close()
	dir := t.TempDir()
	set, state, ended := filepath.Join(dir, "set"), filepath.Join(dir, "state"), filepath.Join(dir, "ended")
	require.NoError(t, os.CopyFS(set, os.DirFS("testdata/dataset")))
	collect := func(state string, more ...string) []string {
		return append([]string{
			"collect", "--engine", "simulate", "--trace-dir", set, "--definitions", "rmsnorm_h4096", "--batch-sizes", "2", "--isl", "8", "--osl", "2",
			"--log-level", "error", "--state-dir", filepath.Join(dir, state),
		}, more...)
	}
	var printed, errs bytes.Buffer
	require.Equal(t, cli.ExitDone, run(collect("state"), &printed, &errs), errs.String())
	id := regexp.MustCompile(`c-[0-9a-f]{12}`).FindString(errs.String())
	storeJob(t, ended, 1, "rmsnorm_h1024.json")
	setState(t, ended, proto.StateFailed)

	cases := map[string][][]string{
		"collect":             {collect("a"), collect("b", "--json"), collect("c", "--plan-only"), collect("c", "--plan-only", "--json")},
		"sanitize":            {{"sanitize", "--dump-dir", dumps, "--trace-dir", set, "--all"}, {"sanitize", "--dump-dir", dumps, "--trace-dir", set, "--all", "--json"}},
		"inspect":             {{"inspect", set}, {"inspect", set, "--json"}, {"inspect", dumps}, {"inspect", dumps, "--json"}},
		"definitions resolve": {{"definitions", "resolve", "--trace-dir", set}, {"definitions", "resolve", "--trace-dir", set, "--json"}},
		"definitions harvest": {
			{"definitions", "harvest", "--trace-dir", set, "--from", harvestTraces, "--out", filepath.Join(dir, "h1")},
			{"definitions", "harvest", "--trace-dir", set, "--from", harvestTraces, "--out", filepath.Join(dir, "h2"), "--json"},
		},
		"jobs list":       {{"jobs", "list", "--state-dir", state}, {"jobs", "list", "--state-dir", state, "--json"}},
		"jobs show":       {{"jobs", "show", id, "--state-dir", state}, {"jobs", "show", id, "--state-dir", state, "--json"}},
		"jobs watch":      {{"jobs", "watch", id, "--state-dir", state}, {"jobs", "watch", id, "--state-dir", state, "--json"}},
		"jobs logs":       {{"jobs", "logs", id, "--state-dir", state}, {"jobs", "logs", id, "--state-dir", state, "--json"}},
		"jobs cancel":     {{"jobs", "retry", "c-0123", "--state-dir", ended}, {"jobs", "cancel", "c-0123", "--state-dir", ended}},
		"jobs retry":      {{"jobs", "retry", "c-0123", "--state-dir", ended}},
		"fleet":           {{"fleet", "--state-dir", state, "--json"}}, // without workers the table is empty
		"doctor":          {{"doctor", "--work-dir", dir}, {"doctor", "--work-dir", dir, "--json"}},
		"gpuworker setup": {{"gpuworker", "setup", "--dry-run", "--env-dir", filepath.Join(dir, "env"), "--base-python", "/no/python"}},
		"hub-sandbox":     {{"hub-sandbox"}, {"hub-sandbox", "--json"}},
		"version":         {{"version"}},
		"":                nil, // the program's own help
	}
	for _, name := range append(commands(t), "") {
		if _, known := cases[name]; !known && !slices.Contains(quiet, name) {
			t.Errorf("command %q is not tried here, in any of its formats", name)
		}
		for _, args := range append(cases[name], append(strings.Fields(name), "--help")) {
			t.Run(strings.ReplaceAll(strings.Join(args, " "), dir, ""), func(t *testing.T) {
				var errs bytes.Buffer
				require.Equal(t, cli.ExitFailed, run(args, full, &errs), errs.String())
				require.Contains(t, errs.String(), "write standard output: write /dev/full: no space left on device")
				require.Equal(t, 1, strings.Count(errs.String(), "no space left"), "the reason is printed once: %s", errs.String())
			})
		}
	}
}

// TestOutput_ClosedPipe_EndsQuietly: `tracefleet … | head` ends as other programs do, by SIGPIPE and without a message.
func TestOutput_ClosedPipe_EndsQuietly(t *testing.T) {
	if os.Getenv("TRACEFLEET_TEST_VERSION") != "" {
		os.Exit(run([]string{"version"}, os.Stdout, os.Stderr))
	}
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	defer w.Close()
	var errs bytes.Buffer
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", t.Name())
	c.Env, c.Stdout, c.Stderr = append(os.Environ(), "TRACEFLEET_TEST_VERSION=1"), w, &errs
	var exit *exec.ExitError
	require.True(t, errors.As(c.Run(), &exit))
	require.Equal(t, syscall.SIGPIPE, exit.Sys().(syscall.WaitStatus).Signal())
	require.Empty(t, errs.String())
}
