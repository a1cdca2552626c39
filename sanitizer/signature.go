package sanitizer

import "strings"

// signature is a parsed str(inspect.signature(f)).
type signature struct {
	positional []param // self included
	named      []param // keyword only
	varArgs    bool    // *args takes further positions
}

type param struct {
	name       string
	deflt      string // source text of the default
	hasDefault bool
}

// find gives the parameter of that name.
func (s *signature) find(name string) (param, bool) {
	for _, list := range [][]param{s.positional, s.named} {
		for _, p := range list {
			if p.name == name {
				return p, true
			}
		}
	}
	return param{}, false
}

// parseSignature reads a signature. What it cannot read it leaves out: arguments then have no names, and binding says so.
func parseSignature(text string) *signature {
	s := &signature{}
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "(") {
		return s
	}
	keywordOnly := false
	for _, part := range splitParams(text[1:]) {
		switch {
		case part == "/":
		case part == "*":
			keywordOnly = true
		case strings.HasPrefix(part, "**"):
		case strings.HasPrefix(part, "*"):
			s.varArgs, keywordOnly = true, true
		case keywordOnly:
			s.named = append(s.named, parseParam(part))
		default:
			s.positional = append(s.positional, parseParam(part))
		}
	}
	return s
}

// splitParams cuts at the commas outside of brackets and quotes, up to the closing parenthesis. Defaults may be reprs such as
// <Fp8QuantizationType.DeepSeekFp8: 1>, so angle brackets nest too.
func splitParams(text string) []string {
	var (
		parts []string
		depth int
		start int
		quote byte
	)
	add := func(end int) {
		if part := strings.TrimSpace(text[start:end]); part != "" {
			parts = append(parts, part)
		}
		start = end + 1
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '(' || c == '[' || c == '{' || c == '<':
			depth++
		case c == ')' && depth == 0:
			add(i)
			return parts
		case c == ')' || c == ']' || c == '}' || c == '>':
			depth--
		case c == ',' && depth == 0:
			add(i)
		}
	}
	add(len(text))
	return parts
}

// parseParam reads "name: annotation = default"; the annotation may hold an equals sign only inside brackets.
func parseParam(text string) param {
	end := strings.IndexAny(text, ":= ")
	if end < 0 {
		return param{name: text}
	}
	p := param{name: text[:end]}
	depth := 0
	for i := end; i < len(text); i++ {
		switch text[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case '=':
			if depth == 0 {
				p.deflt, p.hasDefault = strings.TrimSpace(text[i+1:]), true
				return p
			}
		}
	}
	return p
}
