package tail

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fidump"
)

// entry is a dump directory, or a graph replay below one, in the order of its process's calls.
type entry struct {
	name   fidump.Name
	flush  int
	at     int64 // position in the session log
	logged bool  // the session log has it
	loose  bool  // placed by its time alone
	gap    bool  // a plan after which plan calls were made that are not in the directory
}

func (e *entry) call() fidump.CallID { return fidump.CallID{Dump: e.name.Dir, Flush: e.flush} }

// order sorts the calls of one process into call order.
//
// Each process appends its lines to the session log in call order, so the log decides between any two calls that it has. What
// it lacks (lines torn by another process, a log cut off or not copied along) is placed among the others by time, and within
// a millisecond by the numbers of one function's calls. Where that leaves a choice, an __init__ goes first, then a plan, and a
// run goes last, and they are marked loose: so the pairing sees that plan and run are of one millisecond, and takes neither order for granted. A
// replay that is not in the log has no time of its own; it goes to the end, loose.
func order(entries []*entry, session *fidump.Session) []*entry {
	logged := make([]*entry, 0, len(entries))
	var named, replays []*entry
	for _, e := range entries {
		e.at, e.logged = session.Position(e.call())
		e.loose = !e.logged
		switch {
		case e.logged:
			logged = append(logged, e)
		case e.flush > 0:
			replays = append(replays, e)
		default:
			named = append(named, e)
		}
	}
	slices.SortFunc(logged, func(a, b *entry) int { return cmp.Or(cmp.Compare(a.at, b.at), compareNames(a, b)) })
	slices.SortFunc(named, compareNames)
	slices.SortFunc(replays, compareNames)
	if len(logged) == 0 {
		return append(named, replays...)
	}
	for _, e := range named {
		logged = insert(logged, e)
	}
	return append(logged, replays...)
}

// markGaps marks, among the calls of one process in order, the plans whose number the next plan of the same class does not
// follow: at an unknown point between the two, a plan was made that is not in the directory. Where the session log has the
// plans between them, that point is known, see lostPlans.
func markGaps(entries []*entry, logged []fidump.PlannedCall) {
	next := make(map[string]int64)
	named := make(map[string]map[int64]bool)
	for _, p := range logged {
		if named[p.Name.Function] == nil {
			named[p.Name.Function] = make(map[int64]bool)
		}
		named[p.Name.Function][p.Name.Sequence] = true
	}
	for i := len(entries) - 1; i >= 0; i-- {
		e := entries[i]
		if e.flush > 0 || !planLike(e) {
			continue
		}
		after, ok := next[e.name.Function]
		for n := e.name.Sequence + 1; ok && n < after && !e.gap; n++ {
			e.gap = !named[e.name.Function][n]
		}
		next[e.name.Function] = e.name.Sequence
	}
}

// insert puts e, which the session log lacks, among calls in order.
func insert(list []*entry, e *entry) []*entry {
	early := rank(e) < runRank
	at := len(list)
	for i := len(list) - 1; i >= 0; i-- {
		s := list[i]
		if s.flush > 0 { // replays bear the time of their capture
			if early {
				at = i
			}
			continue
		}
		c := strings.Compare(s.name.Time, e.name.Time)
		if c == 0 && s.name.Function == e.name.Function {
			c = cmp.Compare(s.name.Sequence, e.name.Sequence)
		}
		if c < 0 || c == 0 && (!early || rank(s) < rank(e)) {
			break
		}
		at = i
	}
	return slices.Insert(list, at, e)
}

// planLike reports whether a call is a plan, by its name.
func planLike(e *entry) bool {
	return strings.HasSuffix(e.name.Function, ".plan") || strings.HasSuffix(e.name.Function, ".begin_forward")
}

// Ranks of calls of one millisecond: an object is made, planned, run.
const (
	initRank = iota
	planRank
	runRank
)

func rank(e *entry) int {
	switch {
	case strings.HasSuffix(e.name.Function, ".__init__"):
		return initRank
	case planLike(e):
		return planRank
	}
	return runRank
}

// compareNames orders the calls of one process as far as names tell, by rank within a millisecond.
func compareNames(a, b *entry) int {
	if a.name.Time != b.name.Time {
		return strings.Compare(a.name.Time, b.name.Time)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.name.Function, b.name.Function), cmp.Compare(a.name.Sequence, b.name.Sequence),
		cmp.Compare(a.flush, b.flush))
}
