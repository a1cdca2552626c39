package judge

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tracefleet/tracefleet/internal/execfile"
)

// standIn gives an interpreter that finds a package of testdata as flashinfer_bench, or none where pkg is empty.
func standIn(t *testing.T, pkg string) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 on the PATH for the stand-in of flashinfer-bench")
	}
	script := "#!/bin/sh\nexec " + python + " -I -S \"$@\"\n"
	if pkg != "" {
		dir, err := filepath.Abs(filepath.Join("testdata", pkg))
		if err != nil {
			t.Fatal(err)
		}
		script = "#!/bin/sh\nPYTHONDONTWRITEBYTECODE=1 PYTHONPATH='" + dir + "' exec " + python + " \"$@\"\n"
	}
	return execfile.Write(t, filepath.Join(t.TempDir(), "python"), script)
}

// script tells the stand-in what to do with a dataset.
func (s files) script(script map[string]any) {
	s.t.Helper()
	data, err := json.Marshal(script)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("standin.json", string(data))
}

func TestRunValidate(t *testing.T) {
	t.Parallel()
	s := good(t)
	s.script(map[string]any{"messages": map[string]any{decode: map[string]any{
		"layout":   [][]string{{"error", "workload " + first + ": blob missing at ./x"}},
		"workload": [][]string{{"info", "1/2 valid"}, {"error", second + ": missing axes ['batch_size']"}},
		"baseline": [][]string{{"warning", "no baseline\nsolution"}},
	}}})
	rep, err := RunValidate(t.Context(), standIn(t, "standin"), s.dir, []string{decode})
	if err != nil {
		t.Fatal(err)
	}
	want := []Finding{
		{"validate_layout", Refuse, decode, first, "", "workload " + first + ": blob missing at ./x"},
		{"validate_workload", Refuse, decode, second, "", second + ": missing axes ['batch_size']"},
		{"validate_baseline", Warn, decode, "", "", "no baseline solution"},
	}
	if !slices.Equal(rep.Findings, want) || rep.Counts.Definitions != 1 || !rep.Refuses() {
		t.Errorf("got %+v\n%s", rep.Counts, rep.Text())
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "reports", "*")); err != nil || len(left) > 0 {
		t.Errorf("in the dataset: %v %v", left, err)
	}
}

// TestRunValidate_Report: what is not in the report was not looked at, and must not pass.
func TestRunValidate_Report(t *testing.T) {
	t.Parallel()
	python := standIn(t, "standin")
	for name, c := range map[string]struct {
		script      map[string]any
		definitions []string
		want        string // of the error, or of the text
		fails       bool
	}{
		"nothing wrong":        {map[string]any{}, nil, "", false},
		"definition left out":  {map[string]any{}, []string{decode, "not_there"}, "refuse definition_missing not_there", false},
		"check left out":       {map[string]any{"drop": []string{"trace"}}, nil, "definitions." + decode + ".trace", true},
		"check not run":        {map[string]any{"report": `{"definitions": {"x": {"layout": null}}}`}, nil, "definitions.x.layout", true},
		"error without a word": {map[string]any{"status": map[string]string{"layout": "error"}}, nil, "refuse validate_layout " + decode + ": status is error", false},
		"unknown level":        {map[string]any{"messages": map[string]any{decode: map[string]any{"layout": [][]string{{"fatal", "x"}}}}}, nil, `level "fatal"`, true},
		"another format":       {map[string]any{"report": "{}"}, nil, "no definitions", true},
		"no JSON":              {map[string]any{"report": "x"}, nil, "report of flashinfer-bench validate", true},
		"no report":            {map[string]any{"do": "exit"}, nil, "wrote 0 reports", true},
		"exception":            {map[string]any{"do": "raise"}, nil, "exit status 1: FileNotFoundError: dataset root does not exist", true},
		"name like an option":  {map[string]any{}, []string{"--help"}, "--help", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := good(t)
			s.script(c.script)
			rep, err := RunValidate(t.Context(), python, s.dir, c.definitions)
			switch {
			case c.fails && (err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrNoValidate)):
				t.Errorf("error %v, want %q", err, c.want)
			case !c.fails && err != nil:
				t.Error(err)
			case !c.fails && !strings.HasPrefix(rep.Text(), c.want) || !c.fails && rep.Refuses() != (c.want != ""):
				t.Errorf("text %q, want %q", rep.Text(), c.want)
			}
		})
	}
}

func TestRunValidate_NotThere(t *testing.T) {
	t.Parallel()
	s := good(t)
	for name, python := range map[string]string{"an old release": standIn(t, "before_validate"), "no flashinfer-bench": standIn(t, ""), "no interpreter": filepath.Join(t.TempDir(), "python")} {
		if _, err := RunValidate(t.Context(), python, s.dir, nil); !errors.Is(err, ErrNoValidate) || !strings.Contains(err.Error(), python) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRunValidate_Ends: the child and its own child are gone when the context is, though the latter does not end when asked.
func TestRunValidate_Ends(t *testing.T) {
	t.Parallel()
	s := good(t)
	s.script(map[string]any{"do": "hang"})
	pipe := filepath.Join(s.dir, "alive")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	python := standIn(t, "standin")
	go func() {
		_, err := RunValidate(ctx, python, s.dir, nil)
		failed <- err
	}()
	f, err := os.Open(pipe) // when the child has opened it
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	if line, err := r.ReadString('\n'); line != "child\n" {
		t.Fatalf("read %q: %v", line, err)
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	// The pipe ends when nobody holds it any more.
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("somebody lived on: %q %v", rest, err)
	}
}

func TestRunValidate_KeepsTheToken(t *testing.T) {
	t.Setenv("HF_TOKEN", "hf_secret")
	s := good(t)
	s.script(map[string]any{"do": "token"})
	rep, err := RunValidate(t.Context(), standIn(t, "standin"), s.dir, []string{decode})
	if err != nil {
		t.Fatal(err)
	}
	if text := rep.Text(); !strings.Contains(text, "HF_TOKEN=None") {
		t.Errorf("the child was given the token: %s", text)
	}
}
