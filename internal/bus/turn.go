package bus

import (
	"context"
	"sync"
)

// Turn lets several Consume calls handle one message at a time over all of them. Each asks its queue only while no message is in
// work; when two get one in the same moment, the later gives its message back.
type Turn struct {
	mu   sync.Mutex
	busy chan struct{} // closed when the message in work is done; nil: none is
}

// NewTurn makes a Turn that is free.
func NewTurn() *Turn { return &Turn{} }

// wait returns when no message is in work, or ctx ends.
func (t *Turn) wait(ctx context.Context) {
	if t == nil {
		return
	}
	for {
		t.mu.Lock()
		busy := t.busy
		t.mu.Unlock()
		if busy == nil {
			return
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return
		}
	}
}

// take reports whether the caller may handle a message now.
func (t *Turn) take() bool {
	if t == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy != nil {
		return false
	}
	t.busy = make(chan struct{})
	return true
}

func (t *Turn) release() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.busy)
	t.busy = nil
}
