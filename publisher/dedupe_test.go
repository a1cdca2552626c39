package publisher

import (
	"slices"
	"testing"

	"github.com/tracefleet/tracefleet/proto"
)

// One call stands for each reason, the same whatever the order; and ranks are known once all processes are.
func TestGathered_ExamplesAndRanks(t *testing.T) {
	t.Parallel()
	reject := func(manifest, dump string) *proto.Verdict {
		return &proto.Verdict{
			Manifest: manifest, Provenance: proto.Provenance{Host: "h", PID: 30, Rank: -1, Dump: dump},
			Rejections: []proto.Rejection{{Definition: "d", Reason: "dtype", Detail: "of " + dump}},
		}
	}
	fits := &proto.Verdict{
		Manifest: "m", Provenance: proto.Provenance{Host: "h", PID: 20, Rank: -1},
		Candidates: []proto.Candidate{{Definition: "d", UUID: "u"}},
	}
	other := &proto.Verdict{
		Manifest: "n", Provenance: proto.Provenance{Host: "other", PID: 5, Rank: -1},
		Rejections: []proto.Rejection{{Definition: "e", Reason: "rank"}},
	}
	verdicts := []*proto.Verdict{reject("b", "later"), fits, reject("a", "first"), other}
	for range verdicts {
		verdicts = append(verdicts[1:], verdicts[0])
		g := NewGathered([]string{"d", "e"}, 0)
		for _, v := range verdicts {
			g.Add(v)
		}
		want := []proto.Example{{Reason: "dtype", Manifest: "a", Dump: "first", Detail: "of first"}}
		if got := g.Examples(); !slices.Equal(got, want) {
			t.Errorf("examples %+v, want %+v", got, want)
		}
		if c := g.Contents(); len(c) != 1 || c[0].Provenance.Rank != 0 {
			t.Errorf("contents %+v, want one of rank 0: pid 20 comes before 30, and 5 is of another host", c)
		}
	}
}
