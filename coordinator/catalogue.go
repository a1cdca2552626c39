package coordinator

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/proto"
)

//go:embed models.json
var builtinModels []byte

// builtinFile names the built-in catalogue where a person reads it.
const builtinFile = "the built-in catalogue"

// Model holds a catalogue's settings of one model on one type of GPU. Zero fields are not set.
type Model struct {
	Path         string   // directory or Hugging Face repository, as --model-path takes it
	Architecture string   // as the model's config.json names it
	TP, EP       int      // ranks the model is usually served with
	PageSize     int      // tokens a KV page
	Flags        []string // of the server, each "--flag" or "--flag value"
}

// Catalogue holds models by key. It is the built-in file (models.json beside this one), extended by the user's: an entry of the
// user's file replaces the built-in one of the same key.
//
// An entry has model_path, architecture, sizes of the model's config.json under config, and settings for each GPU type under gpus;
// what a type does not set is taken from "default". An entry with "like": KEY starts from the entry KEY: field by field, also below
// gpus. In the user's file an entry that is like itself starts from the built-in one.
type Catalogue struct {
	layers []layer // the built-in first
}

type layer struct {
	file   string
	models map[string]modelEntry
}

type modelEntry struct {
	Like         string              `json:"like"`
	ModelPath    string              `json:"model_path"`
	Architecture string              `json:"architecture"`
	Config       json.RawMessage     `json:"config"` // the part of the model's config.json that decides shapes, and source; the rest is ignored
	GPUs         map[string]gpuEntry `json:"gpus"`

	numbers string // the file and key that Config is of, for messages
}

// gpuEntry holds an entry's settings for one GPU type. Flags that are nil are not set; an empty list means no flags.
type gpuEntry struct {
	TP       int      `json:"tp"`
	EP       int      `json:"ep"`
	PageSize int      `json:"page_size"`
	Flags    []string `json:"flags"`
}

const defaultGPU = "default"

// LoadCatalogue reads the built-in catalogue and the user's file. Without a name the user's file is models.json in the user's
// configuration directory, such as ~/.config/tracefleet, and may be missing. Errors name file, key and field.
func LoadCatalogue(file string) (*Catalogue, error) {
	base, err := parseModels(builtinModels, builtinFile)
	if err != nil {
		return nil, proto.Failf(proto.CodeInternal, "%v", err)
	}
	c := &Catalogue{layers: []layer{base}}
	named := file != ""
	if !named {
		dir, err := os.UserConfigDir()
		if err != nil {
			return c, nil //nolint:nilerr // a user without a home has no file there
		}
		file = filepath.Join(dir, "tracefleet", "models.json")
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return c, nil
	}
	if err != nil {
		return nil, badModels("model catalogue: %w", err)
	}
	own, err := parseModels(data, file)
	if err != nil {
		return nil, badModels("%w", err)
	}
	c.layers = append(c.layers, own)
	for _, key := range slices.Sorted(maps.Keys(own.models)) { // a "like" that leads nowhere is said when it is written, not when it is used
		if _, err := c.entry(key, len(c.layers)-1, nil); err != nil {
			return nil, badModels("%w", err)
		}
	}
	return c, nil
}

func badModels(format string, args ...any) error {
	return proto.Failf(proto.CodeBadCollection, "%s", fmt.Errorf(format, args...)).
		WithHint("correct the file, or name another with --model-catalogue")
}

func parseModels(data []byte, file string) (layer, error) {
	l := layer{file: file, models: map[string]modelEntry{}}
	var top struct {
		Models map[string]json.RawMessage `json:"models"`
	}
	if err := strictJSON(data, &top); err != nil {
		return l, fmt.Errorf("%s: %w", file, err)
	}
	if top.Models == nil {
		return l, fmt.Errorf("%s: models is missing: it maps a key to an object with model_path, architecture and gpus", file)
	}
	for _, key := range slices.Sorted(maps.Keys(top.Models)) {
		var e modelEntry
		if err := strictJSON(top.Models[key], &e); err != nil {
			return l, fmt.Errorf("%s: models.%s: %w", file, key, err)
		}
		if field, err := e.check(); err != nil {
			return l, fmt.Errorf("%s: models.%s%s: %w", file, key, field, err)
		}
		e.numbers = file + "'s numbers for " + key
		if strings.HasPrefix(e.ModelPath, "./") || strings.HasPrefix(e.ModelPath, "../") {
			e.ModelPath = filepath.Join(filepath.Dir(file), e.ModelPath) // written there, so meant from there
		}
		l.models[key] = e
	}
	return l, nil
}

