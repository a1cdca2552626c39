#!/usr/bin/env python3
"""What evaluations ask of flashinfer-bench, and what stands in for it in tests, against the real package of this interpreter.

    evaluate.py

The command line that gpuworker/engine/evaluate runs must be taken by the real parser; so must each option of the stand-in of test/system; and
the stand-in's trace lines must be traces of the real data model. The script that sums outputs up must run with the real package, on CPU tensors
here, and with the stand-in. Exit status 1 on any difference.
"""
import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from flashinfer_bench.data import Trace

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "test/system/site"
MODULE = "from flashinfer_bench.cli.main import cli; cli()"
ENGINE = (ROOT / "gpuworker/engine/evaluate/evaluate.go").read_text()
problems = []


def cli(*args, site=None, **more):
    env = {**os.environ, **more}
    if site:
        env["PYTHONPATH"] = str(site)
    return subprocess.run([sys.executable, "-c", MODULE, *map(str, args)], capture_output=True, text=True, env=env)


# The engine's own words, so that this fails when they change.
words = re.search(r'words\.line, module,(.*?)\)\n\tif err', ENGINE, re.S).group(1)
asked = re.findall(r'"(--[a-z-]+)"', words)
if MODULE not in ENGINE or set(asked) != {"--local", "--definitions", "--solutions", "--save-results", "--resume", "--timeout"}:
    problems.append(f"the engine asks for {asked}: this check is of another command line")
with tempfile.TemporaryDirectory() as nothing:
    line = ("run", "--local", nothing, "--definitions", "d", "--solutions", "s", "--save-results", "--resume", "--timeout", "900")
    done = cli(*line)
    if done.returncode == 2 or "unrecognized" in done.stderr or "invalid" in done.stderr:
        problems.append(f"the real parser does not take it: {done.stderr[-300:]}")
    real = cli("run", "--help").stdout
    for option in re.findall(r'add_argument\("(--[a-z-]+)"', (SITE / "flashinfer_bench/cli/main.py").read_text()):
        if option not in real:
            problems.append(f"the real run has no {option}")

    # Traces of every way that the stand-in behaves.
    root = Path(nothing)
    for path, text in {
        "definitions/rmsnorm/d.json": "{}", "solutions/baseline/rmsnorm/d/s.json": '{"name": "s"}',
        "workloads/rmsnorm/d.jsonl": json.dumps({"definition": "d", "solution": None, "evaluation": None, "workload": {
            "uuid": "u", "axes": {"batch_size": 2}, "inputs": {"hidden_states": {"type": "random"}}}}) + "\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    seen = 0
    for status in ("", "RUNTIME_ERROR", "INCORRECT_NUMERICAL", "TIMEOUT", "COMPILE_ERROR"):
        out = root / "traces/rmsnorm/d.jsonl"
        out.unlink(missing_ok=True)
        done = cli("run", "--local", nothing, "--definitions", "d", "--solutions", "s", site=SITE, FAKE_BENCH_EVAL=status)
        if done.returncode:
            problems.append(f"the stand-in failed: {done.stderr[-300:]}")
            continue
        for trace in out.read_text().splitlines():
            seen += 1
            try:
                Trace.model_validate_json(trace)
            except ValueError as err:
                problems.append(f"a stand-in's trace of status {status or 'PASSED'}: {err}")
    if seen != 5:
        problems.append(f"{seen} traces were looked at, want 5")
# What is summed up of a solution whose outputs are known.
SOURCE = """import torch
def run(x, last):
    return x * 0 + last, torch.where(torch.arange(len(x)) == 1, torch.nan, torch.arange(len(x)) / 0.0)
"""
AXES = {"n": {"type": "var"}, "two": {"type": "const", "value": 2}}
WANT = {
    "out": {"elements": 6, "nan": 0, "inf": 0, "min": 7.0, "max": 7.0},
    "odd": {"elements": 3, "nan": 2, "inf": 1, "min": 0.0, "max": 0.0},  # 0/0 is NaN too
}
SCRIPT = ROOT / "gpuworker/engine/evaluate/outputs.py"
with tempfile.TemporaryDirectory() as dataset:
    root, out = Path(dataset), Path(dataset) / "outputs.json"
    tensor = {"shape": ["n", "two"], "dtype": "float32"}
    for path, value in {
        "definitions/toy/d.json": {
            "name": "d", "op_type": "toy", "axes": AXES, "inputs": {"x": tensor, "last": {"shape": None, "dtype": "float32"}},
            "outputs": {"out": tensor, "odd": {"shape": ["n"], "dtype": "float32"}}, "reference": SOURCE,
        },
        "solutions/baseline/toy/d/s.json": {
            "name": "s", "definition": "d", "author": "baseline", "sources": [{"path": "main.py", "content": SOURCE}],
            "spec": {"language": "python", "target_hardware": ["cpu"], "entry_point": "main.py::run", "destination_passing_style": False},
        },
        "workloads/toy/d.jsonl": {"definition": "d", "solution": None, "evaluation": None, "workload": {
            "uuid": "u", "axes": {"n": 3}, "inputs": {"x": {"type": "random"}, "last": {"type": "scalar", "value": 7.0}}}},
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(value) + "\n")
    spec = importlib.util.spec_from_file_location("outputs", SCRIPT)
    outputs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(outputs)
    with contextlib.suppress(SystemExit):
        outputs.main(dataset, "d", "s", out, device="cpu")
    got = json.loads(out.read_text())
    if got != [{"definition": "d", "workload": "u", "name": name, **values} for name, values in WANT.items()]:
        problems.append(f"outputs of a known solution are summed up as {got}")
    out.unlink()
    done = subprocess.run([sys.executable, "-c", SCRIPT.read_text(), dataset, "d", "s", out], env={**os.environ, "PYTHONPATH": str(SITE)}, capture_output=True, text=True)
    theirs = json.loads(out.read_text()) if out.exists() else done.stderr
    if [set(row) for row in theirs] != [set(row) for row in got] or [row["name"] for row in theirs] != list(WANT):
        problems.append(f"the stand-in's outputs are summed up as {theirs}")
for problem in problems:
    print(problem)
print(f"evaluations: the real command line, {seen} traces of the stand-in, {len(got)} outputs; {len(problems)} problems")
sys.exit(1 if problems else 0)
