package proto

import (
	"errors"
	"time"
)

// Stage is the part of the flow an event speaks of.
type Stage string

// The stages, in the order of the flow.
const (
	StagePlan     Stage = "plan"
	StageEngine   Stage = "engine"   // Done of Total requests served
	StageDump     Stage = "dump"     // Done dumps eaten (Total: 0, unknown)
	StageSanitize Stage = "sanitize" // Done of Total manifests accounted for
	StagePublish  Stage = "publish"  // Done of Total definitions published
)

// Level is how much an event matters.
type Level string

// The levels. Progress events replace each other; the others are the log.
const (
	LevelProgress Level = "progress"
	LevelInfo     Level = "info"
	LevelWarn     Level = "warn"
	LevelError    Level = "error"
)

// Event tells the user's side how a collection goes. Events are never the truth: losing all of them loses no work.
type Event struct {
	Collection string    `msgpack:"collection" json:"collection"`
	Task       string    `msgpack:"task,omitempty" json:"task,omitempty"` // empty: of the collection
	Attempt    uint32    `msgpack:"attempt,omitempty" json:"attempt,omitempty"`
	Role       string    `msgpack:"role" json:"role"` // coordinator, gpuworker, sanitizer, publisher; broker: what it refuses a role
	Node       string    `msgpack:"node" json:"node"`
	Time       time.Time `msgpack:"time" json:"time"`
	Level      Level     `msgpack:"level" json:"level"`
	Stage      Stage     `msgpack:"stage" json:"stage"`
	Text       string    `msgpack:"text,omitempty" json:"text,omitempty"`
	Done       int64     `msgpack:"done,omitempty" json:"done,omitempty"`
	Total      int64     `msgpack:"total,omitempty" json:"total,omitempty"`
	Failure    *Failure  `msgpack:"failure,omitempty" json:"failure,omitempty"`
}

// Kind implements Message.
func (*Event) Kind() Kind { return KindEvent }

// Validate implements Message.
func (e *Event) Validate() error {
	if err := checkToken("collection", e.Collection); err != nil {
		return err
	}
	if e.Task != "" {
		if err := checkToken("task", e.Task); err != nil {
			return err
		}
	}
	if e.Level == "" || e.Stage == "" {
		return errors.New("level or stage is empty")
	}
	return nil
}

// Worker announces a running role process. It rests in the workers bucket under its id and vanishes by the bucket's TTL
// when the process stops renewing it.
type Worker struct {
	ID        string       `msgpack:"id" json:"id"` // role-host-pid-random
	Role      string       `msgpack:"role" json:"role"`
	Host      string       `msgpack:"host" json:"host"`
	PID       int          `msgpack:"pid" json:"pid"`
	Version   string       `msgpack:"version" json:"version"` // tracefleet's
	StartedAt time.Time    `msgpack:"started_at" json:"started_at"`
	RenewedAt time.Time    `msgpack:"renewed_at" json:"renewed_at"`
	Engines   []EngineKind `msgpack:"engines,omitempty" json:"engines,omitempty"`
	GPUs      []GPU        `msgpack:"gpus,omitempty" json:"gpus,omitempty"`
	Doing     string       `msgpack:"doing,omitempty" json:"doing,omitempty"` // "<collection>.<task> attempt N", or empty
	Draining  bool         `msgpack:"draining,omitempty" json:"draining,omitempty"`
}

// GPU is one device of a worker's node.
type GPU struct {
	Index  int    `msgpack:"index" json:"index"`
	Name   string `msgpack:"name" json:"name"`
	Bytes  int64  `msgpack:"bytes" json:"bytes"`                       // memory
	Holder string `msgpack:"holder,omitempty" json:"holder,omitempty"` // who has the lease
}

// Kind implements Message.
func (*Worker) Kind() Kind { return KindWorker }

// Validate implements Message.
func (w *Worker) Validate() error { return checkToken("worker id", w.ID) }

// Dead is a message that left its work queue without being done.
type Dead struct {
	Stream     string    `msgpack:"stream" json:"stream"`
	Subject    string    `msgpack:"subject" json:"subject"`
	Sequence   uint64    `msgpack:"sequence" json:"sequence"` // in that stream
	Deliveries uint64    `msgpack:"deliveries" json:"deliveries"`
	At         time.Time `msgpack:"at" json:"at"`
	Node       string    `msgpack:"node" json:"node"`
	Failure    Failure   `msgpack:"failure" json:"failure"`
	Data       []byte    `msgpack:"data" json:"-"` // the message as it was
}

// Kind implements Message.
func (*Dead) Kind() Kind { return KindDead }

// Validate implements Message.
func (d *Dead) Validate() error {
	if d.Stream == "" || d.Subject == "" {
		return errors.New("stream or subject is empty")
	}
	return d.Failure.Validate()
}
