package publisher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// A lease makes the publisher one at a time, fleet-wide: a record in the leases bucket, made and renewed by
// compare-and-set, gone by the bucket's TTL when its holder is. The queue allows one message in work already; the lease
// is for the holder whose message was given to another while it still worked.
//
// What it cannot do: a holder that is frozen for longer than the TTL, and wakes up inside of a system call, finishes that
// one write. The directory's lock (on one node, and over NFS) and the digests that a change starts from catch that one.

// The leases: one for the dataset directory, one for the Hub.
const (
	publisherLease = "publisher"
	pusherLease    = "pusher"
)

// errLeaseLost ends work whose lease could not be renewed in time.
var errLeaseLost = errors.New("the publisher's lease is lost to another, or could not be renewed")

type lease struct {
	rec  *bus.Record[proto.Worker]
	key  string
	self proto.Worker
	rev  uint64
}

// acquireLease takes the lease, or says who has it (a bus.Later).
func acquireLease(ctx context.Context, rec *bus.Record[proto.Worker], key string, self proto.Worker, now time.Time) (*lease, error) {
	self.RenewedAt = now
	l := &lease{rec: rec, key: key, self: self}
	var err error
	if l.rev, err = rec.Create(ctx, key, &l.self); !errors.Is(err, bus.ErrConflict) {
		return l, err
	}
	holder, rev, err := rec.Get(ctx, key)
	switch {
	case errors.Is(err, bus.ErrNotFound):
		return nil, bus.Later(0, "the %s lease changes hands", key)
	case err != nil:
		return nil, err
	case holder.ID == self.ID || gone(holder):
		if l.rev, err = rec.Update(ctx, key, &l.self, rev); errors.Is(err, bus.ErrConflict) {
			return nil, bus.Later(time.Second, "the %s lease changes hands", key)
		}
		return l, err
	}
	return nil, bus.Later(3*time.Second, "%s on %s is publishing", holder.ID, holder.Host)
}

// gone reports whether the holder was a process of this host that has ended: no need to wait for the TTL.
func gone(w *proto.Worker) bool {
	host, err := os.Hostname()
	return err == nil && w.Host == host && w.PID > 0 && errors.Is(syscall.Kill(w.PID, 0), syscall.ESRCH)
}

// hold runs work while it renews the lease, and gives it back. work's context ends when the lease is lost.
func (l *lease) hold(ctx context.Context, now func() time.Time, work func(context.Context) error) error {
	workCtx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(proto.LeaseTTL / 3)
		defer ticker.Stop()
		for {
			select {
			case <-workCtx.Done():
				return
			case <-ticker.C:
			}
			// The bucket forgets the lease LeaseTTL after the last renewal; stop before that.
			renewCtx, stop := context.WithTimeout(workCtx, proto.LeaseTTL/3)
			next := l.self
			next.RenewedAt = now()
			rev, err := l.rec.Update(renewCtx, l.key, &next, l.rev)
			stop()
			if err != nil {
				cancel(fmt.Errorf("%w: %w", errLeaseLost, err))
				return
			}
			l.rev, l.self = rev, next
		}
	}()
	err := work(workCtx)
	cancel(nil)
	<-done
	if errors.Is(context.Cause(workCtx), errLeaseLost) {
		return errors.Join(err, context.Cause(workCtx))
	}
	giveBack, stop := context.WithTimeout(context.WithoutCancel(ctx), proto.LeaseTTL/3)
	defer stop()
	// At our revision only: a holder that was frozen must not take another's. If it cannot be given back, the TTL does it.
	_ = l.rec.DeleteRevision(giveBack, l.key, l.rev)
	return err
}
