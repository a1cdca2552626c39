package lease_test

import (
	"context"
	"errors"
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
	for name, tc := range map[string]struct {
		spec    string
		visible lease.Visible
		want    []int
		err     string
	}{
		"nothing said":             {want: []int{0, 1, 2, 3}},
		"all":                      {spec: "all", want: []int{0, 1, 2, 3}},
		"none":                     {spec: "none"},
		"some, any order":          {spec: "2, 0", want: []int{0, 2}},
		"by uuid":                  {spec: "GPU-11-feed,0", want: []int{0, 1}},
		"by part of a uuid":        {spec: "GPU-3", want: []int{3}},
		"ranks that share":         {spec: "1,1,0,1", want: []int{0, 1, 1, 1}},
		"not there":                {spec: "0,4", err: "--gpus 0,4: there is no device 4; this node has devices 0, 1, 2, 3"},
		"no index":                 {spec: "0,x", err: `--gpus 0,x: "x" is not a device`},
		"negative":                 {spec: "-2", err: `--gpus -2: "-2" is not a device`},
		"empty item":               {spec: "0,,1", err: `--gpus 0,,1: "" is not a device`},
		"a way to hide all":        {spec: "-1", err: "--gpus -1: it names no device"},
		"ambiguous uuid":           {spec: "GPU-", err: "--gpus GPU-: GPU- is the beginning of several"},
		"mig":                      {spec: "MIG-7a", err: "MIG-7a is a MIG instance"},
		"environment":              {visible: env("3,1"), want: []int{1, 3}},
		"environment, ranks share": {visible: env("0,0"), want: []int{0, 0}},
		"environment, uuid":        {visible: env("GPU-22"), want: []int{2}},
		"environment hides all":    {visible: env("")},
		"environment hides all 2":  {visible: env("-1")},
		"environment, bad":         {visible: env("7"), err: "CUDA_VISIBLE_DEVICES=7: there is no device 7"},
		"both":                     {spec: "3,3", visible: env("2,3"), want: []int{3, 3}},
		"both disagree":            {spec: "0", visible: env("2,3"), err: "--gpus 0: CUDA_VISIBLE_DEVICES=2,3 of this process hides device 0"},
		"none in any environment":  {spec: "none", visible: env("nonsense")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := lease.Choose(tc.spec, tc.visible, fakes(4))
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			var indices []int
			for _, d := range got {
				indices = append(indices, d.Index)
			}
			require.Equal(t, tc.want, indices)
		})
	}
	_, err := lease.Choose("0", lease.Visible{}, nil)
	require.ErrorContains(t, err, "--gpus 0: there is no device 0; this node has no GPUs")
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
			script: `echo "0, GPU-a, NVIDIA A100-SXM4-40GB, [Insufficient Permissions], [N/A]"; echo; echo "1, [Not Supported], [Unknown Error], N/A, 8.0"`,
			want:   []lease.Device{{Index: 0, UUID: "GPU-a", Name: "NVIDIA A100-SXM4-40GB"}, {Index: 1, Capability: "8.0"}},
		},
		"a comma in a name": {script: `echo "0, GPU-a, Fake, Inc, 10, 9.0"`, want: []lease.Device{{UUID: "GPU-a", Name: "Fake, Inc", Bytes: 10 << 20, Capability: "9.0"}}},
		"none":              {script: `echo "No devices were found"; exit 6`},
		"silence":           {script: `:`},
		"no driver":         {script: `echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."; echo more; exit 9`, err: "exit status 9: NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."},
		"an error":          {script: `echo 'Field "compute_cap" is not a valid field to query.' >&2; exit 2`, err: `Field "compute_cap" is not a valid field`},
		"no index":          {script: `echo "[N/A], GPU-a, x, 1, 9.0"`, err: `index "" is not a number`},
		"no memory":         {script: `echo "0, GPU-a, x, many, 9.0"`, err: `memory "many" is not a number of MiB`},
		"another answer":    {script: `echo "hello"`, err: `nvidia-smi says "hello"`},
		"twice":             {script: `echo "0, a, b, 1, 9.0"; echo "0, a, b, 1, 9.0"`, err: "names device 0 twice"},
		"it hangs":          {script: `sleep 100`, err: "the driver hangs"},
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

type broken struct{}

func (broken) Devices(context.Context) ([]lease.Device, error) {
	return nil, errors.New("driver mismatch")
}

func TestOpen_BrokenDriver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := open(t, dir, func(o *lease.Options) { o.Inventory = broken{} })
	require.Zero(t, n.Ranks(), "a worker for engines without GPUs must start on any node")
	n = open(t, dir, func(o *lease.Options) { o.Inventory, o.GPUs = broken{}, "none" })
	require.Zero(t, n.Ranks())
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
