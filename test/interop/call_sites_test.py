"""What call_sites.py reads of a small package, and which differences from a table it finds."""
import contextlib
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import call_sites

SGLANG = '''
def f(q, flag):
    made = dict(a=q, b=None)
    if flag:
        made["c"] = q
    kernel(**made)
    made = {"z": 1}
    scale(q, None, eps=1e-6)

class W:
    def forward_decode(self, wrapper, q):
        return wrapper.forward(q, (q, q), k_scale=None)
'''
FLASHINFER = '''
@flashinfer_api
def kernel(a, b=None, *, c=None, d=None):
    pass

@flashinfer_api(trace=x)
def scale(x, out=None, eps=0.1):
    pass

class BatchWrapper:
    @flashinfer_api
    def run(self, q, cache, *args, k_scale=None, window=None):
        pass

    def forward(self, q, cache, k_scale=1, window=None):
        self._window = window
        return self.run(q, cache, k_scale=k_scale, window=window)
'''
ENTRIES = [
    {"api": "flashinfer.kernel", "site": {"call": "kernel"}, "positional": [], "optional": ["b", "c"], "passes": {"a": "model", "b": "none", "c": "model"}},
    {"api": "flashinfer.scale", "site": {"call": "scale", "in": "f"}, "positional": ["x", "out"], "optional": ["eps", "out"],
     "passes": {"x": "model", "out": "none", "eps": "float"}, "read": [{"package": "sglang", "file": "s.py", "texts": ["no such", "eps=1e-6"]}]},
    {"api": "flashinfer.BatchWrapper", "method": "run", "through": "forward", "site": {"call": "wrapper.forward"}, "positional": ["q", "cache"],
     "optional": ["k_scale", "window"], "passes": {"q": "model", "cache": "kv+kv", "k_scale": "none", "window": "none"}},
]


def changed(index, **fields):
    entries = json.loads(json.dumps(ENTRIES))
    entries[index].update(fields)
    return entries


def run(folder, entries, flashinfer="0.6.1"):
    for name, text in (("sglang-0.5.8", SGLANG), (f"flashinfer_python-{flashinfer}", FLASHINFER)):
        package, file = ("sglang", "s.py") if name.startswith("sglang") else ("flashinfer", "f.py")
        with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as z:
            z.writestr(f"{package}/{file}", text)
    for entry in entries:
        entry["from"] = entry.get("from", "0.5.8")
        entry["site"].update(package="sglang", file="s.py")
    (folder / "calls.json").write_text(json.dumps({"calls": entries}))
    (folder / "apis.json").write_text(json.dumps({"releases": [{"sglang": "0.5.8", "flashinfer": "0.6.1", "sgl_kernel": "0.3"}]}))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = call_sites.main(folder / "calls.json", folder / "apis.json", folder)
    return status, out.getvalue()


def main():
    for name, entries, want, text in (
        ("the table is right", ENTRIES, 0, "3 call sites and 1 texts"),
        ("not in the table", changed(0, passes={"a": "model", "b": "none"}, optional=["b"]), 1, "c is passed (passed) and not in the table"),
        ("not passed", changed(0, passes={"a": "model", "b": "none", "c": "model", "z": "int"}), 1, "z is in the table and not passed"),
        ("None, and the table has a type", changed(1, passes={"x": "model", "out": "model", "eps": "float"}), 1, "out is passed as None"),
        ("a type, and the table has None", changed(0, passes={"a": "none", "b": "none", "c": "model"}), 1, "a is None in the table and is passed"),
        ("None of a variable, as the table states", changed(0, passes={"a": "none", "b": "none", "c": "model"}, none_read=True), 0, ""),
        ("positions", changed(1, positional=["x"]), 1, "positions are ['x', 'out']"),
        ("defaults", changed(1, optional=["eps"]), 1, "parameters with a default"),
        ("through another method", changed(2, passes={"q": "model", "cache": "kv+kv", "k_scale": "number", "window": "none"}), 1, "k_scale is passed as None"),
        ("no such call", changed(1, site={"call": "scale", "in": "g"}), 1, "has no call of scale g"),
        ("a text that is gone", changed(1, read=[{"package": "sglang", "file": "s.py", "texts": ["no such"]}]), 1, "has none of ['no such']"),
        ("outside its range", changed(1, positional=[], **{"from": "0.5.9"}), 0, "2 call sites"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            status, out = run(Path(folder), json.loads(json.dumps(entries)))
        if status != want or text not in out:
            sys.exit(f"{name}: status {status}, want {want} and {text!r}:\n{out}")
    with tempfile.TemporaryDirectory() as folder:
        status, out = run(Path(folder), json.loads(json.dumps(ENTRIES)), flashinfer="0.6.2")
    if status != 2 or "SKIPPED" not in out:
        sys.exit(f"without a wheel: status {status}\n{out}")
    print("call_sites.py reads what it should")


main()
