package sglang

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/childenv"
)

// Directories below a job's ScratchDir.
const (
	logName       = "sglang.log"
	flashinferDir = "flashinfer" // FlashInfer's own log, one file a process
	driverName    = "driver.py"
)

// environ gives the engine's environment, in the order in which each part may override those before it.
func (e *Engine) environ(job *engine.Job, launched []string) ([]string, error) {
	fi := filepath.Join(job.ScratchDir, flashinferDir)
	if err := os.MkdirAll(fi, 0o755); err != nil { // FlashInfer does not make it, and fails at import without it
		return nil, fmt.Errorf("make FlashInfer's log directory: %w", err)
	}
	env := map[string]string{}
	put := func(list []string) {
		for _, v := range list {
			if name, value, ok := strings.Cut(v, "="); ok {
				env[name] = value
			}
		}
	}
	put(childenv.Without(os.Environ()))
	env["PYTHONUNBUFFERED"] = "1" // a line of the log is wanted when it is written
	if e.opt.WorkspaceBase != "" {
		env["FLASHINFER_WORKSPACE_BASE"] = e.opt.WorkspaceBase
	}
	put(e.opt.Env)
	put(launched)
	put(job.Task.Dump.Environ(job.DumpDir))
	env["FLASHINFER_LOGDEST"] = filepath.Join(fi, "%i.log")
	if job.TraceDir != "" {
		env["FLASHINFER_TRACE_DUMP"], env["FLASHINFER_TRACE_DUMP_DIR"] = "1", job.TraceDir
	}
	if len(job.Devices) > 0 {
		// Leases count devices as nvidia-smi does; CUDA would begin with the fastest.
		env["CUDA_DEVICE_ORDER"], env["CUDA_VISIBLE_DEVICES"] = "PCI_BUS_ID", strings.Join(job.Devices, ",")
	}
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list, nil
}
