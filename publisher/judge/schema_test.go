package judge

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// TestParseSolution: each field that flashinfer-bench's model demands, and each that it lets be.
func TestParseSolution(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new, wrong string }{
		{"", "", ""},
		{`"description": "d"`, `"description": null, "more": 1`, ""},
		{`"dependencies": [], `, ``, ""},
		{`"language": "python"`, `"language": "cuda", "binding": "tvm-ffi"`, ""},
		{`"target_hardware": ["cuda"]`, `"target_hardware": [""]`, ""},
		{`{"name"`, `["name"`, "not a JSON object"},
		{`"name": "decode_wrapper"`, `"name": ""`, "name is empty"},
		{`"name": "decode_wrapper", `, ``, "name is missing"},
		{`"name": "decode_wrapper"`, `"Name": "decode_wrapper"`, "name is missing"},
		{`"author": "baseline"`, `"author": null`, "author is null, must be a string"},
		{`"author": "baseline"`, `"author": 3`, "author is 3"},
		{`"description": "d"`, `"description": 1`, "description is 1"},
		{`"language": "python"`, `"language": "rust"`, `spec.language is "rust", must be one of python`},
		{`["cuda"]`, `[]`, "spec.target_hardware has 0 elements"},
		{`["cuda"]`, `"cuda"`, "spec.target_hardware is \"cuda\", must be a list"},
		{`"dependencies": []`, `"dependencies": null`, "spec.dependencies is null"},
		{`"dependencies": []`, `"dependencies": [""]`, "spec.dependencies[0]"},
		{`"destination_passing_style": false`, `"destination_passing_style": null`, "spec.destination_passing_style"},
		{`"destination_passing_style": false`, `"binding": "pybind"`, `spec.binding is "pybind"`},
		{`main.py::run`, `main.py:run`, "FILE::FUNCTION"},
		{`main.py::run`, `main.py::a::run`, "FILE::FUNCTION"},
		{`main.py::run`, `other.py::run`, `names the file "other.py"`},
		{`"path": "main.py"`, `"path": "/main.py"`, `sources[0].path "/main.py" leads out`},
		{`"path": "main.py"`, `"path": "a/../main.py"`, `leads out`},
		{`[{"path"`, `[{"path": "main.py", "content": "x"}, {"path"`, `sources[1].path "main.py" is given twice`},
		{`[{"path"`, `[7, {"path"`, `sources[0] is 7`},
		{`"content": "def`, `"content": "", "x": "def`, `sources[0].content is empty`},
		{`"spec": {`, `"spec": 1, "x": {`, `spec is 1, must be an object`},
	} {
		_, err := parseSolution([]byte(strings.Replace(solutionJSON, c.old, c.new, 1)))
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s for %s: %v, want %q", c.new, c.old, err, c.wrong)
		}
	}
}

func TestParseTrace(t *testing.T) {
	t.Parallel()
	const correctness, performance = `"correctness": {"max_relative_error": 0.001, "max_absolute_error": 1e-5, "extra": null}, `, `"performance": {"latency_ms": 0.1, "reference_latency_ms": 1.5, "speedup_factor": 15}`
	for _, c := range []struct{ old, new, wrong string }{
		{"", "", ""},
		{`"log": "", `, ``, ""},
		{`"libs": {"torch": "2.11"}`, `"libs": {}`, ""},
		{`"max_absolute_error": 1e-5`, `"max_absolute_error": "Infinity"`, ""},
		{`"extra": null`, `"extra": {"a": [1]}`, ""},
		{correctness + performance, `"correctness": null`, "evaluation.correctness is there: false, with status PASSED it must be: true"},
		{performance, `"performance": null`, "evaluation.performance is there: false, with status PASSED it must be: true"},
		{`"PASSED"`, `"TIMEOUT"`, "correctness is there: true, with status TIMEOUT"},
		{`"PASSED"`, `"OK"`, `evaluation.status is "OK"`},
		{`"hardware": "H100"`, `"hardware": ""`, "evaluation.environment.hardware is empty"},
		{`"torch": "2.11"`, `"torch": 2`, "evaluation.environment.libs"},
		{`"torch": "2.11"`, `"torch": null`, "evaluation.environment.libs.torch"},
		{`"timestamp": "2026-11-27T00:00:00"`, `"timestamp": null`, "evaluation.timestamp"},
		{`"log": ""`, `"log": null`, "evaluation.log"},
		{`"latency_ms": 0.1`, `"latency_ms": -0.1`, "evaluation.performance.latency_ms is -0.1"},
		{`"latency_ms": 0.1`, `"latency_ms": "NaN"`, "evaluation.performance.latency_ms is NaN"},
		{`"latency_ms": 0.1`, `"latency_ms": null`, "evaluation.performance.latency_ms is null"},
		{`"max_relative_error": 0.001`, `"max_relative_error": -1`, "evaluation.correctness.max_relative_error is -1"},
		{`"extra": null`, `"extra": 1`, "evaluation.correctness.extra"},
		{`"solution": "s"`, `"solution": 1`, "solution is 1"},
		{`"uuid": "u", `, ``, "workload: uuid is missing"},
		{`"workload": {`, `"work": {`, "workload is missing"},
		{`"batch_size": 2`, `"batch_size": -2`, "axes.batch_size is -2"},
	} {
		raw := strings.Replace(strings.TrimSpace(trace1("u", "s")), c.old, c.new, 1)
		_, err := parseTrace([]byte(raw))
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s for %s: %v, want %q", c.new, c.old, err, c.wrong)
		}
	}
	got, err := parseTrace([]byte(strings.Replace(trace1("u", "s"), "1e-5", `"nan"`, 1)))
	if err != nil || got.uuid != "u" || got.solution != "s" || !got.solved || got.status != passed || got.relative != 0.001 || !math.IsNaN(got.absolute) {
		t.Errorf("%+v %v", got, err)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"é\u2028":                       "",
		`"\ud83d\ude00 \\ud800 \u00e9"`: "",
		`"\ud83d"`:                      "offset 1",
		`"\ud83dx\ude00"`:               "offset 1",
		`"x\ude00"`:                     "offset 2",
		`"\ud83d\ud83d\ude00"`:          "offset 1",
		`"\ud8`:                         "",
		`\`:                             "",
		"ab\xffc":                       "0xff at offset 2",
		"\xed\xa0\x80":                  "0xed at offset 0",
	} {
		if err := text([]byte(source)); (err == nil) != (want == "") || err != nil && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: %v, want %q", source, err, want)
		}
	}
	for source, ok := range map[string]bool{"{}": true, "{}\r": true, "{\t}": true, "{\r}": false, "{\"a\u0085b\"}": false, "{\"\u2029\"}": false, "{\v}": false} {
		if err := brokenLine([]byte(source)); (err == nil) != ok {
			t.Errorf("%q: %v", source, err)
		}
	}
}
