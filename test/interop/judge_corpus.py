#!/usr/bin/env python3
"""Datasets that are broken in one way each, and what flashinfer-bench's own validator says of them.

    FLASHINFER_BENCH_SRC=CHECKOUT judge_corpus.py OUT

Makes OUT/CASE/ for every case below, runs `validate` (its function, as its command line calls it; no GPU) and judge_dataset.py on
it, and writes OUT/verdicts.json: {case: {"validate": [errors], "judge": [problems], "differs": why}}. TestInterop_Corpus in
publisher/judge then refuses the same cases or fails. "differs" says why the rules in Go are meant to answer otherwise:
    stricter: they refuse what both judges here let pass
    looser:   they do not refuse what one of them does
A case whose reason no longer holds fails as well. Beside the cases there is a sweep: every value in every file is left out, and
replaced by values of every kind, one at a time. There the rules in Go may be the stricter, and never the looser: sweep is true.
"""
import copy
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.environ["FLASHINFER_BENCH_SRC"])

import numpy  # noqa: E402
from flashinfer_bench.data.validate import CPU_CHECKS, validate_dataset  # noqa: E402  (from the checkout)
from judge_dataset import judge  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

DEFINITIONS = Path(__file__).parents[2] / "testdata" / "dataset" / "definitions"
NAME, OP = "gqa_paged_decode_h32_kv8_d128_ps64", "gqa_paged"
UUIDS = ["6c4bb4a1-3a0b-5c39-9a58-3a4f8d0f9a11", "6c4bb4a1-3a0b-5c39-9a58-3a4f8d0f9a12"]


class Dataset:
    """A good dataset, as Python values that a case may change before they are written, and as files it may change after."""

    def __init__(self, root):
        self.root = root
        self.definition = json.loads((DEFINITIONS / OP / f"{NAME}.json").read_text())
        self.tensors = [self.batch([2, 3], [64, 1]), self.batch([1, 1, 2], [3, 20, 64])]
        self.lines = [self.line(uuid, tensors) for uuid, tensors in zip(UUIDS, self.tensors)]
        self.solution = {
            "name": "wrapper", "definition": NAME, "author": "baseline", "description": None,
            "spec": {"language": "python", "target_hardware": ["cuda"], "entry_point": "main.py::run", "dependencies": [],
                     "destination_passing_style": False},
            "sources": [{"path": "main.py", "content": "def run(*args):\n    return args[0]\n"}],
        }
        self.traces = [self.trace(line) for line in self.lines]
        self.place = {"definition": f"definitions/{OP}/{NAME}.json", "lines": f"workloads/{OP}/{NAME}.jsonl",
                      "solution": f"solutions/baseline/{OP}/{NAME}/wrapper.json", "traces": f"traces/baseline/{OP}/{NAME}.jsonl"}

    def batch(self, pages, last):
        indptr = numpy.cumsum([0, *pages]).astype(numpy.int32)
        return {"kv_indptr": indptr, "kv_indices": numpy.arange(indptr[-1], dtype=numpy.int32), "kv_last_page_len": numpy.array(last, dtype=numpy.int32)}

    def blob(self, uuid):
        return f"blob/workloads/{OP}/{NAME}/{NAME}_{uuid}.safetensors"

    def line(self, uuid, tensors):
        pages = int(tensors["kv_indptr"][-1])
        axes = {"batch_size": len(tensors["kv_indptr"]) - 1, "num_pages": pages, "len_indptr": len(tensors["kv_indptr"]), "num_kv_indices": pages}
        inputs = {n: {"type": "random"} for n in ("q", "k_cache", "v_cache")}
        inputs |= {n: {"type": "safetensors", "path": "./" + self.blob(uuid), "tensor_key": n} for n in tensors}
        inputs["sm_scale"] = {"type": "scalar", "value": 0.088}
        return {"definition": NAME, "solution": None, "workload": {"uuid": uuid, "axes": axes, "inputs": inputs}, "evaluation": None}

    def trace(self, line):
        return {**copy.deepcopy(line), "solution": "wrapper", "evaluation": {
            "status": "PASSED", "environment": {"hardware": "H100", "libs": {"torch": "2.11"}}, "timestamp": "2026-11-27T00:00:00", "log": "",
            "correctness": {"max_relative_error": 0.001, "max_absolute_error": 0.001, "extra": None},
            "performance": {"latency_ms": 0.1, "reference_latency_ms": 1.5, "speedup_factor": 15.0}}}

    def path(self, name):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self):
        self.path(self.place["definition"]).write_text(json.dumps(self.definition, indent=2))
        for uuid, tensors in zip(UUIDS, self.tensors):
            save_file(tensors, self.path(self.blob(uuid)))
        self.path(self.place["lines"]).write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        self.path(self.place["solution"]).write_text(json.dumps(self.solution, indent=2))
        self.path(self.place["traces"]).write_text("".join(json.dumps(t) + "\n" for t in self.traces))

    def edit(self, what, old, new):
        path = self.root / self.place[what]
        text = path.read_bytes()
        assert old.encode() in text, f"{path} has no {old}"
        path.write_bytes(text.replace(old.encode(), new if isinstance(new, bytes) else new.encode(), 1))

    def copy(self, what, place):
        shutil.copy(self.root / self.place[what], self.path(place))

    def remove(self, name):
        (self.root / name).unlink()


