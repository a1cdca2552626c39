package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/pyenv"
	"github.com/tracefleet/tracefleet/internal/execfile"
	"github.com/tracefleet/tracefleet/proto"
)

// node is a machine as the checks see it: an interpreter that reports packages, and devices.
func node(t *testing.T, version string, packages map[string]string, gpus []proto.GPU) Options {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(map[string]any{"version": version, "packages": packages})
	require.NoError(t, err)
	python := execfile.Write(t, filepath.Join(dir, "python"), fmt.Sprintf("#!/bin/sh\necho '%s'\n", data))
	return Options{
		Wish: pyenv.Wish{Python: python}, WorkDir: filepath.Join(dir, "not", "there", "yet"), Releases: [2]string{"0.5.8", "0.5.23"},
		GPUs:   func(context.Context) (GPUs, error) { return GPUs{List: gpus}, nil },
		Tested: func(v string) bool { return v == "0.5.16" }, Getenv: func(string) string { return "" },
	}
}

func grades(list []Finding) map[string]Grade {
	out := map[string]Grade{}
	for _, f := range list {
		out[f.Check] = f.Grade
	}
	return out
}

func whole() map[string]string {
	return map[string]string{"torch": "2.11.0", "sglang": "0.5.16", "sglang-kernel": "0.4.5", "flashinfer-python": "0.6.14", "flashinfer-bench": "0.1.2",
		"flashinfer-jit-cache": "0.6.14"}
}

func TestLook(t *testing.T) {
	t.Parallel()
	h200 := []proto.GPU{{Index: 0, Name: "NVIDIA H200", Bytes: 150e9}}
	for name, c := range map[string]struct {
		python string
		change map[string]string // "": the package is not there
		gpus   []proto.GPU
		want   map[string]Grade
	}{
		"whole":             {"3.12.3", nil, h200, map[string]Grade{"python": OK, "torch": OK, "sglang": OK, "sglang kernels": OK, "flashinfer": OK, "flashinfer-bench": OK, "gpus": OK, "nvcc": OK}},
		"old python":        {"3.9.18", nil, h200, map[string]Grade{"python": Fail}},
		"no sglang":         {"3.12.3", map[string]string{"sglang": ""}, h200, map[string]Grade{"sglang": Fail, "torch": OK}},
		"untested sglang":   {"3.12.3", map[string]string{"sglang": "0.5.6"}, h200, map[string]Grade{"sglang": Warn}},
		"older kernels":     {"3.12.3", map[string]string{"sglang-kernel": "", "sgl-kernel": "0.3.21"}, h200, map[string]Grade{"sglang kernels": OK}},
		"logs nothing":      {"3.12.3", map[string]string{"flashinfer-python": "0.5.3"}, h200, map[string]Grade{"flashinfer": Fail}},
		"no tuples":         {"3.12.3", map[string]string{"flashinfer-python": "0.6.11.post1"}, h200, map[string]Grade{"flashinfer": Warn}},
		"no bench":          {"3.12.3", map[string]string{"flashinfer-bench": ""}, h200, map[string]Grade{"flashinfer-bench": Warn}},
		"no gpu":            {"3.12.3", nil, nil, map[string]Grade{"gpus": Fail}},
		"every gpu is held": {"3.12.3", nil, []proto.GPU{{Name: "NVIDIA H200", Holder: "someone"}}, map[string]Grade{"gpus": Warn}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			packages := whole()
			for k, v := range c.change {
				packages[k] = v
				if v == "" {
					delete(packages, k)
				}
			}
			list := Look(t.Context(), node(t, c.python, packages, c.gpus))
			got := grades(list)
			for check, grade := range c.want {
				require.Equal(t, grade, got[check], "%s: %+v", check, list)
			}
			for _, f := range list {
				require.NotEmpty(t, f.Found, f.Check)
				require.Equal(t, f.Grade != OK, f.Remedy != "", "a remedy where one is needed: %+v", f)
			}
		})
	}
}

// TestRoom_Grade_FollowsFreeSpace does not depend on how much this machine has free.
func TestRoom_Grade_FollowsFreeSpace(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	require.Equal(t, OK, room("work directory", dir, 1, "remedy").Grade)
	little := room("work directory", dir, 1e18, "remedy")
	require.Equal(t, Warn, little.Grade)
	require.Equal(t, "remedy", little.Remedy)
}

func TestLook_WithoutPython(t *testing.T) {
	t.Parallel()
	o := node(t, "3.12.3", whole(), nil)
	o.Wish = pyenv.Wish{Python: filepath.Join(t.TempDir(), "nothing")}
	o.GPUs = func(context.Context) (GPUs, error) {
		return GPUs{}, errors.New("nvidia-smi: Driver/library version mismatch")
	}
	list := Look(t.Context(), o)
	require.Equal(t, Fail, list[0].Grade)
	require.Equal(t, Fail, grades(list)["gpus"], "the other checks are made all the same")
	require.NotContains(t, grades(list), "sglang")
}

func TestLook_GPUFlagAtFault_RemedyIsOfTheFlag(t *testing.T) {
	t.Parallel()
	for message, remedy := range map[string]string{
		"--gpus 2: there is no device 2":                                "correct --gpus",
		"--gpus 1: device 1 has a fault: GPU is lost":                   "reset that GPU",
		"nvidia-smi: Driver/library version mismatch":                   "a GPU and its driver",
		"--gpus all: every device has a fault: device 1 has a fault: x": "reset that GPU",
	} {
		o := node(t, "3.12.3", whole(), nil)
		o.GPUs = func(context.Context) (GPUs, error) { return GPUs{}, errors.New(message) }
		list := Look(t.Context(), o)
		i := slices.IndexFunc(list, func(f Finding) bool { return f.Check == "gpus" })
		require.Contains(t, list[i].Remedy, remedy, message)
	}
}

func TestAtLeast(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version string
		least   []int
		want    bool
	}{
		{"0.6.12", []int{0, 6, 12}, true}, {"0.6.9", []int{0, 6, 12}, false}, {"0.7", []int{0, 6, 12}, true}, {"0.6.11.post1", []int{0, 6, 12}, false},
		{"1", []int{0, 6}, true}, {"", []int{3, 10}, false}, {"3.10.13", []int{3, 10}, true},
	} {
		require.Equal(t, c.want, atLeast(c.version, c.least...), c.version)
	}
}
