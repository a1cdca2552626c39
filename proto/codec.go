package proto

import (
	"bytes"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

// Version is the version of every message this build writes. A reader accepts messages of its own version only: a fleet is
// upgraded by draining it, and what an older or newer binary wrote becomes a visible failure, never a misread field.
const Version = 5

// MaxMessageBytes is the largest encoded message a role may send. NATS servers refuse more than 1 MB by default, headers
// included, so some room is left for those; what does not fit belongs in the tensor store.
const MaxMessageBytes = 1<<20 - 4<<10

// Kind names a message on the wire.
type Kind string

// The kinds of messages and records.
const (
	KindCollection      Kind = "collection"
	KindTask            Kind = "task"
	KindManifest        Kind = "manifest"
	KindVerdict         Kind = "verdict"
	KindPublish         Kind = "publish"
	KindEvent           Kind = "event"
	KindWorker          Kind = "worker"
	KindFailure         Kind = "failure"
	KindDead            Kind = "dead"
	KindCollectionState Kind = "collection_state"
	KindTaskState       Kind = "task_state"
	KindPublication     Kind = "publication"
	KindPush            Kind = "push"
	KindPushState       Kind = "push_state"
)

// Message is anything that crosses NATS or rests in one of its buckets.
type Message interface {
	Kind() Kind
	// Validate reports the first field that no reader could use, naming it and its value.
	Validate() error
}

// envelope is what is on the wire: the version and kind outside, so that they can be read when the body cannot.
type envelope struct {
	Version uint16             `msgpack:"v"`
	Kind    Kind               `msgpack:"k"`
	Body    msgpack.RawMessage `msgpack:"b"`
}

// Encode validates m and returns its wire form.
func Encode(m Message) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Kind(), err)
	}
	body, err := marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Kind(), err)
	}
	out, err := marshal(envelope{Version: Version, Kind: m.Kind(), Body: body})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Kind(), err)
	}
	if len(out) > MaxMessageBytes {
		return nil, Failf(CodeMessageTooLarge, "encode %s: %d bytes, the limit is %d", m.Kind(), len(out), MaxMessageBytes).
			WithHint("large tensors belong in the tensor store, not in the message")
	}
	return out, nil
}

// marshal sorts map keys, so that equal messages have equal bytes.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := msgpack.NewEncoder(&buf)
	enc.SetSortMapKeys(true)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Decode reads the wire form of a message of type T. The error is always a *Failure, with code unknown_version,
// unknown_kind (a known envelope, but not a T) or malformed_message; none of them is retryable.
func Decode[T any, P interface {
	*T
	Message
}](data []byte) (P, error) {
	var env envelope
	if err := unmarshal(data, &env); err != nil {
		return nil, Failf(CodeMalformedMessage, "decode envelope of %d bytes: %v", len(data), err)
	}
	msg := P(new(T))
	switch {
	case env.Version != Version:
		return nil, Failf(CodeUnknownVersion, "message of version %d, this binary reads version %d", env.Version, Version).
			WithHint("run the same tracefleet release on every node")
	case env.Kind != msg.Kind():
		return nil, Failf(CodeUnknownKind, "message of kind %q where %q is expected", env.Kind, msg.Kind())
	}
	if err := unmarshal(env.Body, msg); err != nil {
		return nil, Failf(CodeMalformedMessage, "decode %s: %v", env.Kind, err)
	}
	if err := msg.Validate(); err != nil {
		return nil, Failf(CodeMalformedMessage, "decode %s: %v", env.Kind, err)
	}
	return msg, nil
}

// unmarshal decodes exactly one value: bytes after it mean that the sender meant something else. The library panics on
// some hostile inputs (absurd lengths); a panic here is the sender's malformed message, not our bug.
func unmarshal(data []byte, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("invalid msgpack: %v", p)
		}
	}()
	dec := msgpack.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if n := dec.Buffered().(*bytes.Reader).Len(); n != 0 {
		return fmt.Errorf("%d bytes after the value", n)
	}
	return nil
}
