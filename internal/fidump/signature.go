package fidump

import "strings"

// Signature is a parsed str(inspect.signature(f)), as a record has it of the function that was called.
type Signature struct {
	Positional []Param // self included
	Named      []Param // keyword only
	VarArgs    bool    // *args takes further positions
}

// Param is one parameter of a signature.
type Param struct {
	Name       string
	Default    string // source text, where HasDefault
	HasDefault bool
}

// Find gives the parameter of that name.
func (s *Signature) Find(name string) (Param, bool) {
	for _, list := range [][]Param{s.Positional, s.Named} {
		for _, p := range list {
			if p.Name == name {
				return p, true
			}
		}
	}
	return Param{}, false
}

// ParseSignature reads a signature. What it cannot read it leaves out: arguments then have no names.
func ParseSignature(text string) *Signature {
	s := &Signature{}
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
			s.VarArgs, keywordOnly = true, true
		case keywordOnly:
			s.Named = append(s.Named, parseParam(part))
		default:
			s.Positional = append(s.Positional, parseParam(part))
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
func parseParam(text string) Param {
	end := strings.IndexAny(text, ":= ")
	if end < 0 {
		return Param{Name: text}
	}
	p := Param{Name: text[:end]}
	depth := 0
	for i := end; i < len(text); i++ {
		switch text[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case '=':
			if depth == 0 {
				p.Default, p.HasDefault = strings.TrimSpace(text[i+1:]), true
				return p
			}
		}
	}
	return p
}
