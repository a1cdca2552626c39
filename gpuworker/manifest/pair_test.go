package manifest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// script feeds a Pairer from lines such as "plan A", "run A", "capture A g1", "replay A g1", each a millisecond apart unless
// it begins with "=" (same millisecond as the one before). Further words: "lost" (no metadata), "bad" (damaged), "loose",
// "only" (a class of which only plans are dumped), "early" (before traffic), "unlogged", "lse", "rows=8", "class=C", "pid=2", "seq=5", "qo=x".
type script struct {
	pairer *Pairer
	clock  int
	seq    map[string]int64
	names  map[*Dump]string
	flush  map[string]int
}

func newScript() *script {
	return &script{pairer: new(Origin).NewPairer(), seq: map[string]int64{}, names: map[*Dump]string{}, flush: map[string]int{}}
}

func (s *script) dump(line string) *Dump {
	if rest, ok := strings.CutPrefix(line, "="); ok {
		line = rest
	} else {
		s.clock++
	}
	words := strings.Fields(line)
	kind, self := words[0], words[1]
	class := "BatchDecodeWithPagedKVCacheWrapper"
	d := &Dump{Call: proto.Call{PID: 1, SelfID: self, Timestamp: fmt.Sprintf("%08d", s.clock), Status: "completed"}}
	number, rows := int64(0), int64(4)
	only, early := false, false
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "lost":
			d.Defect, d.Call.SelfID = &proto.Defect{Reason: proto.DefectIncomplete}, ""
		case "bad":
			d.Defect = &proto.Defect{Reason: proto.DefectCorrupt}
		case "gap":
			d.GapAfter = true
		case "loose":
			d.Loose = true
		case "unlogged":
			d.Unlogged = true
		case "only":
			only = true
		case "early":
			early = true
		case "lse":
			d.Call.Values = append(d.Call.Values, proto.Value{Key: "kwarg_return_lse", Type: proto.ValueBool, Bool: true})
		case "ragged":
			class = "BatchPrefillWithRaggedKVCacheWrapper"
		case "paged":
			class = "BatchPrefillWithPagedKVCacheWrapper"
		case "class":
			class = value + "Wrapper"
		case "pid":
			_, _ = fmt.Sscan(value, &d.Call.PID)
		case "seq":
			_, _ = fmt.Sscan(value, &number)
		case "rows":
			_, _ = fmt.Sscan(value, &rows)
		case "qo":
			d.Call.Tensors = []proto.Tensor{{Key: "arg_1", DType: "int32", Digest: value}}
		case "g1", "g2":
			d.Call.Dump = w
		}
	}
	switch kind {
	case "plan":
		d.Role, d.Call.Function = Plan, class+".plan"
	case "capture":
		d.Role, d.Call.Function, d.Call.Capture = Capture, class+".run", true
	case "replay":
		d.Call.Function, d.Call.Capture = class+".run", true
		s.flush[d.Call.Dump]++
		d.Call.Flush = s.flush[d.Call.Dump]
	case "gap": // a replay of which the one before is not there
		s.flush[d.Call.Dump] += 2
		d.Call.Function, d.Call.Flush = class+".run", s.flush[d.Call.Dump]
	case "norm":
		d.Call.Function, d.Call.SelfID = "rmsnorm", ""
	case "init":
		d.Call.Function = class + ".__init__"
	default:
		d.Call.Function = class + ".run"
	}
	if d.Defect != nil {
		d.Role = Run
	}
	if d.Call.Flush == 0 {
		counter := fmt.Sprint(d.Call.PID, d.Call.Function)
		if number == 0 {
			number = s.seq[counter] + 1
		}
		s.seq[counter], d.Call.Sequence = number, number
	}
	if only {
		d.Imply([]string{"Other", class})
	}
	defer func() {
		if early {
			d.MakeEarly()
		}
	}()
	if d.Role != Plan && d.Call.Tensors == nil {
		d.Call.Tensors = []proto.Tensor{{Key: "arg_1", DType: "bfloat16", Shape: []int64{rows, 8, 64}}}
	}
	return d
}