// strictJSON decodes one JSON value and refuses fields that out does not have, and what follows the value.
func strictJSON(data []byte, out any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(out)
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n")), err)
	case errors.As(err, &wrong) && wrong.Field != "":
		return fmt.Errorf("%s is a %s, must be %s", wrong.Field, wrong.Value, kindOf(wrong.Type.String()))
	case err != nil:
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if dec.More() {
		return errors.New("there is something after the closing brace")
	}
	return nil
}

func kindOf(goType string) string {
	switch {
	case goType == "int":
		return "a whole number"
	case goType == "string":
		return "a string"
	case goType == "[]string":
		return "a list of strings"
	}
	return "an object"
}

var (
	gpuName  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	flagForm = regexp.MustCompile(`^--[a-z0-9][a-z0-9_-]*(?:[ =].+)?$`)
)

// fieldFlags are the server's flags for which an entry has a field.
var fieldFlags = map[string]string{
	"--tp": "tp", "--tp-size": "tp", "--tensor-parallel-size": "tp", "--ep": "ep", "--ep-size": "ep", "--expert-parallel-size": "ep",
	"--page-size": "page_size", "--model": "model_path", "--model-path": "model_path",
}

// check returns the first field with an invalid value, as the path below the entry.
func (e *modelEntry) check() (field string, err error) {
	if e.Config != nil {
		if _, err := modelconfig.Parse(e.Config, ""); err != nil {
			return ".config", err
		}
		var from struct {
			Source any `json:"source"` // where the numbers were read, for a person
		}
		if err := json.Unmarshal(e.Config, &from); err != nil {
			return ".config", err
		}
		if _, text := from.Source.(string); from.Source != nil && !text {
			return ".config.source", fmt.Errorf("is %v, must be a string", from.Source)
		}
	}
	for _, gpu := range slices.Sorted(maps.Keys(e.GPUs)) {
		at := ".gpus." + gpu
		if !gpuName.MatchString(gpu) {
			return at, errors.New("a GPU type is written in lower case, such as h200, or default")
		}
		g := e.GPUs[gpu]
		for _, f := range []struct {
			name  string
			value int
		}{{"tp", g.TP}, {"ep", g.EP}, {"page_size", g.PageSize}} {
			if f.value < 0 {
				return at + "." + f.name, fmt.Errorf("is %d, must not be negative", f.value)
			}
		}
		for i, flag := range g.Flags {
			name := flag[:len(flag)-len(strings.TrimLeft(flag, "abcdefghijklmnopqrstuvwxyz0123456789_-"))]
			switch own := fieldFlags[name]; {
			case !flagForm.MatchString(flag):
				return fmt.Sprintf("%s.flags[%d]", at, i), fmt.Errorf("is %q, must be \"--flag\" or \"--flag value\"", flag)
			case own != "":
				return fmt.Sprintf("%s.flags[%d]", at, i), fmt.Errorf("is %q; use the field %s", flag, own)
			}
		}
	}
	return "", nil
}

