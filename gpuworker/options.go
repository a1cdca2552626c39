package gpuworker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// TensorStore keeps the tensors that are too large for a manifest.
type TensorStore interface {
	PutDigest(ctx context.Context, digest string, data []byte) error
}

// Grant is what a task holds of the node's GPUs while it runs.
type Grant = lease.Grant

// Leases grants this node's GPUs to tasks; a *lease.Node is one.
type Leases interface {
	// GPUs lists the devices, one for each rank there is room for, and who holds them.
	GPUs() []proto.GPU
	// Acquire holds the GPUs that the task needs, all of them, until the grant's Release. It waits for them until ctx ends, and
	// then gives a *lease.Busy. More than the node has is a failure with code no_gpus.
	Acquire(ctx context.Context, task *proto.Task) (Grant, error)
	// Ready returns when a task that is fetched now may get a GPU soon. An error is ctx's.
	Ready(ctx context.Context) error
}

// Options are what a worker needs and may choose. New fills zero values from DefaultOptions.
type Options struct {
	Bus     *bus.Bus
	Store   TensorStore
	Engines engine.Registry
	WorkDir string // dumps in work; local disk, one worker's own
	Node    string // this machine's name
	Version string // tracefleet's
	Leases  Leases // nil: no GPUs here, and engines that need none
	// KeepDumps is how many dumps of each function an attempt keeps, in WorkDir/kept, instead of deleting them; 0: none.
	KeepDumps int
	Slots     int // tasks at once; 0: one, or where there is an sglang engine one a GPU

	LeaseWait time.Duration // a task whose GPUs are not free by then is returned to the queue
	// NoGPUsAfter is how long a fleet may take to bring a worker that can run what this one cannot; negative: no other worker will come,
	// so that what fails because of this node (too few GPUs, a full disk) is final.
	NoGPUsAfter time.Duration
	Heartbeat   time.Duration // between signs of life in the TaskState
	Lost        time.Duration // without a sign, the attempt is lost
	Announce    time.Duration // between announcements in the workers bucket
	// Backoff is how long a task waits after its failures-th failed attempt.
	Backoff func(failures int) time.Duration
	Log     zerolog.Logger
}

// DefaultOptions gives the choices of a production worker; Bus, Store, Engines and WorkDir are the caller's.
func DefaultOptions() Options {
	node, err := os.Hostname()
	if err != nil || node == "" {
		node = "localhost"
	}
	return Options{
		Node: node, Version: "unknown", Heartbeat: proto.HeartbeatInterval, Lost: proto.HeartbeatTimeout, Announce: proto.AnnounceInterval,
		Leases: noGPUs{}, LeaseWait: 20 * time.Second, NoGPUsAfter: time.Minute, Log: zerolog.Nop(),
		Backoff: func(failures int) time.Duration { return min(5*time.Second<<min(max(failures, 1)-1, 6), 5*time.Minute) },
	}
}

// Validate names the first option that cannot work.
func (o *Options) Validate() error {
	switch {
	case o.Bus == nil:
		return errors.New("gpuworker options: bus is nil")
	case o.Store == nil:
		return errors.New("gpuworker options: store is nil")
	case len(o.Engines) == 0:
		return errors.New("gpuworker options: engines is empty: the worker could take no task")
	case o.WorkDir == "":
		return errors.New("gpuworker options: work dir is empty")
	case !filepath.IsLocal(filepath.Base(o.WorkDir)):
		return fmt.Errorf("gpuworker options: work dir %q is not a directory of its own", o.WorkDir)
	case o.Slots < 0:
		return fmt.Errorf("gpuworker options: slots is %d, must be at least 1", o.Slots)
	case o.KeepDumps < 0:
		return fmt.Errorf("gpuworker options: keep dumps is %d, must not be negative", o.KeepDumps)
	case o.LeaseWait < 0:
		return fmt.Errorf("gpuworker options: lease wait is %s, must be positive", o.LeaseWait)
	case o.Heartbeat <= 0 || o.Lost < 3*o.Heartbeat:
		return fmt.Errorf("gpuworker options: heartbeat is %s and lost is %s, lost must be at least three heartbeats", o.Heartbeat, o.Lost)
	}
	return nil
}

func (o *Options) fill() {
	d := DefaultOptions()
	setDefault(&o.Node, d.Node)
	setDefault(&o.Version, d.Version)
	setDefault(&o.Heartbeat, d.Heartbeat)
	setDefault(&o.Lost, d.Lost)
	setDefault(&o.Announce, d.Announce)
	if o.Backoff == nil {
		o.Backoff = d.Backoff
	}
	if o.Leases == nil {
		o.Leases = d.Leases
	}
	setDefault(&o.LeaseWait, d.LeaseWait)
	setDefault(&o.NoGPUsAfter, d.NoGPUsAfter)
	if o.Slots == 0 {
		o.Slots = 1
		if _, ok := o.Engines[proto.EngineSGLang]; ok {
			o.Slots = max(len(o.Leases.GPUs()), 1)
		}
	}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// noGPUs is a node without devices: replay and simulate need none.
type noGPUs struct{}

func (noGPUs) GPUs() []proto.GPU { return nil }

func (noGPUs) Acquire(_ context.Context, t *proto.Task) (Grant, error) {
	if n := lease.Need(t); n > 0 {
		return Grant{}, lease.TooFew(t, 0)
	}
	return lease.Nothing(), nil
}

func (noGPUs) Ready(context.Context) error { return nil }
