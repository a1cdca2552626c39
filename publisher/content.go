package publisher

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/safetensors"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// What other tools wrote has uuids that say nothing of the content, so contents are compared by fingerprint: axes (num_pages
// aside: the tensors decide what of the pool is used), random inputs, scalars as numbers, tensors by type, shape and bytes.

// fingerprint is of parts in any order.
func fingerprint(axes []proto.AxisValue, inputs []string) string {
	slices.Sort(inputs)
	sum := sha256.Sum256([]byte(shapeKey(axes) + "\n" + strings.Join(inputs, "\n")))
	return hex.EncodeToString(sum[:])
}

func randomPart(name string) string { return strconv.Quote(name) + " random" }

// scalarPart lets 1 and 1.0 be equal: whoever writes every scalar as a float has the same content.
func scalarPart(name string, s fitrace.Scalar) string {
	text := s.String()
	if s.Kind == fitrace.Int {
		text = fitrace.FormatFloat(float64(s.Int))
	}
	return strconv.Quote(name) + " " + text
}

func tensorPart(name string, t dataset.Tensor) string {
	return fmt.Sprintf("%q %s %v %s", name, t.DType, t.Shape, t.Digest)
}

// fingerprintOf is that of a candidate.
func fingerprintOf(c *proto.Candidate) (string, error) {
	parts := make([]string, len(c.Inputs))
	for i, in := range c.Inputs {
		switch in.Kind {
		case proto.InputRandom:
			parts[i] = randomPart(in.Name)
		case proto.InputScalar:
			s, err := scalarOf(in)
			if err != nil {
				return "", err
			}
			parts[i] = scalarPart(in.Name, s)
		case proto.InputSafetensors:
			t, err := tensorOf(in)
			if err != nil {
				return "", err
			}
			parts[i] = tensorPart(in.Name, t)
		default:
			return "", fmt.Errorf("input %s has kind %q, must be random, scalar or safetensors", in.Name, in.Kind)
		}
	}
	return fingerprint(c.Axes, parts), nil
}

// fingerprintLine is that of a line of the dataset; it reads the line's blobs.
func fingerprintLine(r *dataset.Reader, l fitrace.Line) (string, error) {
	var parts []string
	for _, in := range l.Workload.Inputs {
		switch in.Type {
		case fitrace.Random:
			parts = append(parts, randomPart(in.Name))
		case fitrace.ScalarInput:
			parts = append(parts, scalarPart(in.Name, in.Scalar))
		case fitrace.Safetensors:
			t, err := readTensor(r, in)
			if err != nil {
				return "", fmt.Errorf("input %s: %w", in.Name, err)
			}
			parts = append(parts, tensorPart(in.Name, t))
		}
	}
	return fingerprint(axesOf(l), parts), nil
}

func readTensor(r *dataset.Reader, in fitrace.Input) (dataset.Tensor, error) {
	name, err := dataset.BlobFile(in.Path)
	if err != nil {
		return dataset.Tensor{}, err
	}
	b, err := r.OpenBlob(name)
	if err != nil {
		return dataset.Tensor{}, err
	}
	defer b.Close()
	t, ok, err := b.Tensor(in.TensorKey)
	if err == nil && !ok {
		err = fmt.Errorf("blob %s has no tensor %s", name, in.TensorKey)
	}
	return t, err
}

func axesOf(l fitrace.Line) []proto.AxisValue {
	axes := make([]proto.AxisValue, len(l.Workload.Axes))
	for i, a := range l.Workload.Axes {
		axes[i] = proto.AxisValue{Name: a.Name, Value: a.Value}
	}
	return axes
}

// lineOf is the candidate's line in the dataset.
func lineOf(c *proto.Candidate, opType string) (fitrace.Line, error) {
	l := fitrace.Line{Definition: c.Definition, Workload: fitrace.Workload{UUID: c.UUID}}
	for _, a := range c.Axes {
		l.Workload.Axes = append(l.Workload.Axes, fitrace.AxisValue{Name: a.Name, Value: a.Value})
	}
	for _, in := range c.Inputs {
		out := fitrace.Input{Name: in.Name, Type: fitrace.InputType(in.Kind)}
		switch in.Kind {
		case proto.InputScalar:
			s, err := scalarOf(in)
			if err != nil {
				return l, err
			}
			out.Scalar = s
		case proto.InputSafetensors:
			out.Path, out.TensorKey = fitrace.BlobPath(opType, c.Definition, c.UUID), in.Name
		}
		l.Workload.Inputs = append(l.Workload.Inputs, out)
	}
	return l, nil
}

func scalarOf(in proto.Input) (fitrace.Scalar, error) {
	if in.Scalar != nil {
		switch in.Scalar.Type {
		case proto.ValueInt:
			return fitrace.Scalar{Kind: fitrace.Int, Int: in.Scalar.Int}, nil
		case proto.ValueFloat:
			return fitrace.Scalar{Kind: fitrace.Float, Float: in.Scalar.Float}, nil
		case proto.ValueBool:
			return fitrace.Scalar{Kind: fitrace.Bool, Bool: in.Scalar.Bool}, nil
		}
	}
	return fitrace.Scalar{}, fmt.Errorf("scalar input %s is neither an int nor a float nor a bool", in.Name)
}

// tensorOf describes the candidate's tensor as a blob will have it.
func tensorOf(in proto.Input) (dataset.Tensor, error) {
	dtype := safetensors.DType(in.DType)
	if d, ok := safetensors.FromTorch(in.DType); ok {
		dtype = d
	}
	if !dtype.Known() || in.Digest == "" {
		return dataset.Tensor{}, fmt.Errorf("tensor input %s has dtype %q and digest %q: it cannot be written", in.Name, in.DType, in.Digest)
	}
	shape := in.Shape
	if shape == nil {
		shape = []int64{}
	}
	return dataset.Tensor{Name: in.Name, DType: string(dtype), Shape: shape, Digest: in.Digest}, nil
}

// lookup gives tensors that travelled inline, and asks store for the others.
func lookup(contents []*Content, store dataset.Tensors) dataset.Tensors {
	inline := map[string][]byte{}
	for _, c := range contents {
		for _, in := range c.Inputs {
			if len(in.Inline) > 0 {
				inline[in.Digest] = in.Inline
			}
		}
	}
	return func(digest string) ([]byte, error) {
		if data, ok := inline[digest]; ok {
			return data, nil
		}
		if digest == emptyDigest {
			return nil, nil
		}
		return store(digest)
	}
}

// emptyDigest is of a tensor with no elements: no bytes are inline, and none are stored.
const emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
