package gpuworker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// inWork are the tasks in this worker's hands, by key: from the delivery of a message until what comes of it is recorded. It tells
// a record of ourselves that somebody still works on from one that nobody does.
type inWork struct {
	mu    sync.Mutex
	tasks map[string]uint32    // the attempt that runs; 0: none yet
	said  map[string]time.Time // when it was last said that a task waits
}

// enter takes a task in hand, and reports false when it is already.
func (w *inWork) enter(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.tasks[key]; ok {
		return false
	}
	if w.tasks == nil {
		w.tasks, w.said = map[string]uint32{}, map[string]time.Time{}
	}
	w.tasks[key] = 0
	return true
}

// leave puts a task out of hand, and reports whether an attempt of it ran.
func (w *inWork) leave(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ran := w.tasks[key] > 0
	delete(w.tasks, key)
	return ran
}

func (w *inWork) has(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.tasks[key]
	return ok
}

// runs notes that an attempt of a task that was entered begins.
func (w *inWork) runs(key string, attempt uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tasks[key] = attempt
	delete(w.said, key)
}

// doing says which attempts run, for the fleet.
func (w *inWork) doing() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, key := range slices.Sorted(maps.Keys(w.tasks)) {
		if w.tasks[key] > 0 {
			list = append(list, fmt.Sprintf("%s attempt %d", key, w.tasks[key]))
		}
	}
	return strings.Join(list, ", ")
}

// say reports whether it is to be said again that a task waits: it may for hours, and is tried often.
func (w *inWork) say(key string, now time.Time, every time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.said, func(_ string, at time.Time) bool { return now.Sub(at) >= every })
	if _, ok := w.said[key]; ok {
		return false
	}
	w.said[key] = now
	return true
}
