//go:build nvml

package lease

import (
	"context"
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// System is the inventory that this build uses: NVML, the library below nvidia-smi.
func System() Inventory { return NVML{} }

// NVML asks the driver's library directly, which is faster than starting nvidia-smi.
type NVML struct{}

// Devices implements Inventory.
func (NVML) Devices(context.Context) ([]Device, error) {
	switch ret := nvml.Init(); ret {
	case nvml.SUCCESS:
	case nvml.ERROR_LIBRARY_NOT_FOUND, nvml.ERROR_DRIVER_NOT_LOADED:
		return nil, nil
	default:
		return nil, fmt.Errorf("list gpus: start nvml: %s", nvml.ErrorString(ret))
	}
	defer nvml.Shutdown()
	n, ret := nvml.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("list gpus: count devices: %s", nvml.ErrorString(ret))
	}
	var list []Device
	for i := range n {
		device, ret := nvml.DeviceGetHandleByIndex(i)
		if ret != nvml.SUCCESS {
			list = append(list, Device{Index: i, Fault: "nvml: " + nvml.ErrorString(ret)})
			continue
		}
		// Each of the rest may be refused, as memory is where a container has a MIG instance.
		d := Device{Index: i}
		if uuid, ret := device.GetUUID(); ret == nvml.SUCCESS {
			d.UUID = uuid
		}
		if name, ret := device.GetName(); ret == nvml.SUCCESS {
			d.Name = name
		}
		if memory, ret := device.GetMemoryInfo(); ret == nvml.SUCCESS {
			d.Bytes = int64(memory.Total)
		}
		if major, minor, ret := device.GetCudaComputeCapability(); ret == nvml.SUCCESS {
			d.Capability = fmt.Sprintf("%d.%d", major, minor)
		}
		list = append(list, d)
	}
	return list, nil
}
