#!/usr/bin/env python3
"""Holds the stand-in of `flashinfer-bench validate` that publisher/judge's tests run against the real one.

    FLASHINFER_BENCH_SRC=CHECKOUT judge_contract.py

The options of `validate` must be the same, one by one, and a report of the stand-in must be what the real model reads and writes
again without a change. So must a report that names errors and warnings. Exit status 1 where they differ.
"""
import argparse
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.environ["FLASHINFER_BENCH_SRC"])

from flashinfer_bench.cli import main as real  # noqa: E402  (from the checkout)
from flashinfer_bench.data.validate import ALL_CHECKS, CPU_CHECKS, validate_dataset  # noqa: E402
from flashinfer_bench.data.validate_render import CHECK_FIELDS, DatasetReport  # noqa: E402

STANDIN = Path(__file__).parents[2] / "publisher" / "judge" / "testdata" / "standin" / "flashinfer_bench" / "cli" / "main.py"
# What publisher/judge asks for, in RunValidate.
ASKED = ["--disable-gpu", "--checks", "layout,definition,workload,solution,trace,baseline", "--dataset", "d", "--output-folder", "o", "--outputs",
         "json", "--log-level", "ERROR", "--definitions", "a", "b"]


def load(path):
    spec = importlib.util.spec_from_file_location("standin", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parser_of(cli):
    """The parser that a command line makes before it parses."""
    caught = []

    class Caught(Exception):
        pass

    def catch(self, *args, **kwargs):
        caught.append(self)
        raise Caught

    original = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = catch
    try:
        cli()
    except Caught:
        return caught[0]
    finally:
        argparse.ArgumentParser.parse_args = original
    raise AssertionError("the command line parsed nothing")


def options(parser):
    """The options of `validate`: name -> what decides how it is read."""
    (commands,) = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    kept = ("dest", "nargs", "const", "default", "type", "choices", "required")
    return {a.option_strings[0]: {"class": type(a).__name__, **{k: getattr(a, k) for k in kept}} for a in commands.choices["validate"]._actions}


def main():
    standin, problems = load(STANDIN), []
    theirs, ours = options(parser_of(real.cli)), options(parser_of(standin.cli))
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            problems.append(f"{name}: really {theirs.get(name)}, the stand-in {ours.get(name)}")
    args = parser_of(real.cli).parse_args(["validate", *ASKED])
    if args.definitions != ["a", "b"] or args.checks.split(",") != CPU_CHECKS:
        problems.append(f"asked for {args}; the checks without a GPU are {CPU_CHECKS}")
    if not standin.CHECKS == ALL_CHECKS == CHECK_FIELDS:
        problems.append(f"checks {ALL_CHECKS}, in a report {CHECK_FIELDS}, the stand-in's {standin.CHECKS}")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for name in ("a", "b"):
            (root / "definitions" / "op").mkdir(parents=True, exist_ok=True)
            (root / "definitions" / "op" / f"{name}.json").write_text("{}")
        messages = {"a": {"layout": [["error", "x"]], "trace": [["info", "y"], ["warning", "z"]]}}
        report = standin.report_of(root, CPU_CHECKS, True, [], ["a", "b"], {"messages": messages})
        again = DatasetReport.model_validate(report).model_dump()
        if again != report:
            problems.append(f"the stand-in's report {json.dumps(report)} comes back as {json.dumps(again)}")
        (root / "out").mkdir()
        validate_dataset(dataset=str(root), definitions=["a", "b"], checks=CPU_CHECKS, disable_gpu=True, output_folder=str(root / "out"), outputs=["json"])
        (written,) = (root / "out").glob("report-*.json")
        if shape(json.loads(written.read_text())) != shape(report):
            problems.append(f"really a report is {shape(json.loads(written.read_text()))}, the stand-in's {shape(report)}")
    for problem in problems:
        print(f"  {problem}")
    print(f"stand-in of flashinfer-bench validate: {len(theirs)} options, {len(CHECK_FIELDS)} checks, {len(problems)} differences")
    sys.exit(1 if problems else 0)


def shape(value):
    """The keys and types of a report. Of what a list holds, all have the same."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value and not isinstance(value[0], dict) else "list"
    return type(value).__name__


if __name__ == "__main__":
    main()
