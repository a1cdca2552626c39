package fitrace

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenNumber
	tokenName
	tokenSymbol
)

type token struct {
	kind tokenKind
	text string
}

// parser is a recursive descent over the tokens, in Python's order of precedence.
type parser struct {
	source string
	tokens []token
	next   int
	depth  int
}

// maxDepth bounds the recursion on hostile input; real constraints nest twice.
const maxDepth = 64

var symbols = []string{"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "<", ">", "(", ")", "[", "]", ".", ","}

func (p *parser) scan() error {
	s := p.source
	for {
		s = strings.TrimLeft(s, " \t\n\r")
		if s == "" {
			p.tokens = append(p.tokens, token{kind: tokenEnd})
			return nil
		}
		var t token
		switch c := s[0]; {
		case c >= '0' && c <= '9':
			n := numberLength(s)
			t = token{tokenNumber, s[:n]}
		case letter(c):
			n := 1
			for n < len(s) && (letter(s[n]) || s[n] >= '0' && s[n] <= '9') {
				n++
			}
			t = token{tokenName, s[:n]}
		default:
			i := slices.IndexFunc(symbols, func(sym string) bool { return strings.HasPrefix(s, sym) })
			if i < 0 {
				return fmt.Errorf("unexpected %q", s[:1])
			}
			t = token{tokenSymbol, symbols[i]}
		}
		p.tokens = append(p.tokens, t)
		s = s[len(t.text):]
	}
}

// numberLength takes digits, a point and an exponent: 12, 0.5, 1e-5, 1_000.
func numberLength(s string) int {
	n := 0
	for n < len(s) {
		c := s[n]
		sign := (c == '-' || c == '+') && (s[n-1] == 'e' || s[n-1] == 'E')
		if !(c >= '0' && c <= '9' || c == '.' || c == '_' || c == 'e' || c == 'E' || sign) {
			break
		}
		n++
	}
	return n
}

func letter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func (p *parser) peek() token { return p.tokens[p.next] }

// take consumes the next token if it is one of the texts, and gives it.
func (p *parser) take(texts ...string) (string, bool) {
	t := p.peek()
	if t.kind == tokenEnd || t.kind == tokenNumber || !slices.Contains(texts, t.text) {
		return "", false
	}
	p.next++
	return t.text, true
}

func (p *parser) expect(text string) error {
	if _, ok := p.take(text); !ok {
		if p.peek().kind == tokenEnd {
			return fmt.Errorf("ends where %q is expected", text)
		}
		return fmt.Errorf("%q where %q is expected", p.peek().text, text)
	}
	return nil
}

func (p *parser) left(operand func() (node, error), ops ...string) (node, error) {
	x, err := operand()
	for err == nil {
		op, ok := p.take(ops...)
		if !ok {
			break
		}
		var y node
		if y, err = operand(); err == nil {
			x = binary{op, x, y}
		}
	}
	return x, err
}

func (p *parser) or() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	defer func() { p.depth-- }()
	return p.left(p.and, "or")
}

func (p *parser) and() (node, error) { return p.left(p.not, "and") }

func (p *parser) not() (node, error) {
	if _, ok := p.take("not"); !ok {
		return p.comparison()
	}
	if p.depth++; p.depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	defer func() { p.depth-- }()
	x, err := p.not()
	return unary{"not", x}, err
}

func (p *parser) comparison() (node, error) {
	x, err := p.sum()
	if err != nil {
		return nil, err
	}
	c := chain{operands: []node{x}}
	for {
		op, ok := p.take("==", "!=", "<=", ">=", "<", ">")
		if !ok {
			break
		}
		y, err := p.sum()
		if err != nil {
			return nil, err
		}
		c.ops, c.operands = append(c.ops, op), append(c.operands, y)
	}
	if len(c.ops) == 0 {
		return x, nil
	}
	return c, nil
}

func (p *parser) sum() (node, error)     { return p.left(p.product, "+", "-") }
func (p *parser) product() (node, error) { return p.left(p.sign, "*", "/", "//", "%") }

