package tail

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// Options say what a Tailer does. Zero values of the durations and InFlight mean their defaults.
type Options struct {
	Dir    string          // the dump directory; it must exist when Run begins, and as long as Run lasts
	Origin manifest.Origin // what every manifest says of its attempt
	Quota  int64           // most bytes of disk the directory may hold; 0: no quota
	Delete bool            // delete what is stored; without it there is no quota
	Keep   Keep            // what of it is kept elsewhere instead
	// Ship stores a manifest and the content of its larger tensors, by digest, and returns nil only when both are durable. It
	// is called from several goroutines at once and must not change what it gets. Its error ends Run, and keeps the dump.
	Ship func(ctx context.Context, m *proto.Manifest, tensors map[string][]byte) error
	// Warmup says that the engine makes calls of its own before it serves: until Begin, none of what is dumped is traffic.
	Warmup bool
	// Budget is how many dumps FlashInfer writes in a process (replays of graphs do not count); 0: no limit. See Spent.
	Budget int
	// Pressure, where given, hears when the directory gets over its quota and when there is room again. It must not block.
	Pressure func(over bool, used, quota int64)

	InFlight int           // most manifests being shipped at once; 64
	Grace    time.Duration // how long a newer call must be there before an unfinished one is taken as abandoned; 2 s
	Settle   time.Duration // how long the directory may stay over its quota while nothing is freed; 30 s
	MinPoll  time.Duration // poll interval while dumps come; 5 ms
	MaxPoll  time.Duration // poll interval while none come; 250 ms
	Log      zerolog.Logger
}

// Tailer ingests one dump directory during one attempt. Make it with New, Run it once.
type Tailer struct {
	opt     Options
	root    *os.Root
	pairer  *manifest.Pairer
	session *fidump.Session
	lost    lostPlans

	// Below is Run's goroutine's alone.
	known     map[string]*item // dump directories on disk, by name
	replays   map[fidump.CallID]*item
	processes map[int64]*process
	items     map[*manifest.Dump]*item // what was read and is not deleted
	kept      map[string]int           // how many dumps of each function were kept
	poll      int64                    // number of the current listing
	inFlight  int
	shipped   chan shipment
	worst     error // the first error of Ship

	room  room
	start start
	spent atomic.Bool

	mu      sync.Mutex
	counts  proto.AttemptCounts
	backlog int
}

// process is what the Tailer knows of one process of the engine.
type process struct {
	pending  []*item
	captures []*item // calls recorded into CUDA graphs, below which replays come
	dumped   int     // dump directories it ever made
	serving  bool    // it made one since Begin
}

