package lease

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/proto"
)

// Options of a Node. The zero value uses nvidia-smi, every device this process may see, and gpu-lock's files.
type Options struct {
	GPUs      string        // --gpus, see Choose
	Visible   Visible       // CUDA_VISIBLE_DEVICES of this process
	Inventory Inventory     // nil: System
	LockDir   string        // empty: TRACEFLEET_GPU_LOCK_DIR, else /tmp
	Retry     time.Duration // between looks at what other processes hold; 0: 1 s
	Keep      time.Duration // a place in the queue outlasts its Acquire for so long; 0: 15 s
	Log       zerolog.Logger
}

// Node grants this node's devices to tasks. Its methods may be called from several goroutines.
type Node struct {
	devices []Device // ascending
	faults  []string // devices that were left out because they have a fault
	notes   []string // why CUDA_VISIBLE_DEVICES hides devices that it names
	files   lockFiles
	retry   time.Duration
	keep    time.Duration
	log     zerolog.Logger

	mu      sync.Mutex
	held    map[int]*hold // by device index
	queue   queue
	changed chan struct{} // closed, and replaced, when a device comes free or the queue moves
}

// Open takes stock of the node. With --gpus unset a node whose inventory fails has no devices, and logs that; when devices
// were asked for it is an error.
func Open(ctx context.Context, o Options) (*Node, error) {
	if o.Inventory == nil {
		o.Inventory = System()
	}
	n := &Node{files: newLockFiles(o.LockDir), retry: o.Retry, keep: o.Keep, log: o.Log, held: map[int]*hold{}, changed: make(chan struct{})}
	if n.retry <= 0 {
		n.retry = time.Second
	}
	if n.keep <= 0 {
		n.keep = 15 * time.Second
	}
	if o.GPUs == "none" { // a driver that hangs must not be asked
		return n, nil
	}
	have, err := o.Inventory.Devices(ctx)
	if err != nil && o.GPUs == "" && ctx.Err() == nil {
		n.log.Warn().Err(err).Msg("this worker has no GPUs: --gpus none says so without asking")
		return n, nil
	}
	if err != nil {
		return nil, err
	}
	choice, err := Choose(o.GPUs, o.Visible, have)
	if err != nil {
		return nil, err
	}
	n.devices, n.faults, n.notes = choice.Devices, choice.Faults, choice.Notes
	for _, text := range slices.Concat(n.faults, n.notes) {
		n.log.Warn().Msg(text)
	}
	// Found out by a task, it would be tried again and again.
	if err := os.MkdirAll(n.files.dir, 0o755); err != nil {
		return nil, fmt.Errorf("directory of the GPUs' locks (%s): %w", LockDirEnv, err)
	}
	return n, nil
}

// Devices lists the node's devices, each once.
func (n *Node) Devices() []Device { return n.devices }

// Faults describes the devices that were left out because they have a fault.
func (n *Node) Faults() []string { return n.faults }

// Notes states why CUDA_VISIBLE_DEVICES hides devices that it names.
func (n *Node) Notes() []string { return n.notes }

// Capability is the compute capability of the node's devices, 90 for sm_90; the least where they differ; 0: not known.
func (n *Node) Capability() int {
	least := 0
	for _, d := range n.devices {
		major, minor, _ := strings.Cut(d.Capability, ".")
		a, err := strconv.Atoi(major)
		b, err2 := strconv.Atoi(minor)
		if err != nil || err2 != nil {
			return 0
		}
		if sm := 10*a + b; least == 0 || sm < least {
			least = sm
		}
	}
	return least
}

// GPUs lists the devices, and who holds each: the key of one of this worker's tasks, or how another process names itself.
func (n *Node) GPUs() []proto.GPU {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]proto.GPU, 0, len(n.devices))
	for _, d := range n.devices {
		g := proto.GPU{Index: d.Index, Name: d.Name, Bytes: d.Bytes}
		if h := n.held[d.Index]; h != nil {
			g.Holder = h.key
			n.assert(d.Index, h)
		} else if n.foreign(d.Index) {
			g.Holder = n.files.holder(d.Index)
		}
		list = append(list, g)
	}
	return list
}

// assert writes our info file again where it is gone: gpu-lock removes the file after it unlocked, when we may have written ours.
func (n *Node) assert(index int, h *hold) {
	if h.info != "" && n.files.readInfo(index) != h.info {
		_ = n.files.writeInfo(index, h.info)
	}
}

func (n *Node) foreign(index int) bool { return n.files.busy(index) && !n.files.inherited(index) }

// Ready returns when fetching a task makes sense: none that was fetched waits, and a device is free. It returns at once on a node
// without devices, whose tasks are to be told so. An error is ctx's.
func (n *Node) Ready(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if len(n.devices) == 0 || n.queue.idle(time.Now()) && n.free() {
			return nil
		}
		n.wait(ctx)
	}
}

func (n *Node) free() bool {
	for _, d := range n.devices {
		if n.held[d.Index] == nil && !n.foreign(d.Index) {
			return true
		}
	}
	return false
}

// wake tells all that wait to look again.
func (n *Node) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// wait gives the mutex up until something changed, another process may have released a device, or ctx ends.
func (n *Node) wait(ctx context.Context) {
	changed := n.changed
	n.mu.Unlock()
	defer n.mu.Lock()
	timer := time.NewTimer(n.retry)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}