CASES = {}


def case(name, differs=None, text=False):
    """Registers a case: a function that changes the values before they are written, or with text the files after."""
    def register(change):
        assert name not in CASES, name
        CASES[name] = (change, differs, text)
        return change
    return register


def put(path, value, differs=None, name=None):
    """A case that sets, or with DROP removes, one value: put("definition.axes.batch_size.type", "x")."""
    def change(d):
        *way, last = path.split(".")
        at = getattr(d, way[0])
        for key in way[1:]:
            at = at[int(key) if isinstance(at, list) else key]
        last = int(last) if isinstance(at, list) else last
        if value is DROP:
            del at[last]
        else:
            at[last] = value
    case(name or f"{path} = {'(left out)' if value is DROP else json.dumps(value)}", differs)(change)


def edit(name, what, old, new, differs=None):
    case(name, differs, text=True)(lambda d: d.edit(what, old, new))


DROP = object()
FIRST = "lines.0.workload."
TRACE = "traces.0.evaluation."
LAX = "stricter: pydantic turns this into the right type; the dataset's other readers would not"

case("good")(lambda d: None)

# definition
for key in ("name", "op_type", "axes", "inputs", "outputs", "reference"):
    put(f"definition.{key}", DROP)
for key in ("name", "op_type", "reference"):
    put(f"definition.{key}", "")
put("definition.name", "another")
put("definition.op_type", "gqa")
put("definition.tags", DROP)
put("definition.tags", [""])
put("definition.tags", None)
put("definition.description", None)
put("definition.description", 1)
put("definition.constraints", DROP)
put("definition.axes.batch_size.type", "x")
put("definition.axes.batch_size.type", DROP, "stricter: pydantic guesses the type from what else is there")
put("definition.axes.batch_size.value", 4, "stricter: a value that nobody reads is a mistake")
put("definition.axes.page_size.value", DROP)
put("definition.axes.page_size.value", -1)
put("definition.axes.page_size.value", 64.5)
put("definition.axes.page_size.value", "64")
put("definition.axes.page_size.value", 64.0, LAX)
put("definition.axes.page_size", 64)
put("definition.inputs.q.dtype", "uint8")
put("definition.inputs.q.dtype", DROP)
put("definition.inputs.q.shape", DROP)
put("definition.inputs.q.shape", ["batch_size", "nowhere"])
put("definition.inputs.q.shape", ["batch_size", ""])
put("definition.inputs.q.shape", "batch_size")
put("definition.outputs.q", {"shape": None, "dtype": "float32"}, name="definition: an output named as an input")
put("definition.outputs", {}, "stricter: a reference that returns nothing judges nothing")
put("definition.unknown", 1)
put("definition.constraints", ["len_indptr == batch_size + 1", "batch_size =="], name="definition: constraint ends early")
put("definition.constraints", ["batch_size = 1"], name="definition: constraint is an assignment")
put("definition.constraints", ["batch_size) > 0"], name="definition: constraint with a bracket too many")
put("definition.constraints", [" batch_size > 0"], name="definition: constraint begins with a space")
put("definition.constraints", ["all(x >= 0 for x in kv_indptr.tolist())"], name="definition: constraint beyond us")
put("definition.constraints", None)
put("definition.constraints", [""])
put("definition.reference", "def run(*args):\n    return (args\n")
put("definition.reference", "def run(*args):\nreturn args\n")
put("definition.reference", "def run(*args):\n    return 'args\n")
put("definition.reference", "def go(*args):\n    return args\n")
put("definition.reference", "async def run(*args):\n    return args\n")
put("definition.reference", "'''\ndef run(*args):\n    return args\n'''\n")
put("definition.reference", "if True:\n    def run(*args):\n        return args\n")
put("definition.reference", "def run(*args):\n    return args args\n",
    "looser: only strings, brackets and indentation are looked at; validate itself decides where Python is there")
