package lease

import (
	"context"
	"fmt"
)

// Device is one GPU of the node.
type Device struct {
	Index      int    // as nvidia-smi counts: in PCI bus order, from 0; lock files are named by it; -1: not known, only with a fault
	UUID       string // GPU-…; empty: not known
	Name       string // such as NVIDIA H200
	Bytes      int64  // of memory; 0: not known, as in a container that has a MIG instance
	Capability string // compute capability, such as 9.0; empty: not known
	Fault      string // why the device cannot be used, as the driver reports it: "GPU is lost"; empty: it can
}

// fault describes a device that cannot be used, by its index where that is known.
func (d Device) fault() string {
	if d.Index < 0 {
		return d.Fault
	}
	return fmt.Sprintf("device %d has a fault: %s", d.Index, d.Fault)
}

// Inventory finds the node's devices.
type Inventory interface {
	// Devices lists them by index, those with a fault too: a device that is lost does not hide the others. A node without GPUs,
	// or without a driver's tools, has none; that is no error.
	Devices(ctx context.Context) ([]Device, error)
}

// Fixed is an inventory that is known.
type Fixed []Device

// Devices implements Inventory.
func (f Fixed) Devices(context.Context) ([]Device, error) { return f, nil }
