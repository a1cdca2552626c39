package judge

import (
	"encoding/binary"
	"fmt"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// integers are the elements of an integer tensor as they are in its file.
type integers struct {
	data []byte
	size int // bytes an element: 1, 2, 4, 8
}

func (v integers) len() int { return len(v.data) / v.size }

// at gives element i; bool is 0 or 1, int8 is signed.
func (v integers) at(i int) int64 {
	switch v.size {
	case 8:
		return int64(binary.LittleEndian.Uint64(v.data[8*i:]))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(v.data[4*i:])))
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(v.data[2*i:])))
	}
	return int64(int8(v.data[i]))
}

// last gives the last element, 0 of none.
func (v integers) last() int64 {
	if v.len() == 0 {
		return 0
	}
	return v.at(v.len() - 1)
}

// steps gives the differences between neighbours: the lengths that prefix sums stand for.
func (v integers) steps() []int64 {
	var list []int64
	for i := 1; i < v.len(); i++ {
		list = append(list, v.at(i)-v.at(i-1))
	}
	return list
}

// environment answers a constraint's questions about a line.
type environment struct {
	*line
	def *fitrace.Definition
}

// Number returns an axis or a scalar input.
func (e environment) Number(name string) (fitrace.Number, bool) {
	if v, ok := e.axes[name]; ok {
		return fitrace.IntNumber(v), true
	}
	for _, in := range e.Workload.Inputs {
		if in.Name != name || in.Type != fitrace.ScalarInput {
			continue
		}
		switch {
		case in.Scalar.Kind == fitrace.Float:
			return fitrace.FloatNumber(in.Scalar.Float), true
		case in.Scalar.Bool:
			return fitrace.IntNumber(1), true
		}
		return fitrace.IntNumber(in.Scalar.Int), true
	}
	return fitrace.Number{}, false
}

// Shape returns the shape of an input tensor.
func (e environment) Shape(tensor string) ([]int64, bool) {
	shape, ok := e.shapes[tensor]
	return shape, ok
}

// DType returns the element type of an input tensor.
func (e environment) DType(tensor string) (string, bool) {
	in, ok := e.def.Input(tensor)
	return in.DType, ok && !in.Scalar()
}

// Ints returns the elements of a one-dimensional integer tensor.
func (e environment) Ints(tensor string) ([]int64, error) {
	v, ok := e.loaded[tensor]
	if !ok {
		return nil, fmt.Errorf("the values of %s are random", tensor)
	}
	if n := len(e.shapes[tensor]); n != 1 {
		return nil, fmt.Errorf("%s has %d dimensions, only one is understood", tensor, n)
	}
	list := make([]int64, v.len())
	for i := range list {
		list[i] = v.at(i)
	}
	return list, nil
}
