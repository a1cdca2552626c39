package coordinator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/tracefleet/tracefleet/proto"
)

// Outcome is how a collection ended, as an exit code wants to know it.
type Outcome string

// The outcomes.
const (
	OutcomeRunning   Outcome = "running"   // not ended: the same submission, or `jobs watch`, goes on with it
	OutcomeDone      Outcome = "done"      // new workloads were written
	OutcomeNothing   Outcome = "nothing"   // all went well and nothing new was collected
	OutcomeFailed    Outcome = "failed"    // a task or a push failed
	OutcomeRefused   Outcome = "refused"   // the evaluation gate refused; the workloads are written, their pull request is a draft
	OutcomeCancelled Outcome = "cancelled" // the user said so
)

// Account is the closing account of a collection: where every dump went.
type Account struct {
	Collection  string              `json:"collection"`
	State       proto.State         `json:"state"`
	Outcome     Outcome             `json:"outcome"`
	Engine      proto.EngineKind    `json:"engine"`
	Simulated   bool                `json:"simulated"`          // no GPU ran for at least some of it
	Recorded    []RecordedCalls     `json:"recorded,omitempty"` // replay: what is known of the calls
	TraceDir    string              `json:"trace_dir"`
	Failure     *proto.Failure      `json:"failure,omitempty"`
	Definitions []DefinitionAccount `json:"definitions"` // sorted by name
	Tasks       []TaskAccount       `json:"tasks"`       // in planned order
	Evaluations []TaskAccount       `json:"evaluations,omitempty"`
	Pushes      []PushAccount       `json:"pushes,omitempty"` // in the collection's order of definitions
	Total       Total               `json:"total"`
}

// PushAccount is how a definition's pull request stands.
type PushAccount struct {
	Definition string            `json:"definition"`
	URL        string            `json:"url,omitempty"`
	Open       bool              `json:"open"` // no draft any more
	Held       bool              `json:"held"` // Workloads are not in it: it is open, and the evaluation has not passed
	Workloads  int               `json:"workloads"`
	Skipped    []string          `json:"skipped,omitempty"` // uuids left out: the repository has as much already
	Commits    int               `json:"commits"`
	Bytes      int64             `json:"bytes"`
	Plan       []string          `json:"plan,omitempty"` // --no-push: what would be done
	Evaluation *proto.Evaluation `json:"evaluation,omitempty"`
	Warnings   []string          `json:"warnings,omitempty"`
	Failure    *proto.Failure    `json:"failure,omitempty"`
}

// DefinitionAccount is what became of the calls of one definition's API, over all tasks.
type DefinitionAccount struct {
	Name      string      `json:"name"`
	OpType    string      `json:"op_type"`
	Published int         `json:"published"` // tasks whose batch was published
	Of        int         `json:"of"`        // tasks that hold the definition
	Workloads []string    `json:"workloads"` // uuids that are new in the dataset, in the order of their lines
	All       proto.Tally `json:"all"`       // every verdict about this definition; a call may fit several
	Home      proto.Tally `json:"home"`      // those counted in the total
	Seen      proto.Seen  `json:"seen"`
	// Examples has, for each reason of a rejection, one of its calls.
	Examples []proto.Example `json:"examples,omitempty"`
}

// TaskAccount is how one task went.
type TaskAccount struct {
	ID        string              `json:"id"`
	State     proto.State         `json:"state"`
	BatchSize int                 `json:"batch_size,omitempty"` // requests in flight; absent where the engine serves none
	Attempts  uint32              `json:"attempts"`
	Worker    string              `json:"worker,omitempty"`
	Counts    proto.AttemptCounts `json:"counts"`
	Failure   *proto.Failure      `json:"failure,omitempty"`
	Failures  []proto.Attempt     `json:"failures,omitempty"` // attempts that did not count
}

// Total adds the tasks up. Dumps = Workloads + Duplicates + NotSelected + all of Rejected + Pending + Plans + Captures.
type Total struct {
	Dumps       int64          `json:"dumps"`
	Workloads   int64          `json:"workloads"` // dumps whose content is a line of the dataset
	Duplicates  int64          `json:"duplicates"`
	NotSelected int64          `json:"not_selected"`
	Rejected    map[string]int `json:"rejected"`
	Pending     int64          `json:"pending"` // converted or not, but of tasks that did not reach their publication
	Plans       int64          `json:"plans"`
	Captures    int64          `json:"captures"`
	// BeforeTraffic counts, of Dumps, those made before the first request of ours. Each is in a class above all the same: a run
	// among them is rejected as before_traffic, a plan or a capture is counted as such.
	BeforeTraffic int64 `json:"before_traffic"`

	NewWorkloads  int     `json:"new_workloads"`         // lines added, over all definitions
	BatchSizes    []int   `json:"batch_sizes,omitempty"` // of the tasks that were collected, where their engine serves requests
	EngineSeconds float64 `json:"engine_seconds"`
	GPUSeconds    float64 `json:"gpu_seconds"`
	Tokens        int64   `json:"tokens"`        // generated, by engines that count them
	ServeSeconds  float64 `json:"serve_seconds"` // from each engine's first request to its last answer
	BytesSeen     int64   `json:"bytes_seen"`
	BytesRead     int64   `json:"bytes_read"`
	BytesShipped  int64   `json:"bytes_shipped"`
	PeakBytes     int64   `json:"peak_bytes"` // the most one dump directory held
	Harvested     int     `json:"harvested"`  // distinct definitions that FlashInfer's trace dump wrote
}

