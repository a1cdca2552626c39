package manifest

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// latentClass is the wrapper whose plans state the softmax scale of latent attention (MLA).
const latentClass = "BatchMLAPagedAttentionWrapper"

// scales holds the ragged runs of a process that need the softmax scale of its paged MLA plans, which mostly come later: SGLang prefills
// first and decodes then. So that the same dumps give the same manifests however fast they are read, a run waits until all calls of its
// process were fed. Only if there is no room for its dump is it released before, and then no other scale may follow.
type scales struct {
	seen     []float64     // distinct scales of the paged MLA plans, ascending
	held     []Result      // in call order
	plans    map[*Dump]int // number of held Results by the plan that they carry
	done     []*Dump       // plans that only held Results need
	released bool          // some Results were released with the scale seen by then
}

// see records the scale of a paged MLA plan. The error is about Results that were released before with another one.
func (s *scales) see(d *Dump) error {
	class, _ := method(d.Call.Function)
	if d.Defect != nil || !isPlan(d.Call.Function) || class != latentClass {
		return nil
	}
	scale, ok := plannedScale(&d.Call)
	if !ok {
		return nil
	}
	at, found := slices.BinarySearch(s.seen, scale)
	if found {
		return nil
	}
	s.seen = slices.Insert(s.seen, at, scale)
	if !s.released {
		return nil
	}
	return proto.Failf(proto.CodeEngineFailed, "process %d plans latent attention with the softmax scales %v, after ragged runs were stored with %v alone",
		d.Call.PID, s.seen, slices.Delete(slices.Clone(s.seen), at, at+1)).
		WithHint("collect these definitions without a second model in the process (speculative decoding), or raise --dump-quota")
}

// hold takes the Results that need a scale out of a step, and the plans that these need.
func (s *scales) hold(step *Step) {
	step.Ready = slices.DeleteFunc(step.Ready, func(r Result) bool {
		if !r.needsScale() {
			return false
		}
		s.held = append(s.held, r)
		if plan := r.Carries(); plan != nil {
			if s.plans == nil {
				s.plans = make(map[*Dump]int)
			}
			s.plans[plan]++
		}
		return true
	})
	step.Done = slices.DeleteFunc(step.Done, func(plan *Dump) bool {
		if s.plans[plan] == 0 {
			return false
		}
		s.done = append(s.done, plan)
		return true
	})
}

// release appends what is held to a step, with the scales seen.
func (s *scales) release(step *Step) {
	for _, r := range s.held {
		r.scaled, r.Scales = true, slices.Clone(s.seen)
		step.Ready = append(step.Ready, r)
	}
	step.Done = append(step.Done, s.done...)
	s.held, s.plans, s.done = nil, nil, nil
}

// needsScale reports whether r is a ragged call whose scale is not known yet.
func (r *Result) needsScale() bool {
	class, _ := method(r.Dump.Call.Function)
	return !r.scaled && r.Dump.Defect == nil && strings.Contains(class, "Ragged") && (r.Implied || needsPlan(r.Dump.Call.Function))
}

// Carries returns the plan whose content r's manifest has: its run's, or r's own if it stands for runs.
func (r *Result) Carries() *Dump {
	if r.Implied {
		return r.Dump
	}
	return r.Plan
}

// scalePosition is the position of sm_scale in the paged MLA plan, self included, in FlashInfer 0.6.14 to 0.7.4: for dumps without a signature.
const scalePosition = 10

// plannedScale returns the sm_scale that was passed to a paged MLA plan, by position or by keyword.
func plannedScale(c *proto.Call) (float64, bool) {
	position := scalePosition
	if at := slices.IndexFunc(fidump.ParseSignature(c.Signature).Positional, func(p fidump.Param) bool { return p.Name == "sm_scale" }); at >= 0 {
		position = at
	}
	for i := range c.Values {
		v := &c.Values[i]
		if v.Key != "kwarg_sm_scale" && v.Key != "arg_"+strconv.Itoa(position) {
			continue
		}
		switch v.Type {
		case proto.ValueFloat:
			return v.Float, true
		case proto.ValueInt:
			return float64(v.Int), true
		}
	}
	return 0, false
}
