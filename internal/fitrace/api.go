package fitrace

import (
	"slices"
	"strconv"
	"strings"
)

// apiTag is the tag that names the FlashInfer function a definition describes, with its module path.
const apiTag = "fi_api:"

// API is a FlashInfer function a definition describes, as far as the logger writes it: the module path is not logged in a
// way that stays the same between releases, so it is left out.
type API struct {
	Class  string // "BatchDecodeWithPagedKVCacheWrapper"; empty: a plain function
	Method string // "run", or the plain function's name
}

// ParseAPI reads what follows "fi_api:". The last component is a function; a class, whose run is meant; or a method, where
// the component before it is a class. Classes are told by their upper-case initial.
func ParseAPI(path string) API {
	parts := strings.Split(strings.Trim(path, ". "), ".")
	last := parts[len(parts)-1]
	switch {
	case upper(last):
		return API{Class: last, Method: "run"}
	case len(parts) > 1 && upper(parts[len(parts)-2]):
		return API{Class: parts[len(parts)-2], Method: last}
	}
	return API{Method: last}
}

// Functions gives the names the logger writes for this API. A ragged wrapper's forward and forward_return_lse are run under
// older names, and in older releases logged under them.
func (a API) Functions() []string {
	if a.Class == "" {
		return []string{a.Method}
	}
	names := []string{a.Class + "." + a.Method}
	if a.Method == "run" && strings.Contains(a.Class, "Ragged") {
		names = append(names, a.Class+".forward", a.Class+".forward_return_lse")
	}
	return names
}

// Matches reports whether a logged function name is this API.
func (a API) Matches(function string) bool { return slices.Contains(a.Functions(), function) }

// String gives the name the logger writes.
func (a API) String() string { return a.Functions()[0] }

// Planned reports whether the API has a plan call, which holds the structure its run works on.
func (a API) Planned() bool { return strings.HasSuffix(a.Class, "Wrapper") }

// APIs gives the functions the definition describes, in the order of its tags.
func (d *Definition) APIs() []API {
	var list []API
	for _, tag := range d.Tags {
		if path, ok := strings.CutPrefix(tag, apiTag); ok {
			if api := ParseAPI(path); !slices.Contains(list, api) {
				list = append(list, api)
			}
		}
	}
	return list
}

// Matches reports whether a logged function name is one of the definition's APIs.
func (d *Definition) Matches(function string) bool {
	return slices.ContainsFunc(d.APIs(), func(a API) bool { return a.Matches(function) })
}

// IncludePatterns returns the FLASHINFER_DUMP_INCLUDE patterns that match every call this definition needs: its APIs, their plan if the
// definition has integer inputs, which only plan is passed, the same of subclasses, and the paged MLA plan if d borrows its softmax
// scale. Sorted; no wildcards.
func IncludePatterns(d *Definition) []string {
	structural := slices.ContainsFunc(d.Inputs, func(t TensorSpec) bool { return !t.Scalar() && t.Integer() })
	var patterns []string
	for _, api := range d.APIs() {
		patterns = append(patterns, api.Functions()...)
		if api.Planned() && structural {
			patterns = append(patterns, api.Class+".plan")
		}
	}
	if BorrowsScale(d) {
		patterns = append(patterns, latentPlan)
	}
	patterns = withSubclasses(patterns)
	slices.Sort(patterns)
	return slices.Compact(patterns)
}

// TP is the number of tensor-parallel ranks the definition's constants come from (tag "tp:N"); 0: no such tag.
func (d *Definition) TP() int { return d.number("tp:") }

// EP is the number of expert-parallel ranks (tag "ep:N"); 0: no such tag.
func (d *Definition) EP() int { return d.number("ep:") }

// Models gives the models the definition was taken from (tags "model:…").
func (d *Definition) Models() []string { return d.tagged("model:") }

// Stage is the tag "stage:…" (decode, prefill), or empty.
func (d *Definition) Stage() string {
	if list := d.tagged("stage:"); len(list) > 0 {
		return list[0]
	}
	return ""
}

func (d *Definition) tagged(prefix string) []string {
	var list []string
	for _, tag := range d.Tags {
		if rest, ok := strings.CutPrefix(tag, prefix); ok {
			list = append(list, rest)
		}
	}
	return list
}

func (d *Definition) number(prefix string) int {
	if list := d.tagged(prefix); len(list) > 0 {
		return atoi(list[0])
	}
	return 0
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

func upper(s string) bool { return s != "" && s[0] >= 'A' && s[0] <= 'Z' }
