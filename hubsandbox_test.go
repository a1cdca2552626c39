package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/publisher/hub"
)

// sandbox runs the command until stop is called, and gives what it printed first: its variables, or its JSON.
func sandbox(t *testing.T, c *hubSandboxCmd) (vars map[string]string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	var log bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		err := c.Run(&environ{Stdout: in, Stderr: &log, Log: zerolog.Nop(), Soft: ctx, Hard: t.Context()})
		_ = in.CloseWithError(io.EOF)
		ended <- err
	}()
	stop = func() error { cancel(); return <-ended }
	vars = map[string]string{}
	if c.JSON {
		if err := json.NewDecoder(out).Decode(&vars); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, out) }()
		return vars, stop
	}
	lines := bufio.NewScanner(out)
	for len(vars) < 3 && lines.Scan() {
		name, value, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		if !ok || !strings.HasPrefix(lines.Text(), "export ") {
			t.Fatalf("printed %q", lines.Text())
		}
		vars[name] = value
	}
	return vars, stop
}

// TestHubSandbox rehearses: what is pushed with the variables that the command prints is there when it is started again.
func TestHubSandbox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	head := ""
	for _, again := range []bool{false, true} {
		c := &hubSandboxCmd{Listen: "127.0.0.1:0", Dir: dir, Repo: "me/rehearsal", SeedFrom: "testdata/dataset"}
		vars, stop := sandbox(t, c)
		if len(vars) != 3 || vars["HF_HUB_DISABLE_XET"] != "1" {
			t.Fatalf("printed %v", vars)
		}
		getenv := func(name string) string { return vars[name] }
		token, err := hub.FindToken(getenv)
		if err != nil {
			t.Fatal(err)
		}
		client, err := hub.New(hub.Options{Endpoint: hub.Endpoint(getenv), Token: token.Value})
		if err != nil {
			t.Fatal(err)
		}
		repo, err := client.Dataset("me/rehearsal")
		if err != nil {
			t.Fatal(err)
		}
		if !again {
			pr, err := repo.CreatePR(t.Context(), "Add workloads", "text")
			if err != nil {
				t.Fatal(err)
			}
			added, err := repo.Add(t.Context(), pr.Ref(), hub.Add{Summary: "s", Files: []hub.File{hub.FileOf("a.safetensors", []byte("abc"))}})
			if err != nil {
				t.Fatal(err)
			}
			head = added.Head
		}
		var content bytes.Buffer
		if _, err := repo.Read(t.Context(), "refs/pr/1", "a.safetensors", &content); err != nil || content.String() != "abc" {
			t.Errorf("%q, %v", content.String(), err)
		}
		if info, err := repo.Info(t.Context(), "refs/pr/1"); err != nil || info.SHA != head {
			t.Errorf("%+v, %v; want %s", info, err, head)
		}
		seeded := 0
		for e, err := range repo.Tree(t.Context(), "main", "definitions") {
			if err != nil {
				t.Fatal(err)
			}
			if !e.Dir {
				seeded++
			}
		}
		definitions, err := filepath.Glob("testdata/dataset/definitions/*/*.json")
		if err != nil || seeded != len(definitions) {
			t.Errorf("%d definitions, want %d, %v", seeded, len(definitions), err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestHubSandbox_JSON(t *testing.T) {
	t.Parallel()
	vars, stop := sandbox(t, &hubSandboxCmd{Listen: "localhost:0", Repo: "me/rehearsal", JSON: true})
	if !strings.HasPrefix(vars["endpoint"], "http://127.0.0.1:") && !strings.HasPrefix(vars["endpoint"], "http://[::1]:") || vars["token"] == "" ||
		vars["page"] != vars["endpoint"]+"/datasets/me/rehearsal" {
		t.Errorf("printed %v", vars)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestHubSandbox_Refuses(t *testing.T) {
	t.Parallel()
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--listen", "0.0.0.0:0"}, cli.ExitUsage, "this machine alone"},
		{[]string{"--listen", "example.org:80"}, cli.ExitUsage, "this machine alone"},
		{[]string{"--listen", "8000"}, cli.ExitUsage, "HOST:PORT"},
		{[]string{"--listen", "127.0.0.1:http-foo"}, cli.ExitUsage, "from 0 to 65535"},
		{[]string{"--listen", "127.0.0.1:65536"}, cli.ExitUsage, "from 0 to 65535"},
		{[]string{"--listen", "localhost:-1"}, cli.ExitUsage, "from 0 to 65535"},
		{[]string{"--listen", "127.0.0.1:"}, cli.ExitUsage, "from 0 to 65535"},
		{[]string{"--repo", "trace"}, cli.ExitUsage, "NAMESPACE/NAME"},
		{[]string{"--repo", "a/b/c"}, cli.ExitUsage, "NAMESPACE/NAME"},
		{[]string{"--dir", occupied}, cli.ExitFailed, occupied},
		{[]string{"--seed-from", "/does/not/exist"}, cli.ExitUsage, "/does/not/exist"},
	} {
		var out, errs bytes.Buffer
		if code := run(append([]string{"hub-sandbox"}, c.args...), &out, &errs); code != c.code || !strings.Contains(errs.String(), c.want) || out.Len() > 0 {
			t.Errorf("%v: exit %d, %s%s", c.args, code, out.String(), errs.String())
		}
	}
}
