package fidump

import (
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/jsonscan"
)

// Kind is the type of a logged argument.
type Kind uint8

// The kinds of values the logger writes.
const (
	KindNone   Kind = iota
	KindBool        // Bool
	KindInt         // Int
	KindBigInt      // Text: decimal digits of an integer beyond 64 bits
	KindFloat       // Float, which may be NaN or infinite
	KindString      // Text
	KindDType       // Text: torch's name without "torch."
	KindEnum        // Text: "Class.MEMBER"; Items[0]: its value
	KindDevice      // Text: "cuda:0"
	KindTensor      // Tensor
	KindTuple       // Items, Length, Truncated; also of a named tuple or a subclass of list, whose Type differs
	KindList        // the same
	KindDict        // Items: the values, each with MapKey
	KindObject      // Type and Text: the repr; the logger wrote no more of it
)

// Value is one argument, or a member of one.
type Value struct {
	Key       string // arg_1, kwarg_q, arg_2__0, kwarg_x__value_1
	Kind      Kind
	Bool      bool
	Int       int64
	Float     float64
	Text      string
	Type      string // the Python class, of objects and containers
	Items     []Value
	Length    int  // of containers: members there were, of which Items may hold fewer
	Truncated bool // the logger left members out
	MapKey    *Value
	Tensor    *Tensor
	Data      []byte // bytes of a tensor to write; reading leaves it nil, see Inputs
}

// Walk calls fn for v and its members, parents first. Values that dict keys hold are not members.
func (v *Value) Walk(fn func(*Value)) {
	fn(v)
	for i := range v.Items {
		v.Items[i].Walk(fn)
	}
}

// Container reports whether v has members and no value of its own.
func (v *Value) Container() bool {
	return v.Kind == KindTuple || v.Kind == KindList || v.Kind == KindDict
}

// parseValue takes the next value of sc as the argument key.
func parseValue(sc *jsonscan.Scanner, key string) Value {
	v := Value{Key: key}
	switch sc.Peek() {
	case jsonscan.Null:
		sc.Null()
	case jsonscan.Bool:
		v.Kind, v.Bool = KindBool, sc.Bool()
	case jsonscan.Number:
		v.setNumber(sc.Num())
	case jsonscan.String:
		v.Kind, v.Text = KindString, sc.Str()
	case jsonscan.Array: // not written by any release known; taken as a list
		v.Kind, v.Type = KindList, "list"
		v.Items = parseItems(sc, key)
		v.Length = len(v.Items)
	default:
		parseTyped(sc, &v)
	}
	return v
}

// setNumber keeps int and float apart by their literals, as Python's json does.
func (v *Value) setNumber(text string) {
	if strings.ContainsAny(text, ".eENI") {
		v.Kind = KindFloat
		v.Float, _ = strconv.ParseFloat(text, 64) // out of range gives an infinity, as Python reads it
		return
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		v.Kind, v.Text = KindBigInt, text
		return
	}
	v.Kind, v.Int = KindInt, n
}

// parseTyped takes an object with a "type", which is how the logger writes all that JSON has no form for.
func parseTyped(sc *jsonscan.Scanner, v *Value) {
	var name, repr, value string
	var enumValue *Value
	var items []Value
	var t Tensor
	var sizes []int64
	sc.BeginObject()
	for {
		field, ok := sc.NextKey()
		if !ok {
			break
		}
		switch field {
		case "type":
			v.Type = text(sc)
		case "repr":
			repr = text(sc)
		case "name":
			name = text(sc)
		case "value":
			if sc.Peek() == jsonscan.String {
				value = sc.Str()
				enumValue = &Value{Key: v.Key, Kind: KindString, Text: value}
				continue
			}
			e := parseValue(sc, v.Key)
			enumValue = &e
		case "length":
			v.Length = int(integer(sc))
		case "truncated":
			v.Truncated = flag(sc)
		case "items":
			if sc.Peek() != jsonscan.Array {
				sc.Skip()
				continue
			}
			items = parseItems(sc, v.Key)
		case "tensor_key":
			t.Key = text(sc)
		default:
			if !t.detail(sc, field, &sizes) {
				sc.Skip()
			}
		}
	}
	switch {
	case v.Type == "torch.Tensor":
		own := t // escapes here only, not for each object
		v.Kind, v.Tensor = KindTensor, &own
	case v.Type == "torch.dtype":
		v.Kind, v.Text = KindDType, strings.TrimPrefix(value, "torch.")
	case v.Type == "enum":
		v.Kind, v.Text = KindEnum, name
		if enumValue != nil {
			v.Items = []Value{*enumValue}
		}
	case v.Type == "device":
		v.Kind, v.Text = KindDevice, repr
	case v.Type == "dict":
		v.Kind, v.Items = KindDict, items
	case v.Type == "list":
		v.Kind, v.Items = KindList, items
	case v.Type == "tuple" || items != nil || v.Truncated:
		v.Kind, v.Items = KindTuple, items
	default:
		v.Kind, v.Text = KindObject, repr
	}
}

// parseItems takes the members of a container: values of a sequence, or {"key", "value"} pairs of a dict.
func parseItems(sc *jsonscan.Scanner, key string) []Value {
	items := []Value{}
	for sc.BeginArray(); sc.NextItem(); {
		i := strconv.Itoa(len(items))
		if sc.Peek() == jsonscan.Object {
			items = append(items, parseItemObject(sc, key, i))
		} else {
			items = append(items, parseValue(sc, key+"__"+i))
		}
	}
	return items
}

// parseItemObject tells a dict's pair from a sequence's member by its first field: the logger writes "key" first in a pair
// and "type" first in all else.
func parseItemObject(sc *jsonscan.Scanner, key, i string) Value {
	ahead := *sc
	ahead.BeginObject()
	if first, _ := ahead.NextKey(); first != "key" {
		return parseValue(sc, key+"__"+i)
	}
	v := Value{Key: key + "__value_" + i}
	sc.BeginObject()
	for {
		field, ok := sc.NextKey()
		if !ok {
			return v
		}
		switch field {
		case "key":
			k := parseValue(sc, key+"__key_"+i)
			v.MapKey = &k
		case "value":
			k := v.MapKey
			v = parseValue(sc, key+"__value_"+i)
			v.MapKey = k
		default:
			sc.Skip()
		}
	}
}

// The logger's own fields have one type each; another type is skipped and leaves the zero value, so that a release which
// changes a field that nobody here needs costs nothing. Fields that are needed are checked by Record.check.

func text(sc *jsonscan.Scanner) string {
	if sc.Peek() != jsonscan.String {
		sc.Skip()
		return ""
	}
	return sc.Str()
}

func flag(sc *jsonscan.Scanner) bool {
	if sc.Peek() != jsonscan.Bool {
		sc.Skip()
		return false
	}
	return sc.Bool()
}

func integer(sc *jsonscan.Scanner) int64 {
	if sc.Peek() != jsonscan.Number {
		sc.Skip()
		return 0
	}
	n, err := strconv.ParseInt(sc.Num(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
