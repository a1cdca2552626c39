package coordinator

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

func attemptID(task string, attempt uint32) string {
	return task + "." + strconv.FormatUint(uint64(attempt), 10)
}

// Job is a collection in a list.
type Job struct {
	ID          string           `json:"id"`
	State       proto.State      `json:"state"`
	Cancelling  bool             `json:"cancelling,omitempty"`
	Retrying    bool             `json:"retrying,omitempty"` // ended, and a retry was asked for
	Engine      proto.EngineKind `json:"engine"`
	Definitions int              `json:"definitions"`
	BatchSizes  []int            `json:"batch_sizes,omitempty"` // empty where the engine serves no requests
	Tasks       int              `json:"tasks"`
	Done        int              `json:"done"`
	Failed      int              `json:"failed"` // and cancelled
	SubmittedAt time.Time        `json:"submitted_at"`
	SubmittedBy string           `json:"submitted_by,omitempty"`
	FinishedAt  time.Time        `json:"finished_at,omitzero"`
	Failure     *proto.Failure   `json:"failure,omitempty"`
}

// JobDetail is one collection with all of its records.
type JobDetail struct {
	Job
	Spec         proto.Collection     `json:"spec"`
	TaskStates   []*proto.TaskState   `json:"task_states"`  // in planned order
	Publications []*proto.Publication `json:"publications"` // sorted by key
	Pushes       []*proto.PushState   `json:"pushes,omitempty"`
	Account      *Account             `json:"account"`
	Missing      []MissingRole        `json:"missing_roles,omitempty"` // needed next, and not connected
}

// ListJobs gives every collection the broker knows, live or ended, latest first.
func ListJobs(ctx context.Context, b *bus.Bus) ([]Job, error) {
	store, err := openStore(ctx, b)
	if err != nil {
		return nil, err
	}
	collections, err := listValues(ctx, store.collections, ">")
	if err != nil {
		return nil, err
	}
	tasks, err := listValues(ctx, store.tasks, ">")
	if err != nil {
		return nil, err
	}
	of := map[string][]*proto.TaskState{}
	for _, t := range tasks {
		of[t.Task.Collection] = append(of[t.Task.Collection], t)
	}
	jobs := []Job{}
	for _, c := range collections {
		jobs = append(jobs, newJob(c, of[c.Spec.ID]))
	}
	slices.SortStableFunc(jobs, func(a, b Job) int { return b.SubmittedAt.Compare(a.SubmittedAt) })
	return jobs, nil
}

func newJob(c *proto.CollectionState, tasks []*proto.TaskState) Job {
	j := Job{
		ID: c.Spec.ID, State: c.State, Cancelling: c.Cancel && !c.State.Final(), Retrying: c.Retry && c.State.Final(), Engine: c.Spec.Engine.Kind, Definitions: len(c.Spec.Definitions),
		BatchSizes: c.Spec.BatchSizes, Tasks: len(tasks), SubmittedAt: c.Spec.SubmittedAt, SubmittedBy: c.Spec.SubmittedBy,
		FinishedAt: c.FinishedAt, Failure: c.Failure,
	}
	for _, t := range tasks {
		switch t.State {
		case proto.StateDone:
			j.Done++
		case proto.StateFailed, proto.StateCancelled:
			j.Failed++
		}
	}
	return j
}

// FindJob returns the id of the collection that id names: its whole id, or a prefix that only one collection has. A submission that no
// coordinator has accepted has no other name than its whole id.
func FindJob(ctx context.Context, b *bus.Bus, id string) (string, error) {
	store, err := openStore(ctx, b)
	if err != nil {
		return "", err
	}
	collections, err := listValues(ctx, store.collections, ">")
	if err != nil {
		return "", err
	}
	var found []string
	for _, c := range collections {
		if c.Spec.ID == id {
			return id, nil
		}
		if id != "" && strings.HasPrefix(c.Spec.ID, id) {
			found = append(found, c.Spec.ID)
		}
	}
	if len(found) == 0 {
		if waits, err := store.submitted(ctx, id); err != nil || waits {
			return id, err
		}
	}
	switch len(found) {
	case 0:
		return "", unknownCollection(id)
	case 1:
		return found[0], nil
	}
	return "", proto.Failf(proto.CodeBadCollection, "%q is the beginning of %s", id, strings.Join(found, ", ")).WithHint("give more of the id")
}

