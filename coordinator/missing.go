package coordinator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// MissingRole is a role that is needed next and that no connected process has.
type MissingRole struct {
	Role   string           `json:"role"`
	Engine proto.EngineKind `json:"engine,omitempty"` // of a gpuworker; empty: any
}

// String returns what is missing, as a sentence.
func (m MissingRole) String() string {
	if m.Engine != "" {
		return fmt.Sprintf("no %s with engine %s is connected", m.Role, m.Engine)
	}
	return fmt.Sprintf("no %s is connected", m.Role)
}

// Command returns the command that starts the role.
func (m MissingRole) Command() string {
	if m.Engine != "" && m.Engine != proto.EngineEvaluate {
		return fmt.Sprintf("tracefleet %s --engines %s", m.Role, m.Engine)
	}
	return "tracefleet " + m.Role
}

// Roles are the roles of a fleet, in the order of the flow.
var Roles = []string{"coordinator", "gpuworker", "sanitizer", "publisher"}

// needs returns the roles that a collection needs next, in the order of the flow. col is nil while no coordinator has accepted it.
func needs(col *proto.CollectionState, tasks []*proto.TaskState) []MissingRole {
	if col != nil && col.State.Final() && !col.Retry {
		return nil
	}
	need := map[MissingRole]bool{{Role: "coordinator"}: true}
	open := false
	for _, t := range tasks {
		if col == nil || col.State == proto.StateQueued || t.State.Final() {
			continue
		}
		open = true
		switch t.State {
		case proto.StateQueued:
			need[MissingRole{Role: "gpuworker", Engine: t.Task.Engine.Kind}] = true
		case proto.StateRunning, proto.StateCollected:
			if t.Task.Evaluate == nil {
				need[MissingRole{Role: "sanitizer"}] = true
			}
		case proto.StatePublishing:
			need[MissingRole{Role: "publisher"}] = true
		}
	}
	if !open && len(tasks) > 0 && col != nil && col.Spec.Publish.Repo != "" { // pull requests are what is left
		need[MissingRole{Role: "publisher"}] = true
	}
	return inOrder(need)
}

func inOrder(set map[MissingRole]bool) []MissingRole {
	return slices.SortedFunc(maps.Keys(set), func(a, b MissingRole) int {
		if a.Role != b.Role {
			return slices.Index(Roles, a.Role) - slices.Index(Roles, b.Role)
		}
		return strings.Compare(string(a.Engine), string(b.Engine))
	})
}

// missing returns those of the needed roles that none of the workers has. A worker that drains takes no more tasks.
func missing(need []MissingRole, workers []*proto.Worker) []MissingRole {
	return slices.DeleteFunc(slices.Clone(need), func(m MissingRole) bool {
		return slices.ContainsFunc(workers, func(w *proto.Worker) bool {
			return w.Role == m.Role && !w.Draining && (m.Engine == "" || slices.Contains(w.Engines, m.Engine))
		})
	})
}

// Announced is a process that announced itself, and how long ago it did, by the broker's clock.
type Announced struct {
	*proto.Worker
	Age time.Duration
}

// Connected reports whether the process is taken to be there.
func (a Announced) Connected() bool { return a.Age < proto.AnnounceLost }

// ListAnnounced returns the processes whose announcements the broker has, by id.
func ListAnnounced(ctx context.Context, b *bus.Bus) ([]Announced, error) {
	records, err := bus.OpenRecord[proto.Worker](ctx, b, proto.BucketWorkers)
	if err != nil {
		return nil, err
	}
	entries, err := records.List(ctx, ">")
	if err != nil {
		return nil, err
	}
	now, err := b.Clock(ctx)
	if err != nil {
		return nil, err
	}
	list := []Announced{}
	for _, e := range entries {
		if e.Value != nil { // another release's cannot be read; the bus has logged it
			list = append(list, Announced{Worker: e.Value, Age: max(now.Sub(e.At), 0)})
		}
	}
	return list, nil
}

