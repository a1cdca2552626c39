package coordinator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Selection selects definitions of a trace directory. Names and op types add up; All takes every one.
type Selection struct {
	Names   []string // definition names
	OpTypes []string
	All     bool
}

// Resolve reads the definitions that sel selects from root/definitions/<op_type>/<name>.json and returns them sorted by name.
// A definition that was named and is missing or broken is an error; all such are reported in one *proto.Failure
// (no_definitions or bad_definition). A broken file that only an op type or All selected is a warning, so that one bad file
// does not stop a collection of a hundred others.
func Resolve(root string, sel Selection) (defs []*fitrace.Definition, warnings []string, err error) {
	if len(sel.Names)+len(sel.OpTypes) == 0 && !sel.All {
		return nil, nil, proto.Failf(proto.CodeNoDefinitions, "no definition is selected").
			WithHint("give --definitions NAME…, --op-type TYPE or --all")
	}
	files, err := definitionFiles(root)
	if err != nil {
		return nil, nil, err
	}
	named, unknown := byName(files, sel.Names)
	if len(unknown) > 0 {
		return nil, nil, unknownNames(root, unknown, files)
	}
	if err := checkOpTypes(root, files, sel.OpTypes); err != nil {
		return nil, nil, err
	}

	selected := func(f definitionFile) bool {
		return sel.All || slices.Contains(sel.OpTypes, f.opType) || slices.Contains(named, f)
	}
	if err := checkCase(files, selected); err != nil {
		return nil, nil, err
	}

	var broken []string
	seen := map[string]string{} // definition name → file
	for _, f := range files {
		wanted := slices.Contains(named, f)
		if !selected(f) {
			continue
		}
		def, err := readDefinition(f)
		if err == nil && seen[def.Name] != "" {
			err = fmt.Errorf("definition %s: the name %s is also in %s", f.path, def.Name, seen[def.Name])
		}
		switch {
		case err == nil:
			seen[def.Name] = f.path
			defs = append(defs, def)
		case wanted:
			broken = append(broken, err.Error())
		default:
			warnings = append(warnings, "left out: "+err.Error())
		}
	}
	if len(broken) > 0 {
		return nil, warnings, proto.Failf(proto.CodeBadDefinition, "%s", strings.Join(broken, "; ")).
			WithHint("correct the definition, or leave it out of the selection")
	}
	if len(defs) == 0 {
		return nil, warnings, proto.Failf(proto.CodeNoDefinitions, "nothing under %s matches the selection and can be read",
			filepath.Join(root, "definitions")).WithHint("`%s` shows what is there", cli.ShellJoin([]string{"tracefleet", "inspect", root}))
	}
	slices.SortFunc(defs, func(a, b *fitrace.Definition) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range defs {
		warnings = append(warnings, doubts(d)...)
	}
	return defs, warnings, nil
}

// doubts returns notes on parts of a definition that are valid but unlikely to be intended, before GPU time is spent on it.
func doubts(d *fitrace.Definition) []string {
	var list []string
	for _, c := range d.Constraints {
		if _, err := fitrace.ParseExpr(c); err != nil {
			list = append(list, fmt.Sprintf("definition %s: constraint %q: %v; every call will be rejected as constraint_unknown", d.Name, c, err))
		}
	}
	for _, prefix := range []string{"tp:", "ep:"} {
		var values []string
		for _, tag := range d.Tags {
			if strings.HasPrefix(tag, prefix) && !slices.Contains(values, tag) {
				values = append(values, tag)
			}
		}
		if len(values) > 1 {
			list = append(list, fmt.Sprintf("definition %s: it has the tags %s; the first counts", d.Name, strings.Join(values, " and ")))
		}
	}
	return list
}

// definitionFile is a place where a definition should be; nothing of it was read yet.
type definitionFile struct{ path, opType, name string }

func definitionFiles(root string) ([]definitionFile, error) {
	base := filepath.Join(root, "definitions")
	paths, err := filepath.Glob(filepath.Join(escapeGlob(base), "*", "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list definitions in %s: %w", base, err)
	}
	if len(paths) == 0 {
		fail := proto.Failf(proto.CodeNoDefinitions, "no definition in %s", base)
		if _, err := os.Stat(base); errors.Is(err, fs.ErrNotExist) {
			fail = proto.Failf(proto.CodeNoDefinitions, "trace directory %s has no definitions directory", root)
		}
		return nil, fail.WithHint("--trace-dir must hold definitions/<op_type>/<name>.json")
	}
	files := make([]definitionFile, len(paths))
	for i, p := range paths {
		files[i] = definitionFile{path: p, opType: filepath.Base(filepath.Dir(p)), name: strings.TrimSuffix(filepath.Base(p), ".json")}
	}
	return files, nil
}

// escapeGlob makes a path literal for filepath.Glob: a trace directory may well be called "run[1]".
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func readDefinition(f definitionFile) (*fitrace.Definition, error) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("definition %s: %w", f.path, err)
	}
	def, err := fitrace.ParseDefinition(data, f.path)
	if err != nil {
		return nil, err
	}
	if def.Name != f.name || def.OpType != f.opType {
		return nil, fmt.Errorf("definition %s: holds name %q and op_type %q, so it belongs in definitions/%s/%s.json",
			f.path, def.Name, def.OpType, def.OpType, def.Name)
	}
	return def, nil
}

// byName gives the files of the named definitions, and the names that have none. A name in two op types gives both files;
// reading them settles which one is wrong.
func byName(files []definitionFile, names []string) (found []definitionFile, unknown []string) {
	for _, name := range names {
		n := len(found)
		for _, f := range files {
			if f.name == name {
				found = append(found, f)
			}
		}
		if len(found) == n && !slices.Contains(unknown, name) {
			unknown = append(unknown, name)
		}
	}
	return found, unknown
}

func unknownNames(root string, unknown []string, files []definitionFile) error {
	var known []string
	for _, f := range files {
		known = append(known, f.name)
	}
	var parts []string
	for _, name := range unknown {
		part := fmt.Sprintf("%q", name)
		if near := nearest(name, known, 3); len(near) > 0 {
			part += " (did you mean " + strings.Join(near, ", ") + "?)"
		}
		parts = append(parts, part)
	}
	return proto.Failf(proto.CodeNoDefinitions, "%s has no definition %s", root, strings.Join(parts, ", ")).
		WithHint("`%s` lists all %d", cli.ShellJoin([]string{"tracefleet", "definitions", "resolve", "--all", "--trace-dir", root}), len(files))
}

func checkOpTypes(root string, files []definitionFile, opTypes []string) error {
	var known []string
	for _, f := range files {
		if !slices.Contains(known, f.opType) {
			known = append(known, f.opType)
		}
	}
	for _, t := range opTypes {
		if !slices.Contains(known, t) {
			return proto.Failf(proto.CodeNoDefinitions, "%s has no definition of op type %q", root, t).
				WithHint("its op types are %s", strings.Join(known, ", "))
		}
	}
	return nil
}