// TraceDir returns the dataset directory of a collection.
func TraceDir(ctx context.Context, b *bus.Bus, id string) (string, error) {
	store, err := openStore(ctx, b)
	if err != nil {
		return "", err
	}
	c, _, err := store.collection(ctx, id)
	if err != nil {
		return "", err
	}
	return c.Spec.Publish.TraceDir, nil
}

// ShowJob returns one collection with all of its records.
func ShowJob(ctx context.Context, b *bus.Bus, id string) (*JobDetail, error) {
	store, err := openStore(ctx, b)
	if err != nil {
		return nil, err
	}
	c, _, err := store.collection(ctx, id)
	if err != nil {
		return nil, err
	}
	tasks, pubs, pushes, err := store.read(ctx, id)
	if err != nil {
		return nil, err
	}
	calls, err := callsOfTasks(ctx, b, tasks)
	if err != nil {
		return nil, err
	}
	announced, err := ListAnnounced(ctx, b)
	if err != nil {
		return nil, err
	}
	account := NewAccount(c, tasks, pubs, pushes, calls.simulated)
	account.Recorded = calls.recorded
	return &JobDetail{
		Job: newJob(c, tasks), Spec: c.Spec, TaskStates: tasks, Publications: pubs, Pushes: pushes, Account: account,
		Missing: missing(needs(c, tasks), connected(announced)),
	}, nil
}

// CancelJob asks the coordinator to cancel a collection; Follow shows when it has. Cancelling twice is no error, cancelling what
// has ended is.
func CancelJob(ctx context.Context, b *bus.Bus, id string) error {
	store, err := openStore(ctx, b)
	if err != nil {
		return err
	}
	return store.change(ctx, id, func(c *proto.CollectionState) error {
		if c.State.Final() && !c.Retry {
			return proto.Failf(proto.CodeBadCollection, "cancel %s: it has ended already, it is %s", id, c.State)
		}
		c.Cancel = true
		return nil
	})
}

// RetryJob asks the coordinator to run the failed and cancelled tasks of an ended collection again, with a fresh budget. What
// was published stays.
func RetryJob(ctx context.Context, b *bus.Bus, id string) error {
	store, err := openStore(ctx, b)
	if err != nil {
		return err
	}
	return store.change(ctx, id, func(c *proto.CollectionState) error {
		switch {
		case c.Retry:
			return nil
		case !c.State.Final():
			return proto.Failf(proto.CodeBadCollection, "retry %s: it has not ended, it is %s", id, c.State).
				WithHint("what failed can be retried when the rest has ended, so that batches stay in order")
		case c.State == proto.StateDone:
			return proto.Failf(proto.CodeBadCollection, "retry %s: nothing failed, it is done", id)
		}
		c.Retry = true
		return nil
	})
}

// JobLog gives the stored log lines of a collection (of one task, if task is not empty) to fn, oldest first. Progress is left
// out. An error of fn ends it.
func JobLog(ctx context.Context, b *bus.Bus, id, task string, fn func(*proto.Event) error) error {
	store, err := openStore(ctx, b)
	if err != nil {
		return err
	}
	if _, _, err := store.collection(ctx, id); err != nil {
		return err
	}
	return b.Events(ctx, proto.EventFilter(id), time.Time{}, func(e *proto.Event) error {
		if e.Level == proto.LevelProgress || task != "" && e.Task != task {
			return nil
		}
		return fn(e)
	})
}
