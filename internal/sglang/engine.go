package sglang

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// engine gives settings as typed keyword arguments of the release's Engine, sorted by name. Keywords are not the flags: some
// flags set a keyword of another name, some have none.
func (t *Table) engine(list []*setting) ([]Keyword, error) {
	var keywords []Keyword
	for _, s := range list {
		if s.option.Field == "" {
			return nil, s.origin.mark(t.refuse(s.name, "is the command line's alone: this task drives the Engine, which has no keyword for it", ""))
		}
		v, err := s.value()
		if err != nil {
			return nil, s.origin.mark(t.refuse(s.name, err.Error(), ""))
		}
		keywords = append(keywords, Keyword{Name: s.option.Field, Value: v})
	}
	slices.SortFunc(keywords, func(a, b Keyword) int { return strings.Compare(a.Name, b.Name) })
	return keywords, t.CheckKeywords(keywords)
}

// value gives a setting as Python gets it from the parser.
func (s *setting) value() (any, error) {
	switch s.option.Arity {
	case "0":
		switch {
		case s.negated:
			return false, nil
		case s.option.Value != nil:
			return s.option.Value, nil
		}
		return true, nil
	case "1", "?":
		if len(s.values) == 0 {
			return nil, fmt.Errorf("needs a value where the Engine is driven")
		}
		return s.option.convert(s.values[0])
	}
	list := make([]any, len(s.values))
	for i, v := range s.values {
		var err error
		if list[i], err = s.option.convert(v); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// CheckKeywords says which keyword the release's Engine does not take, or not with a value of that type: an unknown one would
// be a TypeError there. The error is a *FlagError.
func (t *Table) CheckKeywords(keywords []Keyword) error {
	for _, k := range keywords {
		kind, known := t.Keywords[k.Name]
		if !known {
			return t.refuse(k.Name+"=", "is not a keyword of this release's Engine", "")
		}
		if !fits(kind, k.Value) {
			text, err := json.Marshal(k.Value)
			if err != nil {
				text = []byte(err.Error())
			}
			return t.refuse(k.Name+"=", fmt.Sprintf("is a %s of this release's Engine, not %s", kind, text), "")
		}
	}
	return nil
}

// fits reports whether a value is one of a keyword's types, "dict|str" being either. Types this package does not know take
// anything: SGLang converts them itself.
func fits(kind string, v any) bool {
	for _, k := range strings.Split(kind, "|") {
		element, isList := strings.CutPrefix(strings.TrimSuffix(k, "]"), "list[")
		list, given := v.([]any)
		switch {
		case isList && given:
			if !slices.ContainsFunc(list, func(e any) bool { return !fits(element, e) }) {
				return true
			}
		case isList:
		case scalarFits(k, v):
			return true
		}
	}
	return false
}

func scalarFits(kind string, v any) bool {
	switch kind {
	case "bool":
		_, ok := v.(bool)
		return ok
	case "int":
		_, ok := v.(int64)
		return ok
	case "float":
		_, ok := v.(float64)
		_, whole := v.(int64)
		return ok || whole
	case "str":
		_, ok := v.(string)
		return ok
	case "dict", "CudaGraphConfig":
		_, ok := v.(map[string]any)
		return ok
	}
	return true
}
