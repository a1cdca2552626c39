#!/usr/bin/env python3
"""Loads dataset directories with SOL-ExecBench's own models and loader.

    SOL_EXECBENCH_SRC=CHECKOUT sol_loader.py DIR...

Each definition and workload goes through its pydantic models, each workload's tensors through its load_safetensors, which wants exactly
the dtype and shape that definition and axes give. Prints a line a directory and every problem. Exit status 1 on any problem, 2 where
there is nothing to load.
"""
import json
import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, os.path.join(os.environ["SOL_EXECBENCH_SRC"], "src"))

from sol_execbench.core.bench.io import load_safetensors  # noqa: E402  (from the checkout)
from sol_execbench.core.data import Definition, Workload  # noqa: E402


def load(root):
    """Counts and problems of one dataset."""
    counts, problems = Counter(), []
    for path in sorted((root / "workloads").rglob("*.jsonl")):
        try:
            definition = Definition(**json.loads((root / "definitions" / path.parent.name / f"{path.stem}.json").read_text()))
            counts["definitions"] += 1
            for line in path.read_text().splitlines():
                workload = Workload(**json.loads(line)["workload"])
                counts["workloads"] += 1
                counts["tensors"] += len(load_safetensors(definition, workload, [root]))
        except Exception as err:  # pydantic's, the loader's, the file system's: each is a problem
            problems.append(f"{path.relative_to(root)}: {err}")
    return counts, problems


def main(dirs):
    if not dirs:
        sys.exit(__doc__)
    total, failed = Counter(), 0
    for root in map(Path, dirs):
        counts, problems = load(root)
        print(f"{root}: {json.dumps(counts)} {'ok' if not problems else f'{len(problems)} PROBLEMS'}")
        for problem in problems:
            print(f"  {problem}")
        total += counts
        failed += len(problems)
    print(f"SOL-ExecBench: {len(dirs)} datasets, {json.dumps(total)}, {failed} problems")
    if total["workloads"] == 0:
        sys.exit(2)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
