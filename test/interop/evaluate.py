#!/usr/bin/env python3
"""What evaluations ask of flashinfer-bench, and what stands in for it in tests, against the real package of this interpreter.

    evaluate.py

The command line that gpuworker/engine/evaluate runs must be taken by the real parser; so must each option of the stand-in of test/system; and
the stand-in's trace lines must be traces of the real data model. Exit status 1 on any difference.
"""
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
words = re.search(r'r\.e\.o\.Python, "-c", module,(.*?)\},\n', ENGINE, re.S).group(1)
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
        done = cli("run", "--local", nothing, "--definitions", "d", "--solutions", "s", site=SITE, TRACEFLEET_TEST_EVAL=status)
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
for problem in problems:
    print(problem)
print(f"evaluations: the real command line and {seen} traces of the stand-in, {len(problems)} problems")
sys.exit(1 if problems else 0)
