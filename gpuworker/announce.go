package gpuworker

import (
	"context"
	"sync"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// announcer tells the fleet that this worker lives and what it does. The announcement vanishes by the bucket's TTL when the
// process does.
type announcer struct {
	records *bus.Record[proto.Worker]
	every   time.Duration
	leases  Leases
	changed chan struct{}

	mu sync.Mutex
	me proto.Worker
}

// set changes what is announced, soon.
func (a *announcer) set(change func(*proto.Worker)) {
	a.mu.Lock()
	change(&a.me)
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// run announces until ctx ends, then takes the announcement back.
func (a *announcer) run(ctx context.Context) {
	tick := time.NewTicker(a.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		a.mu.Lock()
		me := a.me
		a.mu.Unlock()
		me.RenewedAt, me.GPUs = time.Now().UTC(), a.leases.GPUs()
		// A broker that is away is waited for in here; an announcement has nothing better to do.
		_, _ = a.records.Put(ctx, me.ID, &me)
		select {
		case <-tick.C:
		case <-a.changed:
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = a.records.Delete(ctx, a.me.ID) // else the TTL does it
}