edit("definition: cut", "definition", '"reference"', '"reference": "def')
edit("definition: key twice", "definition", '"op_type"', '"op_type": "x", "op_type"', "stricter: readers disagree on which of two values counts")
edit("definition: byte order mark", "definition", "{", "\ufeff{")
edit("definition: not UTF-8", "definition", '"description": "', b'"description": "\xff')
edit("definition: half of a surrogate pair", "definition", '"description": "', '"description": "\\ud83d')
edit("definition: key in another case", "definition", '"name"', '"Name"')
case("definition: in two op types", text=True)(lambda d: d.copy("definition", f"definitions/zzz/{NAME}.json"))

# layout
case("workloads under another op type", text=True)(lambda d: (d.copy("lines", f"workloads/zzz/{NAME}.jsonl"), d.remove(d.place["lines"])))
case("workloads under two op types", text=True)(lambda d: d.copy("lines", f"workloads/aaa/{NAME}.jsonl"))
case("solution under another op type", text=True)(lambda d: (d.copy("solution", f"solutions/baseline/zzz/{NAME}/wrapper.json"), d.remove(d.place["solution"])))
case("solution under another author", text=True)(lambda d: (d.copy("solution", f"solutions/me/{OP}/{NAME}/wrapper.json"), d.remove(d.place["solution"])))
case("solution under another name", text=True)(lambda d: (d.copy("solution", f"solutions/baseline/{OP}/{NAME}/other.json"), d.remove(d.place["solution"])))
case("solution twice", text=True)(lambda d: d.copy("solution", f"solutions/me/{OP}/{NAME}/wrapper.json"))
case("traces under another op type", text=True)(lambda d: (d.copy("traces", f"traces/baseline/zzz/{NAME}.jsonl"), d.remove(d.place["traces"])))
case("no workloads", text=True)(lambda d: (d.remove(d.place["lines"]), d.remove(d.place["traces"]), shutil.rmtree(d.root / "blob")))
case("no solution, no traces", text=True)(lambda d: (d.remove(d.place["solution"]), d.remove(d.place["traces"])))
case("traces without a solution", text=True)(lambda d: d.remove(d.place["solution"]))

