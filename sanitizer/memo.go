package sanitizer

import (
	"sync"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// What is remembered between manifests. All of it is what a pure function gave, so that what was converted before never shows;
// and all of it is bounded, so that no dump can fill memory.
var (
	// signatures: a run has a handful of them, and tens of thousands of calls.
	signatures = memo[string, *fidump.Signature]{most: 512}
	// targets: definitions are few, and never change once parsed.
	targets = memo[*fitrace.Definition, *target]{most: 4096}
	// prefixes: the layers of a step share one plan, so that one megabyte of indices is cut and hashed dozens of times.
	prefixes = memo[prefix, string]{most: 4096}
)

// prefix is the first bytes of the content of a digest.
type prefix struct {
	digest string
	bytes  int
}

// memo is a bounded, concurrent memory of a pure function. Full, it forgets all: that is rare, and cheap to fill again.
type memo[K comparable, V any] struct {
	most int

	mu     sync.RWMutex
	values map[K]V
}

// get gives the value of key, made on first use. Two callers may make it at once; their values are equal.
func (m *memo[K, V]) get(key K, fresh func() V) V {
	m.mu.RLock()
	v, ok := m.values[key]
	m.mu.RUnlock()
	if ok {
		return v
	}
	v = fresh()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil || len(m.values) >= m.most {
		m.values = make(map[K]V)
	}
	m.values[key] = v
	return v
}
