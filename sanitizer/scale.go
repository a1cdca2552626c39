package sanitizer

import (
	"math"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// scale sets the scale if no dump of the call has it: 1/sqrt of the head's width, which FlashInfer uses if none is passed, or for latent
// attention the manifest's scale. No other number is derived.
func (w *work) scale() error {
	for i := range w.t.inputs {
		in, o := &w.t.inputs[i], &w.operands[i]
		if !in.spec.Scalar() || o.value != nil {
			continue
		}
		if fitrace.BorrowsScale(w.t.def) {
			if err := w.borrowScale(in, o); err != nil {
				return err
			}
			continue
		}
		q := w.named("q")
		if w.t.planned {
			q = w.operand(roleQ)
		}
		if q == nil || len(q.shape) == 0 || q.shape[len(q.shape)-1] < 1 {
			return reject(RejectInputMissing, "the call has nothing for %s", in.spec.Name)
		}
		width := q.shape[len(q.shape)-1]
		o.value = &proto.Value{Type: proto.ValueFloat, Float: 1 / math.Sqrt(float64(width))}
		w.note("%s computed as 1/sqrt(%d)", in.spec.Name, width)
	}
	return nil
}

// borrowScale sets the scale of a ragged run of latent attention from the paged plans of its process, or from the model's configuration.
// The head's width alone does not determine it, because YaRN multiplies it. Sources that disagree are a rejection.
func (w *work) borrowScale(in *input, o *operand) error {
	s := w.m.Scale
	if s == nil {
		s = &proto.Scale{}
	}
	switch {
	case len(s.Planned) > 1:
		return reject(RejectScaleConflict, "the paged MLA plans of this process have %d softmax scales, %v to %v: which one is this call's is unknown",
			len(s.Planned), s.Planned[0], s.Planned[len(s.Planned)-1])
	case len(s.Planned) == 1 && s.Model != 0 && !sameScale(s.Planned[0], s.Model):
		return reject(RejectScaleConflict, "the paged MLA plans of this process have the softmax scale %v, the model's configuration has %v (%s)", s.Planned[0], s.Model, s.How)
	case len(s.Planned) == 1:
		o.value = &proto.Value{Type: proto.ValueFloat, Float: s.Planned[0]}
		w.note("%s is that of the paged MLA plans of the same process", in.spec.Name)
	case s.Model != 0:
		o.value = &proto.Value{Type: proto.ValueFloat, Float: s.Model}
		w.note("%s is computed from the model's configuration: %s", in.spec.Name, s.How)
	default:
		return reject(RejectInputMissing, "%s is in no dump of a ragged run, and no paged MLA plan of its process was dumped: "+
			"include BatchMLAPagedAttentionWrapper.plan in the dump, or pass the model's config.json to sanitize --model-config", in.spec.Name)
	}
	return nil
}

// sameScale reports whether two scales differ by rounding only.
func sameScale(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Abs(b) }