# workloads
put("lines.0.definition", "another")
put("lines.0.definition", DROP)
put("lines.0.solution", "wrapper")
put("lines.0.solution", DROP)
put("lines.0.evaluation", {})
put("lines.0.unknown", 1)
put(FIRST + "uuid", DROP)
put(FIRST + "uuid", "")
put(FIRST + "uuid", 7)
put("lines.1.workload.uuid", UUIDS[0], name="uuid twice")
put(FIRST + "axes", DROP)
put(FIRST + "axes.batch_size", DROP)
put(FIRST + "axes.more", 1)
put(FIRST + "axes.page_size", 64)
put(FIRST + "axes.num_pages", 0)
put(FIRST + "axes.num_pages", -1)
put(FIRST + "axes.num_pages", 5.5)
put(FIRST + "axes.num_pages", "5", LAX)
put(FIRST + "axes.num_pages", 5.0, LAX)
put(FIRST + "axes.num_pages", None)
put(FIRST + "inputs", DROP)
put(FIRST + "inputs.q", DROP)
put(FIRST + "inputs.more", {"type": "random"})
put(FIRST + "inputs.q", {"type": "scalar", "value": 1.0})
put(FIRST + "inputs.q", {}, "stricter: pydantic takes an input without a type for a random one")
put(FIRST + "inputs.q.type", "zeros")
put(FIRST + "inputs.sm_scale", {"type": "random"})
put(FIRST + "inputs.sm_scale", {"type": "safetensors", "path": "./" + f"blob/workloads/{OP}/{NAME}/{NAME}_{UUIDS[0]}.safetensors", "tensor_key": "kv_indptr"})
put(FIRST + "inputs.sm_scale.value", DROP)
put(FIRST + "inputs.sm_scale.value", None)
put(FIRST + "inputs.sm_scale.value", "x")
put(FIRST + "inputs.sm_scale.value", 1)
put(FIRST + "inputs.sm_scale.value", True)
put(FIRST + "inputs.sm_scale.value", "0.5", LAX)
put(FIRST + "inputs.kv_indices", {"type": "random"}, name="random indices")
put(FIRST + "inputs.kv_indices.path", DROP)
put(FIRST + "inputs.kv_indices.path", "")
put(FIRST + "inputs.kv_indices.path", "./nothing.safetensors")
put(FIRST + "inputs.kv_indices.path", f"../path = leads out/blob/workloads/{OP}/{NAME}/{NAME}_{UUIDS[0]}.safetensors", name="path = leads out",
    differs="stricter: a path must not leave the dataset, not even to come back")
put(FIRST + "inputs.kv_indices.path", "./blob")
put(FIRST + "inputs.kv_indices.tensor_key", DROP)
put(FIRST + "inputs.kv_indices.tensor_key", "")
put(FIRST + "inputs.kv_indices.tensor_key", "indices")
edit("line: NaN", "lines", "0.088", "NaN", "stricter: NaN is no JSON")
edit("line: cut", "lines", ', "evaluation": null}', "")
edit("line: more after it", "lines", '"evaluation": null}', '"evaluation": null} {}')
edit("line: blank ones between", "lines", '"evaluation": null}\n', '"evaluation": null}\n\n  \n')
edit("line: carriage return", "lines", '"evaluation": null}\n', '"evaluation": null}\r\n')
edit("line: line separator", "lines", '"evaluation": null}\n', '"evaluation": null, "note": "a\u2028b"}\n')
edit("line: not UTF-8", "lines", '"evaluation": null}\n', b'"evaluation": null, "note": "\xe9"}\n')
edit("line: half of a surrogate pair", "lines", '"evaluation": null}\n', '"evaluation": null, "note": "\\ud83d"}\n')
edit("line: key twice", "lines", '"solution": null', '"solution": null, "solution": null', "stricter: readers disagree on which of two values counts")
edit("line: key in another case", "lines", '"workload"', '"Workload"')


# blobs
def tensor(name, value, differs=None, key="kv_indices"):
    case(name, differs)(lambda d: d.tensors[0].__setitem__(key, numpy.array(value, dtype=getattr(value, "dtype", numpy.int32))))


case("blob missing", text=True)(lambda d: d.remove(d.blob(UUIDS[0])))
case("blob cut", text=True)(lambda d: (d.root / d.blob(UUIDS[0])).write_bytes((d.root / d.blob(UUIDS[0])).read_bytes()[:-4]))
case("blob empty", text=True)(lambda d: (d.root / d.blob(UUIDS[0])).write_bytes(b""))
case("blob is text", text=True)(lambda d: (d.root / d.blob(UUIDS[0])).write_text("version https://git-lfs.github.com/spec/v1\n" * 4))
case("blob orphan", "looser: it is not sent, so it is a warning", text=True)(lambda d: shutil.copy(d.root / d.blob(UUIDS[0]), d.path(d.blob("left"))))
case("tensor unused")(lambda d: d.tensors[0].__setitem__("left", numpy.zeros(1, dtype=numpy.int32)))
case("tensor missing")(lambda d: d.tensors[0].__delitem__("kv_indices"))
tensor("tensor of another length", [0, 1, 2, 3])
tensor("tensor of another rank", [[0, 1, 2, 3, 4]])
tensor("tensor of 64 bits", numpy.arange(5, dtype=numpy.int64))
tensor("tensor of floats", numpy.arange(5, dtype=numpy.float32))
tensor("constraint does not hold", [0, 2, 4], key="kv_indptr")

