package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/alecthomas/kong"

	"github.com/tracefleet/tracefleet/internal/cli"
)

// newCommands returns Commands that complete the commands in messages with the options of this command line, whether set by flag,
// variable or configuration.
func newCommands(parser *kong.Kong, parsed *kong.Context, stderr io.Writer) *cli.Commands {
	c := cli.NewCommands(func(command []string) map[string]bool { return flagsOf(parser.Model.Node, command) })
	for _, flag := range parsed.Flags() {
		if !slices.Contains(cli.Repeated, flag.Name) {
			continue
		}
		if value, ok := parsed.FlagValue(flag).(string); ok && value != flag.Default {
			c.Use(flag.Name, value)
			if flag.Name == "nats" && os.Getenv(cli.SecretURL) != value {
				c.Note(func() {
					fmt.Fprintf(stderr, "note: the commands shown read the --nats URL from %s, because it holds a secret: set that variable to it\n", cli.SecretURL)
				})
			}
		}
	}
	return c
}

// flagsOf returns the flags of the subcommand that words name; the value is true if the flag is required. Words that name no subcommand
// are arguments.
func flagsOf(node *kong.Node, words []string) map[string]bool {
	for _, word := range words {
		i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
		if i < 0 {
			break
		}
		node = node.Children[i]
	}
	if node.DefaultCmd != nil {
		node = node.DefaultCmd
	}
	flags := map[string]bool{}
	for _, group := range node.AllFlags(false) {
		for _, f := range group {
			flags[f.Name] = f.Required
		}
	}
	return flags
}

// printsJSON reports whether the command was given --json.
func printsJSON(parsed *kong.Context) bool {
	for _, flag := range parsed.Flags() {
		if flag.Name == "json" {
			on, _ := parsed.FlagValue(flag).(bool)
			return on
		}
	}
	return false
}

// completed is an error whose text shows commands as they are to be typed.
type completed struct {
	error
	text string
}

// Error returns the completed text.
func (e *completed) Error() string { return e.text }

// Unwrap returns the error as it was.
func (e *completed) Unwrap() error { return e.error }

// shownError completes the commands in the text of an error.
func shownError(commands *cli.Commands, err error) error {
	if err == nil || silent(err) {
		return err
	}
	return &completed{err, commands.Text(err.Error())}
}