// NewAccount makes the account from the records of a collection.
func NewAccount(c *proto.CollectionState, tasks []*proto.TaskState, pubs []*proto.Publication, pushes []*proto.PushState, simulated bool) *Account {
	r := records{collection: c, pubs: map[string]*proto.Publication{}}
	for _, t := range tasks {
		if t.Task.Evaluate == nil {
			r.tasks = append(r.tasks, t)
		}
	}
	sortTasks(r.tasks)
	for _, p := range pubs {
		r.pubs[proto.PublicationKey(p.Collection, p.Task, p.Index)] = p
	}
	a := &Account{
		Collection: c.Spec.ID, State: c.State, Engine: c.Spec.Engine.Kind, TraceDir: c.Spec.Publish.TraceDir, Failure: c.Failure,
		Simulated: simulated || c.Spec.Engine.Kind == proto.EngineSimulate, Definitions: []DefinitionAccount{}, Tasks: []TaskAccount{},
	}
	a.Total.Rejected = map[string]int{}
	harvested := map[string]bool{}
	for _, t := range r.tasks {
		for _, h := range t.Harvest {
			harvested[h.Digest] = true // tasks of one model see the same functions
		}
	}
	a.Total.Harvested = len(harvested)
	defs := map[string]*DefinitionAccount{}
	for _, d := range c.Spec.Definitions {
		defs[d.Name] = &DefinitionAccount{Name: d.Name, OpType: d.OpType, Workloads: []string{}}
	}
	for _, t := range r.tasks {
		a.addTask(&r, t, defs)
	}
	slices.Sort(a.Total.BatchSizes)
	a.Total.BatchSizes = slices.Compact(a.Total.BatchSizes)
	for _, name := range slices.Sorted(maps.Keys(defs)) {
		a.Definitions = append(a.Definitions, *defs[name])
		a.Total.NewWorkloads += len(defs[name].Workloads)
	}
	a.addPushes(tasks, pushes)
	a.Outcome = a.outcome()
	return a
}

// addPushes tells of the pull requests and of the evaluations for them, whose GPU time is in the total.
func (a *Account) addPushes(tasks []*proto.TaskState, pushes []*proto.PushState) {
	for _, t := range tasks {
		if t.Task.Evaluate != nil {
			a.Evaluations = append(a.Evaluations, newTaskAccount(t))
			a.Total.GPUSeconds += t.Counts.GPUSeconds
		}
	}
	pushes = slices.Clone(pushes)
	slices.SortFunc(pushes, func(a, b *proto.PushState) int { return cmp.Compare(a.Index, b.Index) })
	for _, p := range pushes {
		a.Pushes = append(a.Pushes, PushAccount{
			Definition: p.Definition, URL: p.URL, Open: p.Open, Held: p.Held, Workloads: len(p.Workloads), Skipped: p.Skipped, Commits: p.Commits, Bytes: p.Bytes, Plan: p.Plan,
			Evaluation: p.Evaluation, Warnings: p.Warnings, Failure: p.Failure,
		})
	}
}

func newTaskAccount(t *proto.TaskState) TaskAccount {
	return TaskAccount{
		ID: t.Task.ID, State: t.State, BatchSize: t.Task.BatchSize, Attempts: t.Attempt, Worker: t.Worker,
		Counts: t.Counts, Failure: t.Failure, Failures: t.Failures,
	}
}

func (a *Account) addTask(r *records, t *proto.TaskState, defs map[string]*DefinitionAccount) {
	a.Tasks = append(a.Tasks, newTaskAccount(t))
	s, n := &a.Total, t.Counts
	s.Dumps += n.Dumps
	s.Plans += n.Plans
	s.Captures += n.Captures
	s.BeforeTraffic += n.BeforeTraffic
	s.EngineSeconds += n.EngineSeconds
	s.GPUSeconds += n.GPUSeconds
	s.Tokens += n.Tokens
	s.ServeSeconds += n.ServeSeconds
	s.BytesSeen += n.BytesSeen
	s.BytesRead += n.BytesRead
	s.BytesShipped += n.BytesShipped
	s.PeakBytes = max(s.PeakBytes, n.PeakBytes)
	if n.Dumps > 0 && t.Task.BatchSize > 0 {
		s.BatchSizes = append(s.BatchSizes, t.Task.BatchSize)
	}
	var counted proto.Tally
	for i, d := range t.Task.Definitions {
		da := defs[d.Name]
		if da == nil {
			da = &DefinitionAccount{Name: d.Name, OpType: d.OpType, Workloads: []string{}}
			defs[d.Name] = da
		}
		da.Of++
		for _, w := range t.Written {
			if w.Definition == d.Name {
				da.addWorkloads(w.Workloads)
			}
		}
		// A task that was queued again has no counts, and nothing of its earlier attempt counts either, but for its lines.
		pub := r.ended(t, i)
		if pub == nil || t.Counts.Manifests == 0 && t.State != proto.StateDone {
			continue
		}
		da.addWorkloads(pub.Workloads)
		if pub.State == proto.StateDone {
			da.Published++
		}
		da.All.Add(pub.All)
		da.Home.Add(pub.Home)
		addSeen(&da.Seen, pub.Seen)
		da.addExamples(pub.Examples)
		counted.Add(pub.Home)
		counted.Add(pub.Unclaimed)
	}
	s.Workloads += int64(counted.Workload)
	s.Duplicates += int64(counted.Duplicate)
	s.NotSelected += int64(counted.NotSelected)
	for reason, k := range counted.Rejected {
		s.Rejected[reason] += k
	}
	s.Pending += n.Manifests - int64(counted.Sum())
}

