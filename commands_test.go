package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

var (
	shownCommand = regexp.MustCompile("`(tracefleet [^`\n]+)`")
	verb         = regexp.MustCompile(`%[sdvq]`)
)

// typed splits a command as a shell does, with the variables of this process.
func typed(t *testing.T, command string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `tracefleet() { for a; do printf '%s\0' "$a"; done; }; `+command).CombinedOutput()
	require.NoError(t, err, "%s: %s", command, out)
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// parses requires that the command line takes the arguments.
func parses(t *testing.T, where string, args []string) {
	t.Helper()
	p, err := kong.New(&app{}, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	require.NoError(t, err)
	_, err = p.Parse(expand(args))
	require.NoError(t, err, "%s shows `tracefleet %s`", where, strings.Join(args, " "))
}

// messagesOf returns the string literals of the product's code that show a command, by their place.
func messagesOf(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	set := token.NewFileSet()
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "test" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && shownCommand.MatchString(text) {
					found[set.Position(lit.Pos()).String()] = text
				}
			}
			return true
		})
		return nil
	}))
	return found
}

// Every command in a message is one that the command line takes, with all the options in use that are repeated.
func TestShownCommands_InEveryMessage_Parse(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's a dir")
	require.NoError(t, os.Mkdir(dir, 0o755))
	p, err := kong.New(&app{})
	require.NoError(t, err)
	c := cli.NewCommands(func(command []string) map[string]bool { return flagsOf(p.Model.Node, command) })
	for _, flag := range cli.Repeated {
		c.Use(flag, dir)
	}
	messages := messagesOf(t)
	for _, role := range coordinator.Roles { // built from parts, not from a literal
		for _, engine := range []proto.EngineKind{"", proto.EngineSGLang, proto.EngineEvaluate} {
			m := coordinator.MissingRole{Role: role}
			if role == "gpuworker" {
				m.Engine = engine
			}
			messages["missing "+role+" "+string(engine)] = "`" + m.Command() + "`"
		}
	}
	count := 0
	for where, text := range messages {
		for _, command := range shownCommand.FindAllString(c.Text(verb.ReplaceAllString(text, "x1")), -1) {
			count++
			command = strings.Trim(command, "`")
			args := typed(t, command)
			parses(t, where, args)
			if args[0] == "jobs" || args[0] == "fleet" {
				require.Contains(t, args, "--nats", command)
				require.Contains(t, args, "--creds", command)
				require.Contains(t, args, "--state-dir", command)
			}
		}
	}
	require.Greater(t, count, 30, "does the test still see the messages?")
}

// typeAll runs every command that a text shows.
func typeAll(t *testing.T, text string) (ran []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, m := range shownCommand.FindAllStringSubmatch(text, -1) {
		args := typed(t, m[1])
		if seen[m[1]] || args[0] == "serve" || args[0] == "gpuworker" || args[0] == "coordinator" || args[0] == "sanitizer" || args[0] == "publisher" {
			parses(t, "output", args) // it would run until it is stopped
			continue
		}
		seen[m[1]] = true
		var out, errs bytes.Buffer
		code := run(args, &out, &errs)
		require.NotEqual(t, cli.ExitUsage, code, "%s: %s", m[1], errs.String())
		require.NotContains(t, errs.String(), "there is no collection", m[1])
		ran = append(ran, strings.Join(args[:min(2, len(args))], " "))
	}
	return ran
}

// A collection that fails shows commands, and so do those: each works as it is printed, though its directories are not the defaults.
func TestShownCommands_OfAFailedCollection_WorkAsPrinted(t *testing.T) {
	t.Parallel()
	dataset, _ := mixRig(t, true)
	state := filepath.Join(t.TempDir(), "my state")
	collect := []string{"collect", "--engine", "simulate", "--trace-dir", dataset, "--state-dir", state, "--definitions", "rmsnorm_h4096",
		"--batch-sizes", "2", "--isl", "8", "--osl", "4", "--include-pattern", "nothing.matches"}
	var out, errs bytes.Buffer
	require.Equal(t, cli.ExitFailed, run(collect, &out, &errs), errs.String())
	ran := typeAll(t, errs.String()+out.String())
	require.Contains(t, ran, "jobs retry")
	require.Contains(t, ran, "definitions resolve")

	out.Reset()
	errs.Reset()
	require.Equal(t, cli.ExitFailed, run(collect, &out, &errs), "the retry that was typed is run: %s", errs.String())
	id := regexp.MustCompile(`c-[0-9a-f]{12}`).FindString(errs.String())
	for _, args := range [][]string{
		{"jobs", "show", id, "--state-dir", state}, {"jobs", "show", id, "--state-dir", state, "--json"}, {"jobs", "logs", id, "--state-dir", state},
		{"jobs", "watch", id, "--state-dir", state}, {"jobs", "show", "c-none", "--state-dir", state}, {"fleet", "--state-dir", state},
	} {
		out.Reset()
		errs.Reset()
		run(args, &out, &errs)
		require.NotEmpty(t, shownCommand.FindString(errs.String()+out.String()), args)
		typeAll(t, strings.ReplaceAll(errs.String()+out.String(), `\"`, `"`))
	}
}

// In a fleet the broker is repeated; a URL that holds a password is read from the environment, and never printed.
func TestShownCommands_InAFleet_NameTheBrokerWithoutItsPassword(t *testing.T) {
	url := bustest.StartConfigured(t, `jetstream { store_dir: "STORE" }
accounts { APP { users: [ { user: app, password: s3cret } ], jetstream: enabled } }`)
	url = strings.Replace(url, "nats://", "nats://app:s3cret@", 1)
	var out, errs bytes.Buffer
	require.Equal(t, cli.ExitFailed, run([]string{"jobs", "show", "c-none", "--nats", url}, &out, &errs))
	require.Contains(t, errs.String(), "`tracefleet jobs list --nats \"$TRACEFLEET_NATS\"`")
	require.Contains(t, errs.String(), "set that variable")
	require.NotContains(t, errs.String(), "s3cret")

	t.Setenv("TRACEFLEET_NATS", url)
	for _, args := range [][]string{{"jobs", "show", "c-none"}, {"fleet"}, {"fleet", "--json"}} {
		out.Reset()
		errs.Reset()
		run(args, &out, &errs)
		require.NotContains(t, errs.String()+out.String(), "s3cret")
		require.NotContains(t, errs.String(), "set that variable", "it is set")
		require.Contains(t, errs.String(), `--nats "$TRACEFLEET_NATS"`)
		typeAll(t, errs.String())
	}
}
