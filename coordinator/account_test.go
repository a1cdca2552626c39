package coordinator

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tracefleet/tracefleet/proto"
)

func accountFixture() (*proto.CollectionState, []*proto.TaskState, []*proto.Publication) {
	refs := []proto.DefinitionRef{{Name: "a", OpType: "x"}, {Name: "b", OpType: "x"}}
	c := &proto.CollectionState{State: proto.StateDone, Spec: proto.Collection{ID: "c", Definitions: refs, Engine: proto.EngineSpec{Kind: proto.EngineReplay}}}
	t0 := &proto.TaskState{State: proto.StateDone, Attempt: 2, Task: proto.Task{Collection: "c", ID: "t000", Definitions: refs, BatchSize: 8},
		Counts:   proto.AttemptCounts{Dumps: 20, Manifests: 12, Plans: 5, Captures: 3, BytesSeen: 1000, PeakBytes: 70, GPUSeconds: 8, EngineSeconds: 2},
		Failures: []proto.Attempt{{Number: 1}}}
	t1 := &proto.TaskState{State: proto.StateDone, Attempt: 1, Task: proto.Task{Collection: "c", ID: "t001", Index: 1, Definitions: refs[:1], BatchSize: 4},
		Counts: proto.AttemptCounts{Dumps: 2, Manifests: 2, BytesSeen: 500, PeakBytes: 90}}
	pubs := []*proto.Publication{
		{Collection: "c", Task: "t000", Index: 0, Attempt: 2, Definition: "a", State: proto.StateDone, Workloads: []string{"u1", "u2"},
			All: proto.Tally{Workload: 3, Duplicate: 2}, Home: proto.Tally{Workload: 2, Duplicate: 3, NotSelected: 1},
			Unclaimed: proto.Tally{Rejected: map[string]int{"no_definition": 2}},
			Seen:      proto.Seen{Axes: map[string]map[int64]int{"batch_size": {8: 3}}, KVLen: map[int64]int{16: 2}}},
		{Collection: "c", Task: "t000", Index: 1, Attempt: 2, Definition: "b", State: proto.StateDone, Workloads: []string{"u3"},
			Home: proto.Tally{Rejected: map[string]int{"dtype": 3, "no_definition": 1}}},
		{Collection: "c", Task: "t001", Index: 0, Attempt: 1, Definition: "a", State: proto.StateDone,
			Home: proto.Tally{Duplicate: 2}, Seen: proto.Seen{Axes: map[string]map[int64]int{"batch_size": {8: 1, 4: 1}}, KVLen: map[int64]int{16: 1}}},
	}
	return c, []*proto.TaskState{t1, t0}, pubs
}

func TestNewAccount(t *testing.T) {
	t.Parallel()
	c, tasks, pubs := accountFixture()
	a := NewAccount(c, tasks, pubs, nil, false)
	if err := a.Check(); err != nil {
		t.Fatal(err)
	}
	want := Total{Dumps: 22, Workloads: 2, Duplicates: 5, NotSelected: 1, Rejected: map[string]int{"no_definition": 3, "dtype": 3}, Plans: 5, Captures: 3,
		NewWorkloads: 3, BatchSizes: []int{4, 8}, EngineSeconds: 2, GPUSeconds: 8, BytesSeen: 1500, PeakBytes: 90}
	if !reflect.DeepEqual(a.Total, want) {
		t.Errorf("total %+v\nwant  %+v", a.Total, want)
	}
	if a.Outcome != OutcomeDone || a.Simulated || a.Tasks[0].ID != "t000" || a.Tasks[0].Attempts != 2 || len(a.Tasks[0].Failures) != 1 {
		t.Errorf("account %+v", a)
	}
	d := a.Definitions[0]
	if d.Published != 2 || d.Of != 2 || len(d.Workloads) != 2 || d.Seen.Axes["batch_size"][8] != 4 || d.Seen.KVLen[16] != 3 || d.Home.Sum() != 8 {
		t.Errorf("definition a %+v", d)
	}
	data, err := json.Marshal(a)
	if err != nil || strings.Contains(string(data), "null") {
		t.Errorf("JSON %s, %v", data, err)
	}
}

// What engines generated, and the time they took for it, is added up, also where they dumped nothing.
func TestAccount_Tokens(t *testing.T) {
	t.Parallel()
	c, tasks, pubs := accountFixture()
	tasks[0].Counts.Tokens, tasks[0].Counts.ServeSeconds = 300, 1.5
	tasks[1].Counts.Tokens, tasks[1].Counts.ServeSeconds = 700, 2.5
	if a := NewAccount(c, tasks, pubs, nil, false); a.Total.Tokens != 1000 || a.Total.ServeSeconds != 4 {
		t.Errorf("total %+v", a.Total)
	}
	for _, task := range tasks {
		task.Counts = proto.AttemptCounts{Tokens: 500, ServeSeconds: 2}
	}
	for _, p := range pubs {
		*p = proto.Publication{Collection: p.Collection, Task: p.Task, Index: p.Index, Attempt: p.Attempt, Definition: p.Definition, State: proto.StateDone}
	}
	a := NewAccount(c, tasks, pubs, nil, false)
	if err := a.Check(); err != nil || a.Outcome != OutcomeNothing || a.Total.Dumps != 0 || a.Total.Tokens != 1000 || len(a.Total.BatchSizes) != 0 {
		t.Errorf("account %+v, %v", a, err)
	}
}