// addWorkloads adds uuids, each once: a retried task's are in its own record, and may still be in its publication's.
func (d *DefinitionAccount) addWorkloads(uuids []string) {
	for _, u := range uuids {
		if !slices.Contains(d.Workloads, u) {
			d.Workloads = append(d.Workloads, u)
		}
	}
}

// addExamples keeps one example a reason: the first task's.
func (d *DefinitionAccount) addExamples(more []proto.Example) {
	for _, e := range more {
		if !slices.ContainsFunc(d.Examples, func(have proto.Example) bool { return have.Reason == e.Reason }) {
			d.Examples = append(d.Examples, e)
		}
	}
}

// addSeen adds u to s.
func addSeen(s *proto.Seen, u proto.Seen) {
	for axis, values := range u.Axes {
		if s.Axes == nil {
			s.Axes = map[string]map[int64]int{}
		}
		if s.Axes[axis] == nil {
			s.Axes[axis] = map[int64]int{}
		}
		for v, n := range values {
			s.Axes[axis][v] += n
		}
	}
	for length, n := range u.KVLen {
		if s.KVLen == nil {
			s.KVLen = map[int64]int{}
		}
		s.KVLen[length] += n
	}
}

func (a *Account) outcome() Outcome {
	switch {
	case a.State == proto.StateFailed && a.Failure != nil && a.Failure.Code == proto.CodeEvaluationRefused:
		return OutcomeRefused
	case a.State == proto.StateFailed:
		return OutcomeFailed
	case a.State == proto.StateCancelled:
		return OutcomeCancelled
	case a.State != proto.StateDone:
		return OutcomeRunning
	case a.Total.NewWorkloads == 0:
		return OutcomeNothing
	}
	return OutcomeDone
}

// Sum adds the classes up; it equals Dumps unless a record is wrong.
func (t Total) Sum() int64 {
	n := t.Workloads + t.Duplicates + t.NotSelected + t.Pending + t.Plans + t.Captures
	for _, k := range t.Rejected {
		n += int64(k)
	}
	return n
}

// Check reports the first way in which the account does not add up: an internal failure, and a bug of ours.
func (a *Account) Check() error {
	t := a.Total
	switch {
	case t.Sum() != t.Dumps:
		return proto.Failf(proto.CodeInternal, "account of %s: %d dumps, but %d are accounted for", a.Collection, t.Dumps, t.Sum())
	case t.Pending < 0:
		return proto.Failf(proto.CodeInternal, "account of %s: %d manifests were counted more than once", a.Collection, -t.Pending)
	case t.Pending > 0 && a.State == proto.StateDone:
		return proto.Failf(proto.CodeInternal, "account of %s: it is done, but %d manifests have no outcome", a.Collection, t.Pending)
	}
	for _, task := range a.Tasks {
		if n := task.Counts; n.Dumps != n.Manifests+n.Plans+n.Captures {
			return proto.Failf(proto.CodeInternal, "account of %s: task %s has %d dumps, but %d manifests, %d plans and %d captures",
				a.Collection, task.ID, n.Dumps, n.Manifests, n.Plans, n.Captures)
		} else if n.BeforeTraffic > n.Dumps {
			return proto.Failf(proto.CodeInternal, "account of %s: task %s has %d dumps, but %d of them before traffic",
				a.Collection, task.ID, n.Dumps, n.BeforeTraffic)
		}
	}
	return nil
}

// String gives the account in one line, for logs.
func (a *Account) String() string {
	rejected := 0
	for _, n := range a.Total.Rejected {
		rejected += n
	}
	return fmt.Sprintf("%s: %d dumps: %d workloads, %d duplicates, %d not selected, %d rejected, %d plans, %d captures, %d pending",
		a.Outcome, a.Total.Dumps, a.Total.Workloads, a.Total.Duplicates, a.Total.NotSelected, rejected, a.Total.Plans, a.Total.Captures,
		a.Total.Pending)
}
