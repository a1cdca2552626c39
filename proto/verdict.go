package proto

import (
	"fmt"
)

// Verdict is the sanitizer's whole answer to one manifest, in one message, so that a manifest is either accounted for or
// not. It is a pure function of the manifest (and the definitions its digests name): the same manifest gives the same bytes.
type Verdict struct {
	Collection string      `msgpack:"collection" json:"collection"`
	Task       string      `msgpack:"task" json:"task"`
	Attempt    uint32      `msgpack:"attempt" json:"attempt"`
	Manifest   string      `msgpack:"manifest" json:"manifest"` // id
	Function   string      `msgpack:"function" json:"function"`
	Candidates []Candidate `msgpack:"candidates" json:"candidates"` // one for each definition the call fits
	Rejections []Rejection `msgpack:"rejections" json:"rejections"` // one for each definition of its API it does not fit
	Provenance Provenance  `msgpack:"provenance" json:"provenance"`
}

// Candidate is a call converted for one definition. Its content (definition, axes, inputs) decides its id, and nothing else.
type Candidate struct {
	Definition string      `msgpack:"definition" json:"definition"`
	UUID       string      `msgpack:"uuid" json:"uuid"` // version 5, of the content
	Axes       []AxisValue `msgpack:"axes" json:"axes"` // the definition's variable axes, in its order
	Inputs     []Input     `msgpack:"inputs" json:"inputs"`
	Notes      []string    `msgpack:"notes,omitempty" json:"notes,omitempty"` // what was derived, for the record
}

// AxisValue is a solved variable axis.
type AxisValue struct {
	Name  string `msgpack:"name" json:"name"`
	Value int64  `msgpack:"value" json:"value"`
}

// InputKind is how a workload gives an input.
type InputKind string

// The kinds of inputs in the dataset's schema.
const (
	InputRandom      InputKind = "random"
	InputSafetensors InputKind = "safetensors"
	InputScalar      InputKind = "scalar"
)

// Input is one input of a candidate, in the definition's order.
type Input struct {
	Name   string    `msgpack:"name" json:"name"`
	Kind   InputKind `msgpack:"kind" json:"kind"`
	Scalar *Value    `msgpack:"scalar,omitempty" json:"scalar,omitempty"` // kind scalar: bool, int or float
	DType  string    `msgpack:"dtype,omitempty" json:"dtype,omitempty"`   // kind safetensors
	Shape  []int64   `msgpack:"shape,omitempty" json:"shape,omitempty"`
	Digest string    `msgpack:"digest,omitempty" json:"digest,omitempty"` // hex SHA-256 of the raw bytes
	Inline []byte    `msgpack:"inline,omitempty" json:"inline,omitempty"` // the bytes, when at most InlineTensorBytes
}

// Rejection is why a call is no workload of a definition, or (with an empty Definition) of none.
type Rejection struct {
	Definition string `msgpack:"definition,omitempty" json:"definition,omitempty"`
	Reason     string `msgpack:"reason" json:"reason"` // a code of the sanitizer's reject.go
	Detail     string `msgpack:"detail,omitempty" json:"detail,omitempty"`
}

// Kind implements Message.
func (*Verdict) Kind() Kind { return KindVerdict }

// Validate implements Message.
func (v *Verdict) Validate() error {
	for _, f := range []struct{ name, value string }{{"collection", v.Collection}, {"task", v.Task}, {"manifest", v.Manifest}} {
		if err := checkToken(f.name, f.value); err != nil {
			return err
		}
	}
	if len(v.Candidates)+len(v.Rejections) == 0 {
		return fmt.Errorf("neither candidates nor rejections for manifest %s", v.Manifest)
	}
	for i := range v.Candidates {
		c := &v.Candidates[i]
		if err := checkName("definition", c.Definition); err != nil {
			return fmt.Errorf("candidates[%d]: %w", i, err)
		}
		for _, in := range c.Inputs {
			if in.Kind != InputSafetensors {
				continue
			}
			if err := checkTensor(in.Name, in.Shape, in.Digest, in.Inline); err != nil {
				return fmt.Errorf("candidates[%d]: %w", i, err)
			}
		}
	}
	for i, r := range v.Rejections {
		if r.Reason == "" {
			return fmt.Errorf("rejections[%d]: reason is empty", i)
		}
	}
	return nil
}
