package proto

import (
	"errors"
	"fmt"
)

// Task is what one worker takes: one engine lifetime with one server configuration and one batch size, for one or more
// definitions. Its attempts are in its TaskState.
type Task struct {
	Collection  string          `msgpack:"collection" json:"collection"`
	ID          string          `msgpack:"id" json:"id"`       // unique within the collection
	Index       int             `msgpack:"index" json:"index"` // planned order within the collection
	Definitions []DefinitionRef `msgpack:"definitions" json:"definitions"`
	Engine      EngineSpec      `msgpack:"engine" json:"engine"`
	BatchSize   int             `msgpack:"batch_size,omitempty" json:"batch_size,omitempty"` // requests in flight; 0 where EngineKind.Serves is false
	Traffic     Traffic         `msgpack:"traffic" json:"traffic,omitzero"`                  // zero where EngineKind.Serves is false
	Dump        DumpSpec        `msgpack:"dump" json:"dump"`
	Evaluate    *Evaluate       `msgpack:"evaluate,omitempty" json:"evaluate,omitempty"` // engine evaluate: on what
}

// Kind implements Message.
func (*Task) Kind() Kind { return KindTask }

// Validate implements Message.
func (t *Task) Validate() error {
	if err := checkToken("collection", t.Collection); err != nil {
		return err
	}
	if err := checkToken("task id", t.ID); err != nil {
		return err
	}
	if len(t.Definitions) == 0 {
		return errors.New("definitions is empty")
	}
	for i, d := range t.Definitions {
		if err := d.validate(); err != nil {
			return fmt.Errorf("definitions[%d]: %w", i, err)
		}
	}
	if t.BatchSize < 0 || t.BatchSize == 0 && t.Engine.Kind.Serves() {
		return fmt.Errorf("batch_size is %d, must be positive", t.BatchSize)
	}
	if (t.Engine.Kind == EngineEvaluate) != (t.Evaluate != nil) {
		return fmt.Errorf("engine kind is %q and evaluate is set: %t; they go together", t.Engine.Kind, t.Evaluate != nil)
	}
	if t.Evaluate != nil {
		if err := t.Evaluate.Validate(); err != nil {
			return fmt.Errorf("evaluate: %w", err)
		}
	}
	return t.Engine.validate(1)
}

// Publish asks the publisher for one (task, definition): choose among the candidates of the counted attempt and write.
type Publish struct {
	Collection string        `msgpack:"collection" json:"collection"`
	Task       string        `msgpack:"task" json:"task"`
	Attempt    uint32        `msgpack:"attempt" json:"attempt"` // the counted attempt
	Index      int           `msgpack:"index" json:"index"`     // the definition's place in the task
	Definition DefinitionRef `msgpack:"definition" json:"definition"`
	First      bool          `msgpack:"first" json:"first"` // the collection wrote no line of the definition yet: --replace-first acts here
	Spec       PublishSpec   `msgpack:"spec" json:"spec"`
}

// Kind implements Message.
func (*Publish) Kind() Kind { return KindPublish }

// Validate implements Message.
func (p *Publish) Validate() error {
	if err := checkToken("collection", p.Collection); err != nil {
		return err
	}
	if err := checkToken("task", p.Task); err != nil {
		return err
	}
	if p.Spec.WorkloadsPerBatch <= 0 {
		return fmt.Errorf("workloads_per_batch is %d, must be positive", p.Spec.WorkloadsPerBatch)
	}
	return p.Definition.validate()
}
