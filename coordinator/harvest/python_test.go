package harvest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestRename holds the renamer against sources in which text that looks like a function is none.
func TestRename(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ src, want string }{
		"plain":           {"def f(x):\n    return x\n", "def run(x):\n    return x\n"},
		"named already":   {"def run(x):\n    return x\n", "def run(x):\n    return x\n"},
		"the last one":    {"def a(x):\n    return x\ndef b(x):\n    return a(x)\n", "def a(x):\n    return x\ndef run(x):\n    return a(x)\n"},
		"decorated":       {"@no_grad()\n@other\ndef f(x):\n    return x\n", "@no_grad()\n@other\ndef run(x):\n    return x\n"},
		"recursive":       {"def f(x):\n    return f(x - 1) if x else f.y\n", "def run(x):\n    return run(x - 1) if x else run.y\n"},
		"attributes stay": {"def f(x):\n    return x.f + torch.run(x)\n", "def run(x):\n    return x.f + torch.run(x)\n"},
		"keywords stay":   {"def f(x):\n    return g(x, f=1, run=2)\n", "def run(x):\n    return g(x, f=1, run=2)\n"},
		"in a comparison": {"def f(x):\n    return g(f == x)\n", "def run(x):\n    return g(run == x)\n"},
		"nested is none":  {"def f(x):\n    def last(y):\n        return y\n    return last(x)\n", "def run(x):\n    def last(y):\n        return y\n    return last(x)\n"},
		"method is none":  {"def f(x):\n    return x\nclass C:\n    def g(self):\n        return 1\n", "def run(x):\n    return x\nclass C:\n    def g(self):\n        return 1\n"},
		"string is none":  {"def f(x):\n    return x\nS = '''\ndef g(y):\n    pass\n'''\n", "def run(x):\n    return x\nS = '''\ndef g(y):\n    pass\n'''\n"},
		"docstring":       {"def f(x):\n    \"\"\"One.\n\ndef g(y): no\n    f(x) stays\n    \"\"\"\n    return x\n", "def run(x):\n    \"\"\"One.\n\ndef g(y): no\n    f(x) stays\n    \"\"\"\n    return x\n"},
		"comment is none": {"def f(x):\n    return x\n# def g(y):\n", "def run(x):\n    return x\n# def g(y):\n"},
		"bracket is none": {"def f(x):\n    return x\nL = [\n1,\n]\n", "def run(x):\n    return x\nL = [\n1,\n]\n"},
		"joined line":     {"def f(x):\n    return x\ny = \\\n1\n", "def run(x):\n    return x\ny = \\\n1\n"},
		"escaped quotes":  {"def f(x):\n    return 'a\\'def g(' + \"\\\\\"\n", "def run(x):\n    return 'a\\'def g(' + \"\\\\\"\n"},
		"raw strings":     {"def f(x):\n    return r'\\' + f, rb\"\\\"\"\n", ""}, // r'\' does not end there
		"raw string":      {"def f(x):\n    return r'\\\\' + f(x), rb\"\\\"\"\n", "def run(x):\n    return r'\\\\' + run(x), rb\"\\\"\"\n"},
		"f-string":        {"def f(x):\n    return f'{f(x)!r:>{f.w}} {{f}} f'\n", "def run(x):\n    return f'{run(x)!r:>{run.w}} {{f}} f'\n"},
		"nested quotes":   {"def f(x):\n    return f'{x['f']} {f'{f}'}'\n", "def run(x):\n    return f'{x['f']} {f'{run}'}'\n"},
		"f-string names":  {"def f(x):\n    return f'\\N{BULLET} {f}'\n", "def run(x):\n    return f'\\N{BULLET} {run}'\n"},
		"wide parameters": {"def f(\n    x,\n    y=(1, 2),\n):\n    return x\n", "def run(\n    x,\n    y=(1, 2),\n):\n    return x\n"},
		"one line":        {"def f(x): return x", "def run(x): return x"},
		"windows lines":   {"def f(x):\r\n    return x\r\n", "def run(x):\r\n    return x\r\n"},
		"other letters":   {"def größe(x):\n    return größe\n", "def run(x):\n    return run\n"},
		"byte order mark": {"\ufeffdef f(x):\n    return x\n", "\ufeffdef run(x):\n    return x\n"},
		"annotated":       {"def f(x: Dict[str, int] = {'a': 1}) -> Tuple[int, int]:\n    return x\n", "def run(x: Dict[str, int] = {'a': 1}) -> Tuple[int, int]:\n    return x\n"},
		"type parameters": {"def f[T](x: T):\n    return x\n", "def run[T](x: T):\n    return x\n"},

		"no function":       {"x = 1\n", ""},
		"empty":             {"", ""},
		"async":             {"def f(x):\n    return x\nasync def g(x):\n    return x\n", ""},
		"run is another":    {"def run(x):\n    return x\ndef f(x):\n    return run(x)\n", ""},
		"run is a variable": {"def f(x):\n    run = x\n    return run\n", ""},
		"open string":       {"def f(x):\n    return 'a\n", ""},
		"open triple":       {"def f(x):\n    return '''a\n", ""},
		"open bracket":      {"def f(x):\n    return (x\n", ""},
		"wrong bracket":     {"def f(x):\n    return (x]\n", ""},
		"open field":        {"def f(x):\n    return f'{x'\n", ""},
		"single brace":      {"def f(x):\n    return f'}'\n", ""},
		"no body":           {"def f(x):\n", ""},
		"no colon":          {"def f(x)\n    return x\n", ""},
		"no parameters":     {"def f:\n    pass\n", ""},
		"indented":          {"  def f(x):\n    return x\n", ""},
		"not Python":        {"def f(x):\n    return $x\n", ""},
		"NUL":               {"def f(x):\n    return x\x00\n", ""},
		"not UTF-8":         {"def f(x):\n    return '\xff'\n", ""},
		"too deep":          {"def f(x):\n    return " + strings.Repeat("(", 200) + strings.Repeat(")", 200) + "\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := renamed(c.src)
			if (err != nil) != (c.want == "") {
				t.Fatalf("error is %v, want one: %v", err, c.want == "")
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func renamed(src string) (string, error) {
	r, err := readReference(src)
	if err != nil {
		return "", err
	}
	edits, err := r.rename()
	if err != nil {
		return "", err
	}
	return apply(src, edits), nil
}

func TestParams(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		"()":                      "",
		"(a, b)":                  "a b",
		"(a, b,)":                 "a b",
		"(a, /, b, *, c, d=1)":    "a b c! d=!",
		"(a, *rest, b=1)":         "a b=! +",
		"(a, **rest)":             "a +",
		"(a=(1, 2), b=[x == y])":  "a= b=",
		"(a: int, b: float = 1.)": "a b=",
		"(a, # c, d\n b)":         "a b",
	} {
		r, err := readReference("def f" + src + ":\n    return 1\n")
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		var parts []string
		for _, p := range r.params {
			s := p.name
			if p.optional {
				s += "="
			}
			if p.keywordRun {
				s += "!"
			}
			parts = append(parts, s)
		}
		if r.extra {
			parts = append(parts, "+")
		}
		if got := strings.Join(parts, " "); got != want {
			t.Errorf("%s is %q, want %q", src, got, want)
		}
	}
}

func TestReturns(t *testing.T) {
	t.Parallel()
	for body, want := range map[string][]int{
		"return a, b":                     {2},
		"return (a, b)":                   {2},
		"return ((a, b))":                 {2},
		"return a, b,":                    {2},
		"return a":                        {-1},
		"return (a)":                      {-1},
		"return f(a, b)":                  {-1},
		"return (a, b)[0], c":             {2},
		"return *a, b":                    {-1},
		"return lambda a, b: a":           {-1},
		"return":                          {0},
		"pass":                            nil,
		"if x: return a, b\n    return c": {2, -1},
		"def g():\n        return 1, 2, 3\n    return a": {-1},
		"return a, [b, c], (d, e)":                       {3},
		"return a, b; x = 1, 2":                          {2},
		"x = '''\nreturn 1, 2, 3\n'''\n    return a":     {-1},
	} {
		r, err := readReference("def f(x):\n    " + body + "\n")
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if got := r.returns(); !slices.Equal(got, want) {
			t.Errorf("%q returns %v, want %v", body, got, want)
		}
	}
}

func TestUndefined(t *testing.T) {
	t.Parallel()
	const torch = "import torch\nimport torch.nn.functional as F\n"
	for src, want := range map[string]string{
		torch + "def f(x):\n    return torch.a(F.b(x.c)) + len(x)\n":                       "",
		"def f(x):\n    return torch.a(x)\n":                                               "torch",
		torch + "def f(x):\n    return _helper(x)\n":                                       "_helper",
		torch + "def _helper(x):\n    return x\ndef f(x):\n    return _helper(x)\n":        "",
		"from a import b as c\ndef f(x):\n    return c(x) + b.d\n":                         "",
		"def f(x, g):\n    h = g(x)\n    return h()\n":                                     "",
		"def f(x):\n    return [y.z for y in x] + g(x) + k[1](2)\n":                        "g",
		"def f(x):\n    if (x):\n        return not (x)\n    raise ValueError(x)\n":        "",
		"def f(x):\n    with open_it(x) as y:\n        return y.read()\n":                  "open_it",
		"def f(x):\n    return g(h=h2(x))\ndef g(h):\n    return h\ndef k(x): return f(x)": "h2",
	} {
		r, err := readReference(src)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		if got := strings.Join(r.undefined(), " "); got != want {
			t.Errorf("%s\nmisses %q, want %q", src, got, want)
		}
	}
}

func TestImporting(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		"def f(x):\n    return torch.a(x)\n":                                    "import torch\ndef f(x):\n    return torch.a(x)\n",
		"from __future__ import annotations\n\ndef f(x):\n    return math.a(x)": "from __future__ import annotations\nimport math\n\ndef f(x):\n    return math.a(x)",
		"def f(x):\n    return torch.a(g(x))\n":                                 "",
	} {
		r, err := readReference(src)
		if err != nil {
			t.Fatal(err)
		}
		e, ok := r.importing(r.undefined())
		if ok != (want != "") {
			t.Errorf("%q: importing says %v", src, ok)
		}
		if ok && apply(src, []edit{e}) != want {
			t.Errorf("got\n%s\nwant\n%s", apply(src, []edit{e}), want)
		}
	}
}

func TestEpsilon(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		"def f(x):\n    EPS = 1e-6\n    return x\n":                                 "1e-6",
		"def f(x):\n    eps = 0.00001 # fixed\n    return x\n":                      "0.00001",
		"EPSILON = 1e-5\ndef f(x):\n    return x + EPSILON\n":                       "1e-5",
		"EPS = 7\ndef f(x):\n    EPS = 1e-6\n    return x\n":                        "1e-6",
		"def f(x):\n    return x + 1e-6\n":                                          "",
		"def f(x, eps=1e-6):\n    return x\n":                                       "",
		"def f(x):\n    eps = y\n    return x\n":                                    "",
		"def f(x):\n    EPS = 1e-6\n    EPS = 1e-5\n    return x\n":                 "",
		"def f(x):\n    def g():\n        return 1\n    EPS = 1e-6\n    return x\n": "1e-6",
	} {
		r, err := readReference(src)
		if err != nil {
			t.Fatal(err)
		}
		tok, ok := r.epsilon()
		if !ok {
			tok.text = ""
		}
		if tok.text != want {
			t.Errorf("%q: epsilon is %q, want %q", src, tok.text, want)
		}
	}
}

