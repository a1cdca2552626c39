package judge

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestCheckPython(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, wrong string }{
		{"import torch\n\n\n@torch.no_grad()\ndef run(q):\n    '''Docs.'''\n    if q:\n        return {'a': [1, 2]}\n    return 0\n", ""},
		{"def f():\n\treturn 1\n\ndef run(\n  a,\nb): return a  # one line\n", ""},
		{"x = \"\"\"\n  (\n\"\"\"\ndef run(): pass", ""},
		{"def run(a):\n    return a + \\\n        1\n", ""},
		{"def run(a):\r\n    return r'\\'' + f\"{a['x']}\" + 1..real + 0x1e+5 + 1e-5\r\n", ""},
		{"def run(a):\n    return (a\n", "line 2: ( is never closed"},
		{"def run(a):\n    return a)\n", "line 2: ) closes nothing"},
		{"def run(a):\n    return [a)\n", "line 2: ) closes the [ of line 2"},
		{"def run(a):\n    return 'a\n", "line 2: a string is never closed"},
		{"def run(a):\n    '''a\n\n", "line 2: a string is never closed"},
		{"def run(a):\n    return a ? 1 : 2\n", "line 2: has the character '?'"},
		{"def run(a):\n    x = a \\ \n", "line 2: something follows"},
		{"def run(a):\nreturn a\n", "line 2: an indented block should begin"},
		{"def run(a):\n    if a:\n    return a\n", "line 3: an indented block should begin"},
		{"def run(a):\n    b = a\n      return b\n", "line 3: is indented, and nothing"},
		{"def run(a):\n    if a:\n        b = a\n      return b\n", "line 4: is indented like no line before"},
		{" def run(a): pass\n", "line 1: is indented"},
		{"def run(a):\n", "line 1: an indented block should follow"},
		{"def run(a):\n    # nothing but this\n", "an indented block should follow"},
		{"def go(a): pass\n", "no top-level function run"},
		{"class A:\n    def run(self): pass\n", "no top-level function run"},
		{"async def run(a): pass\n", "no top-level function run"},
		{"# def run(a): pass\n", "no top-level function run"},
		{"'''\ndef run(a): pass\n'''\n", "no top-level function run"},
		{"def run(a): pass\x00\n", "null byte"},
	} {
		err := checkPython(c.source, "run")
		if got := fmt.Sprint(err); (err == nil) != (c.wrong == "") || !strings.Contains(got, c.wrong) && err != nil {
			t.Errorf("%q: %v, want %q", c.source, err, c.wrong)
		}
	}
}

func TestCheckExpression(t *testing.T) {
	t.Parallel()
	for source, ok := range map[string]bool{
		"a == b[-1].item()": true, "a % b == 0 and not c": true, "a not in (1, 2)": true, "a is not b": true, "(a if b else c) > 0": true, "a if b else c": true,
		"-a ** -1 < +b": true, "f(x for x in y)": true, "lambda: (": false, "a,": true, "'a' \"b\"": true, "a.shape[1] == 2 * b\n": true, "a # why": true, ".5 < a": true,
		"1e-5 < a": true, "...": true, "not not a": true, "\na": true, "len(a) == 3": true,
		"": false, "a ==": false, "== a": false, "a b": false, "a b == 1": false, "a = 1": false, "a := 1": false, "a if b": false, "a else b": false, " a": false, "a; b": false,
		"a == (b": false, "a 'b'": false, "a\nb": false, "return a": false, "for": false, "a not b": false, "a not is b": false, "a,,b": false, "a: int": false, "# a": false, "$a": false,
	} {
		if err := checkExpression(source); (err == nil) != ok {
			t.Errorf("%q: %v", source, err)
		}
	}
}

// python3 runs a script on lines and gives its lines, or skips the test where there is none.
func python3(t *testing.T, script string, stdin []byte, args ...string) []string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 on the PATH to compare with")
	}
	cmd := exec.Command(path, append([]string{"-W", "ignore", "-c", script}, args...)...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// TestCheckPython_NeverStricter: what Python itself reads passes. Its own library is the corpus.
func TestCheckPython_NeverStricter(t *testing.T) {
	t.Parallel()
	const script = `
import ast, glob, os
for name in sorted(glob.glob(os.path.dirname(os.__file__) + "/*.py")) + sorted(glob.glob(os.path.dirname(os.__file__) + "/asyncio/*.py")):
    try:
        ast.parse(open(name, encoding="utf-8").read())
        print(name)
    except (SyntaxError, UnicodeDecodeError):
        pass
`
	read := 0
	for _, name := range python3(t, script, nil) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkPython(string(data), ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		read++
	}
	if read < 50 {
		t.Errorf("only %d files were read", read)
	}
}

// TestCheckExpression_NeverStricter holds the rule against Python on random pieces.
func TestCheckExpression_NeverStricter(t *testing.T) {
	t.Parallel()
	const script = `
import ast, sys
for line in sys.stdin:
    try:
        ast.parse(line.rstrip("\n"), mode="eval")
        print("yes")
    except (SyntaxError, ValueError):
        print("no")
`
	pieces := strings.Fields("a b 1 2.5 'x' ( ) [ ] { } + - * ** // == != < >= and or not in is if else . , : lambda for = ~ a a b b 1 ( ) == +")
	random := rand.New(rand.NewPCG(1, 2))
	var in bytes.Buffer
	for range 30000 {
		for range 1 + random.IntN(7) {
			in.WriteString(pieces[random.IntN(len(pieces))])
			if random.IntN(4) > 0 {
				in.WriteByte(' ')
			}
		}
		in.WriteByte('\n')
	}
	verdicts := python3(t, script, in.Bytes())
	valid, seen, refused, caught := 0, 0, 0, 0
	for lines := bufio.NewScanner(&in); lines.Scan(); seen++ {
		err := checkExpression(lines.Text())
		switch {
		case verdicts[seen] == "yes":
			valid++
			if err != nil {
				t.Errorf("%q: %v", lines.Text(), err)
			}
		default:
			refused++
			if err != nil {
				caught++
			}
		}
	}
	if valid < 1000 || caught*10 < refused*9 {
		t.Errorf("%d valid, %d of %d others were caught", valid, caught, refused)
	}
	t.Logf("%d valid, %d of %d others were caught", valid, caught, refused)
}