// Keys returns every key, sorted.
func (c *Catalogue) Keys() []string {
	all := map[string]bool{}
	for _, l := range c.layers {
		for key := range l.models {
			all[key] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// GPUTypes gives every GPU type that an entry names, sorted.
func (c *Catalogue) GPUTypes() []string {
	all := map[string]bool{}
	for _, l := range c.layers {
		for _, e := range l.models {
			for gpu := range e.GPUs {
				if gpu != defaultGPU {
					all[gpu] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// Files names what the catalogue was read from.
func (c *Catalogue) Files() string {
	var list []string
	for _, l := range c.layers {
		list = append(list, l.file)
	}
	return strings.Join(list, " and ")
}

// Model returns what holds for key on a GPU type; "" and types without an entry of their own get "default". The error is a
// *proto.Failure.
func (c *Catalogue) Model(key, gpuType string) (Model, error) {
	e, err := c.entry(key, len(c.layers)-1, nil)
	if err != nil {
		fail := proto.Failf(proto.CodeBadCollection, "--model-key: %v", err)
		if near := nearest(key, c.Keys(), 3); len(near) > 0 {
			return Model{}, fail.WithHint("did you mean %s?", strings.Join(near, ", "))
		}
		return Model{}, fail.WithHint("its keys are %s; add yours to a file of your own, and name it with --model-catalogue", strings.Join(c.Keys(), ", "))
	}
	g := e.GPUs[defaultGPU]
	if own, ok := e.GPUs[gpuType]; ok {
		g = g.over(own)
	}
	return Model{Path: e.ModelPath, Architecture: e.Architecture, TP: g.TP, EP: g.EP, PageSize: g.PageSize, Flags: g.Flags}, nil
}

// config returns the configuration of a key, or without a key that of the first key, by name, of the same model path, and where it
// is from; nil: the catalogue has none.
func (c *Catalogue) config(key, path string) (numbers string, config json.RawMessage) {
	keys := []string{key}
	if key == "" {
		keys = c.Keys()
	}
	for _, k := range keys {
		e, err := c.entry(k, len(c.layers)-1, nil)
		if err == nil && e.Config != nil && (key != "" || path != "" && e.ModelPath == path) {
			return e.numbers, e.Config
		}
	}
	return "", nil
}

// entry returns the entry of key merged over the entries that it is like, from the top layer down. via holds the keys on the way.
func (c *Catalogue) entry(key string, top int, via []string) (modelEntry, error) {
	for i := top; i >= 0; i-- {
		e, ok := c.layers[i].models[key]
		if !ok {
			continue
		}
		if e.Like == "" {
			return e, nil
		}
		from, below := e.Like, i // a file below does not know those above
		if from == key {
			below = i - 1
		}
		step := fmt.Sprintf("%d %s", i, key)
		if slices.Contains(via, step) {
			return e, fmt.Errorf("%s: models.%s.like: it leads back to itself", c.layers[i].file, key)
		}
		base, err := c.entry(from, below, append(slices.Clone(via), step))
		if err != nil {
			if errors.Is(err, errNoModel) {
				err = fmt.Errorf("%s: models.%s.like is %q, and there is no such key", c.layers[i].file, key, from)
			}
			return e, err
		}
		return base.over(e), nil
	}
	return modelEntry{}, fmt.Errorf("%q %w in %s", key, errNoModel, c.Files())
}

var errNoModel = errors.New("is no model's key")

// over returns e with the fields that more sets in place of its own.
func (e modelEntry) over(more modelEntry) modelEntry {
	out := modelEntry{ModelPath: e.ModelPath, Architecture: e.Architecture, Config: e.Config, numbers: e.numbers, GPUs: maps.Clone(e.GPUs)}
	if more.Config != nil {
		out.Config, out.numbers = more.Config, more.numbers
	}
	if more.ModelPath != "" {
		out.ModelPath = more.ModelPath
	}
	if more.Architecture != "" {
		out.Architecture = more.Architecture
	}
	for gpu, g := range more.GPUs {
		if out.GPUs == nil {
			out.GPUs = map[string]gpuEntry{}
		}
		out.GPUs[gpu] = out.GPUs[gpu].over(g)
	}
	return out
}

func (g gpuEntry) over(more gpuEntry) gpuEntry {
	for _, f := range []struct {
		into *int
		from int
	}{{&g.TP, more.TP}, {&g.EP, more.EP}, {&g.PageSize, more.PageSize}} {
		if f.from != 0 {
			*f.into = f.from
		}
	}
	if more.Flags != nil {
		g.Flags = more.Flags
	}
	return g
}
