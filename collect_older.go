package main

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/cli"
)

// olderFlags are those of the older entry point which have no flag of their own here: most are the server's.
type olderFlags struct {
	Quantization      string  `placeholder:"METHOD" help:"The server's --quantization, such as fp8, awq or gptq."`
	CPUOffloadGB      float64 `name:"cpu-offload-gb" placeholder:"GB" help:"The server's --cpu-offload-gb, whole gigabytes."`
	MemFractionStatic float64 `placeholder:"SHARE" help:"The server's --mem-fraction-static; lower it where memory runs out."`
	SGLangPort        int     `name:"sglang-port" placeholder:"PORT" help:"Port the server listens on; a free one by default. With a fixed one, a node has one task at a time."`
	BaseURL           string  `name:"base-url" placeholder:"URL" help:"Where the server that is started listens, such as http://127.0.0.1:30000."`
}

// apply puts the older flags into r: as server flags ahead of --extra-server-flag, which win over them, and as host and port.
func (f *olderFlags) apply(r *coordinator.Request) error {
	var flags []string
	if f.Quantization != "" {
		flags = append(flags, "--quantization "+f.Quantization)
	}
	if f.CPUOffloadGB != 0 {
		if f.CPUOffloadGB < 0 || f.CPUOffloadGB != math.Trunc(f.CPUOffloadGB) || math.IsInf(f.CPUOffloadGB, 0) {
			return cli.Usagef("--cpu-offload-gb is %v, must be a whole number from 0: the server takes whole gigabytes", f.CPUOffloadGB)
		}
		flags = append(flags, fmt.Sprintf("--cpu-offload-gb %.0f", f.CPUOffloadGB))
	}
	if f.MemFractionStatic != 0 {
		if math.IsNaN(f.MemFractionStatic) || f.MemFractionStatic < 0 || f.MemFractionStatic >= 1 {
			return cli.Usagef("--mem-fraction-static is %v, must be between 0 and 1", f.MemFractionStatic)
		}
		flags = append(flags, "--mem-fraction-static "+strconv.FormatFloat(f.MemFractionStatic, 'g', -1, 64))
	}
	r.ServerFlags = append(flags, r.ServerFlags...)
	r.Port = f.SGLangPort
	if err := f.listenAt(r); err != nil {
		return err
	}
	if r.Dataset != "random" && r.Dataset != "sharegpt" && r.Dataset != "trace" && r.ShareGPTPath == "" {
		// The older entry point's --dataset was the path of a ShareGPT file.
		if ext := filepath.Ext(r.Dataset); ext == ".json" || ext == ".jsonl" {
			r.Dataset, r.ShareGPTPath = "sharegpt", r.Dataset
		}
	}
	return nil
}

// listenAt reads --base-url: the older scripts sent their requests there; here it says where the server is started.
func (f *olderFlags) listenAt(r *coordinator.Request) error {
	if f.BaseURL == "" {
		return nil
	}
	text := f.BaseURL
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return cli.Usagef("--base-url: %w", err)
	}
	port := 0
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return cli.Usagef("--base-url is %q: port %s must be from 1 to 65535", f.BaseURL, p)
		}
	}
	switch {
	case u.Scheme != "http":
		return cli.Usagef("--base-url is %q: the server that is started speaks http, not %s", f.BaseURL, u.Scheme)
	case u.Hostname() == "" || strings.ContainsAny(u.Hostname(), " %"):
		return cli.Usagef("--base-url is %q: it names no host", f.BaseURL)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return cli.Usagef("--base-url is %q: it must be http://HOST:PORT and no more", f.BaseURL)
	case port != 0 && f.SGLangPort != 0 && port != f.SGLangPort:
		return cli.Usagef("--base-url says port %d and --sglang-port %d", port, f.SGLangPort)
	}
	r.Host = u.Hostname()
	if ip := net.ParseIP(r.Host); ip == nil && r.Host == "localhost" {
		r.Host = "127.0.0.1" // one address, where the name may have two and the server binds the first
	}
	if port != 0 {
		r.Port = port
	}
	return nil
}
