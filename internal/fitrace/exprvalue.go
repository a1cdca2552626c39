package fitrace

import (
	"errors"
	"fmt"
	"math"
)

// kind is the type of a value.
type kind uint8

const (
	kindNumber kind = iota
	kindText
	kindList // a tuple, a list, or the elements of an integer tensor
)

func (k kind) String() string { return [...]string{"a number", "a string", "a list"}[k] }

// value is what an expression evaluates to.
type value struct {
	kind   kind
	number Number
	text   string
	list   []value
}

func numeric(n Number) value { return value{number: n} }

func integer(v int64) value { return numeric(IntNumber(v)) }

func boolean(b bool) value {
	if b {
		return integer(1)
	}
	return integer(0)
}

func integers(list []int64) value {
	v := value{kind: kindList, list: make([]value, len(list))}
	for i, n := range list {
		v.list[i] = integer(n)
	}
	return v
}

// truth evaluates a node as a condition.
func truth(n node, env Env) (bool, error) {
	v, err := n.eval(env)
	if err != nil {
		return false, err
	}
	return v.truth()
}

func (v value) truth() (bool, error) {
	if v.kind != kindNumber {
		return false, fmt.Errorf("%v is no condition", v.kind)
	}
	return v.number.Int != 0 || v.number.Float && v.number.Decimal != 0, nil
}

func (n Number) decimal() float64 {
	if n.Float {
		return n.Decimal
	}
	return float64(n.Int)
}

// evalNumber evaluates a node that must be a number.
func evalNumber(n node, env Env) (Number, error) {
	v, err := n.eval(env)
	if err != nil {
		return Number{}, err
	}
	if v.kind != kindNumber {
		return Number{}, fmt.Errorf("%v where a number is expected", v.kind)
	}
	return v.number, nil
}

// arithmetic applies a binary operator: of numbers, or element by element if one side or both are lists, as torch does.
func arithmetic(op string, x, y value) (value, error) {
	switch {
	case x.kind == kindText || y.kind == kindText:
		return value{}, fmt.Errorf("%s of a string", op)
	case x.kind == kindNumber && y.kind == kindNumber:
		n, err := numberOp(op, x.number, y.number)
		return numeric(n), err
	case x.kind == kindList && y.kind == kindList && len(x.list) != len(y.list):
		return value{}, fmt.Errorf("%s of %d and %d elements", op, len(x.list), len(y.list))
	}
	out := value{kind: kindList, list: make([]value, max(len(x.list), len(y.list)))}
	for i := range out.list {
		a, b := x, y
		if x.kind == kindList {
			a = x.list[i]
		}
		if y.kind == kindList {
			b = y.list[i]
		}
		if a.kind != kindNumber || b.kind != kindNumber {
			return value{}, fmt.Errorf("%s of elements that are no numbers", op)
		}
		n, err := numberOp(op, a.number, b.number)
		if err != nil {
			return value{}, err
		}
		out.list[i] = numeric(n)
	}
	return out, nil
}

func numberOp(op string, x, y Number) (Number, error) {
	if x.Float || y.Float || op == "/" {
		return floatOp(op, x.decimal(), y.decimal())
	}
	return intOp(op, x.Int, y.Int)
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

// compare applies a comparison, in and not in among them.
func compare(op string, x, y value) (bool, error) {
	switch {
	case op == "in", op == "not in":
		found, err := contains(y, x)
		return found == (op == "in"), err
	case x.kind == kindNumber && y.kind == kindNumber:
		return compareNumbers(op, x.number, y.number), nil
	case x.kind == kindText && y.kind == kindText && (op == "==" || op == "!="):
		return (x.text == y.text) == (op == "=="), nil
	}
	return false, fmt.Errorf("%v %s %v", x.kind, op, y.kind)
}

// contains reports whether a list has an element that equals x. Elements of another kind than x's are not equal to it.
func contains(list, x value) (bool, error) {
	if list.kind != kindList || x.kind == kindList {
		return false, fmt.Errorf("%v in %v", x.kind, list.kind)
	}
	for _, v := range list.list {
		if v.kind != x.kind {
			continue
		}
		if equal, err := compare("==", x, v); equal || err != nil {
			return equal, err
		}
	}
	return false, nil
}

func compareNumbers(op string, x, y Number) bool {
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
