package lease_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/internal/execfile"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	env := func(value string) lease.Visible { return lease.Visible{Value: value, Set: true} }
	lost := fakes(4)
	lost[1].Fault = "GPU is lost"
	for name, tc := range map[string]struct {
		spec    string
		visible lease.Visible
		have    lease.Fixed // nil: four devices
		want    []int
		fault   string
		err     string
	}{
		"unset":                     {want: []int{0, 1, 2, 3}},
		"all":                       {spec: "all", want: []int{0, 1, 2, 3}},
		"none":                      {spec: "none"},
		"some, any order":           {spec: "2, 0", want: []int{0, 2}},
		"by UUID":                   {spec: "GPU-11-feed,0", want: []int{0, 1}},
		"by the start of a UUID":    {spec: "GPU-3", want: []int{3}},
		"repeated index":            {spec: "0,0", err: "--gpus 0,0: device 0 is listed twice, and CUDA shows no device for a repeated id"},
		"repeated by UUID":          {spec: "1,GPU-11", err: "device 1 is listed twice"},
		"not there":                 {spec: "0,4", err: "--gpus 0,4: there is no device 4; this node has devices 0, 1, 2, 3"},
		"no index":                  {spec: "0,x", err: `--gpus 0,x: "x" is not a device`},
		"negative":                  {spec: "-2", err: `--gpus -2: "-2" is not a device`},
		"minus one":                 {spec: "-1", err: `--gpus -1: "-1" is not a device`},
		"empty item":                {spec: "0,,1", err: `--gpus 0,,1: "" is not a device`},
		"several UUIDs":             {spec: "GPU-", have: fakes(2), err: "there is no device GPU-"},
		"MIG":                       {spec: "MIG-7a", err: "MIG-7a is a MIG instance"},
		"within the environment":    {spec: "3", visible: env("2,3"), want: []int{3}},
		"outside the environment":   {spec: "0", visible: env("2,3"), err: "--gpus 0: CUDA_VISIBLE_DEVICES=2,3 of this process hides device 0"},
		"after the list's end":      {spec: "1", visible: env("0,-1,1"), err: `hides device 1: CUDA_VISIBLE_DEVICES=0,-1,1: CUDA ends the list at "-1", which is negative`},
		"none in any environment":   {spec: "none", visible: env("MIG-7a")},
		"lost, unset":               {have: lost, want: []int{0, 2, 3}, fault: "device 1 has a fault: GPU is lost"},
		"lost, all":                 {spec: "all", have: lost, want: []int{0, 2, 3}, fault: "device 1 has a fault: GPU is lost"},
		"lost, another":             {spec: "0", have: lost, want: []int{0}},
		"lost, named":               {spec: "0,1", have: lost, err: "--gpus 0,1: device 1 has a fault: GPU is lost"},
		"lost and visible":          {visible: env("1,2"), have: lost, want: []int{2}, fault: "device 1 has a fault"},
		"lost and hidden":           {visible: env("2"), have: lost, want: []int{2}},
		"every one lost, all":       {spec: "all", have: lost[1:2], err: "--gpus all: every device has a fault: device 1 has a fault"},
		"every one lost, unset":     {have: lost[1:2], fault: "device 1 has a fault"},
		"index not known":           {have: lease.Fixed{{Index: -1, Fault: "0000:81:00.0: GPU is lost"}, {Index: 5}}, want: []int{5}, fault: "0000:81:00.0"},
		"index not known, by index": {spec: "0", have: lease.Fixed{{Index: -1, Fault: "GPU is lost"}, {Index: 5}}, err: "this node has devices 5"},
		"no device at all":          {spec: "0", have: lease.Fixed{}, err: "--gpus 0: there is no device 0; this node has no GPUs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.have == nil {
				tc.have = fakes(4)
			}
			got, err := lease.Choose(tc.spec, tc.visible, tc.have)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, deviceIndices(got.Devices))
			require.Equal(t, tc.fault != "", len(got.Faults) == 1)
			require.Contains(t, strings.Join(got.Faults, "\n"), tc.fault)
		})
	}
}

func deviceIndices(list []lease.Device) (indices []int) {
	for _, d := range list {
		indices = append(indices, d.Index)
	}
	return indices
}

