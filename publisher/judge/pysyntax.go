package judge

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// checkPython says why source is no Python, as far as strings, brackets and indentation tell, or that it has no top-level function of
// the name; an empty name asks for none.
func checkPython(source, function string) error {
	if strings.Contains(source, "\x00") {
		return errors.New("has a null byte")
	}
	tokens, err := lex(source)
	if err != nil {
		return err
	}
	levels, last := []int{0}, token{kind: newline}
	found := function == ""
	wants := false // a block
	for i, t := range tokens {
		if t.kind == newline {
			wants = last.is(":")
			continue
		}
		if t.column >= 0 {
			if levels, err = indent(levels, t, wants); err != nil {
				return err
			}
			wants = false
			found = found || t.column == 0 && t.text == "def" && i+1 < len(tokens) && tokens[i+1].text == function
		}
		last = t
	}
	if wants || last.is(":") {
		return fmt.Errorf("line %d: an indented block should follow", last.line)
	}
	if !found {
		return fmt.Errorf("has no top-level function %s", function)
	}
	return nil
}

func (t token) is(text string) bool { return t.kind == op && t.text == text }

// indent follows the indentation to the line that t begins: it grows after a colon and nowhere else, and falls to where it was before.
func indent(levels []int, t token, wants bool) ([]int, error) {
	switch top := levels[len(levels)-1]; {
	case wants && t.column <= top:
		return nil, fmt.Errorf("line %d: an indented block should begin here", t.line)
	case wants:
		return append(levels, t.column), nil
	case t.column > top:
		return nil, fmt.Errorf("line %d: is indented, and nothing before asks for it", t.line)
	}
	i := slices.Index(levels, t.column)
	if i < 0 {
		return nil, fmt.Errorf("line %d: is indented like no line before", t.line)
	}
	return levels[:i+1], nil
}

// Words of Python that are operators in an expression, and those that cannot be in one outside of brackets.
var (
	infix    = []string{"and", "or", "in", "is", "if", "else"}
	prefix   = []string{"not", "await"}
	reserved = []string{
		"as", "assert", "async", "break", "class", "continue", "def", "del", "elif", "except", "finally", "for", "from", "global", "import",
		"nonlocal", "pass", "raise", "return", "try", "while", "with", "yield",
	}
	between = []string{
		"+", "-", "*", "/", "//", "%", "**", "@", "&", "|", "^", "<<", ">>", "<", ">", "<=", ">=", "==", "!=", ".", ",",
	}
)

// checkExpression says why source is no Python expression. It looks at how operands and operators alternate outside of brackets, not
// inside of them; lambda and what follows it passes.
func checkExpression(source string) error {
	if strings.HasPrefix(source, " ") || strings.HasPrefix(source, "\t") {
		return errors.New("begins with white space")
	}
	tokens, err := lex(source)
	if err != nil {
		return err
	}
	e := expression{}
	for i, t := range tokens {
		if t.kind == newline {
			if slices.ContainsFunc(tokens[i:], func(t token) bool { return t.kind != newline }) {
				return errors.New("goes on after the end of its line")
			}
			break
		}
		if t.text == "lambda" && t.kind == word {
			return nil
		}
		if !e.take(t) {
			return fmt.Errorf("%s is where it cannot be", named(t))
		}
	}
	if !e.operand && !e.last.is(",") {
		return errors.New("ends where an operand should be")
	}
	if e.ifs != 0 {
		return errors.New("has an if without its else")
	}
	return nil
}

func named(t token) string {
	if t.kind == str {
		return "a string"
	}
	return t.text
}

// expression is how far checkExpression has come.
type expression struct {
	operand bool // the last token ended an operand
	last    token
	depth   int
	ifs     int // without their else
}

// take reports whether the token may follow.
func (e *expression) take(t token) bool {
	last := e.last
	e.last = t
	switch {
	case t.kind == closes:
		e.depth--
		e.operand = e.depth == 0 || e.operand
		return true
	case e.depth > 0 || t.kind == opens: // what opens is an operand of its own, a call or an index
		if t.kind == opens {
			e.depth++
		}
		return true
	case t.kind == str:
		ok := !e.operand || last.kind == str // strings beside each other are one
		e.operand = true
		return ok
	case t.kind == word && slices.Contains(reserved, t.text):
		return false
	case t.kind == word && slices.Contains(prefix, t.text):
		// "a not in b" and "a is not b" are no prefixes.
		ok := !e.operand || t.text == "not"
		e.operand = e.operand && t.text == "not"
		return ok
	case t.kind == word && slices.Contains(infix, t.text):
		switch t.text {
		case "if":
			e.ifs++
		case "else":
			e.ifs--
		}
		ok := e.operand && e.ifs >= 0 && (last.text != "not" || t.text == "in")
		e.operand = false
		return ok
	case t.kind == word, t.is("..."):
		ok := !e.operand
		e.operand = true
		return ok
	case !e.operand: // signs, and the star of a tuple
		return t.is("+") || t.is("-") || t.is("~") || t.is("*")
	}
	e.operand = false
	return slices.Contains(between, t.text)
}
