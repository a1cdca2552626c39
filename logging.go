package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/disk"
)

func newLogger(w io.Writer, level string, asJSON bool) zerolog.Logger {
	if !asJSON {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05", NoColor: !isTerminal(w)}
	}
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		l = zerolog.InfoLevel // kong's enum lets no other name through
	}
	return zerolog.New(w).Level(l).With().Timestamp().Logger()
}

// logFailure adds the remedy to the error of a log file, which is in the state directory.
func logFailure(err error) error {
	switch {
	case disk.Full(err):
		return fmt.Errorf("open log: %w; free space, or pass another --state-dir", err)
	case disk.ReadOnly(err):
		return fmt.Errorf("open log: %w; pass a writable --state-dir", err)
	}
	return fmt.Errorf("open log: %w", err)
}

// logTo returns an environ whose log is a file, appended to. Where a collection's progress moves on the screen, the roles' own
// log would only tear it; what a user must know comes as events.
func (env *environ) logTo(path string) (*environ, func(), error) {
	if path == "" {
		return env, func() {}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, logFailure(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, logFailure(err)
	}
	out := *env
	out.Log = zerolog.New(f).Level(env.Log.GetLevel()).With().Timestamp().Logger()
	return &out, func() { _ = f.Close() }, nil
}
