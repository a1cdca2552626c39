package fitrace

import (
	"errors"
	"fmt"
)

// node is a part of a parsed expression.
type node interface {
	eval(env Env) (value, error)
}

type (
	constant value
	name     string
	literal  []node // a tuple or list
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
	// isNone is "input is None", or is not None.
	isNone struct {
		input string
		not   bool
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
	// slice is tensor[from:to]; a bound that is left out is nil.
	slice struct {
		tensor   string
		from, to node
	}
	// property is something of a whole tensor: shape[index], size(index), len, numel, ndim, dtype, max, min, sum.
	property struct {
		tensor, what string
		index        node
	}
)

func (c constant) eval(Env) (value, error) { return value(c), nil }

func (n name) eval(env Env) (value, error) {
	if v, ok := env.Number(string(n)); ok {
		return numeric(v), nil
	}
	if list, err := env.Ints(string(n)); err == nil {
		return integers(list), nil
	}
	return value{}, fmt.Errorf("%s is neither an axis nor a scalar input, nor a known integer tensor", string(n))
}

func (l literal) eval(env Env) (value, error) {
	out := value{kind: kindList, list: make([]value, len(l))}
	for i, n := range l {
		var err error
		if out.list[i], err = n.eval(env); err != nil {
			return value{}, err
		}
	}
	return out, nil
}

func (u unary) eval(env Env) (value, error) {
	if u.op == "not" {
		ok, err := truth(u.x, env)
		return boolean(!ok), err
	}
	v, err := evalNumber(u.x, env)
	switch {
	case err != nil:
		return value{}, err
	case u.op == "-" && v.Float:
		return numeric(FloatNumber(-v.Decimal)), nil
	case u.op == "-":
		return integer(-v.Int), nil
	}
	return numeric(v), nil
}

func (b binary) eval(env Env) (value, error) {
	x, err := b.x.eval(env)
	if err != nil {
		return x, err
	}
	if b.op == "and" || b.op == "or" { // the right side is left alone if the left one decides
		ok, err := x.truth()
		if err != nil || ok == (b.op == "or") {
			return x, err
		}
		return b.y.eval(env)
	}
	y, err := b.y.eval(env)
	if err != nil {
		return y, err
	}
	return arithmetic(b.op, x, y)
}

func (c chain) eval(env Env) (value, error) {
	x, err := c.operands[0].eval(env)
	if err != nil {
		return x, err
	}
	for i, op := range c.ops {
		y, err := c.operands[i+1].eval(env)
		if err != nil {
			return y, err
		}
		if ok, err := compare(op, x, y); !ok || err != nil {
			return boolean(false), err
		}
		x = y
	}
	return boolean(true), nil
}

// eval is about inputs of the definition, which a workload always has. Of any other name nothing is known.
func (i isNone) eval(env Env) (value, error) {
	_, number := env.Number(i.input)
	_, tensor := env.Shape(i.input)
	if !number && !tensor {
		return value{}, fmt.Errorf("%s is no input", i.input)
	}
	return boolean(i.not), nil
}

func (c call) eval(env Env) (value, error) {
	args := make([]value, len(c.args))
	for i, arg := range c.args {
		var err error
		if args[i], err = arg.eval(env); err != nil {
			return value{}, err
		}
	}
	if len(args) == 1 && c.function != "abs" { // max and min of a list
		if args[0].kind != kindList {
			return value{}, fmt.Errorf("%s of %v", c.function, args[0].kind)
		}
		if args = args[0].list; len(args) == 0 {
			return value{}, fmt.Errorf("%s of no element", c.function)
		}
	}
	for _, v := range args {
		if v.kind != kindNumber {
			return value{}, fmt.Errorf("%s of %v", c.function, v.kind)
		}
	}
	best := args[0].number
	if c.function == "abs" {
		if best.decimal() < 0 {
			return unary{"-", constant(args[0])}.eval(env)
		}
		return args[0], nil
	}
	for _, v := range args[1:] {
		if c.function == "max" && compareNumbers(">", v.number, best) || c.function == "min" && compareNumbers("<", v.number, best) {
			best = v.number
		}
	}
	return numeric(best), nil
}

func (e element) eval(env Env) (value, error) {
	values, err := env.Ints(e.tensor)
	if err != nil {
		return value{}, err
	}
	return at(values, e.index, env, e.tensor)
}

func at(values []int64, index node, env Env, what string) (value, error) {
	i, err := evalNumber(index, env)
	if err != nil {
		return value{}, err
	}
	if i.Float {
		return value{}, fmt.Errorf("%s has no element %v", what, i.Decimal)
	}
	n := i.Int
	if n < 0 {
		n += int64(len(values))
	}
	if n < 0 || n >= int64(len(values)) {
		return value{}, fmt.Errorf("%s has %d elements, no element %d", what, len(values), i.Int)
	}
	return integer(values[n]), nil
}

func (s slice) eval(env Env) (value, error) {
	values, err := env.Ints(s.tensor)
	if err != nil {
		return value{}, err
	}
	size := int64(len(values))
	bounds := [2]int64{0, size}
	for i, n := range []node{s.from, s.to} {
		if n == nil {
			continue
		}
		v, err := evalNumber(n, env)
		if err != nil {
			return value{}, err
		}
		if v.Float {
			return value{}, fmt.Errorf("%s has no element %v", s.tensor, v.Decimal)
		}
		bounds[i] = v.Int
		if v.Int < 0 {
			bounds[i] += size
		}
		bounds[i] = min(max(bounds[i], 0), size) // Python cuts a slice to what is there
	}
	return integers(values[bounds[0]:max(bounds[0], bounds[1])]), nil
}

func (p property) eval(env Env) (value, error) {
	switch p.what {
	case "max", "min", "sum":
		return p.reduce(env)
	case "dtype":
		dtype, ok := env.DType(p.tensor)
		if !ok {
			return value{}, fmt.Errorf("%s is no input tensor", p.tensor)
		}
		return value{kind: kindText, text: dtype}, nil
	}
	shape, ok := env.Shape(p.tensor)
	if !ok {
		return value{}, fmt.Errorf("%s is no input tensor", p.tensor)
	}
	switch p.what {
	case "shape", "size":
		return at(shape, p.index, env, p.tensor+".shape")
	case "len":
		return at(shape, constant(integer(0)), env, p.tensor+".shape")
	case "ndim":
		return integer(int64(len(shape))), nil
	}
	numel := int64(1)
	for _, n := range shape {
		numel *= n
	}
	return integer(numel), nil
}

func (p property) reduce(env Env) (value, error) {
	values, err := env.Ints(p.tensor)
	if err != nil {
		return value{}, err
	}
	if p.what != "sum" {
		if len(values) == 0 {
			return value{}, errors.New(p.tensor + " is empty, it has no " + p.what)
		}
		return call{p.what, []node{constant(integers(values))}}.eval(env)
	}
	var sum int64
	for _, v := range values {
		sum += v
	}
	return integer(sum), nil
}
