package fitrace

import (
	"errors"
	"fmt"
	"math"
)

// Expr is a constraint of a definition, such as "num_kv_indices == kv_indptr[-1].item()". It understands this much of Python:
// integers, floats, True and False; names of axes and scalar inputs; + - * / // % ** with Python's floor rules; comparisons,
// chained too; and, or, not; parentheses; max, min, abs and len; t[i] and t[i].item() of a one-dimensional integer tensor, its
// .max(), .min() and .sum(); t.shape[i], t.size(i), t.numel() and t.ndim of any input tensor.
type Expr struct {
	source string
	root   node
}

// Env answers for the names in an expression.
type Env interface {
	// Number gives the value of an axis or scalar input.
	Number(name string) (Number, bool)
	// Shape gives the shape of an input tensor.
	Shape(tensor string) ([]int64, bool)
	// Ints gives the elements of a one-dimensional integer tensor, or why it cannot.
	Ints(tensor string) ([]int64, error)
}

// Number is a Python int or float.
type Number struct {
	Float   bool
	Int     int64
	Decimal float64
}

// ErrNotUnderstood is in the chain of every error for an expression this package cannot evaluate. A caller must not take the
// constraint for held.
var ErrNotUnderstood = errors.New("constraint not understood")

// ParseExpr reads an expression.
func ParseExpr(source string) (*Expr, error) {
	p := parser{source: source}
	if err := p.scan(); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrNotUnderstood, source, err)
	}
	root, err := p.or()
	if err == nil && p.peek().kind != tokenEnd {
		err = fmt.Errorf("unexpected %q", p.peek().text)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrNotUnderstood, source, err)
	}
	return &Expr{source: source, root: root}, nil
}

// String gives the source.
func (e *Expr) String() string { return e.source }

// Holds evaluates the expression as a condition.
func (e *Expr) Holds(env Env) (bool, error) {
	v, err := e.root.eval(env)
	if err != nil {
		return false, fmt.Errorf("%w: %q: %w", ErrNotUnderstood, e.source, err)
	}
	return v.truth(), nil
}

func (n Number) truth() bool { return n.Int != 0 || n.Float && n.Decimal != 0 }

func (n Number) decimal() float64 {
	if n.Float {
		return n.Decimal
	}
	return float64(n.Int)
}

// IntNumber and FloatNumber make numbers.
func IntNumber(v int64) Number { return Number{Int: v} }

// FloatNumber makes a Python float.
func FloatNumber(v float64) Number { return Number{Float: true, Decimal: v} }

func boolean(b bool) Number {
	if b {
		return IntNumber(1)
	}
	return IntNumber(0)
}

// node is a part of a parsed expression.
type node interface {
	eval(env Env) (Number, error)
}

type (
	constant Number
	name     string
	unary    struct {
		op string
		x  node
	}
	binary struct {
		op   string
		x, y node
	}
	// chain is a comparison: x0 op0 x1 op1 x2 …, each operand evaluated in turn.
	chain struct {
		operands []node
		ops      []string
	}
	call struct {
		function string
		args     []node
	}
	// element is tensor[index].
	element struct {
		tensor string
		index  node
	}
	// property is something of a whole tensor: shape[index], size(index), len, numel, ndim, max, min, sum.
	property struct {
		tensor, what string
		index        node
	}
)

func (c constant) eval(Env) (Number, error) { return Number(c), nil }

func (n name) eval(env Env) (Number, error) {
	if v, ok := env.Number(string(n)); ok {
		return v, nil
	}
	return Number{}, fmt.Errorf("%s is neither an axis nor a scalar input", string(n))
}

func (u unary) eval(env Env) (Number, error) {
	v, err := u.x.eval(env)
	switch {
	case err != nil:
		return v, err
	case u.op == "not":
		return boolean(!v.truth()), nil
	case u.op == "-" && v.Float:
		return FloatNumber(-v.Decimal), nil
	case u.op == "-":
		return IntNumber(-v.Int), nil
	}
	return v, nil
}

func (b binary) eval(env Env) (Number, error) {
	x, err := b.x.eval(env)
	if err != nil {
		return x, err
	}
	// Python's and and or leave the right side alone when the left one decides.
	if b.op == "and" && !x.truth() || b.op == "or" && x.truth() {
		return x, nil
	}
	y, err := b.y.eval(env)
	if err != nil || b.op == "and" || b.op == "or" {
		return y, err
	}
	if x.Float || y.Float || b.op == "/" {
		return floatOp(b.op, x.decimal(), y.decimal())
	}
	return intOp(b.op, x.Int, y.Int)
}

