package sglang

import "strings"

// CheckArgs holds arguments, as they would stand behind "-m sglang.launch_server", against what the release's parser takes:
// whole names only, where argparse takes prefixes too. What is deprecated passes. The error is a *FlagError.
func (t *Table) CheckArgs(args []string) error {
	present := map[*Option]bool{}
	for len(args) > 0 {
		name, value, joined := strings.Cut(args[0], "=")
		o := t.Option(name)
		switch {
		case !dashed(name):
			return t.refuse(args[0], "is a value without a flag before it", "")
		case o == nil:
			return t.refuse(name, t.unknown(name), t.instead(name))
		case o.Refused:
			return t.refuse(name, "is no longer supported", o.Use)
		}
		var values []string
		if joined {
			values = []string{value}
		}
		for args = args[1:]; len(args) > 0 && !joined && o.wants(len(values)) && !dashed(args[0]); args = args[1:] {
			values = append(values, args[0])
		}
		if err := t.checkSetting(&setting{option: o, name: name, values: values}); err != nil {
			return err
		}
		present[o] = true
	}
	for _, o := range t.Options {
		if o.Required && !present[o] {
			return t.refuse(o.Name(), "is missing", "")
		}
	}
	return nil
}

// wants reports whether an option that has n values takes another one.
func (o *Option) wants(n int) bool {
	switch o.Arity {
	case "0":
		return false
	case "1", "?":
		return n == 0
	}
	return true
}
