package reach

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

//go:embed apis.json
var apisJSON []byte

// table is apis.json; its note explains the fields.
type table struct {
	Note     []string   `json:"note"`
	Releases []version  `json:"releases"` // that were read, ascending
	Fusion   []*fusion  `json:"fusion"`
	APIs     []apiEntry `json:"apis"`

	entries map[fitrace.API]*apiEntry
	calls   *callTable
}

// version is a release that was read, with what it pins.
type version struct {
	SGLang     string `json:"sglang"`
	FlashInfer string `json:"flashinfer"`
	SGLKernel  string `json:"sgl_kernel"`

	number release
}

// fusion lists the models whose all-reduce is fused with the norm after it, by default, with tp above 1.
type fusion struct {
	From          string   `json:"from"`
	Before        string   `json:"before"`
	Architectures []string `json:"architectures"`
	Sources       []source `json:"sources"`

	span span
}

type apiEntry struct {
	API   string      `json:"api"`
	Cases []*apiCase  `json:"cases"`
	api   fitrace.API // of API
}

type apiCase struct {
	From      string             `json:"from"`
	Before    string             `json:"before"`
	Stage     string             `json:"stage"`
	OpTypes   []string           `json:"op_types"`
	Axes      map[string][]int64 `json:"axes"`
	GPUs      []string           `json:"gpus"`
	PageSizes []int64            `json:"page_sizes"`
	Mode      string             `json:"mode"`
	Never     bool               `json:"never"`
	Why       string             `json:"why"`
	Requires  []string           `json:"requires"`
	Implied   []string           `json:"implied"`
	Excludes  []string           `json:"excludes"`
	Instead   string             `json:"instead"`
	Fused     bool               `json:"fused"`
	Parallel  bool               `json:"parallel"`
	Cautions  []string           `json:"cautions"`
	Sources   []source           `json:"sources"`

	span span
	gpus []int // of GPUs: 90 is any SM9x, 89 just that
}

// source is where Names was read, with the line in each release.
type source struct {
	Package string         `json:"package"` // sglang or sgl_kernel: the top folder in site-packages
	File    string         `json:"file"`    // below it
	Names   string         `json:"names"`
	Lines   map[string]int `json:"lines"`
}

// known returns the table, which is read once. An error is a mistake in apis.json or calls.json, which the tests would have found.
var known = sync.OnceValues(func() (*table, error) {
	t, err := parse(apisJSON)
	if err != nil {
		return nil, err
	}
	t.calls, err = parseCalls(callsJSON)
	return t, err
})

func parse(data []byte) (*table, error) {
	t := &table{entries: map[fitrace.API]*apiEntry{}}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(t); err != nil {
		return nil, fmt.Errorf("apis.json: %w", err)
	}
	if len(t.Releases) == 0 {
		return nil, errors.New("apis.json: releases is empty")
	}
	for i := range t.Releases {
		v := &t.Releases[i]
		var ok bool
		if v.number, ok = parseRelease(v.SGLang); !ok || i > 0 && v.number.compare(t.Releases[i-1].number) <= 0 {
			return nil, fmt.Errorf("apis.json: releases[%d].sglang %q: releases must ascend", i, v.SGLang)
		}
	}
	for i, f := range t.Fusion {
		var err error
		if f.span, err = parseSpan(f.From, f.Before); err == nil {
			err = t.checkSources(f.Sources, f.span)
		}
		if err != nil {
			return nil, fmt.Errorf("apis.json: fusion[%d]: %w", i, err)
		}
	}
	for i := range t.APIs {
		e := &t.APIs[i]
		e.api = fitrace.ParseAPI(e.API)
		if _, twice := t.entries[e.api]; twice || e.API == "" || len(e.Cases) == 0 {
			return nil, fmt.Errorf("apis.json: apis[%d] %q: an API has one entry, with cases", i, e.API)
		}
		t.entries[e.api] = e
		for j, c := range e.Cases {
			if err := t.checkCase(c); err != nil {
				return nil, fmt.Errorf("apis.json: %s: cases[%d]: %w", e.API, j, err)
			}
		}
	}
	return t, nil
}

var gpuPattern = regexp.MustCompile(`^sm(\d{2,3})$`)

func (t *table) checkCase(c *apiCase) (err error) {
	if c.span, err = parseSpan(c.From, c.Before); err != nil {
		return err
	}
	if c.Why == "" {
		return errors.New("why is empty")
	}
	if c.Never == (c.Mode != "") {
		return errors.New("a case has either a mode or never")
	}
	if !c.Never && !slices.Contains([]string{ModeOffline, ModeHTTPPaged, ModeHTTPRagged, ModeAny}, c.Mode) {
		return fmt.Errorf("mode %q is none", c.Mode)
	}
	if !slices.Contains([]string{"", "decode", "prefill"}, c.Stage) {
		return fmt.Errorf("stage %q is none", c.Stage)
	}
	if c.gpus, err = parseGPUs(c.GPUs); err != nil {
		return err
	}
	for _, flag := range slices.Concat(c.Requires, c.Implied, c.Excludes) {
		if !strings.HasPrefix(flag, "--") {
			return fmt.Errorf("%q is not a flag", flag)
		}
	}
	return t.checkSources(c.Sources, c.span)
}

func parseGPUs(names []string) (gpus []int, err error) {
	for _, name := range names {
		m := gpuPattern.FindStringSubmatch(name)
		if m == nil {
			return nil, fmt.Errorf("gpus: %q is not an architecture such as sm90", name)
		}
		gpu, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, fmt.Errorf("gpus: %q: %w", name, err)
		}
		gpus = append(gpus, gpu)
	}
	return gpus, nil
}

// checkSources reports a release that was read and is in the range, and has no line in any source.
func (t *table) checkSources(list []source, s span) error {
	for _, v := range t.Releases {
		if !s.holds(v.number) {
			continue
		}
		if !slices.ContainsFunc(list, func(src source) bool { return src.Lines[v.SGLang] > 0 }) {
			return fmt.Errorf("no source of SGLang %s", v.SGLang)
		}
	}
	for _, src := range list {
		if src.File == "" || src.Names == "" || src.Package != "sglang" && src.Package != "sgl_kernel" {
			return fmt.Errorf("source %q of package %q names %q: all three are needed", src.File, src.Package, src.Names)
		}
		for name := range src.Lines {
			r, ok := parseRelease(name)
			if !ok || !s.holds(r) || !slices.ContainsFunc(t.Releases, func(v version) bool { return v.SGLang == name }) {
				return fmt.Errorf("source %s: lines of SGLang %s, which was not read or is outside the range", src.File, name)
			}
		}
	}
	return nil
}

func parseSpan(from, before string) (s span, err error) {
	var ok bool
	if s.from, ok = parseRelease(from); !ok {
		return s, fmt.Errorf("from %q is not a release", from)
	}
	if before == "" {
		return s, nil
	}
	if s.before, ok = parseRelease(before); !ok || s.before.compare(s.from) <= 0 {
		return s, fmt.Errorf("before %q is not a release after %s", before, from)
	}
	return s, nil
}

// places returns the sources of one release, as an Answer lists them.
func (v version) places(list []source) []string {
	var places []string
	for _, src := range list {
		line, ok := src.Lines[v.SGLang]
		if !ok {
			continue
		}
		of := "sglang " + v.SGLang
		if src.Package == "sgl_kernel" {
			of = "sgl_kernel " + v.SGLKernel
		}
		places = append(places, fmt.Sprintf("%s %s:%d", of, src.File, line))
	}
	return places
}
