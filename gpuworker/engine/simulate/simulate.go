// Package simulate is an engine without a GPU: a small model of SGLang's serving that writes, into the dump directory, what
// FlashInfer's level-10 logger would write. It serves demos, CI, load tests and rehearsals; a collection must name it.
//
// # Flow
//
// The task's traffic becomes requests (traffic.go, from package traffic). A scheduler holds as many of them in flight as the batch size says,
// prefills in chunks, decodes the rest together and retracts when the KV pool is full (scheduler.go), over a paged allocator
// and a prefix cache (pool.go, prefix.go). Each forward pass becomes the FlashInfer calls of a model with the shapes of the
// task's definitions (model.go, forward.go), which every tensor-parallel rank then dumps (rank.go).
//
// # Guarantees
//
// Equal jobs give equal dumps, up to the order in which ranks write: requests, schedule, slots, process ids, object ids and
// timestamps all come from the task's seed, batch size and id; time is simulated. Integer tensors have the values that the
// model of serving gives; float tensors are holes of full size, their values never looked at. Every record carries the
// version key tracefleet-simulate.
//
// # What it does not do
//
// It computes nothing, measures nothing, and knows no tokenizer. Weights, logits and the content of the KV cache do not exist. CUDA
// graphs, speculative decoding, sliding windows and pipeline parallelism are not modelled.
package simulate

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

const (
	defaultLayers = 2
	defaultBudget = 1000 // FlashInfer's own
	// progressEvery is how often at most progress is reported.
	progressEvery = 100 * time.Millisecond
)

// Engine simulates serving.
type Engine struct{}

// New makes the engine.
func New() *Engine { return &Engine{} }

// Run implements engine.Engine. Task fields it follows: batch size, traffic, dump count and include patterns, and of the engine
// tp, ep, mode, page size, layers, pool tokens, dump rate and the flag --chunked-prefill-size.
func (*Engine) Run(ctx context.Context, job engine.Job, report func(engine.Progress)) (engine.Result, error) {
	began := time.Now()
	result := engine.Result{Simulated: true, Versions: versions()}
	l, err := newLifetime(&job, report)
	if err != nil {
		return result, err
	}
	err = l.serve(ctx)
	result.EngineSeconds = time.Since(began).Seconds()
	result.Requests, result.Dumps = int64(l.scheduler.served), l.sink.dumps.Load()
	return result, err
}

// lifetime is one run of the engine.
type lifetime struct {
	job       *engine.Job
	report    func(engine.Progress)
	scheduler *scheduler
	forward   *forward
	sink      *sink
	ranks     []*rank
	total     int
	reported  time.Time
}

func newLifetime(job *engine.Job, report func(engine.Progress)) (*lifetime, error) {
	t := &job.Task
	m, err := newModel(t, job.Definitions)
	if err != nil {
		return nil, err
	}
	chunk, err := chunkSize(t.Engine.Flags)
	if err != nil {
		return nil, err
	}
	src, err := newSource(t)
	if err != nil {
		return nil, err
	}
	l := &lifetime{job: job, report: report, total: src.Total()}
	if l.scheduler, err = newScheduler(t, src, m.pageSize, chunk); err != nil {
		return nil, err
	}
	l.sink = &sink{job: job, include: t.Dump.Include, passed: map[string]bool{}}
	if len(l.sink.include) == 0 {
		for _, d := range job.Definitions {
			l.sink.include = append(l.sink.include, fitrace.IncludePatterns(d)...)
		}
	}
	if t.Engine.DumpRate > 0 {
		l.sink.limiter = rate.NewLimiter(rate.Limit(t.Engine.DumpRate), 1)
	}
	l.forward = &forward{
		model: m, layers: t.Engine.Layers, wanted: l.sink.wanted, stale: seed(t, "stale memory"),
		ragged: t.Engine.Mode != proto.ModeHTTPPaged,
		slots:  int64(l.scheduler.pool.available() + m.pageSize),
	}
	if l.forward.layers <= 0 {
		l.forward.layers = defaultLayers
	}
	for n := range max(t.Engine.TP, t.Engine.EP, 1) {
		l.ranks = append(l.ranks, newRank(l.sink, n, len(m.attention)*wrapperKinds))
	}
	for _, note := range src.Notes() {
		job.Log.Info().Msg(note)
	}
	for _, note := range m.notes {
		job.Log.Warn().Str("reason", note).Msg("a definition gets no simulated dumps")
		report(engine.Progress{Total: int64(l.total), Text: "no simulated dumps: " + note})
	}
	return l, nil
}

