package sglang

import (
	"regexp"
	"slices"
	"strings"
)

// given is a flag as it was given: its name, and values that may still be in one string, since only the option knows whether
// it takes one or several.
type given struct {
	name   string   // with its dashes
	values []string // each an argument of its own
	inline string   // what followed the name in the same element, after a blank; "" where nothing did
	text   string   // as it was given, for messages
}

// split reads elements that are each "--flag", "--flag=value", "--flag value …" or a value of the flag before. A problem
// comes back in words, with the element that has it.
func split(elements []string) (flags []given, element, problem string) {
	for _, e := range elements {
		trimmed := strings.TrimSpace(e)
		switch {
		case trimmed == "" && e == "" && len(flags) > 0: // an argument may be empty: --default ''
			last := &flags[len(flags)-1]
			last.values = append(last.values, e)
		case trimmed == "":
			return nil, e, "is empty"
		case !dashed(trimmed):
			if len(flags) == 0 {
				return nil, e, "is a value without a flag before it"
			}
			last := &flags[len(flags)-1]
			last.values = append(last.values, e)
		default:
			flags = append(flags, splitOne(trimmed))
		}
	}
	return flags, "", ""
}

func splitOne(e string) given {
	end := strings.IndexAny(e, "= \t\n")
	if end < 0 {
		return given{name: e, text: e}
	}
	g := given{name: e[:end], text: e}
	if e[end] == '=' {
		g.values = []string{e[end+1:]}
	} else {
		g.inline = strings.TrimSpace(e[end:])
	}
	return g
}

// negative is what argparse takes for a number rather than a flag.
var negative = regexp.MustCompile(`^-(\d+|\d*\.\d+)$`)

// dashed reports whether an argument is a flag to argparse.
func dashed(s string) bool { return len(s) > 1 && s[0] == '-' && !negative.MatchString(s) }

// take gives the values for an option. For one value everything inline is the value, with one pair of quotes around it taken
// off; else the inline text is cut at blanks outside of quotes. A second flag inline is a problem, in words.
func (g *given) take(arity string) (values []string, problem string) {
	if g.inline == "" {
		return g.values, ""
	}
	words, ok := words(g.inline)
	second := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "--") })
	whole := g.inline[0] == '{' || g.inline[0] == '[' // JSON may hold anything
	switch {
	case !ok && !whole:
		return nil, "has a quote that is not closed"
	case second >= 0 && !whole:
		return nil, "is followed by " + words[second] + " in one argument; give each flag its own"
	case arity == "1" || arity == "?":
		values = []string{unquote(g.inline)}
	default:
		values = words
	}
	return append(values, g.values...), ""
}

// words cuts at blanks, except inside single or double quotes, and takes the quotes off. Not ok: a quote is not closed.
func words(s string) (list []string, ok bool) {
	var word strings.Builder
	var quote rune
	begun := false
	for _, r := range s {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if begun {
				list = append(list, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		list = append(list, word.String())
	}
	return list, quote == 0
}

func unquote(s string) string {
	if n := len(s); n > 1 && (s[0] == '\'' || s[0] == '"') && s[n-1] == s[0] && !strings.ContainsRune(s[1:n-1], rune(s[0])) {
		return s[1 : n-1]
	}
	return s
}