func (p *parser) sign() (node, error) {
	if op, ok := p.take("-", "+"); ok {
		if p.depth++; p.depth > maxDepth {
			return nil, errors.New("nested too deeply")
		}
		defer func() { p.depth-- }()
		x, err := p.sign()
		return unary{op, x}, err
	}
	x, err := p.atom()
	if err != nil {
		return nil, err
	}
	if _, ok := p.take("**"); ok { // binds tighter than a sign on its left, looser than one on its right
		if p.depth++; p.depth > maxDepth {
			return nil, errors.New("nested too deeply")
		}
		defer func() { p.depth-- }()
		y, err := p.sign()
		return binary{"**", x, y}, err
	}
	return x, nil
}

func (p *parser) atom() (node, error) {
	t := p.peek()
	p.next++
	switch {
	case t.kind == tokenNumber:
		return number(t.text)
	case t.kind == tokenSymbol && t.text == "(":
		x, err := p.or()
		if err != nil {
			return nil, err
		}
		return x, p.expect(")")
	case t.kind == tokenName:
		return p.named(t.text)
	case t.kind == tokenEnd:
		p.next--
		return nil, errors.New("ends too early")
	}
	return nil, fmt.Errorf("unexpected %q", t.text)
}

func number(text string) (node, error) {
	clean := strings.ReplaceAll(text, "_", "")
	if v, err := strconv.ParseInt(clean, 10, 64); err == nil {
		return constant(IntNumber(v)), nil
	}
	v, err := strconv.ParseFloat(clean, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number", text)
	}
	return constant(FloatNumber(v)), nil
}

// named reads what begins with a name: a constant, a function, a tensor's element or property, or the name itself.
func (p *parser) named(id string) (node, error) {
	switch id {
	case "True", "False":
		return constant(boolean(id == "True")), nil
	case "and", "or", "not", "in", "is", "if", "else", "for", "lambda", "None":
		return nil, fmt.Errorf("unexpected %q", id)
	}
	if _, ok := p.take("("); ok {
		return p.function(id)
	}
	if _, ok := p.take("["); ok {
		index, err := p.index()
		if err != nil {
			return nil, err
		}
		return element{id, index}, p.item()
	}
	if _, ok := p.take("."); ok {
		return p.property(id)
	}
	return name(id), nil
}

func (p *parser) index() (node, error) {
	index, err := p.or()
	if err != nil {
		return nil, err
	}
	return index, p.expect("]")
}

// item takes the ".item()" that turns a tensor of one element into a number.
func (p *parser) item() error {
	if _, ok := p.take("."); !ok {
		return nil
	}
	for _, want := range []string{"item", "(", ")"} {
		if err := p.expect(want); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) property(tensor string) (node, error) {
	t := p.peek()
	p.next++
	var err error
	switch t.text {
	case "ndim":
		return property{tensor: tensor, what: "ndim"}, nil
	case "shape":
		if err = p.expect("["); err != nil {
			return nil, err
		}
		index, err := p.index()
		return property{tensor, "shape", index}, err
	case "size":
		if err = p.expect("("); err != nil {
			return nil, err
		}
		index, err := p.or()
		if err != nil {
			return nil, err
		}
		return property{tensor, "size", index}, p.expect(")")
	case "item": // of a tensor of one element
		if err = p.expect("("); err == nil {
			err = p.expect(")")
		}
		return element{tensor, constant(IntNumber(0))}, err
	case "max", "min", "sum", "numel":
		if err = p.expect("("); err == nil {
			err = p.expect(")")
		}
		if err == nil {
			err = p.item()
		}
		return property{tensor: tensor, what: t.text}, err
	}
	if t.kind == tokenEnd {
		p.next--
	}
	return nil, fmt.Errorf("%s.%s is not supported", tensor, t.text)
}

func (p *parser) function(id string) (node, error) {
	if id == "len" {
		t := p.peek()
		if t.kind != tokenName {
			return nil, fmt.Errorf("len of %q", t.text)
		}
		p.next++
		return property{tensor: t.text, what: "len"}, p.expect(")")
	}
	if id != "max" && id != "min" && id != "abs" && id != "int" {
		return nil, fmt.Errorf("function %s is not supported", id)
	}
	var args []node
	for {
		x, err := p.or()
		if err != nil {
			return nil, err
		}
		args = append(args, x)
		if _, ok := p.take(","); !ok {
			break
		}
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	if many := id == "max" || id == "min"; many != (len(args) > 1) {
		return nil, fmt.Errorf("%s with %d arguments", id, len(args))
	}
	if id == "int" { // of what is an integer already; a float would need Python's truncation
		return binary{"//", args[0], constant(IntNumber(1))}, nil
	}
	return call{id, args}, nil
}
