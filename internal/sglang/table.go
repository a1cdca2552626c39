package sglang

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

//go:embed table.jsonl
var recorded []byte

// Table is what one release's command line, Engine and server take. It must not be changed.
type Table struct {
	Release    string            // the recorded release
	FlashInfer string            // the FlashInfer release its wheel pins
	Keywords   map[string]string // of sgl.Engine: name → type, "int", "str", "list[int]", "dict|str"; None is always taken
	Options    []*Option         // sorted by name
	names      map[string]*Option
	routes     map[string]bool
	env        map[string]bool
}

// Option gives the option with exactly that spelling, or nil.
func (t *Table) Option(name string) *Option { return t.names[name] }

// HasRoute reports whether the release's server has the path, such as /ready.
func (t *Table) HasRoute(path string) bool { return t.routes[path] }

// ReadsEnv reports whether the release reads an environment variable. Only those that this package sets were recorded.
func (t *Table) ReadsEnv(name string) bool { return t.env[name] }

// row is a line of table.jsonl: the first one has Releases, every other one exactly one of Option, Keyword, Route, Env and
// FlashInfer. test/interop/sglang_record.py documents the rest.
type row struct {
	Releases   []string
	In         []string
	Option     []string
	Keyword    string
	Route      string
	Env        string
	FlashInfer string
	Field      *string
	Arity      string
	Type       string
	Value      any
	Choices    []any
	Negatable  bool
	Required   bool
	Deprecated *string
	Refused    *string
}

// tables decodes the recording once. It is part of the program, so that an error in it is a bug that every test would find.
var tables = sync.OnceValues(func() (map[string]*Table, []string) {
	byRelease, releases, err := decode(recorded)
	if err != nil {
		panic(fmt.Sprintf("internal/sglang/table.jsonl: %v", err))
	}
	return byRelease, releases
})

func decode(data []byte) (map[string]*Table, []string, error) {
	byRelease := map[string]*Table{}
	var releases []string
	for i, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		var r row
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if i == 0 {
			releases = r.Releases
			for _, release := range releases {
				byRelease[release] = &Table{
					Release: release, Keywords: map[string]string{}, names: map[string]*Option{}, routes: map[string]bool{}, env: map[string]bool{},
				}
			}
			continue
		}
		for _, span := range r.In {
			first, last, isSpan := strings.Cut(span, "..")
			if !isSpan {
				last = first
			}
			from, to := slices.Index(releases, first), slices.Index(releases, last)
			if from < 0 || to < from {
				return nil, nil, fmt.Errorf("line %d: %q is no span of the recorded releases", i+1, span)
			}
			for _, release := range releases[from : to+1] {
				byRelease[release].add(&r)
			}
		}
	}
	for _, t := range byRelease {
		slices.SortFunc(t.Options, func(a, b *Option) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return byRelease, releases, nil
}

func (t *Table) add(r *row) {
	switch {
	case len(r.Option) > 0:
		o := r.option()
		t.Options = append(t.Options, o)
		for _, name := range o.Names {
			t.names[name] = o
		}
	case r.Keyword != "":
		t.Keywords[r.Keyword] = r.Type
	case r.Route != "":
		t.routes[r.Route] = true
	case r.Env != "":
		t.env[r.Env] = true
	default:
		t.FlashInfer = r.FlashInfer
	}
}

func (r *row) option() *Option {
	o := &Option{
		Names: r.Option, Arity: r.Arity, Type: r.Type, Value: r.Value, Negatable: r.Negatable, Required: r.Required,
		Deprecated: r.Deprecated != nil, Refused: r.Refused != nil,
		Field: strings.ReplaceAll(strings.TrimLeft(r.Option[0], "-"), "-", "_"),
	}
	if r.Field != nil {
		o.Field = *r.Field
	}
	if o.Arity == "" {
		o.Arity = "1"
	}
	if o.Type == "" {
		o.Type = "str"
	}
	for _, c := range r.Choices {
		o.Choices = append(o.Choices, fmt.Sprint(c))
	}
	if r.Deprecated != nil {
		o.Use = *r.Deprecated
	}
	if r.Refused != nil {
		o.Use = *r.Refused
	}
	return o
}

// Known lists the recorded releases, oldest first.
func Known() []string {
	_, releases := tables()
	return slices.Clone(releases)
}

// Lookup gives the table of a release: its own, or that of the newest recorded one before it. Outside the recorded range it
// gives a *ReleaseError, unless anyRelease asks for the nearest table.
func Lookup(release string, anyRelease bool) (*Table, error) {
	byRelease, releases := tables()
	first, last := releases[0], releases[len(releases)-1]
	v, err := ParseRelease(release)
	if err != nil {
		return nil, &ReleaseError{Release: fmt.Sprintf("%q", release), First: first, Last: last}
	}
	at, found := slices.BinarySearchFunc(releases, v, func(name string, v Version) int {
		known, _ := ParseRelease(name) // recorded names are checked by a test
		return known.Compare(v)
	})
	switch {
	case found:
		return byRelease[releases[at]], nil
	case at > 0 && (at < len(releases) || anyRelease):
		return byRelease[releases[at-1]], nil
	case anyRelease:
		return byRelease[first], nil
	}
	return nil, &ReleaseError{Release: release, First: first, Last: last}
}

// history says when an option that t lacks was there: "it came with 0.5.14", "0.5.19 was the last release with it", or "".
func (t *Table) history(name string) string {
	byRelease, releases := tables()
	var with []string
	for _, r := range releases {
		if byRelease[r].names[name] != nil {
			with = append(with, r)
		}
	}
	switch {
	case len(with) == 0:
		return ""
	case Compare(with[0], t.Release) > 0:
		return "it came with " + with[0]
	}
	return with[len(with)-1] + " was the last release with it"
}

// spellings lists every spelling of the release's options, sorted.
func (t *Table) spellings() []string { return slices.Sorted(maps.Keys(t.names)) }
