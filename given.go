package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

// givenFlags are the flags of a command that the user set. The parser fills them in.
type givenFlags struct {
	list []coordinator.GivenFlag `kong:"-"`
}

// AfterApply implements kong's hook. It records which flags were set on the command line, by an environment variable or by a
// configuration; the value alone does not show this, because it may equal the default.
func (f *givenFlags) AfterApply(ctx *kong.Context) error {
	resolved := map[string]bool{} // flags in the path: whether a configuration set them
	for _, p := range ctx.Path {
		if p.Flag != nil {
			resolved[p.Flag.Name] = p.Resolved
		}
	}
	f.list = nil
	for _, flag := range ctx.Flags() {
		g := coordinator.GivenFlag{Name: flag.Name, Value: valueText(flag.Target)}
		configured, inPath := resolved[flag.Name]
		switch {
		case inPath && configured:
			g.Source = "the configuration"
		case inPath:
		default:
			if g.Source = variableOf(flag); g.Source == "" {
				continue
			}
		}
		f.list = append(f.list, g)
	}
	return nil
}

// engineHelp is a kong.PostBuild hook. It puts the engines that take a flag at the start of its help, if not all of them do.
func engineHelp(k *kong.Kong) error {
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		if n.Name == "collect" || n.Name == "resolve" { // elsewhere the same names are other flags
			for _, f := range n.Flags {
				kinds := coordinator.EnginesOf(f.Name)
				prefix := coordinator.EngineNames(kinds, ", ") + ": "
				if kinds != nil && !strings.HasPrefix(f.Help, prefix) { // flags of gpuworker too have it already
					f.Help = prefix + f.Help
				}
			}
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(k.Model.Node)
	return nil
}

// engineOf returns the engine of a command, after the check that it takes every flag that was given. It is empty where none is
// named and none is implied.
func (f *givenFlags) engineOf(named, dumpDir string, pushes bool) (proto.EngineKind, error) {
	kind := coordinator.EngineFor(proto.EngineKind(named), dumpDir)
	if kind == "" {
		return "", nil
	}
	err := coordinator.CheckEngine(kind)
	if err == nil {
		err = coordinator.CheckFlags(kind, f.list, pushes)
	} else if source := f.sourceOf("engine"); source != "" {
		err = fmt.Errorf("%s: %w", source, err)
	}
	if err != nil {
		return "", &cli.ExitError{Code: cli.ExitUsage, Err: err}
	}
	return kind, nil
}

// sourceOf returns the variable or configuration that set a flag; empty: the command line, or nothing.
func (f *givenFlags) sourceOf(name string) string {
	for _, g := range f.list {
		if g.Name == name {
			return g.Source
		}
	}
	return ""
}

// variableOf returns the environment variable that set a flag; empty: none did. An empty variable sets nothing.
func variableOf(flag *kong.Flag) string {
	for _, name := range flag.Envs {
		if value, ok := os.LookupEnv(name); ok {
			if value == "" {
				return ""
			}
			return name
		}
	}
	return ""
}

// valueText returns the value of a flag as a user writes it; empty for a switch.
func valueText(v reflect.Value) string {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Bool:
		return ""
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = fmt.Sprint(v.Index(i).Interface())
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v.Interface())
}
