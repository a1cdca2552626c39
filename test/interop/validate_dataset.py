#!/usr/bin/env python3
"""Runs flashinfer-bench's `validate` on dataset directories and reads its JSON reports (it exits 0 with errors too).

    FLASHINFER_BENCH_SRC=CHECKOUT validate_dataset.py DIR...

`validate` is only in flashinfer-bench's repository so far, so its code comes from the checkout. Checks layout, definition and
workload without a GPU. Prints a line a directory and every error. Exit status 1 on any error; warnings (missing
descriptions) are counted only.
"""
import contextlib
import io
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, os.environ["FLASHINFER_BENCH_SRC"])

from flashinfer_bench.cli import main as flashinfer_bench  # noqa: E402  (from the checkout)

CHECKS = ["layout", "definition", "workload"]


def report_of(dataset):
    """The JSON report of `flashinfer-bench validate` on dataset, as its command line writes it."""
    with tempfile.TemporaryDirectory() as out:
        sys.argv = ["flashinfer-bench", "validate", "--disable-gpu", "--checks", ",".join(CHECKS), "--dataset", str(dataset),
                    "--output-folder", out, "--outputs", "json", "--log-level", "ERROR"]
        with contextlib.redirect_stdout(io.StringIO()):
            flashinfer_bench.cli()
        (report,) = Path(out).glob("report-*.json")
        return json.loads(report.read_text())


def main(dirs):
    if not dirs:
        sys.exit(__doc__)
    failed = 0
    for root in dirs:
        definitions = report_of(root)["definitions"]
        errors = [f"{name}, {check}: {message['message']}"
                  for name, report in definitions.items()
                  for check in CHECKS
                  for message in (report[check] or {"messages": []})["messages"]
                  if message["level"] == "error"]
        print(f"{root}: {len(definitions)} definitions, {json.dumps(Counter(r['status'] for r in definitions.values()))}")
        for error in errors:
            print(f"  {error}")
        failed += len(errors)
        if not definitions:
            print("  no definition was checked")
            failed += 1
    print(f"flashinfer-bench validate: {len(dirs)} datasets, {failed} errors")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
