package manifest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tracefleet/tracefleet/proto"
)

// latentPlan is a paged MLA plan with a softmax scale under a key.
func (s *script) latentPlan(line, key string, scale float64) *Dump {
	d := s.dump("plan M " + line)
	d.Call.Function = latentClass + ".plan"
	d.Call.Values = []proto.Value{{Key: key, Type: proto.ValueFloat, Float: scale}}
	return d
}

// fed feeds dumps to p and returns what came out in words, in order: "R 0.5", "plan done".
func (s *script) fed(t require.TestingT, p *Pairer, dumps ...*Dump) (out []string) {
	for _, d := range dumps {
		step := p.Feed(d)
		require.NoError(t, step.Err)
		out = append(out, s.came(step)...)
	}
	return out
}

func (s *script) came(step Step) (out []string) {
	for _, r := range step.Ready {
		text := r.Dump.Call.SelfID
		if r.scaled {
			text += strings.ReplaceAll(fmt.Sprint(" ", r.Scales), "[]", "none")
		}
		out = append(out, text)
	}
	for _, d := range step.Done {
		out = append(out, "done "+d.Call.SelfID)
	}
	return out
}

// TestScales_PlanAfterTheRun_IsInItsResult: SGLang prefills first and plans its decode then; the run waits, and so does its plan.
func TestScales_PlanAfterTheRun_IsInItsResult(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dumps func(s *script) []*Dump
		want  []string // of Close
	}{
		"by position": {func(s *script) []*Dump { return []*Dump{s.latentPlan("", "arg_10", 0.5)} }, []string{"R [0.5]", "R [0.5]"}},
		"by keyword":  {func(s *script) []*Dump { return []*Dump{s.latentPlan("", "kwarg_sm_scale", 0.5)} }, []string{"R [0.5]", "R [0.5]"}},
		"at another position of the signature": {func(s *script) []*Dump {
			d := s.latentPlan("", "arg_2", 0.5)
			d.Call.Signature = "(self, qo_indptr: torch.Tensor, sm_scale: float)"
			return []*Dump{d}
		}, []string{"R [0.5]", "R [0.5]"}},
		"one scale twice": {func(s *script) []*Dump {
			return []*Dump{s.latentPlan("", "arg_10", 0.5), s.latentPlan("", "arg_10", 0.5)}
		}, []string{"R [0.5]", "R [0.5]"}},
		"two scales": {func(s *script) []*Dump {
			return []*Dump{s.latentPlan("", "arg_10", 0.5), s.latentPlan("", "arg_10", 0.25)}
		}, []string{"R [0.25 0.5]", "R [0.25 0.5]"}},
		"before traffic":     {func(s *script) []*Dump { return []*Dump{s.latentPlan("early", "arg_10", 0.5)} }, []string{"R [0.5]", "R [0.5]"}},
		"none":               {func(*script) []*Dump { return nil }, []string{"R none", "R none"}},
		"a damaged plan":     {func(s *script) []*Dump { return []*Dump{s.latentPlan("bad", "arg_10", 0.5)} }, []string{"R none", "R none"}},
		"not passed":         {func(s *script) []*Dump { return []*Dump{s.latentPlan("", "arg_9", 0.5)} }, []string{"R none", "R none"}},
		"of another process": {func(s *script) []*Dump { return []*Dump{s.latentPlan("pid=2", "arg_10", 0.5)} }, []string{"R none", "R none"}},
		"after the pid was reused": {func(s *script) []*Dump {
			return []*Dump{s.dump("norm x"), s.dump("norm x seq=1"), s.latentPlan("", "arg_10", 0.5)}
		}, nil},
		"a plan of another class": {func(s *script) []*Dump {
			d := s.latentPlan("", "arg_10", 0.5)
			d.Call.Function = "OtherWrapper.plan"
			return []*Dump{d}
		}, []string{"R none", "R none"}},
		"a whole number, as a scale": {func(s *script) []*Dump {
			d := s.latentPlan("", "arg_10", 0)
			d.Call.Values[0] = proto.Value{Key: "arg_10", Type: proto.ValueInt, Int: 1}
			return []*Dump{d}
		}, []string{"R [1]", "R [1]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := newScript(), (&Origin{Borrows: true}).NewPairer()
			require.Empty(t, s.fed(t, p, s.dump("plan R ragged"), s.dump("run R ragged"), s.dump("run R ragged")))
			early := s.fed(t, p, c.dumps(s)...)
			got := slices.DeleteFunc(append(early, s.came(p.Close())...), func(w string) bool { return !strings.HasPrefix(w, "R") })
			if c.want == nil { // the calls before were another process's
				c.want = []string{"R none", "R none"}
			}
			require.Equal(t, c.want, got)
		})
	}
}

// TestScales_PlanOfAWaitingRun_IsNotDoneBefore: a plan whose run waits stays on disk until the run is out.
func TestScales_PlanOfAWaitingRun_IsNotDoneBefore(t *testing.T) {
	t.Parallel()
	s, p := newScript(), (&Origin{Borrows: true}).NewPairer()
	first := s.dump("plan R ragged")
	first.Call.SelfID = "R"
	require.Empty(t, s.fed(t, p, first, s.dump("run R ragged"), s.dump("plan R ragged"), s.dump("plan A"), s.dump("run A"), s.latentPlan("", "arg_10", 0.5))[1:])
	require.Equal(t, []string{"R [0.5]", "done A", "done M", "done R", "done R"}, s.came(p.Close()))
}

// TestScales_NoRoom_ReleasesRunsWithAScale: under pressure runs go with the scale that is known, and a second scale after that is an error.
func TestScales_NoRoom_ReleasesRunsWithAScale(t *testing.T) {
	t.Parallel()
	s, p := newScript(), (&Origin{Borrows: true}).NewPairer()
	s.fed(t, p, s.dump("plan R ragged"), s.dump("run R ragged lse"))
	require.Empty(t, s.came(p.Release(1)), "no scale is known: what is released now could never have one")
	s.fed(t, p, s.latentPlan("", "arg_10", 0.5))
	require.Equal(t, []string{"R [0.5]"}, s.came(p.Release(1)))
	require.Empty(t, s.fed(t, p, s.latentPlan("", "arg_10", 0.5), s.dump("run R ragged"))[1:])
	step := p.Feed(s.latentPlan("", "arg_10", 0.25))
	require.ErrorContains(t, step.Err, "[0.25 0.5], after ragged runs were stored with [0.5] alone")
}

// TestScales_AllDumps_AreReleased: with scales as without them each dump comes out once, and no plan is used after it was done with.
func TestScales_AllDumps_AreReleased(t *testing.T) {
	t.Parallel()
	kinds := []string{"plan R ragged", "plan S ragged", "run R ragged", "run S ragged", "run R ragged lse", "plan P paged", "run P paged lse", "plan R ragged only",
		"plan R ragged bad", "run R ragged bad", "norm x", "norm x seq=1", "init R ragged", "plan S ragged lost", "latent 0.5", "latent 0.25"}
	rapid.Check(t, func(t *rapid.T) {
		s := newScript()
		var dumps []*Dump
		for range rapid.IntRange(0, 60).Draw(t, "calls") {
			line := rapid.SampledFrom(kinds).Draw(t, "call")
			if rest, ok := strings.CutPrefix(line, "latent "); ok {
				scale := 0.5
				if rest != "0.5" {
					scale = 0.25
				}
				dumps = append(dumps, s.latentPlan("", "arg_10", scale))
				continue
			}
			dumps = append(dumps, s.dump(line))
		}
		outcome(t, (&Origin{Borrows: true}).NewPairer(), dumps)
	})
}
