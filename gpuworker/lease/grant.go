package lease

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tracefleet/tracefleet/proto"
)

// Grant is what a task holds until Release.
type Grant struct {
	Devices []string // as CUDA_VISIBLE_DEVICES names them, ascending; empty: none needed
	GPUs    int      // devices held
	Model   string   // the devices' model as the driver calls it, such as NVIDIA H200; several by commas; empty: not known
	// Locks are the devices' locked files, Release's to close. Whoever has them open too, as a process that outlives this one for a
	// moment, holds the devices with it.
	Locks   []*os.File
	Release func() // gives the devices back; to call again is harmless
}

// Nothing is the grant of a task that needs no devices.
func Nothing() Grant { return Grant{Release: func() {}} }

// Need returns how many devices a task takes: one for each tensor, pipeline and data-parallel rank, and none for engines that compute
// nothing.
func Need(t *proto.Task) int {
	switch t.Engine.Kind {
	case proto.EngineSGLang:
		return max(t.Engine.GPUs, t.Engine.TP, 1)
	case proto.EngineEvaluate:
		return 1
	default:
		return 0
	}
}

// Busy is the answer to a task whose devices did not come free in time. It wraps the error of the context that ended.
type Busy struct {
	Again time.Duration // when to ask again; a task that does not has lost its place soon after
	text  string
	err   error
}

func (b *Busy) Error() string { return b.text }

// Unwrap gives the context's error.
func (b *Busy) Unwrap() error { return b.err }

// hold is one device in our hands.
type hold struct {
	file *os.File // locked; nil: locked by a process above us
	key  string   // the task's
	info string   // what we wrote beside the lock
}

// Acquire holds the devices that the task needs. It waits for them until ctx ends, and then gives a *Busy; the task's place in the
// queue is kept for a moment, so that asking again is not asking last. A task that needs more than the node has is a failure with
// code no_gpus, worth a retry on another worker.
func (n *Node) Acquire(ctx context.Context, task *proto.Task) (Grant, error) {
	need := Need(task)
	if need == 0 {
		return Nothing(), nil
	}
	key := proto.TaskKey(task.Collection, task.ID)
	if need > len(n.devices) {
		return Grant{}, TooFew(task, len(n.devices))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.queue.enter(key, need)
	for {
		if n.queue.first(time.Now()) == t {
			if grant, err := n.try(key, need); !errors.Is(err, errHeld) {
				n.queue.leave(t, time.Time{}, time.Time{})
				n.wake()
				return grant, err
			}
		}
		if ctx.Err() != nil {
			busy := n.busy(key, need)
			busy.err = context.Cause(ctx)
			if now := time.Now(); busy.Again < n.keep {
				n.queue.leave(t, now.Add(busy.Again), now.Add(n.keep))
			} else {
				n.queue.leave(t, time.Time{}, time.Time{})
			}
			n.wake()
			return Grant{}, busy
		}
		n.wait(ctx)
	}
}

// TooFew is the failure of a task on a worker that has fewer devices than it needs.
func TooFew(t *proto.Task, have int) *proto.Failure {
	return proto.Failf(proto.CodeNoGPUs, "task %s needs %d GPUs, one a rank; this worker has %d", proto.TaskKey(t.Collection, t.ID), Need(t), have).
		WithHint("start a gpuworker on a node that has as many, or collect with fewer ranks (--tp)").WithRetry()
}

// try takes need ranks in ascending order, or none.
func (n *Node) try(key string, need int) (Grant, error) {
	if n.unheld() < need {
		return Grant{}, errHeld // what others hold need not be looked at
	}
	var names []string
	var indices []int
	taken := map[int]*hold{}
	undo := func() {
		for _, h := range taken {
			h.close()
		}
	}
	for _, d := range n.devices {
		if len(names) == need {
			break
		}
		if n.held[d.Index] != nil {
			continue
		}
		file, err := n.files.take(d.Index)
		if errors.Is(err, errHeld) {
			if !n.files.inherited(d.Index) {
				continue
			}
			file, err = nil, nil
		}
		if err != nil {
			undo()
			return Grant{}, err
		}
		taken[d.Index] = &hold{file: file, key: key}
		indices = append(indices, d.Index)
		names = append(names, strconv.Itoa(d.Index))
	}
	if len(names) < need {
		undo()
		return Grant{}, errHeld
	}
	text := infoText(names, key, time.Now())
	for _, index := range indices {
		h := taken[index]
		n.held[index] = h
		if h.file == nil {
			continue // the process above us has its own words there
		}
		h.info = text
		if err := n.files.writeInfo(index, text); err != nil {
			n.log.Debug().Err(err).Int("gpu", index).Msg("could not write who holds the device")
		}
	}
	var locks []*os.File
	for _, i := range indices {
		if f := n.held[i].file; f != nil {
			locks = append(locks, f)
		}
	}
	return Grant{Devices: names, GPUs: len(indices), Model: n.model(indices), Locks: locks, Release: sync.OnceFunc(func() { n.release(indices) })}, nil
}

// model names what devices are, each model once.
func (n *Node) model(indices []int) string {
	var names []string
	for _, d := range n.devices {
		if slices.Contains(indices, d.Index) && d.Name != "" && !slices.Contains(names, d.Name) {
			names = append(names, d.Name)
		}
	}
	return strings.Join(names, ", ")
}

// close unlocks before it closes: a child that is being started may have a copy of the file until it runs its own program.
func (h *hold) close() {
	if h.file != nil {
		_ = flock(h.file, syscall.LOCK_UN)
		_ = h.file.Close()
	}
}

// unheld counts the ranks that none of our tasks has.
func (n *Node) unheld() int {
	count := 0
	for _, d := range n.devices {
		if n.held[d.Index] == nil {
			count++
		}
	}
	return count
}

func (n *Node) release(indices []int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, index := range indices {
		h := n.held[index]
		delete(n.held, index)
		if h.info != "" {
			n.files.removeInfo(index, h.info)
		}
		h.close()
	}
	n.wake()
}

// busy returns what a task waits for, and when it must ask again. While only our own tasks are in its way it keeps its place until
// then, and gets its devices when those end. Behind a stranger's lock it asks later and loses the place: other tasks must not stand
// idle for it.
func (n *Node) busy(key string, need int) *Busy {
	var others []string
	ours := 0
	for _, d := range n.devices {
		if n.held[d.Index] == nil && n.foreign(d.Index) {
			others = append(others, fmt.Sprintf("device %d is held by %s", d.Index, n.files.holder(d.Index)))
			continue
		}
		ours++
	}
	b := &Busy{Again: n.keep / 3, text: fmt.Sprintf("task %s waits for %d GPUs of this node: other tasks of ours hold them", key, need)}
	if ours < need {
		b.Again = 2 * n.keep
		b.text = fmt.Sprintf("task %s waits for %d GPUs of this node: %s", key, need, strings.Join(others, ", "))
	}
	return b
}
