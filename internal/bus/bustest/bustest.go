// Package bustest gives tests a real broker: embedded in the test, or as a process of its own that can be killed.
//
//	b := bustest.Start(t)                 // a Bus on an embedded broker, everything declared in proto created
//	s := bustest.StartServer(t, dir)      // the broker itself, for several connections
//	p := bustest.StartProcess(t, dir)     // another OS process; needs func TestMain(m *testing.M) { bustest.Main(m) }
//
// All of it is gone when the test ends. Nothing here is a fake.
package bustest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/bus"
)

// Start gives a connection to an embedded broker of the test's own.
func Start(t testing.TB) *bus.Bus {
	t.Helper()
	return Connect(t, StartServer(t, t.TempDir()), "test")
}

// StartServer starts an embedded broker on dir, for this process only.
func StartServer(t testing.TB, dir string) *bus.Server {
	t.Helper()
	s, err := bus.StartEmbedded(bus.Embedded{StateDir: dir, Log: Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Connect opens a connection of its own to s and makes sure that all is declared.
func Connect(t testing.TB, s *bus.Server, name string) *bus.Bus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := s.Connect(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

// Log writes warnings and errors to the test's log; all levels with TRACEFLEET_TEST_LOG set.
func Log(t testing.TB) zerolog.Logger {
	level := zerolog.WarnLevel
	if os.Getenv("TRACEFLEET_TEST_LOG") != "" {
		level = zerolog.DebugLevel
	}
	w := &testWriter{t: t, live: true}
	t.Cleanup(w.stop)
	return zerolog.New(w).Level(level)
}
