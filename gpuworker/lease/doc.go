// Package lease says which GPUs this node has, and holds them for one task at a time.
//
// # Flow
//
//	Inventory (nvidia-smi; NVML with the build tag nvml) → Choose, by --gpus and CUDA_VISIBLE_DEVICES → Node → Acquire a Grant
//	→ Release
//
// inventory.go and smi.go find devices, choose.go picks those this process may use, lock.go and info.go hold one device against
// other processes, node.go knows who has which, grant.go gives several to a task, queue.go decides whose turn it is.
//
// # Guarantees
//
//   - A Grant is all of the devices that the task needs, or none: nobody waits with some in hand, so nobody waits in a circle.
//   - A granted device is held by flock(2) on /tmp/flashinfer-bench-gpu-{i}.lock, where tools/gpu-lock of flashinfer-bench holds
//     it too: neither gets what the other has, and each shows the other's holder. The lock ends with the process, kill -9
//     included, and no child inherits it.
//   - Tasks of this process are served in the order they came. One that needs many devices is not passed by those that need few:
//     devices that come free are kept for it while only our own tasks are in its way.
//   - A device that a process above ours in the process tree has locked, as in `gpu-lock --gpus 2 -- tracefleet collect …`, is
//     ours to use.
//   - Nothing that others may have left in /tmp is followed, truncated or trusted: a symbolic link there is an error.
//
// # What it does not do
//
// It does not see who computes on a device without a lock. It does not lease MIG instances, only devices. A device is the same for
// nvidia-smi and for CUDA only if CUDA counts in PCI bus order: engines set CUDA_DEVICE_ORDER=PCI_BUS_ID beside
// CUDA_VISIBLE_DEVICES. In a container with a /tmp of its own, the locks reach no further than the container.
package lease
