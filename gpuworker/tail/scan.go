package tail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// Scan converts a dump directory that no one writes to: process by process in order of their pids, each in call order, every
// dump is read once, and emit is called with every manifest and the content of its larger tensors by digest, which emit must
// not change. emit runs on the caller's goroutine while the next dumps are read. Nothing is deleted or written.
//
// The error is emit's, ctx's, or a *proto.Failure with code dump_dir. The counts hold in either case for what was emitted.
func Scan(ctx context.Context, dir string, origin manifest.Origin,
	emit func(m *proto.Manifest, tensors map[string][]byte) error) (proto.AttemptCounts, error) {
	var counts proto.AttemptCounts
	entries, session, err := survey(dir)
	if err != nil {
		return counts, err
	}
	lost := newLostPlans(session)
	for _, e := range entries {
		lost.listed(e)
	}
	ranks := make(map[int64]int)
	for _, e := range entries {
		if _, ok := ranks[e.name.PID]; !ok {
			ranks[e.name.PID] = len(ranks)
		}
	}
	origin.Ranks = ranks

	pairer := origin.NewPairer()
	send := func(results []manifest.Result) error {
		for _, r := range results {
			m, tensors := origin.Build(r)
			if err := emit(m, tensors); err != nil {
				return err
			}
		}
		return nil
	}
	err = readAhead(ctx, dir, entries, func(i int, d *manifest.Dump) error {
		d.Imply(origin.PlanOnly)
		count(&counts, d)
		for _, step := range lost.before(entries[i], pairer) {
			if err := send(step.Ready); err != nil {
				return err
			}
		}
		return send(pairer.Feed(d).Ready)
	})
	if err == nil {
		err = send(pairer.Close().Ready)
	}
	counts.PeakBytes = counts.BytesSeen
	return counts, err
}

// count takes a dump that was read into the accounts.
func count(counts *proto.AttemptCounts, d *manifest.Dump) {
	counts.Dumps++
	if d.Early {
		counts.BeforeTraffic++
	}
	switch d.Role {
	case manifest.Plan:
		counts.Plans++
	case manifest.Capture:
		counts.Captures++
	default:
		counts.Manifests++
	}
	counts.BytesSeen += d.BytesSeen
	counts.BytesRead += d.BytesRead
}

// survey lists all dumps and replays in dir, by process, each in call order, and gives the session log that told the order.
func survey(dir string) ([]*entry, *fidump.Session, error) {
	session := fidump.NewSession(dir)
	updated := make(chan error, 1)
	go func() { updated <- session.Update() }()
	byProcess, err := listed(dir)
	if err = errors.Join(err, <-updated); err != nil {
		return nil, nil, dirFailure(dir, err)
	}
	var all []*entry
	for _, pid := range slices.Sorted(maps.Keys(byProcess)) {
		calls := order(byProcess[pid], session)
		markGaps(calls, session.Plans(pid))
		all = append(all, calls...)
	}
	return all, session, nil
}

// listed gives the dumps and replays on disk, by process.
func listed(dir string) (map[int64][]*entry, error) {
	names, err := fidump.List(dir)
	if err != nil {
		return nil, err
	}
	byProcess := make(map[int64][]*entry)
	slab := make([]entry, len(names))
	var path []byte
	var st unix.Stat_t
	for i, name := range names {
		slab[i].name = name
		byProcess[name.PID] = append(byProcess[name.PID], &slab[i])
		// One stat instead of a listing: next to no dump has replays.
		path = fmt.Appendf(path[:0], "%s/%s/graph_flushes", dir, name.Dir)
		if unix.Lstat(string(path), &st) != nil {
			continue
		}
		flushes, err := fidump.Flushes(filepath.Join(dir, name.Dir))
		if err != nil {
			return nil, err
		}
		for _, n := range flushes {
			byProcess[name.PID] = append(byProcess[name.PID], &entry{name: name, flush: n})
		}
	}
	return byProcess, nil
}

func dirFailure(dir string, err error) *proto.Failure {
	return proto.Failf(proto.CodeDumpDir, "read dump directory %s: %v", dir, err).
		WithHint("check that the directory exists and that this user may read it")
}

// batch is how many dumps a reader takes at a time: enough that handing over costs nothing, few enough that what is read
// ahead stays within some tens of megabytes.
const batch = 4

// readAhead reads entries on all cores and calls next with each place and dump in their order.
func readAhead(ctx context.Context, dir string, entries []*entry, next func(int, *manifest.Dump) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	readers := min(runtime.GOMAXPROCS(0), 8)
	type slot struct {
		from  []*entry
		dumps [batch]*manifest.Dump
		done  chan struct{}
	}
	work := make(chan *slot)
	inOrder := make(chan *slot, 2*readers)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range readers {
		wg.Go(func() {
			for s := range work {
				for i, e := range s.from {
					s.dumps[i] = manifest.Read(dir, e.name, e.flush)
					s.dumps[i].Loose, s.dumps[i].GapAfter = e.loose, e.gap
				}
				close(s.done)
			}
		})
	}
	wg.Go(func() {
		defer close(work)
		defer close(inOrder)
		for from := range slices.Chunk(entries, batch) {
			s := &slot{from: from, done: make(chan struct{})}
			select {
			case inOrder <- s:
			case <-ctx.Done():
				return
			}
			work <- s
		}
	})
	place := 0
	for s := range inOrder {
		<-s.done
		for i := range s.from {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if err := next(place, s.dumps[i]); err != nil {
				return err
			}
			s.dumps[i] = nil
			place++
		}
	}
	return context.Cause(ctx)
}
