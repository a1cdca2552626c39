package sanitizer

import (
	"strconv"

	"github.com/google/uuid"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// namespace is ours, made once; it must never change, or every workload would get another uuid.
var namespace = uuid.MustParse("8f1f2f0e-52a1-5f0b-9d6c-6a7c1f0f5a11")

// identity gives the version 5 uuid of a candidate's content: definition, axes, and of each input its name and what the
// dataset will hold of it. Notes and provenance are no content: two layers of one step are one workload.
func identity(c *proto.Candidate) string {
	b := make([]byte, 0, 1024)
	field := func(s string) {
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(append(b, ':'), s...)
	}
	field("workload 1")
	field(c.Definition)
	for _, a := range c.Axes {
		field(a.Name)
		field(strconv.FormatInt(a.Value, 10))
	}
	field("inputs")
	for _, in := range c.Inputs {
		field(in.Name)
		field(string(in.Kind))
		switch in.Kind {
		case proto.InputScalar:
			field(scalarText(in.Scalar)) // 1, 1.0 and true: the text tells the type
		case proto.InputSafetensors:
			field(in.DType)
			for _, n := range in.Shape {
				field(strconv.FormatInt(n, 10))
			}
			field(in.Digest)
		}
	}
	return uuid.NewSHA1(namespace, b).String()
}

func scalarText(v *proto.Value) string {
	s := fitrace.Scalar{Kind: fitrace.Float, Float: v.Float}
	switch v.Type {
	case proto.ValueInt:
		s = fitrace.Scalar{Kind: fitrace.Int, Int: v.Int}
	case proto.ValueBool:
		s = fitrace.Scalar{Kind: fitrace.Bool, Bool: v.Bool}
	}
	return s.String()
}
