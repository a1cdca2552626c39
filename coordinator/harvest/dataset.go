package harvest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// dataset is what definitions of the dataset say of how it writes things.
type dataset struct {
	byName map[string]*fitrace.Definition
	list   []*fitrace.Definition // sorted by name
}

func newDataset(definitions []*fitrace.Definition) *dataset {
	s := &dataset{byName: map[string]*fitrace.Definition{}}
	for _, d := range definitions {
		s.byName[d.Name] = d
	}
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		s.list = append(s.list, s.byName[name])
	}
	return s
}

// stem gives the longer word that the dataset has for stem, from definitions of the same op type and API with the same sizes in
// their names; "" where it has none, or several.
func (s *dataset) stem(opType string, api fitrace.API, stem, sizes string) string {
	found := ""
	for _, d := range s.list {
		known, have := splitName(d.Name)
		if d.OpType != opType || words(have) != sizes || !slices.Contains(d.APIs(), api) {
			continue
		}
		if known == stem {
			return stem
		}
		if !strings.HasPrefix(known, stem+"_") || found != "" && found != known {
			continue
		}
		found = known
	}
	return found
}

// api gives the path that most of the dataset's fi_api: tags have for api, "" where none has it.
func (s *dataset) api(api fitrace.API) string {
	count := map[string]int{}
	for _, d := range s.list {
		for _, tag := range d.Tags {
			if path, ok := strings.CutPrefix(tag, "fi_api:"); ok && fitrace.ParseAPI(path) == api {
				count[path]++
			}
		}
	}
	best := ""
	for _, path := range slices.Sorted(maps.Keys(count)) {
		if best == "" || count[path] > count[best] {
			best = path
		}
	}
	return best
}

// tagged reports whether definitions of an op type have tags of that prefix; otherwise where the dataset has none of the type.
func (s *dataset) tagged(opType, prefix string, otherwise bool) bool {
	known := false
	for _, d := range s.list {
		if d.OpType != opType {
			continue
		}
		known = true
		if slices.ContainsFunc(d.Tags, func(t string) bool { return strings.HasPrefix(t, prefix) }) {
			return true
		}
	}
	return !known && otherwise
}

// alike gives the definitions of the dataset with another name, and the API and interface of d.
func (s *dataset) alike(d *fitrace.Definition) []*fitrace.Definition {
	var list []*fitrace.Definition
	for _, known := range s.list {
		if known.Name != d.Name && known.OpType == d.OpType && slices.Equal(known.APIs(), d.APIs()) && differs(known, d) == "" {
			list = append(list, known)
		}
	}
	return list
}

// differs says the first difference of two interfaces: axes whatever their order, inputs and outputs in order, shapes and types.
// Descriptions and tags do not count.
func differs(a, b *fitrace.Definition) string {
	if a.OpType != b.OpType {
		return fmt.Sprintf("op_type is %s and %s", a.OpType, b.OpType)
	}
	names := map[string]bool{}
	for _, d := range []*fitrace.Definition{a, b} {
		for _, axis := range d.Axes {
			names[axis.Name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if x, y := showAxis(a, name), showAxis(b, name); x != y {
			return fmt.Sprintf("axes.%s is %s and %s", name, x, y)
		}
	}
	for _, list := range []struct {
		name string
		a, b []fitrace.TensorSpec
	}{{"inputs", a.Inputs, b.Inputs}, {"outputs", a.Outputs, b.Outputs}} {
		if x, y := specNames(list.a), specNames(list.b); x != y {
			return fmt.Sprintf("%s are %s and %s", list.name, x, y)
		}
		for i := range list.a {
			if x, y := showSpec(list.a[i]), showSpec(list.b[i]); x != y {
				return fmt.Sprintf("%s.%s is %s and %s", list.name, list.a[i].Name, x, y)
			}
		}
	}
	return ""
}

func showAxis(d *fitrace.Definition, name string) string {
	axis, ok := d.Axis(name)
	switch {
	case !ok:
		return "absent"
	case axis.Const:
		return fmt.Sprint(axis.Value)
	}
	return "var"
}

func specNames(list []fitrace.TensorSpec) string {
	var out []string
	for _, t := range list {
		out = append(out, t.Name)
	}
	return strings.Join(out, ", ")
}

func showSpec(t fitrace.TensorSpec) string {
	if t.Scalar() {
		return t.DType + " scalar"
	}
	return t.DType + "[" + strings.Join(t.Shape, ", ") + "]"
}

// sameCode compares references token by token, so that comments and blank lines do not count.
func sameCode(a, b string) bool {
	x, errX := scanPython(a)
	y, errY := scanPython(b)
	if errX != nil || errY != nil {
		return a == b
	}
	return slices.EqualFunc(x, y, func(a, b token) bool {
		return a.kind == b.kind && a.text == b.text && a.first == b.first && a.col == b.col
	})
}

// epsilonOf gives the epsilon a definition's reference fixes, "" where it fixes none.
func epsilonOf(d *fitrace.Definition) string {
	ref, err := readReference(d.Reference)
	if err != nil {
		return ""
	}
	if fixed, ok := ref.epsilon(); ok {
		return fixed.text
	}
	return ""
}
