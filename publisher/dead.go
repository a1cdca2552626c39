package publisher

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// dead records that a publication was given up: the coordinator waits for its end. Even a message that cannot be decoded
// tells by its subject whose it was.
func (p *Publisher) dead(ctx context.Context, d *bus.Delivery, f *proto.Failure) error {
	rec, err := p.subject(ctx, d)
	if err != nil || rec == nil {
		return err
	}
	key := proto.PublicationKey(rec.Collection, rec.Task, rec.Index)
	old, rev, err := p.publications.Get(ctx, key)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	if old != nil && (old.Attempt > rec.Attempt || old.Attempt == rec.Attempt && old.State.Final()) {
		return nil
	}
	rec.State, rec.Failure, rec.FinishedAt = proto.StateFailed, f, p.o.Now().UTC()
	if _, err := p.save(ctx, key, rec, rev); err != nil {
		return err
	}
	p.o.Log.Error().Str("collection", rec.Collection).Str("task", rec.Task).Str("def", rec.Definition).Err(f).Msg("publication failed")
	p.o.Bus.Event(ctx, proto.Event{
		Collection: rec.Collection, Task: rec.Task, Attempt: rec.Attempt, Role: "publisher", Stage: proto.StagePublish,
		Level: proto.LevelError, Text: fmt.Sprintf("%s was not published", rec.Definition), Failure: f,
	})
	return nil
}

// subject makes an empty record of the publication that a message asked for; nil if no task has it.
func (p *Publisher) subject(ctx context.Context, d *bus.Delivery) (*proto.Publication, error) {
	if m, err := proto.Decode[proto.Publish](d.Data); err == nil {
		return &proto.Publication{Collection: m.Collection, Task: m.Task, Attempt: m.Attempt, Index: m.Index, Definition: m.Definition.Name}, nil
	}
	parts := strings.Split(d.Subject, ".")
	if len(parts) != 5 {
		return nil, nil
	}
	index, err := strconv.Atoi(parts[4])
	if err != nil {
		return nil, nil
	}
	task, _, err := p.tasks.Get(ctx, proto.TaskKey(parts[2], parts[3]))
	if errors.Is(err, bus.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if index < 0 || index >= len(task.Task.Definitions) {
		return nil, nil
	}
	return &proto.Publication{Collection: parts[2], Task: parts[3], Attempt: task.Attempt, Index: index, Definition: task.Task.Definitions[index].Name}, nil
}
