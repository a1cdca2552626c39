package sglang

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// setting is an option with its values, held against the release's table.
type setting struct {
	option  *Option
	name    string // the spelling to use
	values  []string
	origin  origin
	negated bool // --no-…
}

// origin is who wants a setting, weakest first.
type origin int

const (
	ofModel    origin = iota // the model catalogue
	ofOurs                   // what collecting needs
	ofRequires               // what the wanted APIs need
	ofUser
)

var origins = map[origin]string{ofModel: SourceModel, ofOurs: SourceOurs, ofRequires: SourceRequires, ofUser: SourceUser}

// args gives the setting for a command line. A value that looks like a flag has to be joined to its own.
func (s *setting) args() []string {
	if len(s.values) == 1 && dashed(s.values[0]) {
		return []string{s.name + "=" + s.values[0]}
	}
	return append([]string{s.name}, s.values...)
}

func (s *setting) String() string {
	return strings.Join(append([]string{s.name}, s.values...), " ")
}

// The sources that a FlagError may name.
const (
	SourceUser     = "--extra-server-flag"
	SourceRequires = "the wanted API"
	SourceModel    = "the model catalogue"
	SourceOurs     = "tracefleet"
)

// read turns elements as they were given into settings of the release, with a notice for each that the release has
// under another name. Its errors are *FlagError.
func (t *Table) read(elements []string, from origin) (list []*setting, notices []string, err error) {
	defer func() { err = from.mark(err) }()
	flags, element, problem := split(elements)
	if problem != "" {
		return nil, nil, t.refuse(fmt.Sprintf("%q", element), problem+" (from "+origins[from]+")", "")
	}
	for i := range flags {
		settings, notice, err := t.resolve(&flags[i], from)
		if err != nil {
			return nil, nil, err
		}
		if notice != "" {
			notices = append(notices, notice)
		}
		list = append(list, settings...)
	}
	return list, notices, nil
}

// mark notes in a FlagError who gave the flag.
func (from origin) mark(err error) error {
	if refused := (*FlagError)(nil); errors.As(err, &refused) {
		refused.Source = origins[from]
	}
	return err
}

func (t *Table) refuse(flag, problem, use string) *FlagError {
	return &FlagError{Flag: flag, Release: t.Release, Problem: problem, Use: use}
}

// resolve returns the settings that stand for a flag in the release: none where it is moot.
func (t *Table) resolve(g *given, from origin) ([]*setting, string, error) {
	o := t.Option(g.name)
	if g.name == dpAttention.Name() && t.Option("--attn-dp-size") != nil {
		o = dpAttention // joinDP replaces it
	}
	if o != nil && !o.Deprecated && !o.Refused {
		s, err := t.setting(o, g, from)
		if err != nil {
			return nil, "", err
		}
		return []*setting{s}, t.renameValue(s), t.checkSetting(s)
	}
	if list, notice, known, err := t.translate(g, from); known {
		return list, notice, err
	}
	switch {
	case o != nil && o.Refused:
		return nil, "", t.refuse(g.name, "is no longer supported", o.Use)
	case o != nil:
		s, err := t.setting(o, g, from)
		if err != nil {
			return nil, "", err
		}
		notice := fmt.Sprintf("%s is deprecated in SGLang %s", g.name, t.Release)
		if o.Use != "" {
			notice += ", which names " + o.Use + " in its place"
		}
		return []*setting{s}, notice, t.checkSetting(s)
	}
	full := t.completions(g.name)
	switch len(full) {
	case 0:
		return nil, "", t.refuse(g.name, t.unknown(g.name), t.instead(g.name))
	case 1:
		longer := *g
		longer.name, longer.text = full[0], full[0]+strings.TrimPrefix(g.text, g.name)
		list, notice, err := t.resolve(&longer, from)
		return list, joinNotices(fmt.Sprintf("%s is written out: %s", g.name, full[0]), notice), err
	}
	return nil, "", t.refuse(g.name, "is short for several options", strings.Join(full[:min(len(full), 6)], " or "))
}

func (t *Table) unknown(name string) string {
	if when := t.history(name); when != "" {
		return "is not an option of this release (" + when + ")"
	}
	return "is not an option of this release"
}