func connected(list []Announced) []*proto.Worker {
	var workers []*proto.Worker
	for _, a := range list {
		if a.Connected() {
			workers = append(workers, a.Worker)
		}
	}
	return workers
}

// MissingRoles returns the roles that a fleet of these processes lacks: of the four roles, and of gpuworkers with the engines that open
// collections need next.
func MissingRoles(ctx context.Context, b *bus.Bus, list []Announced) ([]MissingRole, error) {
	store, err := openStore(ctx, b)
	if err != nil {
		return nil, err
	}
	collections, err := listValues(ctx, store.collections, ">")
	if err != nil {
		return nil, err
	}
	need := map[MissingRole]bool{}
	for _, c := range collections {
		if c.State.Final() && !c.Retry {
			continue
		}
		tasks, err := listValues(ctx, store.tasks, c.Spec.ID+".*")
		if err != nil {
			return nil, err
		}
		for _, m := range needs(c, tasks) {
			need[m] = true
		}
	}
	for _, role := range Roles {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(need)), func(m MissingRole) bool { return m.Role == role }) {
			need[MissingRole{Role: role}] = true
		}
	}
	return missing(inOrder(need), connected(list)), nil
}

// roster follows the announcements of a fleet, and finds needed roles that have been missing for long enough to be reported.
type roster struct {
	offset   time.Duration // of the broker's clock to this one's
	seen     map[string]Announced
	at       map[string]time.Time // when the announcement was stored, by this clock
	since    map[MissingRole]time.Time
	reported []MissingRole
}

// missingAfter is how long a role must be missing before it is reported: roles of one process start together.
const missingAfter = 2 * time.Second

func newRoster(broker, local time.Time) *roster {
	return &roster{offset: broker.Sub(local), seen: map[string]Announced{}, at: map[string]time.Time{}, since: map[MissingRole]time.Time{}}
}

// take records an entry of the workers bucket.
func (r *roster) take(e bus.Entry[proto.Worker]) {
	switch {
	case e.Key == "":
	case e.Value == nil:
		delete(r.seen, e.Key)
	default:
		r.seen[e.Key], r.at[e.Key] = Announced{Worker: e.Value}, e.At.Add(-r.offset)
	}
}

// look returns the needed roles that have been missing for missingAfter, and whether they differ from those reported last.
func (r *roster) look(now time.Time, need []MissingRole) (lacks []MissingRole, changed bool) {
	var workers []*proto.Worker
	for id, a := range r.seen {
		if a.Age = now.Sub(r.at[id]); a.Connected() {
			workers = append(workers, a.Worker)
		}
	}
	all := missing(need, workers)
	maps.DeleteFunc(r.since, func(m MissingRole, _ time.Time) bool { return !slices.Contains(all, m) })
	for _, m := range all {
		if _, ok := r.since[m]; !ok {
			r.since[m] = now
		}
		if now.Sub(r.since[m]) >= missingAfter {
			lacks = append(lacks, m)
		}
	}
	return lacks, !slices.Equal(lacks, r.reported)
}

// tell records lacks as reported and returns the lines about the changes.
func (r *roster) tell(id string, lacks []MissingRole, now time.Time) []*proto.Event {
	var lines []*proto.Event
	line := func(level proto.Level, format string, args ...any) {
		lines = append(lines, &proto.Event{
			Collection: id, Role: "fleet", Time: now.UTC(), Level: level, Stage: proto.StagePlan, Text: fmt.Sprintf(format, args...),
		})
	}
	for _, m := range lacks {
		if !slices.Contains(r.reported, m) {
			line(proto.LevelWarn, "%s, and the collection waits for one; `%s` starts one", m, m.Command())
		}
	}
	for _, m := range r.reported {
		if !slices.Contains(lacks, m) {
			line(proto.LevelInfo, "the collection does not wait for a %s any more", strings.TrimSuffix(strings.TrimPrefix(m.String(), "no "), " is connected"))
		}
	}
	r.reported = lacks
	return lines
}
