package judge

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// defined judges the definition's file. ok is false where there is none.
func (s *subject) defined() (ok bool) {
	places := s.index.definitions[s.name]
	for _, file := range s.index.stray[s.name] {
		s.add(StrayFile, nil, file, "expected definitions/OP/NAME.json, workloads/OP/NAME.jsonl, solutions/AUTHOR/OP/DEFINITION/NAME.json or traces/AUTHOR/OP/NAME.jsonl: move it")
	}
	if len(places) == 0 {
		s.add(DefinitionMissing, nil, "", "no file definitions/OP/%s.json", s.name)
		return false
	}
	p := places[0]
	s.opType = p.opType
	for _, other := range places[1:] {
		s.add(DefinitionTwice, nil, other.path, "%s has the name too: one of them must get another", p.path)
	}
	data, err := s.root.ReadFile(p.path)
	if err == nil {
		s.def, err = parseDefinition(data)
	}
	if err != nil {
		s.add(DefinitionParse, nil, p.path, "%s", oneLine(err))
		return true
	}
	if s.def.Name != s.name {
		s.add(DefinitionPath, nil, p.path, "name is %q, the file is %s", s.def.Name, path.Base(p.path))
	}
	if s.def.OpType != p.opType {
		s.add(DefinitionPath, nil, p.path, "op_type is %q, the directory is %s", s.def.OpType, p.opType)
	}
	if err := checkPython(s.def.Reference, "run"); err != nil {
		s.add(DefinitionPython, nil, p.path, "reference, %v", err)
	}
	s.constraints(p.path)
	if missing := undescribed(s.def); len(missing) > 0 {
		s.add(NoDescription, nil, p.path, "no description of %s", strings.Join(missing, ", "))
	}
	return true
}

// parseDefinition is fitrace's, and refuses what only flashinfer-bench does.
func parseDefinition(data []byte) (*fitrace.Definition, error) {
	if err := text(data); err != nil {
		return nil, err
	}
	def, err := fitrace.ParseDefinition(data, "")
	if err != nil {
		return nil, err
	}
	fields := parseObject(data).fields
	for _, name := range []string{"tags", "constraints"} {
		if null(fields[name]) {
			return nil, fmt.Errorf("%s is null, must be a list, or be left out", name)
		}
	}
	return def, nil
}

// constraints judges what the definition demands, before any workload is asked.
func (s *subject) constraints(file string) {
	for i, source := range s.def.Constraints {
		if err := checkExpression(source); err != nil {
			s.add(ConstraintSyntax, nil, file, "constraints[%d] %q: %v", i, source, err)
		} else if _, err := fitrace.ParseExpr(source); err != nil {
			s.add(ConstraintUnknown, nil, file, "constraints[%d]: %v", i, err)
		}
	}
}

// undescribed lists what has no description, as flashinfer-bench's validator warns of it.
func undescribed(d *fitrace.Definition) []string {
	var missing []string
	note := func(what, description string) {
		if description == "" {
			missing = append(missing, what)
		}
	}
	note("the definition", d.Description)
	for _, a := range d.Axes {
		note("axes."+a.Name, a.Description)
	}
	for _, in := range d.Inputs {
		note("inputs."+in.Name, in.Description)
	}
	for _, out := range d.Outputs {
		note("outputs."+out.Name, out.Description)
	}
	return missing
}

// oneLine gives an error that others worded as part of a line, without the file that the finding names.
func oneLine(err error) string {
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), "definition : ") {
		err = inner
	}
	return strings.Join(strings.Fields(fmt.Sprint(err)), " ")
}
