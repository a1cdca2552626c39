package reach

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// covers are flags that stand for two others.
var covers = map[string][]string{
	"--attention-backend":   {"--prefill-attention-backend", "--decode-attention-backend"},
	"--linear-attn-backend": {"--linear-attn-prefill-backend", "--linear-attn-decode-backend"},
}

// Compatible reports whether one server can bear the flags of both: no flag with two values, and none that the other excludes.
// Modes are not compared.
func Compatible(a, b Answer) bool { return conflict(a, b) == "" }

// Contradictions returns which of the definitions cannot share a server, and because of which flag; one line for each pair. Those that
// are not reachable have no flags and contradict nothing.
func Contradictions(defs []*fitrace.Definition, q Query) []string {
	answers := make([]Answer, len(defs))
	for i, d := range defs {
		answers[i] = Ask(d, q)
	}
	var lines []string
	for i := range defs {
		for j := range i {
			if why := conflict(answers[j], answers[i]); why != "" {
				lines = append(lines, fmt.Sprintf("%s and %s can not share a server: %s", defs[j].Name, defs[i].Name, why))
			}
		}
	}
	return lines
}

// conflict returns why a and b cannot share one server, or "".
func conflict(a, b Answer) string {
	sa, sb := settings(a), settings(b)
	for _, x := range sa {
		for _, y := range sb {
			if x.flag == y.flag && x.value != y.value {
				return fmt.Sprintf("%s is %s for %s and %s for %s", x.flag, x.value, a.API, y.value, b.API)
			}
		}
	}
	for _, side := range []struct {
		set      []setting
		sets     Answer
		excludes Answer
	}{{sa, a, b}, {sb, b, a}} {
		for _, no := range side.excludes.Excludes {
			flag, value, _ := strings.Cut(no, " ")
			if slices.ContainsFunc(side.set, func(s setting) bool { return s.flag == flag && (value == "" || s.value == value) }) {
				return fmt.Sprintf("%s is needed for %s, and %s is not called under it", no, side.sets.API, side.excludes.API)
			}
		}
	}
	return ""
}

// Contradiction returns the server flag that keeps the answer's calls from being made, or "". flags are as a user writes
// them: "--flag value", "--flag=value", or a flag and its value apart.
func Contradiction(a Answer, flags []string) string {
	given := settings(Answer{Requires: Pairs(flags)})
	for _, need := range settings(a) {
		for _, has := range given {
			if need.flag == has.flag && need.value != has.value {
				return fmt.Sprintf("it needs %s, and %s is given", need.as, has.as)
			}
		}
	}
	for _, no := range a.Excludes {
		flag, value, _ := strings.Cut(no, " ")
		if slices.ContainsFunc(given, func(s setting) bool { return s.flag == flag && (value == "" || s.value == value) }) {
			return "it is not called with " + no + ", which is given"
		}
	}
	return ""
}

// Value returns the value of one flag among an answer's required flags, or "".
func (a Answer) Value(flag string) string {
	for _, s := range settings(a) {
		if s.flag == flag {
			return s.value
		}
	}
	return ""
}

// Pairs returns flags as "--flag value", however they were split.
func Pairs(flags []string) []string {
	var list []string
	for _, f := range flags {
		switch name, value, joined := strings.Cut(f, "="); {
		case !strings.HasPrefix(f, "-") && len(list) > 0:
			list[len(list)-1] += " " + f
		case joined && !strings.Contains(name, " "):
			list = append(list, name+" "+value)
		default:
			list = append(list, f)
		}
	}
	return list
}

// setting is one flag with its value, empty for a switch, and how it was written.
type setting struct{ flag, value, as string }

func settings(a Answer) []setting {
	var list []setting
	for _, f := range slices.Concat(a.Requires, a.Implied) {
		flag, value, _ := strings.Cut(f, " ")
		if parts, ok := covers[flag]; ok {
			for _, part := range parts {
				list = append(list, setting{part, value, f})
			}
			continue
		}
		list = append(list, setting{flag, value, f})
	}
	return list
}
