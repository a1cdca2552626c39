package proto

import (
	"fmt"
	"slices"
	"time"
)

// State is where a collection or a task stands.
type State string

// The states, in the order they are passed.
const (
	StateQueued     State = "queued"     // task: in the queue. collection: accepted, being planned
	StateRunning    State = "running"    // task: an attempt owns it. collection: tasks are under way
	StateCollected  State = "collected"  // task: the engine ended, every manifest of the counted attempt is stored
	StatePublishing State = "publishing" // task: every manifest is accounted for, definitions are being published
	StateDone       State = "done"
	StateFailed     State = "failed"
	StateCancelled  State = "cancelled"
)

// moves lists the allowed changes of a task's state. Retry is the only way out of a final state.
var moves = map[State][]State{
	StateQueued:     {StateRunning, StateFailed, StateCancelled},
	StateRunning:    {StateRunning, StateQueued, StateCollected, StateFailed, StateCancelled},
	StateCollected:  {StatePublishing, StateDone, StateFailed, StateCancelled},
	StatePublishing: {StateDone, StateFailed, StateCancelled},
	StateDone:       {StateQueued},
	StateFailed:     {StateQueued},
	StateCancelled:  {StateQueued},
}

// Final reports whether nothing more happens by itself.
func (s State) Final() bool { return s == StateDone || s == StateFailed || s == StateCancelled }

// CanMove reports whether a task may go from s to next. Running to running is a new attempt after a lost one; running to
// queued is a worker that was told to drain and hands the task back. Collected to done, and done to queued, are moves of
// evaluations alone: they publish nothing, and one that was refused is run again by a retry.
func (s State) CanMove(next State) bool { return slices.Contains(moves[s], next) }

// CollectionState is the truth about a collection, in the collections bucket under its id. The coordinator writes it; the
// user's side sets only Cancel and Retry, by compare-and-set like everyone else.
type CollectionState struct {
	Spec       Collection `msgpack:"spec" json:"spec"`
	State      State      `msgpack:"state" json:"state"`
	Tasks      []string   `msgpack:"tasks" json:"tasks"`                         // ids in planned order; empty until planned
	Cancel     bool       `msgpack:"cancel,omitempty" json:"cancel,omitempty"`   // the user asked to cancel
	Retry      bool       `msgpack:"retry,omitempty" json:"retry,omitempty"`     // the user asked to retry what failed
	Failure    *Failure   `msgpack:"failure,omitempty" json:"failure,omitempty"` // state failed
	StartedAt  time.Time  `msgpack:"started_at" json:"started_at"`
	FinishedAt time.Time  `msgpack:"finished_at,omitempty" json:"finished_at,omitzero"`
}

// TaskState is the truth about a task, in the tasks bucket under "<collection>.<task>". Its revision is the ownership: the
// attempt that wrote the latest running record owns the task, whoever still holds a queue message.
type TaskState struct {
	Task        Task          `msgpack:"task" json:"task"`
	State       State         `msgpack:"state" json:"state"`
	Attempt     uint32        `msgpack:"attempt" json:"attempt"`                   // number of the counted attempt, from 1
	Worker      string        `msgpack:"worker,omitempty" json:"worker,omitempty"` // who runs or ran it
	Heartbeat   time.Time     `msgpack:"heartbeat" json:"heartbeat"`               // last sign of the owner
	StartedAt   time.Time     `msgpack:"started_at,omitempty" json:"started_at,omitzero"`
	FinishedAt  time.Time     `msgpack:"finished_at,omitempty" json:"finished_at,omitzero"`
	Counts      AttemptCounts `msgpack:"counts" json:"counts"`                       // of the counted attempt, from state collected on
	Published   int           `msgpack:"published" json:"published"`                 // definitions whose publication ended, in the task's order
	Failure     *Failure      `msgpack:"failure,omitempty" json:"failure,omitempty"` // state failed
	Failures    []Attempt     `msgpack:"failures,omitempty" json:"failures,omitempty"`
	NotBefore   time.Time     `msgpack:"not_before,omitempty" json:"not_before,omitzero"`    // earliest start of the next attempt
	Interrupted int           `msgpack:"interrupted,omitempty" json:"interrupted,omitempty"` // attempts handed back by a drain; they burn no retry
	Forgiven    int           `msgpack:"forgiven,omitempty" json:"forgiven,omitempty"`       // how many of Failures a retry by the user forgave
	Written     []Written     `msgpack:"written,omitempty" json:"written,omitempty"`         // what attempts before a retry published, which stays
	Harvest     []Harvested   `msgpack:"harvest,omitempty" json:"harvest,omitempty"`         // definitions that FlashInfer wrote of what was called (--trace-dump)
}

