package judge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// object reads the members of a JSON object by the rules of flashinfer-bench's models: names are exact, unknown ones are passed over,
// and a member with a default may be missing but not null. The first fault sticks.
type object struct {
	at     string // "spec.": what its members' names are put behind
	fields map[string]json.RawMessage
	err    *error
}

// parseObject reads a JSON text that is one object.
func parseObject(data []byte) object {
	o := object{err: new(error)}
	if err := text(data); err != nil {
		*o.err = err
		return o
	}
	if err := json.Unmarshal(data, &o.fields); err != nil {
		*o.err = fmt.Errorf("not a JSON object: %w", err)
	} else if o.fields == nil {
		*o.err = fmt.Errorf("not a JSON object: null")
	}
	return o
}

func (o object) fail(name, format string, args ...any) {
	if *o.err == nil {
		*o.err = fmt.Errorf("%s%s %s", o.at, name, fmt.Sprintf(format, args...))
	}
}

// need gives a member, and fails where it is missing.
func (o object) need(name string) json.RawMessage {
	raw, ok := o.fields[name]
	if !ok {
		o.fail(name, "is missing")
	}
	return raw
}

func null(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// has reports whether there is a member that is not null, for those that may be null.
func (o object) has(name string) bool {
	raw, ok := o.fields[name]
	return ok && !null(raw)
}

func (o object) decode(name string, raw json.RawMessage, into any, what string) bool {
	if *o.err != nil {
		return false
	}
	if null(raw) || json.Unmarshal(raw, into) != nil {
		o.fail(name, "is %s, must be %s", brief(raw), what)
		return false
	}
	return true
}

// name gives a string that must be there and not be empty.
func (o object) name(key string) string {
	var v string
	if o.decode(key, o.need(key), &v, "a string") && v == "" {
		o.fail(key, "is empty")
	}
	return v
}

// optional gives a string that may be missing or null.
func (o object) optional(key string) (v string) {
	if o.has(key) {
		o.decode(key, o.fields[key], &v, "a string")
	}
	return v
}

// one gives a string that must be one of these.
func (o object) one(key string, of []string) string {
	v := o.name(key)
	if !slices.Contains(of, v) {
		o.fail(key, "is %q, must be one of %s", v, strings.Join(of, ", "))
	}
	return v
}

// object gives a member that is an object itself.
func (o object) object(key string) object {
	inner := object{at: o.at + key + ".", err: o.err}
	o.decode(key, o.need(key), &inner.fields, "an object")
	return inner
}

// strings gives a list of strings; least is how many there must be.
func (o object) strings(key string, raw json.RawMessage, least int, empty bool) {
	var list []*string
	if !o.decode(key, raw, &list, "a list of strings") {
		return
	}
	if len(list) < least {
		o.fail(key, "has %d elements, must have at least %d", len(list), least)
	}
	for i, s := range list {
		if s == nil || *s == "" && !empty {
			o.fail(fmt.Sprintf("%s[%d]", key, i), "must be a string that is not empty")
		}
	}
}

// number gives a float, 0 where it is missing. NaN and the infinities are strings in JSON.
func (o object) number(key string) float64 {
	raw, ok := o.fields[key]
	if !ok || *o.err != nil {
		return 0
	}
	var quoted string
	number := string(bytes.TrimSpace(raw))
	if json.Unmarshal(raw, &quoted) == nil {
		number = strings.TrimSpace(quoted)
	}
	v, err := strconv.ParseFloat(number, 64)
	if null(raw) || err != nil && !math.IsInf(v, 0) {
		o.fail(key, "is %s, must be a number", brief(raw))
	}
	return v
}

// brief keeps a quoted value from filling the message.
func brief(raw []byte) string {
	if len(raw) > 60 {
		return string(raw[:60]) + "…"
	}
	return string(raw)
}
