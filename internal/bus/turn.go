package bus

import (
	"context"
	"sync"
)

// Turn lets several Consume calls handle so many messages at a time over all of them. Each asks its queue only while another
// message may be handled, for one at a time; when two get one and there is room for one, the later gives its message back.
type Turn struct {
	mu    sync.Mutex
	left  int
	freed chan struct{} // closed, and made anew, when a message is done
}

// NewTurn makes a Turn of n messages at a time.
func NewTurn(n int) *Turn { return &Turn{left: max(n, 1), freed: make(chan struct{})} }

// wait returns when another message may be handled, or ctx ends.
func (t *Turn) wait(ctx context.Context) {
	if t == nil {
		return
	}
	for {
		t.mu.Lock()
		left, freed := t.left, t.freed
		t.mu.Unlock()
		if left > 0 {
			return
		}
		select {
		case <-freed:
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
	if t.left == 0 {
		return false
	}
	t.left--
	return true
}

func (t *Turn) release() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left++
	close(t.freed)
	t.freed = make(chan struct{})
}
