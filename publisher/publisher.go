// Package publisher is the one writer of datasets: it chooses among the candidates of a task and writes them.
//
// # Flow
//
//	Publish message → lease → verdicts of the counted attempt → gather (dedupe.go) → select (select.go)
//	  → plan (plan.go), saved → lock the directory → steps → Publication record → acknowledge
//
// The coordinator sends a definition's batches in their planned order and waits for each, so that what the dataset has
// already is the same whatever ran when. [PublishLocal] does the same for `tracefleet sanitize`, with no fleet between.
//
// # Guarantees
//
//   - Dedupe and selection are pure: the same verdicts and the same dataset give the same lines, in the same order.
//   - The plan is saved before it runs; an interrupted one is run again, by whoever takes the message next, and ends in the
//     same bytes. See package dataset for what a crash leaves in the directory: nothing.
//   - Every manifest of the task is counted once over all its definitions (Publication.Home and Unclaimed).
//   - --replace-first drops a definition's old lines only together with the collection's first new ones for it: a batch that
//     gave nothing does not empty the dataset, and a retried first batch does not drop those of later ones.
//
// # Pull requests
//
//	Push message → lease → records, dataset → judge → push (package push) → PushState record → acknowledge
//
// is the second queue (pusher.go, pushwork.go, pushpage.go). Where a step stands is in its record alone; see coordinator/pushes.go for which
// comes next. The Hub's token is found here (preflight.go), and is in no message, record or log.
package publisher

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
	"github.com/tracefleet/tracefleet/publisher/hub"
)

// TensorStore has tensors too large for a message, and the files of an evaluation, by digest.
type TensorStore interface {
	Get(ctx context.Context, digest string) ([]byte, error)
	Put(ctx context.Context, data []byte) (digest string, err error)
}

// Options are what a publisher needs.
type Options struct {
	Bus      *bus.Bus
	Store    TensorStore
	TraceDir string              // takes the place of every collection's; empty: theirs
	Hard     context.Context     // if set, only its end interrupts a publication under way; Run's ctx stops taking more
	Now      func() time.Time    // nil: time.Now
	Getenv   func(string) string // where the Hub's endpoint and token are found; nil: os.Getenv
	Version  string              // tracefleet's, for the Hub
	Python   string              // interpreter that may have `flashinfer-bench validate`, asked before each push; empty: our own rules alone
	Log      zerolog.Logger

	receipts string                                // directory for the receipts of uploads in parts
	waiting  func(why *hub.Error, d time.Duration) // told when the Hub is asked again after a while
	before   func(atomicfile.Step) error           // dataset.Options.Before, for tests
}

// Publisher is the role.
type Publisher struct {
	o            Options
	self         proto.Worker
	tasks        *bus.Record[proto.TaskState]
	publications *bus.Record[proto.Publication]
	leases       *bus.Record[proto.Worker]
	collections  *bus.Record[proto.CollectionState]
	pushes       *bus.Record[proto.PushState]
	met          sync.Map // pull requests, see pullIndex
}

// New prepares the role; Run starts it.
func New(o Options) *Publisher {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	host, _ := os.Hostname()
	return &Publisher{o: o, self: proto.Worker{
		ID: fmt.Sprintf("publisher-%d-%s", os.Getpid(), strings.ToLower(rand.Text()[:8])), Role: "publisher", Host: host, PID: os.Getpid(), StartedAt: o.Now().UTC(),
	}}
}

