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
		switch {
		case errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case strings.HasPrefix(strings.TrimSpace(stdout.String()), "No devices were found"):
			return nil, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("list gpus: %s: %w", path, context.Cause(ctx))
		case err != nil: // it explains itself on either stream
			return nil, fmt.Errorf("list gpus: %s: %w: %s", path, err, firstLine(stdout.String()+"\n"+stderr.String()))
		}
		return parseSMI(stdout.String())
	case <-ctx.Done():
		// A process that waits in the driver cannot be killed, and so not be waited for.
		select {
		case <-done:
		case <-time.After(2 * time.Second):
		}
		return nil, fmt.Errorf("list gpus: %s: %w", path, context.Cause(ctx))
	}
}

// parseSMI reads the answer to smiQuery: a line a device. What the driver does not tell it writes in brackets, as [N/A].
func parseSMI(text string) ([]Device, error) {
	var list []Device
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		fields := strings.Split(line, ",")
		if len(fields) < 5 {
			return nil, fmt.Errorf("list gpus: nvidia-smi says %q, want index, uuid, name, memory, compute capability", line)
		}
		for i := range fields {
			fields[i] = told(fields[i])
		}
		n := len(fields)
		index, err := strconv.Atoi(fields[0])
		if err != nil || index < 0 {
			return nil, fmt.Errorf("list gpus: nvidia-smi says %q: index %q is not a number", line, fields[0])
		}
		d := Device{Index: index, UUID: fields[1], Name: strings.Join(fields[2:n-2], ", "), Capability: fields[n-1]}
		if fields[n-2] != "" {
			mib, err := strconv.ParseInt(fields[n-2], 10, 64)
			if err != nil || mib < 0 {
				return nil, fmt.Errorf("list gpus: nvidia-smi says %q: memory %q is not a number of MiB", line, fields[n-2])
			}
			d.Bytes = mib << 20
		}
		if slices.ContainsFunc(list, func(o Device) bool { return o.Index == index }) {
			return nil, fmt.Errorf("list gpus: nvidia-smi names device %d twice", index)
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Device) int { return a.Index - b.Index })
	return list, nil
}

// told is the value of a field, empty where the driver has none: [N/A], [Not Supported], [Insufficient Permissions], N/A.
func told(field string) string {
	field = strings.TrimSpace(field)
	if strings.HasPrefix(field, "[") && strings.HasSuffix(field, "]") || field == "N/A" {
		return ""
	}
	return field
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(line)
}