// play gives, for each line that becomes a manifest, the number of the plan's line, or its note, and what it stands beside.
func play(lines ...string) []string {
	s := newScript()
	var out []string
	at := map[*Dump]int{}
	say := func(results []Result) {
		for _, r := range results {
			text := fmt.Sprintf("%d:", at[r.Dump])
			switch {
			case r.Dump.Defect != nil:
				text += "defect"
			case r.Note != "":
				text += string(r.Note)
			case r.Implied:
				text += "implied"
			case r.Plan != nil:
				text += fmt.Sprint(at[r.Plan])
			}
			if r.Beside != "" {
				text += "+" + string(r.Beside)
			}
			out = append(out, text)
		}
	}
	for i, line := range lines {
		d := s.dump(line)
		at[d] = i
		say(s.pairer.Feed(d).Ready)
	}
	say(s.pairer.Close().Ready)
	return out
}

func TestPairing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		lines string
		want  string
	}{
		{"a plan serves all layers", "plan A; run A; run A", "1:0 2:0"},
		{"objects do not mix", "plan A; plan B; run A; run B; run A", "2:0 3:1 4:0"},
		{"latest plan", "plan A; run A; plan A; run A", "1:0 3:2"},
		{"no plan", "plan A; run B", "1:missing"},
		{"processes do not mix", "plan A; run A pid=2", "1:missing"},
		{"plain functions need none", "norm x; norm x", "0: 1:"},
		{"object without identity", "plan A; run A lost", "1:defect"},

		{"replay takes the plan since the capture", "plan A; capture A g1; plan A; replay A g1", "3:2"},
		{"replay does not take the plan of the capture", "plan A; capture A g1; replay A g1", "2:stale"},
		{"replay does not take a plan twice", "plan A; capture A g1; plan A; replay A g1; replay A g1", "3:2 4:stale"},
		{"all layers of a replay take one plan", "plan A; capture A g1; capture A g2; plan A; replay A g1; replay A g2; plan A; replay A g1; replay A g2", "4:3 5:3 7:6 8:6"},
		{"an unlogged plan in between", "plan A; capture A g1; plan A; replay A g1; replay A g1; plan A; replay A g1", "3:2 4:stale 6:5"},
		{"replay of an object without plan", "capture A g1; replay A g1", "1:missing"},
		{"a lost replay may have used the plan", "plan A; capture A g1; plan A; gap A g1; plan A; replay A g1", "3:unordered 5:4"},
		{"damaged capture", "plan A; capture A g1 lost; replay A g1; plan A; replay A g1", "1:defect 2:stale 4:3"},
		{"replay without capture", "plan A; replay A g1; plan A; replay A g1", "1:unordered 3:2"},
		{"eager run after capture without new plan", "plan A; run A; capture A g1; run A; plan A; run A", "1:0 3:stale 5:4"},

		{"damaged plan hides older ones", "plan A; run A; plan A bad; run A; plan A; run A", "1:0 2:defect 3:unreadable 5:4"},
		{"damaged plan of another object", "plan A; plan B; plan B bad; run A; run B", "2:defect 3:0 4:unreadable"},
		{"lost plan may be anyone's", "plan A; plan B; plan A lost; run A; run B; plan B; run B; run A", "2:defect 3:unreadable 4:unreadable 6:5 7:unreadable"},
		{"lost plan may be a new object's", "plan A lost; run A", "0:defect 1:unreadable"},
		{"lost plan of another class", "plan A; plan B lost class=Other; run A", "1:defect 2:0"},
		{"plan that is not in the directory", "plan A seq=1; plan B seq=2; run A; plan B seq=4; run A; run B", "2:0 4:unreadable 5:3"},
		{"plan known to be missing", "plan A seq=1 gap; run A; plan A seq=3; run A", "1:unreadable 3:2"},
		{"runs that are not in the directory", "plan A; run A seq=1; run A seq=7", "1:0 2:0"},
		{"unlogged metadata", "plan A; plan A unlogged; run A", "2:unlogged_meta"},

		{"id used again by another class", "plan A; plan A class=Other; run A", "2:missing"},
		{"id used again and back", "plan A; run A class=Other; run A", "1:missing 2:missing"},
		{"id used again by the same class", "plan A; run A; init A; run A; plan A; run A", "1:0 2: 3:missing 5:4"},
		{"another object made", "plan A; init B; run A", "1: 2:0"},
		{"object made after a lost plan", "plan A lost; init A; run A", "0:defect 1: 2:unreadable"},
		{"pid used again", "plan A seq=1; run A seq=1; plan B seq=1; run B seq=1; run A seq=2", "1:0 3:2 4:missing"},

		{"same millisecond, plan not logged", "plan A; run A; plan A loose; =run A; run A", "1:0 3:unordered 4:2"},
		{"same millisecond, run not logged", "plan A; run A; plan A; =run A loose; run A", "1:0 3:unordered 4:2"},
		{"same millisecond, all logged", "plan A; =run A; =plan A; =run A", "1:0 3:2"},
		{"replay after a plan that is not logged", "plan A; capture A g1; plan A loose; replay A g1", "3:unordered"},
		{"replay that is not logged", "plan A; capture A g1; plan A; replay A g1 loose", "3:unordered"},

		{"ragged and paged", "plan R ragged; plan P paged; run R ragged lse; run P paged lse; run R ragged lse; run P paged lse",
			"2:0+paged 3:1+ragged 4:0+paged 5:1+ragged"},
		// The mark that matters is the paged run's; a ragged run that follows two paged ones keeps none.
		{"paged first", "plan R ragged; plan P paged; run P paged lse; run R ragged lse; run P paged lse; run R ragged lse",
			"2:1+ragged 3:0+paged 4:1+ragged 5:0"},
		{"other calls in between", "plan R ragged; plan P paged; run R ragged lse; norm x; run P paged lse", "2:0 3: 4:1+ragged"},
		{"two paged halves", "plan R ragged; plan P paged; plan Q paged; run R ragged lse; run P paged lse; run Q paged lse", "3:0+paged 4:1+ragged 5:2+ragged"},
		{"without log-sum-exp", "plan R ragged; plan P paged; run R ragged; run P paged lse", "2:0 3:1"},
		{"other rows", "plan R ragged; plan P paged; run R ragged lse rows=3; run P paged lse", "2:0 3:1"},
		{"other queries", "plan R ragged qo=a; plan P paged qo=b; run R ragged lse; run P paged lse", "2:0 3:1"},
		{"same queries", "plan R ragged qo=a; plan P paged qo=a; run R ragged lse; run P paged lse", "2:0+paged 3:1+ragged"},
		{"next forward pass", "plan R ragged; run R ragged lse; plan P paged; run P paged lse", "1:0 3:2"},
		{"two batches at once", "plan R ragged; plan S ragged; plan P paged; plan Q paged; run R ragged lse; norm x; run S ragged lse rows=8; norm x; run P paged lse; run Q paged lse rows=8",
			"4:0 5: 6:1 7: 8:2+ragged 9:3+ragged"},
		{"two batches at once, next to each other", "plan R ragged; plan S ragged; plan P paged; plan Q paged; run R ragged lse; run S ragged lse rows=8; run P paged lse; run Q paged lse rows=8",
			"4:0 5:1 6:2+ragged 7:3+ragged"},
		{"a wrapper's latest ragged run only", "plan P paged; plan R ragged; run R ragged lse; norm x; run R ragged lse rows=8; norm x; run P paged lse",
			"2:1 3: 4:1 5: 6:0"},
		{"a plan of a class without runs", "plan A only; plan B; run B; plan A only", "0:implied 2:1 3:implied"},
		{"runs of a class that has none", "plan A only; run A; run A", "0:implied 1:0 2:0"},
		{"implied by unlogged metadata", "plan A only unlogged; run A", "0:unlogged_meta 1:unlogged_meta"},
		{"implied, damaged", "plan A only bad; plan B only lost", "0:defect 1:defect"},
		{"implied after what waited", "plan R ragged; run R ragged lse; plan D only", "1:0 2:implied"},

		{"a plan before traffic serves no run", "plan A early; run A early; run A; plan A; run A", "1:defect 2:early 4:3"},
		{"implied before traffic", "plan A only early; run A; plan A only; run A", "0:defect 1:early 2:implied 3:2"},
		{"captured before traffic", "plan A early; capture A g1 early; replay A g1 early; replay A g1; plan A; replay A g1", "2:defect 3:early 5:4"},
		{"early, of an object not known", "plan A early lost; plan B; run B; run A", "0:defect 2:1 3:unreadable"},
		{"decode is not paged prefill", "plan R ragged; plan D; run R ragged lse; run D lse", "2:0 3:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(play(strings.Split(c.lines, "; ")...), " "); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.lines, got, c.want)
			}
		})
	}
}

