package lease

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/internal/childenv"
)

// SMI asks nvidia-smi. It is on every node with a driver, and needs no cgo.
type SMI struct {
	Path    string        // of nvidia-smi; empty: looked for in PATH
	Timeout time.Duration // for its answer; 0: a minute, since a driver that is not loaded yet initialises every device first
}

var smiQuery = []string{"--query-gpu=index,uuid,name,memory.total,compute_cap", "--format=csv,noheader,nounits"}

// Devices implements Inventory.
func (s SMI) Devices(ctx context.Context) ([]Device, error) {
	path := cmp.Or(s.Path, "nvidia-smi")
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(s.Timeout, time.Minute), errors.New("no answer in time: the driver hangs"))
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, smiQuery...)
	cmd.Env = childenv.Without(os.Environ())
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, time.Second
	var err error
	done := make(chan struct{})
	go func() { defer close(done); err = cmd.Run() }()
	select {
	case <-done:
		text := stdout.String()
		if err != nil {
			text += "\n" + stderr.String() // it explains itself on either stream
		}
		switch list, problem := parseSMI(text); {
		case errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case strings.HasPrefix(strings.TrimSpace(stdout.String()), "No devices were found"):
			return nil, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("list gpus: %s: %w", path, context.Cause(ctx))
		case err != nil && len(list) == 0:
			return nil, fmt.Errorf("list gpus: %s: %w: %s", path, err, firstLine(text))
		default: // a lost device makes nvidia-smi fail after it has listed the others
			return list, problem
		}
	case <-ctx.Done():
		// A process that waits in the driver cannot be killed, and so not be waited for.
		select {
		case <-done:
		case <-time.After(2 * time.Second):
		}
		return nil, fmt.Errorf("list gpus: %s: %w", path, context.Cause(ctx))
	}
}

// address is a PCI bus address, by which nvidia-smi names a device that it cannot open.
var address = regexp.MustCompile(`\b[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]\b`)

// parseSMI reads the answer to smiQuery: a line a device. For a device that it cannot open nvidia-smi writes a sentence with its
// PCI address in place of the line; such devices get a fault, and the indices that the others leave free, in order. It is an
// error if nothing can be read, or an index is there twice.
func parseSMI(text string) ([]Device, error) {
	var list, lost []Device
	var unread []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		d, why := parseDevice(line)
		switch at := address.FindString(line); {
		case why == "" && slices.ContainsFunc(list, func(o Device) bool { return o.Index == d.Index }):
			return nil, fmt.Errorf("list gpus: nvidia-smi lists device %d twice", d.Index)
		case why == "":
			list = append(list, d)
		case at == "" || strings.HasPrefix(line, "WARNING"): // such as an infoROM that is corrupted: the device computes
			unread = append(unread, why)
		case !slices.ContainsFunc(lost, func(o Device) bool { return address.FindString(o.Fault) == at }):
			lost = append(lost, Device{Index: -1, Fault: line})
		}
	}
	if len(list)+len(lost) == 0 {
		if len(unread) > 0 {
			return nil, fmt.Errorf("list gpus: %s", unread[0])
		}
		return nil, nil
	}
	number(lost, list)
	list = append(list, lost...)
	slices.SortFunc(list, func(a, b Device) int { return a.Index - b.Index })
	return list, nil
}

// number assigns the lost devices the indices that the others leave free, if the counts agree: nvidia-smi counts lost ones, too.
func number(lost, others []Device) {
	all := len(lost) + len(others)
	taken := map[int]bool{}
	for _, d := range others {
		if d.Index >= all {
			return
		}
		taken[d.Index] = true
	}
	next := 0
	for i := range lost {
		for taken[next] {
			next++
		}
		lost[i].Index = next
		next++
	}
}

// parseDevice reads the line of one device. What the driver does not have it writes in brackets, as [N/A]; what it fails to read
// makes a fault. why states why a line is not a device's.
func parseDevice(line string) (d Device, why string) {
	fields := strings.Split(line, ",")
	n := len(fields)
	if n < 5 {
		return d, fmt.Sprintf("nvidia-smi printed %q, want index, uuid, name, memory, compute capability", line)
	}
	for i := range fields {
		field, fault := value(fields[i])
		if fault != "" && d.Fault == "" {
			d.Fault = fmt.Sprintf("nvidia-smi printed %q", line)
		}
		fields[i] = field
	}
	index, err := strconv.Atoi(fields[0])
	if err != nil || index < 0 {
		return d, fmt.Sprintf("nvidia-smi printed %q: index %q is not a number", line, fields[0])
	}
	d.Index, d.UUID, d.Name, d.Capability = index, fields[1], strings.Join(fields[2:n-2], ", "), fields[n-1]
	if memory := fields[n-2]; memory != "" {
		mib, err := strconv.ParseInt(memory, 10, 64)
		if err != nil || mib < 0 {
			d.Fault = fmt.Sprintf("nvidia-smi printed %q: memory %q is not a number of MiB", line, memory)
		}
		d.Bytes = max(mib, 0) << 20
	}
	return d, ""
}

// absent are what nvidia-smi prints for a field that a healthy device does not have, or does not show to this user.
var absent = []string{"n/a", "not supported", "insufficient permissions", "not available", "requested functionality has been deprecated", "no data"}

// value returns the value of a field, empty where the device has none. fault is what the driver failed with in its place, as
// [Unknown Error], [GPU is lost], [GPU requires reset] and ERR!.
func value(field string) (text, fault string) {
	field = strings.TrimSpace(field)
	inner, bracketed := strings.CutPrefix(field, "[")
	inner = strings.TrimSuffix(inner, "]")
	switch lower := strings.ToLower(inner); {
	case slices.Contains(absent, lower):
		return "", ""
	case bracketed || strings.HasPrefix(lower, "err!") || slices.Contains([]string{"unknown error", "gpu is lost", "gpu requires reset"}, lower):
		return "", inner
	}
	return field, ""
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(line)
}
