package reach

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

//go:embed calls.json
var callsJSON []byte

// callTable is calls.json; its note explains the fields.
type callTable struct {
	Note  []string    `json:"note"`
	Calls []*callSite `json:"calls"`

	sites map[fitrace.API][]*callSite
}

// callSite is what one call of SGLang passes to FlashInfer, in a range of releases.
type callSite struct {
	API        string     `json:"api"`
	Method     string     `json:"method"` // of a wrapper: plan or run
	Through    string     `json:"through"`
	From       string     `json:"from"`
	Before     string     `json:"before"`
	Stage      string     `json:"stage"`
	OpTypes    []string   `json:"op_types"`
	GPUs       []string   `json:"gpus"`
	Words      []string   `json:"words"`
	Why        string     `json:"why"`
	NoneRead   bool       `json:"none_read"`
	Site       site       `json:"site"`
	Positional []string   `json:"positional"`
	Optional   []string   `json:"optional"`
	Passes     passes     `json:"passes"`
	Read       []evidence `json:"read"`

	span span
	gpus []int
}

// site is where the call is in the source.
type site struct {
	Package string `json:"package"`
	File    string `json:"file"`
	Call    string `json:"call"`
	In      string `json:"in"`
	Nth     int    `json:"nth"`
}

// evidence is a file, of whose texts one is there. An element type was read from it.
type evidence struct {
	Package string   `json:"package"`
	File    string   `json:"file"`
	Texts   []string `json:"texts"`
}

// passed is one argument of a call: the parameter and what is passed for it.
type passed struct{ param, what string }

// passes are the arguments of a call, in the order of the file.
type passes []passed

// UnmarshalJSON implements json.Unmarshaler. It keeps the order of the object.
func (p *passes) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return errors.New("passes is not an object")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var what string
		if err := dec.Decode(&what); err != nil {
			return fmt.Errorf("passes %v: %w", name, err)
		}
		*p = append(*p, passed{fmt.Sprint(name), what})
	}
	return nil
}

// find returns what is passed for a parameter; empty where it is absent or None.
func (p passes) find(param string) string {
	for _, a := range p {
		if a.param == param && a.what != passedNone {
			return a.what
		}
	}
	return ""
}

// What an argument can be beside element types, pairs (a+b) and alternatives (a|b).
const (
	passedNone   = "none"
	passedOther  = "other"
	passedNumber = "number"
	passedModel  = "model"
	passedKV     = "kv"
	passedSSM    = "ssm"
)

// scalars are what Python numbers are called in calls.json.
var scalars = []string{"int", "float", "bool"}

func parseCalls(data []byte) (*callTable, error) {
	t := &callTable{sites: map[fitrace.API][]*callSite{}}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(t); err != nil {
		return nil, fmt.Errorf("calls.json: %w", err)
	}
	for i, c := range t.Calls {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("calls.json: calls[%d] %s: %w", i, c.API, err)
		}
		api := fitrace.ParseAPI(c.API)
		t.sites[api] = append(t.sites[api], c)
	}
	return t, nil
}

func (c *callSite) check() (err error) {
	if c.span, err = parseSpan(c.From, c.Before); err != nil {
		return err
	}
	if c.gpus, err = parseGPUs(c.GPUs); err != nil {
		return err
	}
	planned := fitrace.ParseAPI(c.API).Planned()
	switch {
	case planned != (c.Method == "plan" || c.Method == "run"):
		return fmt.Errorf("method %q: a wrapper has plan and run, a function has none", c.Method)
	case c.Site.File == "" || c.Site.Call == "" || c.Site.Package == "":
		return errors.New("site must have package, file and call")
	case len(c.Passes) == 0:
		return errors.New("passes is empty")
	case len(c.Words) > 0 && c.Why == "":
		return errors.New("words without why")
	}
	for _, a := range c.Passes {
		for what := range strings.FieldsFuncSeq(a.what, func(r rune) bool { return r == '|' || r == '+' }) {
			if err := checkPassed(what); err != nil {
				return fmt.Errorf("passes %s: %w", a.param, err)
			}
		}
	}
	for _, name := range slices.Concat(c.Positional, c.Optional) {
		if !slices.ContainsFunc(c.Passes, func(a passed) bool { return a.param == name }) {
			return fmt.Errorf("%s is positional or optional, and not in passes", name)
		}
	}
	return nil
}

// checkPassed reports whether a word of calls.json has a meaning.
func checkPassed(what string) error {
	kind, dtype, given := strings.Cut(what, "=")
	switch {
	case given && kind == passedKV && slices.Contains(elementTypes, dtype):
		return nil
	case !given && slices.Contains(slices.Concat(scalars, elementTypes, []string{passedNone, passedOther, passedNumber, passedModel, passedKV, passedSSM}), what):
		return nil
	}
	return fmt.Errorf("%q is not something that can be passed", what)
}

// elementTypes are those of a definition, and uint8, in which 4-bit floats are packed.
var elementTypes = append([]string{"uint8"}, fitrace.DTypes...)

// of returns the call sites of one method that a definition would be called at. An entry for some definitions only comes before
// one for all.
func (t *callTable) of(api fitrace.API, method string, d *fitrace.Definition, number release, capability int) []*callSite {
	var special, general []*callSite
	for _, c := range t.sites[api] {
		if c.Method != method || !c.span.holds(number) || !c.fits(d) || !onGPUs(c.gpus, capability) {
			continue
		}
		if len(c.Words)+len(c.OpTypes) > 0 {
			special = append(special, c)
		} else {
			general = append(general, c)
		}
	}
	if len(special) > 0 {
		return special
	}
	return general
}

func (c *callSite) fits(d *fitrace.Definition) bool {
	if stage := Stage(d); c.Stage != "" && stage != "" && stage != c.Stage {
		return false
	}
	if len(c.OpTypes) > 0 && !slices.Contains(c.OpTypes, d.OpType) {
		return false
	}
	named := strings.Split(d.Name, "_")
	return !slices.ContainsFunc(c.Words, func(word string) bool { return !slices.Contains(named, word) })
}
