package reach

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/binding"
	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// types compares element types, and collects the flags that they need.
func (c *attempt) types() (b bound) {
	var differs []string
	model := "" // the one type that all inputs which follow the model must have
	for _, in := range c.inputs {
		if in.from == nil {
			continue
		}
		number := slices.Contains(scalars, in.what)
		switch {
		case in.what == passedOther || in.what == passedNumber:
			continue
		case in.spec.Scalar() != number:
			differs = append(differs, fmt.Sprintf("%s as a %s", in.param, map[bool]string{true: "number, not a tensor", false: "tensor, not a number"}[number]))
			continue
		case number:
			if want := scalarOf(in.spec); in.what != want && !(want == "float" && in.what == "int") {
				differs = append(differs, fmt.Sprintf("%s as %s, not %s", in.param, in.what, want))
			}
			continue
		}
		follows, flag, ok := resolve(in.what, in.spec.DType)
		if !ok {
			differs = append(differs, fmt.Sprintf("%s as %s, not %s", in.param, describe(in.what), in.spec.DType))
			continue
		}
		if modelled := follows == passedModel || follows == passedKV && flag == "" && slices.Contains(modelTypes, in.spec.DType); modelled {
			if model != "" && model != in.spec.DType {
				differs = append(differs, fmt.Sprintf("%s as %s, which is %s for other inputs and not %s", in.param, describe(in.what), model, in.spec.DType))
				continue
			}
			model = in.spec.DType
		}
		if flag != "" && !slices.Contains(b.requires, flag) {
			b.requires = append(b.requires, flag)
		}
	}
	if len(differs) > 0 {
		return bound{why: "passes " + strings.Join(differs, "; ")}
	}
	if flag := contradiction(b.requires); flag != "" {
		return bound{why: "has one value of " + flag + " for inputs that have different element types"}
	}
	return b
}

func scalarOf(spec fitrace.TensorSpec) string {
	switch {
	case spec.DType == "bool":
		return "bool"
	case spec.Integer():
		return "int"
	}
	return "float"
}

// modelTypes are the element types that a model can have under FlashInfer's kernels.
var modelTypes = []string{"bfloat16", "float16"}

// flagValues are the flags that set an element type, with their value for each.
var flagValues = map[string]struct {
	flag   string
	values map[string]string
}{
	passedKV:  {"--kv-cache-dtype", map[string]string{"bfloat16": "bfloat16", "float8_e4m3fn": "fp8_e4m3", "float8_e5m2": "fp8_e5m2"}},
	passedSSM: {"--mamba-ssm-dtype", map[string]string{"bfloat16": "bfloat16", "float16": "float16", "float32": "float32"}},
}

// resolve reports whether an argument can have an element type: what that follows, and the flag that it needs, if any.
func resolve(what, dtype string) (follows, flag string, ok bool) {
	for one := range strings.SplitSeq(what, "|") {
		kind, standard, _ := strings.Cut(one, "=")
		if kind == passedKV && standard == "" {
			standard = passedModel // a KV cache has the model's type unless a flag or the checkpoint sets another
		}
		set, settable := flagValues[kind]
		value := set.values[dtype]
		switch {
		case kind == passedModel && slices.Contains(modelTypes, dtype):
			return passedModel, "", true
		case !settable:
			if kind == dtype || binding.Packed(dtype, kind) {
				return "", "", true
			}
		case standard == dtype || standard == passedModel && slices.Contains(modelTypes, dtype):
			return kind, "", true
		case value != "":
			return kind, set.flag + " " + value, true
		}
	}
	return "", "", false
}

// describe names what is passed, for a person.
func describe(what string) string {
	names := map[string]string{passedModel: "the model's type", passedKV: "the KV cache's type", passedSSM: "the state's type"}
	var list []string
	for one := range strings.SplitSeq(what, "|") {
		kind, _, _ := strings.Cut(one, "=")
		if n := names[kind]; n != "" {
			kind = n
		}
		list = append(list, kind)
	}
	return strings.Join(list, " or ")
}

// contradiction returns a flag that a list has with two values, or nothing.
func contradiction(flags []string) string {
	values := map[string]string{}
	for _, f := range flags {
		flag, value, _ := strings.Cut(f, " ")
		if before, seen := values[flag]; seen && before != value {
			return flag
		}
		values[flag] = value
	}
	return ""
}
