package sanitizer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/tensorstore"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

// role is a sanitizer that runs until the test ends.
type role struct {
	*bus.Bus
	store *tensorstore.Store
}

func start(t *testing.T) *role {
	t.Helper()
	b := bustest.Start(t)
	store, err := tensorstore.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- sanitizer.New(sanitizer.Options{Bus: b, Store: store, Log: bustest.Log(t)}).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &role{b, store}
}

// verdict waits for the verdict on a manifest.
func (r *role) verdict(t *testing.T, id string) *proto.Verdict {
	t.Helper()
	subject := proto.VerdictSubject("c-1", "t000", 1, id)
	for {
		var got *proto.Verdict
		if err := r.ReadSet(t.Context(), proto.StreamVerdicts, subject, func(_ string, data []byte) (err error) {
			got, err = proto.Decode[proto.Verdict](data)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got != nil {
			return got
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("no verdict on %s", id)
		case <-time.After(5 * time.Millisecond): // polls: the stream has no one to tell
		}
	}
}

func (r *role) send(t *testing.T, m *proto.Manifest) {
	t.Helper()
	if err := r.Publish(t.Context(), proto.ManifestSubject(m.Collection, m.Task, m.Attempt, m.ID), m, ""); err != nil {
		t.Fatal(err)
	}
}

// dead gives the subjects of the dead letters, once there are as many as wanted: a verdict may come before its letter is stored.
func (r *role) dead(t *testing.T, want int) []string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var subjects []string
		if err := r.ReadStream(t.Context(), proto.StreamDead, ">", time.Time{}, func(s bus.Stored) error {
			subjects = append(subjects, s.Subject)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(subjects) >= want || time.Now().After(end) {
			return subjects
		}
	}
}

// refs stores definitions and gives the references a manifest has.
func (r *role) refs(t *testing.T, defs ...*fitrace.Definition) []proto.DefinitionRef {
	t.Helper()
	var list []proto.DefinitionRef
	for _, d := range defs {
		stored, err := r.PutDefinition(t.Context(), d.Raw)
		if err != nil || stored != d.Digest() {
			t.Fatalf("definition %s stored as %s: %v", d.Name, stored, err)
		}
		list = append(list, proto.DefinitionRef{Name: d.Name, OpType: d.OpType, Digest: d.Digest()})
	}
	return list
}

func TestSanitizer_Verdict(t *testing.T) {
	t.Parallel()
	r := start(t)
	m := largeDecode()
	if err := r.store.PutDigest(t.Context(), m.Plan.Tensors[1].Digest, largeIndices()); err != nil {
		t.Fatal(err)
	}
	m.Definitions = r.refs(t, definition(t, decodePS1), definition(t, rmsnorm))
	r.send(t, m)
	v := r.verdict(t, m.ID)
	if len(v.Candidates) != 1 || len(v.Rejections) != 0 {
		t.Fatalf("verdict %+v", v)
	}
	indices := v.Candidates[0].Inputs[4]
	data, err := r.store.Get(t.Context(), indices.Digest)
	if err != nil || len(indices.Inline) != 0 || len(data) != 4*largeTokens {
		t.Errorf("%d bytes of indices are stored (%v), %d inline", len(data), err, len(indices.Inline))
	}
	if dead := r.dead(t, 0); len(dead) != 0 {
		t.Errorf("dead: %v", dead)
	}
}

// TestSanitizer_Undecodable: what cannot be read still has a verdict, so that its task ends, and is kept as it was.
func TestSanitizer_Undecodable(t *testing.T) {
	t.Parallel()
	r := start(t)
	if _, err := r.JetStream().Publish(t.Context(), proto.ManifestSubject("c-1", "t000", 1, "bad1"), []byte("not msgpack")); err != nil {
		t.Fatal(err)
	}
	misplaced := sglangDecode()
	if err := r.Publish(t.Context(), proto.ManifestSubject("c-1", "t000", 1, "bad2"), misplaced, ""); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"bad1", "bad2"} {
		if v := r.verdict(t, id); len(v.Rejections) != 1 || v.Rejections[0].Reason != sanitizer.RejectBadManifest || v.Rejections[0].Detail == "" {
			t.Errorf("%s: verdict %+v", id, v)
		}
	}
	if dead := strings.Join(r.dead(t, 2), " "); !strings.Contains(dead, "bad1") || !strings.Contains(dead, "bad2") {
		t.Errorf("dead letters are of %s", dead)
	}
}

// TestSanitizer_TensorLost: content that the store does not have ends as a rejection, not in a loop.
func TestSanitizer_TensorLost(t *testing.T) {
	t.Parallel()
	r := start(t)
	m := largeDecode()
	m.Definitions = r.refs(t, definition(t, decodePS1))
	r.send(t, m)
	if v := r.verdict(t, m.ID); len(v.Rejections) != 1 || v.Rejections[0].Reason != sanitizer.RejectUnconverted {
		t.Errorf("verdict %+v", v)
	}
	if dead := r.dead(t, 1); len(dead) != 1 {
		t.Errorf("dead: %v", dead)
	}
}

// TestSanitizer_BadDefinition: one bad definition is one rejection; the others are answered.
func TestSanitizer_BadDefinition(t *testing.T) {
	t.Parallel()
	r := start(t)
	m := sglangDecode()
	m.Definitions = r.refs(t, definition(t, decodePS1), definition(t, decodePS4))
	m.Definitions[1].Name = "another_name"
	digest, err := r.PutDefinition(t.Context(), []byte(`{"name": "broken"}`))
	if err != nil {
		t.Fatal(err)
	}
	m.Definitions = append(m.Definitions, proto.DefinitionRef{Name: "broken", OpType: "op", Digest: digest})
	r.send(t, m)
	v := r.verdict(t, m.ID)
	if len(v.Candidates) != 1 || len(v.Rejections) != 2 {
		t.Fatalf("verdict %+v", v)
	}
	for _, rejection := range v.Rejections {
		if rejection.Reason != sanitizer.RejectBadDefinition {
			t.Errorf("rejected as %+v", rejection)
		}
	}
}
