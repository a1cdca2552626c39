#!/usr/bin/env python3
"""Prints the softmax scale of each workload of a dataset, and checks them.

    scales.py DATASET EXPECTED

Exit status 1 if a definition has no workload, or a scale differs from EXPECTED by more than one part in a million. Standard library only.
"""
import json
import sys
from pathlib import Path


def main(dataset, expected):
    bad = 0
    for definition in sorted(Path(dataset, "definitions").glob("*/*.json")):
        lines = Path(dataset, "workloads", definition.parent.name, definition.stem + ".jsonl")
        workloads = [json.loads(line)["workload"] for line in lines.read_text().splitlines()] if lines.exists() else []
        if not workloads:
            print(f"{definition.stem}: no workload")
            bad += 1
        for workload in workloads:
            scale = workload["inputs"]["sm_scale"]["value"]
            right = abs(scale / expected - 1) < 1e-6
            bad += not right
            print(f"{definition.stem} {workload['uuid']} {workload['axes']} sm_scale {scale} {'right' if right else 'WRONG'}")
    return 1 if bad else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