// What was dumped before traffic is shown beside the classes it is in, not added to them; a definition that two tasks saw was
// harvested once.
func TestAccount_BeforeTraffic(t *testing.T) {
	t.Parallel()
	c, tasks, pubs := accountFixture()
	tasks[1].Counts.BeforeTraffic, tasks[0].Counts.BeforeTraffic = 4, 1
	tasks[0].Harvest = []proto.Harvested{{File: "a.json", Digest: "aa"}, {File: "b.json", Digest: "bb"}}
	tasks[1].Harvest = []proto.Harvested{{File: "a.json", Digest: "aa"}}
	a := NewAccount(c, tasks, pubs, nil, false)
	if err := a.Check(); err != nil || a.Total.BeforeTraffic != 5 || a.Total.Sum() != 22 || a.Total.Harvested != 2 {
		t.Errorf("total %+v, %v", a.Total, err)
	}
}

// What does not add up is said, never rounded away.
func TestAccount_Check(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, says string
		edit       func(tasks []*proto.TaskState, pubs []*proto.Publication)
	}{
		{"a manifest without an outcome", "1 manifests have no outcome", func(_ []*proto.TaskState, p []*proto.Publication) { p[2].Home.Duplicate-- }},
		{"a manifest counted twice", "counted more than once", func(_ []*proto.TaskState, p []*proto.Publication) { p[2].Home.Duplicate++ }},
		{"a dump nobody saw", "are accounted for", func(ts []*proto.TaskState, _ []*proto.Publication) { ts[0].Counts.Dumps++ }},
		{"a publication of another attempt", "have no outcome", func(ts []*proto.TaskState, _ []*proto.Publication) { ts[0].Attempt = 9 }},
		{"more before traffic than in all", "21 of them before traffic", func(ts []*proto.TaskState, _ []*proto.Publication) { ts[1].Counts.BeforeTraffic = 21 }},
		{"errors that cancel out", "task t000", func(ts []*proto.TaskState, _ []*proto.Publication) { ts[0].Counts.Dumps++; ts[1].Counts.Dumps-- }},
	} {
		c, tasks, pubs := accountFixture()
		tc.edit(tasks, pubs)
		if err := NewAccount(c, tasks, pubs, nil, false).Check(); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.says)
		}
	}
}

// Manifests of a task that did not get to its publication are pending: visible, and no error unless the collection is done.
func TestAccount_Pending(t *testing.T) {
	t.Parallel()
	c, tasks, pubs := accountFixture()
	c.State, tasks[0].State = proto.StateFailed, proto.StateFailed
	a := NewAccount(c, tasks, pubs[:2], nil, true)
	if err := a.Check(); err != nil || a.Total.Pending != 2 || a.Outcome != OutcomeFailed || !a.Simulated {
		t.Errorf("account %+v, %v", a, err)
	}
}

func TestAccount_Outcome(t *testing.T) {
	t.Parallel()
	for state, want := range map[proto.State]Outcome{
		proto.StateDone: OutcomeNothing, proto.StateFailed: OutcomeFailed, proto.StateCancelled: OutcomeCancelled,
		proto.StateRunning: OutcomeRunning, proto.StateQueued: OutcomeRunning,
	} {
		if a := NewAccount(&proto.CollectionState{State: state}, nil, nil, nil, false); a.Outcome != want || a.Check() != nil {
			t.Errorf("%s: outcome %s, want %s", state, a.Outcome, want)
		}
	}
}

// The classes of any records add up to the dumps.
func TestAccount_AddsUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		refs := []proto.DefinitionRef{{Name: "a"}, {Name: "b"}, {Name: "c"}}
		c := &proto.CollectionState{State: proto.StateFailed, Spec: proto.Collection{ID: "c", Definitions: refs}}
		var tasks []*proto.TaskState
		var pubs []*proto.Publication
		var dumps int64
		small := rapid.IntRange(0, 5)
		for i := range rapid.IntRange(0, 4).Draw(t, "tasks") {
			task := &proto.TaskState{State: proto.StateDone, Attempt: 1, Task: proto.Task{Collection: "c", ID: attemptID("t", uint32(i)), Index: i, Definitions: refs}}
			task.Counts.Plans, task.Counts.Captures = int64(small.Draw(t, "plans")), int64(small.Draw(t, "captures"))
			for j := range refs {
				home := proto.Tally{Workload: small.Draw(t, "w"), Duplicate: small.Draw(t, "d"), NotSelected: small.Draw(t, "n")}
				for range small.Draw(t, "r") {
					home.Reject(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "reason"))
				}
				task.Counts.Manifests += int64(home.Sum())
				if rapid.Bool().Draw(t, "published") {
					pubs = append(pubs, &proto.Publication{Collection: "c", Task: task.Task.ID, Index: j, Attempt: 1, Definition: refs[j].Name, State: proto.StateDone, Home: home})
				}
			}
			task.Counts.Dumps = task.Counts.Manifests + task.Counts.Plans + task.Counts.Captures
			dumps += task.Counts.Dumps
			tasks = append(tasks, task)
		}
		a := NewAccount(c, tasks, pubs, nil, false)
		if err := a.Check(); err != nil || a.Total.Sum() != dumps {
			t.Fatalf("%v: %+v", err, a.Total)
		}
	})
}
