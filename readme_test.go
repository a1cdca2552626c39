package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/tracefleet/tracefleet/coordinator"
)

// Every tracefleet command that a document shows must be one that the command line takes.
func TestDocs_CommandsParse(t *testing.T) {
	t.Parallel()
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, doc := range append(docs, "README.md") {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range shownCommands(string(text)) {
			commands++
			dir := t.TempDir()
			line = strings.NewReplacer("DATASET", dir, "DUMPS", dir, "TRACES", dir, "NAME…", "a b", "…", "").Replace(line)
			var a app
			parser, err := kong.New(&a, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(expand(strings.Fields(line))); err != nil {
				t.Errorf("%s shows `tracefleet %s`: %v", doc, line, err)
			}
			if strings.HasPrefix(line, "collect ") {
				r, err := a.Collect.request()
				if err == nil {
					err = coordinator.CheckEngine(r.Engine)
				}
				if err != nil {
					t.Errorf("%s shows `tracefleet %s`: %v", doc, line, err)
				}
			}
		}
	}
	if commands < 10 {
		t.Errorf("%d commands found: does the test still see the documents' code blocks?", commands)
	}
}

var codeBlock = regexp.MustCompile("(?ms)^```\n(.*?)^```")

// shownCommands gives the arguments of each line of a code block that runs tracefleet.
func shownCommands(text string) []string {
	var list []string
	for _, block := range codeBlock.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			line, _, _ = strings.Cut(line, "#")
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "tracefleet "); ok {
				list = append(list, rest)
			}
		}
	}
	return list
}
