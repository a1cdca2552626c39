package lease

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// VisibleEnv is the variable that limits which devices CUDA shows to a process.
const VisibleEnv = "CUDA_VISIBLE_DEVICES"

// Visible is the value of CUDA_VISIBLE_DEVICES, and whether it is set: empty hides every device, unset hides none.
type Visible struct {
	Value string
	Set   bool
}

// VisibleHere returns CUDA_VISIBLE_DEVICES of this process.
func VisibleHere() Visible {
	value, set := os.LookupEnv(VisibleEnv)
	return Visible{value, set}
}

// devices returns what CUDA shows of have, with CUDA_DEVICE_ORDER PCI_BUS_ID. The rules were measured with the driver API on a node with a
// single H200, as far as one device shows them; for several devices they follow PyTorch's account of the same rules:
//
//   - Entries are indices, or UUIDs that begin with GPU-, or the beginnings of such UUIDs. The first entry decides which of the
//     two kinds the list has.
//   - The list ends at the first entry that is of another kind, is negative, or names no device or several.
//   - A device that is named twice before the list ends hides every device.
//   - An index is read as strtol reads it: "0gpu" is 0.
//
// The note states which entry ends the list, if one does. A list that begins with a MIG instance is an error: only whole devices can
// be leased.
func (v Visible) devices(have []Device) (shown []Device, note string, err error) {
	if !v.Set {
		return have, "", nil
	}
	entries := strings.Split(v.Value, ",")
	if strings.HasPrefix(entries[0], "MIG-") {
		return nil, "", fmt.Errorf("%s=%s: %s is a MIG instance; only whole devices can be leased: pass --gpus none, or unset the variable", VisibleEnv, v.Value, entries[0])
	}
	find := byIndex
	if strings.HasPrefix(entries[0], "GPU-") {
		find = byUUID
	}
	for _, entry := range entries {
		d, why := find(entry, have)
		if why != "" {
			if !slices.Contains(hideAll, strings.TrimSpace(v.Value)) {
				note = fmt.Sprintf("%s=%s: CUDA ends the list at %q, which %s", VisibleEnv, v.Value, entry, why)
			}
			return shown, note, nil
		}
		if contains(shown, *d) {
			return nil, fmt.Sprintf("%s=%s lists device %d twice, and CUDA shows no device for a repeated id", VisibleEnv, v.Value, d.Index), nil
		}
		shown = append(shown, *d)
	}
	return shown, "", nil
}

// hideAll are the usual values that hide every device on purpose.
var hideAll = []string{"", "-1", "NoDevFiles"}

// leadingNumber is what strtol reads of an entry.
var leadingNumber = regexp.MustCompile(`^[ \t\n\v\f\r]*([+-]?[0-9]+)`)

// byIndex returns the device of an entry that is an index, or why there is none.
func byIndex(entry string, have []Device) (d *Device, why string) {
	m := leadingNumber.FindStringSubmatch(entry)
	if m == nil {
		return nil, "is not an index"
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		n = math.MaxInt32 // out of any range
	}
	if n < 0 {
		return nil, "is negative"
	}
	i := slices.IndexFunc(have, func(d Device) bool { return int64(d.Index) == n })
	if i < 0 {
		return nil, "is no device of this node"
	}
	return &have[i], ""
}

// leadingUUID is what CUDA reads of an entry that is a UUID, or the beginning of one.
var leadingUUID = regexp.MustCompile(`^GPU-[0-9A-Za-z][0-9A-Za-z-]*`)

// byUUID returns the device of an entry that is a UUID or the beginning of one, or why there is none.
func byUUID(entry string, have []Device) (d *Device, why string) {
	uuid := leadingUUID.FindString(entry)
	if uuid == "" {
		return nil, "is not a UUID"
	}
	for i := range have {
		if !have[i].hasUUID(uuid) {
			continue
		}
		if d != nil {
			return nil, "is the beginning of several UUIDs"
		}
		d = &have[i]
	}
	if d == nil {
		return nil, "is no device of this node"
	}
	return d, ""
}

// hasUUID reports whether the device's UUID is prefix or begins with it. CUDA compares the digits without regard to case.
func (d Device) hasUUID(prefix string) bool {
	return len(prefix) > len("GPU-") && len(d.UUID) >= len(prefix) && strings.EqualFold(d.UUID[:len(prefix)], prefix)
}
