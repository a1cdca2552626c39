package sglang

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Option is one option of a release's command line.
type Option struct {
	Names      []string // spellings, its own name first: "--tp-size", "--tensor-parallel-size"
	Field      string   // Engine keyword that it sets; empty: only the command line has it
	Arity      string   // values it takes: "0", "1", "?" (none or one), "*" (any number), "+" (at least one)
	Type       string   // str, int, float, json, or the name of SGLang's own converter
	Value      any      // what an option of arity 0 sets; nil: true
	Choices    []string // the only values it takes; empty: any
	Negatable  bool     // takes --no-… too, as its second name
	Required   bool
	Deprecated bool
	Use        string // what the release names in its place, where it is deprecated or refused: "--flag", "--flag=value" or words
	Refused    bool   // known to the parser only to be refused
}

// Name is the option's own name.
func (o *Option) Name() string { return o.Names[0] }

// check says what is wrong with values for the option, as its parser would, or "".
func (o *Option) check(values []string) string {
	switch n := len(values); {
	case o.Arity == "0" && n > 0:
		return fmt.Sprintf("takes no value, not %q", strings.Join(values, " "))
	case o.Arity == "1" && n != 1:
		return fmt.Sprintf("takes one value, not %d", n)
	case o.Arity == "?" && n > 1:
		return fmt.Sprintf("takes at most one value, not %d", n)
	case o.Arity == "+" && n == 0:
		return "takes at least one value"
	}
	for _, v := range values {
		if _, err := o.convert(v); err != nil {
			return err.Error()
		}
		if len(o.Choices) > 0 && !slices.Contains(o.Choices, v) {
			return fmt.Sprintf("does not take %q, only %s", v, strings.Join(o.Choices, ", "))
		}
	}
	return ""
}

// suffixed is what SGLang's human_readable_int takes besides plain integers.
var suffixed = regexp.MustCompile(`^(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T)$`)

var multiples = map[string]float64{"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}

// convert gives a value of the option as the Engine takes it: int64, float64, string, or what JSON holds.
func (o *Option) convert(v string) (any, error) {
	switch o.Type {
	case "int":
		return integer(v)
	case "human_readable_int":
		m := suffixed.FindStringSubmatch(v)
		if m == nil {
			return integer(v)
		}
		if strings.Contains(m[1], ".") && strings.HasSuffix(m[2], "i") {
			return nil, fmt.Errorf("takes no fraction before %s, as in %q", m[2], v)
		}
		f, err := strconv.ParseFloat(m[1], 64)
		if f *= multiples[m[2]]; err != nil || f > math.MaxInt64/2 {
			return nil, fmt.Errorf("takes an integer, not %q", v)
		}
		return int64(f), nil
	case "float":
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil {
			return nil, fmt.Errorf("takes a number, not %q", v)
		}
		return f, nil
	case "json", "json_list_type", "parse_cuda_graph_config_arg":
		var doc any
		if err := json.Unmarshal([]byte(v), &doc); err != nil {
			return nil, fmt.Errorf("takes JSON, not %q: %w", v, err)
		}
		if _, isObject := doc.(map[string]any); o.Type == "parse_cuda_graph_config_arg" && !isObject {
			return nil, fmt.Errorf("takes a JSON object, not %q", v)
		}
		return doc, nil
	}
	return v, nil
}

func integer(v string) (any, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("takes an integer, not %q", v)
	}
	return n, nil
}
