package coordinator

import (
	"context"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// bury makes a dead letter of the message that is now on subject, and takes the message away, as a consumer does after its last
// delivery; but nobody records the end, as if the process had ended between the two.
func (f *fleet) bury(stream, subject string, code proto.Code) {
	f.t.Helper()
	f.waitMessage(stream, subject)
	st, err := f.bus.JetStream().Stream(f.t.Context(), stream)
	if err != nil {
		f.t.Fatal(err)
	}
	msg, err := st.GetLastMsgForSubject(f.t.Context(), subject)
	if err != nil {
		f.t.Fatal(err)
	}
	d := &bus.Delivery{Stream: stream, Subject: subject, Sequence: msg.Sequence, Deliveries: 5, Data: msg.Data}
	if err := f.bus.Bury(f.t.Context(), d, proto.Failf(code, "poison")); err != nil {
		f.t.Fatal(err)
	}
	if err := f.bus.Purge(f.t.Context(), stream, subject); err != nil {
		f.t.Fatal(err)
	}
}

func TestCoordinator_DeadTask(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, nil)
	f.bury(proto.StreamTasks, proto.TaskSubject(proto.EngineSimulate, id, "t001"), proto.CodeInternal)
	if got := f.waitTask(id, "t001", in(proto.StateFailed)); got.Failure.Message != "poison" {
		t.Errorf("failure %v", got.Failure)
	}
	f.roles()
	if c := f.wait(id); c.State != proto.StateFailed {
		t.Errorf("ended %s", f.end(id))
	}
	// Its dead letter must not kill the retry.
	if err := RetryJob(t.Context(), f.bus, id); err != nil {
		t.Fatal(err)
	}
	if c := f.wait(id); c.State != proto.StateDone {
		t.Errorf("after the retry: %s", f.end(id))
	}
}

func TestCoordinator_DeadPublication(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker()
	f.start(func(ctx context.Context) error {
		return f.bus.Consume(ctx, f.consumer(proto.StreamManifests), bus.Decoded[proto.Manifest](f.sanitize), bus.ConsumeOptions{})
	})
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, nil)
	f.bury(proto.StreamPublish, proto.PublishSubject(id, "t000", 1), proto.CodeDatasetWrite)
	f.publisher()
	c := f.wait(id)
	if c.State != proto.StateFailed || c.Failure.Code != proto.CodeDatasetWrite {
		t.Errorf("ended %s", f.end(id))
	}
	// The other definitions and tasks were published all the same.
	if got := f.waitTask(id, "t000", in(proto.StateFailed)); got.Published != 2 {
		t.Errorf("published %d of 2", got.Published)
	}
	f.waitTask(id, "t001", in(proto.StateDone))
}

func TestCoordinator_LostPublish(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker()
	f.start(func(ctx context.Context) error {
		return f.bus.Consume(ctx, f.consumer(proto.StreamManifests), bus.Decoded[proto.Manifest](f.sanitize), bus.ConsumeOptions{})
	})
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, nil)
	subject := proto.PublishSubject(id, "t000", 0)
	f.waitMessage(proto.StreamPublish, subject)
	if err := f.bus.Purge(t.Context(), proto.StreamPublish, subject); err != nil {
		t.Fatal(err)
	}
	f.waitMessage(proto.StreamPublish, subject)
	f.publisher()
	if c := f.wait(id); c.State != proto.StateDone {
		t.Errorf("ended %s", f.end(id))
	}
}

// A manifest that no sanitizer could take is accounted for as a rejection.
func TestCoordinator_DeadManifest(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker()
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, func(c *proto.Collection) { c.BatchSizes = []int{8} })
	f.bury(proto.StreamManifests, proto.ManifestSubject(id, "t000", 1, "m1"), proto.CodeMalformedMessage)
	f.start(func(ctx context.Context) error {
		return f.bus.Consume(ctx, f.consumer(proto.StreamManifests), bus.Decoded[proto.Manifest](f.sanitize), bus.ConsumeOptions{})
	})
	f.publisher()
	if c := f.wait(id); c.State != proto.StateDone {
		t.Fatalf("ended %s", f.end(id))
	}
	var got *proto.Verdict
	err := f.bus.ReadSet(t.Context(), proto.StreamVerdicts, proto.VerdictSubject(id, "t000", 1, "m1"), func(_ string, data []byte) (err error) {
		got, err = proto.Decode[proto.Verdict](data)
		return err
	})
	if err != nil || len(got.Rejections) != 1 || got.Rejections[0].Reason != string(proto.CodeSanitizerFailed) {
		t.Errorf("verdict %+v, %v", got, err)
	}
}

// Manifests that left the queue with neither verdict nor dead letter will never come: waiting for them would be for ever.
func TestCoordinator_LostManifests(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker()
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, func(c *proto.Collection) { c.BatchSizes = []int{8} })
	f.waitTask(id, "t000", in(proto.StateCollected))
	if err := f.bus.Purge(t.Context(), proto.StreamManifests, proto.ManifestSubject(id, "t000", 1, ">")); err != nil {
		t.Fatal(err)
	}
	if got := f.waitTask(id, "t000", in(proto.StateFailed)); got.Failure.Code != proto.CodeAttemptLost || !got.Failure.Retryable {
		t.Errorf("failure %v", got.Failure)
	}
}

// The tasks' records are lost while the collection runs: they are planned again.
func TestCoordinator_LostRecords(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	stop := f.start(f.coordinator(nil).Run)
	id := f.submit(1, nil)
	f.waitMessage(proto.StreamTasks, proto.TaskSubject(proto.EngineSimulate, id, "t003"))
	stop()
	if err := f.s.tasks.Delete(t.Context(), proto.TaskKey(id, "t002")); err != nil {
		t.Fatal(err)
	}
	f.start(f.coordinator(nil).Run)
	f.waitTask(id, "t002", in(proto.StateQueued))
	f.roles()
	if c := f.wait(id); c.State != proto.StateDone {
		t.Errorf("ended %s", f.end(id))
	}
}

func TestCoordinator_CannotBePlanned(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.start(f.coordinator(nil).Run)
	id := f.submit(1, func(c *proto.Collection) { c.Definitions[0].Digest = c.Definitions[0].Digest[:63] + "0" })
	c := f.wait(id)
	if c.State != proto.StateFailed || c.Failure.Code != proto.CodeBadCollection || len(c.Tasks) != 0 {
		t.Errorf("ended %s", f.end(id))
	}
	if err := RetryJob(t.Context(), f.bus, id); err != nil { // tried again, with the same result
		t.Fatal(err)
	}
	if c := f.wait(id); c.State != proto.StateFailed {
		t.Errorf("after the retry: %s", f.end(id))
	}
}

// A submission that no coordinator could read ends the user's waiting with its failure.
func TestFollow_DeadSubmission(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := f.submit(1, nil)
	f.bury(proto.StreamSubmit, proto.SubmitSubject(id), proto.CodeUnknownVersion)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := Follow(ctx, f.bus, id, func(Update) {})
	if err == nil || proto.AsFailure(err, "").Code != proto.CodeUnknownVersion {
		t.Errorf("got %v", err)
	}
}
