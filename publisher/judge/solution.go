package judge

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/publisher/baseline"
)

var (
	languages = []string{"python", "triton", "cpp", "cuda", "tilelang"}
	bindings  = []string{"tvm-ffi", "torch"}
)

// solution is what is asked of a solution once its schema is known to hold.
type solution struct {
	name, definition, author string
	python                   map[string]string // sources by path
}

// parseSolution holds a solution against flashinfer-bench's schema.
func parseSolution(data []byte) (*solution, error) {
	o := parseObject(data)
	s := &solution{name: o.name("name"), definition: o.name("definition"), author: o.name("author"), python: map[string]string{}}
	o.optional("description")
	spec := o.object("spec")
	spec.one("language", languages)
	spec.strings("target_hardware", spec.need("target_hardware"), 1, true)
	entry := spec.name("entry_point")
	if strings.Count(entry, "::") != 1 {
		spec.fail("entry_point", "is %q, must be FILE::FUNCTION", entry)
	}
	if raw, ok := spec.fields["dependencies"]; ok {
		spec.strings("dependencies", raw, 0, false)
	}
	if raw, ok := spec.fields["destination_passing_style"]; ok {
		var b bool
		spec.decode("destination_passing_style", raw, &b, "true or false")
	}
	if spec.has("binding") {
		spec.one("binding", bindings)
	}
	var sources []json.RawMessage
	if o.decode("sources", o.need("sources"), &sources, "a list") && len(sources) == 0 {
		o.fail("sources", "is empty")
	}
	var paths []string
	for i, raw := range sources {
		source := object{at: "sources[" + strconv.Itoa(i) + "].", err: o.err}
		o.decode("sources["+strconv.Itoa(i)+"]", raw, &source.fields, "an object")
		file, content := source.name("path"), source.name("content")
		switch {
		case strings.HasPrefix(file, "/") || slices.Contains(strings.Split(file, "/"), ".."):
			source.fail("path", "%q leads out of the solution", file)
		case slices.Contains(paths, file):
			source.fail("path", "%q is given twice", file)
		}
		paths = append(paths, file)
		if path.Ext(file) == ".py" {
			s.python[file] = content
		}
	}
	if file, _, _ := strings.Cut(entry, "::"); !slices.Contains(paths, file) {
		spec.fail("entry_point", "names the file %q, which sources does not have", file)
	}
	return s, *o.err
}

// solutionNames are the solutions of a definition, by the names of their files.
type solutionNames struct {
	parsed   map[string]bool
	baseline map[string]bool // whether they parse or not, as flashinfer-bench counts them
}

// solutions judges every solution of the definition.
func (s *subject) solutions() solutionNames {
	names := solutionNames{map[string]bool{}, map[string]bool{}}
	for _, p := range s.index.solutions[s.name] {
		if p.author == baseline.Author {
			names.baseline[p.name] = true
		}
		data, err := s.root.ReadFile(p.path)
		var sol *solution
		if err == nil {
			sol, err = parseSolution(data)
		}
		if err != nil {
			s.add(SolutionParse, nil, p.path, "%s", oneLine(err))
			continue
		}
		s.rep.Counts.Solutions++
		names.parsed[p.name] = true
		s.solution(p, sol)
	}
	return names
}

// solution holds a solution against its path, and looks at its sources.
func (s *subject) solution(p place, sol *solution) {
	for _, field := range []struct{ name, value, want string }{
		{"author", sol.author, p.author}, {"definition", sol.definition, s.name}, {"name", sol.name, p.name}, {"the directory", p.opType, s.opType},
	} {
		if field.value != field.want {
			s.add(SolutionPath, nil, p.path, "%s is %q, must be %q", field.name, field.value, field.want)
		}
	}
	for _, other := range s.index.named[p.name] {
		if other != p.path {
			s.add(SolutionTwice, nil, p.path, "%s has the name too", other)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(sol.python)) {
		if err := checkPython(sol.python[file], ""); err != nil {
			s.add(SolutionPython, nil, p.path, "source %s, %v", file, err)
		}
	}
}