// TestEveryDumpComesOut feeds random calls of several processes: each dump comes out once, as a Result or as a plan that is
// done with, no plan is used after it was, and interleaving changes nothing.
func TestEveryDumpComesOut(t *testing.T) {
	t.Parallel()
	kinds := []string{"plan A", "plan B", "plan R ragged", "plan P paged", "run A", "run B", "run A lse", "run R ragged lse", "run P paged lse", "plan A bad",
		"plan B lost", "run B bad", "capture A g1", "replay A g1", "plan A unlogged", "norm x", "init A", "plan A loose", "run B loose", "plan A class=Other", "plan A only", "plan B only lost", "plan R ragged only", "plan A early", "run A early",
		"plan A only early", "capture A g1 early", "replay A g1 early", "plan B early lost"}
	rapid.Check(t, func(t *rapid.T) {
		s := newScript()
		lists := map[int64][]*Dump{}
		for range rapid.IntRange(0, 60).Draw(t, "calls") {
			pid := rapid.Int64Range(1, 3).Draw(t, "pid")
			line := rapid.SampledFrom(kinds).Draw(t, "call")
			lists[pid] = append(lists[pid], s.dump(fmt.Sprintf("%s pid=%d", line, pid)))
		}
		alone := new(Origin).NewPairer()
		var want []string
		for _, pid := range sortedKeys(lists) {
			want = append(want, outcome(t, alone, lists[pid])...)
		}
		var mixed []*Dump
		for rest := lists; len(rest) > 0; {
			pid := rapid.SampledFrom(sortedKeys(rest)).Draw(t, "turn")
			mixed = append(mixed, rest[pid][0])
			if rest[pid] = rest[pid][1:]; len(rest[pid]) == 0 {
				delete(rest, pid)
			}
		}
		got := outcome(t, new(Origin).NewPairer(), mixed)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("interleaved %v\nalone %v", got, want)
		}
	})
}

