package fitrace

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// parser is a recursive descent over the tokens, in Python's order of precedence.
type parser struct {
	source string
	tokens []token
	next   int
	depth  int
}

// maxDepth bounds the recursion on hostile input; real constraints nest twice.
const maxDepth = 64

func (p *parser) peek() token { return p.tokens[p.next] }

// take consumes the next token if it is one of the texts, and returns it.
func (p *parser) take(texts ...string) (string, bool) {
	t := p.peek()
	if t.kind == tokenEnd || t.kind == tokenNumber || t.kind == tokenText || !slices.Contains(texts, t.text) {
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
	if _, ok := p.take("is"); ok {
		return p.none(x)
	}
	c := chain{operands: []node{x}}
	for {
		op, ok := p.take("==", "!=", "<=", ">=", "<", ">", "in", "not")
		if !ok {
			break
		}
		if op == "not" {
			if err := p.expect("in"); err != nil {
				return nil, err
			}
			op = "not in"
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

// none reads what follows "x is": None, or not None.
func (p *parser) none(x node) (node, error) {
	input, ok := x.(name)
	if !ok {
		return nil, errors.New("the left side of is must be a name")
	}
	_, not := p.take("not")
	return isNone{string(input), not}, p.expect("None")
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
	case t.kind == tokenText:
		return constant(value{kind: kindText, text: t.text}), nil
	case t.kind == tokenSymbol && (t.text == "(" || t.text == "["):
		return p.bracket(t.text)
	case t.kind == tokenName:
		return p.named(t.text)
	case t.kind == tokenEnd:
		p.next--
		return nil, errors.New("ends too early")
	}
	return nil, fmt.Errorf("unexpected %q", t.text)
}

// bracket reads what follows an opening bracket: an expression in parentheses, a tuple or a list.
func (p *parser) bracket(opening string) (node, error) {
	closing := map[string]string{"(": ")", "[": "]"}[opening]
	tuple := literal{}
	for {
		if _, ok := p.take(closing); ok {
			return tuple, nil // empty, or with a comma at its end
		}
		x, err := p.or()
		if err != nil {
			return nil, err
		}
		if _, ok := p.take(","); ok {
			tuple = append(tuple, x)
			continue
		}
		if opening == "[" || len(tuple) > 0 {
			return append(tuple, x), p.expect(closing)
		}
		return x, p.expect(closing)
	}
}

func number(text string) (node, error) {
	clean := strings.ReplaceAll(text, "_", "")
	if v, err := strconv.ParseInt(clean, 10, 64); err == nil {
		return constant(integer(v)), nil
	}
	v, err := strconv.ParseFloat(clean, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number", text)
	}
	return constant(numeric(FloatNumber(v))), nil
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
		return p.element(id)
	}
	if _, ok := p.take("."); ok {
		return p.property(id)
	}
	return name(id), nil
}

// element reads what follows "tensor[": an index, or a slice.
func (p *parser) element(tensor string) (node, error) {
	var from, to node
	var err error
	if _, ok := p.take(":"); !ok {
		if from, err = p.or(); err != nil {
			return nil, err
		}
		if _, ok := p.take("]"); ok {
			return element{tensor, from}, p.item()
		}
		if err := p.expect(":"); err != nil {
			return nil, err
		}
	}
	if _, ok := p.take("]"); !ok {
		if to, err = p.or(); err != nil {
			return nil, err
		}
		if err := p.expect("]"); err != nil {
			return nil, err
		}
	}
	return slice{tensor, from, to}, nil
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
	case "ndim", "dtype":
		return property{tensor: tensor, what: t.text}, nil
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
		return element{tensor, constant(integer(0))}, err
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
	if many := id == "max" || id == "min"; !many && len(args) > 1 {
		return nil, fmt.Errorf("%s with %d arguments", id, len(args))
	}
	if id == "int" { // of what is an integer already; a float would need Python's truncation
		return binary{"//", args[0], constant(integer(1))}, nil
	}
	return call{id, args}, nil
}