// serve runs forward passes until every request is served.
func (l *lifetime) serve(ctx context.Context) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("simulate: stopped after %d of %d requests: %w", l.scheduler.served, l.total, err)
		}
		b := l.scheduler.next()
		if b == nil {
			break
		}
		if err := l.pass(ctx, b); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return fmt.Errorf("simulate: stopped after %d of %d requests: %w", l.scheduler.served, l.total, cause)
			}
			return err
		}
		l.scheduler.complete(b)
		if time.Since(l.reported) >= progressEvery {
			l.progress("")
		}
	}
	if l.scheduler.served != l.total {
		return proto.Failf(proto.CodeInternal, "simulate: the schedule ended with %d of %d requests served", l.scheduler.served, l.total)
	}
	l.progress(l.summary())
	return nil
}

// pass lets all ranks make the calls of a forward pass, together, as collectives keep them together.
func (l *lifetime) pass(ctx context.Context, b *batch) error {
	if !slices.ContainsFunc(l.ranks, func(r *rank) bool { return !r.spent() }) {
		return nil
	}
	calls := l.forward.pass(b)
	if len(l.ranks) == 1 {
		return l.ranks[0].run(ctx, calls)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, r := range l.ranks {
		group.Go(func() error { return r.run(ctx, calls) })
	}
	return group.Wait()
}

func (l *lifetime) progress(text string) {
	l.reported = time.Now()
	l.report(engine.Progress{Done: int64(l.scheduler.served), Total: int64(l.total), Dumps: l.sink.dumps.Load(), Text: text})
}

func (l *lifetime) summary() string {
	text := fmt.Sprintf("simulated %d requests in %d forward passes, %d dumps by %d ranks",
		l.scheduler.served, l.scheduler.passes-1, l.sink.dumps.Load(), len(l.ranks))
	if l.ranks[0].spent() {
		text += fmt.Sprintf("; the budget of %d dumps a process was spent", l.sink.dumps.Load()/int64(len(l.ranks)))
	}
	if l.scheduler.retract > 0 {
		text += fmt.Sprintf("; the KV pool was full: %d retractions", l.scheduler.retract)
	}
	return text
}

// included reports whether FlashInfer would dump a function: one of the patterns matches (fnmatch, case-sensitive). No
// patterns include everything; constructors are always excluded.
func included(patterns []string, name string) bool {
	if strings.HasSuffix(name, ".__init__") {
		return false
	}
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		// fnmatch writes [!x] where path.Match writes [^x]; function names hold no slashes, so that * spans dots in both.
		ok, err := path.Match(strings.ReplaceAll(p, "[!", "[^"), name)
		return ok && err == nil
	})
}

// chunkSize reads --chunked-prefill-size from the server's flags; -1 switches chunking off.
func chunkSize(flags []string) (int, error) {
	const flag = "--chunked-prefill-size"
	value := ""
	for i, f := range flags {
		if v, ok := strings.CutPrefix(f, flag+"="); ok {
			value = v
		} else if v, ok := strings.CutPrefix(f, flag+" "); ok {
			value = v
		} else if f == flag && i+1 < len(flags) {
			value = flags[i+1]
		}
	}
	if value == "" {
		return defaultChunk, nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n == 0 || n < -1 {
		return 0, proto.Failf(proto.CodeBadCollection, "simulate: flag %s is %q, must be a positive number of tokens, or -1 for no chunks", flag, value)
	}
	return n, nil
}