# values: neither judge looks at them
VALUES = "stricter: neither judge looks at the values"
tensor("page beyond the pool", [0, 1, 2, 3, 5], VALUES)
tensor("negative page", [0, 1, -2, 3, 4], VALUES)
tensor("indptr falls", [0, 7, 5], VALUES, key="kv_indptr")
tensor("indptr begins with 1", [1, 2, 5], VALUES, key="kv_indptr")
tensor("last page of 0 tokens", [64, 0], VALUES, key="kv_last_page_len")
tensor("last page of 65 tokens", [65, 1], VALUES, key="kv_last_page_len")


@case("all requests of one token", "stricter: reviewers reject it")
def tiny(d):
    d.tensors[0] = d.batch([1, 1, 1, 1], [1, 1, 1, 1])
    d.lines[0] = d.line(UUIDS[0], d.tensors[0])


@case("the same workload twice", "stricter: reviewers reject it")
def twice(d):
    d.tensors[1] = d.tensors[0]
    d.lines[1] = d.line(UUIDS[1], d.tensors[1])


# solutions
for key in ("name", "definition", "author", "spec", "sources"):
    put(f"solution.{key}", DROP)
for key in ("name", "definition", "author"):
    put(f"solution.{key}", "another")
    put(f"solution.{key}", "")
put("solution.description", DROP)
put("solution.description", 1)
put("solution.unknown", 1)
for value in (DROP, "rust", None):
    put("solution.spec.language", value)
for value in (DROP, [], "cuda", [1], [""]):
    put("solution.spec.target_hardware", value)
for value in (DROP, "", "main.py", "main.py::a::b", "other.py::run", "main.py::"):
    put("solution.spec.entry_point", value)
for value in (DROP, None, [""], ["cublas"]):
    put("solution.spec.dependencies", value)
put("solution.spec.destination_passing_style", DROP)
put("solution.spec.destination_passing_style", None)
put("solution.spec.destination_passing_style", "yes", LAX)
for value in (None, "torch", "pybind"):
    put("solution.spec.binding", value)
put("solution.sources", [])
put("solution.sources", ["main.py"])
for value in (DROP, "", "/main.py", "../main.py", "a/../main.py"):
    put("solution.sources.0.path", value)
for value in (DROP, ""):
    put("solution.sources.0.content", value)
put("solution.sources.0.content", "def run(:\n", "stricter: validate compiles solutions on a GPU only")
case("solution.sources: path twice")(lambda d: d.solution["sources"].append(dict(d.solution["sources"][0])))
edit("solution: cut", "solution", '"sources"', '"sources": [')

# traces
put("traces.0.definition", "another")
put("traces.0.solution", None)
put("traces.0.solution", DROP)
put("traces.0.solution", "unknown")
put("traces.0.solution", 1)
put("traces.0.evaluation", None)
put("traces.0.workload", DROP)
put("traces.0.workload.uuid", "nowhere", "stricter: a trace of no workload shows nothing")
case("traces: none")(lambda d: d.traces.clear())
put("traces.0", DROP)
for value in (DROP, "OK", "TIMEOUT", "INCORRECT_NUMERICAL"):
    put(TRACE + "status", value)
for key in ("environment", "timestamp", "correctness", "performance"):
    put(TRACE + key, DROP)
put(TRACE + "timestamp", "")
put(TRACE + "log", None)
put(TRACE + "log", DROP)
put(TRACE + "environment.hardware", "")
put(TRACE + "environment.libs", DROP)
put(TRACE + "environment.libs", {"torch": 2})
put(TRACE + "environment.libs", None)
put(TRACE + "correctness.max_relative_error", -0.1)
put(TRACE + "correctness.max_relative_error", "NaN", "stricter: a baseline that computes NaN judges nothing")
put(TRACE + "correctness.max_relative_error", "Infinity")
put(TRACE + "correctness.max_relative_error", None)
put(TRACE + "correctness.max_relative_error", "x")
put(TRACE + "correctness.extra", [1])
put(TRACE + "correctness.extra", {"a": 1})
for value in (-1, "NaN", None, "fast", DROP):
    put(TRACE + "performance.latency_ms", value)
