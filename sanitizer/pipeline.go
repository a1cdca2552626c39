package sanitizer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Converted is the answer to one manifest.
type Converted struct {
	Verdict proto.Verdict
	Tensors map[string][]byte // content by digest of those of the candidates' tensors that are not inline; not to be changed

	inline int // bytes inline so far
}

// Convert turns a manifest into candidates of the definitions it fits and rejections for the others of its API, or into one
// rejection where no definition names its function. tensors gives the content of a digest that is not inline. The same
// manifest and definitions give the same answer, whatever the order of the definitions and whatever was converted before.
//
// An error means that there is no answer, only ever because tensors failed; it wraps that error.
func Convert(m *proto.Manifest, defs []*fitrace.Definition, tensors func(digest string) ([]byte, error)) (*Converted, error) {
	out := &Converted{Verdict: proto.Verdict{
		Collection: m.Collection, Task: m.Task, Attempt: m.Attempt, Manifest: m.ID,
		Function: m.Call.Function, Provenance: m.Provenance,
	}}
	function := impliedFunction(m)
	matched := match(function, defs)
	if len(matched) == 0 {
		r := reject(RejectNoDefinition, "no definition of this task has an fi_api tag for %s", function)
		if m.Defect != nil {
			r = &rejection{m.Defect.Reason, m.Defect.Detail}
		}
		out.Verdict.Rejections = []proto.Rejection{{Reason: r.reason, Detail: r.detail}}
		return out, nil
	}
	w := work{m: m, load: tensors}
	for _, t := range matched {
		candidate, err := w.convert(t)
		var r *rejection
		switch {
		case errors.As(err, &r):
			out.Verdict.Rejections = append(out.Verdict.Rejections, proto.Rejection{Definition: t.def.Name, Reason: r.reason, Detail: r.detail})
		case err != nil:
			return nil, fmt.Errorf("convert manifest %s for %s: %w", m.ID, t.def.Name, err)
		default:
			out.Verdict.Candidates = append(out.Verdict.Candidates, *candidate)
			out.keep(&w, &out.Verdict.Candidates[len(out.Verdict.Candidates)-1])
		}
	}
	return out, nil
}

// inlineBudget is what the tensors of one verdict may take of its message. One call rarely fits more than two definitions, but
// nothing forbids a hundred.
const inlineBudget = proto.MaxMessageBytes / 2

// keep gives the content of a candidate's tensors a place: in the message where they are small, else beside it.
func (c *Converted) keep(w *work, candidate *proto.Candidate) {
	for i := range candidate.Inputs {
		in, o := &candidate.Inputs[i], &w.operands[i]
		switch {
		case in.Kind != proto.InputSafetensors:
		case len(o.data) <= proto.InlineTensorBytes && c.inline+len(o.data) <= inlineBudget:
			in.Inline = o.data
			c.inline += len(o.data)
		default:
			if c.Tensors == nil {
				c.Tensors = map[string][]byte{}
			}
			c.Tensors[in.Digest] = o.data
		}
	}
}

// work is one manifest on its way through the steps, for one target at a time.
type work struct {
	m    *proto.Manifest
	load func(digest string) ([]byte, error)

	run, plan *arguments        // parsed on first use, shared by all targets
	contents  map[string][]byte // by digest

	t        *target
	operands []operand // what each input of the target is bound to
	axes     []int64   // size of each axis of the definition; -1: not solved yet
	page     int64     // tokens a page; 0: not paged
	last     ints      // last_page_len, one a request, before any padding; size 0: unknown
	notes    []string
}

// operand is what an input is bound to: a tensor as the definition sees it, or a number.
type operand struct {
	arg    origin // for messages
	tensor *proto.Tensor
	value  *proto.Value
	shape  []int64 // may differ from the tensor's: a view, a part of a pair
	data   []byte  // content, of integer and bool tensors; row-major, little-endian
	loaded bool    // data is there
	digest string  // of data; empty: not computed yet
	open   bool    // the first dimension is not known: an implied run's pool
	prefix string  // digest of the content that data was cut from; empty: data is no such part
}