func joinNotices(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// setting takes the values that were given for an option.
func (t *Table) setting(o *Option, g *given, from origin) (*setting, error) {
	values, problem := g.take(o.Arity)
	if problem != "" {
		return nil, t.refuse(g.name, problem, "")
	}
	negated := o.Negatable && strings.HasPrefix(g.name, "--no-")
	return &setting{option: o, name: g.name, values: values, origin: from, negated: negated}, nil
}

func (t *Table) checkSetting(s *setting) error {
	if problem := s.option.check(s.values); problem != "" {
		return t.refuse(s.name, problem, "")
	}
	if i := slices.IndexFunc(s.values, dashed); i >= 0 && len(s.values) > 1 {
		return t.refuse(s.name, fmt.Sprintf("takes no value that looks like a flag, as %q does", s.values[i]), "")
	}
	return nil
}

// translate looks for a renaming of the flag. Known is false where there is none for it or for its value.
func (t *Table) translate(g *given, from origin) (list []*setting, notice string, known bool, err error) {
	for i := range renamings {
		r := &renamings[i]
		if r.flag != g.name {
			continue
		}
		values, problem := g.take("1")
		if problem != "" {
			return nil, "", true, t.refuse(g.name, problem, "")
		}
		if r.only != "" && !slices.Equal(values, []string{r.only}) {
			continue
		}
		for _, f := range r.forms {
			if list, ok := t.fill(f, r, g, from); ok {
				for _, s := range list {
					if err := t.checkSetting(s); err != nil {
						return nil, "", true, err
					}
				}
				return list, fmt.Sprintf("%s is, in SGLang %s, %s", g.text, t.Release, texts(list)), true, nil
			}
		}
		if r.moot != "" && t.Option(r.flag) == nil {
			return nil, fmt.Sprintf("%s is left out for SGLang %s: %s", g.text, t.Release, r.moot), true, nil
		}
	}
	return nil, "", false, nil
}

// fill makes a form's settings. Not ok: the release lacks an option of it, or calls it deprecated, or does not have its
// fixed value.
func (t *Table) fill(f form, r *renaming, g *given, from origin) (list []*setting, ok bool) {
	for _, part := range f {
		o := t.Option(part[0])
		if o == nil || o.Deprecated || o.Refused {
			return nil, false
		}
		s := &setting{option: o, name: part[0], origin: from}
		for _, v := range part[1:] {
			if v != "{}" {
				if o.check([]string{v}) != "" {
					return nil, false
				}
				s.values = append(s.values, v)
				continue
			}
			values, _ := g.take(o.Arity) // translate has looked at the quotes
			for _, v := range values {
				if renamed, isRenamed := r.values[v]; isRenamed {
					v = renamed
				}
				s.values = append(s.values, v)
			}
		}
		list = append(list, s)
	}
	return list, true
}

func texts(list []*setting) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = s.String()
	}
	return strings.Join(words, " ")
}

// renameValue renames a value that the release has under another name, and returns a notice.
func (t *Table) renameValue(s *setting) string {
	for i, v := range s.values {
		other, isRenamed := valueRenames[v]
		if isRenamed && len(s.option.Choices) > 0 && !slices.Contains(s.option.Choices, v) && slices.Contains(s.option.Choices, other) {
			s.values[i] = other
			return fmt.Sprintf("%s %s is, in SGLang %s, %s", s.name, v, t.Release, s)
		}
	}
	return ""
}

// joinDP replaces "--dp-size N --enable-dp-attention" by the one number that it is since 0.5.22: the older spelling counts the
// attention's groups with --dp-size. The old switch is deprecated there and ends on 2026-12-31.
func (t *Table) joinDP(kept []*setting) ([]*setting, []string) {
	current := t.Option("--attn-dp-size")
	at := func(field string) int {
		return slices.IndexFunc(kept, func(s *setting) bool { return s.option.Field == field })
	}
	enable := at("enable_dp_attention")
	if enable < 0 || current == nil {
		return kept, nil
	}
	size, groups := at("dp_size"), at("attn_dp_size")
	kept = slices.Clone(kept)
	switch {
	case groups >= 0:
		return slices.Delete(kept, enable, enable+1),
			[]string{fmt.Sprintf("--enable-dp-attention is left out for SGLang %s: --attn-dp-size is given", t.Release)}
	case size < 0:
		return slices.Delete(kept, enable, enable+1),
			[]string{fmt.Sprintf("--enable-dp-attention is left out for SGLang %s: without --dp-size it changes nothing", t.Release)}
	}
	joined := *kept[size]
	joined.option, joined.name = current, "--attn-dp-size"
	kept[size] = &joined
	return slices.Delete(kept, enable, enable+1), []string{fmt.Sprintf("--dp-size with --enable-dp-attention is, in SGLang %s, --attn-dp-size", t.Release)}
}

// dpAttention is the switch that joinDP replaces, for releases that no longer have it.
var dpAttention = &Option{Names: []string{"--enable-dp-attention"}, Field: "enable_dp_attention", Arity: "0"}
