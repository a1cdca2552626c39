package fitrace

import (
	"errors"
	"fmt"
)

// Expr is a constraint of a definition, such as "num_kv_indices == kv_indptr[-1].item()". It is this much of Python: integers, floats,
// strings, True and False; names of axes and scalar inputs; + - * / // % ** with Python's floor rules; comparisons, chained too; in and
// not in a tuple or list; is None and is not None of an input; and, or, not; parentheses; max, min, abs and len; t[i], t[i:j] and
// t[i].item() of a one-dimensional integer tensor, its .max(), .min() and .sum(), and + - * // % of such tensors, element by element;
// t.shape[i], t.size(i), t.numel(), t.ndim and t.dtype of any input tensor.
type Expr struct {
	source string
	root   node
}

// Env answers for the names in an expression.
type Env interface {
	// Number returns the value of an axis or scalar input.
	Number(name string) (Number, bool)
	// Shape returns the shape of an input tensor.
	Shape(tensor string) ([]int64, bool)
	// DType returns the element type of an input tensor, such as "bfloat16".
	DType(tensor string) (string, bool)
	// Ints returns the elements of a one-dimensional integer tensor, or why it cannot.
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

// String returns the source.
func (e *Expr) String() string { return e.source }

// Holds evaluates the expression as a condition.
func (e *Expr) Holds(env Env) (bool, error) {
	ok, err := truth(e.root, env)
	if err != nil {
		return false, fmt.Errorf("%w: %q: %w", ErrNotUnderstood, e.source, err)
	}
	return ok, nil
}

// IntNumber and FloatNumber make numbers.
func IntNumber(v int64) Number { return Number{Int: v} }

// FloatNumber makes a Python float.
func FloatNumber(v float64) Number { return Number{Float: true, Decimal: v} }
