package bustest

import (
	"strings"
	"sync"
	"testing"
)

// testWriter writes to the test's log while the test lives: logging after its end would panic, and a connection may do that.
type testWriter struct {
	t    testing.TB
	mu   sync.Mutex
	live bool
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (w *testWriter) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live = false
}
