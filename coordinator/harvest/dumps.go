package harvest

import (
	"path/filepath"

	"github.com/tracefleet/tracefleet/internal/fidump"
)

// ReadDumps gives the evidence of a directory of level-10 dumps. No tensor is read. Dumps without a whole record are counted,
// not believed.
func ReadDumps(dir string) (e *Evidence, unreadable int, err error) {
	names, err := fidump.List(dir)
	if err != nil {
		return nil, 0, err
	}
	e = &Evidence{}
	for _, n := range names {
		rec, _, err := fidump.ReadRecord(filepath.Join(dir, n.Dir, fidump.MetadataFile))
		if err != nil || rec == nil {
			unreadable++
			continue
		}
		e.add(rec.FunctionName, callOf(rec))
	}
	return e, unreadable, nil
}

func callOf(rec *fidump.Record) call {
	c := call{args: map[string]argument{}, positional: positions(rec.Signature)}
	for _, t := range rec.Tensors {
		c.args[t.Key] = argument{tensor: true, dtype: t.DType, shape: t.Shape}
	}
	for i := range rec.Input {
		rec.Input[i].Walk(func(v *fidump.Value) {
			if _, known := c.args[v.Key]; !known {
				c.args[v.Key] = dumped(v)
			}
		})
	}
	return c
}

// dumped gives the argument a logged value is.
func dumped(v *fidump.Value) argument {
	switch v.Kind {
	case fidump.KindNone:
		return argument{none: true}
	case fidump.KindBool:
		return argument{truth: &v.Bool}
	case fidump.KindInt:
		f := float64(v.Int)
		return argument{number: &f}
	case fidump.KindFloat:
		return argument{number: &v.Float}
	case fidump.KindDType, fidump.KindString:
		return argument{dtype: v.Text}
	case fidump.KindTensor:
		if v.Tensor != nil {
			return argument{tensor: true, dtype: v.Tensor.DType, shape: v.Tensor.Shape}
		}
	}
	return argument{}
}
