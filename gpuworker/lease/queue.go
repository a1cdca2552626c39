package lease

import (
	"slices"
	"time"
)

// ticket is a task's place in the queue for devices.
type ticket struct {
	key     string
	need    int
	waiting int       // Acquire calls that wait with it
	back    time.Time // with none waiting: when the task may ask again
	until   time.Time // with none waiting: how long the place is kept
}

// queue is first come, first served. It knows no devices and no clock.
type queue struct{ tickets []*ticket }

// enter gives the task's ticket: the one it left here a moment ago, or a new one at the end.
func (q *queue) enter(key string, need int) *ticket {
	i := slices.IndexFunc(q.tickets, func(t *ticket) bool { return t.key == key })
	if i < 0 {
		i = len(q.tickets)
		q.tickets = append(q.tickets, &ticket{key: key})
	}
	t := q.tickets[i]
	t.need = need
	t.waiting++
	return t
}

// leave ends a wait. The place is kept until then, for a task that may be back before; the zero time gives it up.
func (q *queue) leave(t *ticket, back, until time.Time) {
	t.waiting--
	t.back, t.until = back, until
	q.expire(time.Time{})
}

// idle reports that nobody waits, and that whoever keeps a place may be back: a task that is fetched now may be that one.
func (q *queue) idle(now time.Time) bool {
	q.expire(now)
	return !slices.ContainsFunc(q.tickets, func(t *ticket) bool { return t.waiting > 0 || now.Before(t.back) })
}

// first is the ticket whose turn it is, nil when nobody waits and no place is kept.
func (q *queue) first(now time.Time) *ticket {
	q.expire(now)
	if len(q.tickets) == 0 {
		return nil
	}
	return q.tickets[0]
}

func (q *queue) expire(now time.Time) {
	q.tickets = slices.DeleteFunc(q.tickets, func(t *ticket) bool {
		return t.waiting == 0 && (t.until.IsZero() || !now.IsZero() && !t.until.After(now))
	})
}