// FuzzReference: whatever the source, no panic; what is read, renamed and read again is the same function, and the renaming touched
// names only.
func FuzzReference(f *testing.F) {
	for _, src := range []string{
		"def f(x):\n    return x\n", "@d\ndef f(x, *, y=1):\n    \"\"\"d\"\"\"\n    return f'{x!r:>{y}}', y\n", "def f[T](x:T)->T: return x",
		"\ufeffdef f(\n x,\n):\n\treturn x\\\n+1\r\n", "S = '''\ndef g():\n'''\ndef f(): return rb'\\''", "def f(x): return f'{f'{f'{x}'}'}'", "def f(x):\n '''\n", "\\",
	} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		r, err := readReference(src)
		if err != nil {
			return
		}
		r.returns()
		r.undefined()
		r.casts()
		r.epsilon()
		edits, err := r.rename()
		if err != nil {
			return
		}
		out := apply(src, edits)
		again, err := readReference(out)
		if err != nil {
			t.Fatalf("%q became %q: %v", src, out, err)
		}
		if again.name != entryPoint || len(again.tokens) != len(r.tokens) || fmt.Sprint(again.params) != fmt.Sprint(paramsRenamed(r)) {
			t.Fatalf("%q became %q: function %s%v, was %s%v", src, out, again.name, again.params, r.name, r.params)
		}
		for i := range r.tokens {
			if a, b := r.tokens[i], again.tokens[i]; a.kind != b.kind || a.text != b.text && (a.text != r.name || b.text != entryPoint) {
				t.Fatalf("%q became %q: token %d is %q, was %q", src, out, i, b.text, a.text)
			}
		}
	})
}

