package sanitizer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// TensorStore keeps tensors too large for a message, by digest.
type TensorStore interface {
	Get(ctx context.Context, digest string) ([]byte, error)
	PutDigest(ctx context.Context, digest string, data []byte) error
}

// Options are what a sanitizer needs.
type Options struct {
	Bus      *bus.Bus
	Store    TensorStore
	Parallel int             // manifests at a time; 0: four a processor, since most of the time is the broker's disk
	Hard     context.Context // if set, only its end interrupts conversions under way; Run's ctx stops taking more
	Log      zerolog.Logger
}

// Sanitizer is the role. It has no state but a memory of definitions, so any number may run at once.
type Sanitizer struct {
	o Options

	mu          sync.Mutex
	definitions map[string]parsed // by digest
}

// parsed is a definition, or why it is none.
type parsed struct {
	def *fitrace.Definition
	err error
}

// mostDefinitions bounds the memory of definitions; a fleet has hundreds.
const mostDefinitions = 2048

// New prepares the role; Run starts it.
func New(o Options) *Sanitizer {
	if o.Parallel <= 0 {
		o.Parallel = 4 * runtime.GOMAXPROCS(0)
	}
	return &Sanitizer{o: o, definitions: map[string]parsed{}}
}

// Run turns manifests into verdicts until ctx ends, then finishes those under way (see Options.Hard) and returns nil.
func (s *Sanitizer) Run(ctx context.Context) error {
	for _, c := range proto.Consumers() {
		if c.Name == proto.ConsumerSanitizers {
			return s.o.Bus.Consume(ctx, c, bus.Decoded(s.handle), bus.ConsumeOptions{Parallel: s.o.Parallel, Hard: s.o.Hard, OnDead: s.dead})
		}
	}
	return errors.New("start sanitizer: proto declares no consumer for it")
}

// handle answers one manifest. The verdict is stored last, after every tensor it names, and the manifest is acknowledged after
// it; a repeat stores the same bytes under the same subject.
func (s *Sanitizer) handle(ctx context.Context, d *bus.Delivery, m *proto.Manifest) error {
	if subject := proto.ManifestSubject(m.Collection, m.Task, m.Attempt, m.ID); subject != d.Subject {
		return proto.Failf(proto.CodeMalformedMessage, "manifest of %s came under the subject %s", subject, d.Subject)
	}
	defs, bad, err := s.resolve(ctx, m)
	if err != nil {
		return err
	}
	out, err := Convert(m, defs, func(digest string) ([]byte, error) { return s.o.Store.Get(ctx, digest) })
	if err != nil {
		return err
	}
	out.Verdict.Rejections = append(out.Verdict.Rejections, bad...)
	known := digests(m)
	for digest, data := range out.Tensors {
		if known[digest] {
			continue
		}
		if err := s.o.Store.PutDigest(ctx, digest, data); err != nil {
			return fmt.Errorf("store tensor %s of manifest %s: %w", digest, m.ID, err)
		}
	}
	return s.publish(ctx, &out.Verdict)
}

func (s *Sanitizer) publish(ctx context.Context, v *proto.Verdict) error {
	return s.o.Bus.Publish(ctx, proto.VerdictSubject(v.Collection, v.Task, v.Attempt, v.Manifest), v, "")
}

// digests gives those of a manifest's tensors: the store has them already.
func digests(m *proto.Manifest) map[string]bool {
	known := map[string]bool{}
	for _, c := range []*proto.Call{&m.Call, m.Plan} {
		for i := 0; c != nil && i < len(c.Tensors); i++ {
			if t := &c.Tensors[i]; t.Digest != "" && len(t.Inline) == 0 {
				known[t.Digest] = true
			}
		}
	}
	return known
}

// resolve gives the definitions a manifest names, and a rejection for each that is none. It fails only where the broker does,
// or has not got one.
func (s *Sanitizer) resolve(ctx context.Context, m *proto.Manifest) ([]*fitrace.Definition, []proto.Rejection, error) {
	var (
		defs []*fitrace.Definition
		bad  []proto.Rejection
	)
	for _, ref := range m.Definitions {
		p, err := s.definition(ctx, ref)
		if err != nil {
			return nil, nil, fmt.Errorf("definition %s of manifest %s: %w", ref.Name, m.ID, err)
		}
		if p.err == nil && p.def.Name != ref.Name {
			p.err = fmt.Errorf("definition %s is called %s in its own file", ref.Name, p.def.Name)
		}
		if p.err != nil {
			bad = append(bad, proto.Rejection{Definition: ref.Name, Reason: RejectBadDefinition, Detail: p.err.Error()})
			continue
		}
		defs = append(defs, p.def)
	}
	return defs, bad, nil
}

func (s *Sanitizer) definition(ctx context.Context, ref proto.DefinitionRef) (parsed, error) {
	s.mu.Lock()
	p, ok := s.definitions[ref.Digest]
	s.mu.Unlock()
	if ok {
		return p, nil
	}
	data, err := s.o.Bus.Definition(ctx, ref.Digest)
	if err != nil {
		return parsed{}, err
	}
	p.def, p.err = fitrace.ParseDefinition(data, ref.Name+".json")
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.definitions) >= mostDefinitions {
		clear(s.definitions)
	}
	s.definitions[ref.Digest] = p
	return p, nil
}

// dead answers for a manifest that is given up, so that its task can end: the dead letter has the message, the verdict says why.
func (s *Sanitizer) dead(ctx context.Context, d *bus.Delivery, f *proto.Failure) error {
	at, err := proto.ParseManifestSubject(d.Subject)
	if err != nil {
		s.o.Log.Error().Err(err).Msg("a dead manifest cannot be accounted for")
		return nil
	}
	v := &proto.Verdict{Collection: at.Collection, Task: at.Task, Attempt: at.Attempt, Manifest: at.Manifest}
	r := proto.Rejection{Reason: RejectUnconverted, Detail: f.Error()}
	switch f.Code {
	case proto.CodeMalformedMessage, proto.CodeUnknownKind, proto.CodeUnknownVersion:
		r.Reason = RejectBadManifest
	}
	v.Rejections = []proto.Rejection{r}
	s.o.Log.Warn().Str("collection", at.Collection).Str("task", at.Task).Str("manifest", at.Manifest).Err(f).Msg("manifest given up")
	return s.publish(ctx, v)
}
