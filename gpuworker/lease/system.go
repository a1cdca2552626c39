//go:build !nvml

package lease

// System is the inventory that this build uses: nvidia-smi.
func System() Inventory { return SMI{} }
