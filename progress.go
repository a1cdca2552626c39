package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// follow shows a collection until it has ended: bars on a terminal, plain lines elsewhere. Every line of the log also goes to
// stateDir/logs/<collection>.log, from the collection's beginning, whoever ran it. The first signal shows atSignal, if any:
// through the screen, since bars overwrite what others print.
func follow(ctx context.Context, env *environ, b *bus.Bus, id, stateDir, atSignal string) (err error) {
	logFile, err := openLog(filepath.Join(stateDir, "logs", id+".log"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	var screen progressScreen
	if isTerminal(env.Stderr) {
		screen = newBars(env.Stderr)
	} else {
		screen = &plainLines{w: env.Stderr}
	}
	defer screen.Close()
	if atSignal != "" {
		stop := context.AfterFunc(env.Soft, func() { screen.Line(atSignal) })
		defer stop()
	}
	_, err = coordinator.Follow(ctx, b, id, func(u coordinator.Update) {
		if u.Event != nil {
			line := eventLine(u.Event)
			fmt.Fprintln(logFile, u.Event.Time.UTC().Format(time.RFC3339Nano), line)
			screen.Line(line)
		}
		screen.Show(u.View)
	})
	return err
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, logFailure(err)
	}
	f, err := os.Create(path) // the events are stored: all of them are written again, from the first
	if err != nil {
		return nil, logFailure(err)
	}
	return f, nil
}

// eventLine returns an event as one line.
func eventLine(e *proto.Event) string {
	var s strings.Builder
	if e.Task != "" {
		fmt.Fprintf(&s, "%s ", e.Task)
		if e.Attempt > 1 {
			fmt.Fprintf(&s, "attempt %d ", e.Attempt)
		}
	}
	fmt.Fprintf(&s, "%s: ", e.Role)
	if e.Level != proto.LevelInfo {
		fmt.Fprintf(&s, "%s: ", e.Level)
	}
	s.WriteString(e.Text)
	if e.Failure != nil && !strings.Contains(e.Text, e.Failure.Message) {
		fmt.Fprintf(&s, ": %s", e.Failure.Error())
	}
	return s.String()
}

// progressScreen is where a collection's progress is shown.
type progressScreen interface {
	Line(text string)         // a line of the log, above what moves
	Show(v *coordinator.View) // how it stands now
	Close()
}

// plainLines is the screen of a log file or a pipe: a line when something was said, and now and then one a task that moved.
type plainLines struct {
	w    io.Writer
	last time.Time
	said map[string]string
}

const plainEvery = 5 * time.Second

func (p *plainLines) Line(text string) { fmt.Fprintln(p.w, text) }

func (p *plainLines) Show(v *coordinator.View) {
	if p.said == nil {
		p.said, p.last = map[string]string{}, time.Now()
	}
	if time.Since(p.last) < plainEvery {
		return
	}
	p.last = time.Now()
	for _, t := range v.Tasks {
		if t.State == proto.StateQueued || t.State.Final() {
			continue
		}
		line := taskLine(&t)
		if p.said[t.ID] != line {
			p.said[t.ID] = line
			p.Line(line)
		}
	}
}

func (p *plainLines) Close() {}

// taskName returns a task's id, with its batch size where it has one.
func taskName(t *coordinator.TaskView) string {
	if t.BatchSize == 0 {
		return t.ID
	}
	return fmt.Sprintf("%s batch %-4d", t.ID, t.BatchSize)
}

func taskLine(t *coordinator.TaskView) string {
	parts := []string{fmt.Sprintf("%s %s:", strings.TrimRight(taskName(t), " "), t.State)}
	for _, s := range t.Stages {
		if s.Total > 0 {
			parts = append(parts, fmt.Sprintf("%s %d/%d", s.Stage, s.Done, s.Total))
		} else {
			parts = append(parts, fmt.Sprintf("%s %d", s.Stage, s.Done))
		}
	}
	return strings.Join(parts, "  ")
}
