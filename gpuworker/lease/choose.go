package lease

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// VisibleEnv is where CUDA and its users say which devices a process may see.
const VisibleEnv = "CUDA_VISIBLE_DEVICES"

// Visible is the value of CUDA_VISIBLE_DEVICES, and whether it is set: empty hides every device, unset hides none.
type Visible struct {
	Value string
	Set   bool
}

// Choose gives the devices that this process may lease, by index. spec is the value of --gpus:
//
//	empty, all  every device that CUDA_VISIBLE_DEVICES leaves visible
//	none        none
//	0,1,2       those, by index or UUID
//	0,0         a device listed n times takes n ranks of one task: tensor parallelism simulated on one device
//
// Indices are the node's, as nvidia-smi counts, whatever CUDA_VISIBLE_DEVICES says.
func Choose(spec string, visible Visible, have []Device) ([]Device, error) {
	spec = strings.TrimSpace(spec)
	if spec == "none" {
		return nil, nil
	}
	allowed := have
	if visible.Set {
		var err error
		if allowed, err = listed(VisibleEnv+"="+visible.Value, visible.Value, have); err != nil {
			return nil, err
		}
	}
	if spec == "" || spec == "all" {
		return sorted(allowed), nil
	}
	list, err := listed("--gpus "+spec, spec, have)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("--gpus %s: it names no device; give indices such as 0,1, or all or none", spec)
	}
	for _, d := range list {
		if !slices.ContainsFunc(allowed, func(a Device) bool { return a.Index == d.Index }) {
			return nil, fmt.Errorf("--gpus %s: %s=%s of this process hides device %d", spec, VisibleEnv, visible.Value, d.Index)
		}
	}
	return sorted(list), nil
}

// listed resolves a list of indices and UUIDs. what says where it comes from. An empty list and -1 are no devices.
func listed(what, value string, have []Device) ([]Device, error) {
	var list []Device
	value = strings.TrimSpace(value)
	if value == "" || value == "-1" || value == "NoDevFiles" { // the three ways to hide all from CUDA
		return nil, nil
	}
	for _, name := range strings.Split(value, ",") {
		name = strings.TrimSpace(name)
		index, err := strconv.Atoi(name)
		var found func(Device) bool
		switch {
		case err == nil && index >= 0:
			found = func(d Device) bool { return d.Index == index }
		case strings.HasPrefix(name, "GPU-"): // CUDA takes a prefix, as long as it is of one device
			found = func(d Device) bool { return strings.HasPrefix(d.UUID, name) }
		case strings.HasPrefix(name, "MIG-"):
			return nil, fmt.Errorf("%s: %s is a MIG instance; only whole devices can be leased", what, name)
		default:
			return nil, fmt.Errorf("%s: %q is not a device; give indices such as 0,1", what, name)
		}
		i := slices.IndexFunc(have, found)
		switch {
		case i < 0:
			return nil, fmt.Errorf("%s: there is no device %s; this node has %s", what, name, indices(have))
		case slices.ContainsFunc(have[i+1:], found):
			return nil, fmt.Errorf("%s: %s is the beginning of several devices' UUIDs", what, name)
		}
		list = append(list, have[i])
	}
	return list, nil
}

func sorted(list []Device) []Device {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Device) int { return cmp.Compare(a.Index, b.Index) })
	return list
}

func indices(list []Device) string {
	if len(list) == 0 {
		return "no GPUs (nvidia-smi names none, or is not in PATH)"
	}
	var names []string
	for _, d := range list {
		names = append(names, strconv.Itoa(d.Index))
	}
	return "devices " + strings.Join(names, ", ")
}
