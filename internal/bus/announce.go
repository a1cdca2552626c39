package bus

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tracefleet/tracefleet/proto"
)

// Announcer announces to the fleet that a role's process is there and what it does. The announcement is deleted by the bucket's TTL when
// the process has ended. It is not a record of work: nothing waits for it, and a role runs on while the broker is unreachable.
type Announcer struct {
	records *Record[proto.Worker]
	every   time.Duration
	changed chan struct{}
	refresh func(*proto.Worker) // may be nil

	mu sync.Mutex
	me proto.Worker
}

// NewWorkerID returns a name for a process of a role: "<role>-<host>-<pid>-<random>", as a token.
func NewWorkerID(role, host string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, host[:min(len(host), 64)])
	return fmt.Sprintf("%s-%s-%d-%s", role, clean, os.Getpid(), uuid.NewString()[:8])
}

// NewAnnouncer returns an Announcer of me, whose ID is from NewWorkerID, every so often; 0: proto.AnnounceInterval.
func NewAnnouncer(ctx context.Context, b *Bus, me proto.Worker, every time.Duration) (*Announcer, error) {
	records, err := OpenRecord[proto.Worker](ctx, b, proto.BucketWorkers)
	if err != nil {
		return nil, err
	}
	if every == 0 {
		every = proto.AnnounceInterval
	}
	me.PID, me.StartedAt = os.Getpid(), time.Now().UTC()
	return &Announcer{records: records, every: every, changed: make(chan struct{}, 1), me: me}, nil
}

// Set changes what is announced, and announces it soon.
func (a *Announcer) Set(change func(*proto.Worker)) {
	a.mu.Lock()
	change(&a.me)
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Refresh sets the function that updates what is announced, before each announcement. It must be set before Run.
func (a *Announcer) Refresh(change func(*proto.Worker)) { a.refresh = change }

// Run announces until ctx ends, then deletes the announcement.
func (a *Announcer) Run(ctx context.Context) {
	tick := time.NewTicker(a.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		a.mu.Lock()
		if a.refresh != nil {
			a.refresh(&a.me)
		}
		me := a.me
		a.mu.Unlock()
		me.RenewedAt = time.Now().UTC()
		_, _ = a.records.Put(ctx, me.ID, &me) // waits for a broker that is away
		select {
		case <-tick.C:
		case <-a.changed:
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = a.records.Delete(ctx, a.me.ID) // if this fails, the TTL deletes it
}

// Clock returns the time by the broker's clock. The times at which records were stored are by that clock.
func (b *Bus) Clock(ctx context.Context) (now time.Time, err error) {
	err = b.retry(ctx, "read the broker's clock", func(ctx context.Context) error {
		st, err := b.js.Stream(ctx, "KV_"+proto.BucketWorkers)
		if err == nil {
			now = st.CachedInfo().TimeStamp
		}
		return err
	})
	return now, err
}