// Run publishes until ctx ends, then finishes what is under way (see Options.Hard) and returns nil.
func (p *Publisher) Run(ctx context.Context) (err error) {
	if p.tasks, err = bus.OpenRecord[proto.TaskState](ctx, p.o.Bus, proto.BucketTasks); err != nil {
		return fmt.Errorf("start publisher: %w", err)
	}
	if p.publications, err = bus.OpenRecord[proto.Publication](ctx, p.o.Bus, proto.BucketPublications); err != nil {
		return fmt.Errorf("start publisher: %w", err)
	}
	if p.leases, err = bus.OpenRecord[proto.Worker](ctx, p.o.Bus, proto.BucketLeases); err != nil {
		return fmt.Errorf("start publisher: %w", err)
	}
	if p.collections, err = bus.OpenRecord[proto.CollectionState](ctx, p.o.Bus, proto.BucketCollections); err != nil {
		return fmt.Errorf("start publisher: %w", err)
	}
	if p.pushes, err = bus.OpenRecord[proto.PushState](ctx, p.o.Bus, proto.BucketPushes); err != nil {
		return fmt.Errorf("start publisher: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range proto.Consumers() {
		switch c.Name {
		case proto.ConsumerPublisher:
			group.Go(func() error {
				return p.o.Bus.Consume(ctx, c, bus.Decoded(p.handle), bus.ConsumeOptions{Hard: p.o.Hard, OnDead: p.dead})
			})
		case proto.ConsumerPusher:
			group.Go(func() error {
				return p.o.Bus.Consume(ctx, c, bus.Decoded(p.handlePush), bus.ConsumeOptions{Hard: p.o.Hard, OnDead: p.deadPush})
			})
		}
	}
	return group.Wait()
}

func (p *Publisher) handle(ctx context.Context, _ *bus.Delivery, m *proto.Publish) error {
	task, _, err := p.tasks.Get(ctx, proto.TaskKey(m.Collection, m.Task))
	if errors.Is(err, bus.ErrNotFound) {
		return proto.Failf(proto.CodeInternal, "publish %s: the tasks bucket has no such task", proto.PublicationKey(m.Collection, m.Task, m.Index))
	}
	if err != nil {
		return err
	}
	if m.Attempt != task.Attempt || task.State.Final() {
		return nil // of an attempt that does not count any more, or of a task that was given up
	}
	l, err := acquireLease(ctx, p.leases, publisherLease, p.self, p.o.Now().UTC())
	if err != nil {
		return err
	}
	return l.hold(ctx, p.o.Now, func(ctx context.Context) error { return refusedWrite(m, p.publish(ctx, m, task)) })
}

// refusedWrite adds to the failure of a full or read-only dataset directory the command that goes on afterwards.
func refusedWrite(m *proto.Publish, err error) error {
	var f *proto.Failure
	if !errors.As(err, &f) || f.Retryable || f.Hint == "" || f.Code != proto.CodeDiskFull && f.Code != proto.CodeDatasetWrite {
		return err
	}
	next := *f
	return next.WithHint("%s, then `tracefleet jobs retry %s`", f.Hint, m.Collection)
}

func (p *Publisher) publish(ctx context.Context, m *proto.Publish, task *proto.TaskState) error {
	key := proto.PublicationKey(m.Collection, m.Task, m.Index)
	rec, rev, err := p.publications.Get(ctx, key)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	if rec != nil && (rec.Attempt > m.Attempt || rec.Attempt == m.Attempt && rec.State.Final()) {
		return nil
	}
	q, err := p.request(ctx, m)
	if err != nil {
		return err
	}
	g, err := p.gather(ctx, m, task)
	if err != nil {
		return err
	}
	tensors := lookup(g.Contents(), func(digest string) ([]byte, error) { return p.o.Store.Get(ctx, digest) })

	dir := cmp.Or(p.o.TraceDir, m.Spec.TraceDir)
	if dir == "" {
		return proto.Failf(proto.CodeBadCollection, "publish %s: no dataset directory is given", m.Definition.Name).WithHint("collect with --trace-dir, or start the publisher with it")
	}
	w, err := dataset.Open(dir, dataset.Options{Log: p.o.Log, Before: p.o.before})
	if err != nil {
		return err
	}
	defer w.Close()
	var plan *Plan
	if rec != nil && rec.Attempt == m.Attempt && len(rec.Plan) > 0 {
		plan, err = DecodePlan(rec.Plan)
		if errors.Is(err, errOldPlan) {
			if w.Progress(&plan.Change).Lines { // all that was left is to record it
				return p.finish(ctx, key, rev, rec, plan, task)
			}
			plan, err = nil, nil
		}
		if err != nil {
			return err
		}
	}
	for tries := 0; ; tries++ {
		if plan == nil {
			if rec, plan, rev, err = p.plan(ctx, key, rev, &w.Reader, m, q, g, tensors); err != nil {
				return err
			}
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := plan.Execute(w, tensors)
		if err == nil {
			return p.finish(ctx, key, rev, rec, plan, task)
		}
		// A plan saved before a crash, and a dataset that someone else changed since: plan anew.
		if !errors.Is(err, dataset.ErrChanged) || tries > 0 {
			return err
		}
		plan = nil
	}
}

// plan makes a plan and saves it.
func (p *Publisher) plan(ctx context.Context, key string, rev uint64, r *dataset.Reader, m *proto.Publish, q Request, g *Gathered, tensors dataset.Tensors) (*proto.Publication, *Plan, uint64, error) {
	rec := &proto.Publication{Collection: m.Collection, Task: m.Task, Attempt: m.Attempt, Index: m.Index, Definition: m.Definition.Name}
	plan, err := prepare(rec, r, q, g, tensors)
	if err != nil {
		return nil, nil, rev, err
	}
	if rec.Plan, err = plan.Encode(); err != nil {
		return nil, nil, rev, err
	}
	for _, warning := range plan.Warnings {
		p.o.Log.Warn().Str("collection", m.Collection).Str("task", m.Task).Str("def", m.Definition.Name).Msg(warning)
		p.event(m, proto.LevelWarn, warning)
	}
	rev, err = p.save(ctx, key, rec, rev)
	return rec, plan, rev, err
}

func (p *Publisher) save(ctx context.Context, key string, rec *proto.Publication, rev uint64) (uint64, error) {
	if rev == 0 {
		return p.publications.Create(ctx, key, rec)
	}
	return p.publications.Update(ctx, key, rec, rev)
}

func (p *Publisher) finish(ctx context.Context, key string, rev uint64, rec *proto.Publication, plan *Plan, task *proto.TaskState) error {
	rec.State, rec.FinishedAt = proto.StateDone, p.o.Now().UTC()
	if _, err := p.save(ctx, key, rec, rev); err != nil {
		return err
	}
	p.o.Log.Info().Str("collection", rec.Collection).Str("task", rec.Task).Str("def", rec.Definition).
		Int("workloads", rec.All.Workload).Int("duplicates", rec.All.Duplicate).Int("not_selected", rec.All.NotSelected).Msg("published")
	e := proto.Event{
		Collection: rec.Collection, Task: rec.Task, Attempt: rec.Attempt, Role: "publisher", Stage: proto.StagePublish, Level: proto.LevelInfo,
		Text: fmt.Sprintf("%s: %d new workloads of %d manifests", rec.Definition, len(plan.Change.Entries), rec.All.Sum()),
	}
	p.o.Bus.Event(ctx, e)
	e.Level, e.Text, e.Done, e.Total = proto.LevelProgress, rec.Definition, int64(rec.Index)+1, int64(len(task.Task.Definitions))
	p.o.Bus.Event(ctx, e)
	return nil
}

// request resolves the definition, and whether its old lines give way now.
func (p *Publisher) request(ctx context.Context, m *proto.Publish) (Request, error) {
	data, err := p.o.Bus.Definition(ctx, m.Definition.Digest)
	if err != nil {
		return Request{}, fmt.Errorf("publish %s: %w", m.Definition.Name, err)
	}
	def, err := fitrace.ParseDefinition(data, m.Definition.Name+".json")
	if err != nil {
		return Request{}, proto.Failf(proto.CodeBadDefinition, "publish %s: %v", m.Definition.Name, err)
	}
	// The coordinator says whether lines of this definition were written before: it remembers them across retries.
	replace := m.Spec.ReplaceFirst && m.First
	return Request{Definition: def, Collection: m.Collection, Task: m.Task, Max: m.Spec.WorkloadsPerBatch, Replace: replace}, nil
}

// gather reads the verdicts of the counted attempt.
func (p *Publisher) gather(ctx context.Context, m *proto.Publish, task *proto.TaskState) (*Gathered, error) {
	if m.Index < 0 || m.Index >= len(task.Task.Definitions) || task.Task.Definitions[m.Index] != m.Definition {
		return nil, proto.Failf(proto.CodeInternal, "publish %s: the task's definition %d is not %s",
			proto.PublicationKey(m.Collection, m.Task, m.Index), m.Index, m.Definition.Name)
	}
	names := make([]string, len(task.Task.Definitions))
	for i, d := range task.Task.Definitions {
		names[i] = d.Name
	}
	g := NewGathered(names, m.Index)
	err := p.o.Bus.ReadSet(ctx, proto.StreamVerdicts, proto.VerdictPrefix(m.Collection, m.Task, m.Attempt)+">", func(_ string, data []byte) error {
		v, err := proto.Decode[proto.Verdict](data)
		if err != nil {
			return err
		}
		g.Add(v)
		return nil
	})
	return g, err
}

func (p *Publisher) event(m *proto.Publish, level proto.Level, text string) {
	p.o.Bus.Event(context.Background(), proto.Event{
		Collection: m.Collection, Task: m.Task, Attempt: m.Attempt, Role: "publisher", Stage: proto.StagePublish, Level: level, Text: text,
	})
}
