package main

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tracefleet/tracefleet/coordinator"
)

// asked gives the request that a command line of collect makes.
func asked(t *testing.T, args ...string) (coordinator.Request, error) {
	t.Helper()
	var a app
	parser, err := kong.New(&a, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(expand(append([]string{"collect", "--trace-dir", "."}, args...))); err != nil {
		return coordinator.Request{}, err
	}
	return a.Collect.request()
}

// Flags of the older scripts mean what they meant.
func TestCollect_OlderFlags(t *testing.T) {
	t.Parallel()
	const sglang = "--engine=sglang"
	type want func(*coordinator.Request)
	for _, tc := range []struct {
		args string
		want want
	}{
		{"--quantization fp8", func(r *coordinator.Request) { r.ServerFlags = []string{"--quantization fp8"} }},
		{"--cpu-offload-gb 32.0", func(r *coordinator.Request) { r.ServerFlags = []string{"--cpu-offload-gb 32"} }},
		{"--mem-fraction-static 0.75", func(r *coordinator.Request) { r.ServerFlags = []string{"--mem-fraction-static 0.75"} }},
		{"--extra-server-flag --page-size 64 --quantization awq", func(r *coordinator.Request) {
			r.ServerFlags = []string{"--quantization awq", "--page-size", "64"}
		}},
		{"--extra-server-flag=--disable-radix-cache --extra-server-flag=--disable-piecewise-cuda-graph", func(r *coordinator.Request) {
			r.ServerFlags = []string{"--disable-radix-cache", "--disable-piecewise-cuda-graph"}
		}},
		{"--num-samples 100", func(r *coordinator.Request) { r.Requests = 100 }},
		{"--sglang-port 30001", func(r *coordinator.Request) { r.Port = 30001 }},
		{"--base-url http://127.0.0.1:20000", func(r *coordinator.Request) { r.Host, r.Port = "127.0.0.1", 20000 }},
		{"--base-url http://localhost:20000/", func(r *coordinator.Request) { r.Host, r.Port = "127.0.0.1", 20000 }},
		{"--base-url 0.0.0.0", func(r *coordinator.Request) { r.Host = "0.0.0.0" }},
		{"--base-url http://[::1]:7 --sglang-port 7", func(r *coordinator.Request) { r.Host, r.Port = "::1", 7 }},
		{"--dataset /data/ShareGPT.jsonl", func(r *coordinator.Request) { r.Dataset, r.ShareGPTPath = "sharegpt", "/data/ShareGPT.jsonl" }},
		{"--dataset sharegpt --sharegpt-path /s.json", func(r *coordinator.Request) { r.Dataset, r.ShareGPTPath = "sharegpt", "/s.json" }},
		{"--dataset trace --trace-path /t.jsonl --trace-speed 2", func(r *coordinator.Request) {
			r.Dataset, r.TracePath, r.TraceSpeed = "trace", "/t.jsonl", 2
		}},
		{"--model-key llama-4-scout --gpu-type b200 --sglang-version 0.5.16 --any-release --start-timeout 90m --dump plan --trace-dump --chat --pool-tokens 4096",
			func(r *coordinator.Request) {
				r.ModelKey, r.GPUType, r.SGLang, r.AnyRelease, r.StartTimeout = "llama-4-scout", "b200", "0.5.16", true, 90*time.Minute
				r.Dump, r.TraceDump, r.Chat, r.PoolTokens = "plan", true, true, 4096
			}},
		{"--flashinfer-trace-dir /set --no-eval-baseline --def-name a b", func(r *coordinator.Request) {
			r.TraceDir, r.NoEval, r.Names = "/set", true, []string{"a", "b"}
		}},
	} {
		got, err := asked(t, append([]string{sglang}, strings.Fields(tc.args)...)...)
		if err != nil {
			t.Errorf("%s: %v", tc.args, err)
			continue
		}
		want := coordinator.DefaultRequest()
		want.Engine = "sglang"
		tc.want(&want)
		if len(got.ServerFlags) == 0 && len(want.ServerFlags) == 0 {
			got.ServerFlags = want.ServerFlags
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v, want\n%+v", tc.args, got, want)
		}
	}
}

func TestCollect_OlderFlagsRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ args, says string }{
		{"--cpu-offload-gb 1.5", "--cpu-offload-gb is 1.5, must be a whole number"},
		{"--cpu-offload-gb -1", "--cpu-offload-gb"},
		{"--mem-fraction-static 1.5", "--mem-fraction-static is 1.5"},
		{"--mem-fraction-static NaN", "--mem-fraction-static is NaN"},
		{"--base-url https://h:1", "speaks http, not https"},
		{"--base-url http://:30000", "names no host"},
		{"--base-url http://h:1/v1", "http://HOST:PORT and no more"},
		{"--base-url http://h:99999", "port 99999"},
		{"--base-url http://h:1 --sglang-port 2", "--base-url says port 1 and --sglang-port 2"},
		{"--engine simulate --quantization fp8", "--quantization fp8 is given, but --engine is simulate"},
		{"--dump runs", "--dump"},
		{"--extra-server-flag", "extra-server-flag"},
	} {
		if _, err := asked(t, append([]string{"--engine", "sglang"}, strings.Fields(tc.args)...)...); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got %v, want %q", tc.args, err, tc.says)
		}
	}
}