// paramsRenamed: a parameter that has the function's own name is renamed with it.
func paramsRenamed(r *reference) []param {
	list := slices.Clone(r.params)
	for i := range list {
		if list[i].name == r.name {
			list[i].name = entryPoint
		}
	}
	return list
}

// TestRename_PythonAgrees has Python say which function is the last one, of sources made from pieces that hide some.
func TestRename_PythonAgrees(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 to ask")
	}
	pieces := []string{
		"def a(x):\n    return x\n", "def b(x, y=1):\n    '''d\ndef no(): pass\n'''\n    return x\n", "class C:\n    def m(self):\n        return 1\n",
		"S = \"\"\"\ndef s():\n    pass\n\"\"\"\n", "L = [\n    1,\n]\n", "# def c():\n", "if True:\n    def i():\n        pass\n", "T = 'it\\'s' \\\n  'def'\n", "U = r'\\n' f'{1:>{2}}'\n",
	}
	const ask = `import ast, json, sys
def last(source):
    try:
        return [n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)][-1]
    except (SyntaxError, IndexError):
        return ""
print(json.dumps([last(source) for source in json.load(sys.stdin)]))`
	var sources, want []string
	for i := range 200 {
		var src strings.Builder
		for k := range 5 {
			src.WriteString(pieces[(i*7+k*(i%4+1)+i/9)%len(pieces)])
		}
		sources = append(sources, src.String())
	}
	given, err := json.Marshal(sources)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", ask)
	cmd.Stdin = bytes.NewReader(given)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &want); err != nil || len(want) != len(sources) {
		t.Fatalf("Python answers %s: %v", out, err)
	}
	for i, src := range sources {
		got := ""
		if r, err := readReference(src); err == nil {
			got = r.name
		}
		if got != want[i] {
			t.Errorf("%s\nPython says %q, ours %q", src, want[i], got)
		}
	}
}