func intOp(op string, x, y int64) (Number, error) {
	switch op {
	case "+":
		return IntNumber(x + y), nil
	case "-":
		return IntNumber(x - y), nil
	case "*":
		return IntNumber(x * y), nil
	case "//", "%":
		if y == 0 {
			return Number{}, errors.New("division by zero")
		}
		quotient, remainder := x/y, x%y
		if remainder != 0 && (remainder < 0) != (y < 0) { // Go truncates, Python floors
			quotient--
			remainder += y
		}
		if op == "//" {
			return IntNumber(quotient), nil
		}
		return IntNumber(remainder), nil
	}
	return floatPower(float64(x), float64(y), y >= 0)
}

func floatOp(op string, x, y float64) (Number, error) {
	switch op {
	case "+":
		return FloatNumber(x + y), nil
	case "-":
		return FloatNumber(x - y), nil
	case "*":
		return FloatNumber(x * y), nil
	case "**":
		return floatPower(x, y, false)
	}
	if y == 0 {
		return Number{}, errors.New("division by zero")
	}
	switch op {
	case "/":
		return FloatNumber(x / y), nil
	case "//":
		return FloatNumber(math.Floor(x / y)), nil
	}
	return FloatNumber(x - y*math.Floor(x/y)), nil
}

func floatPower(x, y float64, integer bool) (Number, error) {
	v := math.Pow(x, y)
	if math.IsNaN(v) || math.IsInf(v, 0) || integer && math.Abs(v) > 1<<53 {
		return Number{}, fmt.Errorf("%v ** %v is out of range", x, y)
	}
	if integer {
		return IntNumber(int64(v)), nil
	}
	return FloatNumber(v), nil
}

func (c chain) eval(env Env) (Number, error) {
	x, err := c.operands[0].eval(env)
	if err != nil {
		return x, err
	}
	for i, op := range c.ops {
		y, err := c.operands[i+1].eval(env)
		if err != nil {
			return y, err
		}
		if !compare(op, x, y) {
			return boolean(false), nil
		}
		x = y
	}
	return boolean(true), nil
}

func compare(op string, x, y Number) bool {
	if x.Float || y.Float {
		return ordered(op, x.decimal(), y.decimal())
	}
	return ordered(op, x.Int, y.Int)
}

func ordered[T int64 | float64](op string, x, y T) bool {
	switch op {
	case "==":
		return x == y
	case "!=":
		return x != y
	case "<":
		return x < y
	case "<=":
		return x <= y
	case ">":
		return x > y
	}
	return x >= y
}

func (c call) eval(env Env) (Number, error) {
	best, err := c.args[0].eval(env)
	if err != nil {
		return best, err
	}
	if c.function == "abs" {
		if best.decimal() < 0 {
			return unary{"-", constant(best)}.eval(env)
		}
		return best, nil
	}
	for _, arg := range c.args[1:] {
		v, err := arg.eval(env)
		if err != nil {
			return v, err
		}
		if c.function == "max" && compare(">", v, best) || c.function == "min" && compare("<", v, best) {
			best = v
		}
	}
	return best, nil
}

func (e element) eval(env Env) (Number, error) {
	values, err := env.Ints(e.tensor)
	if err != nil {
		return Number{}, err
	}
	return at(values, e.index, env, e.tensor)
}

func at(values []int64, index node, env Env, what string) (Number, error) {
	i, err := index.eval(env)
	if err != nil {
		return i, err
	}
	if i.Float {
		return i, fmt.Errorf("%s has no element %v", what, i.Decimal)
	}
	n := i.Int
	if n < 0 {
		n += int64(len(values))
	}
	if n < 0 || n >= int64(len(values)) {
		return i, fmt.Errorf("%s has %d elements, no element %d", what, len(values), i.Int)
	}
	return IntNumber(values[n]), nil
}

func (p property) eval(env Env) (Number, error) {
	switch p.what {
	case "max", "min", "sum":
		return p.reduce(env)
	}
	shape, ok := env.Shape(p.tensor)
	if !ok {
		return Number{}, fmt.Errorf("%s is no input tensor", p.tensor)
	}
	switch p.what {
	case "shape", "size":
		return at(shape, p.index, env, p.tensor+".shape")
	case "len":
		return at(shape, constant(IntNumber(0)), env, p.tensor+".shape")
	case "ndim":
		return IntNumber(int64(len(shape))), nil
	}
	numel := int64(1)
	for _, n := range shape {
		numel *= n
	}
	return IntNumber(numel), nil
}

func (p property) reduce(env Env) (Number, error) {
	values, err := env.Ints(p.tensor)
	if err != nil {
		return Number{}, err
	}
	if len(values) == 0 && p.what != "sum" {
		return Number{}, fmt.Errorf("%s is empty, it has no %s", p.tensor, p.what)
	}
	var result int64
	for i, v := range values {
		switch {
		case p.what == "sum":
			result += v
		case i == 0, p.what == "max" && v > result, p.what == "min" && v < result:
			result = v
		}
	}
	return IntNumber(result), nil
}