// New makes a Tailer.
func New(opt Options) *Tailer {
	setDefault(&opt.InFlight, 64)
	setDefault(&opt.Grace, 2*time.Second)
	setDefault(&opt.Settle, 30*time.Second)
	setDefault(&opt.MinPoll, 5*time.Millisecond)
	setDefault(&opt.MaxPoll, 250*time.Millisecond)
	t := &Tailer{
		opt: opt, pairer: opt.Origin.NewPairer(), session: fidump.NewSession(opt.Dir),
		known: make(map[string]*item), replays: make(map[fidump.CallID]*item), processes: make(map[int64]*process),
		items: make(map[*manifest.Dump]*item), shipped: make(chan shipment, opt.InFlight),
		kept: make(map[string]int),
	}
	t.lost = newLostPlans(t.session)
	t.start.init(opt.Warmup)
	if !opt.Delete {
		t.opt.Quota = 0 // nothing could ever be freed
	}
	t.room.init(t.opt.Quota)
	return t
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Snapshot is how far a Tailer has come.
type Snapshot struct {
	Counts  proto.AttemptCounts
	Backlog int   // dumps that are there and not read yet
	Used    int64 // bytes of disk the dump directory holds
}

// Snapshot may be called from any goroutine at any time.
func (t *Tailer) Snapshot() Snapshot {
	t.mu.Lock()
	s := Snapshot{Counts: t.counts, Backlog: t.backlog}
	t.mu.Unlock()
	s.Used, s.Counts.PeakBytes = t.room.usage()
	return s
}

// Run ingests dumps until engineDone is closed and everything there is shipped, or until an error: Ship's, ctx's, or a
// *proto.Failure with code dump_dir or disk_full. It waits for every Ship it began. The counts hold in either case; engine
// times, and the bytes shipped, are the caller's to fill in.
func (t *Tailer) Run(ctx context.Context, engineDone <-chan struct{}) (proto.AttemptCounts, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := t.run(ctx, engineDone)
	if err != nil {
		cancel(err)
	}
	for t.inFlight > 0 {
		t.settle(<-t.shipped)
	}
	if err == nil {
		err = t.worst
	}
	if err == nil && t.opt.Delete {
		t.deleteRest()
	}
	t.room.end()
	t.start.end()
	if t.root != nil {
		err = errors.Join(err, t.root.Close())
	}
	return t.Snapshot().Counts, err
}

func (t *Tailer) run(ctx context.Context, engineDone <-chan struct{}) error {
	root, err := os.OpenRoot(t.opt.Dir)
	if err != nil {
		return dirFailure(t.opt.Dir, err)
	}
	t.root = root
	var turn []*item
	var pace pace
	timer := time.NewTimer(0)
	defer timer.Stop()
	for due, final := true, false; ; {
		if due && !final {
			select {
			case <-engineDone:
				final = true // nothing is written from here on: this look is the last
			default:
			}
			pace.begin()
			news, err := t.look(final)
			if err != nil {
				return err
			}
			turn = t.turn(final)
			if err := t.checkRoom(ctx, len(turn) == 0 && t.inFlight == 0 && !news, final); err != nil {
				return err
			}
			timer.Reset(pace.end(news || len(turn) > 0, t.opt.MinPoll, t.opt.MaxPoll))
		}
		if turn, err = t.eat(ctx, turn); err != nil {
			return err
		}
		if final && len(turn) == 0 {
			return t.drain(ctx)
		}
		due = false
		select {
		case <-timer.C:
			due = true
		case <-t.room.kick:
			timer.Reset(pace.soonest(t.opt.MinPoll))
		case s := <-t.shipped:
			t.settle(s)
		case <-ended(engineDone, final):
			due = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if t.worst != nil {
			return t.worst
		}
	}
}

// ended gives the channel to wait on for the engine's end, once it has not been seen.
func ended(engineDone <-chan struct{}, seen bool) <-chan struct{} {
	if seen {
		return nil
	}
	return engineDone
}

// pace adapts the poll interval: short while dumps come, doubling while none do, and never so short that looking takes more
// than a fifth of the time.
type pace struct {
	begun time.Time
	took  time.Duration
	wait  time.Duration
}

func (p *pace) begin() { p.begun = time.Now() }

func (p *pace) end(news bool, shortest, longest time.Duration) time.Duration {
	p.took = min(time.Since(p.begun), longest)
	p.wait = max(min(2*p.wait, longest), shortest)
	if news {
		p.wait = shortest
	}
	return max(p.wait, 4*p.took)
}

// soonest gives how long to wait when someone asks for a look now.
func (p *pace) soonest(shortest time.Duration) time.Duration {
	return time.Until(p.begun.Add(p.took + max(shortest, 4*p.took)))
}

// eat reads the dumps whose turn it is, pairs and ships them, as far as there are places to ship from. It gives the rest.
func (t *Tailer) eat(ctx context.Context, turn []*item) (rest []*item, err error) {
	some := turn[:max(0, min(len(turn), t.opt.InFlight-t.inFlight))]
	if len(some) == 0 {
		return turn, nil
	}
	entries := make([]*entry, len(some))
	for i, it := range some {
		entries[i] = &it.entry
	}
	err = readAhead(ctx, t.opt.Dir, entries, func(i int, d *manifest.Dump) error {
		t.take(ctx, some[i], d)
		return nil
	})
	t.setBacklog()
	return turn[len(some):], err
}

// take has a dump that was read counted, paired and shipped.
func (t *Tailer) take(ctx context.Context, it *item, d *manifest.Dump) {
	p := t.processes[it.name.PID]
	p.pending = remove(p.pending, it)
	it.read = true
	t.room.resize(it, d.BytesDisk)
	if it.stage != finished {
		t.room.landed() // it never will be
	}
	t.items[d] = it
	if d.Imply(t.opt.Origin.PlanOnly); it.early {
		d.MakeEarly()
	}
	t.mu.Lock()
	count(&t.counts, d)
	t.mu.Unlock()
	if d.Role == manifest.Capture || it.flush == 0 && t.hasReplays(it) {
		it.stays = true
		p.captures = append(p.captures, it)
	}
	if d.Role == manifest.Capture {
		delete(t.items, d)
	}
	for _, step := range t.lost.before(&it.entry, t.pairer) {
		t.act(ctx, step)
	}
	t.act(ctx, t.pairer.Feed(d))
}

func (t *Tailer) setBacklog() {
	n := 0
	for _, p := range t.processes {
		n += len(p.pending)
	}
	t.mu.Lock()
	t.backlog = n
	t.mu.Unlock()
}