// Written is what an attempt published of a definition before its task failed over another one and was retried.
type Written struct {
	Definition string   `msgpack:"definition" json:"definition"`
	Workloads  []string `msgpack:"workloads" json:"workloads"` // uuids
}

// The files that an evaluation leaves: an array of flashinfer-bench's traces, and one of what the baseline computed, summed up.
const (
	TracesFile  = "traces.json"
	OutputsFile = "outputs.json"
)

// Harvested is a definition as FlashInfer's trace dump wrote it, before it is made true. Its JSON is in the definitions bucket.
type Harvested struct {
	File   string `msgpack:"file" json:"file"`     // name of the file FlashInfer wrote
	Digest string `msgpack:"digest" json:"digest"` // hex SHA-256 of its content, key in the definitions bucket
}

// The retry budget of a task: so many failed attempts, of retryable failures, or so many lost ones end it. A worker that was
// lost says less about the task than an engine that failed.
const (
	MaxAttempts = 3
	MaxLost     = 5
)

// An owner renews its TaskState's heartbeat at least every HeartbeatInterval; after HeartbeatTimeout without, it is dead and
// the task may be taken over.
const (
	HeartbeatInterval = 5 * time.Second
	HeartbeatTimeout  = 30 * time.Second
)

// AttemptsLeft gives how many more attempts may fail before the task does, never negative.
func (s *TaskState) AttemptsLeft() int {
	failed, lost := 0, 0
	for _, a := range s.Failures[min(max(s.Forgiven, 0), len(s.Failures)):] {
		if a.Failure.Code == CodeAttemptLost {
			lost++
		} else {
			failed++
		}
	}
	return max(0, min(MaxAttempts-failed, MaxLost-lost))
}

// Attempt is a try that failed.
type Attempt struct {
	Number  uint32    `msgpack:"number" json:"number"`
	Worker  string    `msgpack:"worker" json:"worker"`
	At      time.Time `msgpack:"at" json:"at"`
	Failure Failure   `msgpack:"failure" json:"failure"`
}

// AttemptCounts is what an attempt saw. Every dump is in one of the first four: Dumps = Manifests + Plans + Captures.
type AttemptCounts struct {
	Dumps         int64   `msgpack:"dumps" json:"dumps"`                                       // dump directories and graph replays seen
	Manifests     int64   `msgpack:"manifests" json:"manifests"`                               // runs (and defective dumps): one verdict each will come
	Plans         int64   `msgpack:"plans" json:"plans"`                                       // plan calls, which travel with their runs
	Captures      int64   `msgpack:"captures" json:"captures"`                                 // graph captures: only their replays carry values
	BeforeTraffic int64   `msgpack:"before_traffic,omitempty" json:"before_traffic,omitempty"` // of Dumps: made before our first request; they never become workloads
	BytesSeen     int64   `msgpack:"bytes_seen" json:"bytes_seen"`                             // on disk, as file sizes
	BytesRead     int64   `msgpack:"bytes_read" json:"bytes_read"`                             // metadata, headers and integer tensors
	BytesShipped  int64   `msgpack:"bytes_shipped" json:"bytes_shipped"`                       // messages and stored tensors
	PeakBytes     int64   `msgpack:"peak_bytes" json:"peak_bytes"`                             // most the dump directory held
	EngineSeconds float64 `msgpack:"engine_seconds" json:"engine_seconds"`                     // engine lifetime
	Tokens        int64   `msgpack:"tokens,omitempty" json:"tokens,omitempty"`                 // generated for our requests
	ServeSeconds  float64 `msgpack:"serve_seconds,omitempty" json:"serve_seconds,omitempty"`   // from the first request to the last answer
	GPUSeconds    float64 `msgpack:"gpu_seconds" json:"gpu_seconds"`                           // engine lifetime × GPUs; 0 without GPUs
}

