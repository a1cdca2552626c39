package proto

import (
	"slices"
	"strconv"
	"strings"
)

// DumpNone is the DumpSpec.What of a task that dumps nothing: it measures what serving costs without.
const DumpNone = "none"

// dumpSizeGB lifts FlashInfer's own size limit out of the way. It counts what was ever written, not what is on the disk, and
// when it is reached every further call still copies its tensors; the quota on the disk is the tailer's.
const dumpSizeGB = 1 << 20

// Environ gives the FLASHINFER_* variables, NAME=value and sorted, that make FlashInfer write the wanted dumps into dir. They
// are read once, when the module is imported, so every process of the engine must be started with them.
func (d *DumpSpec) Environ(dir string) []string {
	if d.What == DumpNone {
		return []string{"FLASHINFER_LOGLEVEL=0"}
	}
	env := []string{
		"FLASHINFER_LOGLEVEL=10",
		// Level 10 implies the statistics of level 5, which would flood the server's log.
		"FLASHINFER_LOGDEST=" + dir + ".log/%i.log",
		"FLASHINFER_DUMP_DIR=" + dir,
		"FLASHINFER_DUMP_SAFETENSORS=1",
		"FLASHINFER_DUMP_MAX_COUNT=" + strconv.Itoa(d.Count),
		"FLASHINFER_DUMP_MAX_SIZE_GB=" + strconv.Itoa(dumpSizeGB),
		"FLASHINFER_DUMP_EXCLUDE=*.__init__",
		"FLASHINFER_DUMP_INCLUDE=" + strings.Join(d.Include, ","),
	}
	slices.Sort(env)
	return env
}
