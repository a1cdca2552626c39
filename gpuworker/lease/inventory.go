package lease

import "context"

// Device is one GPU of the node.
type Device struct {
	Index      int    // as nvidia-smi counts: in PCI bus order, from 0; lock files are named by it
	UUID       string // GPU-…; empty: not told
	Name       string // such as NVIDIA H200
	Bytes      int64  // of memory; 0: not told, as in a container that has a MIG instance
	Capability string // compute capability, such as 9.0; empty: not told
}

// Inventory finds the node's devices.
type Inventory interface {
	// Devices lists them by index. A node without GPUs, or without a driver's tools, has none; that is no error.
	Devices(ctx context.Context) ([]Device, error)
}

// Fixed is an inventory that is known.
type Fixed []Device

// Devices implements Inventory.
func (f Fixed) Devices(context.Context) ([]Device, error) { return f, nil }
