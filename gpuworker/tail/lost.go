package tail

import (
	"github.com/tracefleet/tracefleet/gpuworker/manifest"
	"github.com/tracefleet/tracefleet/internal/fidump"
)

// lostPlans finds the plan calls that the session log has and the directory never had: removed by somebody, or trimmed from a
// recording. A run after such a plan must not take the one before it.
type lostPlans struct {
	session *fidump.Session
	there   map[string]bool // plan directories ever listed
	next    map[int64]int   // by process: how many of its plan calls were passed
}

func newLostPlans(session *fidump.Session) lostPlans {
	return lostPlans{session: session, there: map[string]bool{}, next: map[int64]int{}}
}

// listed notes a directory.
func (l *lostPlans) listed(e *entry) {
	if planLike(e) {
		l.there[e.name.Dir] = true
	}
}

// before tells pairer of each plan that was lost before e, which is to be fed next, and gives what that led to. A directory is
// made before its line is written, and e had its turn in a listing after it was found: what such a line names and no listing
// has shown is lost.
func (l *lostPlans) before(e *entry, pairer *manifest.Pairer) (steps []manifest.Step) {
	if !e.logged {
		return nil
	}
	plans := l.session.Plans(e.name.PID)
	at := min(l.next[e.name.PID], len(plans))
	for ; at < len(plans) && plans[at].At < e.at; at++ {
		if lost := plans[at]; !l.there[lost.Name.Dir] {
			steps = append(steps, pairer.Lost(lost.Name.PID, lost.Name.Function, lost.SelfID, lost.Name.Sequence))
		}
	}
	l.next[e.name.PID] = at
	return steps
}
