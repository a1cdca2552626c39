package cli

import (
	"regexp"
	"slices"
	"strings"
)

// ExpandLists rewrites the values of list flags, which the scripts this tool replaces took as "--batch-sizes 64 128", into
// the one-argument form "--batch-sizes=64,128" that flag parsers know. A list ends at the next argument that begins with
// "-", or at a bare "--"; values that already hold commas stay as they are. lists names the flags, without dashes.
func ExpandLists(args []string, lists ...string) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...)
		}
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "--") || !slices.Contains(lists, name) {
			out = append(out, arg)
			continue
		}
		var values []string
		if joined {
			values = append(values, value)
		}
		for i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++
			values = append(values, args[i])
		}
		if len(values) == 0 {
			out = append(out, arg) // the parser says what is missing
			continue
		}
		out = append(out, "--"+name+"="+strings.Join(values, ","))
	}
	return out
}

// withValue matches a flag that is followed by its value in the same argument.
var withValue = regexp.MustCompile(`^--[A-Za-z0-9-]+\s`)

// ExpandPassed rewrites the values of flags that are passed on to another program, such as "--extra-server-flag --page-size 64",
// into one "--extra-server-flag=…" a value. The first value may begin with "-", and so may one that holds a flag and its value in
// one argument ("--page-size 64"), which no flag of our own does; any with its comma stays whole. A bare "--" ends the rewriting.
func ExpandPassed(args []string, flags ...string) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		name, dashed := strings.CutPrefix(args[i], "--")
		switch {
		case args[i] == "--":
			return append(out, args[i:]...)
		case !dashed || !slices.Contains(flags, name) || i+1 == len(args):
			out = append(out, args[i])
			continue
		}
		for first := true; i+1 < len(args) && (first || !strings.HasPrefix(args[i+1], "-") || withValue.MatchString(args[i+1])); first = false {
			i++
			out = append(out, "--"+name+"="+args[i])
		}
	}
	return out
}