put(TRACE + "performance.speedup_factor", True, LAX)
edit("trace: line separator", "traces", '"log": ""', '"log": "a\u2028b"')
edit("trace: cut", "traces", '"speedup_factor": 15.0}}}', '"speedup_factor": 15.0}}')
edit("trace: NaN", "traces", '"max_absolute_error": 0.001', '"max_absolute_error": NaN', "stricter: NaN is no JSON")


@case("trace of a solution that is none of the baseline's", text=True)
def foreign(d):
    other = {**d.solution, "name": "mine", "author": "me"}
    d.path(f"solutions/me/{OP}/{NAME}/mine.json").write_text(json.dumps(other))
    d.edit("traces", '"solution": "wrapper"', '"solution": "mine"')


@case("trace that failed", text=True)
def failed(d):
    t = {**d.traces[0], "evaluation": {**d.traces[0]["evaluation"], "status": "RUNTIME_ERROR"}}
    del t["evaluation"]["correctness"], t["evaluation"]["performance"]
    (d.root / d.place["traces"]).write_text(json.dumps(t) + "\n" + json.dumps(d.traces[1]) + "\n")


def errors_of(root):
    """What `validate` calls an error."""
    with tempfile.TemporaryDirectory() as out:
        report = validate_dataset(dataset=str(root), checks=CPU_CHECKS, disable_gpu=True, output_folder=out, outputs=["json"])
    errors = []
    for name, checks in report.model_dump()["definitions"].items():
        for check in CPU_CHECKS:
            errors += [f"{check}: {m['message']}" for m in checks[check]["messages"] if m["level"] == "error"]
    if not report.definitions:
        errors.append("layout: no definition")
    return errors


SWEEP = [DROP, None, "", 0, -1, 1.5, "x", True, [], {}, [None], ["x"], {"x": 1}]


def ways(value, way=()):
    """The ways to every value inside of one."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*way, key)
        yield from ways(inner, (*way, key))


def sweep(out):
    """Datasets with one value changed: name -> dataset."""
    for what in ("definition", "lines", "solution", "traces"):
        for way in ways(getattr(Dataset(out), what)):
            if what in ("lines", "traces") and way[0] > 0:
                continue  # the other lines are like the first
            for number, value in enumerate(SWEEP):
                name = ".".join(map(str, (what, *way)))
                d = Dataset(out / f"{name}.{number}")
                at = getattr(d, what)
                for key in way[:-1]:
                    at = at[key]
                if value is DROP:
                    del at[way[-1]]
                else:
                    at[way[-1]] = value
                d.write()
                yield f"{name} = {'(left out)' if value is DROP else json.dumps(value)}", d


def main(out):
    shutil.rmtree(out, ignore_errors=True)
    verdicts = {}
    for name, (change, differs, text) in CASES.items():
        d = Dataset(out / name.replace("/", "_"))
        try:
            if not text:
                change(d)
            d.write()
            if text:
                change(d)
        except Exception as err:
            sys.exit(f"{name}: the case itself fails: {err!r}")
        verdicts[name] = {"dir": d.root.name, "validate": errors_of(d.root), "judge": judge(d.root)[1], "differs": differs or ""}
    refused = sum(bool(v["validate"]) for v in verdicts.values())
    more = sum(bool(v["judge"] and not v["validate"]) for v in verdicts.values())
    print(f"{len(verdicts)} datasets: flashinfer-bench validate refuses {refused}, judge_dataset.py {more} more")
    swept = {"sweep: " + name: {"dir": "sweep/" + d.root.name, "validate": errors_of(d.root), "sweep": True} for name, d in sweep(out / "sweep")}
    print(f"{len(swept)} datasets with one value changed: flashinfer-bench validate refuses {sum(bool(v['validate']) for v in swept.values())}")
    (out / "verdicts.json").write_text(json.dumps(verdicts | swept, indent=1))
    if verdicts["good"]["validate"] or verdicts["good"]["judge"]:
        sys.exit(f"the good dataset is refused: {verdicts['good']}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
