package tail

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/disk"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// minFree is the room on the file system below which writers fail at any moment.
const minFree = 1 << 20

// room keeps account of the disk that a dump directory takes, in blocks: sparse files count as what they hold.
type room struct {
	quota int64
	kick  chan struct{} // asks for a look now

	mu       sync.Mutex
	used     int64
	peak     int64
	largest  int64     // of the dumps seen
	seen     int64     // dumps that were finished and measured
	granted  int64     // dumps let through and not finished on disk
	letAt    time.Time // when the latest was let through
	waiting  int
	idle     bool // nothing to read and nothing being shipped, as of the last look
	over     bool
	stuck    time.Time     // since when it is over without anything freed
	freeing  bool          // something was freed since the last look
	changed  chan struct{} // closed and replaced when a waiting Gate should look again
	finished bool
}

func (r *room) init(quota int64) {
	r.quota, r.kick, r.changed = quota, make(chan struct{}, 1), make(chan struct{})
}

func (r *room) usage() (used, peak int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used, r.peak
}

// resize sets what a dump takes.
func (r *room) resize(it *item, disk int64) {
	if disk == it.disk {
		return
	}
	r.mu.Lock()
	r.used += disk - it.disk
	r.freeing = r.freeing || disk < it.disk
	r.idle = r.idle && disk < it.disk // there is something to read again
	r.peak, r.largest = max(r.peak, r.used), max(r.largest, disk)
	it.disk = disk
	if r.waiting > 0 && r.freeing {
		r.wake()
	}
	r.mu.Unlock()
}

func (r *room) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// landed notes that a dump that was let through is finished, and measured.
func (r *room) landed() {
	r.mu.Lock()
	r.granted = max(0, r.granted-1)
	r.seen++
	r.mu.Unlock()
}

func (r *room) measured() {
	r.mu.Lock()
	r.wake()
	r.mu.Unlock()
}

func (r *room) end() {
	r.mu.Lock()
	r.finished = true
	r.wake()
	r.mu.Unlock()
}

// Gate holds the caller back while the directory has no room for another dump of the largest size seen, counting those that
// were let through and are not finished yet. An engine that can pause calls it before each dump. It returns nil when there
// is room (at once, without a quota or after Run ended), or ctx's error. One dump always passes when nothing else is left to
// free, so that a quota smaller than a dump ends in a failure of Run rather than in silence.
func (t *Tailer) Gate(ctx context.Context) error {
	r := &t.room
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		// How large dumps are is known from those seen, so the first ones pass one by one.
		fits := r.granted < max(1, r.seen) && r.used+(r.granted+1)*r.largest <= r.quota
		if r.quota == 0 || r.finished || fits || r.idle && r.granted == 0 && r.used <= r.quota {
			r.granted, r.letAt = r.granted+1, time.Now()
			return nil
		}
		changed := r.changed
		r.waiting++
		r.mu.Unlock()
		select {
		case r.kick <- struct{}{}:
		default:
		}
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		r.mu.Lock()
		r.waiting--
		if err != nil {
			return err
		}
	}
}

// checkRoom sees whether the directory is over its quota or the disk full. Over it, the outputs of finished calls go at once,
// and what waits for a next call is shipped. When nothing helps for Settle, that is a failure.
func (t *Tailer) checkRoom(ctx context.Context, idle, final bool) error {
	r := &t.room
	used, _ := r.usage()
	free := freeBytes(t.opt.Dir)
	over := t.opt.Quota > 0 && used > t.opt.Quota || free >= 0 && free < minFree
	if over && t.opt.Delete {
		t.shedOutputs()
	}
	r.mu.Lock()
	r.idle = idle
	blocked := r.waiting > 0
	if idle && time.Since(r.letAt) > t.opt.Grace {
		r.granted = 0 // they were let through and never began
	}
	changed := over != r.over
	switch now := time.Now(); {
	case !over || r.freeing || r.stuck.IsZero():
		r.stuck = now
	}
	stuckFor := time.Since(r.stuck)
	r.over, r.freeing = over, false
	used = r.used
	r.mu.Unlock()
	if changed && t.opt.Pressure != nil {
		t.opt.Pressure(over, used, t.opt.Quota)
	}
	if idle && (over || blocked) {
		t.releaseWaiting(ctx)
	}
	if !over || final || stuckFor < t.opt.Settle {
		return nil
	}
	if free >= 0 && free < minFree {
		return proto.Failf(proto.CodeDiskFull, "the file system of %s is full: %s free, the dumps take %s, nothing could be freed for %s",
			t.opt.Dir, cli.Bytes(free), cli.Bytes(used), stuckFor.Round(time.Second)).
			WithHint("free disk space, or point the worker's state to a larger disk").WithRetry()
	}
	return proto.Failf(proto.CodeDiskFull, "%s holds %s, the quota is %s, and nothing could be freed for %s: %s",
		t.opt.Dir, cli.Bytes(used), cli.Bytes(t.opt.Quota), stuckFor.Round(time.Second), t.whyStuck()).
		WithHint("raise the dump quota, or make dumps smaller with a smaller KV pool (--extra-server-flag=--max-total-tokens=N)").WithRetry()
}

func (t *Tailer) whyStuck() string {
	return fmt.Sprintf("%d dumps wait to be finished, %d manifests wait to be stored", t.Snapshot().Backlog, t.inFlight)
}

// shedOutputs deletes the outputs of the calls that are finished and not stored yet.
func (t *Tailer) shedOutputs() {
	shed := func(it *item) {
		if it.stage != finished || it.shed {
			return
		}
		it.shed = true
		removeOutputs(t.root, fidump.FlushDir(it.name.Dir, it.flush))
		t.inspect(it)
	}
	for _, p := range t.processes {
		for _, it := range p.pending {
			shed(it)
		}
	}
	for _, it := range t.items {
		shed(it)
	}
}

// releaseWaiting ships the runs that wait for what their process calls next: it calls nothing, since there is no room.
func (t *Tailer) releaseWaiting(ctx context.Context) {
	for _, pid := range sortedPIDs(t.processes) {
		t.act(ctx, t.pairer.Release(pid))
	}
}

// freeBytes returns the free space on the file system of dir, -1 where it is not known.
func freeBytes(dir string) int64 {
	free, err := disk.Free(dir)
	if err != nil {
		return -1
	}
	return free
}
