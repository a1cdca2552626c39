package harvest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// entryPoint is what the schema calls the function of a reference.
const entryPoint = "run"

// reference is Python source with the function that a definition's inputs are given to: the last one at its top level, since
// what it depends on stands before it.
type reference struct {
	src    string
	tokens []token
	name   string  // of the function
	params []param // positional ones in order, then those by keyword only
	body   []token // what follows the colon
	extra  bool    // it has *args or **kwargs
}

// param is a parameter of the function.
type param struct {
	name       string
	optional   bool // has a default
	keywordRun bool // can only be given by name, which nobody does: run is called with the inputs in order
}

// readReference finds the function in src.
func readReference(src string) (*reference, error) {
	tokens, err := scanPython(src)
	if err != nil {
		return nil, err
	}
	r := &reference{src: src, tokens: tokens}
	if len(tokens) > 0 && tokens[0].col > 0 {
		return nil, fmt.Errorf("line %d: the first statement is indented", tokens[0].line)
	}
	def := -1
	for i, t := range tokens {
		switch {
		case !t.first:
		case t.col == 0 && t.name("def"):
			def = i
		case t.col == 0 && t.name("async") && i+1 < len(tokens) && tokens[i+1].name("def"):
			return nil, fmt.Errorf("line %d: an async function", t.line)
		}
	}
	if def < 0 {
		return nil, errors.New("has no function at its top level")
	}
	return r, r.readFunction(def)
}

// readFunction reads the function whose "def" is the token at.
func (r *reference) readFunction(at int) error {
	fault := func(what string) error { return fmt.Errorf("line %d: %s", r.tokens[at].line, what) }
	i := at + 1
	if i >= len(r.tokens) || r.tokens[i].kind != tokName {
		return fault("a def without a name")
	}
	r.name = r.tokens[i].text
	depth := r.tokens[at].depth
	i++
	if i < len(r.tokens) && r.tokens[i].op("[") { // type parameters
		for i++; i < len(r.tokens) && (r.tokens[i].depth > depth || !r.tokens[i].op("]")); i++ {
		}
		i++
	}
	if i >= len(r.tokens) || !r.tokens[i].op("(") {
		return fault("a def without parameters")
	}
	begin := i + 1
	for i = begin; i < len(r.tokens) && (r.tokens[i].depth > depth || !r.tokens[i].op(")")); i++ {
	}
	if i >= len(r.tokens) {
		return fault("a def whose parameters do not end")
	}
	if err := r.readParams(r.tokens[begin:i], depth+1); err != nil {
		return fault(err.Error())
	}
	for i++; i < len(r.tokens) && !r.tokens[i].op(":"); i++ { // a return annotation may be before it
		if r.tokens[i].kind == tokEnd {
			return fault("a def without a colon")
		}
	}
	if i >= len(r.tokens) {
		return fault("a def without a colon")
	}
	begin = i + 1
	for i = begin; i < len(r.tokens) && (!r.tokens[i].first || r.tokens[i].col > 0); i++ {
	}
	r.body = r.tokens[begin:i]
	if !slices.ContainsFunc(r.body, func(t token) bool { return t.kind != tokEnd }) {
		return fault("a def without a body")
	}
	return nil
}

// readParams takes the parameter list, whose own tokens have that depth.
func (r *reference) readParams(tokens []token, depth int) error {
	keyword := false
	var list, named []param
	for _, part := range split(tokens, depth, ",") {
		switch {
		case len(part) == 0: // after the last comma
		case part[0].op("/") && len(part) == 1:
		case part[0].op("*") && len(part) == 1:
			keyword = true
		case part[0].op("*"):
			keyword, r.extra = true, true
		case part[0].kind != tokName:
			return fmt.Errorf("a parameter that starts with %q", part[0].text)
		default:
			p := param{name: part[0].text, keywordRun: keyword}
			p.optional = slices.ContainsFunc(part, func(t token) bool { return t.depth == depth && t.op("=") })
			if keyword {
				named = append(named, p)
			} else {
				list = append(list, p)
			}
		}
	}
	r.params = append(list, named...)
	return nil
}

// split cuts tokens at each separator of that depth. There is always at least one part.
func split(tokens []token, depth int, separator string) [][]token {
	var parts [][]token
	start := 0
	for i, t := range tokens {
		if t.depth == depth && t.op(separator) {
			parts = append(parts, tokens[start:i])
			start = i + 1
		}
	}
	return append(parts, tokens[start:])
}

// rename calls the function run, everywhere it is named. Whatever else stands around it, decorators, imports, other functions
// and comments, stays as it is. It refuses where run means something else already.
func (r *reference) rename() ([]edit, error) {
	if r.name == entryPoint {
		return nil, nil
	}
	var edits []edit
	for i, t := range r.tokens {
		if t.kind != tokName || t.text != r.name && t.text != entryPoint || r.attribute(i) || r.keyword(i) {
			continue
		}
		if t.text == entryPoint {
			return nil, fmt.Errorf("line %d: %s means something else already, and the function %s cannot be called so", t.line, entryPoint, r.name)
		}
		edits = append(edits, edit{t.pos, len(t.text), entryPoint})
	}
	return edits, nil
}

// attribute reports whether the name at i is one of another object, as in torch.run.
func (r *reference) attribute(i int) bool { return i > 0 && r.tokens[i-1].op(".") }

// keyword reports whether the name at i is that of an argument in a call, as in f(run=1).
func (r *reference) keyword(i int) bool {
	return i > 0 && i+1 < len(r.tokens) && r.tokens[i].depth > 0 && r.tokens[i+1].op("=") && !r.equality(i+1) &&
		(r.tokens[i-1].op("(") || r.tokens[i-1].op(","))
}

// equality reports whether the "=" at i is the first of "==".
func (r *reference) equality(i int) bool {
	return i+1 < len(r.tokens) && r.tokens[i+1].op("=") && r.tokens[i+1].pos == r.tokens[i].pos+1
}

// edit replaces size bytes at pos.
type edit struct {
	pos, size int
	text      string
}

func apply(src string, edits []edit) string {
	slices.SortFunc(edits, func(a, b edit) int { return a.pos - b.pos })
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(src[at:e.pos])
		b.WriteString(e.text)
		at = e.pos + e.size
	}
	b.WriteString(src[at:])
	return b.String()
}