// TestChoose_CUDAVisibleDevices_MeansWhatCUDAMeans: what a node with a single H200, device 0, can show was tried with its driver: values
// that show device 0 or none, such as "0,0" (error 101, no device) and "0,-1,1" (device 0). What values show of devices 1 to 3 was not
// tried; it follows PyTorch's account of the same rules.
func TestChoose_CUDAVisibleDevices_MeansWhatCUDAMeans(t *testing.T) {
	t.Parallel()
	for value, tc := range map[string]struct {
		want []int
		note string
	}{
		"3,1":           {want: []int{1, 3}},
		"":              {},
		"-1":            {},
		"NoDevFiles":    {},
		"0,0":           {note: "CUDA_VISIBLE_DEVICES=0,0 lists device 0 twice, and CUDA shows no device for a repeated id"},
		"0,1,0":         {note: "lists device 0 twice"},
		"0, 0":          {note: "lists device 0 twice"},
		"0,-1,1":        {want: []int{0}, note: `CUDA ends the list at "-1", which is negative`},
		"0,-1,0":        {want: []int{0}, note: "negative"},
		"-1,0":          {note: "negative"},
		"0,7,1":         {want: []int{0}, note: `"7", which is no device of this node`},
		"0,7,7":         {want: []int{0}, note: "no device"},
		"7":             {note: "no device"},
		"99999999999":   {note: "no device"},
		"0,x,1":         {want: []int{0}, note: `"x", which is not an index`},
		"x":             {note: "not an index"},
		"none":          {note: "not an index"},
		"all":           {note: "not an index"},
		"0,,1":          {want: []int{0}, note: `ends the list at ""`},
		",0":            {note: `ends the list at ""`},
		" 0 , 1 ":       {want: []int{0, 1}},
		"0gpu":          {want: []int{0}},
		"0x1":           {want: []int{0}},
		"01":            {want: []int{1}},
		"+0":            {want: []int{0}},
		"-0":            {want: []int{0}},
		"0 1":           {want: []int{0}},
		"0-1":           {want: []int{0}},
		"GPU-22":        {want: []int{2}},
		"GPU-22-FEED":   {want: []int{2}},
		"GPU-22-feed ":  {want: []int{2}},
		" GPU-22":       {note: "not an index"},
		"gpu-22":        {note: "not an index"},
		"GPU-":          {note: "not a UUID"},
		"GPU-2,GPU-1":   {want: []int{1, 2}},
		"GPU-2,GPU-22":  {note: "lists device 2 twice"},
		"GPU-2,0":       {want: []int{2}, note: `"0", which is not a UUID`},
		"0,GPU-22":      {want: []int{0}, note: "not an index"},
		"GPU-9,GPU-2":   {note: "no device"},
		"0,MIG-7a,1":    {want: []int{0}, note: "not an index"},
		"GPU-1,MIG-7a":  {want: []int{1}, note: "not a UUID"},
		"GPU-1,GPU-9,0": {want: []int{1}, note: "no device"},
	} {
		got, err := lease.Choose("", lease.Visible{Value: value, Set: true}, fakes(4))
		require.NoError(t, err, value)
		require.Equal(t, tc.want, deviceIndices(got.Devices), value)
		require.Equal(t, tc.note != "", len(got.Notes) == 1, "%s: %v", value, got.Notes)
		require.Contains(t, strings.Join(got.Notes, ""), tc.note, value)
	}
	twins := lease.Fixed{{Index: 0, UUID: "GPU-ab0"}, {Index: 1, UUID: "GPU-ab1"}}
	got, err := lease.Choose("", lease.Visible{Value: "GPU-ab0,GPU-ab", Set: true}, twins)
	require.NoError(t, err)
	require.Equal(t, []int{0}, deviceIndices(got.Devices))
	require.Contains(t, got.Notes[0], "the beginning of several UUIDs")
	_, err = lease.Choose("GPU-ab", lease.Visible{}, twins)
	require.ErrorContains(t, err, "several devices have UUIDs that start with GPU-ab")
	_, err = lease.Choose("", lease.Visible{Value: "MIG-7a,0", Set: true}, fakes(4))
	require.ErrorContains(t, err, "CUDA_VISIBLE_DEVICES=MIG-7a,0: MIG-7a is a MIG instance")
}

func TestRepeatedGPU(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{"": "", "all": "", "0,1": "", "0,0": "0", "1, 01": "1", "GPU-a,GPU-a": "GPU-a", "0,,": "", "x,x": "x"} {
		require.Equal(t, want, lease.RepeatedGPU(spec), spec)
	}
}