// Publication is the truth about one (task, definition), in the publications bucket under "<collection>.<task>.<index>".
// The publisher writes it; the coordinator only where its message died with nobody left to say so.
type Publication struct {
	Collection string    `msgpack:"collection" json:"collection"`
	Task       string    `msgpack:"task" json:"task"`
	Attempt    uint32    `msgpack:"attempt" json:"attempt"`
	Index      int       `msgpack:"index" json:"index"`
	Definition string    `msgpack:"definition" json:"definition"`
	State      State     `msgpack:"state" json:"state"` // publishing (the plan is saved) | done | failed
	Plan       []byte    `msgpack:"plan,omitempty" json:"-"`
	Workloads  []string  `msgpack:"workloads" json:"workloads"`                   // uuids, in the order of their lines
	All        Tally     `msgpack:"all" json:"all"`                               // every verdict about this definition
	Home       Tally     `msgpack:"home" json:"home"`                             // those counted here; over all definitions each manifest counts once
	Unclaimed  Tally     `msgpack:"unclaimed" json:"unclaimed"`                   // index 0 only: manifests of no definition's API
	Examples   []Example `msgpack:"examples,omitempty" json:"examples,omitempty"` // one a reason, sorted by it
	Seen       Seen      `msgpack:"seen" json:"seen"`
	Failure    *Failure  `msgpack:"failure,omitempty" json:"failure,omitempty"`
	FinishedAt time.Time `msgpack:"finished_at,omitempty" json:"finished_at,omitzero"`
}

// Tally counts manifests by how they ended.
type Tally struct {
	Workload    int            `msgpack:"workload" json:"workload"`         // its content is a line of the dataset now
	Duplicate   int            `msgpack:"duplicate" json:"duplicate"`       // equal content: another layer, rank or step, or already in the dataset
	NotSelected int            `msgpack:"not_selected" json:"not_selected"` // fits, but others show more
	Rejected    map[string]int `msgpack:"rejected,omitempty" json:"rejected,omitempty"`
}

// Example is one rejected call that stands for all with its reason: a count says that something is wrong, this says what.
type Example struct {
	Reason   string `msgpack:"reason" json:"reason"`
	Manifest string `msgpack:"manifest" json:"manifest"` // the smallest id
	Dump     string `msgpack:"dump" json:"dump"`
	Detail   string `msgpack:"detail" json:"detail"`
}

// Sum gives the number of manifests counted.
func (t Tally) Sum() int {
	n := t.Workload + t.Duplicate + t.NotSelected
	for _, r := range t.Rejected {
		n += r
	}
	return n
}

// Reject counts one rejection.
func (t *Tally) Reject(reason string) {
	if t.Rejected == nil {
		t.Rejected = map[string]int{}
	}
	t.Rejected[reason]++
}

// Add adds u to t.
func (t *Tally) Add(u Tally) {
	t.Workload += u.Workload
	t.Duplicate += u.Duplicate
	t.NotSelected += u.NotSelected
	for reason, n := range u.Rejected {
		if t.Rejected == nil {
			t.Rejected = map[string]int{}
		}
		t.Rejected[reason] += n
	}
}

// Seen sums up the shapes of a definition's candidates: axis name → value → how many candidates had it. KVLen has the KV
// lengths of single requests, as far as a kv_indptr shows them, in powers of two (the bucket's upper bound).
type Seen struct {
	Axes  map[string]map[int64]int `msgpack:"axes,omitempty" json:"axes,omitempty"`
	KVLen map[int64]int            `msgpack:"kv_len,omitempty" json:"kv_len,omitempty"`
}

// Kind implements Message.
func (*CollectionState) Kind() Kind { return KindCollectionState }

// Validate implements Message.
func (s *CollectionState) Validate() error {
	if s.State == "" {
		return fmt.Errorf("state is empty")
	}
	return s.Spec.Validate()
}

// Kind implements Message.
func (*TaskState) Kind() Kind { return KindTaskState }

// Validate implements Message.
func (s *TaskState) Validate() error {
	if _, ok := moves[s.State]; !ok {
		return fmt.Errorf("state is %q", s.State)
	}
	return s.Task.Validate()
}

// Kind implements Message.
func (*Publication) Kind() Kind { return KindPublication }

// Validate implements Message.
func (p *Publication) Validate() error {
	if err := checkToken("collection", p.Collection); err != nil {
		return err
	}
	if err := checkToken("task", p.Task); err != nil {
		return err
	}
	return checkName("definition", p.Definition)
}
