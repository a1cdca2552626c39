"""`flashinfer-bench run`, without running anything: every workload passes, but for those that FAKE_BENCH_EVAL names.

FAKE_BENCH_EVAL: "STATUS" gives each workload that status; "STATUS:N" the first N of each run; "skip:N" leaves N out; "die" ends by SIGKILL.
"""
import argparse
import json
import os
import signal
import sys
from pathlib import Path


def parser():
    main = argparse.ArgumentParser(allow_abbrev=False)
    run = main.add_subparsers(dest="command", required=True).add_parser("run", allow_abbrev=False)
    run.add_argument("--local", type=Path, action="append", required=True)
    run.add_argument("--definitions", nargs="+")
    run.add_argument("--solutions", nargs="+")
    run.add_argument("--save-results", action=argparse.BooleanOptionalAction, default=True)
    run.add_argument("--resume", action="store_true")
    run.add_argument("--timeout", type=int, default=300)
    return main


def evaluation(status):
    made = {"status": status, "environment": {"hardware": "none", "libs": {}}, "timestamp": "2026-01-01T00:00:00", "log": ""}
    if status == "PASSED":
        made["correctness"] = {"max_relative_error": 0.0, "max_absolute_error": 0.0}
        made["performance"] = {"latency_ms": 1.0, "reference_latency_ms": 2.0, "speedup_factor": 2.0}
    elif status == "INCORRECT_NUMERICAL":
        made["correctness"] = {"max_relative_error": 9.0, "max_absolute_error": 9.0}
    else:
        made["log"] = "the kernel failed"
    return made


def cli():
    args = parser().parse_args()
    behave, _, number = os.environ.get("FAKE_BENCH_EVAL", "").partition(":")
    if behave == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    (root,), (definition,), (solution,) = args.local, args.definitions, args.solutions
    (spec,) = root.glob(f"definitions/*/{definition}.json")
    op_type = spec.parent.name
    sources = [json.loads(p.read_text()) for p in root.glob("solutions/**/*.json")]
    if solution not in [s["name"] for s in sources]:
        print(f"No matching solutions for def={definition} after filtering")
        return
    out = root / "traces" / op_type / f"{definition}.jsonl"
    known = {json.loads(line)["workload"]["uuid"] for line in out.read_text().splitlines()} if args.resume and out.exists() else set()
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as traces:
        for n, line in enumerate((root / "workloads" / op_type / f"{definition}.jsonl").read_text().splitlines()):
            workload = json.loads(line)["workload"]
            for given in workload["inputs"].values():
                if given["type"] == "safetensors" and not (root / given["path"]).is_file():
                    sys.exit(f"no {given['path']}")
            chosen = number == "" or n < int(number)
            if workload["uuid"] in known or behave == "skip" and chosen:
                continue
            status = behave if behave not in ("", "skip") and chosen else "PASSED"
            traces.write(json.dumps({"definition": definition, "workload": workload, "solution": solution, "evaluation": evaluation(status)}) + "\n")
            print(f"Solution '{solution}' for workload {workload['uuid']}: {status}")


if __name__ == "__main__":
    cli()