func TestSMI(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script string
		want   []lease.Device
		err    string
	}{
		"two": {
			script: `echo "1, GPU-b, NVIDIA GB200, 189471, 10.0"; echo "0, GPU-a, NVIDIA H200, 143771, 9.0"`,
			want: []lease.Device{
				{Index: 0, UUID: "GPU-a", Name: "NVIDIA H200", Bytes: 143771 << 20, Capability: "9.0"},
				{Index: 1, UUID: "GPU-b", Name: "NVIDIA GB200", Bytes: 189471 << 20, Capability: "10.0"},
			},
		},
		"what the driver does not tell": {
			script: `echo "0, GPU-a, NVIDIA A100-SXM4-40GB, [Insufficient Permissions], [N/A]"; echo; echo "1, [Not Supported], [Not Available], N/A, 8.0"`,
			want:   []lease.Device{{Index: 0, UUID: "GPU-a", Name: "NVIDIA A100-SXM4-40GB"}, {Index: 1, Capability: "8.0"}},
		},
		"a comma in a name": {script: `echo "0, GPU-a, Fake, Inc, 10, 9.0"`, want: []lease.Device{{UUID: "GPU-a", Name: "Fake, Inc", Bytes: 10 << 20, Capability: "9.0"}}},
		"none":              {script: `echo "No devices were found"; exit 6`},
		"silence":           {script: `:`},
		"no driver":         {script: `echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."; echo more; exit 9`, err: "exit status 9: NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."},
		"an error":          {script: `echo 'Field "compute_cap" is not a valid field to query.' >&2; exit 2`, err: `Field "compute_cap" is not a valid field`},
		"no index":          {script: `echo "[N/A], GPU-a, x, 1, 9.0"`, err: `index "" is not a number`},
		"no memory": {
			script: `echo "0, GPU-a, x, many, 9.0"`,
			want:   []lease.Device{{UUID: "GPU-a", Name: "x", Capability: "9.0", Fault: `nvidia-smi printed "0, GPU-a, x, many, 9.0": memory "many" is not a number of MiB`}},
		},
		"another answer": {script: `echo "hello"`, err: `nvidia-smi printed "hello"`},
		"twice":          {script: `echo "0, a, b, 1, 9.0"; echo "0, a, b, 1, 9.0"`, err: "lists device 0 twice"},
		"one is lost": {
			script: healthy(0) + lostLine("81") + "exit 15",
			want:   []lease.Device{device(0), lostDevice(1, "81")},
		},
		"the first is lost": {script: lostLine("81") + healthy(1), want: []lease.Device{lostDevice(0, "81"), device(1)}},
		"two are lost": {
			script: healthy(0) + lostLine("81") + lostLine("82") + healthy(3),
			want:   []lease.Device{device(0), lostDevice(1, "81"), lostDevice(2, "82"), device(3)},
		},
		"all are lost":               {script: lostLine("81") + lostLine("82") + "exit 15", want: []lease.Device{lostDevice(0, "81"), lostDevice(1, "82")}},
		"lost, said on stderr":       {script: healthy(0) + healthy(2) + strings.ReplaceAll(lostLine("81"), "\n", " >&2\n") + "exit 15", want: []lease.Device{device(0), lostDevice(1, "81"), device(2)}},
		"lost, said twice":           {script: healthy(0) + lostLine("81") + lostLine("81"), want: []lease.Device{device(0), lostDevice(1, "81")}},
		"lost, indices do not agree": {script: healthy(4) + lostLine("81"), want: []lease.Device{lostDevice(-1, "81"), device(4)}},
		"a corrupt infoROM":          {script: healthy(0) + `echo "WARNING: infoROM is corrupted at gpu 0000:81:00.0"; exit 14`, want: []lease.Device{device(0)}},
		"a field is lost": {
			script: healthy(0) + `echo "1, GPU-1, NVIDIA H200, [GPU is lost], 9.0"`,
			want: []lease.Device{device(0), {Index: 1, UUID: "GPU-1", Name: "NVIDIA H200", Capability: "9.0",
				Fault: `nvidia-smi printed "1, GPU-1, NVIDIA H200, [GPU is lost], 9.0"`}},
		},
		"a field is ERR!": {
			script: `echo "0, GPU-0, ERR!, 143771, 9.0"`,
			want:   []lease.Device{{UUID: "GPU-0", Bytes: 143771 << 20, Capability: "9.0", Fault: `nvidia-smi printed "0, GPU-0, ERR!, 143771, 9.0"`}},
		},
		"a field is unknown": {
			script: `echo "0, GPU-0, NVIDIA H200, [Unknown Error], Unknown Error"`,
			want:   []lease.Device{{UUID: "GPU-0", Name: "NVIDIA H200", Fault: `nvidia-smi printed "0, GPU-0, NVIDIA H200, [Unknown Error], Unknown Error"`}},
		},
		"it hangs": {script: `sleep 100`, err: "the driver hangs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "nvidia-smi")
			execfile.Write(t, path, "#!/bin/sh\n"+tc.script+"\n")
			timeout := time.Minute
			if name == "it hangs" {
				timeout = 100 * time.Millisecond
			}
			got, err := lease.SMI{Path: path, Timeout: timeout}.Devices(t.Context())
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
	got, err := lease.SMI{Path: filepath.Join(t.TempDir(), "absent")}.Devices(t.Context())
	require.NoError(t, err)
	require.Empty(t, got)
	got, err = lease.SMI{Path: "tracefleet-no-such-program"}.Devices(t.Context())
	require.NoError(t, err)
	require.Empty(t, got)
}

// nvidia-smi only looks: what opens the Hub or the broker is not its to have.
func TestSMI_Secrets(t *testing.T) {
	t.Setenv("HF_TOKEN", "secret")
	t.Setenv("HUGGING_FACE_HUB_TOKEN", "secret")
	t.Setenv("TRACEFLEET_NATS", "nats://me:secret@broker")
	path := filepath.Join(t.TempDir(), "nvidia-smi")
	execfile.Write(t, path, "#!/bin/sh\nenv > \"$0.env\"\n")
	_, err := lease.SMI{Path: path}.Devices(t.Context())
	require.NoError(t, err)
	env, err := os.ReadFile(path + ".env")
	require.NoError(t, err)
	require.Contains(t, string(env), "PATH=")
	require.NotContains(t, string(env), "secret")
}

func device(index int) lease.Device {
	return lease.Device{Index: index, UUID: fmt.Sprintf("GPU-%d", index), Name: "NVIDIA H200", Bytes: 143771 << 20, Capability: "9.0"}
}

func healthy(index int) string {
	return fmt.Sprintf("echo \"%d, GPU-%d, NVIDIA H200, 143771, 9.0\"\n", index, index)
}

const lostText = "Unable to determine the device handle for gpu 0000:%s:00.0: GPU is lost.  Reboot the system to recover this GPU"

func lostLine(bus string) string { return "echo \"" + fmt.Sprintf(lostText, bus) + "\"\n" }

func lostDevice(index int, bus string) lease.Device {
	return lease.Device{Index: index, Fault: fmt.Sprintf(lostText, bus)}
}

type broken struct{}

func (broken) Devices(context.Context) ([]lease.Device, error) {
	return nil, errors.New("driver mismatch")
}

func TestOpen_BrokenDriver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := open(t, dir, func(o *lease.Options) { o.Inventory = broken{} })
	require.Empty(t, n.Devices(), "a worker for engines without GPUs must start on any node")
	n = open(t, dir, func(o *lease.Options) { o.Inventory, o.GPUs = broken{}, "none" })
	require.Empty(t, n.Devices())
	for _, spec := range []string{"all", "0"} {
		_, err := lease.Open(t.Context(), lease.Options{Inventory: broken{}, GPUs: spec, LockDir: dir})
		require.ErrorContains(t, err, "driver mismatch")
	}
}

func TestCapability(t *testing.T) {
	t.Parallel()
	for want, have := range map[int][]string{0: {}, 90: {"9.0"}, 89: {"10.0", "8.9", "9.0"}, 103: {"10.3", "10.3", "12.0"}} {
		var list lease.Fixed
		for i, c := range have {
			list = append(list, lease.Device{Index: i, Capability: c})
		}
		require.Equal(t, want, open(t, t.TempDir(), func(o *lease.Options) { o.Inventory = list }).Capability(), have)
	}
	n := open(t, t.TempDir(), func(o *lease.Options) { o.Inventory = lease.Fixed{{Index: 0, Capability: "9.0"}, {Index: 1}} })
	require.Zero(t, n.Capability(), "one is not told")
}

// A directory for the locks that is not there is made, and one that cannot be is an error at once, not of every task later.
func TestOpen_LockDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "locks", "of", "ours")
	if _, err := lease.Open(t.Context(), lease.Options{Inventory: fakes(1), LockDir: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := lease.Open(t.Context(), lease.Options{Inventory: fakes(1), LockDir: filepath.Join(file, "locks")}); err == nil || !strings.Contains(err.Error(), lease.LockDirEnv) {
		t.Errorf("error %v", err)
	}
}