func outcome(t *rapid.T, p *Pairer, dumps []*Dump) []string {
	var out []string
	results, done := map[*Dump]int{}, map[*Dump]int{}
	take := func(step Step) {
		for _, r := range step.Ready {
			results[r.Dump]++
			if r.Plan != nil && done[r.Plan] > 0 {
				t.Fatalf("a plan was used after it was done with")
			}
			if r.Plan != nil && r.Plan.Call.SelfID != r.Dump.Call.SelfID {
				t.Fatalf("plan of %s serves %s", r.Plan.Call.SelfID, r.Dump.Call.SelfID)
			}
			out = append(out, fmt.Sprintf("%p %p %s %s", r.Dump, r.Plan, r.Note, r.Beside))
		}
		for _, d := range step.Done {
			done[d]++
		}
	}
	for _, d := range dumps {
		take(p.Feed(d))
	}
	take(p.Close())
	for _, d := range dumps {
		wantResult, wantDone := 1, 0
		switch d.Role {
		case Plan:
			wantResult, wantDone = 0, 1
		case Implied:
			wantDone = 1
		case Capture:
			wantResult = 0
		}
		if results[d] != wantResult || done[d] != wantDone {
			t.Fatalf("%s: %d results, done with %d times", d.Call.Function, results[d], done[d])
		}
	}
	return out
}

// TestImply_SubclassThatIsPlannedAsItsBase_StandsForRuns: a wrapper with attention sinks does not; its plan lacks the scale that its run has.
func TestImply_SubclassThatIsPlannedAsItsBase_StandsForRuns(t *testing.T) {
	t.Parallel()
	const base = "BatchDecodeWithPagedKVCacheWrapper"
	for class, want := range map[string]Role{base: Implied, "CUDAGraph" + base: Implied, "BatchDecodeWithAttentionSinkWrapper": Plan, "OtherWrapper": Plan} {
		d := &Dump{Role: Plan, Call: proto.Call{Function: class + ".plan"}}
		if d.Imply([]string{base}); d.Role != want {
			t.Errorf("%s is %d, want %d", class, d.Role, want)
		}
	}
	got := PlansAlone([]fidump.Name{{Function: "CUDAGraph" + base + ".plan"}, {Function: base + ".plan"}, {Function: "OtherWrapper.plan"}, {Function: "OtherWrapper.run"}})
	if len(got) != 1 || got[base] != 2 {
		t.Errorf("plans alone %v", got)
	}
}
