package proto

import (
	"slices"
	"strings"
	"testing"
)

// What is dumped is said by the environment alone: all of it, or a level that logs nothing, and never both.
func TestDumpSpec_Environ(t *testing.T) {
	t.Parallel()
	d := DumpSpec{What: "run", Count: 7, Include: []string{"B.plan", "rmsnorm"}}
	env := d.Environ("/dumps")
	if !slices.IsSorted(env) {
		t.Errorf("not sorted: %v", env)
	}
	for _, want := range []string{
		"FLASHINFER_LOGLEVEL=10", "FLASHINFER_DUMP_DIR=/dumps", "FLASHINFER_LOGDEST=/dumps.log/%i.log", "FLASHINFER_DUMP_MAX_COUNT=7",
		"FLASHINFER_DUMP_INCLUDE=B.plan,rmsnorm", "FLASHINFER_DUMP_EXCLUDE=*.__init__", "FLASHINFER_DUMP_SAFETENSORS=1",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in %v", want, env)
		}
	}
	d.What = DumpNone
	if got := d.Environ("/dumps"); strings.Join(got, " ") != "FLASHINFER_LOGLEVEL=0" {
		t.Errorf("nothing is to be dumped, and the environment is %v", got)
	}
}