// convert is the whole way of a call into a workload. Each step is in the file of its name; a *rejection ends it.
func (w *work) convert(t *target) (*proto.Candidate, error) {
	w.t, w.page, w.last, w.notes = t, 0, ints{}, nil
	w.operands = make([]operand, len(t.inputs))
	w.axes = slices.Repeat([]int64{-1}, len(t.def.Axes))
	for _, step := range []func() error{
		w.source,    // is there a call, and the plan it needs? The run that a plan implies is made here.
		w.altered,   // does it pass what the definition cannot state
		w.bind,      // which argument is which input
		w.types,     // element types, and the sizes the call states as numbers
		w.variant,   // is it the variant of the kernel that the definition's name states
		w.structure, // content of structural tensors: trimmed, padded, folded into pages of the definition's size
		w.fit,       // axes solved from shapes, ranks and constants checked
		w.values,    // is the structure sound
		w.meaning,   // does the call compute what the definition does
		w.scale,     // sm_scale, where no dump has it
		w.hold,      // constraints
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return w.candidate()
}

// source checks that the manifest is of a whole call, and has a plan where the API has one.
func (w *work) source() error {
	if d := w.m.Defect; d != nil {
		return &rejection{d.Reason, d.Detail}
	}
	if w.run == nil && !w.m.Implied {
		w.run = readArguments(&w.m.Call)
	}
	if !w.t.planned {
		if w.m.Implied {
			return reject(RejectNotImplied, "%s stands for no run", w.m.Call.Function)
		}
		return nil
	}
	if w.m.PlanNote != proto.PlanNone {
		if note, ok := planNotes[w.m.PlanNote]; ok {
			return &rejection{note.reason, note.detail}
		}
		return reject(RejectPlanMissing, "the plan of this run could not be used: %s", w.m.PlanNote)
	}
	if w.m.Implied {
		if w.run != nil {
			return nil
		}
		w.plan = readArguments(&w.m.Call)
		return w.imply()
	}
	if w.m.Plan == nil {
		return &rejection{RejectPlanMissing, planNotes[proto.PlanMissing].detail}
	}
	if w.plan == nil {
		w.plan = readArguments(w.m.Plan)
	}
	return nil
}

// note records something that was derived instead of copied.
func (w *work) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// content gives the bytes of an integer tensor, row-major. The logger stores tensors contiguous whatever strides it logs;
// what has another length than its shape was not stored whole.
func (w *work) content(o *operand) error {
	if o.loaded {
		return nil
	}
	t := o.tensor
	size, ok := elementSize(t.DType)
	if !ok {
		return reject(RejectNoContent, "%s has dtype %s, whose content is not read", o.arg, t.DType)
	}
	want, ok := byteSize(t.Shape, size)
	if !ok {
		return reject(RejectNoContent, "%s has the shape %v, which no tensor has", o.arg, t.Shape)
	}
	switch {
	case want == 0:
		o.data = []byte{}
	case !t.HasContent():
		return reject(RejectNoContent, "%s was dumped without its values", o.arg)
	case len(t.Inline) > 0:
		o.data = t.Inline
	default:
		data, seen := w.contents[t.Digest]
		if !seen {
			var err error
			if data, err = w.load(t.Digest); err != nil {
				return fmt.Errorf("content of %s, digest %s: %w", o.arg, t.Digest, err)
			}
			if w.contents == nil {
				w.contents = map[string][]byte{}
			}
			w.contents[t.Digest] = data
		}
		o.data = data
	}
	if int64(len(o.data)) != want {
		return reject(RejectNoContent, "%s of shape %v and dtype %s has %d bytes of content, must have %d", o.arg, t.Shape, t.DType, len(o.data), want)
	}
	o.loaded, o.digest = true, t.Digest
	return nil
}

// operand gives what the input of a role is bound to, or nil.
func (w *work) operand(r role) *operand {
	for i := range w.t.inputs {
		if w.t.inputs[i].role == r {
			return &w.operands[i]
		}
	}
	return nil
}
