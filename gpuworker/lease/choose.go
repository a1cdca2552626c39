package lease

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Choice holds the devices that this process may lease, and notes for the user about the others.
type Choice struct {
	Devices []Device // ascending by index, each once, without faults
	Faults  []string // devices that were left out because nvidia-smi reports a fault of them
	Notes   []string // entries of CUDA_VISIBLE_DEVICES that hide devices although they name some
}

// Choose returns the devices that this process may lease. spec is the value of --gpus:
//
//	empty, all  every device without a fault that CUDA_VISIBLE_DEVICES leaves visible
//	none        none
//	0,1,2       those, by index or UUID, each once
//
// Indices are those of nvidia-smi, whatever CUDA_VISIBLE_DEVICES holds.
func Choose(spec string, visible Visible, have []Device) (Choice, error) {
	spec = strings.TrimSpace(spec)
	if spec == "none" {
		return Choice{}, nil
	}
	allowed, note, err := visible.devices(have)
	if err != nil {
		return Choice{}, err
	}
	c := Choice{}
	if note != "" {
		c.Notes = []string{note}
	}
	if spec == "" || spec == "all" {
		for _, d := range have {
			switch {
			case d.Fault != "" && (d.Index < 0 || !visible.Set || contains(allowed, d)):
				c.Faults = append(c.Faults, d.fault())
			case d.Fault == "" && contains(allowed, d):
				c.Devices = append(c.Devices, d)
			}
		}
		c.Devices = sorted(c.Devices)
		if spec == "all" && len(c.Devices) == 0 && len(c.Faults) > 0 {
			return Choice{}, fmt.Errorf("--gpus all: every device has a fault: %s", strings.Join(c.Faults, "; "))
		}
		return c, nil
	}
	list, err := listed(spec, have)
	if err != nil {
		return Choice{}, err
	}
	for _, d := range list {
		switch {
		case !contains(allowed, d):
			hides := fmt.Sprintf("%s=%s of this process hides device %d", VisibleEnv, visible.Value, d.Index)
			if note != "" {
				hides += ": " + note
			}
			return Choice{}, fmt.Errorf("--gpus %s: %s", spec, hides)
		case d.Fault != "":
			return Choice{}, fmt.Errorf("--gpus %s: %s", spec, d.fault())
		}
	}
	c.Devices = sorted(list)
	return c, nil
}

// listed resolves the devices that --gpus names by index or UUID.
func listed(spec string, have []Device) ([]Device, error) {
	var list []Device
	for _, name := range strings.Split(spec, ",") {
		name = strings.TrimSpace(name)
		index, err := strconv.Atoi(name)
		var found func(Device) bool
		switch {
		case err == nil && index >= 0:
			found = func(d Device) bool { return d.Index == index }
		case strings.HasPrefix(name, "GPU-"):
			found = func(d Device) bool { return d.hasUUID(name) }
		case strings.HasPrefix(name, "MIG-"):
			return nil, fmt.Errorf("--gpus %s: %s is a MIG instance; only whole devices can be leased", spec, name)
		default:
			return nil, fmt.Errorf("--gpus %s: %q is not a device; pass indices such as 0,1, or UUIDs, or all or none", spec, name)
		}
		i := slices.IndexFunc(have, found)
		switch {
		case i < 0:
			return nil, fmt.Errorf("--gpus %s: there is no device %s; this node has %s", spec, name, indices(have))
		case slices.ContainsFunc(have[i+1:], found):
			return nil, fmt.Errorf("--gpus %s: several devices have UUIDs that start with %s", spec, name)
		case contains(list, have[i]):
			return nil, fmt.Errorf("--gpus %s: device %d is listed twice, and CUDA shows no device for a repeated id; list each device once", spec, have[i].Index)
		}
		list = append(list, have[i])
	}
	return list, nil
}

// RepeatedGPU returns an entry that a value of --gpus has twice, or "". It needs no inventory, so that a command can refuse the
// value before it starts anything.
func RepeatedGPU(spec string) string {
	seen := map[string]bool{}
	for _, name := range strings.Split(spec, ",") {
		name = strings.TrimSpace(name)
		if index, err := strconv.Atoi(name); err == nil {
			name = strconv.Itoa(index)
		}
		if name != "" && seen[name] {
			return name
		}
		seen[name] = true
	}
	return ""
}

func contains(list []Device, d Device) bool {
	return slices.ContainsFunc(list, func(o Device) bool { return o.Index == d.Index })
}

func sorted(list []Device) []Device {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Device) int { return cmp.Compare(a.Index, b.Index) })
	return list
}

func indices(list []Device) string {
	var names []string
	for _, d := range list {
		if d.Index >= 0 {
			names = append(names, strconv.Itoa(d.Index))
		}
	}
	if len(names) == 0 {
		return "no GPUs (nvidia-smi lists none, or is not in PATH)"
	}
	return "devices " + strings.Join(names, ", ")
}
