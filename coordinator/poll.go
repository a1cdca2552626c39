package coordinator

import "time"

// Verdicts are counted, not announced: while tasks wait for theirs the count is polled, quickly after progress and slower
// when nothing moves.
const (
	pollFastest = 20 * time.Millisecond
	pollSlowest = 250 * time.Millisecond
)

type poll struct {
	timer *time.Timer
	armed bool
	delay time.Duration
}

func newPoll() *poll {
	p := &poll{timer: time.NewTimer(time.Hour), delay: pollFastest}
	p.timer.Stop()
	return p
}

func (p *poll) due() <-chan time.Time { return p.timer.C }

func (p *poll) stop() { p.timer.Stop() }

// fired is called when due gave a value.
func (p *poll) fired() { p.armed = false }

// set arms the poll if something waits, and is due soon again if something moved.
func (p *poll) set(waiting, moved bool) {
	if moved {
		p.delay = pollFastest
	}
	if !waiting || p.armed {
		return
	}
	p.timer.Reset(p.delay)
	p.armed = true
	p.delay = min(p.delay*3/2, pollSlowest)
}
