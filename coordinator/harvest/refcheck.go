package harvest

import (
	"slices"
	"strconv"
	"strings"
)

// returns gives how many values each return statement of the function gives, where its text tells: -1 where it does not, as
// for a call or a variable, which may be a tuple.
func (r *reference) returns() []int {
	var counts []int
	r.eachReturn(func(list []token, depth int) { counts = append(counts, values(list, depth)) })
	return counts
}

// eachReturn calls fn with what follows each return of the function itself, not of those defined inside of it.
func (r *reference) eachReturn(fn func(values []token, depth int)) {
	var nested []int // columns of the defs and classes around
	for i, t := range r.body {
		if t.first {
			for len(nested) > 0 && t.col <= nested[len(nested)-1] {
				nested = nested[:len(nested)-1]
			}
			if t.name("def") || t.name("class") || t.name("async") && i+1 < len(r.body) && r.body[i+1].name("def") {
				nested = append(nested, t.col)
			}
		}
		if !t.name("return") || len(nested) > 0 {
			continue
		}
		end := i + 1
		for end < len(r.body) && r.body[end].kind != tokEnd && (r.body[end].depth > t.depth || !r.body[end].op(";")) {
			end++
		}
		fn(r.body[i+1:end], t.depth)
	}
}

// values counts the values of an expression list.
func values(tokens []token, depth int) int {
	for len(tokens) > 1 && tokens[0].op("(") && tokens[len(tokens)-1].op(")") &&
		!slices.ContainsFunc(tokens[1:len(tokens)-1], func(t token) bool { return t.depth <= depth }) {
		if inner := tokens[1 : len(tokens)-1]; len(inner) == 0 || values(inner, depth+1) < 0 {
			return -1
		}
		tokens, depth = tokens[1:len(tokens)-1], depth+1
	}
	if len(tokens) == 0 {
		return 0
	}
	hidden := func(t token) bool { return t.depth == depth && (t.name("lambda") || t.name("yield")) }
	if slices.ContainsFunc(tokens, hidden) {
		return -1
	}
	n := 0
	parts := split(tokens, depth, ",")
	for _, part := range parts {
		if len(part) > 0 && part[0].op("*") {
			return -1
		}
		if len(part) > 0 {
			n++
		}
	}
	if len(parts) == 1 {
		return -1
	}
	return n
}

// builtins are the names that a reference may call without defining them.
var builtins = strings.Fields(`abs all any bool bytes callable chr complex dict dir divmod enumerate filter float format frozenset
getattr hasattr hash hex id int isinstance issubclass iter len list map max memoryview min next object oct ord pow print range
repr reversed round set setattr slice sorted staticmethod str sum super tuple type vars zip AssertionError AttributeError
Exception ImportError IndexError KeyError NotImplementedError OSError RuntimeError StopIteration TypeError ValueError`)

// keywords may stand before a bracket that is no call.
var keywords = strings.Fields(`and as assert async await break case class continue def del elif else except finally for from
global if import in is lambda match nonlocal not or pass raise return try while with yield True False None print exec type _`)

// undefined gives the names that are called, or whose attributes are taken, and which nothing defines, assigns, imports or takes
// as a parameter: helpers and modules that the tracer did not write along. Sorted.
func (r *reference) undefined() []string {
	used, bound := map[string]bool{}, map[string]bool{}
	imports := false
	for i, t := range r.tokens {
		if t.first {
			imports = t.name("import") || t.name("from")
		}
		if t.kind != tokName || r.attribute(i) && !imports || r.keyword(i) {
			continue
		}
		use := i+1 < len(r.tokens) && (r.tokens[i+1].op("(") || r.tokens[i+1].op("."))
		defines := imports || i > 0 && (r.tokens[i-1].name("def") || r.tokens[i-1].name("class"))
		if use && !defines {
			used[t.text] = true
		} else {
			bound[t.text] = true
		}
	}
	var missing []string
	for name := range used {
		if !bound[name] && !slices.Contains(builtins, name) && !slices.Contains(keywords, name) {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

// modules are what the tracer's references may use without importing it, since its older releases wrote no imports along.
var modules = map[string]string{"torch": "import torch", "math": "import math", "F": "import torch.nn.functional as F"}

// importing gives the edit that imports modules, where all of the missing names are modules.
func (r *reference) importing(missing []string) (edit, bool) {
	var lines strings.Builder
	for _, name := range missing {
		if modules[name] == "" {
			return edit{}, false
		}
		lines.WriteString(modules[name] + "\n")
	}
	at := 0
	for i, t := range r.tokens { // imports from the future must stay first
		if t.first && t.name("from") && i+1 < len(r.tokens) && r.tokens[i+1].name("__future__") {
			for at = t.pos; at < len(r.src) && r.src[at] != '\n'; at++ {
			}
			at = min(at+1, len(r.src))
		}
	}
	return edit{at, 0, lines.String()}, true
}

// cast is a type that a return statement gives one of its values: return y.to(torch.float8_e4m3fn).
type cast struct {
	value int // which one
	dtype string
	line  int
}

// casts gives the types that the function's return statements name.
func (r *reference) casts() []cast {
	var list []cast
	r.eachReturn(func(values []token, depth int) {
		for n, part := range split(values, depth, ",") {
			k := len(part) - 7
			if k < 0 || !part[k].op(".") || !part[k+1].name("to") || !part[k+2].op("(") || !part[k+3].name("torch") || !part[k+4].op(".") || !part[k+6].op(")") {
				continue
			}
			list = append(list, cast{n, part[k+5].text, part[k+5].line})
		}
	})
	return list
}

// epsilon gives the token of the number that the reference fixes its epsilon at: the one assignment EPS = 1e-6 in its function, else
// the one outside.
func (r *reference) epsilon() (token, bool) {
	for _, tokens := range [][]token{r.body, r.tokens} {
		var found []token
		for i, t := range tokens {
			named := t.first && t.kind == tokName && (strings.EqualFold(t.text, "eps") || strings.EqualFold(t.text, "epsilon"))
			if named && i+3 < len(tokens) && tokens[i+1].op("=") && tokens[i+2].kind == tokNumber && tokens[i+3].kind == tokEnd {
				found = append(found, tokens[i+2])
			}
		}
		if len(found) > 0 {
			return found[0], len(found) == 1
		}
	}
	return token{}, false
}

// asserted gives the edits that bring `assert axis == old` in line with a constant that was corrected.
func (r *reference) asserted(axis string, old, now int64) []edit {
	var edits []edit
	for i, t := range r.tokens {
		if t.name("assert") && i+5 < len(r.tokens) && r.tokens[i+1].name(axis) && r.tokens[i+2].op("=") && r.equality(i+2) &&
			r.tokens[i+4].is(tokNumber, strconv.FormatInt(old, 10)) && (r.tokens[i+5].kind == tokEnd || r.tokens[i+5].op(",")) {
			edits = append(edits, edit{r.tokens[i+4].pos, len(r.tokens[i+4].text), strconv.FormatInt(now, 10)})
		}
	}
	return edits
}
